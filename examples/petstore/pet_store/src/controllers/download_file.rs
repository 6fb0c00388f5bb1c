//! GET /download/{id}: Download a file

use crate::handlers::download_file::{Request, Response};
use router::{File, Problem};

const MANUAL: &str = "Feed twice a day. Walk more often than that.\n";

pub fn handle(request: Request) -> Result<Response, Problem> {
    match request.id.as_str() {
        "manual" => Ok(File::download("manual.txt", MANUAL)),
        id => Err(Problem::not_found(format!("there is no file {id}"))),
    }
}
