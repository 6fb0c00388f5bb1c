//! Request bodies: JSON, forms and multipart as values that a schema can check.

use http_body_util::{BodyDataStream, Full};
use hyper::body::Bytes;
use openapi::document::Media;
use openapi::media::{FORM, MULTIPART};
use openapi::problem::Problem;
use openapi::schema::{Schema, Schemas};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;

/// A file of an upload or a download.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct File {
    pub name: String,
    pub media_type: String,
    #[serde(deserialize_with = "from_latin1")]
    pub data: Vec<u8>,
}

impl File {
    /// A file for a reply, whose media type is the documented one.
    pub fn download(name: &str, data: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_string(), media_type: String::new(), data: data.into() }
    }
}

/// In JSON the bytes of a file are a text with one character for each.
fn from_latin1<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    Ok(String::deserialize(deserializer)?.chars().map(|c| c as u8).collect())
}

/// The valid value of a body. A property that is binary becomes a [`File`].
pub async fn decode(
    schemas: &Schemas,
    media: &Media,
    content_type: &str,
    raw: Bytes,
) -> Result<Value, Problem> {
    let schema = schemas.resolve(&media.schema);
    let mut files = Map::new();
    let mut value = match media.media_type.as_str() {
        FORM => object(schemas, schema, form_urlencoded::parse(&raw).into_owned().collect()),
        MULTIPART => {
            let fields = multipart(schemas, schema, content_type, raw, &mut files).await;
            let wrong = |error| format!("the body is not multipart/form-data: {error}");
            object(schemas, schema, fields.map_err(|error| Problem::bad_request(wrong(error)))?)
        }
        _ => serde_json::from_slice(&raw)
            .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?,
    };
    let issues = schemas.validate(schema, &value);
    if !issues.is_empty() {
        return Err(Problem::bad_request("the body is not valid").with_issues(issues));
    }
    for (name, mut file) in files {
        file["data"] = value[&name].take();
        value[&name] = file;
    }
    Ok(value)
}

/// The fields of a form as text, and what else is known of those that are `files`.
async fn multipart(
    schemas: &Schemas,
    schema: &Schema,
    content_type: &str,
    raw: Bytes,
    files: &mut Map<String, Value>,
) -> multer::Result<Vec<(String, String)>> {
    let boundary = multer::parse_boundary(content_type)?;
    let mut form = multer::Multipart::new(BodyDataStream::new(Full::new(raw)), boundary);
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await? {
        let name = field.name().unwrap_or_default().to_string();
        let property = schema.properties.get(&name).map(|property| schemas.resolve(property));
        if property.is_some_and(Schema::is_binary) {
            let media_type = field.content_type().map_or("text/plain", |kind| kind.as_ref());
            let file = json!({"name": field.file_name().unwrap_or_default(), "media_type": media_type});
            files.insert(name.clone(), file);
            fields.push((name, field.bytes().await?.iter().copied().map(char::from).collect()));
        } else {
            fields.push((name, field.text().await?));
        }
    }
    Ok(fields)
}

/// The fields of a form as typed properties.
fn object(schemas: &Schemas, schema: &Schema, pairs: Vec<(String, String)>) -> Value {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in pairs {
        fields.entry(name).or_default().push(text);
    }
    let any = Schema::default();
    let typed = |(name, texts): (String, Vec<String>)| {
        let property = schema.properties.get(&name).unwrap_or(&any);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        (name, schemas.coerce(property, &texts))
    };
    Value::Object(fields.into_iter().map(typed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(media_type: &str, schema: Value) -> Media {
        let schema = serde_json::from_value(schema).unwrap();
        Media { media_type: media_type.to_string(), schema, example: None }
    }

    fn decode_now(media: &Media, content_type: &str, body: &'static [u8]) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let schemas = Schemas::default();
        runtime.block_on(decode(&schemas, media, content_type, Bytes::from_static(body))).unwrap()
    }

    #[test]
    fn a_form_becomes_typed_values() {
        let schema =
            json!({"type": "object", "properties": {"age": {"type": "integer"}, "tag": {"type": "array"}}});
        let body = b"name=Ann+Lee&age=7&tag=a&tag=b%26c";
        let value = decode_now(&media(FORM, schema), FORM, body);
        assert_eq!(value, json!({"name": "Ann Lee", "age": 7, "tag": ["a", "b&c"]}));
    }

    #[test]
    fn multipart_keeps_files_as_bytes() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
            Content-Type: image/png\r\n\r\n\xff\r\n\0\r\n--X\r\ncontent-disposition: form-data; name=note\r\n\r\nhi\r\n--X--\r\n";
        let schema =
            json!({"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}});
        let kind = "multipart/form-data; boundary=X";
        let mut value = decode_now(&media(MULTIPART, schema), kind, body);
        let file =
            File { name: "a.bin".into(), media_type: "image/png".into(), data: b"\xff\r\n\0".to_vec() };
        assert_eq!(serde_json::from_value::<File>(value["file"].take()).unwrap(), file);
        assert_eq!(value["note"], "hi");
    }
}
