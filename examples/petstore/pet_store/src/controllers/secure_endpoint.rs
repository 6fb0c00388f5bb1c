//! GET /secure: See something that needs a token

use crate::handlers::secure_endpoint::{Request, Response};
use router::Problem;

pub fn handle(_request: Request) -> Result<Response, Problem> {
    router::example(serde_json::json!({
      "message": "The token is good."
    }))
}
