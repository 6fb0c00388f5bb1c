//! What is wanted, what runs and how it went: the state that every turn of the loop changes.

use alloc::ffi::CString;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::artifact::{self, Hashing};
use crate::model::{
    Exit, Job, Outcome, Process, Source, Spec, Stop, Timings, Verdict, Why, VERDICTS,
};
use crate::settings::Settings;
use crate::sys::{self, Errno};
use crate::want::{self, Rejected, Want};

const BUFFER: usize = 128 * 1024;

pub struct Core {
    pub settings: Settings,
    /// The time of this turn, microseconds.
    pub now: u64,
    pub buffer: Vec<u8>,
    raw: Option<Vec<u8>>,
    /// Generation and digest of the newest `want.json` that names a generation.
    pub wanted: Option<(i64, String)>,
    /// The newest want while its artifact is not there yet.
    awaited: Option<Want>,
    pub problem: Option<String>,
    pub tree: Option<String>,
    pub outcome: Option<Outcome>,
    pub good: Option<Rc<Spec>>,
    /// Generation that gives way to the good one, and why, until that one is verified.
    pub given_up: Option<(i64, String)>,
    /// What is kept alive: started again when it ends.
    pub current: Option<Rc<Spec>>,
    pub job: Option<Job>,
    /// Verified, starts when the stop is through.
    pub next: Option<Rc<Spec>>,
    pub stop: Option<Stop>,
    pub process: Option<Process>,
    pub retry_at: Option<u64>,
    pub pause_us: u64,
    pub busy_tries: u32,
    /// Told to end: the exit code, once it is known.
    pub leaving: Option<i32>,
    pub exit: Option<Exit>,
    pub timings: Timings,
    pub restarts: u64,
    pub reaped: u64,
    pub verdicts: [u64; VERDICTS.len()],
    pub revision: u64,
    shown: (&'static str, bool, i32),
}

impl Core {
    pub fn new(settings: Settings) -> Self {
        Core {
            settings,
            now: sys::now_us(),
            buffer: vec![0; BUFFER],
            raw: None,
            wanted: None,
            awaited: None,
            problem: None,
            tree: None,
            outcome: None,
            good: None,
            given_up: None,
            current: None,
            job: None,
            next: None,
            stop: None,
            process: None,
            retry_at: None,
            pause_us: 0,
            busy_tries: 0,
            leaving: None,
            exit: None,
            timings: Timings::default(),
            restarts: 0,
            reaped: 0,
            verdicts: [0; VERDICTS.len()],
            revision: 1,
            shown: ("waiting", false, 0),
        }
    }

    /// Something that `/status` shows has changed.
    pub fn touch(&mut self) {
        self.revision += 1;
    }

    /// The same for what is worked out from the rest: state, readiness, pid.
    pub fn notice(&mut self) {
        let pid = self.process.as_ref().map_or(0, |process| process.pid);
        let shown = (self.state(), self.unready().is_none(), pid);
        if shown != self.shown {
            self.shown = shown;
            self.touch();
        }
    }

    /// Reads `want.json` and `current`; acts on a generation that was not seen before.
    pub fn look_at_directory(&mut self) {
        let link = sys::read_link(&format!("{}/current", self.settings.dir)).unwrap_or_default();
        let tree = link.strip_prefix("trees/").unwrap_or_default();
        let tree = Some(tree.to_string()).filter(|tree| want::is_digest(tree));
        if tree != self.tree {
            self.tree = tree;
            self.touch();
        }
        match read_want(&self.settings.dir) {
            Ok(text) if self.raw.as_ref() == text.as_ref() => {
                // Nothing is started any more by one that is about to leave.
                if let Some(want) = self.awaited.take().filter(|_| self.leaving.is_none()) {
                    self.verify_again(want);
                }
            }
            Ok(text) => {
                let parsed = text.as_ref().map(|text| want::parse(text));
                self.raw = text;
                match parsed {
                    // Gone: what runs goes on, and that it is gone is no mistake.
                    None => self.set_problem(None),
                    Some(parsed) => self.take_want(parsed),
                }
            }
            Err(reason) => {
                self.raw = None;
                self.set_problem(Some(format!("want.json: {reason}")));
            }
        }
    }

    fn take_want(&mut self, parsed: Result<Want, Rejected>) {
        let (generation, digest) = match &parsed {
            Ok(want) => (want.generation, want.digest.clone()),
            Err(Rejected::Refused {
                generation, digest, ..
            }) => (*generation, digest.clone()),
            Err(Rejected::Unreadable(reason)) => {
                self.set_problem(Some(format!("want.json: {reason}")));
                return;
            }
        };
        self.set_problem(None);
        let seen = self.wanted.as_ref().map(|(generation, _)| *generation);
        if seen == Some(generation) || self.leaving.is_some() {
            return;
        }
        self.wanted = Some((generation, digest));
        self.awaited = None;
        self.exit = None;
        self.busy_tries = 0;
        self.touch();
        match parsed {
            Ok(want) => self.verify_new(want),
            Err(Rejected::Refused { reason, .. }) => self.refuse(&reason),
            Err(Rejected::Unreadable(_)) => {}
        }
    }

    fn set_problem(&mut self, problem: Option<String>) {
        if problem != self.problem {
            if let Some(problem) = &problem {
                sys::say(&format!("kindloop: {problem}"));
            }
            self.problem = problem;
            self.touch();
        }
    }

    fn verify_new(&mut self, want: Want) {
        let path = self.artifact_path(&want.digest);
        match artifact::open(&path, Some(want.size)) {
            Ok((file, _)) => {
                let file = Rc::new(file);
                let source = Source::Swap;
                self.verify(Spec { want, source, file }, Why::New);
            }
            Err(reason) => {
                if reason.starts_with("missing") {
                    self.awaited = Some(want);
                }
                self.refuse(&reason);
            }
        }
    }

    /// A mount of a virtual machine's engine may show the pointer before what it points to.
    fn verify_again(&mut self, want: Want) {
        let path = self.artifact_path(&want.digest);
        if sys::open(&path, libc::O_PATH | libc::O_NOFOLLOW).is_ok() {
            self.verify_new(want);
        } else {
            self.awaited = Some(want);
        }
    }

    fn artifact_path(&self, digest: &str) -> String {
        format!("{}/bin/{digest}", self.settings.dir)
    }

    /// Begins to hash. A job under way is given up: what is wanted now is newer.
    pub fn verify(&mut self, spec: Spec, why: Why) {
        let hashing = Hashing::new(spec.file.clone(), spec.want.size);
        let started = self.now;
        self.job = Some(Job {
            spec,
            why,
            hashing,
            started,
        });
    }

    /// Begins with the image's own binary, when there is one.
    pub fn verify_image(&mut self) {
        let Some(path) = self.settings.binary.take() else {
            return;
        };
        match artifact::open(&path, None) {
            Ok((file, size)) => {
                let want = Want {
                    generation: 0,
                    digest: String::new(),
                    size,
                    args: None,
                    env: Vec::new(),
                    grace_ms: 2000,
                    probation_ms: 5000,
                    rollback: false,
                    tree: None,
                };
                let file = Rc::new(file);
                let source = Source::Image;
                self.verify(Spec { want, source, file }, Why::New);
            }
            Err(reason) if reason.starts_with("missing") => {}
            Err(reason) => {
                self.set_problem(Some(format!("image: {reason}")));
                return;
            }
        }
        self.settings.binary = Some(path);
    }

    pub fn refuse(&mut self, reason: &str) {
        self.conclude(Verdict::Refused, reason);
        let (generation, _) = self.wanted.clone().unwrap_or_default();
        sys::say(&format!(
            "kindloop: refused generation={generation}: {reason}"
        ));
    }

    /// The outcome of the newest wanted generation.
    pub fn conclude(&mut self, result: Verdict, reason: &str) {
        let Some((generation, _)) = self.wanted else {
            return;
        };
        let outcome = Outcome {
            generation,
            result,
            reason: reason.to_string(),
        };
        for (count, (verdict, _)) in self.verdicts.iter_mut().zip(VERDICTS) {
            *count += u64::from(verdict == result);
        }
        self.outcome = Some(outcome);
        self.touch();
    }

    /// The app's argument list, its own name first.
    pub fn arguments(&self, spec: &Spec) -> Vec<CString> {
        let name = match (spec.source, &self.settings.binary) {
            (Source::Image, Some(path)) => path.clone(),
            _ => self.artifact_path(&spec.want.digest),
        };
        let given = spec.want.args.as_ref().unwrap_or(&self.settings.args);
        let name = sys::c_string(&name).unwrap_or_default();
        core::iter::once(name)
            .chain(given.iter().cloned())
            .collect()
    }

    /// The container's environment with that of the want over it.
    pub fn environment(&self, spec: &Spec) -> Vec<CString> {
        let over = &spec.want.env;
        let kept = self.settings.env.iter();
        kept.filter(|entry| !over.iter().any(|new| key(new) == key(entry)))
            .chain(over)
            .cloned()
            .collect()
    }
}

fn key(entry: &CString) -> &[u8] {
    let bytes = entry.as_bytes();
    bytes.split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// The text, or None when there is no such file. Never waits, whatever stands in its place.
pub fn read_want(dir: &str) -> Result<Option<Vec<u8>>, String> {
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NOCTTY;
    let file = match sys::open(&format!("{dir}/want.json"), flags) {
        Ok(file) => file,
        Err(Errno(libc::ENOENT)) => return Ok(None),
        Err(Errno(libc::ELOOP)) => return Err("is a symbolic link".to_string()),
        Err(error) => return Err(error.to_string()),
    };
    if !file.stat().is_ok_and(|found| sys::is_regular(&found)) {
        return Err("is not a regular file".to_string());
    }
    match sys::read_small(&file, want::LIMIT) {
        Ok(text) => Ok(Some(text)),
        Err(Errno(libc::EFBIG)) => Err(format!("is longer than {} bytes", want::LIMIT)),
        Err(error) => Err(error.to_string()),
    }
}
