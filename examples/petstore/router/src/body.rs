//! Request bodies: JSON, forms, multipart and raw bytes as values that a schema can check.

use crate::document::Media;
use crate::parameter::{coerce, coerce_items};
use crate::problem::Problem;
use crate::schema::{types, Schemas};
use crate::url;
use hyper::body::Bytes;
use serde_json::{Map, Value};

/// A file of an upload or a download.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub media_type: String,
    pub data: Vec<u8>,
}

impl File {
    /// A file for a reply, whose media type is the documented one.
    pub fn download(name: &str, data: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_string(), media_type: String::new(), data: data.into() }
    }
}

#[derive(Debug, Default)]
pub struct Decoded {
    pub value: Value,
    pub files: Vec<(String, File)>,
    pub raw: Bytes,
}

/// The media type without its parameters, in lower case.
pub fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub fn decode(schemas: &Schemas, media: &Media, content_type: &str, raw: Bytes) -> Result<Decoded, Problem> {
    let mut files = Vec::new();
    let kind = essence(content_type);
    let value = match kind.as_str() {
        "application/x-www-form-urlencoded" => form(schemas, &media.schema, &raw)?,
        "multipart/form-data" => multipart(schemas, &media.schema, content_type, &raw, &mut files)?,
        kind if kind == "application/json" || kind.ends_with("+json") => serde_json::from_slice(&raw)
            .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?,
        kind if kind.starts_with("text/") => Value::String(String::from_utf8_lossy(&raw).into_owned()),
        // Bytes have no structure that a schema could describe.
        _ => return Ok(Decoded { raw, ..Decoded::default() }),
    };
    let issues = schemas.validate(&media.schema, &value);
    match issues.is_empty() {
        true => Ok(Decoded { value, files, raw }),
        false => Err(Problem::bad_request("the body is not valid").with_issues(issues)),
    }
}

fn form(schemas: &Schemas, schema: &Value, raw: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(raw).ok();
    let pairs = text.and_then(url::pairs);
    match pairs {
        Some(pairs) => Ok(object(schemas, schema, pairs)),
        None => Err(Problem::bad_request("the body is not a URL-encoded form")),
    }
}

fn object(schemas: &Schemas, schema: &Value, pairs: Vec<(String, String)>) -> Value {
    let schema = schemas.resolve(schema);
    let mut object = Map::new();
    for (name, text) in &pairs {
        let property = schema.pointer("/properties").and_then(|p| p.get(name)).unwrap_or(&Value::Bool(true));
        let value = match types(schemas.resolve(property)).contains(&"array") {
            true => {
                let texts = pairs.iter().filter(|(other, _)| other == name);
                coerce_items(schemas, property, texts.map(|(_, text)| text.clone()).collect())
            }
            false => coerce(schemas, property, text),
        };
        object.insert(name.clone(), value);
    }
    Value::Object(object)
}

fn multipart(
    schemas: &Schemas,
    schema: &Value,
    content_type: &str,
    raw: &[u8],
    files: &mut Vec<(String, File)>,
) -> Result<Value, Problem> {
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    let parts = boundary.and_then(|boundary| split_parts(raw, &boundary));
    let Some(parts) = parts else {
        return Err(Problem::bad_request("the body is not multipart/form-data"));
    };
    let mut pairs = Vec::new();
    for (name, is_file, file) in parts {
        pairs.push((name.clone(), String::from_utf8_lossy(&file.data).into_owned()));
        let property = schemas.resolve(schema).pointer("/properties").and_then(|p| p.get(&name));
        if is_file || property.is_some_and(|property| is_binary(schemas.resolve(property))) {
            files.push((name, file));
        }
    }
    Ok(object(schemas, schema, pairs))
}

/// Whether a property holds bytes: `format: binary`, or since 3.1 a content media type.
pub fn is_binary(schema: &Value) -> bool {
    schema.get("format").is_some_and(|format| format == "binary") || schema.get("contentMediaType").is_some()
}

fn split_parts(raw: &[u8], boundary: &str) -> Option<Vec<(String, bool, File)>> {
    // With a line break in front, the first delimiter looks like all the others.
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let raw = [b"\r\n", raw].concat();
    let mut parts = Vec::new();
    let mut rest = &raw[find(&raw, &delimiter)? + delimiter.len()..];
    while !rest.starts_with(b"--") {
        let end = find(rest, &delimiter)?;
        parts.push(part(rest[..end].strip_prefix(b"\r\n")?)?);
        rest = &rest[end + delimiter.len()..];
    }
    Some(parts)
}

fn part(text: &[u8]) -> Option<(String, bool, File)> {
    let split = find(text, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..split]).ok()?;
    let header = |name: &str| {
        let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let disposition = header("content-disposition")?;
    let file_name = parameter(disposition, "filename");
    let is_file = file_name.is_some();
    let file = File {
        name: file_name.unwrap_or_default(),
        media_type: header("content-type").unwrap_or("text/plain").to_string(),
        data: text[split + 4..].to_vec(),
    };
    Some((parameter(disposition, "name")?, is_file, file))
}

/// A parameter of a header's value, such as `boundary` or `filename`.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut pairs = value.split(';').skip(1).filter_map(|pair| pair.split_once('='));
    let (_, text) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    Some(text.trim().trim_matches('"').to_string())
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn media(schema: Value) -> Media {
        Media { media_type: String::new(), schema, example: None }
    }

    #[test]
    fn a_form_becomes_typed_values() {
        let schema =
            json!({"type": "object", "properties": {"age": {"type": "integer"}, "tag": {"type": "array"}}});
        let body = Bytes::from_static(b"name=Ann+Lee&age=7&tag=a&tag=b%26c");
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let decoded = decode(&Schemas::default(), &media(schema), kind, body).unwrap();
        assert_eq!(decoded.value, json!({"name": "Ann Lee", "age": 7, "tag": ["a", "b&c"]}));
    }

    #[test]
    fn multipart_keeps_files_as_bytes() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
            Content-Type: image/png\r\n\r\n\xff\r\n\0\r\n--X\r\ncontent-disposition: form-data; name=note\r\n\r\nhi\r\n--X--\r\n";
        let schema = json!({"type": "object", "required": ["file"]});
        let kind = "multipart/form-data; boundary=X";
        let decoded = decode(&Schemas::default(), &media(schema), kind, Bytes::from_static(body)).unwrap();
        let file =
            File { name: "a.bin".into(), media_type: "image/png".into(), data: b"\xff\r\n\0".to_vec() };
        assert_eq!(decoded.files, [("file".to_string(), file)]);
        assert_eq!(decoded.value["note"], "hi");
    }
}
