//! OPTIONS /users/{user_id}: What can be done with a user

use crate::handlers::options_user::{Request, Response};
use router::Problem;

pub fn handle(_request: Request) -> Result<Response, Problem> {
    Ok(())
}
