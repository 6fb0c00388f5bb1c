//! The loop: one `ppoll` over signals, the directory, the server and the health request.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::child;
use crate::core_state::Core;
use crate::http::Server;
use crate::net;
use crate::settings::Settings;
use crate::sys::{self, check, Fd, Result};

/// Mounts of virtual machines' engines lose events, so the directory is also looked at this often.
const SAFETY_NET_US: u64 = 100_000;
/// The same while the kernel gives no events at all: a few kind clusters use up the inotify
/// instances of their user, 128 by default.
const WITHOUT_EVENTS_US: u64 = 10_000;
/// Between two tries to get events after all.
const EVENTS_AGAIN_US: u64 = 5_000_000;

const SIGNALS: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

pub struct Loop {
    core: Core,
    server: Server,
    signals: Fd,
    directory: Directory,
    look_at: u64,
}

impl Loop {
    pub fn new(settings: Settings) -> core::result::Result<Self, String> {
        sys::settle_descriptors();
        child::adopt_orphans();
        let signals = take_signals().map_err(|error| format!("signals: {error}"))?;
        let (listener, port) = net::listen(settings.listen)?;
        sys::say(&format!(
            "kindloop: supervisor {} listens on {}:{port}, waits for {}/want.json",
            env!("CARGO_PKG_VERSION"),
            settings.listen.ip(),
            settings.dir,
        ));
        let directory = Directory::new(&settings.dir);
        if settings.port.is_none() {
            sys::say("kindloop: KINDLOOP_PORT is not set; ready means only that the app runs");
        }
        Ok(Loop {
            core: Core::new(settings),
            server: Server::new(listener),
            signals,
            directory,
            look_at: 0,
        })
    }

    /// Until a signal says to leave; the exit code of the app.
    pub fn run(&mut self) -> i32 {
        let mut entries = Vec::new();
        let mut probe_woken = false;
        loop {
            self.core.now = sys::now_us();
            self.take_signals();
            if self.core.now >= self.look_at {
                self.directory.keep_watched(self.core.now);
                let pause = if self.directory.events.is_some() {
                    SAFETY_NET_US
                } else {
                    WITHOUT_EVENTS_US
                };
                self.look_at = self.core.now + pause;
                self.core.look_at_directory();
            }
            self.core.turn(probe_woken);
            let polled = entries.get(3..).unwrap_or_default();
            self.server.turn(polled, &self.core);
            if let Some(code) = self.core.left() {
                return code;
            }
            entries.clear();
            entries.push(sys::poll_entry(self.signals.0, libc::POLLIN));
            let events = self.directory.events.as_ref().map_or(-1, |events| events.0);
            entries.push(sys::poll_entry(events, libc::POLLIN));
            let (fd, events) = self.core.waits_for().unwrap_or((-1, 0));
            entries.push(sys::poll_entry(fd, events));
            self.server.entries(self.core.now, &mut entries);
            let wake = self.core.wakes_at().min(self.look_at);
            let wake = wake.min(self.server.wakes_at(self.core.now));
            sys::poll(&mut entries, wake.saturating_sub(sys::now_us()));
            let woken = |index: usize| entries.get(index).is_some_and(|entry| entry.revents != 0);
            if woken(1) {
                self.directory.take_events();
                self.look_at = 0;
            }
            probe_woken = woken(2);
        }
    }

    fn take_signals(&mut self) {
        let mut ended = false;
        // SAFETY: zeros are a valid value of this plain structure.
        let mut info: libc::signalfd_siginfo = unsafe { core::mem::zeroed() };
        let size = core::mem::size_of_val(&info);
        loop {
            // SAFETY: the structure is as long as said.
            let count =
                unsafe { libc::read(self.signals.0, core::ptr::from_mut(&mut info).cast(), size) };
            if usize::try_from(count) != Ok(size) {
                break;
            }
            match i32::try_from(info.ssi_signo).unwrap_or(0) {
                libc::SIGCHLD => ended = true,
                libc::SIGTERM | libc::SIGINT => self.core.leave(),
                signal => self.core.pass_on(signal),
            }
        }
        if ended {
            self.core.reap();
        }
    }
}

/// Blocks the signals, which also keeps the kernel from dropping those that PID 1 does not handle,
/// and gives the descriptor they are read from.
fn take_signals() -> Result<Fd> {
    // SAFETY: the set is made before it is used and lives through the calls.
    unsafe {
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in SIGNALS {
            // One that was ignored from birth would not come at all.
            libc::signal(signal, libc::SIG_DFL);
            libc::sigaddset(&mut set, signal);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            &set,
            core::ptr::null_mut(),
        ))?;
        check(libc::signalfd(
            -1,
            &set,
            libc::SFD_NONBLOCK | libc::SFD_CLOEXEC,
        ))
        .map(Fd)
    }
}

fn events() -> Result<Fd> {
    let flags = libc::IN_NONBLOCK | libc::IN_CLOEXEC;
    // SAFETY: no memory is involved.
    check(unsafe { libc::inotify_init1(flags) }).map(Fd)
}

/// The watch on the directory of `want.json`, which may be missing, go away and come back.
struct Directory {
    path: String,
    events: Option<Fd>,
    again_at: u64,
    watched: Option<Watched>,
}

struct Watched {
    id: i32,
    device: u64,
    inode: u64,
}

impl Directory {
    fn new(path: &str) -> Self {
        let events = events();
        if let Err(error) = &events {
            sys::say(&format!(
                "kindloop: no inotify ({error}; fs.inotify.max_user_instances?); the directory is \
                 looked at every {} ms instead",
                WITHOUT_EVENTS_US / 1000
            ));
        }
        Directory {
            path: path.into(),
            events: events.ok(),
            again_at: 0,
            watched: None,
        }
    }

    /// Watches what stands at the path now; when that cannot be watched, the safety net is left.
    fn keep_watched(&mut self, now: u64) {
        if self.events.is_none() && now >= self.again_at {
            self.again_at = now + EVENTS_AGAIN_US;
            self.events = events().ok();
        }
        let found = sys::open(&self.path, libc::O_PATH | libc::O_DIRECTORY)
            .and_then(|directory| directory.stat());
        let Ok(found) = found else {
            self.forget();
            return;
        };
        let (device, inode) = (found.st_dev, found.st_ino);
        if let Some(watched) = &self.watched {
            if (watched.device, watched.inode) == (device, inode) {
                return;
            }
        }
        self.forget();
        let (Some(events), Ok(name)) = (&self.events, sys::c_string(&self.path)) else {
            return;
        };
        let mask = libc::IN_MOVED_TO
            | libc::IN_MOVED_FROM
            | libc::IN_CLOSE_WRITE
            | libc::IN_CREATE
            | libc::IN_DELETE
            | libc::IN_DELETE_SELF
            | libc::IN_MOVE_SELF
            | libc::IN_ONLYDIR;
        // SAFETY: the name is ended by a null byte.
        let id = unsafe { libc::inotify_add_watch(events.0, name.as_ptr(), mask) };
        if id >= 0 {
            self.watched = Some(Watched { id, device, inode });
        }
    }

    fn forget(&mut self) {
        if let (Some(watched), Some(events)) = (self.watched.take(), &self.events) {
            // SAFETY: no memory is involved.
            unsafe { libc::inotify_rm_watch(events.0, watched.id) };
        }
    }

    /// What happened is not asked: the directory is read as it is now. Only that the kernel has
    /// dropped the watch matters, as a new directory can get the inode of the old one.
    fn take_events(&mut self) {
        let Some(events) = &self.events else { return };
        let mut data = [0_u8; 4096];
        while let Ok(count) = events.read(&mut data) {
            let mut rest = data.get(..count).unwrap_or_default();
            while let Some(event) = rest.first_chunk::<16>() {
                let [w0, w1, w2, w3, m0, m1, m2, m3, _, _, _, _, l0, l1, l2, l3] = *event;
                let id = i32::from_ne_bytes([w0, w1, w2, w3]);
                let mask = u32::from_ne_bytes([m0, m1, m2, m3]);
                let watched = self
                    .watched
                    .as_ref()
                    .is_some_and(|watched| watched.id == id);
                if watched && mask & libc::IN_IGNORED != 0 {
                    self.watched = None;
                }
                let name = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(0);
                rest = rest.get(16 + name..).unwrap_or_default();
            }
            if count == 0 {
                break;
            }
        }
    }
}
