//! Parameters: where they are, how they are written, and how text becomes a typed value.

use crate::problem::Problem;
use crate::schema::{types, Schemas};
use crate::yaml::{Error, Node, Position};
use serde_json::{Number, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    Path,
    Query,
    Header,
    Cookie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Simple,
    Label,
    Matrix,
    Form,
}

#[derive(Debug)]
pub struct Parameter {
    pub name: String,
    pub location: Location,
    pub style: Style,
    pub explode: bool,
    pub required: bool,
    pub schema: Value,
    pub example: Option<Value>,
    pub at: Position,
}

impl Location {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "path" => Some(Self::Path),
            "query" => Some(Self::Query),
            "header" => Some(Self::Header),
            "cookie" => Some(Self::Cookie),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

impl Parameter {
    pub fn parse(node: &Node, at: Position) -> Result<Self, Error> {
        let Some(name) = node.text("name") else {
            return at.error("the parameter has no `name`");
        };
        let Some(location) = node.text("in").and_then(Location::parse) else {
            return at.error(format!("`{name}`: `in` must be path, query, header or cookie"));
        };
        let style = match (node.text("style"), location) {
            (None | Some("form"), Location::Query | Location::Cookie) => Style::Form,
            (None | Some("simple"), Location::Path | Location::Header) => Style::Simple,
            (Some("label"), Location::Path) => Style::Label,
            (Some("matrix"), Location::Path) => Style::Matrix,
            _ => return at.error(format!("`{name}`: this style is not supported here")),
        };
        let required = node.flag("required").unwrap_or(false);
        if location == Location::Path && !required {
            return at.error(format!("`{name}`: a path parameter must be required"));
        }
        Ok(Self {
            name: name.to_string(),
            location,
            style,
            explode: node.flag("explode").unwrap_or(style == Style::Form),
            required,
            schema: node.get("schema").map_or(Value::Bool(true), Node::to_json),
            example: crate::document::example(node, node),
            at,
        })
    }

    /// The typed value of what the request holds, as text, for this parameter; null when it has
    /// nothing and the parameter is optional.
    pub fn read(&self, schemas: &Schemas, found: Vec<String>) -> Result<Value, Problem> {
        let label = format!("{} parameter `{}`", self.location.name(), self.name);
        let Some(first) = found.first() else {
            let default = schemas.resolve(&self.schema).get("default");
            return match self.required {
                true => Err(Problem::bad_request(format!("the {label} is missing"))),
                false => Ok(default.cloned().unwrap_or(Value::Null)),
            };
        };
        let is_array = types(schemas.resolve(&self.schema)).contains(&"array");
        let texts = match (is_array, self.style, self.explode) {
            (true, Style::Form, true) => Some(found),
            _ => self.split(first, is_array),
        };
        let Some(texts) = texts else {
            return Err(Problem::bad_request(format!("the {label} is not written in its style")));
        };
        let value = match is_array {
            true => coerce_items(schemas, &self.schema, texts),
            false => coerce(schemas, &self.schema, texts.first().map_or("", String::as_str)),
        };
        let issues = schemas.validate(&self.schema, &value);
        match issues.first() {
            None => Ok(value),
            Some(issue) => {
                let detail = format!("the {label} is not valid: {}", issue.detail);
                Err(Problem::bad_request(detail).with_issues(issues))
            }
        }
    }

    /// Takes the style's punctuation off; none when it is not there.
    fn split(&self, text: &str, is_array: bool) -> Option<Vec<String>> {
        let (text, separator) = match self.style {
            Style::Simple | Style::Form => (text.to_string(), ","),
            Style::Label => (text.strip_prefix('.')?.to_string(), if self.explode { "." } else { "," }),
            Style::Matrix => {
                let prefix = format!(";{}=", self.name);
                let values = text.strip_prefix(&prefix)?;
                match self.explode {
                    true => (values.replace(&prefix, ";"), ";"),
                    false => (values.to_string(), ","),
                }
            }
        };
        Some(match is_array {
            true => text.split(separator).map(str::to_string).collect(),
            false => vec![text],
        })
    }
}

pub fn coerce_items(schemas: &Schemas, schema: &Value, texts: Vec<String>) -> Value {
    let items = schemas.resolve(schema).get("items").unwrap_or(&Value::Bool(true));
    texts.iter().map(|text| coerce(schemas, items, text)).collect()
}

/// Text as the type its schema asks for. What does not fit stays a string, for the validator to
/// report.
pub fn coerce(schemas: &Schemas, schema: &Value, text: &str) -> Value {
    let schema = schemas.resolve(schema);
    let number = || text.parse().ok().and_then(Number::from_f64).map(Value::Number);
    let typed = types(schema).into_iter().find_map(|name| match name {
        "integer" => text.parse::<i64>().ok().map(Value::from),
        "number" => text.parse::<i64>().ok().map(Value::from).or_else(number),
        "boolean" => text.parse().ok().map(Value::Bool),
        "array" | "object" => serde_json::from_str(text).ok(),
        _ => None,
    });
    typed.unwrap_or_else(|| Value::String(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(yaml: &str, found: &[&str]) -> Result<Value, String> {
        let node = crate::yaml::parse(yaml).unwrap();
        let parameter = Parameter::parse(&node, node.at).unwrap();
        let found = found.iter().map(|text| text.to_string()).collect();
        parameter.read(&Schemas::default(), found).map_err(|problem| problem.detail)
    }

    #[test]
    fn reads_every_style() {
        let path = |style: &str| {
            format!("{{name: c, in: path, required: true, schema: {{type: array, items: {{type: integer}}}}, {style}}}")
        };
        assert_eq!(read(&path("style: simple"), &["1,2"]), Ok(json!([1, 2])));
        assert_eq!(read(&path("style: label"), &[".1,2"]), Ok(json!([1, 2])));
        assert_eq!(read(&path("style: matrix"), &[";c=1,2"]), Ok(json!([1, 2])));
        assert_eq!(read(&path("style: matrix, explode: true"), &[";c=1;c=2"]), Ok(json!([1, 2])));
        assert!(read(&path("style: matrix"), &["1,2"]).unwrap_err().contains("style"));
    }

    #[test]
    fn applies_defaults_and_reports_bad_values() {
        let limit = "{name: limit, in: query, schema: {type: integer, minimum: 1, default: 20}}";
        assert_eq!(read(limit, &[]), Ok(json!(20)));
        let problem = read(limit, &["many"]).unwrap_err();
        assert_eq!(problem, "the query parameter `limit` is not valid: expected integer, found string");
        let tags = "{name: tag, in: query, schema: {type: array, items: {type: string}}}";
        assert_eq!(read(tags, &["a", "b"]), Ok(json!(["a", "b"])));
    }
}
