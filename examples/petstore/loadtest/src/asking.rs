//! One request: what is sent, the status that it must have, and its name in the reports.

use goose::prelude::*;
use serde_json::Value;
use std::time::Instant;

const KEY: &str = "test123";

/// A request that is not sent yet.
pub struct Ask<'a> {
    method: &'a str,
    path: String,
    name: String,
    expected: u16,
    key: Option<&'a str>,
    bearer: Option<&'a str>,
    content: Option<(&'a str, Vec<u8>)>,
}

impl<'a> Ask<'a> {
    /// Ask with the API key, for a 200. `route` is the path as the document has it: what all
    /// requests of an operation are counted under.
    pub fn new(method: &'a str, route: &str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            name: route.to_string(),
            expected: 200,
            key: Some(KEY),
            bearer: None,
            content: None,
        }
    }

    pub fn get(route: &str, path: impl Into<String>) -> Self {
        Self::new("GET", route, path)
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(mut self, media_type: &'a str, body: impl Into<Vec<u8>>) -> Self {
        self.content = Some((media_type, body.into()));
        self
    }

    pub fn bearer(mut self, token: &'a str) -> Self {
        (self.key, self.bearer) = (None, Some(token));
        self
    }

    pub fn without_key(mut self) -> Self {
        self.key = None;
        self
    }

    pub fn status(mut self, expected: u16) -> Self {
        self.expected = expected;
        self
    }

    /// A mistake made on purpose: another status is the failure. It has a row of its own in the
    /// reports, so that its times do not hide in those of the good requests.
    pub fn mistake(mut self, expected: u16) -> Self {
        self.name = format!("{} ({expected})", self.name);
        self.status(expected)
    }

    /// Send it; the whole body of the answer. A status that is not expected is a failed request
    /// in goose's metrics, and ends the transaction.
    pub async fn send(self, user: &mut GooseUser) -> Result<Vec<u8>, Box<TransactionError>> {
        if self.method == "OPTIONS" {
            return self.send_options(user).await;
        }
        let method = match self.method {
            "DELETE" => GooseMethod::Delete,
            "HEAD" => GooseMethod::Head,
            "POST" => GooseMethod::Post,
            _ => GooseMethod::Get,
        };
        let mut builder = user.get_request_builder(&method, &self.path)?;
        for (name, value) in self.headers() {
            builder = builder.header(name, value);
        }
        if let Some((_, body)) = &self.content {
            builder = builder.body(body.clone());
        }
        let request = GooseRequest::builder()
            .method(method)
            .path(self.path.as_str())
            .name(self.name.as_str())
            .expect_status_code(self.expected)
            .error_on_fail()
            .set_request_builder(builder)
            .build();
        let mut answer = user.request(request).await?;
        // The connection is free for the next request when the body is read.
        match answer.response?.bytes().await {
            Ok(body) => Ok(body.to_vec()),
            Err(error) => {
                let tag = format!("the body ends early: {error}");
                user.set_failure(&tag, &mut answer.request, None, None)?;
                Err(tag.into())
            }
        }
    }

    /// Goose has no method OPTIONS, so it is timed here and told to goose.
    async fn send_options(self, user: &mut GooseUser) -> Result<Vec<u8>, Box<TransactionError>> {
        let method = "OPTIONS".parse().expect("a method");
        let mut builder = user.client.request(method, user.build_url(&self.path)?);
        for (name, value) in self.headers() {
            builder = builder.header(name, value);
        }
        let started = Instant::now();
        let answer = builder.send().await;
        let took = started.elapsed();
        let status = answer.as_ref().ok().map(|found| found.status().as_u16());
        let success = status == Some(self.expected);
        let error = match &answer {
            Ok(found) => format!("{}: {}", found.status(), self.name),
            Err(error) => error.to_string(),
        };
        user.record_custom_request_duration(
            self.method,
            &self.name,
            took,
            success,
            status,
            (!success).then_some(error.as_str()),
        )
        .await?;
        let body = answer?.bytes().await?;
        match success {
            true => Ok(body.to_vec()),
            false => Err(error.into()),
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        if let Some(key) = self.key {
            all.push(("X-API-Key", key.to_string()));
        }
        if let Some(token) = self.bearer {
            all.push(("Authorization", format!("Bearer {token}")));
        }
        if let Some((media_type, _)) = &self.content {
            all.push(("Content-Type", media_type.to_string()));
        }
        all
    }
}
