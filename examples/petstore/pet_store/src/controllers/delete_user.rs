//! DELETE /users/{user_id}: Delete a user, who may be gone already

use crate::app::store;
use crate::handlers::delete_user::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    store().users.remove(&request.user_id);
    Ok(())
}
