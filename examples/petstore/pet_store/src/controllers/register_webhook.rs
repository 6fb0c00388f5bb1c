//! POST /webhooks: Register a webhook

use crate::app::store;
use crate::handlers::register_webhook::{Request, Response};
use router::Problem;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let mut store = store();
    store.webhooks += 1;
    Ok(Response {
        hook: request.body,
        id: store.webhooks,
    })
}
