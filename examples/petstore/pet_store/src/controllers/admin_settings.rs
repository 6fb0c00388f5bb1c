//! GET /admin/settings: Get the settings of the service

use crate::handlers::admin_settings::{Request, Response};
use router::Problem;

const EXAMPLE: &str = r#"{
  "feature_flags": {
    "adoption": true,
    "chat": false
  },
  "maintenance": false,
  "notice": null
}"#;

pub fn handle(_request: Request) -> Result<Response, Problem> {
    router::example(EXAMPLE)
}
