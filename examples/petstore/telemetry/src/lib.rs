//! What the service tells of itself while it runs: traces and log lines.
//!
//! A crate of its own, so that an edit of the router does not compile the exporter again.

mod export;
pub mod log;
pub mod trace;
