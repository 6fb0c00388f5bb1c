//! POST /pets: Add a pet

use crate::app::store;
use crate::handlers::add_pet::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    Ok(store().add_pet(request.body))
}
