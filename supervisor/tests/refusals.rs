//! Artifacts and pointers that are not acceptable: refused and reported, and what runs goes on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::ffi::CString;
use std::os::unix::fs::symlink;

use common::{app, sha256, Supervised};
use serde_json::{json, Value};

/// A supervisor with a good process; what is refused must leave just that one running.
fn serving() -> (Supervised, i64) {
    let mut pod = Supervised::start(&[]);
    let status = pod.push(&app("version=good"));
    let pid = status["running"]["pid"].as_i64().unwrap();
    (pod, pid)
}

fn refused(pod: &Supervised, generation: i64, pid: i64) -> String {
    let status = pod.outcome(generation);
    assert_eq!(status["outcome"]["result"], "refused", "{status}");
    assert_eq!(status["wanted"]["generation"], generation);
    assert_eq!(status["running"]["pid"], pid);
    assert_eq!(
        (&status["state"], &status["ready"]),
        (&json!("running"), &json!(false))
    );
    assert_eq!(pod.asked("version"), "good");
    let reason = status["outcome"]["reason"].as_str().unwrap().to_string();
    let (code, body) = pod.ready();
    assert_eq!(code, 503);
    assert!(body.contains(&reason), "{body}");
    reason
}

#[test]
fn files_that_are_not_what_was_promised() {
    let (mut pod, pid) = serving();
    let bin = pod.folder.0.join("bin");
    let new = |pod: &mut Supervised, version: &str, spoil: &dyn Fn(&str, &[u8])| {
        let artifact = app(&format!("version={version}"));
        let digest = sha256(&artifact);
        let generation = pod.push_with(&artifact, |_| spoil(&digest, &artifact));
        refused(pod, generation, pid)
    };
    let folder = pod.folder.0.clone();
    let place = |digest: &str, data: &[u8], mode: u32| {
        let held = common::Folder(folder.clone());
        held.place_as(digest, data, mode);
        std::mem::forget(held);
    };
    let remove = |digest: &str| std::fs::remove_file(bin.join(digest)).unwrap();

    let cut = |digest: &str, data: &[u8]| place(digest, &data[..data.len() / 2], 0o755);
    assert!(new(&mut pod, "1", &cut).starts_with("truncated"));
    let longer = |digest: &str, data: &[u8]| place(digest, &[data, b"x"].concat(), 0o755);
    assert!(new(&mut pod, "2", &longer).starts_with("too long"));
    let other = |digest: &str, data: &[u8]| {
        let mut data = data.to_vec();
        let last = data.len() - 1;
        data[last] ^= 1;
        place(digest, &data, 0o755);
    };
    assert!(new(&mut pod, "3", &other).starts_with("wrong digest"));
    let plain = |digest: &str, data: &[u8]| place(digest, data, 0o644);
    assert!(new(&mut pod, "4", &plain).starts_with("not executable"));
    let gone = |digest: &str, _: &[u8]| remove(digest);
    assert!(new(&mut pod, "5", &gone).starts_with("missing"));
    let link = |digest: &str, data: &[u8]| {
        place("real", data, 0o755);
        remove(digest);
        symlink("real", bin.join(digest)).unwrap();
    };
    assert!(new(&mut pod, "6", &link).starts_with("is a symbolic link"));
    let circle = |digest: &str, _: &[u8]| {
        remove(digest);
        symlink(digest, bin.join(digest)).unwrap();
    };
    assert!(new(&mut pod, "7", &circle).starts_with("is a symbolic link"));
    let fifo = |digest: &str, _: &[u8]| {
        remove(digest);
        let path = CString::new(bin.join(digest).to_str().unwrap()).unwrap();
        // SAFETY: the path is ended by a null byte.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o777) }, 0);
    };
    assert!(new(&mut pod, "8", &fifo).starts_with("not a regular file"));
    let folder = |digest: &str, _: &[u8]| {
        remove(digest);
        std::fs::create_dir(bin.join(digest)).unwrap();
    };
    assert!(new(&mut pod, "9", &folder).starts_with("not a regular file"));
    assert_eq!(pod.push(&app("version=next"))["outcome"]["result"], "fresh");
}

#[test]
fn programs_that_this_machine_cannot_run() {
    let (mut pod, pid) = serving();
    let mut other = app("version=x");
    other[18] = if other[18] == 183 { 62 } else { 183 };
    let mut narrow = app("version=x");
    narrow[4] = 1;
    let mut library = app("version=x");
    library[16] = 1;
    let elf = app("version=x");
    let loader = b"/lib64/ld-linux-x86-64.so.2\0";
    let at = elf.windows(loader.len()).position(|part| part == loader);
    let mut cases = vec![
        (other, "wrong architecture"),
        (narrow, "wrong architecture"),
        (library, "not a program"),
        (b"#!/bin/sh\nexit 0\n".repeat(9), "not an ELF program"),
        (b"\x7fELF".to_vec(), "not an ELF program"),
    ];
    if let Some(at) = at {
        let mut foreign = elf.clone();
        foreign[at + 5] = b'?';
        cases.push((foreign, "linked against /lib6?"));
    }
    for (artifact, reason) in cases {
        let generation = pod.push_with(&artifact, |_| ());
        let told = refused(&pod, generation, pid);
        assert!(told.starts_with(reason), "{told}");
    }
}

#[test]
fn an_artifact_that_comes_after_its_pointer_is_taken_then() {
    let (mut pod, pid) = serving();
    let artifact = app("version=late");
    let digest = sha256(&artifact);
    let path = pod.folder.0.join("bin").join(&digest);
    let generation = pod.push_with(&artifact, |_| std::fs::remove_file(&path).unwrap());
    assert!(refused(&pod, generation, pid).starts_with("missing"));
    pod.folder.place(&artifact);
    pod.until(|status| status["outcome"]["result"] == "fresh");
    assert_eq!(pod.asked("version"), "late");
}

#[test]
fn one_that_is_told_to_leave_starts_nothing_more() {
    let mut pod = Supervised::start(&[]);
    let artifact = app("version=late dies_after=2000");
    // Hashed in a single turn.
    assert!(artifact.len() < 1 << 20);
    let path = pod.folder.0.join("bin").join(sha256(&artifact));
    let generation = pod.push_with(&artifact, |_| std::fs::remove_file(&path).unwrap());
    assert_eq!(pod.outcome(generation)["outcome"]["result"], "refused");
    // It finds all of this in one turn: the artifact, a reason to look for it, and the signal.
    let stat = format!("/proc/{}/stat", pod.child.id());
    let wait_for = |state: &str| {
        while !std::fs::read_to_string(&stat).unwrap().contains(state) {
            std::thread::yield_now();
        }
    };
    wait_for(") S ");
    pod.signal(libc::SIGSTOP);
    wait_for(") T ");
    pod.folder.place(&artifact);
    std::fs::write(pod.folder.0.join("something"), b"").unwrap();
    pod.signal(libc::SIGTERM);
    pod.signal(libc::SIGCONT);
    assert_eq!(pod.exit_code(), Some(0));
}

#[test]
fn a_newer_protocol_is_refused() {
    let (mut pod, pid) = serving();
    let generation = pod.push_with(&app("version=x"), |want| want["version"] = json!(2));
    assert!(refused(&pod, generation, pid).starts_with("newer protocol"));
}

#[test]
fn a_pointer_that_cannot_be_read_is_a_problem_and_no_outcome() {
    let (mut pod, pid) = serving();
    let path = pod.folder.0.join("want.json");
    let whole = std::fs::read(&path).unwrap();
    let before = pod.status("")["outcome"].clone();
    let told = |pod: &Supervised, text: &str| {
        let status = pod.until(|status| {
            status["problem"]
                .as_str()
                .is_some_and(|problem| problem.contains(text))
        });
        assert_eq!(
            (&status["outcome"], &status["running"]["pid"]),
            (&before, &json!(pid))
        );
        assert_eq!((&status["ready"], pod.ready().0), (&json!(true), 200));
    };
    let healed = |pod: &Supervised| {
        let status = pod.until(|status| status["problem"] == Value::Null);
        assert_eq!(status["running"]["pid"], pid);
    };
    pod.folder.publish_text(&whole[..whole.len() / 2]);
    told(&pod, "want.json: not JSON");
    pod.folder.publish_text(&whole);
    healed(&pod);
    pod.folder.publish_text(&vec![b' '; 2 << 20]);
    told(&pod, "longer than");
    pod.folder.publish_text("[".repeat(100_000).as_bytes());
    told(&pod, "not JSON");
    std::fs::remove_file(&path).unwrap();
    healed(&pod);
    std::fs::create_dir(&path).unwrap();
    told(&pod, "not a regular file");
    std::fs::remove_dir(&path).unwrap();
    symlink("want.json", &path).unwrap();
    told(&pod, "symbolic link");
    std::fs::remove_file(&path).unwrap();
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is ended by a null byte.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o666) }, 0);
    told(&pod, "not a regular file");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(pod.push(&app("version=next"))["outcome"]["result"], "fresh");
}

#[test]
fn refused_with_nothing_before_it_waits_for_better() {
    let mut pod = Supervised::start(&[]);
    let generation = pod.push_with(b"nonsense", |_| ());
    let status = pod.outcome(generation);
    assert_eq!(status["outcome"]["result"], "refused");
    assert_eq!(
        (&status["state"], &status["running"]),
        (&json!("waiting"), &json!(null))
    );
    assert_eq!(pod.push(&app("version=a"))["outcome"]["result"], "fresh");
}
