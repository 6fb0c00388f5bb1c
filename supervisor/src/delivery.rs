//! What a stream declares: names, sizes, digests. Pure: JSON in, a checked list out.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use crate::want::{self, is_digest, Rejected, Want};

const LARGEST: u64 = 1 << 32;

/// A file that the stream brings.
#[derive(Debug)]
pub struct Entry {
    pub path: String,
    pub size: u64,
    pub compressed: u64,
    pub sha256: String,
    pub mode: u32,
}

#[derive(Debug)]
pub struct Delivery {
    pub files: Vec<Entry>,
    /// The tree that `current` is to point to.
    pub current: Option<String>,
    pub want: Want,
    /// As it came, for `want.json`.
    pub document: Value,
    /// Digests of artifacts and trees that stay.
    pub keep: Vec<String>,
}

impl Delivery {
    pub fn stays(&self, digest: &str) -> bool {
        let named = [
            Some(&self.want.digest),
            self.want.tree.as_ref(),
            self.current.as_ref(),
        ];
        self.keep
            .iter()
            .chain(named.into_iter().flatten())
            .any(|kept| kept == digest)
    }
}

pub fn parse(text: &[u8]) -> Result<Delivery, String> {
    let header: Value =
        serde_json::from_slice(text).map_err(|error| format!("header: not JSON: {error}"))?;
    let fields = header.as_object().ok_or("header: not a JSON object")?;
    if fields.get("version").and_then(Value::as_u64) != Some(1) {
        return Err("header: version is not 1 (newer protocol?)".to_string());
    }
    let document = fields.get("want").ok_or("header: want is missing")?;
    let want = want::from_value(document).map_err(|rejected| match rejected {
        Rejected::Unreadable(reason) | Rejected::Refused { reason, .. } => {
            format!("header: want: {reason}")
        }
    })?;
    let current = fields.get("current").filter(|value| !value.is_null());
    Ok(Delivery {
        files: list(fields, "files")?
            .iter()
            .map(entry)
            .collect::<Result<_, _>>()?,
        current: current.map(digest).transpose()?,
        want,
        document: document.clone(),
        keep: list(fields, "keep")?
            .iter()
            .map(digest)
            .collect::<Result<_, _>>()?,
    })
}

fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    match fields.get(name) {
        Some(Value::Array(all)) => Ok(all),
        None | Some(Value::Null) => Ok(&[]),
        Some(_) => Err(format!("header: {name} is not a list")),
    }
}

fn digest(value: &Value) -> Result<String, String> {
    let text = value.as_str().filter(|text| is_digest(text));
    text.map(String::from)
        .ok_or_else(|| "header: not a digest of 64 hex digits".to_string())
}

fn entry(value: &Value) -> Result<Entry, String> {
    let path = value
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !is_safe(path) {
        return Err(format!("header: path not allowed: {path:?}"));
    }
    let bytes = |name: &str| {
        let count = value.get(name).and_then(Value::as_u64);
        count
            .filter(|count| *count <= LARGEST)
            .ok_or_else(|| format!("header: {name} of {path} is not 0 to {LARGEST} bytes"))
    };
    let sha256 = digest(value.get("sha256").unwrap_or(&Value::Null))?;
    if path.strip_prefix("bin/").is_some_and(|name| name != sha256) {
        return Err(format!("header: {path} is declared with another sha256"));
    }
    let mode = match value.get("mode").and_then(Value::as_u64) {
        Some(0o755) => 0o755,
        Some(0o644) => 0o644,
        _ => return Err(format!("header: mode of {path} is neither 0755 nor 0644")),
    };
    Ok(Entry {
        path: path.to_string(),
        size: bytes("size")?,
        compressed: bytes("compressed")?,
        sha256,
        mode,
    })
}

/// `bin/<digest>` or `trees/<digest>/<relative path without dots>`.
pub fn is_safe(path: &str) -> bool {
    if let Some(name) = path.strip_prefix("bin/") {
        return is_digest(name);
    }
    let inner = path
        .strip_prefix("trees/")
        .and_then(|rest| rest.split_once('/'));
    inner.is_some_and(|(tree, rest)| {
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.contains('\0')
        };
        is_digest(tree) && rest.len() <= 2048 && rest.split('/').all(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_plain_paths_below_a_digest_are_safe() {
        let hex = "0".repeat(64);
        for good in [
            format!("bin/{hex}"),
            format!("trees/{hex}/a"),
            format!("trees/{hex}/a/..b"),
        ] {
            assert!(is_safe(&good), "{good}");
        }
        let bad = [
            String::new(),
            "want.json".to_string(),
            "bin/x".to_string(),
            format!("/bin/{hex}"),
            format!("bin/{hex}/x"),
            format!("bin/../bin/{hex}"),
            format!("trees/{hex}"),
            format!("trees/{hex}/"),
            format!("trees/{hex}/../x"),
            format!("trees/{hex}/a/../../x"),
            format!("trees/{hex}/./a"),
            format!("trees/{hex}//a"),
            format!("trees/{hex}/a\0b"),
            format!("trees/{hex}/{}", "a".repeat(256)),
            "trees/../x".to_string(),
        ];
        for path in bad {
            assert!(!is_safe(&path), "{path}");
        }
    }

    #[test]
    fn what_is_declared_is_checked() {
        let hex = "0".repeat(64);
        let file = json!({"path": format!("bin/{hex}"), "size": 1, "compressed": 9,
                          "sha256": hex, "mode": 0o755});
        let whole = json!({"version": 1, "files": [file], "current": null, "keep": [],
                           "want": {"version": 1, "generation": 1, "digest": hex, "size": 1}});
        let read = |document: &Value| parse(document.to_string().as_bytes());
        assert!(read(&whole).unwrap().stays(&hex));
        let changes = [
            ("mode", json!(0o4755)),
            ("sha256", json!("1".repeat(64))),
            ("size", json!(u64::MAX)),
            ("compressed", json!(-1)),
            ("path", json!("/etc/passwd")),
        ];
        for (name, value) in changes {
            let mut document = whole.clone();
            document["files"][0][name] = value;
            assert!(read(&document).is_err(), "{name}");
        }
        for (name, value) in [
            ("version", json!(2)),
            ("want", json!({})),
            ("keep", json!(["../x"])),
        ] {
            let mut document = whole.clone();
            document[name] = value;
            assert!(read(&document).is_err(), "{name}");
        }
    }
}
