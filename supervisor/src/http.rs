//! The supervisor's own server: GET only, eight connections, a second and 4 KiB for a request. It
//! is a part of the loop, never blocks it, and holds a bounded amount of memory whoever connects.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::core_state::Core;
use crate::net;
use crate::request::{self, Request, Until, Wait};
use crate::sys::{self, Errno, Fd};

const CONNECTIONS: usize = 8;
/// Fewer may wait for something to happen, so that a probe always finds a place.
const WAITING: usize = 6;
const REQUEST_US: u64 = 1_000_000;
const ANSWER_US: u64 = 1_000_000;
const LINGER_US: u64 = 200_000;
/// When all places are taken, a client that has not sent its request after this time gives way.
const PATIENCE_US: u64 = 100_000;

enum Stage {
    Reading(Vec<u8>),
    Waiting(Until),
    Writing(Vec<u8>),
    /// Answered and ended: what the client still sends is read away, or the kernel would reset the
    /// connection and with it the answer.
    Lingering,
    Closed,
}

struct Connection {
    fd: Fd,
    since: u64,
    until: u64,
    stage: Stage,
}

pub struct Server {
    listener: Fd,
    connections: Vec<Connection>,
}

impl Server {
    pub fn new(listener: Fd) -> Self {
        Server {
            listener,
            connections: Vec::with_capacity(CONNECTIONS),
        }
    }

    /// What to wait for: the listener first, then each connection in order.
    pub fn entries(&self, now: u64, entries: &mut Vec<libc::pollfd>) {
        let accepts = self.connections.len() < CONNECTIONS || self.evictable(now).is_some();
        let events = if accepts { libc::POLLIN } else { 0 };
        entries.push(sys::poll_entry(self.listener.0, events));
        for connection in &self.connections {
            let events = match connection.stage {
                Stage::Writing(_) => libc::POLLOUT,
                _ => libc::POLLIN,
            };
            entries.push(sys::poll_entry(connection.fd.0, events));
        }
    }

    pub fn wakes_at(&self, now: u64) -> u64 {
        let mut at = u64::MAX;
        let full = self.connections.len() >= CONNECTIONS && self.evictable(now).is_none();
        for connection in &self.connections {
            at = at.min(connection.until);
            if full && !matches!(connection.stage, Stage::Waiting(_)) {
                at = at.min(connection.since + PATIENCE_US);
            }
        }
        at
    }

    /// One turn; `entries` are those of `entries()`, with what the kernel said.
    pub fn turn(&mut self, entries: &[libc::pollfd], core: &Core) {
        let mut entries = entries.iter();
        let knock = entries.next().is_some_and(|entry| entry.revents != 0);
        for (connection, entry) in self.connections.iter_mut().zip(entries) {
            connection.turn(entry.revents != 0, core);
        }
        self.connections
            .retain(|one| !matches!(one.stage, Stage::Closed));
        if knock {
            self.welcome(core);
        }
        self.limit_waiting(core);
    }

    fn welcome(&mut self, core: &Core) {
        while let Some(place) = self.place(core.now) {
            let Ok(fd) = net::accept(&self.listener) else {
                return;
            };
            if let Some(index) = place {
                self.connections.swap_remove(index);
            }
            let mut connection = Connection {
                fd,
                since: core.now,
                until: core.now + REQUEST_US,
                stage: Stage::Reading(Vec::new()),
            };
            // Most requests are there already.
            connection.turn(true, core);
            if !matches!(connection.stage, Stage::Closed) {
                self.connections.push(connection);
            }
        }
    }

    /// Whether there is a place for one more, and whose it would be.
    fn place(&self, now: u64) -> Option<Option<usize>> {
        if self.connections.len() < CONNECTIONS {
            return Some(None);
        }
        self.evictable(now).map(Some)
    }

    fn evictable(&self, now: u64) -> Option<usize> {
        let mut oldest: Option<(usize, u64)> = None;
        for (index, one) in self.connections.iter().enumerate() {
            let patient = matches!(one.stage, Stage::Waiting(_)) || now < one.since + PATIENCE_US;
            if !patient && oldest.is_none_or(|(_, since)| one.since < since) {
                oldest = Some((index, one.since));
            }
        }
        oldest.map(|(index, _)| index)
    }

    /// The one that has waited longest is answered at once when there are too many.
    fn limit_waiting(&mut self, core: &Core) {
        let waits = |one: &&mut Connection| matches!(one.stage, Stage::Waiting(_));
        let count = self.connections.iter_mut().filter(waits).count();
        if count > WAITING {
            let waiting = self.connections.iter_mut().filter(waits);
            if let Some(oldest) = waiting.min_by_key(|one| one.since) {
                oldest.answer(200, "application/json", &core.status(), core.now);
            }
        }
    }
}

impl Connection {
    fn turn(&mut self, woken: bool, core: &Core) {
        let over = core.now >= self.until;
        match &mut self.stage {
            Stage::Reading(_) if woken => self.read(core),
            Stage::Reading(_) if over => self.refuse(408, core.now),
            Stage::Waiting(until) => {
                if over || reached(*until, core) {
                    self.answer(200, "application/json", &core.status(), core.now);
                } else if woken && !net::discard(&self.fd) {
                    self.stage = Stage::Closed;
                }
            }
            Stage::Writing(_) if woken => self.write(core.now),
            Stage::Lingering if woken && !net::discard(&self.fd) => self.stage = Stage::Closed,
            Stage::Writing(_) | Stage::Lingering if over => self.stage = Stage::Closed,
            _ => {}
        }
    }

    fn read(&mut self, core: &Core) {
        let Stage::Reading(got) = &mut self.stage else {
            return;
        };
        let mut chunk = [0_u8; request::LIMIT];
        let room = request::LIMIT - got.len();
        let count = match self.fd.read(chunk.get_mut(..room).unwrap_or_default()) {
            Ok(0) => {
                self.stage = Stage::Closed;
                return;
            }
            Ok(count) => count,
            Err(Errno(libc::EAGAIN | libc::EINTR)) => return,
            Err(_) => {
                self.stage = Stage::Closed;
                return;
            }
        };
        got.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let Some(request) = request::parse(got) else {
            return;
        };
        match request {
            Request::Live => self.answer(200, "text/plain", "ok\n", core.now),
            Request::Ready => match core.unready() {
                None => self.answer(200, "text/plain", "ok\n", core.now),
                Some(reason) => self.answer(503, "text/plain", &(reason + "\n"), core.now),
            },
            Request::Metrics => {
                let kind = "text/plain; version=0.0.4";
                self.answer(200, kind, &core.metrics(), core.now);
            }
            Request::Status(Some(Wait { until, most_ms })) if !reached(until, core) => {
                // Not the turn's time, which is a little older than the request.
                self.until = sys::now_us() + most_ms * 1000;
                self.stage = Stage::Waiting(until);
            }
            Request::Status(_) => {
                self.answer(200, "application/json", &core.status(), core.now);
            }
            Request::Bad(code) => self.refuse(code, core.now),
        }
    }

    fn refuse(&mut self, code: u16, now: u64) {
        let text = format!("{}\n", phrase(code));
        self.answer(code, "text/plain", &text, now);
    }

    fn answer(&mut self, code: u16, kind: &str, body: &str, now: u64) {
        let allow = if code == 405 { "Allow: GET\r\n" } else { "" };
        let text: String = format!(
            "HTTP/1.1 {code} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\n{allow}Connection: close\r\n\r\n{body}",
            phrase(code),
            body.len(),
        );
        self.stage = Stage::Writing(text.into_bytes());
        self.until = now + ANSWER_US;
        self.write(now);
    }

    fn write(&mut self, now: u64) {
        let Stage::Writing(text) = &mut self.stage else {
            return;
        };
        match net::send(&self.fd, text) {
            Ok(count) => {
                text.drain(..count.min(text.len()));
            }
            Err(Errno(libc::EAGAIN | libc::EINTR)) => {}
            Err(_) => {
                self.stage = Stage::Closed;
                return;
            }
        }
        if text.is_empty() {
            net::finish(&self.fd);
            self.stage = Stage::Lingering;
            self.until = now + LINGER_US;
        }
    }
}

fn reached(until: Until, core: &Core) -> bool {
    match until {
        Until::Generation(generation) => core.knows(generation),
        // Also when it is lower: a supervisor that was started anew counts from the start.
        Until::Revision(revision) => core.revision != revision,
    }
}

fn phrase(code: u16) -> &'static str {
    match code {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Bad Request",
    }
}
