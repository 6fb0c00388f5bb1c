//! The parts of the state: what can be run, what is under way, how it went.

use alloc::rc::Rc;
use alloc::string::String;

use crate::artifact::Hashing;
use crate::child::End;
use crate::probe::Probe;
use crate::sys::Fd;
use crate::want::Want;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Swap,
    Image,
}

/// Something that can be run: the wish, and the descriptor that was verified for it. It holds that
/// descriptor, so a file that is deleted meanwhile can still be started again.
pub struct Spec {
    pub want: Want,
    pub source: Source,
    pub file: Rc<Fd>,
}

/// Why an artifact is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is wanted, or is the image's own.
    New,
    /// It ended and is started again.
    Restart,
    /// It is the last good one.
    RollBack,
}

pub struct Job {
    pub spec: Spec,
    pub why: Why,
    pub hashing: Hashing,
    pub started: u64,
}

/// The way to an empty container: TERM, grace, KILL, and everything else dead.
pub struct Stop {
    pub started: u64,
    pub kill_at: u64,
    pub next_kick: u64,
    pub kicks: u32,
}

pub struct Process {
    pub spec: Rc<Spec>,
    pub pid: i32,
    pub started: u64,
    pub started_ms: u64,
    pub probe: Probe,
    /// It was ready once.
    pub served: bool,
    /// Its probation is over, one way or the other.
    pub judged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fresh,
    Refused,
    Crashed,
    RolledBack,
    Failed,
}

pub const VERDICTS: [(Verdict, &str); 5] = [
    (Verdict::Fresh, "fresh"),
    (Verdict::Refused, "refused"),
    (Verdict::Crashed, "crashed"),
    (Verdict::RolledBack, "rolled_back"),
    (Verdict::Failed, "failed"),
];

#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    pub generation: i64,
    pub result: Verdict,
    pub reason: String,
}

#[derive(Clone, Copy)]
pub struct Exit {
    pub end: End,
    pub after_us: u64,
}

/// Of the last swap, in microseconds.
#[derive(Clone, Copy, Default)]
pub struct Timings {
    pub verify: u64,
    pub stop: u64,
    pub start: u64,
}

impl Spec {
    /// The same thing, to be verified once more on the same descriptor.
    pub fn again(&self) -> Self {
        Spec {
            want: self.want.clone(),
            source: self.source,
            file: self.file.clone(),
        }
    }

    /// The digest as people read it.
    pub fn short(&self) -> &str {
        self.want.digest.get(..12).unwrap_or_default()
    }
}

impl Process {
    pub fn probation_end(&self) -> u64 {
        self.started + self.spec.want.probation_ms * 1000
    }
}
