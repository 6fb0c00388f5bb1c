//! A service as a child process, and a client just able to talk to it.

#![allow(dead_code)]

use openapi::document::{Body, Document, Operation};
use openapi::parameter::{Location, Parameter, Style};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Mutex;
use std::time::Duration;

/// Never asserted: how long a line may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    lines: Mutex<Receiver<String>>,
}

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Server {
    pub fn start(program: &Path, directory: &Path) -> Self {
        Self::start_with(program, directory, &[])
    }

    /// With these variables; those of OpenTelemetry that are set here do not reach it.
    pub fn start_with(program: &Path, directory: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command
            .args(["--addr", "127.0.0.1:0"])
            .current_dir(directory);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        command.env("RUST_LOG", "info").envs(env.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, receiver) = channel();
        let address = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["addr"].as_str()?.parse().ok()
        };
        let addr = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let found = address(&line);
            sender.send(line).unwrap();
            found
        });
        let addr = addr.expect("an address");
        // Somebody has to read on, or the service would block at its next lines.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| drop(sender.send(line)))
        });
        Self {
            child,
            addr,
            lines: Mutex::new(receiver),
        }
    }

    /// The next line that it logs with this message; lines before it are dropped.
    pub fn logged(&self, message: &str) -> Value {
        let lines = self.lines.lock().unwrap();
        loop {
            let line = lines.recv_timeout(PATIENCE).expect(message);
            // A panic is told in lines that are not JSON.
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == message {
                return line;
            }
        }
    }

    /// What else it has logged when it has ended.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().unwrap();
        let lines = self.lines.lock().unwrap().iter().collect();
        (status, lines)
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }

    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, "X-API-Key: test123\r\n", b"")
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        let chunked = head.contains("transfer-encoding: chunked");
        Response {
            status: head[9..12].parse().unwrap(),
            body: if chunked {
                join_chunks(body)
            } else {
                body.to_string()
            },
            head,
        }
    }

    /// Calls an operation with the examples of the document and checks what comes back.
    pub fn check(&self, document: &Document, operation: &Operation) {
        let mut path = operation.path.clone();
        let mut query = Vec::new();
        let mut headers = String::new();
        for parameter in &operation.parameters {
            let text = write(parameter);
            match parameter.location {
                Location::Path => path = path.replace(&format!("{{{}}}", parameter.name), &text),
                Location::Query => query.push(text),
                Location::Header => headers += &format!("{}: {text}\r\n", parameter.name),
            }
        }
        for scheme in operation.schemes().map(|name| &document.schemes[name]) {
            let secret = scheme.example.as_ref().unwrap();
            headers += &format!("{}: {}{secret}\r\n", scheme.header, scheme.prefix);
        }
        let (content_type, body) = operation.body.as_ref().map(encode).unwrap_or_default();
        headers += &content_type;
        let target = format!("{path}?{}", query.join("&"));
        let response = self.send(&operation.method, &target, &headers, body.as_bytes());
        let about = format!(
            "{} {target}: {} {}",
            operation.method, response.head, response.body
        );
        let (status, media) = operation.success().unwrap();
        assert_eq!(response.status, status, "{about}");
        let Some(media) = media else {
            return;
        };
        assert!(
            response
                .head
                .contains(&format!("content-type: {}", media.media_type)),
            "{about}"
        );
        if media.media_type == "application/json" {
            let value = serde_json::from_str(&response.body).expect(&about);
            assert_eq!(
                document.schemas.validate(&media.schema, &value),
                [],
                "{about}"
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when the test has let it end already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn join_chunks(mut rest: &str) -> String {
    let mut text = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text += &after[..size];
        rest = after[size..].trim_start_matches("\r\n");
    }
    text
}

fn texts(value: &Value) -> Vec<String> {
    let one = |value: &Value| value.as_str().map_or(value.to_string(), str::to_string);
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        other => vec![one(other)],
    }
}

fn write(parameter: &Parameter) -> String {
    let texts = texts(parameter.example.as_ref().expect("an example"));
    match (parameter.style, parameter.location) {
        (Style::Label, _) => format!(".{}", texts.join(",")),
        (Style::Matrix, _) => format!(";{}={}", parameter.name, texts.join(",")),
        (Style::Usual, Location::Query) => {
            let pairs = texts
                .iter()
                .map(|text| format!("{}={text}", parameter.name));
            pairs.collect::<Vec<_>>().join("&")
        }
        (Style::Usual, _) => texts.join(","),
    }
}

/// The headers and the text of a request's body.
fn encode(body: &Body) -> (String, String) {
    let media = &body.media;
    let example = media.example.as_ref().expect("an example");
    let fields = example.as_object().unwrap().iter();
    let fields =
        fields.flat_map(|(name, value)| texts(value).into_iter().map(move |text| (name, text)));
    let header = |text: &str| format!("Content-Type: {text}\r\n");
    match media.media_type.as_str() {
        "multipart/form-data" => {
            let part = |(name, text)| {
                format!("--X\r\nContent-Disposition: form-data; name={name}\r\n\r\n{text}\r\n")
            };
            (
                header("multipart/form-data; boundary=X"),
                fields.map(part).collect::<String>() + "--X--\r\n",
            )
        }
        "application/x-www-form-urlencoded" => {
            let pairs: Vec<String> = fields
                .map(|(name, text)| format!("{name}={}", text.replace(' ', "+")))
                .collect();
            (header(&media.media_type), pairs.join("&"))
        }
        other => (header(other), example.to_string()),
    }
}
