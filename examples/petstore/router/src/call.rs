//! What a handler is given and what it gives back.

use crate::body::File;
use crate::metrics::Going;
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use openapi::problem::Problem;
use serde::{de::DeserializeOwned, Serialize};
use serde_json::{json, Value};
use std::time::Duration;

/// One request, checked against the document: parameters as `query.limit`, and the body as `body`.
pub type Input = Value;

pub type Handler = fn(Input) -> Result<Reply, Problem>;

/// What was checked, as the type that was generated for it.
pub fn typed<T: DeserializeOwned>(input: Input) -> Result<T, Problem> {
    serde_json::from_value(input).map_err(|error| Problem::bad_request(error.to_string()))
}

/// An example of a document as a typed response: what a fresh controller answers.
pub fn example<T: DeserializeOwned>(json: Value) -> Result<T, Problem> {
    serde_json::from_value(json).map_err(|error| Problem::new(500, format!("a bad example: {error}")))
}

/// A finite stream of server-sent events, `interval` apart.
#[derive(Debug, Default)]
pub struct EventStream {
    pub events: Vec<String>,
    pub interval: Duration,
}

impl EventStream {
    /// The events of a text in the format of an event stream, each a line of data.
    pub fn parse(text: &str) -> Self {
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        Self { events: events.map(str::to_string).collect(), interval: Duration::ZERO }
    }
}

pub type ReplyBody = Either<Full<Bytes>, Channel<Bytes>>;

#[derive(Debug)]
pub struct Reply(pub(crate) Response<ReplyBody>);

impl Reply {
    pub fn empty(status: u16) -> Self {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        Self(response)
    }

    pub fn json(status: u16, media_type: &str, value: impl Serialize) -> Result<Self, Problem> {
        match serde_json::to_vec(&value) {
            Ok(json) => Ok(Self::bytes(status, media_type, json)),
            Err(error) => Err(Problem::new(500, format!("the response is not JSON: {error}"))),
        }
    }

    pub fn text(status: u16, media_type: &str, text: String) -> Result<Self, Problem> {
        Ok(Self::bytes(status, media_type, text))
    }

    pub fn file(status: u16, media_type: &str, file: File) -> Result<Self, Problem> {
        // A quote or a control character would end the header's value early.
        let name = file.name.replace(|c: char| c == '"' || c == '\\' || !(' '..='~').contains(&c), "_");
        let reply = Self::bytes(status, media_type, file.data);
        Ok(reply.with_header("content-disposition", &format!("attachment; filename=\"{name}\"")))
    }

    /// Needs the runtime in which handlers are called.
    pub fn events(status: u16, media_type: &str, stream: EventStream) -> Result<Self, Problem> {
        let (mut sender, body) = Channel::new(1);
        let going = Going::default();
        let reply = Self::bytes(status, media_type, "").with_header("cache-control", "no-cache");
        let mut reply = reply.0.map(|_| Either::Right(body));
        reply.extensions_mut().insert(going.clone());
        tokio::spawn(async move {
            let _going = going;
            for (index, event) in stream.events.into_iter().enumerate() {
                if index > 0 {
                    tokio::time::sleep(stream.interval).await;
                }
                let lines = event.replace('\n', "\ndata: ");
                if sender.send_data(format!("data: {lines}\n\n").into()).await.is_err() {
                    // The client is gone.
                    return;
                }
            }
        });
        Ok(Self(reply))
    }

    fn bytes(status: u16, media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let reply = Self::empty(status).with_header("content-type", media_type);
        Self(reply.0.map(|_| Either::Left(Full::new(bytes.into()))))
    }

    /// A value that no header can have is left out.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().ok();
        value.map(|value| self.0.headers_mut().insert(name, value));
        self
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let json = json!(problem).to_string();
        let reply = Self::bytes(problem.status, "application/problem+json", json);
        problem.headers.iter().fold(reply, |reply, (name, value)| reply.with_header(name, value))
    }
}
