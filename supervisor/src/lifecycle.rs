//! Verify, stop, start: what a turn of the loop does with the state.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;

use crate::child::{self, Ended};
use crate::core_state::Core;
use crate::model::{Process, Source, Spec, Stop, Why};
use crate::probe::Probe;
use crate::sys::{self, Errno};

/// Between two looks for processes that are left, and how many before PID 1 kills without looking
/// (a second: a process with much memory takes its time to end, and a delivery that is under way
/// would be killed too), and before it goes on although one is left (stuck in the kernel).
const KICK_US: u64 = 2_000;
const HARD_AFTER: u32 = 500;
const GIVE_UP_AFTER: u32 = 2_500;
/// A file that somebody holds open for writing cannot be executed. That ends by itself when it is
/// a forked child of the writer that has not executed its own program yet.
const BUSY_PAUSE_US: u64 = 2_000;
const BUSY_TRIES: u32 = 250;

impl Core {
    /// Everything that is due, after signals and the directory were looked at.
    pub fn turn(&mut self, probe_woken: bool) {
        self.hash();
        self.go_on_stopping();
        if self.stop.is_none() && self.leaving.is_none() {
            self.watch(probe_woken);
            self.keep_alive();
        }
        self.notice();
    }

    /// When the next turn is due though nothing happens; now when a job is under way.
    pub fn wakes_at(&self) -> u64 {
        if self.job.is_some() {
            return self.now;
        }
        match (&self.stop, &self.process) {
            (Some(stop), Some(_)) if stop.kicks == 0 => stop.kill_at,
            (Some(stop), _) => stop.next_kick,
            (None, Some(process)) if process.judged => process.probe.wakes_at(),
            (None, Some(process)) => process.probe.wakes_at().min(process.probation_end()),
            (None, None) => self.retry_at.unwrap_or(u64::MAX),
        }
    }

    /// The descriptor that the readiness of the running process waits for.
    pub fn waits_for(&self) -> Option<(i32, i16)> {
        if self.stop.is_some() || self.leaving.is_some() {
            return None;
        }
        self.process.as_ref()?.probe.waits_for()
    }

    fn hash(&mut self) {
        let Some(mut job) = self.job.take() else {
            return;
        };
        let digest = match job.hashing.step(&mut self.buffer) {
            Ok(None) => {
                self.job = Some(job);
                return;
            }
            Ok(Some(digest)) => digest,
            Err(reason) => return self.unusable(&job.spec, job.why, &reason),
        };
        if job.spec.source == Source::Image && job.spec.want.digest.is_empty() {
            job.spec.want.digest = digest;
        } else if digest != job.spec.want.digest {
            let reason = format!("wrong digest: the file has {digest}");
            return self.unusable(&job.spec, job.why, &reason);
        }
        self.now = sys::now_us();
        self.timings.verify = self.now - job.started;
        if job.why == Why::New {
            self.pause_us = 0;
        }
        self.retry_at = None;
        if job.why == Why::RollBack {
            self.went_back(&job.spec);
        }
        self.next = Some(Rc::new(job.spec));
        if self.process.is_some() {
            self.begin_stop();
        } else if self.stop.is_none() {
            self.timings.stop = 0;
            self.start_next();
        }
    }

    fn unusable(&mut self, spec: &Spec, why: Why, reason: &str) {
        let digest = spec.short();
        match (why, spec.source) {
            // A newer one may be wanted by now; then this was only the best there was.
            (Why::New, Source::Swap) if !self.is_wanted(spec) => {}
            (Why::New, Source::Swap) => self.refuse(reason),
            (Why::RollBack, _) => {
                self.good = None;
                sys::say(&format!("kindloop: cannot roll back to {digest}: {reason}"));
                self.cannot_go_back(reason);
            }
            _ => {
                // Changed in place since it was verified: not to be run, and asked for again.
                sys::say(&format!("kindloop: cannot start {digest} again: {reason}"));
                self.pause();
            }
        }
        if self.next.is_some() && self.stop.is_none() {
            self.start_next();
        }
    }

    /// TERM to the group; the rest follows in `go_on_stopping`.
    pub fn begin_stop(&mut self) {
        let Some(process) = &self.process else { return };
        if self.stop.is_some() {
            return;
        }
        let grace_us = process.spec.want.grace_ms * 1000;
        sys::kill(-process.pid, libc::SIGTERM);
        // A stopped process would see the TERM only when it is continued.
        sys::kill(-process.pid, libc::SIGCONT);
        self.stop = Some(Stop {
            started: self.now,
            kill_at: self.now + grace_us,
            next_kick: self.now,
            kicks: 0,
        });
    }

    fn go_on_stopping(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        if self.process.is_some() && self.now < stop.kill_at {
            return;
        }
        let left = !matches!(child::ended(), Ended::NoChildren);
        if left && stop.kicks < GIVE_UP_AFTER {
            if self.now >= stop.next_kick {
                if let Some(process) = &self.process {
                    sys::kill(-process.pid, libc::SIGKILL);
                }
                child::kill_rest(stop.kicks > HARD_AFTER);
                stop.kicks += 1;
                stop.next_kick = self.now + KICK_US;
            }
            return;
        }
        if left {
            sys::say("kindloop: a process cannot be killed; going on without waiting for it");
        }
        self.timings.stop = self.now - stop.started;
        self.stop = None;
        self.process = None;
        // A newer want that is being verified decides; until then nothing is started.
        let undecided = self.job.as_ref().is_some_and(|job| job.why == Why::New);
        if self.leaving.is_none() && !undecided {
            self.start_next();
        }
    }

    fn start_next(&mut self) {
        let Some(spec) = self.next.take() else { return };
        let (args, env) = (self.arguments(&spec), self.environment(&spec));
        // Before the first word of the new process, in the pipe of its panics: who reads the log
        // finds there what belongs to which.
        sys::say(&format!(
            "kindloop: swap generation={} digest={} verify_ms={} stop_ms={}",
            spec.want.generation,
            spec.short(),
            tenths(self.timings.verify),
            tenths(self.timings.stop),
        ));
        match child::spawn(&spec.file, &args, &env) {
            Ok(pid) => {
                self.current = Some(spec.clone());
                self.process = Some(Process {
                    judged: spec.want.probation_ms == 0,
                    served: false,
                    spec,
                    pid,
                    started: self.now,
                    started_ms: sys::unix_ms(),
                    probe: Probe::new(self.now),
                });
                self.busy_tries = 0;
            }
            Err(Errno(libc::ETXTBSY)) if self.busy_tries < BUSY_TRIES => {
                self.busy_tries += 1;
                self.current = Some(spec);
                self.retry_at = Some(self.now + BUSY_PAUSE_US);
            }
            Err(error) => {
                self.current = Some(spec.clone());
                self.died(&spec, false, &format!("cannot be executed: {error}"));
            }
        }
    }

    /// Something should run, nothing does, and nothing is under way to change that.
    fn keep_alive(&mut self) {
        if self.process.is_some() || self.job.is_some() || self.next.is_some() {
            return;
        }
        if self.retry_at.is_some_and(|at| self.now < at) {
            return;
        }
        self.retry_at = None;
        let Some(current) = self.current.clone() else {
            return self.verify_image();
        };
        if self.busy_tries == 0 {
            self.restarts += 1;
            self.touch();
        }
        self.verify(current.again(), Why::Restart);
    }

    /// TERM or INT: stop what runs, then leave with its exit code.
    pub fn leave(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(0);
        self.job = None;
        self.next = None;
        self.retry_at = None;
        self.begin_stop();
    }

    /// Any other signal is the app's.
    pub fn pass_on(&self, signal: i32) {
        if let Some(process) = &self.process {
            sys::kill(-process.pid, signal);
        }
    }

    pub fn left(&self) -> Option<i32> {
        self.leaving
            .filter(|_| self.stop.is_none() && self.process.is_none())
    }
}

/// Microseconds as milliseconds with one decimal.
pub fn tenths(us: u64) -> String {
    format!("{}.{}", us / 1000, us / 100 % 10)
}
