//! YAML as a tree that remembers where each node stands, so that errors can name line and column.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::fmt;

const MAX_DEPTH: usize = 100;

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
    pub fn error<T>(self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error { at: self, message: message.into() })
    }

    fn of(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

#[derive(Debug, Clone)]
pub struct Node {
    pub at: Position,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        self.at.error(message)
    }

    /// The entries of a mapping, in document order; none for any other node.
    pub fn entries(&self) -> &[(String, Node)] {
        if let Kind::Map(entries) = &self.kind {
            entries
        } else {
            &[]
        }
    }

    pub fn items(&self) -> &[Node] {
        if let Kind::List(items) = &self.kind {
            items
        } else {
            &[]
        }
    }

    /// The entries of the mapping at `key`; none when it is missing.
    pub fn entries_of(&self, key: &str) -> &[(String, Node)] {
        self.get(key).map_or(&[], Node::entries)
    }

    pub fn items_of(&self, key: &str) -> &[Node] {
        self.get(key).map_or(&[], Node::items)
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.scalar()?.as_str()
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        self.get(key)?.scalar()?.as_bool()
    }

    pub fn scalar(&self) -> Option<&Value> {
        if let Kind::Scalar(value) = &self.kind {
            Some(value)
        } else {
            None
        }
    }

    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.clone(), node.to_json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// Follows a JSON pointer such as `/components/schemas/Pet` through mappings.
    pub fn pointer(&self, pointer: &str) -> Option<&Node> {
        let mut tokens = pointer.strip_prefix('/')?.split('/');
        tokens.try_fold(self, |node, token| node.get(&token.replace("~1", "/").replace("~0", "~")))
    }
}

/// Parses one document; an empty text is an error.
pub fn parse(text: &str) -> Result<Node, Error> {
    let mut loader = Loader { parser: Parser::new_from_str(text), anchors: HashMap::new() };
    let mut root = None;
    loop {
        match loader.next()? {
            (Event::StreamEnd, at) => return root.map_or_else(|| at.error("the document is empty"), Ok),
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (_, at) if root.is_some() => return at.error("there is more than one document"),
            (event, at) => root = Some(loader.node(event, at, 0)?),
        }
    }
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
}

impl<'a> Loader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Position), Error> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, Position::of(span.start))),
            Some(Err(error)) => Position::of(*error.marker()).error(error.info()),
            None => Ok((Event::StreamEnd, Position::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, at: Position, depth: usize) -> Result<Node, Error> {
        if depth > MAX_DEPTH {
            return at.error("the document is nested too deeply");
        }
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, _) => (anchor, Kind::Scalar(scalar(&text, style))),
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(anchor) if self.anchors.contains_key(&anchor) => {
                return Ok(self.anchors[&anchor].clone())
            }
            _ => return at.error("a value is expected here"),
        };
        let node = Node { at, kind };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Kind::Map(entries)),
                (Event::Scalar(key, ..), at) if entries.iter().any(|(name, _)| *name == key) => {
                    return at.error(format!("duplicate key `{key}`"))
                }
                (Event::Scalar(key, ..), at) => (key.into_owned(), at),
                (_, at) => return at.error("a key must be a scalar"),
            };
            let (event, at) = self.next()?;
            let mut node = self.node(event, at, depth + 1)?;
            if matches!(node.kind, Kind::Map(_)) {
                // A block mapping begins at its first key; its own key says better where it is.
                node.at = key.1;
            }
            entries.push((key.0, node));
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match text {
        _ if style != ScalarStyle::Plain => Value::from(text),
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::from(text), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    // f64 also reads words such as "inf" and "nan", which JSON cannot hold.
    let numeric = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    match text.parse::<i64>() {
        Ok(integer) => Some(integer.into()),
        Err(_) if text.chars().all(numeric) => text.parse().ok().and_then(Number::from_f64),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_scalars_and_aliases() {
        let node = parse("a: &x {n: 1, f: 1.5, s: '1', t: true, z: ~}\nb: *x\n").unwrap();
        let expected = serde_json::json!({"n": 1, "f": 1.5, "s": "1", "t": true, "z": null});
        assert_eq!(node.pointer("/b").unwrap().to_json(), expected);
    }

    #[test]
    fn errors_name_line_and_column() {
        let duplicate = parse("a: 1\nb:\n  c: 1\n  c: 2\n").unwrap_err();
        assert_eq!(duplicate.to_string(), "4:3: error: duplicate key `c`");
        assert_eq!(parse("a: [1, 2\nb: 3\n").unwrap_err().at.line, 2);
        assert!(["", "a: 1\n---\nb: 1\n", "a: &x [*x]"].iter().all(|text| parse(text).is_err()));
        assert!(parse(&"[".repeat(5000)).is_err());
    }
}
