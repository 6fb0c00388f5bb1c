//! A collector that keeps the spans it is sent: OTLP over HTTP, in this process.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{any_value, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Never asserted: how long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Collector {
    pub endpoint: String,
    kept: Arc<Mutex<Vec<Received>>>,
}

#[derive(Clone, Debug)]
pub struct Received {
    pub service: String,
    pub span: Span,
}

impl Collector {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn on(listener: TcpListener) -> Self {
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::<Mutex<Vec<Received>>>::default();
        let keeping = kept.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let keeping = keeping.clone();
                thread::spawn(move || receive(stream, &keeping));
            }
        });
        Self { endpoint, kept }
    }

    pub fn spans(&self) -> Vec<Received> {
        self.kept.lock().unwrap().clone()
    }

    /// The spans of a trace, as soon as there are so many of them.
    pub fn trace(&self, id: &str, count: usize) -> Vec<Received> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut spans = self.spans();
            spans.retain(|received| hex(&received.span.trace_id) == id);
            if spans.len() >= count {
                return spans;
            }
            assert!(Instant::now() < deadline, "{:#?}", self.spans());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Received {
    /// The value of an attribute as text; empty without it.
    pub fn get(&self, name: &str) -> String {
        text(&self.span.attributes, name)
    }

    pub fn status(&self) -> (i32, &str) {
        let status = self.span.status.as_ref();
        status.map_or((0, ""), |status| (status.code, &status.message))
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref());
    match value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        None => String::new(),
        Some(other) => format!("{other:?}"),
    }
}

/// Answers the requests of one connection until it ends.
fn receive(stream: TcpStream, kept: &Mutex<Vec<Received>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        let length = head.split_once("content-length: ").expect("a length").1;
        let length = length.split_once('\r').unwrap().0.parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service = text(&attributes, "service.name");
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Received { service: service.clone(), span });
            kept.lock().unwrap().extend(spans);
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        (&stream).write_all(answer.as_bytes()).ok()?;
    }
}
