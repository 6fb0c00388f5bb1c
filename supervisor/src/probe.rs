//! Readiness of one process: the app's port is held by its tree, then the health path answers.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net;
use crate::procfs::{self, Listener};
use crate::settings::Settings;
use crate::sockdiag;
use crate::sys::{self, Errno, Fd};

const ANSWER_LIMIT_US: u64 = 1_000_000;
const RECHECK_US: u64 = 250_000;
/// What is left of an answer has come by then. A service with one thread serves nobody before.
const LINGER_US: u64 = 10_000;
const STATUS_LINE: usize = 64;
/// Younger processes are not asked where else they listen: that would take from their start.
const ELSEWHERE_US: u64 = 100_000;
const ELSEWHERE_MOST: usize = 3;

/// What is known about the readiness of the process that runs.
pub struct Probe {
    started: u64,
    next: u64,
    held: Option<Held>,
    request: Option<Request>,
    answered: bool,
    /// The answered request: closing it with the answer unread would look like a reset to the app.
    lingering: Option<Fd>,
    /// Where it listens on its port; a loopback address only when it has no other there.
    pub listens: Option<SocketAddr>,
    /// One line: why it is not ready.
    pub reason: String,
    pub ready: bool,
}

/// The socket, and where its owner holds it.
struct Held {
    inode: u64,
    address: SocketAddr,
    link: String,
}

struct Request {
    fd: Fd,
    sent: bool,
    got: Vec<u8>,
    until: u64,
}

impl Probe {
    pub fn new(now: u64) -> Self {
        Probe {
            started: now,
            next: now,
            held: None,
            request: None,
            answered: false,
            lingering: None,
            listens: None,
            reason: "it was just started".to_string(),
            ready: false,
        }
    }

    /// What to wait for, besides the time.
    pub fn waits_for(&self) -> Option<(i32, i16)> {
        let request = self.request.as_ref()?;
        let events = if request.sent {
            libc::POLLIN
        } else {
            libc::POLLOUT
        };
        Some((request.fd.0, events))
    }

    pub fn wakes_at(&self) -> u64 {
        match &self.request {
            Some(request) => request.until,
            None => self.next,
        }
    }

    /// One look, if one is due. `woken`: the descriptor of `waits_for` has something.
    pub fn look(&mut self, now: u64, woken: bool, pid: i32, settings: &Settings) {
        match self.request.take() {
            Some(request) if woken || now >= request.until => {
                self.converse(request, now, settings);
            }
            None if now >= self.next => {
                if let Some(fd) = self.lingering.take() {
                    net::discard(&fd);
                }
                self.look_at_socket(now, pid, settings);
            }
            // Whoever wakes us in between must not put off the next look.
            early => {
                self.request = early;
                return;
            }
        }
        let pause = if self.lingering.is_some() {
            LINGER_US
        } else if self.ready {
            RECHECK_US
        } else {
            pace(now - self.started)
        };
        self.next = now + pause;
    }

    fn look_at_socket(&mut self, now: u64, pid: i32, settings: &Settings) {
        let Some(port) = settings.port else {
            self.ready = true;
            return;
        };
        if let Err(reason) = self.find_holder(port, pid, now - self.started) {
            self.held = None;
            self.listens = None;
            self.ready = false;
            self.reason = reason;
        } else if self.answered || settings.health.is_empty() {
            self.ready = true;
        } else {
            self.ask(now, port);
        }
    }

    fn find_holder(&mut self, port: u16, pid: i32, age_us: u64) -> Result<(), String> {
        let listening = listeners(Some(port));
        if listening.is_empty() {
            let elsewhere = if age_us < ELSEWHERE_US {
                String::new()
            } else {
                elsewhere(pid)
            };
            return Err(format!("nothing listens on port {port}{elsewhere}"));
        }
        if let Some(held) = &self.held {
            let listens = listening.iter().any(|one| one.inode == held.inode);
            if listens && procfs::is_socket(&held.link, held.inode) {
                return Ok(());
            }
        }
        let hold = |of: i32| {
            listening.iter().find_map(|one| {
                procfs::holder(of, one.inode).map(|link| Held {
                    inode: one.inode,
                    address: one.address,
                    link,
                })
            })
        };
        // Everything else was dead before the start, so every descendant is of its tree, also one
        // that was orphaned on purpose.
        let held = hold(pid).or_else(|| procfs::descendants().into_iter().find_map(hold));
        self.held = held;
        let outward = listening.iter().find(|one| !is_local(one.address.ip()));
        self.listens = outward.or(listening.first()).map(|one| one.address);
        match self.held {
            Some(_) => Ok(()),
            None => Err(format!("port {port} is held by another process")),
        }
    }

    fn ask(&mut self, now: u64, port: u16) {
        let Some(held) = &self.held else { return };
        let ip = match held.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        match net::connect(SocketAddr::new(ip, port)) {
            Ok(fd) => {
                self.request = Some(Request {
                    fd,
                    sent: false,
                    got: Vec::new(),
                    until: now + ANSWER_LIMIT_US,
                });
            }
            Err(error) => self.reason = format!("cannot connect to port {port}: {error}"),
        }
    }

    fn converse(&mut self, mut request: Request, now: u64, settings: &Settings) {
        let path = &settings.health;
        if now >= request.until {
            self.reason = format!("{path} did not answer within a second");
            return;
        }
        let step = if request.sent {
            request.receive()
        } else {
            request.send(path)
        };
        match step {
            Ok(None) => self.request = Some(request),
            Ok(Some(200)) => {
                self.answered = true;
                self.ready = true;
                self.lingering = Some(request.fd);
            }
            Ok(Some(0)) => self.reason = format!("{path} did not answer in HTTP"),
            Ok(Some(status)) => self.reason = format!("{path} answered {status}"),
            Err(error) => self.reason = format!("{path}: {error}"),
        }
    }
}

impl Request {
    fn send(&mut self, path: &str) -> sys::Result<Option<u16>> {
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kindloop-supervisor\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        );
        // A few hundred bytes into an empty socket buffer: all or nothing.
        net::send(&self.fd, text.as_bytes())?;
        self.sent = true;
        Ok(None)
    }

    /// The status once the first line is there, 0 when that is no HTTP.
    fn receive(&mut self) -> sys::Result<Option<u16>> {
        let mut chunk = [0_u8; STATUS_LINE];
        let count = match self.fd.read(&mut chunk) {
            Err(Errno(libc::EAGAIN)) => return Ok(None),
            other => other?,
        };
        self.got
            .extend_from_slice(chunk.get(..count).unwrap_or_default());
        if count > 0 && self.got.len() < STATUS_LINE && !self.got.contains(&b'\n') {
            return Ok(None);
        }
        Ok(Some(status(&self.got)))
    }
}

fn listeners(port: Option<u16>) -> Vec<Listener> {
    sockdiag::listeners(port).unwrap_or_else(|_| procfs::listeners(port))
}

fn is_local(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// `, but on 0.0.0.0:5000`: the addresses on which the process listens; empty without any.
fn elsewhere(pid: i32) -> String {
    let processes = procfs::descendants();
    let mut found: Vec<String> = listeners(None)
        .iter()
        .filter(|one| {
            let held = |of: &i32| procfs::holder(*of, one.inode).is_some();
            held(&pid) || processes.iter().any(held)
        })
        .map(|one| one.address.to_string())
        .collect();
    found.truncate(ELSEWHERE_MOST);
    if found.is_empty() {
        return String::new();
    }
    format!(", but on {}", found.join(" and "))
}

fn status(line: &[u8]) -> u16 {
    let text = core::str::from_utf8(line.get(..12).unwrap_or_default()).unwrap_or_default();
    let code = text
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| text.strip_prefix("HTTP/1.0 "));
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Between two looks: 1 ms for a process that starts fast, up to 20 ms for one that does not.
fn pace(age_us: u64) -> u64 {
    (age_us / 20).clamp(1000, 20_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_grows_with_the_age() {
        assert_eq!((pace(0), pace(15_000)), (1000, 1000));
        assert_eq!((pace(100_000), pace(9_000_000)), (5000, 20_000));
    }

    #[test]
    fn only_http_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), 200);
        assert_eq!(status(b"HTTP/1.0 503 x"), 503);
        assert_eq!(
            (
                status(b"SSH-2.0-OpenSSH"),
                status(b"HTTP/1.1 "),
                status(b"")
            ),
            (0, 0, 0)
        );
    }
}
