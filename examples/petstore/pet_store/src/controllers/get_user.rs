//! GET /users/{user_id}: Get a user

use crate::app::store;
use crate::handlers::get_user::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let id = request.user_id;
    let user = store().users.get(&id).cloned();
    user.ok_or_else(|| Problem::not_found(format!("there is no user {id}")))
}
