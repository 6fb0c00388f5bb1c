//! `supervisor receive`: files from standard input into the directory, for clusters that cannot
//! mount one. Everything is unpacked beside its place and checked; only then it is moved there, and
//! the pointer last, so a stream that is cut off changes nothing.

use alloc::format;
use alloc::string::{String, ToString};

use serde_json::json;

use crate::core_state;
use crate::delivery::{self, Delivery};
use crate::sys::{self, Errno, Fd};
use crate::unpack::Stream;
use crate::want;

const LONGEST_HEADER: usize = 8 << 20;
const INCOMING: &str = ".incoming-";

/// Reads standard input, answers one line of JSON, gives the exit code.
pub fn run(dir: &str) -> i32 {
    // SAFETY: no memory is involved. Files and folders get the modes that are asked for.
    unsafe { libc::umask(0o022) };
    sweep(dir);
    // SAFETY: no memory is involved.
    let staging = format!("{dir}/{INCOMING}{}", unsafe { libc::getpid() });
    // Of a receiver with the same number, killed with its container: numbers begin anew with the
    // next one, the directory does not.
    remove(&staging);
    let result = receive(dir, &staging);
    remove(&staging);
    let (answer, code) = match result {
        Ok(bytes) => (json!({"ok": true, "bytes": bytes}), 0),
        Err(reason) => (json!({"ok": false, "reason": reason}), 1),
    };
    let line = answer.to_string() + "\n";
    // The other end may be gone; then there is nobody to tell.
    let output = core::mem::ManuallyDrop::new(Fd(1));
    let _ = output.write_all(line.as_bytes());
    code
}

fn receive(dir: &str, staging: &str) -> Result<u64, String> {
    let mut stream = Stream::new(Fd(0));
    let delivery = delivery::parse(&header(&stream)?)?;
    let mut bytes = 0;
    make_folder(staging)?;
    for entry in &delivery.files {
        let path = format!("{staging}/{}", entry.path);
        make_parents(staging, &entry.path)?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = sys::create(&path, flags, entry.mode).map_err(|error| cannot(&path, error))?;
        let digest = stream
            .unpack(entry.compressed, entry.size, &file)
            .map_err(|reason| format!("{}: {reason}", entry.path))?;
        if digest != entry.sha256 {
            return Err(format!("{}: wrong digest: it has {digest}", entry.path));
        }
        bytes += entry.size;
    }
    // One at a time from here on; the lock goes with the process.
    let _lock = lock(dir)?;
    // Two may be under way at a time, and the slower one need not be the newer one.
    let there = core_state::read_want(dir).ok().flatten();
    if let Some(there) = there.and_then(|text| want::generation(&text)) {
        let generation = delivery.want.generation;
        if generation < there {
            return Err(format!(
                "older: generation {generation}, and {there} is here"
            ));
        }
    }
    for folder in ["bin", "trees"] {
        make_folder(&format!("{dir}/{folder}"))?;
        let staged = format!("{staging}/{folder}");
        for name in sys::list(&staged).unwrap_or_default() {
            install(
                &format!("{staged}/{name}"),
                &format!("{dir}/{folder}/{name}"),
            )?;
        }
    }
    complete(dir, &delivery)?;
    point(dir, staging, &delivery)?;
    prune(dir, &delivery);
    Ok(bytes)
}

/// Eight hex digits, a space, JSON of that length, a newline.
fn header(stream: &Stream) -> Result<alloc::vec::Vec<u8>, String> {
    let start = stream.take(9)?;
    let digits = start
        .strip_suffix(b" ")
        .and_then(|digits| core::str::from_utf8(digits).ok());
    let plain = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let length = plain
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or("header: it does not begin with its length")?;
    if length > LONGEST_HEADER {
        return Err(format!("header: longer than {LONGEST_HEADER} bytes"));
    }
    let text = stream.take(length)?;
    if stream.take(1)? != b"\n" {
        return Err("header: no newline at its end".to_string());
    }
    Ok(text)
}

/// A tree that is there already is the same, by its name, and may be in use: it stays.
fn install(from: &str, to: &str) -> Result<(), String> {
    match sys::rename(from, to) {
        Ok(()) | Err(Errno(libc::ENOTEMPTY | libc::EEXIST)) => Ok(()),
        Err(error) => Err(cannot(to, error)),
    }
}

/// What the pointers will point to is there.
fn complete(dir: &str, delivery: &Delivery) -> Result<(), String> {
    let trees = [delivery.current.as_ref(), delivery.want.tree.as_ref()];
    let trees = trees
        .into_iter()
        .flatten()
        .map(|tree| (format!("trees/{tree}"), libc::O_DIRECTORY));
    let artifact = (format!("bin/{}", delivery.want.digest), 0);
    for (path, flags) in core::iter::once(artifact).chain(trees) {
        if sys::open(
            &format!("{dir}/{path}"),
            libc::O_PATH | libc::O_NOFOLLOW | flags,
        )
        .is_err()
        {
            return Err(format!("missing {path}"));
        }
    }
    Ok(())
}

/// `current`, then `want.json`: both made beside their places and renamed.
fn point(dir: &str, staging: &str, delivery: &Delivery) -> Result<(), String> {
    if let Some(tree) = &delivery.current {
        let link = format!("{staging}/current");
        sys::symlink(&format!("trees/{tree}"), &link).map_err(|error| cannot(&link, error))?;
        let target = format!("{dir}/current");
        sys::rename(&link, &target).map_err(|error| cannot(&target, error))?;
    }
    let new = format!("{staging}/want.json");
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
    let text = delivery.document.to_string();
    sys::create(&new, flags, 0o644)
        .and_then(|file| file.write_all(text.as_bytes()))
        .and_then(|()| sys::rename(&new, &format!("{dir}/want.json")))
        .map_err(|error| cannot("want.json", error))
}

/// Artifacts and trees that nobody keeps; that one cannot be removed is no failure of the delivery.
fn prune(dir: &str, delivery: &Delivery) {
    for folder in ["bin", "trees"] {
        let folder = format!("{dir}/{folder}");
        for name in sys::list(&folder).unwrap_or_default() {
            if !delivery.stays(&name) {
                remove(&format!("{folder}/{name}"));
            }
        }
    }
}

/// What a receiver left that was killed midway.
fn sweep(dir: &str) {
    for name in sys::list(dir).unwrap_or_default() {
        let owner = name
            .strip_prefix(INCOMING)
            .and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| sys::open(&format!("/proc/{pid}"), libc::O_PATH).is_err()) {
            remove(&format!("{dir}/{name}"));
        }
    }
}

fn lock(dir: &str) -> Result<Fd, String> {
    let file =
        sys::open(dir, libc::O_RDONLY | libc::O_DIRECTORY).map_err(|error| cannot(dir, error))?;
    // SAFETY: no memory is involved.
    sys::check(unsafe { libc::flock(file.0, libc::LOCK_EX) })
        .map_err(|error| cannot(dir, error))?;
    Ok(file)
}

fn make_parents(staging: &str, path: &str) -> Result<(), String> {
    for (index, _) in path.match_indices('/') {
        let folder = path.get(..index).unwrap_or_default();
        make_folder(&format!("{staging}/{folder}"))?;
    }
    Ok(())
}

fn make_folder(path: &str) -> Result<(), String> {
    match sys::make_folder(path, 0o755) {
        Ok(()) | Err(Errno(libc::EEXIST)) => Ok(()),
        Err(error) => Err(cannot(path, error)),
    }
}

fn cannot(path: &str, error: Errno) -> String {
    format!("cannot write {path}: {error}")
}

/// A file, or a folder with all that is in it. Links are removed, never followed.
fn remove(path: &str) {
    if sys::unlink(path, 0).is_ok() {
        return;
    }
    if sys::open(path, libc::O_PATH | libc::O_NOFOLLOW | libc::O_DIRECTORY).is_ok() {
        for name in sys::list(path).unwrap_or_default() {
            remove(&format!("{path}/{name}"));
        }
        let _ = sys::unlink(path, libc::AT_REMOVEDIR);
    }
}
