//! Log lines as JSON on standard error.

use crate::trace;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use std::io::Write;
use std::sync::LazyLock;
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

static MAX_LEVEL: LazyLock<Level> = LazyLock::new(|| {
    let wanted = std::env::var("RUST_LOG").ok();
    wanted.and_then(|name| serde_json::from_value(name.into()).ok()).unwrap_or(Level::Info)
});

/// Writes one line that also has the `fields` of an object, and tells the current span.
pub fn log(level: Level, message: &str, mut fields: Value) {
    if level > *MAX_LEVEL {
        return;
    }
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    fields["time"] = json!(time.as_millis() as f64 / 1000.0);
    fields["level"] = json!(level);
    fields["message"] = json!(message);
    if let Some([trace, span]) = trace::ids() {
        fields["trace_id"] = json!(trace);
        fields["span_id"] = json!(span);
    }
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().write_all(format!("{fields}\n").as_bytes());
}
