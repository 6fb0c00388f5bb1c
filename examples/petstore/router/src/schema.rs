//! The subset of JSON Schema that the documents of this sample use.

use crate::problem::Issue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The keywords that constrain a value in ways [`Schemas::validate`] does not check.
pub const UNCHECKED_KEYWORDS: [&str; 6] =
    ["pattern", "not", "if", "patternProperties", "propertyNames", "multipleOf"];

/// The named schemas of a document, to which `$ref`s lead.
#[derive(Debug, Default)]
pub struct Schemas(pub BTreeMap<String, Value>);

impl Schemas {
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let next = |schema: &&'a Value| self.0.get(ref_name(schema)?);
        // A bound instead of cycle detection: no sensible document chains this many references.
        std::iter::successors(Some(schema), next).take(16).last().unwrap_or(schema)
    }

    /// All that is wrong with `value`; empty when it is valid.
    pub fn validate(&self, schema: &Value, value: &Value) -> Vec<Issue> {
        let mut check = Check { schemas: self, issues: Vec::new() };
        check.value(schema, value, "");
        check.issues
    }
}

struct Check<'a> {
    schemas: &'a Schemas,
    issues: Vec<Issue>,
}

impl Check<'_> {
    fn fail(&mut self, at: &str, detail: impl Into<String>) {
        self.issues.push(Issue { pointer: at.to_string(), detail: detail.into() });
    }

    fn value(&mut self, schema: &Value, value: &Value, at: &str) {
        let schemas = self.schemas;
        let schema = schemas.resolve(schema);
        let names = types(schema);
        if !names.is_empty() && !names.iter().any(|name| has_type(value, name)) {
            return self.fail(at, format!("expected {}, found {}", names.join(" or "), type_name(value)));
        }
        if schema == &Value::Bool(false) || schema.get("const").is_some_and(|expected| expected != value) {
            self.fail(at, "this value is not allowed");
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            if !allowed.contains(value) {
                let names: Vec<String> = allowed.iter().map(Value::to_string).collect();
                self.fail(at, format!("must be one of {}", names.join(", ")));
            }
        }
        match value {
            Value::String(text) => self.string(schema, text, at),
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(0.0), at),
            Value::Array(items) => self.array(schema, items, at),
            Value::Object(object) => self.object(schema, object, at),
            _ => {}
        }
        list(schema, "allOf").for_each(|part| self.value(part, value, at));
        let matches = |key| list(schema, key).filter(|part| schemas.validate(part, value).is_empty()).count();
        if schema.get("anyOf").is_some() && matches("anyOf") == 0 {
            self.fail(at, "matches none of the allowed schemas");
        }
        if schema.get("oneOf").is_some() && matches("oneOf") != 1 {
            self.fail(at, "must match exactly one of the allowed schemas");
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value], at: &str) {
        self.length(schema, ["minItems", "maxItems"], items.len(), "items", at);
        let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        if unique && (1..items.len()).any(|i| items[..i].contains(&items[i])) {
            self.fail(at, "the items must be unique");
        }
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.value(schema, item, &format!("{at}/{index}"));
            }
        }
    }

    fn object(&mut self, schema: &Value, object: &Map<String, Value>, at: &str) {
        for name in list(schema, "required").filter_map(Value::as_str) {
            if !object.contains_key(name) {
                self.fail(at, format!("missing property `{name}`"));
            }
        }
        for (name, value) in object {
            let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            let property = schema.get("properties").and_then(|known| known.get(name));
            match property.or(schema.get("additionalProperties")) {
                Some(Value::Bool(false)) => self.fail(&at, "unknown property"),
                Some(schema) => self.value(schema, value, &at),
                None => {}
            }
        }
    }

    fn length(&mut self, schema: &Value, [min, max]: [&str; 2], length: usize, unit: &str, at: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        if let Some(least) = bound(min).filter(|least| (length as u64) < *least) {
            self.fail(at, format!("has fewer than {least} {unit}"));
        }
        if let Some(most) = bound(max).filter(|most| length as u64 > *most) {
            self.fail(at, format!("has more than {most} {unit}"));
        }
    }

    fn number(&mut self, schema: &Value, number: f64, at: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let is_int32 = schema.get("format").is_some_and(|format| format == "int32");
        let failures = [
            (bound("minimum").filter(|b| number < *b), "must be at least"),
            (bound("maximum").filter(|b| number > *b), "must be at most"),
            (bound("exclusiveMinimum").filter(|b| number <= *b), "must be greater than"),
            (bound("exclusiveMaximum").filter(|b| number >= *b), "must be less than"),
            (is_int32.then_some(f64::from(i32::MIN)).filter(|b| number < *b), "must be at least"),
            (is_int32.then_some(f64::from(i32::MAX)).filter(|b| number > *b), "must be at most"),
        ];
        for (limit, text) in failures {
            if let Some(limit) = limit {
                self.fail(at, format!("{text} {limit}"));
            }
        }
    }

    fn string(&mut self, schema: &Value, text: &str, at: &str) {
        self.length(schema, ["minLength", "maxLength"], text.chars().count(), "characters", at);
        match schema.get("format").and_then(Value::as_str) {
            Some(format) if !has_format(format, text) => self.fail(at, format!("is not of format {format}")),
            _ => {}
        }
    }
}

/// The items of a list in a schema; none when it is missing.
pub fn list<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The name and the schema of each property.
pub fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The name in a `$ref` to a named schema.
pub fn ref_name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/components/schemas/")
}

/// The allowed types: `type` may be one name or, since 3.1, a list.
pub fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        name => type_name(value) == name,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The shape of common formats; unknown formats allow anything, as the standard says.
fn has_format(format: &str, text: &str) -> bool {
    match format {
        "uuid" => has_shape(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"),
        "date" => has_shape(text, "dddd-dd-dd"),
        "date-time" => match text.get(..19) {
            Some(start) => {
                let zone = text[19..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
                let start_is_valid = has_shape(start, "dddd-dd-ddTdd:dd:dd");
                start_is_valid && (zone == "Z" || has_shape(zone, "+dd:dd") || has_shape(zone, "-dd:dd"))
            }
            None => false,
        },
        "email" => {
            matches!(text.split_once('@'), Some((a, b)) if !a.is_empty() && b.contains('.') && !b.contains('@'))
        }
        "uri" => {
            matches!(text.split_once(':'), Some((a, b)) if !a.is_empty() && !b.is_empty() && !text.contains(' '))
        }
        _ => true,
    }
}

fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(c, s): (u8, u8)| match s {
        b'h' => c.is_ascii_hexdigit(),
        b'd' => c.is_ascii_digit(),
        _ => c == s,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn details(schema: Value, value: Value) -> Vec<String> {
        let schemas =
            Schemas(BTreeMap::from([("Name".to_string(), json!({"type": "string", "minLength": 2}))]));
        let issues = schemas.validate(&schema, &value);
        issues.into_iter().map(|i| format!("{}: {}", i.pointer, i.detail)).collect()
    }

    #[test]
    fn reports_every_issue_with_its_pointer() {
        let schema = json!({"type": "object", "required": ["id", "name"], "additionalProperties": false, "properties": {
            "id": {"type": "integer", "minimum": 1}, "name": {"$ref": "#/components/schemas/Name"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}}}});
        assert!(details(schema.clone(), json!({"id": 1, "name": "Rex", "tags": ["a"]})).is_empty());
        let found = details(schema, json!({"id": 0, "tags": ["c"], "x": 1}));
        let expected = [
            ": missing property `name`",
            "/id: must be at least 1",
            "/tags/0: must be one of \"a\", \"b\"",
            "/x: unknown property",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn checks_types_formats_and_combinations() {
        assert!(details(json!({"type": ["string", "null"]}), json!(null)).is_empty());
        assert_eq!(details(json!({"type": "integer"}), json!(1.5)), [": expected integer, found number"]);
        assert!(details(json!({"format": "date-time"}), json!("2025-01-31T10:00:00.5+01:00")).is_empty());
        assert!(!details(json!({"format": "uuid"}), json!("1234")).is_empty());
        let one_of = json!({"oneOf": [{"type": "integer"}, {"type": "number"}]});
        assert!(details(one_of.clone(), json!(1.5)).is_empty() && !details(one_of, json!(1)).is_empty());
    }
}
