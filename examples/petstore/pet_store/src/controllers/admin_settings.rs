//! GET /admin/settings: Get the settings of the service

use crate::handlers::admin_settings::{Request, Response};
use router::Problem;

pub fn handle(_request: Request) -> Result<Response, Problem> {
    router::example(serde_json::json!({
      "feature_flags": {
        "adoption": true,
        "chat": false
      },
      "maintenance": false,
      "notice": null
    }))
}
