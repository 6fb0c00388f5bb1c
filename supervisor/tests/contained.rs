//! A supervisor that is PID 1 of a container, with a delivery under way beside it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{app, Folder, Supervised, PATIENCE, SUPERVISOR};
use serde_json::json;

const NAMESPACES: [&str; 3] = ["--user", "--mount", "--pid"];

/// Puts the command behind `unshare`, in namespaces of its own.
fn contain(command: &mut Command) {
    let mut outer = Command::new("unshare");
    outer
        .args(NAMESPACES)
        .args(["--map-root-user", "--fork", "--kill-child", "--mount-proc"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap());
    }
    outer.stderr(Stdio::piped());
    *command = outer;
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        if let Ok(child) = all.trim().parse() {
            return child;
        }
        assert!(Instant::now() < until, "children of {pid}: {all:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Follows a process, so that it is not gone for its parent until this test has seen its end: like
/// one that the kernel takes long to tear down.
struct Held(i32);

impl Held {
    fn new(pid: u32) -> Self {
        let pid = pid as i32;
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: no memory is involved.
        let taken = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) };
        assert_eq!(taken, 0, "{}", std::io::Error::last_os_error());
        Held(pid)
    }

    /// Until it has been killed. Stops on the way there (it is sent TERM first) end at once.
    fn wait(&self) {
        // SAFETY: the structure lives through the calls.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            loop {
                let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL;
                assert_eq!(
                    libc::waitid(libc::P_PID, self.0 as u32, &mut info, flags),
                    0
                );
                if info.si_code != libc::CLD_TRAPPED && info.si_code != libc::CLD_STOPPED {
                    return;
                }
                let mut status = 0;
                libc::waitpid(self.0, &mut status, libc::__WALL);
                let signal = libc::WSTOPSIG(status) as usize;
                let none = std::ptr::null_mut::<libc::c_void>();
                libc::ptrace(libc::PTRACE_CONT, self.0, none, signal);
            }
        }
    }

    fn release(self) {
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL) };
    }
}

#[test]
fn a_delivery_outlives_an_app_that_ends_slowly() {
    let mut probe = Command::new("true");
    contain(&mut probe);
    if !probe.status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: this machine lets nobody make namespaces");
        return;
    }
    let mut pod = Supervised::start_with(Folder::new(), &[], &[], contain);
    // No grace: it is looked for, and killed again, from the first moment on.
    let generation = pod.push_with(&app("version=a"), |want| want["grace_ms"] = json!(0));
    pod.outcome(generation);
    let inside = child_of(pod.child.id());
    let delivery = Command::new("nsenter")
        .args(["--target", &inside.to_string(), "--preserve-credentials"])
        .args(NAMESPACES)
        .args(["--", SUPERVISOR, "receive"])
        .env("KINDLOOP_DIR", &pod.folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child_of(delivery.id());

    let old = Held::new(child_of(inside));
    let generation = pod.push_with(&app("version=b"), |_| ());
    old.wait();
    // Many looks for processes that are left find it.
    std::thread::sleep(Duration::from_millis(400));
    old.release();
    assert_eq!(pod.outcome(generation)["outcome"]["result"], "fresh");
    let said = delivery.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("the stream ended too early"), "{said:?}");

    // To the one inside: the outer one does not pass it on.
    // SAFETY: no memory is involved; its parent, which this test has, reaps it.
    unsafe { libc::kill(inside as i32, libc::SIGTERM) };
    pod.exit_code();
}
