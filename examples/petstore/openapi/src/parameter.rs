//! Parameters: where they are, how they are written, and how text becomes a typed value.

use crate::problem::Problem;
use crate::schema::{Schema, Schemas, Type};
use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    Path,
    Query,
    Header,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// An array repeats its name in a query, and has commas elsewhere.
    #[default]
    #[serde(skip_deserializing)]
    Usual,
    Label,
    Matrix,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    pub name: String,
    #[serde(rename = "in")]
    pub location: Location,
    #[serde(default)]
    pub style: Style,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub schema: Schema,
    pub example: Option<Value>,
    #[serde(default)]
    pub description: IgnoredAny,
}

impl Location {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Parameter {
    /// What tells it from the other parameters of its operation.
    pub fn key(&self) -> String {
        format!("{}.{}", self.location.name(), self.name)
    }

    /// The typed value of what the request holds, as text, for this parameter; null when it has
    /// nothing and the parameter is optional.
    pub fn read(&self, schemas: &Schemas, found: &[String]) -> Result<Value, Problem> {
        let label = format!("{} parameter `{}`", self.location.name(), self.name);
        let schema = schemas.resolve(&self.schema);
        let Some(first) = found.first() else {
            return match self.required {
                true => Err(Problem::bad_request(format!("the {label} is missing"))),
                false => Ok(schema.default.clone().unwrap_or_default()),
            };
        };
        let text = match self.style {
            Style::Usual => Some(first.as_str()),
            Style::Label => first.strip_prefix('.'),
            Style::Matrix => first.strip_prefix(&format!(";{}=", self.name)),
        };
        let wrong = || Problem::bad_request(format!("the {label} is not written in its style"));
        let texts: Vec<&str> = match (text.ok_or_else(wrong)?, self.location) {
            (_, Location::Query) => found.iter().map(String::as_str).collect(),
            (text, _) if schema.is(Type::Array) => text.split(',').collect(),
            (text, _) => vec![text],
        };
        let value = schemas.coerce(schema, &texts);
        let issues = schemas.validate(schema, &value);
        let Some(issue) = issues.first() else { return Ok(value) };
        let detail = format!("the {label} is not valid: {}", issue.detail);
        Err(Problem::bad_request(detail).with_issues(issues))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(yaml: &str, found: &[&str]) -> Result<Value, String> {
        let parameter: Parameter = crate::yaml::Yaml::parse(yaml).unwrap().read("").unwrap();
        let found: Vec<String> = found.iter().map(|text| text.to_string()).collect();
        parameter.read(&Schemas::default(), &found).map_err(|problem| problem.detail)
    }

    #[test]
    fn reads_every_style() {
        let path = |style: &str| {
            format!("{{name: c, in: path, required: true, {style} schema: {{type: array, items: {{type: integer}}}}}}")
        };
        assert_eq!(read(&path(""), &["1,2"]), Ok(json!([1, 2])));
        assert_eq!(read(&path("style: label,"), &[".1,2"]), Ok(json!([1, 2])));
        assert_eq!(read(&path("style: matrix,"), &[";c=1,2"]), Ok(json!([1, 2])));
        assert!(read(&path("style: matrix,"), &["1,2"]).unwrap_err().contains("style"));
    }

    #[test]
    fn applies_defaults_and_reports_bad_values() {
        let limit = "{name: limit, in: query, schema: {type: integer, minimum: 1, default: 20}}";
        assert_eq!(read(limit, &[]), Ok(json!(20)));
        let problem = read(limit, &["many"]).unwrap_err();
        assert_eq!(problem, "the query parameter `limit` is not valid: expected integer, found string");
        let tags = "{name: tag, in: query, schema: {type: array, items: {type: string}}}";
        assert_eq!(read(tags, &["a", "b"]), Ok(json!(["a", "b"])));
        let token = "{name: token, in: header, required: true, schema: {type: string}}";
        assert_eq!(read(token, &[]), Err("the header parameter `token` is missing".to_string()));
    }
}
