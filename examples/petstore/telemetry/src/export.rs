//! How spans reach the collector: blocking HTTP on the exporter's own thread.

use crate::log::{log, Level};
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use serde_json::json;
use std::env;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;

/// The default of the specification, for one request with all that belongs to it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer says at most how many spans were refused.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// What the last request to the collector said of it.
const UP: u8 = 1;
const DOWN: u8 = 2;

#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    /// Zero before the first answer.
    state: Arc<AtomicU8>,
}

impl Client {
    pub fn new() -> Self {
        let ms = |name| env::var(name).ok()?.parse().ok();
        let given = ms("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| ms("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let config = Agent::config_builder()
            .timeout_global(Some(given.map_or(TIMEOUT, Duration::from_millis)))
            .http_status_as_error(false)
            // The collector is near; HTTP_PROXY is for what is far.
            .proxy(None);
        Self { agent: config.build().into(), state: Arc::default() }
    }

    /// Whether the last request was answered well.
    pub fn is_up(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UP
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let mut answer = self.agent.run(Request::from_parts(parts, &body[..]))?;
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
        Ok(answer.map(|_| body.into()))
    }

    /// Says when the collector went or came back, not what happens to each batch.
    fn tell(&self, endpoint: &str, error: Option<String>) {
        let now = if error.is_some() { DOWN } else { UP };
        let before = self.state.swap(now, Ordering::Relaxed);
        match error {
            Some(error) if before != DOWN => {
                log(Level::Warn, "traces are not exported", json!({"endpoint": endpoint, "error": error}));
            }
            None if before == DOWN => {
                log(Level::Info, "traces are exported again", json!({"endpoint": endpoint}));
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let endpoint = request.uri().to_string();
        let answer = self.send(request);
        self.tell(
            &endpoint,
            match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("the answer is {}", answer.status())),
                Err(error) => Some(error.to_string()),
            },
        );
        Ok(answer?)
    }
}
