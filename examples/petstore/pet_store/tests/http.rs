//! The service as its clients and its operators see it.

mod client;

use client::{Response, Server};
use openapi::document::Document;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pet_store");
const KEY: &str = "X-API-Key: test123\r\n";
const JSON: &str = "X-API-Key: test123\r\nContent-Type: application/json\r\n";

fn start() -> Server {
    Server::start(Path::new(PROGRAM), Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn every_documented_example_works_again_and_again() {
    let server = start();
    let document = Document::parse(&server.get("/openapi.yaml").body).unwrap();
    assert!(document.operations.len() >= 20);
    for _ in 0..2 {
        document
            .operations
            .iter()
            .for_each(|operation| server.check(&document, operation));
    }
}

#[test]
fn what_is_wrong_gets_a_problem() {
    let server = start();
    let large = format!("\"{}\"", "x".repeat(200_000));
    let send =
        |method, path, headers, body: &str| server.send(method, path, headers, body.as_bytes());
    let cases: [(Response, u16, &str); 11] = [
        (send("GET", "/nowhere", KEY, ""), 404, "nothing is at"),
        (send("GET", "/pets/999999", KEY, ""), 404, "there is no pet"),
        (
            send("PATCH", "/pets", KEY, ""),
            405,
            "allow: get, head, post",
        ),
        (
            send("GET", "/pets", "", ""),
            401,
            "www-authenticate: apikey",
        ),
        (
            send("GET", "/pets", "X-API-Key: wrong\r\n", ""),
            401,
            "credentials",
        ),
        (
            send("GET", "/secure", KEY, ""),
            401,
            "www-authenticate: bearer",
        ),
        (
            send("GET", "/pets?limit=many", KEY, ""),
            400,
            "query parameter `limit`",
        ),
        (send("POST", "/pets", JSON, "{"), 400, "not JSON"),
        (
            send("POST", "/pets", JSON, r#"{"name": 1, "species": "dog"}"#),
            400,
            "\"/name\"",
        ),
        (
            send(
                "POST",
                "/pets",
                "X-API-Key: test123\r\nContent-Type: text/csv\r\n",
                "a",
            ),
            415,
            "application/json",
        ),
        (send("POST", "/pets", JSON, &large), 413, "65536"),
    ];
    for (response, status, text) in cases {
        let about = format!("{}\n{}", response.head, response.body);
        assert_eq!(response.status, status, "{about}");
        assert!(
            about.contains(text) && about.contains("content-type: application/problem+json"),
            "{about}"
        );
    }
    let metrics = server.get("/metrics").body;
    let line = "brrtrouter_requests_total{method=\"GET\",path=\"/pets/{id}\",status=\"404\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn metrics_tell_what_was_answered_and_what_is_active() {
    let server = start();
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("\nbrrtrouter_active_requests 0\n"),
        "{metrics}"
    );
    for _ in 0..3 {
        assert_eq!(server.get("/pets/1").status, 200);
    }
    let metrics = server.get("/metrics").body;
    let value = |metrics: &str, name: &str| -> f64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect(name).parse().unwrap()
    };
    let labels = r#"{method="GET",path="/pets/{id}""#;
    let duration = "brrtrouter_request_duration_seconds";
    for (name, expected) in [
        (
            format!("brrtrouter_requests_total{labels},status=\"200\"}}"),
            3.0,
        ),
        (format!("{duration}_count{labels}}}"), 3.0),
        (format!("{duration}_bucket{labels},le=\"+Inf\"}}"), 3.0),
        // The scrape itself is a probe.
        ("brrtrouter_active_requests".to_string(), 0.0),
    ] {
        assert_eq!(value(&metrics, &name), expected, "{name}");
    }
    let seconds = value(&metrics, &format!("{duration}_sum{labels}}}"));
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    #[cfg(target_os = "linux")]
    for (name, least) in [
        ("process_resident_memory_bytes", 500e3),
        ("process_open_fds", 4.0),
        ("process_start_time_seconds", 1.7e9),
        ("process_cpu_seconds_total", 0.0),
    ] {
        assert!(value(&metrics, name) >= least, "{name}: {metrics}");
    }
    thread::scope(|scope| {
        // Its first event is there: the head of the reply has left.
        let stream = scope.spawn(|| server.get("/events?count=2&interval_ms=1000"));
        let mut seen = 0.0;
        while seen == 0.0 && !stream.is_finished() {
            seen = value(&server.get("/metrics").body, "brrtrouter_active_requests");
        }
        assert_eq!(seen, 1.0);
        let done = "brrtrouter_requests_total{method=\"GET\",path=\"/events\",status=\"200\"}";
        while !server.get("/metrics").body.contains(done) {}
        seen = value(&server.get("/metrics").body, "brrtrouter_active_requests");
        assert!(seen == 1.0 || stream.is_finished(), "{seen}");
        stream.join().unwrap();
    });
    while value(&server.get("/metrics").body, "brrtrouter_active_requests") != 0.0 {}
}

#[test]
fn a_stream_in_flight_ends_before_the_process_does() {
    for signal in ["TERM", "INT"] {
        let server = start();
        let response = thread::scope(|scope| {
            let stream = scope.spawn(|| server.get("/events?count=5&interval_ms=150"));
            thread::sleep(Duration::from_millis(250));
            server.signal(signal);
            stream.join().unwrap()
        });
        assert!(
            response.body.contains("data: tick 5\n\n"),
            "{}",
            response.body
        );
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn wrong_flags_and_broken_files_are_told_apart() {
    let run = |args: &[&str]| {
        let directory = env!("CARGO_MANIFEST_DIR");
        let output = Command::new(PROGRAM)
            .args(args)
            .current_dir(directory)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(run(&["--help"]).0, Some(0));
    assert_eq!(run(&["--port", "1"]).0, Some(2));
    assert_eq!(run(&["--addr", "localhost:1"]).0, Some(2));
    let (code, message) = run(&["--spec", "Cargo.toml"]);
    assert_eq!(code, Some(1));
    assert!(message.starts_with("Cargo.toml:2:1: error: "), "{message}");
}
