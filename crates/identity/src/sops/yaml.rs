//! YAML and JSON as SOPS writes them: no anchors, no tags, one document.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::decrypt::SopsError;
use super::document::{MAX_DEPTH, MAX_NODES, Node};

enum Open {
    List(Vec<Node>),
    Map { members: Vec<(String, Node)>, names: HashSet<String>, key: Option<String> },
}

/// Parses a mapping.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Node)>, SopsError> {
    let mut open: Vec<Open> = Vec::new();
    let (mut root, mut nodes, mut documents) = (None, 0, 0);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            SopsError::Malformed(format!("line {}: it is no YAML or JSON", at.line()))
        })?;
        let refuse = |why: &str| SopsError::Malformed(format!("line {}: {why}", span.start.line()));
        nodes += 1;
        if nodes > MAX_NODES || open.len() > MAX_DEPTH {
            return Err(refuse("it is larger or deeper than a file of secrets"));
        }
        let done = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
            Event::DocumentStart(_) if documents == 0 => {
                documents = 1;
                continue;
            }
            Event::DocumentStart(_) => {
                return Err(refuse("a second document; put each into a file of its own"));
            }
            Event::Alias(_) => return Err(refuse("an alias, which SOPS does not write")),
            Event::SequenceStart(_, None) => {
                open.push(Open::List(vec![]));
                continue;
            }
            Event::MappingStart(_, None) => {
                open.push(Open::Map { members: vec![], names: HashSet::new(), key: None });
                continue;
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => return Err(refuse("a tag")),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Node::List(items),
                Some(Open::Map { members, .. }) => Node::Map(members),
                None => return Err(refuse("an end without a start")),
            },
            Event::Scalar(text, style, _, tag) => {
                if tag.is_some() {
                    return Err(refuse("a tag"));
                }
                if let Some(Open::Map { key: key @ None, names, .. }) = open.last_mut() {
                    if !names.insert(text.to_string()) {
                        return Err(refuse("a key that is there twice"));
                    }
                    *key = Some(text.into_owned());
                    continue;
                }
                scalar(&text, style)
            }
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(items)) => items.push(done),
            Some(Open::Map { members, key, .. }) => match key.take() {
                Some(key) => members.push((key, done)),
                None => return Err(refuse("a key that is no text")),
            },
        }
    }
    match root {
        Some(Node::Map(members)) => Ok(members),
        _ => Err(SopsError::NotSops),
    }
}

/// The core schema of YAML 1.2, with the spellings of 1.1 that SOPS's library reads.
fn scalar(text: &str, style: ScalarStyle) -> Node {
    if style != ScalarStyle::Plain {
        return Node::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => return Node::Bool(true),
        "false" | "False" | "FALSE" => return Node::Bool(false),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Node::Int(number);
    }
    let numeric = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match text.parse::<f64>() {
        Ok(number) if numeric => Node::Float(number),
        _ => Node::Text(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.get(..2) {
        Some("0x") => (&digits[2..], 16),
        Some("0o") => (&digits[2..], 8),
        Some("0b") => (&digits[2..], 2),
        _ => (digits, 10),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let number = i128::from_str_radix(digits, radix).ok().filter(|_| plain)?;
    let fits = number <= i128::from(u64::MAX);
    fits.then_some(if negative { -number } else { number })
}
