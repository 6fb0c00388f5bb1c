//! How the process that runs fares: ready, good after its probation, dead, rolled back.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::ToString;

use crate::child::{self, End, Ended};
use crate::core_state::Core;
use crate::lifecycle::tenths;
use crate::model::{Exit, Source, Spec, Stop, Verdict, Why};
use crate::sys;

const FIRST_PAUSE_US: u64 = 100_000;
const LONGEST_PAUSE_US: u64 = 5_000_000;

impl Core {
    /// Readiness and probation of what runs.
    pub fn watch(&mut self, woken: bool) {
        let Some(process) = &mut self.process else {
            return;
        };
        process
            .probe
            .look(self.now, woken, process.pid, &self.settings);
        let ready = process.probe.ready;
        let over = self.now >= process.probation_end();
        let spec = process.spec.clone();
        if ready && !process.served {
            process.served = true;
            self.now = sys::now_us();
            self.timings.start = self.now - process.started;
            self.served(&spec);
        }
        let Some(process) = &mut self.process else {
            return;
        };
        if ready && over && (!process.judged || !same(self.good.as_ref(), &spec)) {
            process.judged = true;
            self.pause_us = 0;
            self.good = Some(spec);
            self.touch();
        } else if over && !process.judged {
            process.judged = true;
            let reason = format!(
                "not ready within {} ms: {}",
                spec.want.probation_ms, process.probe.reason
            );
            self.not_ready(&spec, &reason);
        }
    }

    fn served(&mut self, spec: &Spec) {
        let wanted = self.is_wanted(spec);
        let known = self.outcome.as_ref().is_some_and(|outcome| {
            outcome.generation == spec.want.generation && outcome.result == Verdict::Fresh
        });
        if wanted && !known {
            self.conclude(Verdict::Fresh, "");
        }
        sys::say(&format!(
            "kindloop: {} generation={} digest={} start_ms={}",
            if wanted { "fresh" } else { "ready" },
            spec.want.generation,
            spec.short(),
            tenths(self.timings.start),
        ));
    }

    fn not_ready(&mut self, spec: &Spec, reason: &str) {
        if self.roll_back(spec, reason) {
            return;
        }
        if self.is_wanted(spec) {
            self.conclude(Verdict::Failed, reason);
        }
        sys::say(&format!("kindloop: {} is {reason}", spec.short()));
    }

    /// It ended by itself, or could not be started.
    pub fn died(&mut self, spec: &Spec, judged: bool, reason: &str) {
        if self
            .job
            .as_ref()
            .is_some_and(|job| job.why == Why::RollBack)
        {
            // Given up already, before it ended.
            return;
        }
        if !judged && self.roll_back(spec, reason) {
            return;
        }
        if self.is_wanted(spec) {
            self.conclude(Verdict::Crashed, reason);
        }
        self.pause();
        let pause = self.pause_us / 1000;
        sys::say(&format!(
            "kindloop: {} ended ({reason}); again in {pause} ms",
            spec.short()
        ));
    }

    pub fn pause(&mut self) {
        self.pause_us = (self.pause_us * 2).clamp(FIRST_PAUSE_US, LONGEST_PAUSE_US);
        self.retry_at = Some(self.now + self.pause_us);
    }

    /// Back to the last good one, when that is asked for and possible.
    pub fn roll_back(&mut self, spec: &Spec, reason: &str) -> bool {
        let good = self.good.as_ref().filter(|good| {
            good.want.generation != spec.want.generation || good.source != spec.source
        });
        let Some(good) = good.cloned() else {
            return false;
        };
        if !spec.want.rollback || self.job.is_some() {
            return false;
        }
        self.given_up = Some((spec.want.generation, reason.to_string()));
        // That it was fresh is known already, and must not stand for a moment longer.
        if self.is_wanted(spec) && self.knows(spec.want.generation) {
            self.conclude(Verdict::RolledBack, reason);
        }
        self.pause_us = 0;
        self.verify(good.again(), Why::RollBack);
        true
    }

    /// The good one was verified and runs next: only now the roll back is a fact.
    pub fn went_back(&mut self, good: &Spec) {
        let Some((generation, reason)) = self.given_up.take() else {
            return;
        };
        sys::say(&format!(
            "kindloop: rolled back to {}: {reason}",
            good.short()
        ));
        let told = self.outcome.as_ref().is_some_and(|outcome| {
            outcome.generation == generation && outcome.result == Verdict::RolledBack
        });
        if !told && self.wants(generation) {
            self.conclude(Verdict::RolledBack, &reason);
        }
    }

    /// The good one is not what it was: what was given up is all there is.
    pub fn cannot_go_back(&mut self, why: &str) {
        let alive = self.process.is_some();
        if !alive {
            self.pause();
        }
        self.touch();
        let Some((generation, reason)) = self.given_up.take() else {
            return;
        };
        if self.wants(generation) {
            let result = if alive {
                Verdict::Failed
            } else {
                Verdict::Crashed
            };
            self.conclude(result, &format!("{reason}; cannot roll back: {why}"));
        }
    }

    /// Reaps whatever has ended.
    pub fn reap(&mut self) {
        while let Ended::Process(pid) = child::ended() {
            let main = self
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid);
            if main {
                // Not reaped yet, so its number still means its group and nobody else.
                sys::kill(-pid, libc::SIGKILL);
            }
            let end = child::reap(pid);
            if main {
                self.ended(end);
            } else {
                self.reaped += 1;
            }
        }
    }

    fn ended(&mut self, end: End) {
        let Some(process) = self.process.take() else {
            return;
        };
        if let Some(code) = &mut self.leaving {
            *code = end.exit_code();
        }
        if let Some(stop) = &mut self.stop {
            stop.next_kick = self.now;
            return;
        }
        // By itself. What it left behind is dead before anything is started.
        self.stop = Some(Stop {
            started: self.now,
            kill_at: self.now,
            next_kick: self.now,
            kicks: 0,
        });
        let after_us = self.now - process.started;
        self.exit = Some(Exit { end, after_us });
        self.touch();
        let reason = format!("{} after {} ms", end.text(), after_us / 1000);
        self.died(&process.spec, process.judged, &reason);
    }

    pub fn is_wanted(&self, spec: &Spec) -> bool {
        spec.source == Source::Swap && self.wants(spec.want.generation)
    }

    fn wants(&self, generation: i64) -> bool {
        self.wanted
            .as_ref()
            .is_some_and(|(wanted, _)| *wanted == generation)
    }
}

fn same(known: Option<&Rc<Spec>>, spec: &Rc<Spec>) -> bool {
    known.is_some_and(|known| Rc::ptr_eq(known, spec))
}
