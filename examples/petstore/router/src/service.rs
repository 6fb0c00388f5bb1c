//! From a request to a reply: routing, security, parameters, body, handler.

use crate::body::decode;
use crate::call::{Handler, Input, Reply, ReplyBody};
use crate::config::Config;
use crate::metrics::{self, Active, Going};
use crate::security::Security;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use matchit::{Match, Params, Router};
use openapi::document::{Document, Operation, BUILTIN_PATHS, METHODS, PROBES};
use openapi::media::essence;
use openapi::parameter::{Location, Parameter};
use openapi::problem::Problem;
use openapi::schema::Schemas;
use percent_encoding::percent_decode_str;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use telemetry::log::{log, Level};
use telemetry::trace::{self, Context};

/// How much of a body that is too large is read and dropped, so that the client gets to see the
/// answer instead of a reset connection.
const DISCARD_BYTES: usize = 8 << 20;

pub struct Service {
    routes: Router<Route>,
    schemas: Schemas,
    security: Security,
    max_body_bytes: usize,
    pages: Pages,
}

/// What the router itself serves besides health and metrics.
pub struct Pages {
    pub spec: String,
    pub docs: String,
}

struct Route {
    path: String,
    /// By method.
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Clone)]
struct Endpoint {
    operation: Arc<Operation>,
    /// None for what the router itself serves.
    handler: Option<Handler>,
}

impl Service {
    pub fn new(
        document: Document,
        find: fn(&str) -> Option<Handler>,
        config: &Config,
        pages: Pages,
    ) -> Result<Self, String> {
        let security = Security::new(document.schemes, config)?;
        let mut paths: BTreeMap<String, BTreeMap<String, Endpoint>> = BTreeMap::new();
        let builtins = BUILTIN_PATHS.map(Operation::builtin);
        for operation in builtins.into_iter().chain(document.operations) {
            let handler = find(&operation.id);
            if handler.is_none() && !operation.is_builtin() {
                return Err(format!("the operation `{}` has no handler", operation.id));
            }
            let endpoints = paths.entry(operation.path.clone()).or_default();
            endpoints.insert(operation.method.clone(), Endpoint { operation: operation.into(), handler });
        }
        let mut routes = Router::new();
        for (path, mut endpoints) in paths {
            // A resource that answers GET answers HEAD too.
            if let Some(get) = endpoints.get("GET").cloned() {
                endpoints.entry("HEAD".to_string()).or_insert(get);
            }
            let route = Route { path: path.clone(), endpoints };
            routes.insert(path, route).map_err(|error| error.to_string())?;
        }
        let max_body_bytes = config.http.max_body_bytes;
        Ok(Self { routes, schemas: document.schemas, security, max_body_bytes, pages })
    }

    pub async fn handle(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let start = Instant::now();
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.as_str(), head.uri.path());
        let found = self.routes.at(path).ok();
        let route = found.as_ref().map(|found| found.value.path.as_str());
        let is_probe = route.is_some_and(|route| PROBES.contains(&route));
        let active = (!is_probe).then(Active::begin);
        let is_known = METHODS.contains(&method);
        let context = trace::caller(&head.headers);
        let context = if is_probe { context } else { trace::request(context, &head, route, is_known) };
        let mut reply = self.reply(&head, body, found, &context).await.unwrap_or_else(Reply::from).0;
        let status = reply.status().as_u16();
        // Before the reply leaves, so that a client's next request sees itself counted.
        match reply.extensions_mut().remove::<Going>() {
            Some(going) => drop(active.map(|active| going.set(active))),
            None => drop(active),
        }
        let duration = start.elapsed();
        // Clients can send any method; the label must not grow with them.
        let label = if is_known { method } else { "OTHER" };
        metrics::observe(label, route.unwrap_or("unmatched"), status, duration);
        trace::answered(&context, status, reply.headers_mut());
        let level = match status {
            500.. => Level::Error,
            400.. => Level::Info,
            _ => Level::Debug,
        };
        let us = duration.as_micros() as u64;
        let _entered = context.attach();
        log(level, "request", json!({"method": method, "path": path, "status": status, "us": us}));
        reply
    }

    async fn reply(
        &self,
        head: &Parts,
        body: Incoming,
        found: Option<Match<'_, '_, &Route>>,
        context: &Context,
    ) -> Result<Reply, Problem> {
        let Some(Match { value: route, params }) = found else {
            return Err(Problem::not_found(format!("nothing is at {}", head.uri.path())));
        };
        let allow = || route.endpoints.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let Some(Endpoint { operation, handler }) = route.endpoints.get(head.method.as_str()) else {
            let detail = format!("{} is not allowed here", head.method);
            return Err(Problem::new(405, detail).with_header("allow", allow()));
        };
        self.security.check(operation, &head.headers)?;
        let input = self.input(operation, head, body, &params).await?;
        let reply = match handler {
            Some(handler) => run(*handler, input, trace::handler(&operation.id, context)).await?,
            None => self.builtin(&route.path)?,
        };
        match head.method {
            Method::OPTIONS => Ok(reply.with_header("allow", &allow())),
            _ => Ok(reply),
        }
    }

    fn builtin(&self, path: &str) -> Result<Reply, Problem> {
        match path {
            "/health" => Reply::json(200, "application/json", json!({"status": "ok"})),
            "/metrics" => Reply::text(200, "text/plain; version=0.0.4", metrics::render()),
            "/openapi.yaml" => Reply::text(200, "application/yaml", self.pages.spec.clone()),
            _ => Reply::text(200, "text/html; charset=utf-8", self.pages.docs.clone()),
        }
    }

    async fn input(
        &self,
        operation: &Operation,
        head: &Parts,
        body: Incoming,
        params: &Params<'_, '_>,
    ) -> Result<Input, Problem> {
        let mut input = Map::new();
        for parameter in &operation.parameters {
            let value = parameter.read(&self.schemas, &find(parameter, head, params))?;
            input.insert(parameter.key(), value);
        }
        input.insert("body".to_string(), self.body(operation, head, body).await?);
        Ok(Value::Object(input))
    }

    async fn body(&self, operation: &Operation, head: &Parts, body: Incoming) -> Result<Value, Problem> {
        let Some(expected) = &operation.body else {
            return Ok(Value::Null);
        };
        let content_type = header(&head.headers, "content-type").unwrap_or_default();
        if content_type.is_empty() && body.is_end_stream() {
            return match expected.required {
                true => Err(Problem::bad_request("a body is required")),
                false => Ok(Value::Null),
            };
        }
        let known = &expected.media.media_type;
        if essence(content_type) != *known {
            let detail = format!("the content type must be {known}");
            return Err(Problem::new(415, detail).with_header("accept", known));
        }
        let bytes = read_body(body, self.max_body_bytes).await?;
        decode(&self.schemas, &expected.media, content_type, bytes.into()).await
    }
}

/// What a request holds for a parameter: more than one text only when a query repeats its name.
fn find(parameter: &Parameter, head: &Parts, params: &Params<'_, '_>) -> Vec<String> {
    let name = parameter.name.as_str();
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match parameter.location {
        Location::Path => params.get(name).map(decode).into_iter().collect(),
        Location::Header => header(&head.headers, name).map(str::to_string).into_iter().collect(),
        Location::Query => {
            let pairs = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
            pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
        }
    }
}

/// Runs a handler where it may block, and where a panic ends nothing but this request.
async fn run(handler: Handler, input: Input, context: Context) -> Result<Reply, Problem> {
    let own = context.clone();
    let call = move || {
        let _entered = own.attach();
        handler(input)
    };
    let result = tokio::task::spawn_blocking(call).await;
    let result = result.unwrap_or_else(|_| Err(Problem::new(500, "the handler failed")));
    let problem = result.as_ref().err();
    trace::handled(&context, problem.map(|problem| (problem.status, problem.detail.as_str())));
    result
}

async fn read_body(mut body: Incoming, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
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
        false => Ok(bytes),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    const SPEC: &str = "
openapi: 3.1.0
info: {title: t}
paths:
  /pets/first:
    get: {operationId: first, responses: {'204': {description: d}}}
  /pets/{id}:
    parameters: [{name: id, in: path, required: true}]
    get: {operationId: get, responses: {'204': {description: d}}}
    post: {operationId: post, responses: {'204': {description: d}}}
";

    #[test]
    fn literals_go_before_variables() {
        let pages = Pages { spec: String::new(), docs: String::new() };
        let document = Document::parse(SPEC).unwrap();
        let config =
            Config { http: Limits { max_body_bytes: 0, drain_seconds: 0 }, security: BTreeMap::new() };
        let service = Service::new(document, |_| Some(|_| Ok(Reply::empty(204))), &config, pages);
        let routes = service.unwrap().routes;
        let methods = |path: &str| -> Vec<String> {
            let found = routes.at(path).map(|found| found.value.endpoints.keys().cloned().collect());
            found.unwrap_or_default()
        };
        assert_eq!(methods("/pets/first"), ["GET", "HEAD"]);
        assert_eq!(methods("/pets/a%20b"), ["GET", "HEAD", "POST"]);
        assert!(["/pets", "/pets/", "/pets/7/", "/", ""].iter().all(|path| methods(path).is_empty()));
    }

    #[test]
    fn a_panic_ends_one_request_only() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let run = |handler| runtime.block_on(run(handler, Input::Null, Context::new()));
        assert_eq!(run(|_| panic!("on purpose")).unwrap_err().status, 500);
        assert_eq!(run(|_| Ok(Reply::empty(204))).unwrap().0.status(), 204);
    }
}
