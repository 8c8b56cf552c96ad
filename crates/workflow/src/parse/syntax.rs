//! YAML and JSON text to a tree in which every key and value knows its place.
//!
//! JSON is read as the YAML that it is. The tree is bounded in size and depth, aliases are copied within that bound,
//! and a key may not come twice.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

use crate::diagnostic::{Diagnostic, Severity};

/// Bytes of a document's text.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Values in a document, copies by alias included.
pub(crate) const MAX_NODES: usize = 100_000;
/// Bytes of all texts in a document, copies by alias included.
pub(crate) const MAX_TEXT_BYTES: usize = 4 << 20;
/// Levels of lists and mappings inside each other. Below serde_json's 128, so that what is stored can be read back.
pub(crate) const MAX_DEPTH: usize = 100;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number above those of `Int`.
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// What a message calls it, article included.
    pub(crate) fn describe(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "a boolean",
            Content::Int(_) | Content::Unsigned(_) | Content::Float(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Int(value) => Value::Number((*value).into()),
            Content::Unsigned(value) => Value::Number((*value).into()),
            Content::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Content::Map(entries) => Value::Object(map_to_json(entries)),
        }
    }
}

pub(crate) fn map_to_json(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
}

/// Reads one document.
pub(crate) fn read(text: &str) -> Result<Node, Diagnostic> {
    if text.len() > MAX_DOCUMENT_BYTES {
        let message = format!("the document has {} bytes; at most {MAX_DOCUMENT_BYTES} are read", text.len());
        return Err(refuse("too-large", Place { line: 1, column: 1 }, message));
    }
    let text = if text.trim_start().starts_with('{') { join_surrogates(text) } else { Cow::Borrowed(text) };
    Builder::default().build(&mut Parser::new_from_str(&text))
}

/// JSON writes characters beyond U+FFFF as two `\u` escapes, which YAML does not join.
fn join_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let unit = |at: usize| -> Option<u32> {
        let hex = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(hex, 16).ok()
    };
    let mut joined = String::with_capacity(text.len());
    let mut rest = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        let start = at + found;
        let pair = unit(start).zip(unit(start + 6)).and_then(|(high, low)| {
            let valid = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
            valid.then(|| char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))).flatten()
        });
        match pair {
            Some(character) => {
                joined.push_str(&text[rest..start]);
                joined.push(character);
                at = start + 12;
                rest = at;
            }
            // An escape is two characters at least; the second may be a backslash itself.
            None => at = start + 1 + text[start + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    joined.push_str(&text[rest..]);
    Cow::Owned(joined)
}

fn refuse(code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code,
        message: message.into(),
        pointer: String::new(),
        line: place.line,
        column: place.column,
        help: None,
    }
}

fn place(span: &Span) -> Place {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: count(span.start.line()), column: count(span.start.col()).saturating_add(1) }
}

/// A list or mapping that is not closed yet.
struct Open {
    place: Place,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashSet<String>, pending: Option<(String, Place)> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    text_bytes: usize,
    documents: usize,
}

impl Builder {
    fn build<'i, T: saphyr_parser::Input>(mut self, parser: &mut Parser<'i, T>) -> Result<Node, Diagnostic> {
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let marker = error.marker();
                let place = place(&Span::empty(*marker));
                refuse("syntax", place, format!("this is not valid YAML or JSON: {}", error.info()))
            })?;
            let place = place(&span);
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) => {
                    self.documents += 1;
                    if self.documents > 1 {
                        return Err(refuse(
                            "syntax",
                            place,
                            "a file holds one document; here a second one starts",
                        ));
                    }
                }
                Event::Alias(anchor) => {
                    let mut node = match self.anchors.get(&anchor) {
                        Some(node) => node.clone(),
                        None => {
                            return Err(refuse(
                                "syntax",
                                place,
                                "an alias may not stand inside what it names",
                            ));
                        }
                    };
                    self.count_copy(&node, place)?;
                    node.place = place;
                    self.add(node, 0)?;
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let content =
                        scalar(&text, style, tag.as_deref()).map_err(|m| refuse("syntax", place, m))?;
                    self.count(1, text.len(), place)?;
                    if text == "<<" && style == ScalarStyle::Plain && self.waits_for_key() {
                        let message = "YAML 1.2 has no merge keys (`<<`); write the keys out".to_owned();
                        return Err(refuse("merge-key", place, message));
                    }
                    self.scalar(text, Node { place, content }, anchor)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.open(place, anchor, tag.as_deref(), OpenKind::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    let kind = OpenKind::Map { entries: Vec::new(), keys: HashSet::new(), pending: None };
                    self.open(place, anchor, tag.as_deref(), kind)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
            }
        }
        self.root.ok_or_else(|| refuse("syntax", Place { line: 1, column: 1 }, "the document is empty"))
    }

    fn count(&mut self, nodes: usize, text_bytes: usize, place: Place) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        self.text_bytes += text_bytes;
        if self.nodes > MAX_NODES || self.text_bytes > MAX_TEXT_BYTES {
            let message = format!(
                "the document has more than {MAX_NODES} values or {MAX_TEXT_BYTES} bytes of text once its aliases are copied"
            );
            return Err(refuse("too-large", place, message));
        }
        Ok(())
    }

    fn count_copy(&mut self, node: &Node, at: Place) -> Result<(), Diagnostic> {
        let mut pending = vec![(node, self.open.len())];
        while let Some((node, depth)) = pending.pop() {
            if depth > MAX_DEPTH {
                return Err(too_deep(at));
            }
            match &node.content {
                Content::Text(text) => self.count(1, text.len(), at)?,
                Content::List(items) => {
                    self.count(1, 0, at)?;
                    pending.extend(items.iter().map(|item| (item, depth + 1)));
                }
                Content::Map(entries) => {
                    self.count(1, entries.iter().map(|entry| entry.key.len()).sum(), at)?;
                    pending.extend(entries.iter().map(|entry| (&entry.value, depth + 1)));
                }
                _ => self.count(1, 0, at)?,
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        place: Place,
        anchor: usize,
        tag: Option<&Tag>,
        kind: OpenKind,
    ) -> Result<(), Diagnostic> {
        if let Some(Open { kind: OpenKind::Map { pending: None, .. }, .. }) = self.open.last() {
            return Err(refuse("syntax", place, "a key is a text, not a list or mapping"));
        }
        if let Some(tag) = tag {
            let known = tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "seq" | "map");
            if !known {
                return Err(refuse("syntax", place, format!("the tag {tag} has no meaning here")));
            }
        }
        self.count(1, 0, place)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(place));
        }
        self.open.push(Open { place, anchor, kind });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let open = self.open.pop().expect("the parser closes what it opened");
        let content = match open.kind {
            OpenKind::List(items) => Content::List(items),
            OpenKind::Map { entries, .. } => Content::Map(entries),
        };
        self.add(Node { place: open.place, content }, open.anchor)
    }

    fn waits_for_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { kind: OpenKind::Map { pending: None, .. }, .. }))
    }

    /// A scalar is a key where a mapping waits for one, whatever its type: keys are texts.
    fn scalar(&mut self, text: Cow<'_, str>, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        if let Some(Open { kind: OpenKind::Map { keys, pending: pending @ None, .. }, .. }) =
            self.open.last_mut()
        {
            let key = text.into_owned();
            if !keys.insert(key.clone()) {
                return Err(refuse(
                    "duplicate-key",
                    node.place,
                    format!("the key `{key}` stands twice in this mapping"),
                ));
            }
            *pending = Some((key, node.place));
            return Ok(());
        }
        self.add(node, anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
            self.count_copy(&node, node.place)?;
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, pending, .. }) => match pending.take() {
                Some((key, place)) => entries.push(Entry { key, place, value: node }),
                None => return Err(refuse("syntax", node.place, "a key is a text, not an alias")),
            },
        }
        Ok(())
    }
}

fn too_deep(place: Place) -> Diagnostic {
    refuse(
        "too-deep",
        place,
        format!("lists and mappings may stand inside each other {MAX_DEPTH} levels deep"),
    )
}

/// The value of a scalar by the core schema of YAML 1.2.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Content, String> {
    if let Some(tag) = tag {
        let text_tag = (tag.is_yaml_core_schema() && tag.suffix == "str")
            || (tag.handle.is_empty() && tag.suffix == "!");
        return match text_tag {
            true => Ok(Content::Text(text.to_owned())),
            false => Err(format!("the tag {tag} has no meaning here")),
        };
    }
    if style != ScalarStyle::Plain {
        return Ok(Content::Text(text.to_owned()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" => Content::Bool(true),
        "false" | "False" | "FALSE" => Content::Bool(false),
        _ => number(text)?.unwrap_or_else(|| Content::Text(text.to_owned())),
    })
}

fn number(text: &str) -> Result<Option<Content>, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!("{text} is no number that JSON knows"));
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            let value =
                u64::from_str_radix(digits, radix).map_err(|_| format!("{text} is too large a number"))?;
            return Ok(Some(i64::try_from(value).map_or(Content::Unsigned(value), Content::Int)));
        }
    }
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if !numeric {
        return Ok(None);
    }
    if let Ok(value) = text.parse::<i64>() {
        return Ok(Some(Content::Int(value)));
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let value = text.strip_prefix('+').unwrap_or(text).parse::<u64>();
        // As a double it would silently become another number.
        return value.map(|value| Some(Content::Unsigned(value))).map_err(|_| {
            format!("{text} is a whole number of more than 64 bits; put it in quotes to keep all its digits")
        });
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(Content::Float(value))),
        Ok(_) => Err(format!("{text} is too large a number")),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expect: Value) {
        match read(text) {
            Ok(node) => assert_eq!(node.to_json(), expect, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn refused(text: &str, code: &str) -> Diagnostic {
        let error = read(text).map(|node| node.to_json()).expect_err(text);
        assert_eq!(error.code, code, "{error}");
        error
    }

    #[test]
    fn scalars_follow_yaml_1_2() {
        check(
            "[yes, no, on, true, ~, 1, 0x10, 0o10, 1.5, 1e3, '1', 1.0.0, -3, 12:30, '']",
            json!(["yes", "no", "on", true, null, 1, 16, 8, 1.5, 1000.0, "1", "1.0.0", -3, "12:30", ""]),
        );
        check(
            "[9223372036854775807, 9223372036854775808, 18446744073709551615, -9223372036854775808]",
            json!([i64::MAX, 9_223_372_036_854_775_808_u64, u64::MAX, i64::MIN]),
        );
        let error = refused("a: 18446744073709551616", "syntax");
        assert!(error.message.contains("in quotes"), "{error}");
        refused("a: -9223372036854775809", "syntax");
        check("{200: a, true: b}", json!({"200": "a", "true": "b"}));
        check("a: !!str 1", json!({"a": "1"}));
    }

    #[test]
    fn json_is_read_as_it_is() {
        check(
            "{\n\t\"a\": [1, 2.5, \"\\u00e9\\/\\ud83d\\ude00\", {\"b\": null}],\n\t\"c\":\"x\\\\ud83d\"}",
            json!({
                "a": [1, 2.5, "é/😀", {"b": null}], "c": "x\\ud83d"
            }),
        );
    }

    #[test]
    fn places_count_from_one() {
        let node = read("a:\n  b: 1\n").expect("valid");
        let Content::Map(entries) = node.content else { panic!("a mapping") };
        assert_eq!((entries[0].place.line, entries[0].place.column), (1, 1));
        let Content::Map(entries) = &entries[0].value.content else { panic!("a mapping") };
        assert_eq!((entries[0].place.line, entries[0].place.column), (2, 3));
        assert_eq!((entries[0].value.place.line, entries[0].value.place.column), (2, 6));
    }

    #[test]
    fn what_would_mislead_is_refused() {
        let error = refused("a: 1\nb: 2\na: 3", "duplicate-key");
        assert_eq!((error.line, error.column), (3, 1));
        refused("a: &x {b: 1}\nc: {<<: *x}", "merge-key");
        check("'<<': <<", json!({"<<": "<<"}));
        refused("a: 1\n---\nb: 2", "syntax");
        refused("? [a]\n: 1", "syntax");
        refused("a: !ruby/object x", "syntax");
        refused("a: .nan", "syntax");
        refused("a: [1", "syntax");
        refused("", "syntax");
        refused("&a [*a]", "syntax");
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let copies = vec![format!("*a{}", level - 1); 9].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{copies}]\n"));
        }
        refused(&bomb, "too-large");
        refused(&format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1)), "too-deep");
        refused(&"x".repeat(MAX_DOCUMENT_BYTES + 1), "too-large");
        let mut deep = String::from("a0: &a0 [x]\n");
        for level in 1..MAX_DEPTH {
            deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        refused(&deep, "too-deep");
        check("a: &x {b: 1}\nc: *x", json!({"a": {"b": 1}, "c": {"b": 1}}));
    }
}
