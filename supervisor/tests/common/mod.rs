//! A supervisor under test: its directory, its ports, its answers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use sha2::{Digest, Sha256};

pub const SUPERVISOR: &str = env!("CARGO_BIN_EXE_supervisor");

/// Long enough for a busy machine; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn sha256(data: &[u8]) -> String {
    format!("{:x}", Sha256::digest(data))
}

/// The test service with its behaviour behind it.
pub fn app(script: &str) -> Vec<u8> {
    let folder = Path::new(SUPERVISOR).parent().unwrap();
    let mut file = std::fs::read(folder.join("examples/app")).unwrap();
    file.extend_from_slice(format!("\n#test {script}").as_bytes());
    file
}

/// Below the ports that the kernel gives to clients: one of those could be taken again before the
/// service binds it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let first = u64::from(std::process::id()) * 61;
    loop {
        let next = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 11_000 + (next % 18_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder of its own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kindloop-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("bin")).unwrap();
        Folder(path)
    }

    pub fn place(&self, artifact: &[u8]) -> String {
        let digest = sha256(artifact);
        if !self.0.join("bin").join(&digest).exists() {
            self.place_as(&digest, artifact, 0o755);
        }
        digest
    }

    pub fn place_as(&self, digest: &str, artifact: &[u8], mode: u32) {
        let path = self.0.join("bin").join(digest);
        let new = path.with_extension("new");
        std::fs::write(&new, artifact).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(&new, &path).unwrap();
    }

    pub fn point(&self, tree: &str) {
        let new = self.0.join("current.new");
        symlink(format!("trees/{tree}"), &new).unwrap();
        std::fs::rename(&new, self.0.join("current")).unwrap();
    }

    /// Renamed into place, as the host does it.
    pub fn publish(&self, want: &Value) {
        self.publish_text(want.to_string().as_bytes());
    }

    pub fn publish_text(&self, text: &[u8]) {
        let new = self.0.join("want.json.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.0.join("want.json")).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub struct Supervised {
    pub child: Child,
    pub folder: Folder,
    pub port: u16,
    pub server: u16,
    lines: Receiver<String>,
    generation: i64,
}

/// What is not said is: a grace of a second, no arguments, roll back after two seconds.
pub fn want(generation: i64, artifact: &[u8]) -> Value {
    json!({"version": 1, "generation": generation, "digest": sha256(artifact),
           "size": artifact.len(), "args": null, "env": {}, "grace_ms": 1000,
           "probation_ms": 2000, "rollback": true, "tree": null})
}

impl Supervised {
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(Folder::new(), args, &[])
    }

    pub fn start_in(folder: Folder, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_with(folder, args, env, |_| ())
    }

    pub fn start_with(
        folder: Folder,
        args: &[&str],
        env: &[(&str, &str)],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let port = free_port();
        let mut command = Command::new(SUPERVISOR);
        command
            .args(args)
            .env("KINDLOOP_DIR", &folder.0)
            .env("KINDLOOP_PORT", port.to_string())
            .env("KINDLOOP_LISTEN", "127.0.0.1:0")
            .env("PORT", port.to_string())
            .env("VALUE", "container")
            .envs(env.iter().copied())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let (say, lines) = channel();
        let mut output = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|count| count > 0) {
                print!("{line}");
                let _ = say.send(std::mem::take(&mut line));
            }
        });
        let mut this = Supervised {
            child,
            folder,
            port,
            server: 0,
            lines,
            generation: 0,
        };
        let line = this.line("listens on ");
        let address = line.split("listens on ").nth(1).unwrap();
        let address = address.split(',').next().unwrap();
        this.server = address.rsplit(':').next().unwrap().parse().unwrap();
        this
    }

    /// The next line with this text.
    pub fn line(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {text:?}: {error}"),
            }
        }
    }

    /// Places and publishes; `change` may alter what is published. The generation.
    pub fn push_with(&mut self, artifact: &[u8], change: impl FnOnce(&mut Value)) -> i64 {
        self.folder.place(artifact);
        self.generation += 1;
        let mut document = want(self.generation, artifact);
        change(&mut document);
        self.folder.publish(&document);
        self.generation
    }

    /// The status as soon as the outcome is known.
    pub fn push(&mut self, artifact: &[u8]) -> Value {
        let generation = self.push_with(artifact, |_| ());
        self.outcome(generation)
    }

    pub fn outcome(&self, generation: i64) -> Value {
        let status = self.status(&format!("?generation={generation}&wait_s=20"));
        assert_eq!(status["outcome"]["generation"], generation, "{status}");
        status
    }

    pub fn status(&self, query: &str) -> Value {
        let (code, body) = get(self.server, &format!("/status{query}"));
        assert_eq!(code, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// The first status of which this is true, by waiting for revisions.
    pub fn until(&self, what: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut status = self.status("");
        while !what(&status) {
            assert!(Instant::now() < until, "{status}");
            let revision = status["revision"].as_u64().unwrap();
            status = self.status(&format!("?revision={revision}&wait_s=5"));
        }
        status
    }

    pub fn ready(&self) -> (u16, String) {
        get(self.server, "/readyz")
    }

    /// What the service says about itself.
    pub fn asked(&self, name: &str) -> String {
        let (_, body) = get(self.port, "/");
        let found = body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found
            .unwrap_or_else(|| panic!("{name} in {body}"))
            .to_string()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child is not reaped yet.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// No more than these, once the last clients are gone.
    pub fn wait_for_fds(&self, most: usize) {
        let until = Instant::now() + PATIENCE;
        while self.fds() > most {
            assert!(
                Instant::now() < until,
                "{} descriptors, {most} before",
                self.fds()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn rss_kb(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time used so far.
    pub fn cpu_ms(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let rest = text.rsplit(')').next().unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        ticks * 10
    }

    /// Zombies whose parent is the supervisor.
    pub fn zombies(&self) -> usize {
        let me = self.child.id().to_string();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|entry| {
            let text = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let mut fields = text
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .split_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&me)
        })
        .count()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.signal(libc::SIGTERM);
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The code and body of a GET.
pub fn get(port: u16, target: &str) -> (u16, String) {
    let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    exchange(port, text.as_bytes()).unwrap_or_else(|| panic!("no answer to {target}"))
}

/// Sends these bytes; None when the connection ends without an answer in HTTP.
pub fn exchange(port: u16, request: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(request).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_string()))
}
