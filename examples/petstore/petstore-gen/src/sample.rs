//! Examples for schemas that have none of their own.

use router::document::Media;
use router::schema::{list, properties, types, Schemas};
use serde_json::{json, Map, Value};

/// Where a schema that requires itself is cut off: no example can be valid for it.
const MAX_DEPTH: usize = 32;

/// The example of a media type, else one made from its schema.
pub fn of_media(schemas: &Schemas, media: &Media) -> Value {
    media.example.clone().unwrap_or_else(|| of(schemas, &media.schema, 0))
}

fn of(schemas: &Schemas, schema: &Value, depth: usize) -> Value {
    let schema = schemas.resolve(schema);
    let first = |key: &str| schema.get(key).and_then(|list| list.get(0));
    let given = schema.get("example").or(schema.get("const")).or(schema.get("default"));
    if let Some(value) = given.or(first("examples")).or(first("enum")) {
        return value.clone();
    }
    if let Some(choice) = first("oneOf").or(first("anyOf")) {
        return of(schemas, choice, depth);
    }
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    match types(schema).first().copied().unwrap_or("object") {
        "string" => of_string(text("format").unwrap_or_default(), schema),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        "null" => Value::Null,
        // An array may be empty, so this is where a recursive schema ends.
        "array" if depth > 8 => json!([]),
        "array" => {
            let length = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
            let item = of(schemas, schema.get("items").unwrap_or(&Value::Null), depth + 1);
            Value::Array(vec![item; length as usize])
        }
        _ => Value::Object(of_object(schemas, schema, depth)),
    }
}

fn of_object(schemas: &Schemas, schema: &Value, depth: usize) -> Map<String, Value> {
    let mut object = Map::new();
    for part in list(schema, "allOf") {
        object.extend(of_object(schemas, schemas.resolve(part), depth));
    }
    let is_required = |name: &str| list(schema, "required").any(|required| required == name);
    for (name, property) in properties(schema) {
        if depth < 8 || (is_required(name) && depth < MAX_DEPTH) {
            object.insert(name.clone(), of(schemas, property, depth + 1));
        }
    }
    object
}

fn of_string(format: &str, schema: &Value) -> Value {
    let text = match format {
        "uuid" => "00000000-0000-4000-8000-000000000000",
        "date" => "2025-01-31",
        "date-time" => "2025-01-31T12:00:00Z",
        "email" => "ann@example.com",
        "uri" => "https://example.com/",
        _ => "text",
    };
    let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0) as usize;
    json!(format!("{text:x<least$}"))
}
