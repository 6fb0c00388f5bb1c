//! Errors as `application/problem+json` (RFC 9457).

use serde_json::{json, Value};

/// One thing wrong with a value, at a JSON pointer into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub pointer: String,
    pub detail: String,
}

#[derive(Debug, Clone)]
pub struct Problem {
    pub status: u16,
    pub detail: String,
    pub issues: Vec<Issue>,
    pub headers: Vec<(&'static str, String)>,
}

impl Problem {
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), issues: Vec::new(), headers: Vec::new() }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, detail)
    }

    pub fn with_issues(mut self, issues: Vec<Issue>) -> Self {
        self.issues = issues;
        self
    }

    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn to_json(&self) -> Value {
        let status = hyper::StatusCode::from_u16(self.status).unwrap_or_default();
        let title = status.canonical_reason().unwrap_or("Error");
        let mut json =
            json!({"type": "about:blank", "title": title, "status": self.status, "detail": self.detail});
        if !self.issues.is_empty() {
            let issues = self.issues.iter();
            json["errors"] =
                issues.map(|issue| json!({"pointer": issue.pointer, "detail": issue.detail})).collect();
        }
        json
    }
}
