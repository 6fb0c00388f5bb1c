//! Rust types for schemas.

use crate::names::{pascal, snake};
use openapi::schema::{Additional, Format, Schema, Schemas, Type};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

const DERIVE: &str = "#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]";

/// Collects the definitions that the types of one module need.
pub struct Types<'a> {
    schemas: &'a Schemas,
    /// What stands before the name of a component: nothing in the components' own module.
    prefix: &'static str,
    pub definitions: String,
}

pub struct Field {
    pub name: String,
    /// Its name in JSON.
    pub key: String,
    pub rust: String,
    pub required: bool,
}

impl<'a> Types<'a> {
    pub fn new(schemas: &'a Schemas, prefix: &'static str) -> Self {
        Self { schemas, prefix, definitions: String::new() }
    }

    /// Defines the type `name` for `schema`.
    pub fn define(&mut self, name: &str, schema: &Schema) {
        let fields = self.fields(name, schema);
        match variants(schema) {
            Some(values) => self.define_enum(name, &values),
            None if fields.is_empty() => {
                let alias = self.of(schema, &format!("{name}Value"));
                self.define_alias(name, &alias);
            }
            None => self.define_struct(name, &fields),
        }
    }

    pub fn define_alias(&mut self, name: &str, rust: &str) {
        let _ = write!(self.definitions, "\npub type {name} = {rust};\n");
    }

    pub fn define_struct(&mut self, name: &str, fields: &[Field]) {
        let mut lines = String::new();
        for Field { name, key, rust, required } in fields {
            if name != key {
                let _ = writeln!(lines, "    #[serde(rename = {key:?})]");
            }
            if !required {
                lines.push_str("    #[serde(skip_serializing_if = \"Option::is_none\")]\n");
            }
            let is_wrapped = *required || rust.starts_with("Option<");
            let rust = if is_wrapped { rust } else { &format!("Option<{rust}>") };
            let _ = writeln!(lines, "    pub {name}: {rust},");
        }
        self.define_item(&format!("{DERIVE}\npub struct {name}"), &lines);
    }

    fn define_enum(&mut self, name: &str, values: &[&str]) {
        let derive = DERIVE.replace("Clone,", "Clone, Copy, PartialEq, Eq,");
        let mut lines = String::new();
        for value in values {
            let _ = writeln!(lines, "    #[serde(rename = {value:?})]\n    {},", pascal(value));
        }
        self.define_item(&format!("{derive}\npub enum {name}"), &lines);
    }

    fn define_item(&mut self, head: &str, lines: &str) {
        let break_line = if lines.is_empty() { "" } else { "\n" };
        let _ = write!(self.definitions, "\n{head} {{{break_line}{lines}}}\n");
    }

    /// The type of `schema`; `hint` names it when it needs a definition.
    pub fn of(&mut self, schema: &Schema, hint: &str) -> String {
        if let Some(name) = schema.reference() {
            return format!("{}{}", self.prefix, pascal(name));
        }
        let name = schema.types().iter().find(|name| **name != Type::Null);
        let has_properties = self.schemas.parts(schema).iter().any(|part| !part.properties.is_empty());
        let rust = match name {
            _ if has_properties || variants(schema).is_some() => {
                self.define(hint, schema);
                hint.to_string()
            }
            Some(Type::Integer) if schema.format == Some(Format::Int32) => "i32".to_string(),
            Some(Type::Integer) => "i64".to_string(),
            Some(Type::Number) => "f64".to_string(),
            Some(Type::Boolean) => "bool".to_string(),
            Some(Type::String) if schema.is_binary() => "router::File".to_string(),
            Some(Type::String) => "String".to_string(),
            Some(Type::Array) => match &schema.items {
                Some(items) => format!("Vec<{}>", self.of(items, &format!("{hint}Item"))),
                None => "Vec<serde_json::Value>".to_string(),
            },
            Some(Type::Object) => match &schema.additional_properties {
                Some(Additional::Checked(values)) => {
                    let values = self.of(values, &format!("{hint}Value"));
                    format!("std::collections::BTreeMap<String, {values}>")
                }
                _ => "serde_json::Map<String, serde_json::Value>".to_string(),
            },
            Some(Type::Null) | None => return "serde_json::Value".to_string(),
        };
        match schema.is(Type::Null) {
            true => format!("Option<{rust}>"),
            false => rust,
        }
    }

    /// The properties of an object, those of `allOf` included.
    fn fields(&mut self, name: &str, schema: &Schema) -> Vec<Field> {
        let schemas = self.schemas;
        let parts = schemas.parts(schema);
        let required = |key: &String| parts.iter().any(|part| part.required.contains(key));
        let properties = parts.iter().flat_map(|part| &part.properties);
        let field = |(key, property): (&String, &Schema)| Field {
            name: snake(key),
            key: key.clone(),
            rust: self.of(property, &format!("{name}{}", pascal(key))),
            required: required(key),
        };
        properties.map(field).collect()
    }
}

/// The values of an enumeration of strings that have distinct Rust names.
fn variants(schema: &Schema) -> Option<Vec<&str>> {
    let values: Vec<&str> = schema.r#enum.as_ref()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    let names: BTreeSet<String> = values.iter().map(|value| pascal(value)).collect();
    (names.len() == values.len()).then_some(values)
}
