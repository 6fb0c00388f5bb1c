//! What clients see of the state: one word, one line, JSON, Prometheus text. Nothing of the app's
//! arguments, environment or log is in it.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::fmt::Write;

use serde_json::{json, Value};

use crate::child::End;
use crate::core_state::Core;
use crate::model::{Source, Spec, Timings, Verdict, VERDICTS};

impl Core {
    /// One of waiting, verifying, stopping, starting, running, crashed, stopped.
    pub fn state(&self) -> &'static str {
        if self.leaving.is_some() && self.left().is_some() {
            return "stopped";
        }
        let wanted = self
            .job
            .as_ref()
            .is_some_and(|job| self.is_wanted(&job.spec));
        match &self.process {
            _ if wanted => "verifying",
            Some(_) if self.stop.is_some() => "stopping",
            Some(process) if process.probe.ready => "running",
            Some(_) => "starting",
            None if self.next.is_some() => "starting",
            None if self.current.is_some() => "crashed",
            None => "waiting",
        }
    }

    /// Why the wanted digest is not served, in one line; None when it is.
    pub fn unready(&self) -> Option<String> {
        let wanted = self.wanted.as_ref().map(|(generation, _)| *generation);
        let Some(process) = &self.process else {
            let why = match &self.outcome {
                Some(outcome) if !outcome.reason.is_empty() => &outcome.reason,
                _ => "there is no want.json to act on",
            };
            return Some(format!("nothing runs ({}): {why}", self.state()));
        };
        if self.stop.is_some() {
            return Some("the running process is being stopped".to_string());
        }
        if let Some(wanted) = wanted.filter(|_| !self.is_wanted(&process.spec)) {
            let running = process.spec.want.generation;
            let known = self.outcome.as_ref();
            let known = known.filter(|outcome| outcome.generation == wanted);
            let why = known.map_or("it is verified", |outcome| &outcome.reason);
            return Some(format!(
                "generation {wanted} is wanted, {running} runs: {why}"
            ));
        }
        if process.probe.ready {
            return None;
        }
        Some(process.probe.reason.clone())
    }

    pub fn status(&self) -> String {
        let wanted = self.wanted.as_ref();
        let document = json!({
            "version": 1,
            "supervisor": env!("CARGO_PKG_VERSION"),
            "revision": self.revision,
            "state": self.state(),
            "ready": self.unready().is_none(),
            "wanted": wanted.map(|(generation, digest)| json!({
                "generation": generation,
                "digest": digest,
            })),
            "running": self.process.as_ref().map(|process| json!({
                "generation": process.spec.want.generation,
                "digest": process.spec.want.digest,
                "pid": process.pid,
                "started_ms": process.started_ms,
                "source": source(&process.spec),
                "listens": process.probe.listens.map(|address| address.to_string()),
            })),
            "outcome": self.outcome.as_ref().map(|outcome| json!({
                "generation": outcome.generation,
                "result": word(outcome.result),
                "reason": outcome.reason,
            })),
            "good": self.good.as_ref().map(digest),
            "tree": self.tree,
            "restarts": self.restarts,
            "exit": self.exit.map(|exit| json!({
                "code": match exit.end { End::Code(code) => Some(code), End::Signal(_) => None },
                "signal": match exit.end { End::Signal(signal) => Some(signal), End::Code(_) => None },
                "after_ms": exit.after_us / 1000,
            })),
            "reaped": self.reaped,
            "timings_ms": {
                "verify": milliseconds(self.timings.verify),
                "stop": milliseconds(self.timings.stop),
                "start": milliseconds(self.timings.start),
            },
            "problem": self.problem,
        });
        document.to_string()
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        describe(
            &mut text,
            "swaps_total",
            "counter",
            "Outcomes of wanted generations.",
        );
        for (count, (_, word)) in self.verdicts.iter().zip(VERDICTS) {
            sample(
                &mut text,
                "swaps_total",
                &format!("{{result=\"{word}\"}}"),
                *count,
            );
        }
        let plain = [
            (
                "restarts_total",
                "counter",
                "Starts after an end by itself.",
                self.restarts,
            ),
            ("reaped_total", "counter", "Orphans reaped.", self.reaped),
            (
                "ready",
                "gauge",
                "1 when the wanted digest serves.",
                self.unready().is_none().into(),
            ),
        ];
        for (name, kind, help, value) in plain {
            describe(&mut text, name, kind, help);
            sample(&mut text, name, "", value);
        }
        let running = self.process.as_ref().map(|process| &process.spec.want);
        describe(
            &mut text,
            "generation",
            "gauge",
            "The generation that runs.",
        );
        sample(
            &mut text,
            "generation",
            "",
            running.map_or(0, |want| want.generation),
        );
        describe(
            &mut text,
            "swap_seconds",
            "gauge",
            "Parts of the last swap.",
        );
        let Timings {
            verify,
            stop,
            start,
        } = self.timings;
        for (part, us) in [("verify", verify), ("stop", stop), ("start", start)] {
            let seconds = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
            sample(
                &mut text,
                "swap_seconds",
                &format!("{{part=\"{part}\"}}"),
                seconds,
            );
        }
        if let Some(want) = running {
            describe(&mut text, "running_info", "gauge", "The digest that runs.");
            let label = format!("{{digest=\"{}\"}}", want.digest);
            sample(&mut text, "running_info", &label, 1);
        }
        text
    }

    /// The outcome of this generation, or of a later one, is known.
    pub fn knows(&self, generation: i64) -> bool {
        let outcome = self.outcome.as_ref();
        outcome.is_some_and(|outcome| outcome.generation >= generation)
    }
}

fn digest(spec: &Rc<Spec>) -> Value {
    Value::from(spec.want.digest.as_str())
}

fn source(spec: &Spec) -> &'static str {
    match spec.source {
        Source::Swap => "swap",
        Source::Image => "image",
    }
}

pub fn word(verdict: Verdict) -> &'static str {
    let found = VERDICTS.iter().find(|(one, _)| *one == verdict);
    found.map_or("", |(_, word)| word)
}

/// With one decimal.
fn milliseconds(us: u64) -> f64 {
    (us / 100) as f64 / 10.0
}

fn describe(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        text,
        "# HELP kindloop_{name} {help}\n# TYPE kindloop_{name} {kind}"
    );
}

fn sample(text: &mut String, name: &str, labels: &str, value: impl core::fmt::Display) {
    let _ = writeln!(text, "kindloop_{name}{labels} {value}");
}
