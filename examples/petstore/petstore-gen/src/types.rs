//! Rust types for schemas.

use crate::names::{field, pascal, snake};
use router::body::is_binary;
use router::schema::{list, properties, ref_name, types, Schemas};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Collects the definitions that the types of one module need.
pub struct Types<'a> {
    schemas: &'a Schemas,
    /// What stands before the name of a component: nothing in the components' own module.
    prefix: &'static str,
    taken: Vec<String>,
    pub definitions: String,
}

impl<'a> Types<'a> {
    pub fn new(schemas: &'a Schemas, prefix: &'static str, taken: &[&str]) -> Self {
        let taken = taken.iter().map(|name| name.to_string()).collect();
        Self { schemas, prefix, taken, definitions: String::new() }
    }

    /// Defines the type `name` for `schema`.
    pub fn define(&mut self, name: &str, schema: &Value) {
        match (variants(schema), self.properties(schema)) {
            (Some(values), _) => self.define_enum(name, &values),
            (_, Some((properties, required))) => self.define_struct(name, &properties, &required),
            _ => {
                let alias = self.of(schema, &format!("{name}Value"));
                self.write(&format!("pub type {name} = {alias};\n"));
            }
        }
    }

    /// The type of `schema`; `hint` names it when it needs a definition.
    pub fn of(&mut self, schema: &Value, hint: &str) -> String {
        if let Some(name) = ref_name(schema) {
            return format!("{}{}", self.prefix, pascal(name));
        }
        let names = types(schema);
        let nullable = names.contains(&"null");
        let name = names.iter().find(|name| **name != "null").copied().unwrap_or_default();
        let inner = match name {
            _ if variants(schema).is_some() || self.properties(schema).is_some() => self.named(schema, hint),
            "integer" if schema.get("format").is_some_and(|format| format == "int32") => "i32".to_string(),
            "integer" => "i64".to_string(),
            "number" => "f64".to_string(),
            "boolean" => "bool".to_string(),
            "string" => "String".to_string(),
            "array" => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                format!("Vec<{}>", self.of(items, &format!("{hint}Item")))
            }
            "object" => match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => {
                    let values = self.of(values, &format!("{hint}Value"));
                    format!("std::collections::BTreeMap<String, {values}>")
                }
                _ => "serde_json::Map<String, serde_json::Value>".to_string(),
            },
            _ => return "serde_json::Value".to_string(),
        };
        match nullable {
            true => format!("Option<{inner}>"),
            false => inner,
        }
    }

    fn named(&mut self, schema: &Value, hint: &str) -> String {
        let mut name = pascal(hint);
        while self.taken.contains(&name) {
            name.push_str("Value");
        }
        self.taken.push(name.clone());
        self.define(&name, schema);
        name
    }

    /// The properties of an object and which are required, those of `allOf` included.
    fn properties(&self, schema: &Value) -> Option<(Map<String, Value>, Vec<Value>)> {
        let own = properties(schema).map(|(name, property)| (name.clone(), property.clone()));
        let mut properties: Map<String, Value> = own.collect();
        let mut required: Vec<Value> = list(schema, "required").cloned().collect();
        for part in list(schema, "allOf") {
            let (more, names) = self.properties(self.schemas.resolve(part))?;
            properties.extend(more);
            required.extend(names);
        }
        (!properties.is_empty()).then_some((properties, required))
    }

    fn define_struct(&mut self, name: &str, properties: &Map<String, Value>, required: &[Value]) {
        let mut text = format!("{DERIVE}\npub struct {name} {{\n");
        for (key, schema) in properties {
            let binary = is_binary(self.schemas.resolve(schema));
            let rust = match binary {
                true => "router::File".to_string(),
                false => self.of(schema, &format!("{name}{}", pascal(key))),
            };
            let required = required.iter().any(|name| name == key);
            if snake(key) != *key {
                let _ = writeln!(text, "    #[serde(rename = {key:?})]");
            }
            match (binary, required) {
                (true, _) => text.push_str("    #[serde(skip)]\n"),
                (_, false) => text.push_str("    #[serde(skip_serializing_if = \"Option::is_none\")]\n"),
                _ => {}
            }
            let rust = if required || binary || rust.starts_with("Option<") {
                rust
            } else {
                format!("Option<{rust}>")
            };
            let _ = writeln!(text, "    pub {}: {rust},", field(key));
        }
        self.write(&format!("{text}}}\n"));
    }

    fn define_enum(&mut self, name: &str, values: &[&str]) {
        let derive = DERIVE.replace("Clone,", "Clone, Copy, PartialEq, Eq,");
        let mut text = format!("{derive}\npub enum {name} {{\n");
        for value in values {
            let variant = pascal(value);
            if variant != **value {
                let _ = writeln!(text, "    #[serde(rename = {value:?})]");
            }
            let _ = writeln!(text, "    {variant},");
        }
        self.write(&format!("{text}}}\n"));
    }

    fn write(&mut self, definition: &str) {
        self.definitions.push('\n');
        self.definitions.push_str(definition);
    }
}

const DERIVE: &str = "#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]";

/// The values of an enumeration of strings that have distinct Rust names.
fn variants(schema: &Value) -> Option<Vec<&str>> {
    let values: Vec<&str> =
        schema.get("enum")?.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    let mut names: Vec<String> = values.iter().map(|value| pascal(value)).collect();
    names.sort();
    names.dedup();
    (names.len() == values.len()).then_some(values)
}
