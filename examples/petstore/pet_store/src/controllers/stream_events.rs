//! GET /events: Receive a few events, then the end of the stream

use crate::handlers::stream_events::{Request, Response};
use router::Problem;
use std::time::Duration;

pub fn handle(request: Request) -> Result<Response, Problem> {
    let events = (1..=request.count).map(|number| format!("tick {number}"));
    Ok(Response {
        events: events.collect(),
        interval: Duration::from_millis(request.interval_ms as u64),
    })
}
