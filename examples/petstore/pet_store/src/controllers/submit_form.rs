//! POST /form: Send a form

use crate::handlers::submit_form::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let form = request.body;
    Ok(Response {
        accepted: true,
        age: form.age,
        interests: form.interests,
        name: form.name,
    })
}
