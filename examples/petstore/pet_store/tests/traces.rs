//! The traces of the service as a collector receives them.

mod client;
#[rustfmt::skip]
mod collector;

use client::{Response, Server};
use collector::{hex, Collector, Received};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

const KEY: &str = "X-API-Key: test123\r\n";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const SERVER: i32 = 2;
const INTERNAL: i32 = 1;

fn start(endpoint: &str, more: &[(&str, &str)]) -> Server {
    let program = Path::new(env!("CARGO_BIN_EXE_pet_store"));
    let mut env = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    env.extend(more);
    Server::start_with(program, Path::new(env!("CARGO_MANIFEST_DIR")), &env)
}

/// Asks as a part of the trace.
fn ask(server: &Server, method: &str, path: &str) -> Response {
    let headers = format!("{KEY}Traceparent: 00-{TRACE}-{CALLER}-01\r\n");
    server.send(method, path, &headers, b"")
}

fn named<'a>(spans: &'a [Received], name: &str) -> &'a Received {
    let found = spans.iter().find(|received| received.span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

#[test]
fn a_request_continues_the_callers_trace_with_its_handler() {
    let collector = Collector::start();
    let server = start(&collector.endpoint, &[]);
    let response = ask(&server, "GET", "/pets/1?x=1");
    assert_eq!(response.status, 200);
    let spans = collector.trace(TRACE, 2);
    let (request, handler) = (
        named(&spans, "GET /pets/{id}"),
        named(&spans, "handler get_pet"),
    );
    assert_eq!(
        (request.service.as_str(), request.span.kind),
        ("shop", SERVER)
    );
    assert_eq!(hex(&request.span.parent_span_id), CALLER);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/pets/{id}"),
        ("http.response.status_code", "200"),
        ("url.path", "/pets/1"),
        ("url.query", "x=1"),
        ("url.scheme", "http"),
        ("error.type", ""),
    ] {
        assert_eq!(request.get(name), value, "{name}");
    }
    assert_eq!((request.status(), handler.status()), ((0, ""), (0, "")));
    assert_eq!(handler.span.kind, INTERNAL);
    assert_eq!(handler.span.parent_span_id, request.span.span_id);
    let own = format!(
        "traceresponse: 00-{TRACE}-{}-01",
        hex(&request.span.span_id)
    );
    assert!(response.head.contains(&own), "{}", response.head);
}

#[test]
fn what_no_handler_answered_has_one_span_and_probes_have_none() {
    let collector = Collector::start();
    let server = start(&collector.endpoint, &[]);
    for path in ["/health", "/metrics"] {
        let response = ask(&server, "GET", path);
        assert!(
            !response.head.contains("traceresponse"),
            "{}",
            response.head
        );
    }
    assert_eq!(ask(&server, "GET", "/nowhere").status, 404);
    assert_eq!(ask(&server, "BREW", "/pets").status, 405);
    assert_eq!(
        server
            .send(
                "GET",
                "/secure",
                &format!("{KEY}Traceparent: 00-{TRACE}-{CALLER}-01\r\n"),
                b""
            )
            .status,
        401
    );
    let spans = collector.trace(TRACE, 3);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(collector.spans().len(), 3, "{spans:#?}");
    assert_eq!(named(&spans, "GET").get("http.route"), "");
    let brew = named(&spans, "HTTP /pets");
    assert_eq!(brew.get("http.request.method"), "_OTHER");
    assert_eq!(brew.get("http.request.method_original"), "BREW");
    let refused = named(&spans, "GET /secure");
    // Not an error of this side.
    assert_eq!(
        (
            refused.get("http.response.status_code").as_str(),
            refused.status().0
        ),
        ("401", 0)
    );
}

#[test]
fn log_lines_tell_the_span() {
    let collector = Collector::start();
    let server = start(&collector.endpoint, &[]);
    ask(&server, "GET", "/pets/999999");
    let line = server.logged("request");
    let spans = collector.trace(TRACE, 2);
    assert_eq!(line["trace_id"], TRACE);
    assert_eq!(
        line["span_id"],
        hex(&named(&spans, "GET /pets/{id}").span.span_id)
    );
}

#[test]
fn a_stop_exports_what_is_queued() {
    let collector = Collector::start();
    let server = start(
        &collector.endpoint,
        &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")],
    );
    assert_eq!(ask(&server, "GET", "/pets").status, 200);
    assert_eq!(collector.spans().len(), 0);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(collector.spans().len(), 2);
}

#[test]
fn nothing_is_exported_when_it_is_off_or_not_sampled() {
    let collector = Collector::start();
    let off: [(&[(&str, &str)], &str); 5] = [
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], ""),
        (&[("OTEL_SDK_DISABLED", "true")], ""),
        (&[("OTEL_TRACES_EXPORTER", "none")], ""),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address")], ""),
        (&[("OTEL_TRACES_SAMPLER", "always_off")], "-00"),
    ];
    for (env, flags) in off {
        let server = start(&collector.endpoint, env);
        let response = ask(&server, "GET", "/pets/999999");
        assert_eq!(response.status, 404);
        let line = server.logged("request");
        let told = response.head.split_once("traceresponse: ");
        match told {
            None => assert!(
                flags.is_empty() && line.get("trace_id").is_none(),
                "{env:?} {line}"
            ),
            Some((_, told)) => {
                assert!(told.starts_with(&format!("00-{TRACE}-")), "{told}");
                assert!(
                    !flags.is_empty() && told.lines().next().unwrap().ends_with(flags),
                    "{env:?} {told}"
                );
            }
        }
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
    }
    assert_eq!(collector.spans().len(), 0);
}

#[test]
fn a_collector_that_is_away_costs_no_request_and_one_line() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = start(
        &format!("http://{address}"),
        &[("OTEL_BSP_MAX_QUEUE_SIZE", "8")],
    );
    // Ten times what the queue holds.
    (0..80).for_each(|_| assert_eq!(server.get("/pets").status, 200));
    let line = server.logged("traces are not exported");
    assert_eq!(line["endpoint"], format!("http://{address}/v1/traces"));
    assert!(
        line["error"].as_str().unwrap().contains("refused"),
        "{line}"
    );
    (0..20).for_each(|_| assert_eq!(server.get("/pets").status, 200));
    let collector = Collector::on(TcpListener::bind(address).unwrap());
    // When a second batch is there, what is to be said of the first was said.
    for _ in 0..2 {
        let seen = collector.spans().len();
        while collector.spans().len() == seen {
            assert_eq!(server.get("/pets").status, 200);
        }
    }
    server.signal("TERM");
    let mut lines = server.ended().1;
    lines.retain(|line| line.contains("exported"));
    assert!(
        lines.len() == 1 && lines[0].contains("traces are exported again"),
        "{lines:?}"
    );
}

#[test]
fn a_collector_that_nobody_knows_costs_no_request() {
    let server = start("http://collector.invalid:4318", &[]);
    (0..20).for_each(|_| assert_eq!(server.get("/pets").status, 200));
    server.logged("traces are not exported");
    (0..20).for_each(|_| assert_eq!(server.get("/pets").status, 200));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_collector_that_no_longer_answers_holds_up_neither_requests_nor_the_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let hour = ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000");
    let server = start(&endpoint, &[hour, ("OTEL_BSP_MAX_QUEUE_SIZE", "8")]);
    let mut first = listener.accept().unwrap().0;
    let mut bytes = [0; 4096];
    assert!(first.read(&mut bytes).unwrap() > 0);
    // From here on it counts as up, so that the stop tries to export.
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    first.write_all(answer.as_bytes()).unwrap();
    while first.read(&mut bytes).unwrap_or_default() > 0 {}
    assert_eq!(server.get("/pets").status, 200);
    let held = listener.accept().unwrap();
    (0..80).for_each(|_| assert_eq!(server.get("/pets").status, 200));
    server.signal("TERM");
    let (status, lines) = server.ended();
    assert_eq!(status.code(), Some(0));
    assert!(
        !lines.iter().any(|line| line.contains("exported")),
        "{lines:?}"
    );
    drop(held);
}

#[test]
fn a_collector_that_never_answered_holds_up_no_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = start(&endpoint, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")]);
    let held = listener.accept().unwrap();
    assert_eq!(server.get("/pets").status, 200);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    drop(held);
}
