//! The configuration file: limits and the credentials that the service accepts.

use crate::yaml::{self, Error, Node};
use serde_json::Value;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    pub max_body_bytes: usize,
    /// How long requests in flight may take after the signal to stop.
    pub drain: Duration,
    /// Security scheme and the credential for it.
    pub credentials: Vec<(String, String)>,
}

impl Config {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let root = yaml::parse(text)?;
        let mut config =
            Self { max_body_bytes: 65_536, drain: Duration::from_secs(10), credentials: Vec::new() };
        for (section, node) in root.entries() {
            for (key, value) in node.entries() {
                match section.as_str() {
                    "http" => config.read_limit(key, value)?,
                    "security" => match value.text("api_key").or(value.text("token")) {
                        Some(secret) if !secret.is_empty() => {
                            config.credentials.push((key.clone(), secret.into()))
                        }
                        _ => return value.error(format!("`{key}` needs an `api_key` or a `token`")),
                    },
                    _ => return node.error(format!("unknown section `{section}`")),
                }
            }
        }
        Ok(config)
    }

    fn read_limit(&mut self, key: &str, node: &Node) -> Result<(), Error> {
        match (key, node.scalar().and_then(Value::as_u64)) {
            ("max_body_bytes", Some(number)) => self.max_body_bytes = number as usize,
            ("drain_seconds", Some(number)) => self.drain = Duration::from_secs(number),
            (_, Some(_)) => return node.error(format!("unknown setting `{key}`")),
            (_, None) => return node.error(format!("`{key}` must be a whole number")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_settings_and_rejects_unknown_ones() {
        let config = Config::parse("http: {max_body_bytes: 10}\nsecurity: {Key: {api_key: abc}}\n").unwrap();
        assert_eq!(config.max_body_bytes, 10);
        assert_eq!(config.credentials, [("Key".to_string(), "abc".to_string())]);
        let error = Config::parse("http:\n  max_body: 10\n").unwrap_err();
        assert_eq!(error.to_string(), "2:13: error: unknown setting `max_body`");
    }
}
