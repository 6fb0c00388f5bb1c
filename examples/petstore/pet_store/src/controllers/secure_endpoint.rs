//! GET /secure: See something that needs a token

use crate::handlers::secure_endpoint::{Request, Response};
use router::Problem;

const EXAMPLE: &str = r#"{
  "message": "The token is good."
}"#;

pub fn handle(_request: Request) -> Result<Response, Problem> {
    router::example(EXAMPLE)
}
