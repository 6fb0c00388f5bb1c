//! Log lines as JSON on standard error.

use serde_json::{json, Value};
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

const NAMES: [&str; 4] = ["error", "warn", "info", "debug"];

static MAX_LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Takes the level from `RUST_LOG`; anything that is not a level leaves `info`.
pub fn init() {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default().to_lowercase();
    if let Some(level) = NAMES.iter().position(|name| *name == wanted) {
        MAX_LEVEL.store(level as u8, Ordering::Relaxed);
    }
}

pub fn enabled(level: Level) -> bool {
    level as u8 <= MAX_LEVEL.load(Ordering::Relaxed)
}

/// Writes one line; `fields` is an object.
pub fn log(level: Level, message: &str, fields: Value) {
    if !enabled(level) {
        return;
    }
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as f64 / 1000.0;
    let mut line = json!({"time": time, "level": NAMES[level as usize], "message": message});
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
        line.extend(fields);
    }
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Makes a panic one log line that says where it happened.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let place = info.location().map(|place| place.to_string()).unwrap_or_default();
        log(Level::Error, &format!("panicked at {place}: {text}"), json!({}));
    }));
}
