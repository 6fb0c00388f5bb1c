//! The OpenAPI document: what the router serves and what the generator writes code for.

use crate::media::ACCEPTED;
use crate::parameter::{Location, Parameter, Style};
use crate::schema::{Schema, Schemas};
use crate::yaml::{join, Error, Position, Yaml};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Served by the router itself, described in a document or not.
pub const BUILTIN_PATHS: [&str; 4] = ["/health", "/metrics", "/openapi.yaml", "/docs"];

/// What orchestrator and monitoring ask every few seconds. They are not traced: nobody looks for
/// them, and at rest they would be all there is to see.
pub const PROBES: [&str; 2] = ["/health", "/metrics"];

/// In the document they are in lower case.
pub const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

#[derive(Debug)]
pub struct Document {
    pub title: String,
    pub operations: Vec<Operation>,
    pub schemas: Schemas,
    pub schemes: BTreeMap<String, Scheme>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Operation {
    #[serde(rename = "operationId")]
    pub id: String,
    #[serde(skip)]
    pub method: String,
    #[serde(skip)]
    pub path: String,
    #[serde(skip)]
    pub at: Position,
    #[serde(default)]
    pub summary: String,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    #[serde(rename = "requestBody")]
    pub body: Option<Body>,
    /// Set by [`Document::parse`], which knows what holds when an operation has none of its own.
    pub security: Option<Security>,
    responses: BTreeMap<String, Response>,
}

/// Alternatives, each with the schemes that must all hold; no alternative: open to all.
pub type Security = Vec<BTreeMap<String, Vec<String>>>;

#[derive(Debug, Deserialize)]
pub struct Body {
    #[serde(default)]
    pub required: bool,
    #[serde(rename = "content", deserialize_with = "accepted_media")]
    pub media: Media,
}

#[derive(Debug, Deserialize)]
struct Response {
    #[serde(rename = "content", default, deserialize_with = "only_media")]
    media: Option<Media>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    #[serde(skip)]
    pub media_type: String,
    #[serde(default)]
    pub schema: Schema,
    pub example: Option<Value>,
}

/// An API key in a header, or a bearer token.
#[derive(Debug, Deserialize)]
#[serde(try_from = "SchemeKeys")]
pub struct Scheme {
    pub header: String,
    /// What stands before the secret in the header.
    pub prefix: String,
    /// The demo credential, which a document may name for its readers and tools.
    pub example: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SchemeKeys {
    r#type: String,
    r#in: String,
    scheme: String,
    name: String,
    #[serde(rename = "x-kindloop-example")]
    example: Option<String>,
}

impl TryFrom<SchemeKeys> for Scheme {
    type Error = &'static str;

    fn try_from(keys: SchemeKeys) -> Result<Self, Self::Error> {
        let (header, prefix) = match (keys.r#type.as_str(), keys.r#in.as_str(), keys.scheme.as_str()) {
            ("apiKey", "header", _) => (keys.name, ""),
            ("http", _, "bearer" | "Bearer") => ("authorization".to_string(), "Bearer "),
            _ => return Err("only an `apiKey` in a header and `http` with `bearer` are supported"),
        };
        Ok(Self { header, prefix: prefix.to_string(), example: keys.example })
    }
}

#[derive(Deserialize)]
struct Root {
    openapi: String,
    info: Info,
    paths: BTreeMap<String, BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    components: Components,
    #[serde(default)]
    security: Security,
}

#[derive(Deserialize)]
struct Info {
    title: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Components {
    schemas: BTreeMap<String, Schema>,
    security_schemes: BTreeMap<String, Scheme>,
}

impl Document {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut yaml = Yaml::parse(text)?;
        yaml.resolve_references("/components/schemas/")?;
        let root: Root = yaml.read("")?;
        if !root.openapi.starts_with("3.") {
            return Err(yaml.place("/openapi").error("only OpenAPI 3 is supported"));
        }
        let mut document = Self {
            title: root.info.title,
            operations: Vec::new(),
            schemas: Schemas(root.components.schemas),
            schemes: root.components.security_schemes,
        };
        let mut routes = matchit::Router::new();
        for (path, item) in &root.paths {
            let pointer = join("/paths", path);
            routes.insert(path, ()).map_err(|error| yaml.place(&pointer).error(error.to_string()))?;
            for method in METHODS.iter().filter(|method| item.contains_key(&method.to_lowercase())) {
                let shared: Option<Vec<Parameter>> = yaml.read(&join(&pointer, "parameters"))?;
                let pointer = join(&pointer, &method.to_lowercase());
                let mut operation: Operation = yaml.read(&pointer)?;
                operation.at = yaml.place(&pointer);
                operation.method = method.to_string();
                operation.path = path.clone();
                let own: Vec<String> = operation.parameters.iter().map(Parameter::key).collect();
                let shared = shared.into_iter().flatten();
                operation.parameters.extend(shared.filter(|parameter| !own.contains(&parameter.key())));
                operation.security.get_or_insert_with(|| root.security.clone());
                document.check(&operation).map_err(|message| operation.at.error(message))?;
                document.operations.push(operation);
            }
        }
        Ok(document)
    }

    /// The operations that need a handler.
    pub fn handled(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| !operation.is_builtin())
    }

    fn check(&self, operation: &Operation) -> Result<(), String> {
        if self.operations.iter().any(|other| other.id == operation.id) {
            return Err(format!("duplicate operationId `{}`", operation.id));
        }
        if let Some(unknown) = operation.schemes().find(|name| !self.schemes.contains_key(*name)) {
            return Err(format!("unknown security scheme `{unknown}`"));
        }
        if operation.success().is_none() {
            return Err("no response with a 2xx status is described".to_string());
        }
        operation.check_parameters()
    }
}

impl Operation {
    pub fn builtin(path: &str) -> Self {
        Self { method: "GET".to_string(), path: path.to_string(), ..Self::default() }
    }

    pub fn is_builtin(&self) -> bool {
        BUILTIN_PATHS.contains(&self.path.as_str())
    }

    /// The names of the security schemes that it mentions.
    pub fn schemes(&self) -> impl Iterator<Item = &String> {
        self.security.iter().flatten().flat_map(BTreeMap::keys)
    }

    /// The status and the media type of the first 2xx response.
    pub fn success(&self) -> Option<(u16, Option<&Media>)> {
        let status = |key: &String| key.parse().ok().filter(|status| (200..300).contains(status));
        self.responses.iter().find_map(|(key, response)| Some((status(key)?, response.media.as_ref())))
    }

    fn check_parameters(&self) -> Result<(), String> {
        let in_path = |parameter: &&Parameter| parameter.location == Location::Path;
        let described = self.parameters.iter().filter(in_path).map(|parameter| parameter.name.as_str());
        let variables = self.path.split(['{', '}']).skip(1).step_by(2);
        if variables.collect::<BTreeSet<_>>() != described.collect::<BTreeSet<_>>() {
            return Err(format!("the path parameters are not those of {}", self.path));
        }
        let is_wrong = |parameter: &&Parameter| match in_path(parameter) {
            true => !parameter.required,
            false => parameter.style != Style::Usual,
        };
        let wrong = self.parameters.iter().find(is_wrong).map(|parameter| &parameter.name);
        wrong.map_or(Ok(()), |name| Err(format!("`{name}` must be required, or not have this style")))
    }
}

fn only_media<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Media>, D::Error> {
    let content = BTreeMap::<String, Media>::deserialize(deserializer)?;
    if content.len() > 1 {
        return Err(D::Error::custom("more than one media type is not supported"));
    }
    Ok(content.into_iter().next().map(|(media_type, media)| Media { media_type, ..media }))
}

fn accepted_media<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Media, D::Error> {
    match only_media(deserializer)? {
        Some(media) if ACCEPTED.contains(&media.media_type.as_str()) => Ok(media),
        _ => Err(D::Error::custom(format!("a request body must be {}", ACCEPTED.join(" or ")))),
    }
}
