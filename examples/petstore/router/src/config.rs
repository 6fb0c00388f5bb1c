//! The command line, and the configuration file: limits and the credentials that are accepted.

use clap::Parser;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Parser)]
pub struct Options {
    /// The OpenAPI document
    #[arg(long, value_name = "FILE", default_value = "doc/openapi.yaml")]
    pub spec: PathBuf,
    /// Limits and credentials
    #[arg(long, value_name = "FILE", default_value = "config/config.yaml")]
    pub config: PathBuf,
    /// Where index.html, the page at /docs, is
    #[arg(long, value_name = "DIR", default_value = "doc")]
    pub doc_dir: PathBuf,
    /// The IP address and port to listen at
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub addr: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub http: Limits,
    /// Of each security scheme.
    #[serde(default)]
    pub security: BTreeMap<String, Credential>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub max_body_bytes: usize,
    /// How long requests in flight may take after the signal to stop.
    pub drain_seconds: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    ApiKey(String),
    Token(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use openapi::yaml::{Error, Yaml};

    fn read(text: &str) -> Result<Config, Error> {
        Yaml::parse(text)?.read("")
    }

    #[test]
    fn reads_settings_and_rejects_unknown_ones() {
        let config =
            read("http: {max_body_bytes: 10, drain_seconds: 1}\nsecurity: {Key: {api_key: abc}}\n").unwrap();
        assert_eq!(config.http.max_body_bytes, 10);
        assert!(matches!(&config.security["Key"], Credential::ApiKey(secret) if secret == "abc"));
        let error = read("http:\n  max_body: 10\n").unwrap_err();
        assert!(error.to_string().starts_with("2:3: error: unknown field `max_body`"), "{error}");
    }
}
