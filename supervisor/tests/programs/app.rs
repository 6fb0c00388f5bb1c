//! The service that the tests swap. How it behaves stands at the end of its own file, behind the
//! program proper, so that two behaviours are two artifacts with two digests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsRawFd;
use std::time::Duration;

const MARK: &str = "\n#test ";

fn main() {
    let file = std::fs::read("/proc/self/exe").unwrap();
    let tail = String::from_utf8_lossy(&file[file.len().saturating_sub(512)..]).into_owned();
    let script = tail.rsplit_once(MARK).map_or("", |(_, script)| script);
    let setting = |name: &str| {
        let mut words = script.split_whitespace();
        words
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            .map(String::from)
    };
    let number = |name: &str| setting(name).map(|text| text.parse::<u64>().unwrap());

    if let Some(code) = number("exit") {
        std::thread::sleep(Duration::from_millis(number("after").unwrap_or(0)));
        std::process::exit(code as i32);
    }
    if setting("hang").is_some() {
        loop {
            std::thread::park();
        }
    }
    if setting("deaf").is_some() {
        // SAFETY: no memory is involved.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    }
    for _ in 0..number("orphans").unwrap_or(0) {
        orphan(|| ());
    }
    let listener = listen();
    if setting("holder").is_some() {
        // Out of the group, deaf, and with the listening socket: what a careless service leaves.
        let fd = listener.as_raw_fd();
        orphan(move || {
            // SAFETY: no memory is involved.
            unsafe {
                libc::setsid();
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            std::thread::sleep(Duration::from_secs(3600));
        });
    }
    if let Some(after) = number("dies_after") {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            std::process::exit(101);
        });
    }
    let status = setting("health").unwrap_or_else(|| "200".to_string());
    let patient = setting("patient").is_some();
    serve(
        &listener,
        &setting("version").unwrap_or_default(),
        &status,
        patient,
    );
}

/// The port may still be in the hands of a process that is being killed by nobody: no second try.
fn listen() -> TcpListener {
    let port = std::env::var("PORT").unwrap();
    match TcpListener::bind(format!("127.0.0.1:{port}")) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen: {error}");
            std::process::exit(98);
        }
    }
}

/// Runs something in a process whose parent is gone.
fn orphan(work: impl FnOnce()) {
    // SAFETY: one thread so far.
    unsafe {
        let middle = libc::fork();
        if middle == 0 {
            if libc::fork() == 0 {
                work();
            }
            libc::_exit(0);
        }
        libc::waitpid(middle, std::ptr::null_mut(), 0);
    }
}

/// One connection after the other; a `patient` service waits for each client to end its own.
fn serve(listener: &TcpListener, version: &str, health: &str, patient: bool) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0_u8; 1024];
        let count = stream.read(&mut request).unwrap_or(0);
        let first = String::from_utf8_lossy(&request[..count]).into_owned();
        let status = if first.starts_with("GET /health ") {
            health
        } else {
            "200"
        };
        let body = about(version);
        let answer = format!(
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
        if patient {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

/// What the tests ask about the process.
fn about(version: &str) -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let own = std::env::vars().any(|(name, _)| name.starts_with("KINDLOOP_"));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let signals: Vec<&str> = status
        .lines()
        .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
        .map(|line| line.split_whitespace().last().unwrap())
        .collect();
    // SAFETY: no memory is involved.
    let leads = unsafe { libc::getpgid(0) == libc::getpid() };
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().count();
    format!(
        "version={version}\nargs={}\nvalue={}\nown={own}\nsignals={}\nleads={leads}\nfds={fds}\n\
         cwd={}\n",
        args.join(","),
        std::env::var("VALUE").unwrap_or_default(),
        signals.join(","),
        std::env::current_dir().unwrap().display(),
    )
}
