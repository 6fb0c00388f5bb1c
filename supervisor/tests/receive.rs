//! `supervisor receive`: a stream becomes files, or nothing changes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use common::{app, sha256, want, Folder, Supervised};
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde_json::{json, Value};

struct Stream {
    header: Value,
    parts: Vec<Vec<u8>>,
}

impl Stream {
    fn new(generation: i64, artifact: &[u8]) -> Self {
        let header = json!({"version": 1, "files": [], "current": null, "keep": [],
                            "want": want(generation, artifact)});
        let parts = Vec::new();
        Stream { header, parts }
    }

    fn file(mut self, path: &str, data: &[u8], mode: u32) -> Self {
        let part = compress_to_vec_zlib(data, 1);
        let files = self.header["files"].as_array_mut().unwrap();
        files.push(
            json!({"path": path, "size": data.len(), "compressed": part.len(),
                          "sha256": sha256(data), "mode": mode}),
        );
        self.parts.push(part);
        self
    }

    fn binary(self, data: &[u8]) -> Self {
        self.file(&format!("bin/{}", sha256(data)), data, 0o755)
    }

    fn bytes(&self) -> Vec<u8> {
        let header = self.header.to_string();
        let mut all = format!("{:08x} {header}\n", header.len()).into_bytes();
        all.extend(self.parts.concat());
        all
    }
}

fn begin(folder: &Folder, command: &mut Command) -> Child {
    command
        .env("KINDLOOP_DIR", &folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn receive(folder: &Folder, stream: &[u8]) -> Value {
    let child = begin(folder, Command::new(common::SUPERVISOR).arg("receive"));
    end(child, stream)
}

/// Sends what is left of a stream; the answer.
fn end(mut child: Child, stream: &[u8]) -> Value {
    let mut input = child.stdin.take().unwrap();
    // It may have seen enough before all is sent.
    let _ = input.write_all(stream);
    drop(input);
    let output = child.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(if answer["ok"] == true { 0 } else { 1 })
    );
    assert_eq!(
        output.stdout.iter().filter(|byte| **byte == b'\n').count(),
        1
    );
    answer
}

/// Every path in the folder, sorted.
fn listing(folder: &Folder) -> Vec<String> {
    fn walk(path: &std::path::Path, base: &std::path::Path, all: &mut Vec<String>) {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            let name = entry
                .path()
                .strip_prefix(base)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), base, all);
            } else {
                all.push(name);
            }
        }
    }
    let mut all = Vec::new();
    walk(&folder.0, &folder.0, &mut all);
    all.sort();
    all
}

fn refused(folder: &Folder, stream: &[u8], reason: &str) {
    let before = listing(folder);
    let answer = receive(folder, stream);
    assert_eq!(answer["ok"], false, "{answer}");
    let told = answer["reason"].as_str().unwrap();
    assert!(told.contains(reason), "{told}");
    assert_eq!(listing(folder), before);
    assert!(!folder.0.join("want.json").exists());
}

#[test]
fn a_whole_stream_is_served() {
    let pod = Supervised::start(&[]);
    let artifact = app("version=a");
    let tree = "12".repeat(32);
    let mut stream = Stream::new(1, &artifact)
        .binary(&artifact)
        .file(&format!("trees/{tree}/config/a.yaml"), b"a: 1\n", 0o644)
        .file(&format!("trees/{tree}/run.sh"), b"", 0o755);
    stream.header["current"] = json!(tree);
    stream.header["want"]["tree"] = json!(tree);
    let answer = receive(&pod.folder, &stream.bytes());
    assert_eq!(answer, json!({"ok": true, "bytes": artifact.len() + 5}));
    assert_eq!(pod.outcome(1)["outcome"]["result"], "fresh");
    assert_eq!(pod.asked("version"), "a");
    let current = pod.folder.0.join("current");
    assert_eq!(
        std::fs::read(current.join("config/a.yaml")).unwrap(),
        b"a: 1\n"
    );
    let mode = |path: &str| current.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("run.sh"), mode("config"), mode("config/a.yaml")),
        (0o755, 0o755, 0o644)
    );

    // The next one sends only what is new; what is not kept goes, what runs is not disturbed.
    let next = app("version=b");
    let mut stream = Stream::new(2, &next).binary(&next);
    stream.header["current"] = json!(tree);
    stream.header["keep"] = json!([sha256(&next)]);
    assert_eq!(receive(&pod.folder, &stream.bytes())["ok"], true);
    assert_eq!(pod.outcome(2)["outcome"]["result"], "fresh");
    assert!(!pod.folder.0.join("bin").join(sha256(&artifact)).exists());
    assert!(current.join("run.sh").exists());

    // Back to what is not there any more, without sending it.
    let answer = receive(&pod.folder, &Stream::new(3, &artifact).bytes());
    assert!(
        answer["reason"]
            .as_str()
            .unwrap()
            .starts_with("missing bin/"),
        "{answer}"
    );
    assert_eq!(pod.status("")["wanted"]["generation"], 2);
}

#[test]
fn a_pointer_alone_is_enough_when_all_is_there() {
    let folder = Folder::new();
    let artifact = app("version=a");
    folder.place(&artifact);
    let answer = receive(&folder, &Stream::new(1, &artifact).bytes());
    assert_eq!(answer, json!({"ok": true, "bytes": 0}));
    let document = std::fs::read(folder.0.join("want.json")).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document, want(1, &artifact));
}

#[test]
fn streams_that_lie_change_nothing() {
    let folder = Folder::new();
    let data = b"some program ".repeat(1000);
    let good = || Stream::new(1, &data).binary(&data);

    let mut lie = good();
    lie.header["files"][0]["size"] = json!(data.len() - 1);
    refused(&folder, &lie.bytes(), "longer than the");
    let mut lie = good();
    lie.header["files"][0]["size"] = json!(data.len() + 1);
    refused(
        &folder,
        &lie.bytes(),
        "it has 13000 of the 13001 bytes declared",
    );
    let mut lie = good();
    lie.parts[0] = compress_to_vec_zlib(&b"other program".repeat(1000), 1);
    lie.header["files"][0]["compressed"] = json!(lie.parts[0].len());
    refused(&folder, &lie.bytes(), "wrong digest");
    let mut lie = good();
    lie.parts[0].extend_from_slice(b"more");
    lie.header["files"][0]["compressed"] = json!(lie.parts[0].len());
    refused(&folder, &lie.bytes(), "something follows");
    let mut lie = good();
    lie.parts[0] = vec![0xff; lie.parts[0].len()];
    refused(&folder, &lie.bytes(), "not zlib");
    // A bomb: the declared size is the limit, whatever it would become.
    let bomb = vec![0; 64 << 20];
    let mut lie = Stream::new(1, &bomb).binary(&bomb);
    lie.header["files"][0]["size"] = json!(1000);
    refused(&folder, &lie.bytes(), "longer than the 1000 bytes");

    let whole = good().bytes();
    for end in [0, 5, 9, 60, whole.len() - 40, whole.len() - 1] {
        refused(&folder, &whole[..end], "the stream ended too early");
    }
    refused(&folder, b"ffffffff {}\n", "longer than");
    refused(&folder, b"+0000002 {}\n", "does not begin with its length");
    refused(&folder, b"00000002 {}\n", "version");
    refused(&folder, b"00000002 {}x", "no newline");
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let folder = Folder::new();
    let tree = "12".repeat(32);
    let paths = ["../x", "/etc/x", "want.json", "bin/x", "trees/x/y"].map(String::from);
    let more =
        ["../x", "a/../../x", "./x", "a//b", "a/"].map(|part| format!("trees/{tree}/{part}"));
    for path in paths.iter().chain(&more) {
        let stream = Stream::new(1, b"x").file(path, b"x", 0o644);
        refused(&folder, &stream.bytes(), "path not allowed");
    }
    let twice = Stream::new(1, b"x").binary(b"x").binary(b"x");
    refused(&folder, &twice.bytes(), "file exists");
}

#[test]
fn what_is_neither_sent_nor_there_is_missing() {
    let folder = Folder::new();
    refused(&folder, &Stream::new(1, b"x").bytes(), "missing bin/");
    folder.place(b"x");
    let mut stream = Stream::new(1, b"x");
    stream.header["current"] = json!("12".repeat(32));
    refused(&folder, &stream.bytes(), "missing trees/12");
}

#[test]
fn what_a_killed_one_left_is_swept() {
    let folder = Folder::new();
    let mut gone = Command::new("true").spawn().unwrap();
    let left = folder.0.join(format!(".incoming-{}", gone.id()));
    gone.wait().unwrap();
    std::fs::create_dir_all(left.join("bin")).unwrap();
    std::fs::write(left.join("bin/half"), b"x").unwrap();
    let mine = folder.0.join(format!(".incoming-{}", std::process::id()));
    std::fs::create_dir(&mine).unwrap();
    let artifact = app("version=a");
    assert_eq!(
        receive(
            &folder,
            &Stream::new(1, &artifact).binary(&artifact).bytes()
        )["ok"],
        true
    );
    assert!(!left.exists());
    assert!(mine.exists(), "of one that is still at work");
}

#[test]
fn what_one_with_the_same_number_left_is_swept() {
    let folder = Folder::new();
    let artifact = app("version=a");
    let stream = Stream::new(1, &artifact).binary(&artifact);
    // The shell becomes the receiver, so the number is the same.
    let script = "mkdir -p \"$1/bin\" && echo half >\"$1/bin/$2\" && exec \"$3\" receive";
    let script = script.replace("$1", "$KINDLOOP_DIR/.incoming-$$");
    let script = script
        .replace("$2", &sha256(&artifact))
        .replace("$3", common::SUPERVISOR);
    let child = begin(&folder, Command::new("sh").args(["-c", &script]));
    let pid = child.id();
    assert_eq!(end(child, &stream.bytes())["ok"], true);
    assert!(!folder.0.join(format!(".incoming-{pid}")).exists());
}

#[test]
fn a_slow_delivery_does_not_take_the_place_of_a_newer_one() {
    let folder = Folder::new();
    let (older, newer) = (app("version=a"), app("version=b"));
    let slow = Stream::new(7, &older).binary(&older).bytes();
    let mut child = begin(&folder, Command::new(common::SUPERVISOR).arg("receive"));
    let (first, rest) = slow.split_at(slow.len() - 1);
    child.stdin.as_mut().unwrap().write_all(first).unwrap();
    let quick = Stream::new(8, &newer).binary(&newer).bytes();
    assert_eq!(receive(&folder, &quick)["ok"], true);
    let before = || {
        let text = std::fs::read(folder.0.join("want.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()
    };
    assert_eq!(before()["generation"], 8);

    let answer = end(child, rest);
    assert_eq!(answer["ok"], false, "{answer}");
    let reason = answer["reason"].as_str().unwrap();
    assert!(reason.starts_with("older: generation 7"), "{reason}");
    assert_eq!(before(), want(8, &newer));
    let kept = [format!("bin/{}", sha256(&newer)), "want.json".to_string()];
    assert_eq!(listing(&folder), kept);

    // Once more, to one that has it already.
    assert_eq!(receive(&folder, &quick)["ok"], true);
}
