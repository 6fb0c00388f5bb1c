//! Traces by the conventions of OpenTelemetry: a span for each request, in it one for the handler.
//!
//! The standard variables decide: spans are made when `OTEL_EXPORTER_OTLP_ENDPOINT` is set and
//! `OTEL_SDK_DISABLED` is not `true`. The trace of a caller is passed on in any case.

use crate::export::Client;
use crate::log::{log, Level};
use futures_executor::block_on;
use http::header::{HeaderMap, USER_AGENT};
use http::request::Parts;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
pub use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanExporter as _};
use opentelemetry_semantic_conventions::attribute as names;
use serde_json::json;
use std::env;
use std::sync::mpsc::{channel, Receiver};
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

/// How long a stop may wait for the last spans: somebody waits for the next process.
const FLUSH: Duration = Duration::from_millis(100);

/// Nothing is in it when nothing is exported.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();
static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// The background export, from [`start`] to [`Export::stop`].
pub struct Export {
    provider: SdkTracerProvider,
    client: Client,
    /// Ends when the collector was first asked.
    asked: Receiver<()>,
}

/// Begins to export when the environment says so. A wrong setting costs the traces, not the service.
pub fn start() -> Option<Export> {
    let set = |name| env::var(name).is_ok_and(|value| !value.is_empty());
    let is = |name, text: &str| env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case(text));
    let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    if !endpoints.into_iter().any(set)
        || is("OTEL_SDK_DISABLED", "true")
        || is("OTEL_TRACES_EXPORTER", "none")
    {
        return None;
    }
    let client = Client::new();
    let exporter = |retry| {
        let builder = SpanExporter::builder().with_http().with_http_client(client.clone());
        builder.with_retry_policy(retry).build()
    };
    let (once, exporter) = match (exporter(RetryPolicy::disabled()), exporter(RetryPolicy::default())) {
        (Ok(once), Ok(exporter)) => (once, exporter),
        (Err(error), _) | (_, Err(error)) => {
            log(Level::Warn, "traces are not exported", json!({"error": error.to_string()}));
            return None;
        }
    };
    // An empty export, to know and to tell from the start whether somebody is there.
    let (asking, asked) = channel();
    thread::spawn(move || {
        let _asking = asking;
        block_on(once.export(Vec::new()))
    });
    // Its queue is bounded: what does not fit is dropped, and no request waits.
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    TRACER.get_or_init(|| provider.tracer("telemetry"));
    Some(Export { provider, client, asked })
}

impl Export {
    /// Exports what is queued, if that is likely to be quick.
    pub fn stop(self) {
        // Over long ago, unless the process is only a few milliseconds old.
        let _ = self.asked.recv_timeout(FLUSH);
        if self.client.is_up() {
            // Spans that are lost here are no reason for the process to fail.
            let _ = self.provider.shutdown_with_timeout(FLUSH);
        }
    }
}

/// The trace of the caller, if it told one.
pub fn caller(headers: &HeaderMap) -> Context {
    PROPAGATOR.extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

/// The trace of the caller with a span for its request, when spans are made. Without a `route`
/// nothing is at the path; a method that is not known names no span.
pub fn request(caller: Context, head: &Parts, route: Option<&str>, is_known: bool) -> Context {
    let Some(tracer) = TRACER.get() else {
        return caller;
    };
    let method = head.method.as_str();
    let (name, label) = if is_known { (method, method) } else { ("HTTP", "_OTHER") };
    let name = route.map_or(name.to_string(), |route| format!("{name} {route}"));
    let mut attributes = vec![
        KeyValue::new(names::HTTP_REQUEST_METHOD, label.to_string()),
        KeyValue::new(names::URL_PATH, head.uri.path().to_string()),
        KeyValue::new(names::URL_SCHEME, "http"),
    ];
    let mut add = |name, value: Option<&str>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value.to_string())));
    };
    add(names::HTTP_ROUTE, route);
    add(names::HTTP_REQUEST_METHOD_ORIGINAL, Some(method).filter(|_| !is_known));
    add(names::URL_QUERY, head.uri.query());
    add(names::USER_AGENT_ORIGINAL, head.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()));
    let span = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    caller.with_span(span.start_with_context(tracer, &caller))
}

/// Ends the span of a request, and tells the caller which one it was.
pub fn answered(request: &Context, status: u16, headers: &mut HeaderMap) {
    let Some(made) = made(request) else {
        return;
    };
    let span = request.span();
    span.set_attribute(KeyValue::new(names::HTTP_RESPONSE_STATUS_CODE, i64::from(status)));
    if status >= 500 {
        span.set_attribute(KeyValue::new(names::ERROR_TYPE, status.to_string()));
        span.set_status(Status::error(""));
    }
    span.end();
    let text = format!("00-{}-{}-{:02x}", made.trace_id(), made.span_id(), made.trace_flags());
    // Only hexadecimal digits and hyphens: always a value.
    text.parse().ok().and_then(|value| headers.insert("traceresponse", value));
}

/// A span for the handler of an operation, when its request has one.
pub fn handler(operation: &str, request: &Context) -> Context {
    let tracer = TRACER.get().filter(|_| made(request).is_some());
    tracer.map_or(request.clone(), |tracer| {
        request.with_span(tracer.start_with_context(format!("handler {operation}"), request))
    })
}

/// Ends the span of a handler; `problem` is the status and the detail of what it could not do.
pub fn handled(handler: &Context, problem: Option<(u16, &str)>) {
    if made(handler).is_none() {
        return;
    }
    let span = handler.span();
    if let Some((status @ 500.., detail)) = problem {
        span.set_attribute(KeyValue::new(names::ERROR_TYPE, status.to_string()));
        span.set_status(Status::error(detail.to_string()));
    }
    span.end();
}

/// The headers that a handler gives the requests it makes, so that they belong to its trace:
/// `traceparent`, and `tracestate` if there is one.
pub fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    PROPAGATOR.inject_context(&Context::current(), &mut HeaderInjector(&mut headers));
    if headers.get("tracestate").is_some_and(|value| value.is_empty()) {
        headers.remove("tracestate");
    }
    headers
}

/// The current span, for a log line.
pub fn ids() -> Option<[String; 2]> {
    made(&Context::current()).map(|span| [span.trace_id().to_string(), span.span_id().to_string()])
}

/// The span of a context, if it is ours and not the caller's.
fn made(context: &Context) -> Option<SpanContext> {
    let span = context.span().span_context().clone();
    (span.is_valid() && !span.is_remote()).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::SpanData;
    use std::sync::{Arc, Mutex};

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[derive(Debug, Default, Clone)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl opentelemetry_sdk::trace::SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn begin() -> Context {
        let asked = http::Request::get("/pets").header("traceparent", CALLER).header("tracestate", "a=b");
        let head = asked.body(()).unwrap().into_parts().0;
        request(caller(&head.headers), &head, Some("/pets"), true)
    }

    fn passed_on(context: Context) -> [String; 2] {
        let _entered = context.attach();
        let headers = headers();
        ["traceparent", "tracestate"].map(|name| headers[name].to_str().unwrap().to_string())
    }

    /// One test for both: what makes spans is set once in a process.
    #[test]
    fn callers_are_passed_on_and_failures_are_told() {
        let without = begin();
        assert_eq!(passed_on(handler("list", &without)), [CALLER, "a=b"]);
        let mut reply = HeaderMap::new();
        answered(&without, 200, &mut reply);
        assert!(reply.is_empty() && ids().is_none() && headers().is_empty());

        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        TRACER.set(provider.tracer("test")).unwrap();
        let context = begin();
        let called = handler("list", &context);
        let [parent, state] = passed_on(called.clone());
        handled(&called, Some((503, "no room")));
        answered(&context, 503, &mut reply);
        // What has no span of its own has none for its handler.
        let without = caller(&HeaderMap::new());
        handled(&handler("list", &without), None);
        answered(&without, 200, &mut HeaderMap::new());

        let spans = kept.0.lock().unwrap();
        let [inner, outer] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((&*inner.name, &*outer.name), ("handler list", "GET /pets"));
        assert_eq!(inner.status, Status::error("no room"));
        assert_eq!(outer.status, Status::error(""));
        let error = KeyValue::new("error.type", "503");
        assert!(inner.attributes.contains(&error) && outer.attributes.contains(&error));
        let text = |span: &SpanData| format!("{CALLER:.35}-{}-01", span.span_context.span_id());
        assert_eq!([parent, state], [text(inner), "a=b".to_string()]);
        assert_eq!(reply["traceresponse"], text(outer).as_str());
    }
}
