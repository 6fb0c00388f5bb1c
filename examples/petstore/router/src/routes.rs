//! Which endpoint a path and a method lead to.

use crate::document::variable;
use crate::url;
use std::sync::Arc;

pub struct Routes<T> {
    routes: Vec<Route<T>>,
}

struct Route<T> {
    path: Arc<str>,
    segments: Vec<Segment>,
    endpoints: Vec<(String, T)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Variable(String),
}

/// A path that is known; `endpoint` is none when its method is not.
pub struct Match<'a, T> {
    route: &'a Route<T>,
    pub endpoint: Option<&'a T>,
    pub variables: Vec<(&'a str, String)>,
}

impl<T> Match<'_, T> {
    pub fn path(&self) -> Arc<str> {
        self.route.path.clone()
    }

    /// The value of the `Allow` header.
    pub fn allow(&self) -> String {
        self.route.allow()
    }
}

impl<T> Routes<T> {
    pub fn new() -> Self {
        Self { routes: Vec::new() }
    }

    pub fn add(&mut self, method: &str, path: &str, endpoint: T) {
        let segments: Vec<Segment> = path.split('/').skip(1).map(Segment::parse).collect();
        let endpoints = match self.routes.iter().position(|route| *route.path == *path) {
            Some(index) => &mut self.routes[index].endpoints,
            None => {
                // In this order a literal segment is tried before a variable at the same place.
                let index = self.routes.partition_point(|route| route.segments < segments);
                self.routes.insert(index, Route { path: path.into(), segments, endpoints: Vec::new() });
                &mut self.routes[index].endpoints
            }
        };
        endpoints.push((method.to_string(), endpoint));
    }

    pub fn find(&self, method: &str, path: &str) -> Option<Match<'_, T>> {
        let (route, variables) = self.routes.iter().find_map(|route| Some((route, route.matches(path)?)))?;
        // A resource that answers GET answers HEAD too.
        let endpoint = route.endpoint(method).or((method == "HEAD").then(|| route.endpoint("GET")).flatten());
        Some(Match { route, endpoint, variables })
    }
}

impl<T> Route<T> {
    fn matches(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let mut texts = path.strip_prefix('/')?.split('/');
        let mut variables = Vec::new();
        for segment in &self.segments {
            match (segment, texts.next()?) {
                (Segment::Literal(literal), text) if literal == text => {}
                (Segment::Variable(name), text) if !text.is_empty() => {
                    variables.push((name.as_str(), url::decode(text)?));
                }
                _ => return None,
            }
        }
        texts.next().is_none().then_some(variables)
    }

    fn endpoint(&self, method: &str) -> Option<&T> {
        self.endpoints.iter().find(|(name, _)| name == method).map(|(_, endpoint)| endpoint)
    }

    fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.endpoints.iter().map(|(method, _)| method.as_str()).collect();
        if methods.contains(&"GET") && !methods.contains(&"HEAD") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }
}

impl Segment {
    fn parse(text: &str) -> Self {
        match variable(text) {
            Some(name) => Self::Variable(name.to_string()),
            None => Self::Literal(text.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_go_before_variables() {
        let mut routes = Routes::new();
        routes.add("GET", "/pets/{id}", 1);
        routes.add("GET", "/pets/first", 2);
        routes.add("POST", "/pets/{id}", 3);
        let find = |method, path| routes.find(method, path).map(|found| found.endpoint.copied());
        assert_eq!(find("GET", "/pets/first"), Some(Some(2)));
        assert_eq!(find("HEAD", "/pets/a%20b"), Some(Some(1)));
        assert_eq!(routes.find("GET", "/pets/a%20b").unwrap().variables, [("id", "a b".to_string())]);
        assert_eq!(find("PUT", "/pets/7"), Some(None));
        assert_eq!(routes.find("PUT", "/pets/7").unwrap().allow(), "GET, HEAD, POST");
        assert!(["/pets", "/pets/", "/pets/7/", "/", ""].iter().all(|path| find("GET", path).is_none()));
    }
}
