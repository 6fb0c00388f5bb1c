//! Processes that die, hang or never become ready: rolled back, restarted with pauses, reported.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{app, free_port, sha256, Supervised};
use serde_json::json;

/// A supervisor whose process is past its probation.
fn settled() -> (Supervised, String) {
    let mut pod = Supervised::start(&[]);
    let artifact = app("version=good");
    let digest = sha256(&artifact);
    pod.push_with(&artifact, |want| want["probation_ms"] = json!(50));
    pod.until(|status| status["good"] == digest && status["ready"] == true);
    (pod, digest)
}

fn back(pod: &Supervised, generation: i64, digest: &str) -> String {
    let status = pod.until(|status| {
        status["outcome"]["result"] == "rolled_back" && status["state"] == "running"
    });
    assert_eq!(status["outcome"]["generation"], generation);
    assert_eq!(status["running"]["digest"], digest);
    assert_eq!(status["good"], digest);
    assert_eq!(status["ready"], false);
    assert_eq!(pod.asked("version"), "good");
    let (code, body) = pod.ready();
    let reason = status["outcome"]["reason"].as_str().unwrap().to_string();
    assert!(code == 503 && body.contains(&reason), "{body}");
    reason
}

#[test]
fn one_that_dies_at_once_is_rolled_back() {
    let (mut pod, digest) = settled();
    let generation = pod.push_with(&app("exit=101"), |_| ());
    let reason = back(&pod, generation, &digest);
    assert!(reason.starts_with("exit code 101 after "), "{reason}");
    let exit = &pod.status("")["exit"];
    assert_eq!(
        (&exit["code"], &exit["signal"]),
        (&json!(101), &json!(null))
    );
    assert!(pod.line("rolled back").contains(&digest[..12]));
    // It is not tried again by itself, and the next one at once.
    let pid = pod.status("")["running"]["pid"].clone();
    let raw = std::fs::read(pod.folder.0.join("want.json")).unwrap();
    pod.folder.publish_text(&[raw, b"\n".to_vec()].concat());
    let quiet = pod.status("?generation=100000&wait_s=0.4");
    assert_eq!(quiet["running"]["pid"], pid);
    let status = pod.push(&app("version=next"));
    assert_eq!(status["outcome"]["result"], "fresh");
    assert_eq!(
        (&status["exit"], &status["ready"]),
        (&json!(null), &json!(true))
    );
}

#[test]
fn one_that_dies_within_its_probation_was_fresh_before() {
    let (mut pod, digest) = settled();
    let generation = pod.push_with(&app("version=bad dies_after=1000"), |want| {
        want["probation_ms"] = json!(30_000);
    });
    let status = pod.outcome(generation);
    assert_eq!(
        (&status["outcome"]["result"], &status["ready"]),
        (&json!("fresh"), &json!(true))
    );
    assert_eq!(status["good"], digest);
    back(&pod, generation, &digest);
    pod.line("fresh generation=2");
    pod.line("rolled back");
}

#[test]
fn one_that_never_listens_is_rolled_back() {
    let (mut pod, digest) = settled();
    let bad = |want: &mut serde_json::Value| want["probation_ms"] = json!(300);
    let generation = pod.push_with(&app("hang=1"), bad);
    let reason = back(&pod, generation, &digest);
    assert!(
        reason.starts_with("not ready within 300 ms: nothing listens on port"),
        "{reason}"
    );
    let generation = pod.push_with(&app("version=sick health=503"), bad);
    pod.until(|status| status["outcome"]["generation"] == generation);
    let reason = back(&pod, generation, &digest);
    assert!(reason.ends_with("/health answered 503"), "{reason}");
}

#[test]
fn where_it_listens_is_told() {
    let mut pod = Supervised::start(&[]);
    let status = pod.push(&app("version=a"));
    let listens = status["running"]["listens"].as_str().unwrap();
    assert!(listens.ends_with(&format!(":{}", pod.port)), "{listens}");
    let port = free_port();
    let generation = pod.push_with(&app("version=b"), |want| {
        want["probation_ms"] = json!(500);
        want["env"] = json!({"PORT": port.to_string()});
    });
    pod.until(|status| status["outcome"]["generation"] == generation);
    let status = pod.outcome(generation);
    let reason = status["outcome"]["reason"].as_str().unwrap();
    let wanted = format!(": nothing listens on port {}, but on ", pod.port);
    assert!(reason.contains(&wanted), "{reason}");
    assert!(reason.ends_with(&format!(":{port}")), "{reason}");
}

#[test]
fn without_a_good_one_it_hangs_on_and_may_still_come() {
    let mut pod = Supervised::start(&[]);
    let generation = pod.push_with(&app("hang=1"), |want| want["probation_ms"] = json!(100));
    let status = pod.outcome(generation);
    assert_eq!(status["outcome"]["result"], "failed", "{status}");
    assert_eq!(
        (&status["state"], &status["good"]),
        (&json!("starting"), &json!(null))
    );
    assert!(status["running"]["pid"].is_i64());
    assert_eq!(pod.push(&app("version=a"))["outcome"]["result"], "fresh");
}

#[test]
fn without_roll_back_it_is_started_again_with_growing_pauses() {
    let (mut pod, _) = settled();
    let generation = pod.push_with(&app("exit=3"), |want| want["rollback"] = json!(false));
    let status = pod.outcome(generation);
    assert_eq!(status["outcome"]["result"], "crashed", "{status}");
    let began = Instant::now();
    let used = pod.cpu_ms();
    for pause in [100, 200, 400, 800] {
        let line = pod.line("again in");
        assert!(line.contains("(exit code 3 after "), "{line}");
        assert!(line.contains(&format!("again in {pause} ms")), "{line}");
    }
    assert!(began.elapsed() >= Duration::from_millis(600));
    let status = pod.status("");
    assert!(status["restarts"].as_u64().unwrap() >= 3, "{status}");
    assert_eq!(
        (&status["state"], &status["ready"]),
        (&json!("crashed"), &json!(false))
    );
    let spent = pod.cpu_ms() - used;
    assert!(
        spent < 500,
        "{spent} ms of processor time for three restarts"
    );
    // The pause that is under way is not waited for.
    let status = pod.push(&app("version=next"));
    assert_eq!(status["outcome"]["result"], "fresh");
}

#[test]
fn a_good_one_that_dies_later_is_started_again() {
    let mut pod = Supervised::start(&[]);
    let artifact = app("version=a dies_after=900");
    let generation = pod.push_with(&artifact, |want| want["probation_ms"] = json!(50));
    pod.until(|status| status["good"] == sha256(&artifact));
    let status = pod.until(|status| status["state"] == "crashed");
    assert_eq!(status["outcome"]["result"], "crashed");
    let status = pod.until(|status| status["ready"] == true);
    assert_eq!(status["outcome"]["result"], "fresh");
    assert_eq!(status["outcome"]["generation"], generation);
    assert_eq!(
        (&status["restarts"], &status["exit"]["code"]),
        (&json!(1), &json!(101))
    );
}

#[test]
fn the_good_one_comes_back_though_its_file_is_gone() {
    let (mut pod, digest) = settled();
    std::fs::remove_file(pod.folder.0.join("bin").join(&digest)).unwrap();
    let generation = pod.push_with(&app("exit=1"), |_| ());
    back(&pod, generation, &digest);
}

/// Overwrites the good artifact, through the descriptor that is held of it too, while `bad` runs.
fn spoilt(bad: &str) -> (Supervised, serde_json::Value) {
    let (mut pod, digest) = settled();
    let generation = pod.push_with(&app(bad), |_| ());
    pod.until(|status| status["running"]["generation"] == generation);
    std::fs::write(pod.folder.0.join("bin").join(&digest), b"something else").unwrap();
    let status = pod.outcome(generation);
    assert_eq!(status["good"], json!(null), "{status}");
    let (_, metrics) = common::get(pod.server, "/metrics");
    let announced = "kindloop_swaps_total{result=\"rolled_back\"} 0\n";
    assert!(metrics.contains(announced), "{metrics}");
    (pod, status)
}

#[test]
fn a_roll_back_that_cannot_be_is_not_announced() {
    let (mut pod, status) = spoilt("hang=1");
    let outcome = &status["outcome"];
    assert_eq!(outcome["result"], "failed", "{status}");
    let reason = outcome["reason"].as_str().unwrap();
    assert!(reason.starts_with("not ready within"), "{reason}");
    assert!(reason.contains("; cannot roll back: "), "{reason}");
    assert_eq!(status["running"]["generation"], outcome["generation"]);
    assert_eq!(pod.push(&app("version=next"))["outcome"]["result"], "fresh");

    let (mut pod, status) = spoilt("exit=3 after=1000");
    let outcome = &status["outcome"];
    assert_eq!(outcome["result"], "crashed", "{status}");
    let reason = outcome["reason"].as_str().unwrap();
    assert!(reason.starts_with("exit code 3 after"), "{reason}");
    assert!(reason.contains("; cannot roll back: "), "{reason}");
    assert_eq!(pod.push(&app("version=next"))["outcome"]["result"], "fresh");
}

#[test]
fn a_health_path_that_is_not_asked_for_is_not_asked() {
    let folder = common::Folder::new();
    let mut pod = Supervised::start_in(folder, &[], &[("KINDLOOP_HEALTH", "")]);
    let status = pod.push(&app("version=a health=503"));
    assert_eq!(status["outcome"]["result"], "fresh");
}
