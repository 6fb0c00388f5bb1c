//! The subset of JSON Schema that the documents of this sample use; anything else is refused.

use crate::problem::Issue;
use crate::yaml::join;
use regex_lite::Regex;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::LazyLock;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Schema {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    r#type: Option<OneOrMany>,
    pub format: Option<Format>,
    pub r#enum: Option<Vec<Value>>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub min_items: Option<usize>,
    pub max_items: Option<usize>,
    pub unique_items: bool,
    pub items: Option<Box<Schema>>,
    pub properties: BTreeMap<String, Schema>,
    pub required: Vec<String>,
    pub additional_properties: Option<Additional>,
    pub all_of: Vec<Schema>,
    pub default: Option<Value>,
    pub example: Option<Value>,
    pub description: IgnoredAny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// Since 3.1 `type` may be a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a type or a list of types")]
enum OneOrMany {
    One(Type),
    Many(Vec<Type>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Int32,
    Int64,
    Binary,
    Date,
    DateTime,
    Email,
    Uri,
    Uuid,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected true, false or a schema without unsupported keywords")]
pub enum Additional {
    Allowed(bool),
    Checked(Box<Schema>),
}

impl Schema {
    /// The allowed types; none when any is.
    pub fn types(&self) -> &[Type] {
        match &self.r#type {
            None => &[],
            Some(OneOrMany::One(name)) => std::slice::from_ref(name),
            Some(OneOrMany::Many(names)) => names,
        }
    }

    pub fn is(&self, name: Type) -> bool {
        self.types().contains(&name)
    }

    pub fn is_binary(&self) -> bool {
        self.format == Some(Format::Binary)
    }

    /// The named schema that this one stands for.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()?.strip_prefix("#/components/schemas/")
    }
}

/// The named schemas of a document.
#[derive(Debug, Default)]
pub struct Schemas(pub BTreeMap<String, Schema>);

impl Schemas {
    pub fn resolve<'a>(&'a self, schema: &'a Schema) -> &'a Schema {
        let next = |schema: &&'a Schema| self.0.get(schema.reference()?);
        // A bound instead of cycle detection: no sensible document chains this many references.
        std::iter::successors(Some(schema), next).take(16).last().unwrap_or(schema)
    }

    /// The schema and those that it combines with `allOf`.
    pub fn parts<'a>(&'a self, schema: &'a Schema) -> Vec<&'a Schema> {
        let combined = schema.all_of.iter().flat_map(|part| self.parts(self.resolve(part)));
        std::iter::once(schema).chain(combined).collect()
    }

    /// All that is wrong with `value`; empty when it is valid.
    pub fn validate(&self, schema: &Schema, value: &Value) -> Vec<Issue> {
        let mut check = Check { schemas: self, issues: Vec::new() };
        check.value(schema, value, "");
        check.issues
    }

    /// Texts as the type their schema asks for: all of them for an array, else the first. What does
    /// not fit stays a string, for the validator to report.
    pub fn coerce(&self, schema: &Schema, texts: &[&str]) -> Value {
        let schema = self.resolve(schema);
        if schema.is(Type::Array) {
            let any = Schema::default();
            let items = schema.items.as_deref().unwrap_or(&any);
            return texts.iter().map(|text| self.coerce(items, &[text])).collect();
        }
        let text = texts.first().copied().unwrap_or_default();
        let typed = schema.types().iter().find_map(|name| match name {
            Type::Integer | Type::Number => text.parse::<Number>().ok().map(Value::Number),
            Type::Boolean => text.parse().ok().map(Value::Bool),
            _ => None,
        });
        typed.unwrap_or_else(|| Value::from(text))
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

    fn value(&mut self, schema: &Schema, value: &Value, at: &str) {
        let schema = self.schemas.resolve(schema);
        let types = schema.types();
        if !types.is_empty() && !types.iter().any(|name| name.has(value)) {
            let expected: Vec<String> = types.iter().map(|name| name.name()).collect();
            let found = Type::of(value).name();
            return self.fail(at, format!("expected {}, found {found}", expected.join(" or ")));
        }
        if let Some(allowed) = schema.r#enum.as_ref().filter(|allowed| !allowed.contains(value)) {
            let names: Vec<String> = allowed.iter().map(Value::to_string).collect();
            self.fail(at, format!("must be one of {}", names.join(", ")));
        }
        match value {
            Value::String(text) => self.string(schema, text, at),
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(0.0), at),
            Value::Array(items) => self.array(schema, items, at),
            Value::Object(object) => self.object(schema, object, at),
            _ => {}
        }
        for part in &schema.all_of {
            self.value(part, value, at);
        }
    }

    fn array(&mut self, schema: &Schema, items: &[Value], at: &str) {
        self.bounds("the number of items ", items.len(), [schema.min_items, schema.max_items], at);
        if schema.unique_items && (1..items.len()).any(|i| items[..i].contains(&items[i])) {
            self.fail(at, "the items must be unique");
        }
        if let Some(schema) = &schema.items {
            for (index, item) in items.iter().enumerate() {
                self.value(schema, item, &format!("{at}/{index}"));
            }
        }
    }

    fn object(&mut self, schema: &Schema, object: &Map<String, Value>, at: &str) {
        for name in schema.required.iter().filter(|name| !object.contains_key(*name)) {
            self.fail(at, format!("missing property `{name}`"));
        }
        for (name, value) in object {
            let at = join(at, name);
            match (schema.properties.get(name), &schema.additional_properties) {
                (Some(schema), _) => self.value(schema, value, &at),
                (None, Some(Additional::Checked(schema))) => self.value(schema, value, &at),
                (None, Some(Additional::Allowed(false))) => self.fail(&at, "unknown property"),
                _ => {}
            }
        }
    }

    fn number(&mut self, schema: &Schema, number: f64, at: &str) {
        let int32 = |bound: i32| (schema.format == Some(Format::Int32)).then_some(f64::from(bound));
        let (min, max) = (schema.minimum.or(int32(i32::MIN)), schema.maximum.or(int32(i32::MAX)));
        self.bounds("", number, [min, max], at);
    }

    fn string(&mut self, schema: &Schema, text: &str, at: &str) {
        let length = text.chars().count();
        self.bounds("the length ", length, [schema.min_length, schema.max_length], at);
        if let Some(format) = schema.format.filter(|format| !format.fits(text)) {
            self.fail(at, format!("is not of format {}", json!(format)));
        }
    }

    fn bounds<T: PartialOrd + Display>(&mut self, what: &str, number: T, range: [Option<T>; 2], at: &str) {
        let [min, max] = range;
        if let Some(least) = min.filter(|least| number < *least) {
            self.fail(at, format!("{what}must be at least {least}"));
        }
        if let Some(most) = max.filter(|most| number > *most) {
            self.fail(at, format!("{what}must be at most {most}"));
        }
    }
}

impl Type {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }

    fn has(self, value: &Value) -> bool {
        match self {
            Self::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            _ => self == Self::of(value),
        }
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Format {
    fn fits(self, text: &str) -> bool {
        SHAPES.iter().find(|shape| shape.0 == self).is_none_or(|(_, pattern, _)| pattern.is_match(text))
    }

    /// A text of this format.
    pub fn example(self) -> &'static str {
        SHAPES.iter().find(|shape| shape.0 == self).map_or("text", |(.., example)| example)
    }
}

/// The pattern of a format, and an example for it.
static SHAPES: LazyLock<[(Format, Regex, &str); 5]> = LazyLock::new(|| {
    const DATE_TIME: &str = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$";
    const UUID: &str = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$";
    let shapes = [
        (Format::Date, r"^\d{4}-\d\d-\d\d$", "2025-01-31"),
        (Format::DateTime, DATE_TIME, "2025-01-31T12:00:00Z"),
        (Format::Email, r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "ann@example.com"),
        (Format::Uri, r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$", "https://example.com/"),
        (Format::Uuid, UUID, "00000000-0000-4000-8000-000000000000"),
    ];
    shapes.map(|(format, pattern, example)| (format, Regex::new(pattern).expect("a valid pattern"), example))
});

#[cfg(test)]
mod tests {
    use super::*;

    fn details(schema: Value, value: Value) -> Vec<String> {
        let read = |schema| serde_json::from_value(schema).unwrap();
        let name = read(json!({"type": "string", "minLength": 2}));
        let schemas = Schemas(BTreeMap::from([("Name".to_string(), name)]));
        let issues = schemas.validate(&read(schema), &value);
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
        assert_eq!(details(json!({"allOf": [{"maximum": 3}]}), json!(4)), [": must be at most 3"]);
    }

    #[test]
    fn refuses_what_it_does_not_check() {
        for schema in
            [json!({"pattern": "a"}), json!({"oneOf": []}), json!({"format": "ipv4"}), json!({"type": "int"})]
        {
            assert!(serde_json::from_value::<Schema>(schema).is_err());
        }
    }
}
