//! POST /form: Send a form

use crate::handlers::submit_form::{Body, Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let Body {
        age,
        interests,
        name,
    } = request.body;
    Ok(Response {
        accepted: true,
        age,
        interests,
        name,
    })
}
