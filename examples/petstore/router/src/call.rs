//! What a handler is given and what it gives back.

use crate::body::{Decoded, File};
use crate::parameter::Location;
use crate::problem::Problem;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use serde::{de::DeserializeOwned, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{sleep, Sleep};

pub type Handler = fn(Call) -> Result<Reply, Problem>;

/// One request, checked against the document.
#[derive(Debug, Default)]
pub struct Call {
    pub(crate) parameters: Vec<(Location, String, Value)>,
    pub(crate) body: Decoded,
}

impl Call {
    pub fn path<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Problem> {
        self.parameter(Location::Path, name)
    }

    pub fn query<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Problem> {
        self.parameter(Location::Query, name)
    }

    pub fn header<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Problem> {
        self.parameter(Location::Header, name)
    }

    pub fn cookie<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Problem> {
        self.parameter(Location::Cookie, name)
    }

    pub fn body<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        typed(self.body.value.take(), "body")
    }

    /// An uploaded file; empty when an optional one is missing.
    pub fn file(&mut self, name: &str) -> File {
        let index = self.body.files.iter().position(|(field, _)| field == name);
        index.map(|index| self.body.files.swap_remove(index).1).unwrap_or_default()
    }

    pub fn bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body.raw).to_vec()
    }

    fn parameter<T: DeserializeOwned>(&mut self, location: Location, name: &str) -> Result<T, Problem> {
        let mut parameters = self.parameters.iter_mut();
        let found = parameters.find(|(place, key, _)| *place == location && key == name);
        typed(found.map_or(Value::Null, |(.., value)| value.take()), name)
    }
}

fn typed<T: DeserializeOwned>(value: Value, name: &str) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::bad_request(format!("`{name}`: {error}")))
}

/// An example of a document as a typed response: what a fresh controller answers.
pub fn example<T: DeserializeOwned>(json: &str) -> Result<T, Problem> {
    serde_json::from_str(json)
        .map_err(|error| Problem::internal(format!("the example does not fit: {error}")))
}

/// A finite stream of server-sent events, `interval` apart.
#[derive(Debug, Default)]
pub struct EventStream {
    pub events: VecDeque<String>,
    pub interval: Duration,
}

impl EventStream {
    /// The events of a text in the format of an event stream.
    pub fn parse(text: &str) -> Self {
        let data = |block: &str| -> Vec<String> {
            block.lines().filter_map(|line| Some(line.strip_prefix("data:")?.trim().to_string())).collect()
        };
        let events = text.split("\n\n").map(|block| data(block).join("\n"));
        Self { events: events.filter(|event| !event.is_empty()).collect(), interval: Duration::ZERO }
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: ReplyBody,
}

impl Reply {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: ReplyBody::Full(None) }
    }

    pub fn json<T: Serialize>(status: u16, media_type: &str, value: &T) -> Result<Self, Problem> {
        match serde_json::to_vec(value) {
            Ok(json) => Ok(Self::bytes(status, media_type, json)),
            Err(error) => Err(Problem::internal(format!("the response is not JSON: {error}"))),
        }
    }

    pub fn bytes(status: u16, media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", media_type.to_string())];
        Self { status, headers, body: ReplyBody::Full(Some(bytes.into())) }
    }

    pub fn file(status: u16, media_type: &str, file: File) -> Self {
        let mut reply = Self::bytes(status, media_type, file.data);
        if !file.name.is_empty() {
            // A quote or a control character would end the header's value early.
            let name = file.name.replace(|c: char| c == '"' || c == '\\' || !(' '..='~').contains(&c), "_");
            reply.headers.push(("content-disposition", format!("attachment; filename=\"{name}\"")));
        }
        reply
    }

    pub fn events(status: u16, stream: EventStream) -> Self {
        let headers = ["text/event-stream", "no-cache"].map(str::to_string);
        let headers = ["content-type", "cache-control"].into_iter().zip(headers).collect();
        let body = ReplyBody::Events { stream, wait: Box::pin(sleep(Duration::ZERO)) };
        Self { status, headers, body }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let json = problem.to_json().to_string();
        let mut reply = Self::bytes(problem.status, "application/problem+json", json);
        reply.headers.extend(problem.headers);
        reply
    }
}

#[derive(Debug)]
pub enum ReplyBody {
    Full(Option<Bytes>),
    Events { stream: EventStream, wait: Pin<Box<Sleep>> },
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events { stream, wait } => {
                if stream.events.is_empty() {
                    return Poll::Ready(None);
                }
                if wait.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                wait.as_mut().reset(tokio::time::Instant::now() + stream.interval);
                let lines = stream.events.pop_front().unwrap_or_default().replace('\n', "\ndata: ");
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(format!("data: {lines}\n\n"))))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Events { stream, .. } => stream.events.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events { .. } => SizeHint::default(),
        }
    }
}
