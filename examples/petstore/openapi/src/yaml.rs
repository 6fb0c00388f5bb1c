//! YAML as JSON that remembers where each value stands, so that errors can name line and column.

use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// An error at a place of a YAML document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub at: Position,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: error: {}", self.at.line, self.at.column, self.message)
    }
}

impl Position {
    fn of(marker: &Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }

    pub fn error(self, message: impl Into<String>) -> Error {
        Error { at: self, message: message.into() }
    }
}

/// A document. Its parts are named by JSON pointers, such as `/paths/~1pets/get`.
pub struct Yaml {
    root: Value,
    /// Where each part begins; what has a key begins at its key.
    places: BTreeMap<String, Position>,
}

impl Yaml {
    /// Parses one document; an empty text is an error.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let documents = MarkedYaml::load_from_str(text)
            .map_err(|error| Position::of(error.marker()).error(error.info()))?;
        let mut yaml = Self { root: Value::Null, places: BTreeMap::new() };
        match documents.as_slice() {
            [document] => yaml.root = yaml.value(document, "")?,
            _ => return Err(Position { line: 1, column: 1 }.error("one document is expected")),
        }
        Ok(yaml)
    }

    fn value(&mut self, node: &MarkedYaml, pointer: &str) -> Result<Value, Error> {
        let at = Position::of(&node.span.start);
        self.places.entry(pointer.to_string()).or_insert(at);
        match &node.data {
            YamlData::Value(Scalar::Null) => Ok(Value::Null),
            YamlData::Value(Scalar::Boolean(flag)) => Ok(Value::from(*flag)),
            YamlData::Value(Scalar::Integer(number)) => Ok(Value::from(*number)),
            YamlData::Value(Scalar::FloatingPoint(number)) => Ok(Value::from(number.into_inner())),
            YamlData::Value(Scalar::String(text)) => Ok(Value::from(text.as_ref())),
            YamlData::Sequence(items) => {
                let items = items.iter().enumerate();
                items.map(|(index, item)| self.value(item, &format!("{pointer}/{index}"))).collect()
            }
            YamlData::Mapping(entries) => {
                let mut map = Map::new();
                for (key, node) in entries {
                    let at = Position::of(&key.span.start);
                    let name = match &key.data {
                        YamlData::Value(Scalar::String(name)) => name.to_string(),
                        YamlData::Value(Scalar::Integer(number)) => number.to_string(),
                        _ => return Err(at.error("a key must be a text or a number")),
                    };
                    let pointer = join(pointer, &name);
                    self.places.insert(pointer.clone(), at);
                    map.insert(name, self.value(node, &pointer)?);
                }
                Ok(Value::Object(map))
            }
            _ => Err(at.error("a value is expected here")),
        }
    }

    /// Puts what it leads to in the place of each `$ref`; those that lead directly below `kept` stay.
    pub fn resolve_references(&mut self, kept: &str) -> Result<(), Error> {
        let places = self.places.clone();
        for (pointer, at) in &places {
            let Some(owner) = pointer.strip_suffix("/$ref") else { continue };
            let reference = self.root.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let target = reference.trim_start_matches('#').to_string();
            let nested = target.strip_prefix(kept).is_some_and(|name| name.contains('/'));
            let Some(found) = self.root.pointer(&target).filter(|_| !nested).cloned() else {
                return Err(at.error(format!("`{reference}` leads nowhere in this document")));
            };
            if let Some(value) = self.root.pointer_mut(owner).filter(|_| !target.starts_with(kept)) {
                *value = found;
                let copy = |(pointer, at): (&String, &Position)| {
                    Some((format!("{owner}{}", pointer.strip_prefix(&target)?), *at))
                };
                self.places.extend(places.iter().filter_map(copy));
            }
        }
        Ok(())
    }

    /// The typed value at `pointer`; null when there is nothing.
    pub fn read<'a, T: Deserialize<'a>>(&'a self, pointer: &str) -> Result<T, Error> {
        let value = self.root.pointer(pointer).unwrap_or(&Value::Null);
        serde_path_to_error::deserialize(value).map_err(|error| {
            let mut pointer = pointer.to_string();
            for segment in error.path() {
                match segment {
                    Segment::Map { key } => pointer = join(&pointer, key),
                    Segment::Seq { index } => pointer = format!("{pointer}/{index}"),
                    _ => {}
                }
            }
            self.place(&pointer).error(error.inner().to_string())
        })
    }

    pub fn place(&self, pointer: &str) -> Position {
        self.places.get(pointer).copied().unwrap_or_default()
    }
}

/// The pointer to what `key` names in the object at `pointer`.
pub fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        Yaml::parse(text).err().expect("an error")
    }

    #[test]
    fn resolves_scalars_and_references() {
        let mut yaml = Yaml::parse("a: {n: 1, f: 1.5, s: '1', t: true, z: ~}\nb: {$ref: '#/a'}\n").unwrap();
        yaml.resolve_references("/c").unwrap();
        let expected = serde_json::json!({"n": 1, "f": 1.5, "s": "1", "t": true, "z": null});
        assert_eq!(yaml.read::<Value>("/b"), Ok(expected));
        assert_eq!(yaml.place("/b/f"), Position { line: 1, column: 11 });
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(error("a: 1\nb:\n  c: 1\n  c: 2\n").to_string(), "4:3: error: duplicated key in mapping");
        assert_eq!(error("a: [1, 2\nb: 3\n").at.line, 2);
        for text in ["", "a: 1\n---\nb: 1\n", "a: &x [*x]", "[1]: 2"] {
            error(text);
        }
        let yaml = Yaml::parse("list:\n  - a/b: [1, x]\n").unwrap();
        let error = yaml.read::<BTreeMap<String, Vec<BTreeMap<String, Vec<i64>>>>>("").unwrap_err();
        assert_eq!(error.at, Position { line: 2, column: 14 });
    }
}
