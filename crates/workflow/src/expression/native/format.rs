//! jq's formats: `@csv`, `@base64` and so on.

use std::fmt::Write as _;

use super::text::{push, to_text};
use super::{Native, expect_text, native};
use crate::expression::value::Val;
use crate::expression::work::{Outcome, Work, raise};

pub(super) const NATIVES: &[Native] = &[
    native("@text", 0, |work, input, _| to_text(input, work)),
    native("@json", 0, |work, input, _| super::text::to_json_text(&input, work)),
    native("@html", 0, |work, input, _| {
        escape(input, work, |text, c| match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '\'' => text.push_str("&#39;"),
            '"' => text.push_str("&quot;"),
            other => text.push(other),
        })
    }),
    native("@uri", 0, |work, input, _| {
        escape(input, work, |text, c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~') {
                text.push(c);
                return;
            }
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                let _ = write!(text, "%{byte:02X}");
            }
        })
    }),
    native("@urid", 0, |work, input, _| {
        let text = to_text(input, work)?;
        let text = expect_text(&text, "the input of @urid")?;
        work.allocate(text.len())?;
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &tail[2..];
                }
                None => {
                    bytes.push(*first);
                    rest = tail;
                }
            }
        }
        utf8(bytes, "@urid", work)
    }),
    native("@sh", 0, |work, input, _| {
        row(input, work, " ", |item, text, work| match item {
            Val::Str(value) => {
                work.allocate(value.len() * 5)?;
                work.spend(value.len() as u64 / 8)?;
                text.push('\'');
                text.push_str(&value.replace('\'', "'\\''"));
                text.push('\'');
                Ok(())
            }
            other => scalar(other, text, work),
        })
    }),
    native("@csv", 0, |work, input, _| {
        row(input, work, ",", |item, text, work| match item {
            Val::Str(value) => {
                work.allocate(value.len() * 3)?;
                work.spend(value.len() as u64 / 8)?;
                text.push('"');
                text.push_str(&value.replace('"', "\"\""));
                text.push('"');
                Ok(())
            }
            Val::Null => Ok(()),
            other => scalar(other, text, work),
        })
    }),
    native("@tsv", 0, |work, input, _| {
        row(input, work, "\t", |item, text, work| match item {
            Val::Str(value) => {
                work.allocate(value.len() * 3)?;
                work.spend(value.len() as u64 / 8)?;
                for character in value.chars() {
                    match character {
                        '\t' => text.push_str("\\t"),
                        '\n' => text.push_str("\\n"),
                        '\r' => text.push_str("\\r"),
                        '\\' => text.push_str("\\\\"),
                        other => text.push(other),
                    }
                }
                Ok(())
            }
            Val::Null => Ok(()),
            other => scalar(other, text, work),
        })
    }),
    native("@base64", 0, |work, input, _| {
        let text = to_text(input, work)?;
        let bytes = expect_text(&text, "the input of @base64")?.as_bytes();
        work.spend(bytes.len() as u64 / 8)?;
        let mut encoded = work.string(bytes.len().div_ceil(3) * 4)?;
        for chunk in bytes.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for at in 0..4 {
                let digit =
                    if at <= chunk.len() { ALPHABET[(bits >> (18 - 6 * at) & 63) as usize] } else { b'=' };
                encoded.push(char::from(digit));
            }
        }
        work.text(encoded)
    }),
    native("@base64d", 0, |work, input, _| {
        let text = to_text(input, work)?;
        let text = expect_text(&text, "the input of @base64d")?;
        work.allocate(text.len())?;
        let mut bytes = Vec::with_capacity(text.len());
        let (mut bits, mut count) = (0_u32, 0);
        for byte in text.trim_end_matches('=').bytes() {
            let Some(digit) = digit_of(byte) else {
                return raise(format!("{} is no base64", Val::Str(text.into()).show()));
            };
            bits = bits << 6 | digit;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count & 255) as u8);
            }
        }
        work.spend(text.len() as u64 / 8)?;
        utf8(bytes, "@base64d", work)
    }),
];

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn digit_of(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

fn utf8<'a>(bytes: Vec<u8>, what: &str, work: &mut Work) -> Outcome<'a, Val<'a>> {
    match String::from_utf8(bytes) {
        Ok(text) => work.text(text),
        Err(_) => raise(format!("what {what} gives is no UTF-8 text")),
    }
}

/// Replaces characters; one may become up to twelve bytes.
fn escape<'a>(input: Val<'a>, work: &mut Work, write: fn(&mut String, char)) -> Outcome<'a, Val<'a>> {
    let text = to_text(input, work)?;
    let text = expect_text(&text, "the input")?;
    work.spend(text.len() as u64 / 4)?;
    let mut escaped = work.string(text.len())?;
    let room = escaped.capacity();
    text.chars().for_each(|c| write(&mut escaped, c));
    work.allocate(escaped.len().saturating_sub(room) * 2)?;
    work.text(escaped)
}

fn row<'a>(
    input: Val<'a>,
    work: &mut Work,
    separator: &str,
    write: fn(&Val<'a>, &mut String, &mut Work) -> Outcome<'a, ()>,
) -> Outcome<'a, Val<'a>> {
    let mut text = String::new();
    match input.open(work)? {
        Val::Arr(array) => {
            for (at, item) in array.items.iter().enumerate() {
                work.spend(1)?;
                if at > 0 {
                    push(&mut text, separator, work)?;
                }
                write(item, &mut text, work)?;
            }
        }
        single if separator == " " => write(&single, &mut text, work)?,
        other => return raise(format!("only an array can be a row, not {}", other.show())),
    }
    work.text(text)
}

fn scalar<'a>(value: &Val<'a>, text: &mut String, work: &mut Work) -> Outcome<'a, ()> {
    if matches!(value, Val::Arr(_) | Val::Obj(_) | Val::Json(_)) {
        return raise(format!("{} cannot stand in a row", value.show()));
    }
    let value = to_text(value.clone(), work)?;
    push(text, expect_text(&value, "a value")?, work)
}
