//! Swaps that go well: one process gives way to the next.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::os::unix::process::CommandExt;

use common::{app, get, want, Folder, Supervised};
use serde_json::json;

#[test]
fn there_and_back() {
    let mut pod = Supervised::start(&[]);
    assert_eq!(get(pod.server, "/livez"), (200, "ok\n".to_string()));
    assert_eq!(pod.status("")["state"], "waiting");
    assert_eq!(pod.ready().0, 503);
    let mut before = 0;
    for version in ["a", "b", "a"] {
        let status = pod.push(&app(&format!("version={version}")));
        assert_eq!(status["outcome"]["result"], "fresh", "{status}");
        assert_eq!(status["running"]["digest"], status["wanted"]["digest"]);
        assert_eq!(status["running"]["source"], "swap");
        assert_eq!(status["state"], "running");
        assert_eq!(status["ready"], true);
        assert_eq!(status["exit"], json!(null));
        assert_ne!(status["running"]["pid"], before);
        before = status["running"]["pid"].as_i64().unwrap();
        assert_eq!(pod.asked("version"), version);
        assert_eq!(pod.ready().0, 200);
    }
    let line = pod.line("swap generation=3");
    assert!(
        line.starts_with("kindloop: swap generation=3 digest="),
        "{line}"
    );
    let (_, metrics) = get(pod.server, "/metrics");
    assert!(
        metrics.contains("kindloop_swaps_total{result=\"fresh\"} 3\n"),
        "{metrics}"
    );
    assert!(metrics.contains("kindloop_generation 3\n"), "{metrics}");
    assert!(metrics.contains("kindloop_ready 1\n"), "{metrics}");
}

#[test]
fn the_health_question_ends_its_connection() {
    let mut pod = Supervised::start(&[]);
    let status = pod.push(&app("version=a patient=1"));
    assert_eq!(status["outcome"]["result"], "fresh", "{status}");
    // Such a service answers nobody while an earlier client keeps its connection.
    assert_eq!(pod.asked("version"), "a");
}

#[test]
fn the_app_starts_as_if_nobody_stood_above_it() {
    let mut pod = Supervised::start(&["--", "--spec", "a b"]);
    pod.push(&app("version=a"));
    assert_eq!(pod.asked("args"), "--spec,a b");
    assert_eq!(pod.asked("own"), "false");
    assert_eq!(pod.asked("value"), "container");
    // None blocked; ignored is only SIGPIPE, which the test program's own runtime does.
    assert_eq!(pod.asked("signals"), "0000000000000000,0000000000001000");
    assert_eq!(pod.asked("leads"), "true");
    // Standard three, its listener, its connection, and the directory being listed.
    assert_eq!(pod.asked("fds"), "6");
    let here = std::env::current_dir().unwrap();
    assert_eq!(pod.asked("cwd"), here.to_string_lossy());
}

#[test]
fn arguments_and_environment_change_by_a_swap() {
    let artifact = app("version=a");
    let mut pod = Supervised::start(&["--", "old"]);
    let generation = pod.push_with(&artifact, |want| {
        want["args"] = json!(["new", "--x=1"]);
        want["env"] = json!({"VALUE": "swap", "KINDLOOP_PORT": "1"});
    });
    pod.outcome(generation);
    assert_eq!(
        (pod.asked("args"), pod.asked("value")),
        ("new,--x=1".into(), "swap".into())
    );
    assert_eq!(pod.asked("own"), "false");
    pod.push(&artifact);
    assert_eq!(
        (pod.asked("args"), pod.asked("value")),
        ("old".into(), "container".into())
    );
}

#[test]
fn the_images_own_binary_runs_until_something_is_wanted() {
    let folder = Folder::new();
    let image = folder.0.join("image");
    let digest = folder.place(&app("version=image"));
    std::fs::rename(folder.0.join("bin").join(&digest), &image).unwrap();
    let path = image.to_string_lossy().into_owned();
    let mut pod = Supervised::start_in(folder, &["--binary", &path, "--", "x"], &[]);
    let status = pod.until(|status| status["ready"] == true);
    let running = &status["running"];
    assert_eq!(
        (&running["source"], &running["generation"]),
        (&json!("image"), &json!(0))
    );
    assert_eq!(running["digest"], digest);
    assert_eq!(
        (&status["wanted"], &status["outcome"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(pod.asked("version"), "image");
    assert_eq!(pod.push(&app("version=a"))["running"]["source"], "swap");
    assert_eq!(pod.asked("args"), "x");
}

#[test]
fn what_is_wanted_at_the_start_runs_instead_of_the_image() {
    let folder = Folder::new();
    let artifact = app("version=a");
    folder.place(&artifact);
    folder.publish(&want(5, &artifact));
    let pod = Supervised::start_in(folder, &["--binary", "/bin/false"], &[]);
    assert_eq!(pod.outcome(5)["outcome"]["result"], "fresh");
    assert_eq!(pod.asked("version"), "a");
    assert_eq!(pod.status("")["restarts"], 0);
}

#[test]
fn the_tree_is_what_current_points_to() {
    let mut pod = Supervised::start(&[]);
    let tree = "ab".repeat(32);
    pod.folder.point(&tree);
    pod.push(&app("version=a"));
    assert_eq!(pod.until(|status| status["tree"] == tree)["tree"], tree);
    let other = "cd".repeat(32);
    pod.folder.point(&other);
    pod.until(|status| status["tree"] == other);
    pod.folder.point("../../etc");
    pod.until(|status| status["tree"] == json!(null));
}

#[test]
fn a_pointer_that_goes_away_changes_nothing() {
    let mut pod = Supervised::start(&[]);
    let before = pod.push(&app("version=a"));
    std::fs::remove_file(pod.folder.0.join("want.json")).unwrap();
    // A directory made anew at the same path, which the old watch knows nothing of.
    std::fs::remove_dir_all(&pod.folder.0).unwrap();
    assert_eq!(get(pod.server, "/readyz").0, 200);
    std::fs::create_dir_all(pod.folder.0.join("bin")).unwrap();
    let after = pod.push(&app("version=b"));
    assert_eq!(after["outcome"]["result"], "fresh", "{after}");
    assert_eq!(before["restarts"], after["restarts"]);
    assert_eq!(pod.asked("version"), "b");
    // Removed while it runs, and its watch went with the old directory.
    std::fs::remove_dir_all(pod.folder.0.join("bin")).unwrap();
    std::fs::create_dir(pod.folder.0.join("bin")).unwrap();
    assert_eq!(pod.push(&app("version=c"))["outcome"]["result"], "fresh");
}

#[test]
fn the_directory_may_come_later_than_the_supervisor() {
    let folder = Folder::new();
    std::fs::remove_dir_all(&folder.0).unwrap();
    let mut pod = Supervised::start_in(folder, &[], &[]);
    assert_eq!(pod.status("")["problem"], json!(null));
    std::fs::create_dir_all(pod.folder.0.join("bin")).unwrap();
    assert_eq!(pod.push(&app("version=a"))["outcome"]["result"], "fresh");
}

#[test]
fn a_newer_want_overtakes_one_that_is_under_way() {
    let mut pod = Supervised::start(&[]);
    pod.push(&app("version=a deaf=1"));
    // This one waits for the deaf one to be killed.
    pod.push_with(&app("version=b"), |_| ());
    pod.until(|status| status["state"] == "stopping");
    let status = pod.push(&app("version=c"));
    assert_eq!(status["outcome"]["result"], "fresh");
    assert_eq!(pod.asked("version"), "c");
    assert_eq!(status["restarts"], 0);
    // One that hangs at its start is not waited for either.
    pod.push_with(&app("hang=1"), |want| want["probation_ms"] = json!(600_000));
    pod.until(|status| status["state"] == "starting");
    assert_eq!(pod.push(&app("version=d"))["outcome"]["result"], "fresh");
}

#[test]
fn without_events_of_the_directory_swaps_go_on() {
    // A user namespace of its own has limits of its own. Where the machine allows none, this runs
    // with events and shows nothing new.
    let mut pod = Supervised::start_with(Folder::new(), &[], &[], |command| {
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                if libc::unshare(libc::CLONE_NEWUSER) == 0 {
                    let path = c"/proc/sys/user/max_inotify_instances".as_ptr();
                    let limit = libc::open(path, libc::O_WRONLY);
                    libc::write(limit, c"0".as_ptr().cast(), 1);
                    libc::close(limit);
                }
                Ok(())
            });
        }
    });
    for version in ["a", "b"] {
        let status = pod.push(&app(&format!("version={version}")));
        assert_eq!(status["outcome"]["result"], "fresh");
    }
}

#[test]
fn two_hundred_swaps_leave_nothing_behind() {
    let mut pod = Supervised::start(&[]);
    let artifacts = [app("version=a"), app("version=b")];
    for artifact in artifacts.iter().cycle().take(6) {
        pod.push(artifact);
    }
    let (fds, rss) = (pod.fds(), pod.rss_kb());
    for artifact in artifacts.iter().cycle().take(200) {
        assert_eq!(pod.push(artifact)["outcome"]["result"], "fresh");
    }
    pod.wait_for_fds(fds);
    assert_eq!(pod.zombies(), 0);
    assert!(
        pod.rss_kb() < rss + 256,
        "{} kB, {rss} kB before",
        pod.rss_kb()
    );
    assert_eq!(pod.status("")["restarts"], 0);
}
