//! API keys and bearer tokens.

use crate::config::{Config, Credential};
use hyper::header::HeaderMap;
use openapi::document::{Operation, Scheme};
use openapi::problem::Problem;
use std::collections::BTreeMap;

/// The schemes of a document with the secrets that open them.
pub struct Security(BTreeMap<String, (Scheme, String)>);

impl Security {
    /// Every scheme needs a credential: a scheme that nobody can meet is a mistake.
    pub fn new(schemes: BTreeMap<String, Scheme>, config: &Config) -> Result<Self, String> {
        let with_secret = |(name, scheme)| match config.security.get(&name) {
            Some(Credential::ApiKey(secret) | Credential::Token(secret)) if !secret.is_empty() => {
                Ok((name, (scheme, secret.clone())))
            }
            _ => Err(format!("no credential for the security scheme `{name}`")),
        };
        schemes.into_iter().map(with_secret).collect::<Result<_, _>>().map(Self)
    }

    pub fn check(&self, operation: &Operation, headers: &HeaderMap) -> Result<(), Problem> {
        let alternatives = operation.security.as_deref().unwrap_or_default();
        let is_met = |name| self.0.get(name).is_some_and(|(scheme, secret)| opens(scheme, secret, headers));
        if alternatives.is_empty() || alternatives.iter().any(|names| names.keys().all(is_met)) {
            return Ok(());
        }
        let challenges: Vec<String> = operation.schemes().map(|name| self.challenge(name)).collect();
        let problem = Problem::new(401, "the credentials are missing or wrong");
        Err(problem.with_header("www-authenticate", challenges.join(", ")))
    }

    fn challenge(&self, name: &str) -> String {
        let Scheme { header, prefix, .. } = &self.0[name].0;
        match prefix.is_empty() {
            true => format!("ApiKey in=\"header\", name=\"{header}\""),
            false => format!("Bearer realm=\"{name}\""),
        }
    }
}

fn opens(scheme: &Scheme, secret: &str, headers: &HeaderMap) -> bool {
    let Scheme { header, prefix, .. } = scheme;
    let given = headers.get(header).map_or(&b""[..], |value| value.as_bytes());
    given.split_at_checked(prefix.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(prefix.as_bytes()) && same(rest, secret.as_bytes())
    })
}

/// Takes the same time wherever the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}
