//! API keys and bearer tokens.

use crate::document::{Document, Operation, Scheme, SchemeKind};
use crate::parameter::Location;
use crate::problem::Problem;

/// The schemes of a document with the credentials that open them.
pub struct Security {
    schemes: Vec<(Scheme, String)>,
}

impl Security {
    /// Every scheme needs a credential: a scheme that nobody can meet is a mistake.
    pub fn new(document: &Document, credentials: &[(String, String)]) -> Result<Self, String> {
        let mut schemes = Vec::new();
        for scheme in &document.schemes {
            match credentials.iter().find(|(name, _)| *name == scheme.name) {
                Some((_, secret)) => schemes.push((scheme.clone(), secret.clone())),
                None => return Err(format!("no credential for the security scheme `{}`", scheme.name)),
            }
        }
        Ok(Self { schemes })
    }

    /// `read` gives what the request holds at a place.
    pub fn check(
        &self,
        operation: &Operation,
        read: impl Fn(Location, &str) -> Option<String>,
    ) -> Result<(), Problem> {
        let alternatives = &operation.security;
        let met = |names: &Vec<String>| names.iter().all(|name| self.is_met(name, &read));
        if alternatives.is_empty() || alternatives.iter().any(met) {
            return Ok(());
        }
        let challenges: Vec<String> = (self.schemes.iter())
            .filter(|(scheme, _)| alternatives.iter().flatten().any(|name| *name == scheme.name))
            .map(|(scheme, _)| challenge(scheme))
            .collect();
        let problem = Problem::new(401, "the credentials are missing or wrong");
        Err(problem.with_header("www-authenticate", challenges.join(", ")))
    }

    fn is_met(&self, name: &str, read: impl Fn(Location, &str) -> Option<String>) -> bool {
        let Some((scheme, secret)) = self.schemes.iter().find(|(scheme, _)| scheme.name == name) else {
            return false;
        };
        let given = match &scheme.kind {
            SchemeKind::ApiKey(location, name) => read(*location, name),
            SchemeKind::Bearer => read(Location::Header, "authorization").and_then(|value| {
                let (kind, token) = value.split_once(' ')?;
                kind.eq_ignore_ascii_case("bearer").then(|| token.trim().to_string())
            }),
        };
        given.is_some_and(|given| same(given.as_bytes(), secret.as_bytes()))
    }
}

fn challenge(scheme: &Scheme) -> String {
    match &scheme.kind {
        SchemeKind::ApiKey(location, name) => {
            format!("ApiKey in=\"{}\", name=\"{name}\"", location.name())
        }
        SchemeKind::Bearer => format!("Bearer realm=\"{}\"", scheme.name),
    }
}

/// Takes the same time wherever the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}
