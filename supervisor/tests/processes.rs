//! Signals, groups, orphans: what a PID 1 owes to the processes under it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::{app, Supervised};
use serde_json::json;

fn is_alive(pid: i64) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn one_that_ignores_term_is_killed_after_its_grace() {
    let mut pod = Supervised::start(&[]);
    let generation = pod.push_with(&app("version=a deaf=1"), |want| {
        want["grace_ms"] = json!(300)
    });
    let old = pod.outcome(generation)["running"]["pid"].as_i64().unwrap();
    let status = pod.push(&app("version=b"));
    assert_eq!(status["outcome"]["result"], "fresh");
    assert!(
        status["timings_ms"]["stop"].as_f64().unwrap() >= 300.0,
        "{status}"
    );
    assert!(!is_alive(old));
}

#[test]
fn one_that_obeys_is_not_waited_for() {
    let mut pod = Supervised::start(&[]);
    let generation = pod.push_with(&app("version=a"), |want| want["grace_ms"] = json!(600_000));
    pod.outcome(generation);
    assert_eq!(pod.push(&app("version=b"))["outcome"]["result"], "fresh");
}

#[test]
fn what_it_left_behind_is_dead_before_the_next_one_starts() {
    let mut pod = Supervised::start(&[]);
    for version in ["a", "b", "c"] {
        // Each leaves a deaf process of another session with the listening socket; the next one
        // binds the same port at its first try or fails.
        let status = pod.push(&app(&format!("version={version} holder=1")));
        assert_eq!(status["outcome"]["result"], "fresh", "{status}");
        assert_eq!(status["restarts"], 0);
        assert_eq!(pod.asked("version"), version);
    }
    assert_eq!(pod.zombies(), 0);
}

#[test]
fn the_same_when_it_dies_by_itself() {
    let mut pod = Supervised::start(&[]);
    let generation = pod.push_with(&app("version=a holder=1 dies_after=300"), |want| {
        want["rollback"] = json!(false);
    });
    pod.outcome(generation);
    let status =
        pod.until(|status| status["restarts"].as_u64().unwrap() >= 1 && status["ready"] == true);
    assert_eq!(status["exit"]["code"], 101, "{status}");
}

#[test]
fn a_port_in_other_hands_is_not_ready() {
    let mut pod = Supervised::start(&[]);
    let other = TcpListener::bind(("127.0.0.1", pod.port)).unwrap();
    let generation = pod.push_with(&app("hang=1"), |want| want["probation_ms"] = json!(100));
    let status = pod.outcome(generation);
    let reason = status["outcome"]["reason"].as_str().unwrap();
    assert!(reason.ends_with("is held by another process"), "{reason}");
    drop(other);
}

#[test]
fn two_hundred_orphans_leave_no_zombie() {
    let mut pod = Supervised::start(&[]);
    pod.push(&app("version=a orphans=200"));
    pod.until(|status| {
        assert!(status["reaped"].as_u64().unwrap() <= 200);
        // Reaping shows no revision of its own.
        std::thread::sleep(std::time::Duration::from_millis(5));
        pod.status("")["reaped"] == 200
    });
    assert_eq!(pod.zombies(), 0);
}

#[test]
fn term_stops_the_app_and_leaves_with_its_code() {
    let mut pod = Supervised::start(&[]);
    let pid = pod.push(&app("version=a"))["running"]["pid"]
        .as_i64()
        .unwrap();
    pod.signal(libc::SIGTERM);
    assert_eq!(pod.exit_code(), Some(128 + libc::SIGTERM));
    assert!(!is_alive(pid));

    let mut pod = Supervised::start(&[]);
    let generation = pod.push_with(&app("version=a deaf=1"), |want| {
        want["grace_ms"] = json!(100)
    });
    pod.outcome(generation);
    pod.signal(libc::SIGINT);
    assert_eq!(pod.exit_code(), Some(128 + libc::SIGKILL));

    let mut pod = Supervised::start(&[]);
    pod.signal(libc::SIGTERM);
    assert_eq!(pod.exit_code(), Some(0));
}

#[test]
fn other_signals_are_the_apps() {
    for signal in [libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2] {
        let mut pod = Supervised::start(&[]);
        let generation = pod.push_with(&app("version=a"), |want| want["rollback"] = json!(false));
        pod.outcome(generation);
        pod.signal(libc::SIGWINCH);
        pod.signal(signal);
        let status = pod.until(|status| status["exit"]["signal"] == signal);
        assert_eq!(status["outcome"]["result"], "crashed");
    }
}

#[test]
fn settings_that_make_no_sense_are_told() {
    let tell = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(common::SUPERVISOR);
        let output = command
            .arg0("supervisor")
            .args(args)
            .envs(env.iter().copied())
            .output();
        let output = output.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text) = tell(&["--spec"], &[]);
    assert!(
        code == Some(2) && text.contains("unknown option --spec"),
        "{text}"
    );
    let (code, text) = tell(&[], &[("KINDLOOP_PORT", "80808")]);
    assert!(code == Some(2) && text.contains("KINDLOOP_PORT"), "{text}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(tell(&[], &[("KINDLOOP_LISTEN", &address)]).0, Some(1));
    assert_eq!(tell(&["--version"], &[]).0, Some(0));
}
