//! Examples for schemas that have none of their own.

use openapi::schema::{Format, Schema, Schemas, Type};
use serde_json::{json, Value};

/// Where a schema that requires itself is cut off: no example can be valid for it.
const MAX_DEPTH: usize = 32;

/// An example with no more than what is required.
pub fn of(schemas: &Schemas, schema: &Schema, depth: usize) -> Value {
    let schema = schemas.resolve(schema);
    let choice = schema.r#enum.as_ref().and_then(|values| values.first());
    if let Some(given) = schema.example.as_ref().or(schema.default.as_ref()).or(choice) {
        return given.clone();
    }
    match schema.types().first() {
        _ if depth > MAX_DEPTH => Value::Null,
        Some(Type::String) => {
            let text = schema.format.map_or("text", Format::example);
            let least = schema.min_length.unwrap_or(0);
            json!(format!("{text:x<least$}"))
        }
        Some(Type::Integer | Type::Number) => json!(schema.minimum.unwrap_or(1.0) as i64),
        Some(Type::Boolean) => json!(true),
        Some(Type::Null) => Value::Null,
        Some(Type::Array) => {
            let item = |_| of(schemas, schema.items.as_deref().unwrap_or(&Schema::default()), depth + 1);
            (0..schema.min_items.unwrap_or(0)).map(item).collect()
        }
        Some(Type::Object) | None => {
            let parts = schemas.parts(schema);
            let required = |name: &&String| parts.iter().any(|part| part.required.contains(name));
            let properties = parts.iter().flat_map(|part| &part.properties);
            let properties = properties.filter(|(name, _)| required(name));
            properties.map(|(name, property)| (name.clone(), of(schemas, property, depth + 1))).collect()
        }
    }
}
