//! Request metrics in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

type Key = (&'static str, Arc<str>);

#[derive(Default)]
pub struct Metrics {
    active: AtomicI64,
    series: Mutex<BTreeMap<Key, Series>>,
}

#[derive(Default)]
struct Series {
    statuses: BTreeMap<u16, u64>,
    /// Not cumulative; the text format adds them up.
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
}

/// Counts a request as active while it lives.
pub struct Active<'a>(&'a AtomicI64);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn begin(&self) -> Active<'_> {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(&self.active)
    }

    pub fn observe(&self, method: &'static str, path: Arc<str>, status: u16, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let mut all = self.lock();
        let series = all.entry((method, path)).or_default();
        *series.statuses.entry(status).or_default() += 1;
        series.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            series.buckets[bucket] += 1;
        }
    }

    pub fn render(&self) -> String {
        let mut text = String::from("# TYPE brrtrouter_active_requests gauge\n");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "brrtrouter_active_requests {}", self.active.load(Ordering::Relaxed));
        let all = self.lock();
        text.push_str("# TYPE brrtrouter_requests_total counter\n");
        for ((method, path), series) in all.iter() {
            for (status, count) in &series.statuses {
                let labels = format!("method=\"{method}\",path=\"{path}\",status=\"{status}\"");
                let _ = writeln!(text, "brrtrouter_requests_total{{{labels}}} {count}");
            }
        }
        text.push_str("# TYPE brrtrouter_request_duration_seconds histogram\n");
        for ((method, path), series) in all.iter() {
            series.render(&format!("method=\"{method}\",path=\"{path}\""), &mut text);
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    fn render(&self, labels: &str, text: &mut String) {
        let name = "brrtrouter_request_duration_seconds";
        let mut total = 0;
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            total += count;
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        let count: u64 = self.statuses.values().sum();
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", self.seconds);
        let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
    }
}
