//! Advice on a value when it is set: what the redaction in the guest cannot mask without masking ordinary output too.

use serde::{Deserialize, Serialize};

/// Values shorter than this are not masked in derived forms, bytes.
pub const SHORT_VALUE_BYTES: usize = 8;

/// Something that a person who sets a value should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// Under 8 bytes: too many ordinary words would be masked.
    Short,
    /// `true`, `false`, `yes`, `no`, `on`, `off`.
    Boolean,
    /// A plain integer.
    Integer,
    /// It begins or ends with white space, often a newline that came with `echo`.
    Whitespace,
}

impl Advice {
    /// A sentence for the person, without the value.
    pub fn sentence(self) -> &'static str {
        match self {
            Advice::Short => "is shorter than 8 bytes: its encoded forms are not masked in output",
            Advice::Boolean => "is a boolean: it is not masked in output; make it a plain setting",
            Advice::Integer => "is an integer: its encoded forms are not masked in output",
            Advice::Whitespace => {
                "begins or ends with white space; if that is a stray newline, set it again without"
            }
        }
    }
}

/// Advice on a secret value; empty for a good one.
pub fn advise(value: &[u8]) -> Vec<Advice> {
    let mut advice = Vec::new();
    if value.len() < SHORT_VALUE_BYTES {
        advice.push(Advice::Short);
    }
    let trimmed = value.trim_ascii();
    if ["true", "false", "yes", "no", "on", "off"]
        .iter()
        .any(|word| trimmed.eq_ignore_ascii_case(word.as_bytes()))
    {
        advice.push(Advice::Boolean);
    }
    let digits = trimmed.strip_prefix(b"-").unwrap_or(trimmed);
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        advice.push(Advice::Integer);
    }
    if trimmed.len() != value.len() {
        advice.push(Advice::Whitespace);
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_of_what_cannot_be_masked() {
        assert_eq!(advise(b"postgres://u:p@db/x"), []);
        assert_eq!(advise(b"docker"), [Advice::Short]);
        assert_eq!(advise(b"False"), [Advice::Short, Advice::Boolean]);
        assert_eq!(advise(b"-1234567890"), [Advice::Integer]);
        assert_eq!(advise(b"long enough\n"), [Advice::Whitespace]);
    }
}
