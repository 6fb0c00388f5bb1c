//! The OpenAPI document: what the router serves and what the generator writes code for.

use crate::parameter::{Location, Parameter};
use crate::schema::{Schemas, UNCHECKED_KEYWORDS};
use crate::yaml::{self, Error, Node, Position};
use serde_json::Value;

/// Served by the router itself, described in a document or not.
pub const BUILTIN_PATHS: [&str; 4] = ["/health", "/metrics", "/openapi.yaml", "/docs"];

const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];

#[derive(Debug)]
pub struct Document {
    pub title: String,
    pub operations: Vec<Operation>,
    pub schemas: Schemas,
    pub schemes: Vec<Scheme>,
    pub warnings: Vec<Error>,
}

#[derive(Debug)]
pub struct Operation {
    pub id: String,
    /// In upper case.
    pub method: String,
    pub path: String,
    pub summary: String,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// Alternatives, each a list of schemes that must all hold; no alternative: open to all.
    pub security: Vec<Vec<String>>,
    pub success: Success,
    pub at: Position,
}

#[derive(Debug)]
pub struct Body {
    pub required: bool,
    pub content: Vec<Media>,
}

#[derive(Debug)]
pub struct Media {
    pub media_type: String,
    pub schema: Value,
    pub example: Option<Value>,
}

/// The first documented 2xx response.
#[derive(Debug)]
pub struct Success {
    pub status: u16,
    pub media: Option<Media>,
}

#[derive(Debug, Clone)]
pub struct Scheme {
    pub name: String,
    pub kind: SchemeKind,
    /// The demo credential, which a document may name for its readers and tools.
    pub example: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemeKind {
    ApiKey(Location, String),
    Bearer,
}

impl Document {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let root = yaml::parse(text)?;
        if !root.text("openapi").is_some_and(|version| version.starts_with("3.")) {
            return root.error("`openapi: 3.x` is missing: not an OpenAPI document");
        }
        let mut warnings = Vec::new();
        check_tree(&root, &root, &mut warnings)?;
        let schemas = root.pointer("/components/schemas").map_or(&[][..], Node::entries);
        let schemas = schemas.iter().map(|(name, node)| (name.clone(), node.to_json()));
        let title = root.get("info").and_then(|info| info.text("title")).unwrap_or("API");
        let mut document = Self {
            title: title.to_string(),
            operations: Vec::new(),
            schemas: Schemas(schemas.collect()),
            schemes: schemes(&root)?,
            warnings,
        };
        if root.entries_of("paths").is_empty() {
            return root.error("`paths` is missing or empty");
        }
        for (path, item) in root.entries_of("paths") {
            document.add_path(&root, path, item)?;
        }
        Ok(document)
    }

    /// The operations that need a handler.
    pub fn handled(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| !BUILTIN_PATHS.contains(&operation.path.as_str()))
    }

    fn add_path(&mut self, root: &Node, path: &str, item: &Node) -> Result<(), Error> {
        let shape = shape_of(path);
        if self.operations.iter().any(|other| shape_of(&other.path) == shape) {
            return item.error(format!("the path `{path}` is ambiguous with another one"));
        }
        for (key, node) in item.entries().iter().filter(|(key, _)| METHODS.contains(&key.as_str())) {
            let Some(id) = node.text("operationId") else {
                return node.error("`operationId` is missing");
            };
            if self.operations.iter().any(|other| other.id == id) {
                return node.error(format!("duplicate operationId `{id}`"));
            }
            let parameters = parameters(root, item, node)?;
            check_template(path, &parameters, node)?;
            self.operations.push(Operation {
                id: id.to_string(),
                method: key.to_uppercase(),
                path: path.to_string(),
                summary: node.text("summary").unwrap_or_default().to_string(),
                parameters,
                body: node
                    .get("requestBody")
                    .map(|body| request_body(root, deref(root, body)))
                    .transpose()?,
                security: self.security(node.get("security").or(root.get("security")))?,
                success: success(root, node)?,
                at: node.at,
            });
        }
        Ok(())
    }

    fn security(&self, node: Option<&Node>) -> Result<Vec<Vec<String>>, Error> {
        let mut alternatives = Vec::new();
        for alternative in node.map_or(&[][..], Node::items) {
            let names: Vec<String> = alternative.entries().iter().map(|(name, _)| name.clone()).collect();
            let known = |name: &&String| self.schemes.iter().any(|scheme| scheme.name == **name);
            if let Some(unknown) = names.iter().find(|name| !known(name)) {
                return alternative.error(format!("unknown security scheme `{unknown}`"));
            }
            alternatives.push(names);
        }
        Ok(alternatives)
    }
}

/// Follows a `$ref`; [`check_tree`] has made sure that it leads somewhere.
fn deref<'a>(root: &'a Node, node: &'a Node) -> &'a Node {
    let pointer = node.text("$ref").and_then(|target| target.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(node)
}

fn check_tree(root: &Node, node: &Node, warnings: &mut Vec<Error>) -> Result<(), Error> {
    if let Some(target) = node.text("$ref") {
        if target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).is_none() {
            return node.error(format!("`{target}` leads nowhere in this document"));
        }
    }
    for (key, child) in node.entries() {
        if node.get("type").is_some() && UNCHECKED_KEYWORDS.contains(&key.as_str()) {
            warnings.push(Error { at: child.at, message: format!("`{key}` is not checked") });
        }
        check_tree(root, child, warnings)?;
    }
    node.items().iter().try_for_each(|child| check_tree(root, child, warnings))
}

/// The path with its variables made anonymous: two paths of one shape match the same requests.
fn shape_of(path: &str) -> Vec<&str> {
    path.split('/').map(|segment| variable(segment).map_or(segment, |_| "{}")).collect()
}

/// The name of the variable that a segment of a path template is, if it is one.
pub fn variable(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// Those of the operation, then those of the path that it does not override.
fn parameters(root: &Node, item: &Node, node: &Node) -> Result<Vec<Parameter>, Error> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for entry in node.items_of("parameters").iter().chain(item.items_of("parameters")) {
        let parameter = Parameter::parse(deref(root, entry), entry.at)?;
        if !parameters.iter().any(|p| p.name == parameter.name && p.location == parameter.location) {
            parameters.push(parameter);
        }
    }
    Ok(parameters)
}

fn check_template(path: &str, parameters: &[Parameter], node: &Node) -> Result<(), Error> {
    let variables: Vec<&str> = path.split('/').filter_map(variable).collect();
    if !path.starts_with('/') || path.matches('{').count() != variables.len() {
        return node.error(format!("{path}: a path begins with a slash, a variable fills its whole segment"));
    }
    let mut described = parameters.iter().filter(|parameter| parameter.location == Location::Path);
    if let Some(stray) = described.clone().find(|parameter| !variables.contains(&parameter.name.as_str())) {
        return stray.at.error(format!("`{}` is not in the path {path}", stray.name));
    }
    match variables.iter().find(|name| !described.any(|parameter| parameter.name == **name)) {
        Some(name) => node.error(format!("the path parameter `{name}` is not described")),
        None => Ok(()),
    }
}

fn request_body(root: &Node, node: &Node) -> Result<Body, Error> {
    let content = media_types(root, node);
    match content.is_empty() {
        true => node.error("a request body needs `content`"),
        false => Ok(Body { required: node.flag("required").unwrap_or(false), content }),
    }
}

fn success(root: &Node, node: &Node) -> Result<Success, Error> {
    for (key, response) in node.entries_of("responses") {
        if let Ok(status @ 200..=299) = key.parse() {
            let media = media_types(root, deref(root, response)).into_iter().next();
            return Ok(Success { status, media });
        }
    }
    node.error("no response with a 2xx status is described")
}

fn media_types(root: &Node, node: &Node) -> Vec<Media> {
    let media = node.entries_of("content").iter().map(|(media_type, node)| Media {
        media_type: media_type.clone(),
        schema: node.get("schema").map_or(Value::Bool(true), Node::to_json),
        example: example(root, node),
    });
    media.collect()
}

/// `example`, else the first of `examples`.
pub(crate) fn example(root: &Node, node: &Node) -> Option<Value> {
    let first = || deref(root, &node.entries_of("examples").first()?.1).get("value");
    node.get("example").or_else(first).map(Node::to_json)
}

fn schemes(root: &Node) -> Result<Vec<Scheme>, Error> {
    let mut schemes = Vec::new();
    for (name, node) in root.pointer("/components/securitySchemes").map_or(&[][..], Node::entries) {
        let text = |key: &str| node.text(key).unwrap_or_default();
        let location = Location::parse(text("in")).filter(|location| *location != Location::Path);
        let kind = match (text("type"), text("scheme"), location) {
            ("apiKey", _, Some(location)) => SchemeKind::ApiKey(location, text("name").to_string()),
            ("http", "bearer" | "Bearer", _) => SchemeKind::Bearer,
            _ => return node.error("only an `apiKey` or `http` with `bearer` is supported"),
        };
        let example = node.text("x-kindloop-example").map(str::to_string);
        schemes.push(Scheme { name: name.clone(), kind, example });
    }
    Ok(schemes)
}
