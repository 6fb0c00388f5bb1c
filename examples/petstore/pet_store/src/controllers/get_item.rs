//! GET /items/{id}: Get an item

use crate::app::store;
use crate::handlers::get_item::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let missing = || Problem::not_found(format!("there is no item {}", request.id));
    store().items.get(&request.id).cloned().ok_or_else(missing)
}
