//! Strings, and what turns values into strings and back.

use super::{Native, expect_text, native, take};
use crate::expression::value::Val;
use crate::expression::work::{Outcome, Work, raise};

/// Bytes that one byte of JSON text may become as a value.
const PARSE_FACTOR: usize = 48;

pub(super) const NATIVES: &[Native] = &[
    native("tostring", 0, |work, input, _| to_text(input, work)),
    native("tojson", 0, |work, input, _| to_json_text(&input, work)),
    native("fromjson", 0, |work, input, _| {
        let text = expect_text(&input, "the input of fromjson")?;
        work.spend(text.len() as u64 / 8)?;
        work.allocate(text.len().saturating_mul(PARSE_FACTOR))?;
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => from_owned_json(value, work),
            Err(error) => raise(format!("{} is no JSON: {error}", input.show())),
        }
    }),
    native("tonumber", 0, |work, input, _| match &input {
        Val::Int(_) | Val::Float(_) => Ok(input),
        Val::Str(text) => {
            work.spend(text.len() as u64 / 16)?;
            let valid = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'))
                && text.ends_with(|c: char| c.is_ascii_digit() || c == '.')
                && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
            let number = text.parse::<i64>().map(Val::Int).or_else(|_| text.parse::<f64>().map(Val::float));
            match number {
                Ok(number) if valid => Ok(number),
                _ => raise(format!("{} cannot be read as a number", input.show())),
            }
        }
        other => raise(format!("{} cannot be read as a number", other.show())),
    }),
    native("toboolean", 0, |_, input, _| match &input {
        Val::Bool(_) => Ok(input),
        Val::Str(text) if &**text == "true" => Ok(Val::Bool(true)),
        Val::Str(text) if &**text == "false" => Ok(Val::Bool(false)),
        other => raise(format!("{} cannot be read as a boolean", other.show())),
    }),
    native("utf8bytelength", 0, |_, input, _| {
        let length = expect_text(&input, "the input of utf8bytelength")?.len();
        Ok(Val::Int(i64::try_from(length).unwrap_or(i64::MAX)))
    }),
    native("ascii_downcase", 0, |work, input, _| {
        let text = expect_text(&input, "the input of ascii_downcase")?;
        work.allocate(text.len())?;
        work.text(text.to_ascii_lowercase())
    }),
    native("ascii_upcase", 0, |work, input, _| {
        let text = expect_text(&input, "the input of ascii_upcase")?;
        work.allocate(text.len())?;
        work.text(text.to_ascii_uppercase())
    }),
    native("explode", 0, |work, input, _| {
        let text = expect_text(&input, "the input of explode")?;
        let mut points = work.vec(text.chars().count())?;
        points.extend(text.chars().map(|c| Val::Int(i64::from(u32::from(c)))));
        work.array(points)
    }),
    native("implode", 0, |work, input, _| {
        let Val::Arr(array) = input.own(work)? else {
            return raise("implode works on arrays of code points");
        };
        let mut text = work.string(array.items.len() * 4)?;
        for item in &array.items {
            work.spend(1)?;
            let point = item.as_i64().and_then(|point| u32::try_from(point).ok()).and_then(char::from_u32);
            match point {
                Some(character) => text.push(character),
                None => return raise(format!("{} is no code point", item.show())),
            }
        }
        work.text(text)
    }),
    native("ltrimstr", 1, |work, input, arguments| {
        trim_with(work, input, &arguments[0], |t, p| t.strip_prefix(p))
    }),
    native("rtrimstr", 1, |work, input, arguments| {
        trim_with(work, input, &arguments[0], |t, p| t.strip_suffix(p))
    }),
    native("trimstr", 1, |work, input, arguments| {
        let left = trim_with(work, input, &arguments[0], |t, p| t.strip_prefix(p))?;
        trim_with(work, left, &arguments[0], |t, p| t.strip_suffix(p))
    }),
    native("trim", 0, |work, input, _| work.text(expect_text(&input, "the input of trim")?.trim())),
    native("ltrim", 0, |work, input, _| work.text(expect_text(&input, "the input of ltrim")?.trim_start())),
    native("rtrim", 0, |work, input, _| work.text(expect_text(&input, "the input of rtrim")?.trim_end())),
    native("startswith", 1, |_, input, arguments| {
        let (text, part) =
            (expect_text(&input, "the input of startswith")?, expect_text(&arguments[0], "startswith")?);
        Ok(Val::Bool(text.starts_with(part)))
    }),
    native("endswith", 1, |_, input, arguments| {
        let (text, part) =
            (expect_text(&input, "the input of endswith")?, expect_text(&arguments[0], "endswith")?);
        Ok(Val::Bool(text.ends_with(part)))
    }),
    native("split", 1, |work, input, arguments| {
        let (text, by) =
            (expect_text(&input, "the input of split")?, expect_text(&arguments[0], "the separator")?);
        split(text, by, work)
    }),
    native("join", 1, |work, input, arguments| join(input, &take(arguments, 0), work)),
];

fn trim_with<'a>(
    work: &mut Work,
    input: Val<'a>,
    part: &Val<'a>,
    strip: for<'t> fn(&'t str, &str) -> Option<&'t str>,
) -> Outcome<'a, Val<'a>> {
    match (&input, part) {
        (Val::Str(text), Val::Str(part)) => match strip(text, part) {
            Some(stripped) => work.text(stripped),
            None => Ok(input),
        },
        _ => Ok(input),
    }
}

/// A string as it is, anything else as JSON.
pub(super) fn to_text<'a>(value: Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    match value {
        Val::Str(_) => Ok(value),
        other => to_json_text(&other, work),
    }
}

pub(super) fn to_json_text<'a>(value: &Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let weight = usize::try_from(value.weight(work)?).unwrap_or(usize::MAX);
    work.allocate(weight)?;
    work.spend(weight as u64 / 8)?;
    let json = value.to_json(work)?;
    let text = json.to_string();
    work.text(text)
}

/// Nests as deep as serde_json parses, 128.
fn from_owned_json<'a>(value: serde_json::Value, work: &mut Work) -> Outcome<'a, Val<'a>> {
    use serde_json::Value;
    work.spend(1)?;
    Ok(match value {
        Value::Null => Val::Null,
        Value::Bool(value) => Val::Bool(value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Val::Float(number.as_f64().unwrap_or(f64::NAN)), Val::Int)
        }
        Value::String(text) => work.text(text)?,
        Value::Array(items) => {
            let mut array = work.vec(items.len())?;
            for item in items {
                array.push(from_owned_json(item, work)?);
            }
            work.array(array)?
        }
        Value::Object(entries) => {
            let mut map = work.map(entries.len())?;
            for (key, item) in entries {
                work.allocate(key.len())?;
                map.insert(key.into(), from_owned_json(item, work)?);
            }
            work.object(map)?
        }
    })
}

pub(super) fn split<'a>(text: &str, by: &str, work: &mut Work) -> Outcome<'a, Val<'a>> {
    work.spend(text.len() as u64 / 64)?;
    let mut parts = Vec::new();
    if text.is_empty() {
        return work.array(parts);
    }
    let mut add = |part: &str, work: &mut Work| {
        work.spend(1)?;
        work.grow()?;
        parts.push(work.text(part)?);
        Ok(())
    };
    if by.is_empty() {
        let mut buffer = [0; 4];
        for character in text.chars() {
            add(character.encode_utf8(&mut buffer), work)?;
        }
    } else {
        for part in text.split(by) {
            add(part, work)?;
        }
    }
    work.array(parts)
}

fn join<'a>(input: Val<'a>, by: &Val<'a>, work: &mut Work) -> Outcome<'a, Val<'a>> {
    let Val::Arr(array) = input.open(work)? else { return raise("join works on arrays") };
    let separator = match by {
        Val::Null => "",
        other => expect_text(other, "the separator")?,
    };
    let mut text = String::new();
    for (at, item) in array.items.iter().enumerate() {
        work.spend(1)?;
        if at > 0 {
            push(&mut text, separator, work)?;
        }
        match item {
            Val::Null => {}
            Val::Str(part) => push(&mut text, part, work)?,
            Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
                let Val::Str(part) = to_json_text(item, work)? else { unreachable!("a text") };
                push(&mut text, &part, work)?;
            }
            other => return raise(format!("{} cannot be joined to a string", other.show())),
        }
    }
    work.text(text)
}

/// Appends, charged as a growing buffer is.
pub(super) fn push<'a>(text: &mut String, part: &str, work: &mut Work) -> Outcome<'a, ()> {
    work.allocate(2 * part.len())?;
    text.push_str(part);
    Ok(())
}

pub(super) fn concatenate<'a>(
    work: &mut Work,
    _input: Val<'a>,
    pieces: &mut [Val<'a>],
) -> Outcome<'a, Val<'a>> {
    let mut text = String::new();
    for piece in pieces.iter() {
        push(&mut text, expect_text(piece, "a part of a string")?, work)?;
    }
    work.text(text)
}
