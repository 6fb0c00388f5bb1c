//! HEAD /users/{user_id}: Whether a user exists

use crate::app::store;
use crate::handlers::head_user::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    match store().users.contains_key(&request.user_id) {
        true => Ok(()),
        false => Err(Problem::not_found("there is no such user")),
    }
}
