//! From a request to a reply: routing, security, parameters, body, handler.

use crate::body::{decode, essence, Decoded};
use crate::call::{Call, Handler, Reply, ReplyBody};
use crate::config::Config;
use crate::document::{Document, Operation};
use crate::log::{log, Level};
use crate::metrics::Metrics;
use crate::parameter::Location;
use crate::problem::Problem;
use crate::routes::{Match, Routes};
use crate::security::Security;
use crate::url;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{HeaderMap, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use hyper::http::request::Parts;
use serde_json::json;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Instant;

/// How much of a body that is too large is read and dropped, so that the client gets to see the
/// answer instead of a reset connection.
const DISCARD_BYTES: usize = 8 << 20;

pub struct Service {
    document: Document,
    routes: Routes<Endpoint>,
    security: Security,
    metrics: Metrics,
    max_body_bytes: usize,
    pages: Pages,
}

/// What the router itself serves besides health and metrics.
pub struct Pages {
    pub spec: String,
    pub docs: Option<String>,
}

struct Endpoint {
    /// Index into the document's operations; none for a path it does not describe.
    operation: Option<usize>,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Handler(Handler),
    Builtin(Builtin),
}

type Builtin = fn(&Service) -> Result<Reply, Problem>;

const BUILTINS: [(&str, Builtin); 4] = [
    ("/health", |_| Reply::json(200, "application/json", &json!({"status": "ok"}))),
    ("/metrics", |s| Ok(Reply::bytes(200, "text/plain; version=0.0.4", s.metrics.render()))),
    ("/openapi.yaml", |s| Ok(Reply::bytes(200, "application/yaml", s.pages.spec.clone()))),
    ("/docs", |s| match &s.pages.docs {
        Some(html) => Ok(Reply::bytes(200, "text/html; charset=utf-8", html.clone())),
        None => Err(Problem::not_found("the documentation page is not installed")),
    }),
];

impl Service {
    pub fn new(
        document: Document,
        find: fn(&str) -> Option<Handler>,
        config: &Config,
        pages: Pages,
    ) -> Result<Self, String> {
        let mut routes = Routes::new();
        for (index, operation) in document.operations.iter().enumerate() {
            let builtin = BUILTINS.iter().find(|(path, _)| *path == operation.path);
            let handler = find(&operation.id);
            let action = match (builtin, handler) {
                (Some((_, builtin)), _) => Action::Builtin(*builtin),
                (None, Some(handler)) => Action::Handler(handler),
                (None, None) => return Err(format!("the operation `{}` has no handler", operation.id)),
            };
            let endpoint = Endpoint { operation: Some(index), action };
            routes.add(&operation.method, &operation.path, endpoint);
        }
        for (path, builtin) in BUILTINS {
            if !document.operations.iter().any(|operation| operation.path == path) {
                routes.add("GET", path, Endpoint { operation: None, action: Action::Builtin(builtin) });
            }
        }
        let security = Security::new(&document, &config.credentials)?;
        let max_body_bytes = config.max_body_bytes;
        Ok(Self { document, routes, security, metrics: Metrics::default(), max_body_bytes, pages })
    }

    pub async fn handle(&self, request: hyper::Request<Incoming>) -> hyper::Response<ReplyBody> {
        let start = Instant::now();
        let active = self.metrics.begin();
        let (head, body) = request.into_parts();
        let found = self.routes.find(head.method.as_str(), head.uri.path());
        let path = found.as_ref().map_or_else(|| "unmatched".into(), Match::path);
        let reply = self.reply(&head, body, found).await.unwrap_or_else(Reply::from);
        // Before the reply leaves, so that a client's next request sees itself counted.
        drop(active);
        let duration = start.elapsed();
        self.metrics.observe(method_label(head.method.as_str()), path, reply.status, duration);
        let level = match reply.status {
            500.. => Level::Error,
            400.. => Level::Info,
            _ => Level::Debug,
        };
        if crate::log::enabled(level) {
            let (method, path) = (head.method.as_str(), head.uri.path());
            let us = duration.as_micros() as u64;
            log(level, "request", json!({"method": method, "path": path, "status": reply.status, "us": us}));
        }
        into_response(reply)
    }

    async fn reply(
        &self,
        head: &Parts,
        body: Incoming,
        found: Option<Match<'_, Endpoint>>,
    ) -> Result<Reply, Problem> {
        let Some(found) = found else {
            return Err(Problem::not_found(format!("nothing is at {}", head.uri.path())));
        };
        let Some(endpoint) = found.endpoint else {
            let detail = format!("{} is not allowed here", head.method);
            return Err(Problem::new(405, detail).with_header("allow", found.allow()));
        };
        let call = match endpoint.operation {
            Some(index) => self.call(&self.document.operations[index], head, body, &found.variables).await?,
            None => Call::default(),
        };
        let mut reply = match endpoint.action {
            Action::Builtin(builtin) => builtin(self)?,
            Action::Handler(handler) => run(handler, call).await?,
        };
        if head.method == hyper::Method::OPTIONS {
            reply.headers.push(("allow", found.allow()));
        }
        Ok(reply)
    }

    async fn call(
        &self,
        operation: &Operation,
        head: &Parts,
        body: Incoming,
        variables: &[(&str, String)],
    ) -> Result<Call, Problem> {
        let query = url::pairs(head.uri.query().unwrap_or_default());
        let query = query.ok_or_else(|| Problem::bad_request("the query is not URL-encoded"))?;
        let read = |location: Location, name: &str| -> Vec<String> {
            let of = |pairs: &[(String, String)]| -> Vec<String> {
                pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
            };
            match location {
                Location::Path => {
                    variables.iter().find(|v| v.0 == name).map(|v| v.1.clone()).into_iter().collect()
                }
                Location::Query => of(&query),
                Location::Header => headers(&head.headers, name),
                Location::Cookie => of(&cookies(&head.headers)),
            }
        };
        self.security.check(operation, |location, name| read(location, name).into_iter().next())?;
        let mut parameters = Vec::new();
        for parameter in &operation.parameters {
            let found = read(parameter.location, &parameter.name);
            let value = parameter.read(&self.document.schemas, found)?;
            parameters.push((parameter.location, parameter.name.clone(), value));
        }
        let body = self.body(operation, head, body).await?;
        Ok(Call { parameters, body })
    }

    async fn body(&self, operation: &Operation, head: &Parts, body: Incoming) -> Result<Decoded, Problem> {
        let Some(expected) = &operation.body else {
            return Ok(Decoded::default());
        };
        let content_type = headers(&head.headers, CONTENT_TYPE.as_str()).into_iter().next();
        if content_type.is_none() && body.is_end_stream() {
            return match expected.required {
                true => Err(Problem::bad_request("a body is required")),
                false => Ok(Decoded::default()),
            };
        }
        let content_type = content_type.unwrap_or_default();
        let kind = essence(&content_type);
        let Some(media) = expected.content.iter().find(|media| essence(&media.media_type) == kind) else {
            let known: Vec<&str> = expected.content.iter().map(|media| media.media_type.as_str()).collect();
            let detail = format!("the content type must be {}", known.join(" or "));
            return Err(Problem::new(415, detail).with_header("accept", known.join(", ")));
        };
        let bytes = read_body(body, self.max_body_bytes, &head.headers).await?;
        decode(&self.document.schemas, media, &content_type, bytes)
    }
}

/// Runs a handler where it may block, and where a panic ends nothing but this request.
async fn run(handler: Handler, call: Call) -> Result<Reply, Problem> {
    match tokio::task::spawn_blocking(move || handler(call)).await {
        Ok(result) => result,
        Err(_) => Err(Problem::internal("the handler failed")),
    }
}

async fn read_body(mut body: Incoming, limit: usize, headers: &HeaderMap) -> Result<Bytes, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(limit));
    let mut total = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Problem::bad_request("the body is incomplete"))?;
        let data = frame.into_data().unwrap_or_default();
        total += data.len();
        if total <= limit {
            bytes.extend_from_slice(&data);
        } else if total > DISCARD_BYTES {
            break;
        }
    }
    match total > limit {
        true => Err(Problem::new(413, format!("the body is larger than {limit} bytes"))),
        false => Ok(bytes.into()),
    }
}

fn headers(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().filter_map(|value| Some(value.to_str().ok()?.to_string())).collect()
}

fn cookies(map: &HeaderMap) -> Vec<(String, String)> {
    let lines = headers(map, COOKIE.as_str()).join(";");
    let pairs = lines.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Clients can send any method; the label must not grow with them.
fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.iter().find(|known| **known == method).unwrap_or(&"OTHER")
}

fn into_response(reply: Reply) -> hyper::Response<ReplyBody> {
    let mut response = hyper::Response::new(reply.body);
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap_or_default();
    for (name, value) in reply.headers {
        match value.parse() {
            Ok(value) => drop(response.headers_mut().append(name, value)),
            Err(_) => log(Level::Warn, "a header was dropped", json!({"name": name})),
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_one_request_only() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let problem = runtime.block_on(run(|_| panic!("on purpose"), Call::default())).unwrap_err();
        assert_eq!(problem.status, 500);
        let reply = runtime.block_on(run(|_| Ok(Reply::empty(204)), Call::default())).unwrap();
        assert_eq!(reply.status, 204);
    }
}
