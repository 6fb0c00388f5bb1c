//! The supervisor's own server: what it answers, and that no client can hurt PID 1.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{app, exchange, get, Supervised};
use serde_json::json;

#[test]
fn only_what_it_knows_and_only_get() {
    let pod = Supervised::start(&[]);
    assert_eq!(get(pod.server, "/").0, 404);
    assert_eq!(get(pod.server, "/status?generation=x").0, 400);
    let post = b"POST /status HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(exchange(pod.server, post).unwrap().0, 405);
    assert_eq!(exchange(pod.server, b"nonsense\r\n\r\n").unwrap().0, 400);
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(10_000));
    assert_eq!(exchange(pod.server, long.as_bytes()).unwrap().0, 431);
    assert_eq!(get(pod.server, "/livez").0, 200);
}

#[test]
fn a_status_waits_for_an_outcome_or_a_revision() {
    let mut pod = Supervised::start(&[]);
    let revision = pod.status("")["revision"].as_u64().unwrap();
    let began = Instant::now();
    let status = pod.status(&format!("?revision={revision}&wait_s=0.3"));
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(status["revision"], revision);
    // A revision of the supervisor that was here before.
    let began = Instant::now();
    pod.status(&format!("?revision={}&wait_s=30", revision + 100));
    assert!(began.elapsed() < Duration::from_secs(20));
    // Asked before it happens, answered when it does.
    std::thread::scope(|scope| {
        let server = pod.server;
        let ask = move |query: &str| {
            let (_, body) = get(server, &format!("/status?{query}&wait_s=30"));
            serde_json::from_str::<serde_json::Value>(&body).unwrap()
        };
        let outcome = scope.spawn(move || ask("generation=1"));
        let changed = scope.spawn(move || ask(&format!("revision={revision}")));
        pod.push_with(&app("version=a"), |_| ());
        assert_eq!(outcome.join().unwrap()["outcome"]["result"], "fresh");
        assert!(changed.join().unwrap()["revision"].as_u64().unwrap() > revision);
    });
    // A later generation answers for an earlier one.
    assert_eq!(
        pod.status("?generation=0&wait_s=30")["outcome"]["generation"],
        1
    );
}

#[test]
fn nothing_of_the_app_is_in_an_answer() {
    let mut pod = Supervised::start(&["--", "secret-argument"]);
    let generation = pod.push_with(&app("version=a"), |want| {
        want["env"] = json!({"TOKEN": "secret-value"});
    });
    pod.outcome(generation);
    for path in ["/livez", "/readyz", "/status", "/metrics"] {
        let (_, body) = get(pod.server, path);
        assert!(
            !body.contains("secret") && !body.contains("TOKEN"),
            "{body}"
        );
    }
}

#[test]
fn abuse_stops_neither_swaps_nor_probes() {
    let mut pod = Supervised::start(&[]);
    pod.push(&app("version=a"));
    let server = pod.server;
    let over = AtomicBool::new(false);
    let fds = pod.fds();
    std::thread::scope(|scope| {
        // Connections that send nothing, a byte at a time, or what is no HTTP.
        scope.spawn(|| {
            let mut open: Vec<TcpStream> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                open.extend(TcpStream::connect(("127.0.0.1", server)));
                for stream in &mut open {
                    let _ = stream.write(b"G");
                }
                if open.len() > 100 {
                    open.clear();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let noise: Vec<u8> = (0..10_240_u32).map(|at| ((at * 7919) >> 3) as u8).collect();
                let _ = exchange(server, &noise);
            }
        });
        for version in ["b", "c", "d", "e"] {
            let artifact = app(&format!("version={version}"));
            pod.push_with(&artifact, |_| ());
            pod.line(&format!("fresh generation={}", pod_generation(version)));
            let patience = Instant::now() + common::PATIENCE;
            while exchange(server, b"GET /livez HTTP/1.1\r\n\r\n").is_none() {
                assert!(Instant::now() < patience);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(pod.asked("version"), "e");
    pod.wait_for_fds(fds);
}

fn pod_generation(version: &str) -> usize {
    "abcde".find(version).unwrap() + 1
}

#[test]
fn a_client_that_says_nothing_is_shown_out() {
    let pod = Supervised::start(&[]);
    let mut stream = TcpStream::connect(("127.0.0.1", pod.server)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
}

#[test]
fn many_that_wait_leave_room_for_probes() {
    let pod = Supervised::start(&[]);
    let revision = pod.status("")["revision"].as_u64().unwrap();
    let text = format!("GET /status?revision={revision}&wait_s=30 HTTP/1.1\r\n\r\n");
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(("127.0.0.1", pod.server)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        waiting.push(stream);
    }
    assert_eq!(get(pod.server, "/livez").0, 200);
    // Those that had to give way got an answer.
    let mut first = String::new();
    waiting[0].read_to_string(&mut first).unwrap();
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
}

#[test]
fn an_idle_supervisor_is_idle() {
    let mut pod = Supervised::start(&[]);
    pod.push(&app("version=a"));
    let used = pod.cpu_ms();
    pod.status("?generation=100000&wait_s=2");
    let spent = pod.cpu_ms() - used;
    assert!(spent < 400, "{spent} ms of processor time in two seconds");
}
