//! GET /pets/{id}: Get a pet

use crate::app::store;
use crate::handlers::get_pet::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let missing = || Problem::not_found(format!("there is no pet {}", request.id));
    store().pets.get(&request.id).cloned().ok_or_else(missing)
}
