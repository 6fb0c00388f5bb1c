//! POST /upload: Upload a file

use crate::handlers::upload_file::{Body, Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let Body { file, note } = request.body;
    let bytes = file.data.len() as i64;
    Ok(Response {
        bytes,
        media_type: file.media_type,
        name: file.name,
        note,
    })
}
