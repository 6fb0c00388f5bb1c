//! Errors as `application/problem+json` (RFC 9457).

use serde::Serialize;

/// One thing wrong with a value, at a JSON pointer into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    pub pointer: String,
    pub detail: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    r#type: &'static str,
    title: &'static str,
    pub status: u16,
    pub detail: String,
    #[serde(rename = "errors", skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<Issue>,
    #[serde(skip)]
    pub headers: Vec<(&'static str, String)>,
}

impl Problem {
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        let code = http::StatusCode::from_u16(status).unwrap_or_default();
        let title = code.canonical_reason().unwrap_or("Error");
        let (issues, headers) = (Vec::new(), Vec::new());
        Self { r#type: "about:blank", title, status, detail: detail.into(), issues, headers }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    pub fn with_issues(self, issues: Vec<Issue>) -> Self {
        Self { issues, ..self }
    }

    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
