//! What the process uses, under the names that all Prometheus clients give it.
//!
//! The collector of the prometheus crate counts CPU in whole seconds: too coarse for the rate of a
//! service that needs a few milliseconds between two scrapes.

use prometheus::{register_counter, register_gauge, Counter, Gauge};
use std::fs::{read_dir, read_to_string};
use std::sync::LazyLock;

/// USER_HZ, which Linux fixes for what it tells programs.
const TICKS_PER_SECOND: f64 = 100.0;

struct Metrics {
    cpu: Counter,
    resident: Gauge,
    virtual_size: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    started: Gauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let gauge = |name: &str, help: &str| register_gauge!(name, help).unwrap();
    let help = "Total user and system CPU time spent in seconds.";
    Metrics {
        cpu: register_counter!("process_cpu_seconds_total", help).unwrap(),
        resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
        virtual_size: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
        open_fds: gauge("process_open_fds", "Number of open file descriptors."),
        max_fds: gauge("process_max_fds", "Maximum number of open file descriptors."),
        threads: gauge("process_threads", "Number of OS threads in the process."),
        started: gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
        ),
    }
});

/// Reads the values anew. Where there is no /proc there are no such metrics.
pub fn refresh() -> Option<()> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // The name before the parenthesis can hold anything.
    let fields: Vec<f64> =
        stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    // proc(5) counts from 1, and the first two are cut off.
    let field = |number: usize| fields.get(number - 3).copied();
    let cpu = (field(14)? + field(15)?) / TICKS_PER_SECOND;
    // A scrape beside this one may have added it already.
    METRICS.cpu.inc_by((cpu - METRICS.cpu.get()).max(0.0));
    METRICS.threads.set(field(20)?);
    METRICS.virtual_size.set(field(23)?);
    METRICS.resident.set(number("/proc/self/status", "VmRSS:")? * 1024.0);
    METRICS.started.set(number("/proc/stat", "btime")? + field(22)? / TICKS_PER_SECOND);
    // One of them is this look.
    METRICS.open_fds.set(read_dir("/proc/self/fd").ok()?.count() as f64 - 1.0);
    METRICS.max_fds.set(number("/proc/self/limits", "Max open files")?);
    Some(())
}

/// The number behind a name at the start of a line.
fn number(path: &str, name: &str) -> Option<f64> {
    let text = read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_grows_by_use() {
        refresh().unwrap();
        let (cpu, fds) = (METRICS.cpu.get(), METRICS.open_fds.get());
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        while METRICS.cpu.get() < cpu + 0.02 {
            refresh().unwrap();
        }
        // Other tests have files of their own open for a moment.
        assert!(METRICS.open_fds.get() > fds + 30.0 && METRICS.max_fds.get() > 50.0);
        drop(files);
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - METRICS.started.get();
        assert!((-1.5..3600.0).contains(&age), "{age}");
        let resident = METRICS.resident.get();
        assert!(resident > 500e3 && resident < METRICS.virtual_size.get(), "{resident}");
        assert!(METRICS.threads.get() >= 2.0);
    }
}
