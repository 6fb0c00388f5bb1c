//! Request metrics in the Prometheus text format.

use crate::process;
use prometheus::{
    register_histogram_vec, register_int_counter_vec, register_int_gauge, HistogramVec, IntCounterVec,
    IntGauge, TextEncoder,
};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

static ACTIVE: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("brrtrouter_active_requests", "Requests that are being answered, probes apart")
        .unwrap()
});

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = ["method", "path", "status"];
    register_int_counter_vec!("brrtrouter_requests_total", "Requests that were answered", &labels).unwrap()
});

static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "brrtrouter_request_duration_seconds";
    register_histogram_vec!(name, "How long answers took", &["method", "path"], SECONDS.into()).unwrap()
});

/// Counts a request as active while it lives.
#[derive(Debug)]
pub struct Active;

/// Of a reply that goes on after its head: whoever writes it keeps this until the end.
pub type Going = Arc<OnceLock<Active>>;

impl Active {
    pub fn begin() -> Self {
        ACTIVE.inc();
        Self
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.dec();
    }
}

pub fn observe(method: &str, path: &str, status: u16, duration: Duration) {
    REQUESTS.with_label_values(&[method, path, &status.to_string()]).inc();
    DURATIONS.with_label_values(&[method, path]).observe(duration.as_secs_f64());
}

pub fn render() -> String {
    process::refresh();
    // There as zero before the first request.
    LazyLock::force(&ACTIVE);
    let text = TextEncoder::new().encode_to_string(&prometheus::gather());
    text.expect("metrics with valid names can be written")
}
