//! GET /users: List users

use crate::app::{page, store};
use crate::handlers::list_users::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let store = store();
    let users = page(store.users.values(), request.offset, request.limit);
    let total = store.users.len() as i64;
    Ok(Response { total, users })
}
