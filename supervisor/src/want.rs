//! `want.json`: what should run. Pure: bytes in, a wish or a refusal out.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

/// The longest `want.json` that is read.
pub const LIMIT: usize = 1 << 20;

const VERSION: u64 = 1;
const LONGEST_WAIT_MS: u64 = 3_600_000;

/// What should run, as `want.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    pub generation: i64,
    /// 64 hex digits.
    pub digest: String,
    pub size: u64,
    /// None: the arguments that the supervisor got for the app.
    pub args: Option<Vec<CString>>,
    /// `KEY=value`, over the container's environment.
    pub env: Vec<CString>,
    /// From TERM to KILL.
    pub grace_ms: u64,
    /// A process that dies or is not ready within this time after its start is rolled back.
    pub probation_ms: u64,
    pub rollback: bool,
    /// The synced files that belong to it.
    pub tree: Option<String>,
}

/// Why `want.json` is not acted on.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It does not even say which generation it is.
    Unreadable(String),
    /// It names a generation, and something else is wrong.
    Refused {
        generation: i64,
        digest: String,
        reason: String,
    },
}

pub fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The generation that a `want.json` names, acceptable or not.
pub fn generation(text: &[u8]) -> Option<i64> {
    match parse(text) {
        Ok(Want { generation, .. }) | Err(Rejected::Refused { generation, .. }) => Some(generation),
        Err(Rejected::Unreadable(_)) => None,
    }
}

pub fn parse(text: &[u8]) -> Result<Want, Rejected> {
    let document: Value = serde_json::from_slice(text)
        .map_err(|error| Rejected::Unreadable(format!("not JSON: {error}")))?;
    from_value(&document)
}

pub fn from_value(document: &Value) -> Result<Want, Rejected> {
    let unreadable = |reason: &str| Err(Rejected::Unreadable(reason.to_string()));
    let Some(fields) = document.as_object() else {
        return unreadable("not a JSON object");
    };
    let Some(generation) = fields.get("generation").and_then(Value::as_i64) else {
        return unreadable("generation is missing or not an integer");
    };
    let digest = fields.get("digest").and_then(Value::as_str);
    read(fields, generation).map_err(|reason| Rejected::Refused {
        generation,
        // Shown to clients, so only what can be a digest.
        digest: digest
            .filter(|text| is_digest(text))
            .unwrap_or_default()
            .to_string(),
        reason,
    })
}

fn read(fields: &Map<String, Value>, generation: i64) -> Result<Want, String> {
    match fields.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => {
            return Err(format!(
                "newer protocol: want.json has version {newer}, this supervisor knows {VERSION}"
            ));
        }
        _ => return Err("want.json: version is missing or not 1".to_string()),
    }
    Ok(Want {
        generation,
        digest: digest(fields, "digest")?.ok_or("want.json: digest is missing")?,
        size: fields
            .get("size")
            .and_then(Value::as_u64)
            .ok_or("want.json: size is missing or not a number of bytes")?,
        args: match fields.get("args").unwrap_or(&Value::Null) {
            Value::Null => None,
            Value::Array(all) => Some(all.iter().map(argument).collect::<Result<_, _>>()?),
            _ => return Err("want.json: args is not a list".to_string()),
        },
        env: match fields.get("env").unwrap_or(&Value::Null) {
            Value::Null => Vec::new(),
            Value::Object(all) => all
                .iter()
                .filter(|(key, _)| !key.starts_with("KINDLOOP_"))
                .map(variable)
                .collect::<Result<_, _>>()?,
            _ => return Err("want.json: env is not an object".to_string()),
        },
        grace_ms: milliseconds(fields, "grace_ms", 2000)?,
        probation_ms: milliseconds(fields, "probation_ms", 5000)?,
        rollback: match fields.get("rollback").unwrap_or(&Value::Null) {
            Value::Null => true,
            Value::Bool(yes) => *yes,
            _ => return Err("want.json: rollback is not true or false".to_string()),
        },
        tree: digest(fields, "tree")?,
    })
}

fn digest(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.get(name).unwrap_or(&Value::Null) {
        Value::Null => Ok(None),
        Value::String(text) if is_digest(text) => Ok(Some(text.clone())),
        _ => Err(format!("want.json: {name} is not 64 hex digits")),
    }
}

fn milliseconds(fields: &Map<String, Value>, name: &str, default: u64) -> Result<u64, String> {
    match fields.get(name).unwrap_or(&Value::Null) {
        Value::Null => Ok(default),
        value => value
            .as_u64()
            .filter(|time| *time <= LONGEST_WAIT_MS)
            .ok_or_else(|| format!("want.json: {name} is not 0 to {LONGEST_WAIT_MS} ms")),
    }
}

fn argument(value: &Value) -> Result<CString, String> {
    value
        .as_str()
        .and_then(|text| CString::new(text).ok())
        .ok_or_else(|| "want.json: args holds what is not a string".to_string())
}

fn variable((key, value): (&String, &Value)) -> Result<CString, String> {
    let named = !key.is_empty() && !key.contains('=');
    value
        .as_str()
        .filter(|_| named)
        .and_then(|text| CString::new(format!("{key}={text}")).ok())
        .ok_or_else(|| "want.json: env holds a name or value that no process can have".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn whole() -> Value {
        json!({"version": 1, "generation": 7, "digest": "a".repeat(64), "size": 5,
               "args": ["--spec", "x"], "env": {"RUST_LOG": "info", "KINDLOOP_PORT": "1"},
               "grace_ms": 10, "probation_ms": 20, "rollback": false, "tree": "b".repeat(64)})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut document = whole();
        document[name] = value;
        document
    }

    fn refusal(document: &Value) -> String {
        match from_value(document) {
            Err(Rejected::Refused {
                generation: 7,
                reason,
                ..
            }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_field_is_read() {
        let want = from_value(&whole()).unwrap();
        assert_eq!((want.generation, want.size), (7, 5));
        assert_eq!(
            (want.grace_ms, want.probation_ms, want.rollback),
            (10, 20, false)
        );
        assert_eq!(want.args.unwrap().len(), 2);
        assert_eq!(want.env, [CString::new("RUST_LOG=info").unwrap()]);
        assert_eq!(want.tree.unwrap(), "b".repeat(64));
    }

    #[test]
    fn what_is_left_out_has_a_default_and_what_is_unknown_is_ignored() {
        let document = json!({"version": 1, "generation": -3, "digest": "0".repeat(64),
                              "size": 1, "new": [1]});
        let want = from_value(&document).unwrap();
        assert_eq!((want.generation, want.args, want.tree), (-3, None, None));
        assert_eq!(
            (want.grace_ms, want.probation_ms, want.rollback),
            (2000, 5000, true)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = serde_json::to_vec(&whole()).unwrap();
        assert!(matches!(parse(&text[..40]), Err(Rejected::Unreadable(_))));
        assert!(matches!(parse(b"[]"), Err(Rejected::Unreadable(_))));
        assert!(matches!(
            from_value(&with("generation", json!(1.5))),
            Err(Rejected::Unreadable(_))
        ));
        assert!(refusal(&with("version", json!(2))).starts_with("newer protocol"));
        assert!(refusal(&with("digest", json!("../../etc/passwd"))).contains("digest"));
        assert!(refusal(&with("digest", json!("A".repeat(64)))).contains("digest"));
        assert!(refusal(&with("size", json!(-1))).contains("size"));
        assert!(refusal(&with("args", json!(["a\0b"]))).contains("args"));
        assert!(refusal(&with("env", json!({"A=B": "x"}))).contains("env"));
        assert!(refusal(&with("env", json!({"A": 1}))).contains("env"));
        assert!(refusal(&with("grace_ms", json!(1u64 << 60))).contains("grace_ms"));
        assert!(refusal(&with("rollback", json!("no"))).contains("rollback"));
        assert!(refusal(&with("tree", json!("x"))).contains("tree"));
    }

    #[test]
    fn a_generation_is_read_though_the_rest_is_refused() {
        let named = |document: &Value| generation(document.to_string().as_bytes());
        assert_eq!(named(&whole()), Some(7));
        assert_eq!(named(&with("version", json!(2))), Some(7));
        assert_eq!(named(&with("generation", json!("7"))), None);
        assert_eq!(generation(b""), None);
    }
}
