//! The shapes in which a secret value may show up in output: as it is, and as common tools encode it.

use std::fmt::Write as _;

use zeroize::Zeroizing;

/// Shorter values are masked as they are only: their encodings are too likely to be innocent text.
pub(super) const MIN_DERIVED_BYTES: usize = 8;
/// Shorter lines of a value are not masked by themselves.
const MIN_LINE_BYTES: usize = 8;

/// Text that stands for a secret; wiped when dropped.
pub(super) type Form = Zeroizing<Vec<u8>>;

/// All forms of one value.
#[derive(Default)]
pub(super) struct Forms {
    /// To be found byte by byte.
    pub(super) exact: Vec<Form>,
    /// Base64 text, to be found also where line breaks are strewn in (PEM wraps at 64, `base64` at 76).
    pub(super) wrapped: Vec<Form>,
}

/// The forms of `value`. Booleans and plain integers are masked as they are only, like short values.
pub(super) fn forms(value: &[u8]) -> Forms {
    let mut forms = Forms::default();
    if value.is_empty() {
        return forms;
    }
    forms.exact.push(copy(value));
    let trimmed = value.trim_ascii();
    if !is_derivable(trimmed) {
        return forms;
    }
    forms.exact.push(copy(trimmed));
    forms.exact.extend(lines(value).map(copy));
    for text in [value, trimmed] {
        encodings(text, &mut forms);
    }
    forms
}

/// Whether encodings of a value are masked too.
pub(super) fn is_derivable(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    value.len() >= MIN_DERIVED_BYTES && !digits.iter().all(u8::is_ascii_digit)
}

fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .filter(|line| line.len() >= MIN_LINE_BYTES)
}

fn encodings(value: &[u8], forms: &mut Forms) {
    // As in the host of a URL, which clients write small, and in headers and codes that are written large.
    forms.exact.push(Zeroizing::new(value.to_ascii_lowercase()));
    forms.exact.push(Zeroizing::new(value.to_ascii_uppercase()));
    // As a terminal shows lines.
    forms.exact.push(replaced(value, |byte| (byte == b'\n').then_some(b"\r\n" as &[u8])));
    for url in [false, true] {
        for alignment in 0..3 {
            forms.wrapped.extend(base64_forms(value, alignment, url));
        }
    }
    forms.exact.push(hex(value, b"0123456789abcdef"));
    forms.exact.push(hex(value, b"0123456789ABCDEF"));
    // What no encoding below touches, as most tokens.
    if value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return;
    }
    for unreserved in [b"-_.~" as &[u8], b"-_.!~*'()", b"*-._", b"-_.!~*'();,/?:@&=+$#"] {
        for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
            forms.exact.push(percent(value, unreserved, digits, false));
            forms.exact.push(percent(value, unreserved, digits, true));
        }
    }
    for (slash, ascii) in [(false, false), (true, false), (false, true), (true, true)] {
        let once = json(value, Json { slash, ascii, html: false });
        // A log line in JSON that quotes a JSON document.
        forms.exact.push(json(&once, Json { slash: false, ascii: false, html: false }));
        forms.exact.push(once);
    }
    forms.exact.push(json(value, Json { slash: false, ascii: false, html: true }));
    forms.exact.push(replaced(value, |byte| (byte == b'\'').then_some(br"'\''" as &[u8])));
    forms.exact.push(replaced(value, |byte| (byte == b'\'').then_some(br#"'"'"'"# as &[u8])));
    forms.exact.push(shell_double_quoted(value));
    for apostrophe in [b"&apos;" as &'static [u8], b"&#39;", b"&#x27;", b"'"] {
        for quote in [b"&quot;" as &'static [u8], b"&#34;", b"\""] {
            forms.exact.push(xml(value, apostrophe, quote));
        }
    }
}

fn copy(bytes: &[u8]) -> Form {
    Zeroizing::new(bytes.to_vec())
}

/// The base64 characters that `value` fixes when `alignment` bytes (modulo 3) stand before it: without its last, partly
/// fixed character, since anything may follow, and with it, in case nothing follows.
fn base64_forms(value: &[u8], alignment: usize, url: bool) -> Vec<Form> {
    let mut padded = Zeroizing::new(Vec::with_capacity(alignment + value.len()));
    padded.resize(alignment, 0);
    padded.extend_from_slice(value);
    let whole = base64(&padded, url);
    let free = [0, 2, 3][alignment];
    let fixed = padded.len() * 8 / 6;
    let text = whole.trim_ascii_end();
    let unpadded = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let mut forms = vec![copy(&whole[free..fixed])];
    if unpadded > fixed {
        forms.push(copy(&whole[free..unpadded]));
        forms.push(copy(&whole[free..]));
    }
    forms
}

/// RFC 4648 §4 and §5, with padding.
fn base64(bytes: &[u8], url: bool) -> Form {
    let (c62, c63) = if url { (b'-', b'_') } else { (b'+', b'/') };
    let character = |bits: u32| match (bits & 63) as u8 {
        n @ 0..=25 => b'A' + n,
        n @ 26..=51 => b'a' + n - 26,
        n @ 52..=61 => b'0' + n - 52,
        62 => c62,
        _ => c63,
    };
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len().div_ceil(3) * 4));
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if place <= group.len() { character(bits >> shift) } else { b'=' });
        }
    }
    out
}

fn hex(value: &[u8], digits: &[u8; 16]) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 2));
    for byte in value {
        out.extend_from_slice(&hex_digits(*byte, digits));
    }
    out
}

fn hex_digits(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

fn percent(value: &[u8], unreserved: &[u8], digits: &[u8; 16], plus: bool) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 3));
    for byte in value {
        match byte {
            b' ' if plus => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || unreserved.contains(byte) => out.push(*byte),
            byte => {
                out.push(b'%');
                out.extend_from_slice(&hex_digits(*byte, digits));
            }
        }
    }
    out
}

/// Which of the escapes that JSON leaves open are made.
#[derive(Clone, Copy)]
struct Json {
    /// `/` as `\/`, as PHP does.
    slash: bool,
    /// What is not ASCII as `\uXXXX`, as Python does.
    ascii: bool,
    /// `<`, `>` and `&` as `\u003c`, as Go does.
    html: bool,
}

/// The inside of a JSON string. Bytes that are not UTF-8 stay as they are.
fn json(value: &[u8], style: Json) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 6));
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            json_character(character, style, &mut out);
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

fn json_character(character: char, style: Json, out: &mut Vec<u8>) {
    let short: Option<&[u8]> = match character {
        '"' => Some(br#"\""#),
        '\\' => Some(br"\\"),
        '\n' => Some(br"\n"),
        '\r' => Some(br"\r"),
        '\t' => Some(br"\t"),
        '\u{8}' => Some(br"\b"),
        '\u{c}' => Some(br"\f"),
        '/' if style.slash => Some(br"\/"),
        _ => None,
    };
    let escaped = character < ' '
        || (style.ascii && !character.is_ascii())
        || (style.html && matches!(character, '<' | '>' | '&'));
    match short {
        Some(short) => out.extend_from_slice(short),
        None if escaped => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let mut text = Zeroizing::new(String::with_capacity(6));
                write!(text, "\\u{unit:04x}").expect("a string takes any text");
                out.extend_from_slice(text.as_bytes());
            }
        }
        None => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Longest replacement that [`replaced`] makes of one byte.
const MAX_REPLACEMENT_BYTES: usize = 6;

fn replaced(value: &[u8], replacement: impl Fn(u8) -> Option<&'static [u8]>) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() * MAX_REPLACEMENT_BYTES));
    for byte in value {
        match replacement(*byte) {
            Some(text) => out.extend_from_slice(text),
            None => out.push(*byte),
        }
    }
    out
}

/// As `export -p` of a shell prints it.
fn shell_double_quoted(value: &[u8]) -> Form {
    replaced(value, |byte| match byte {
        b'"' => Some(br#"\""#),
        b'\\' => Some(br"\\"),
        b'$' => Some(br"\$"),
        b'`' => Some(br"\`"),
        _ => None,
    })
}

fn xml(value: &[u8], apostrophe: &'static [u8], quote: &'static [u8]) -> Form {
    replaced(value, |byte| match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'\'' => Some(apostrophe),
        b'"' => Some(quote),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(value: &str) -> Vec<String> {
        forms(value.as_bytes()).exact.iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect()
    }

    #[test]
    fn base64_agrees_with_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(*base64(plain.as_bytes(), false), encoded.as_bytes());
        }
        assert_eq!(*base64(&[0xfb, 0xff], false), b"+/8=");
        assert_eq!(*base64(&[0xfb, 0xff], true), b"-_8=");
    }

    #[test]
    fn the_case_may_be_lost() {
        for form in ["tok-9zq81xypl0w", "TOK-9ZQ81XYPL0W"] {
            assert!(exact("Tok-9Zq81xyPL0w").contains(&form.to_owned()), "{form}");
        }
        assert_eq!(exact("Short"), ["Short"]);
    }

    #[test]
    fn each_alignment_is_part_of_the_text_that_surrounds_it() {
        let value = b"correct horse battery";
        for before in 0..6 {
            for after in 0..4 {
                let text = [&vec![0xa7; before][..], value, &vec![0x5c; after]].concat();
                let encoded = base64(&text, false);
                let found = base64_forms(value, before % 3, false)
                    .iter()
                    .any(|form| encoded.windows(form.len()).any(|window| window == form.as_slice()));
                assert!(found, "{before} bytes before, {after} after");
            }
        }
    }

    #[test]
    fn each_encoding_is_there() {
        let forms = exact("pä ss'\"<&$/9");
        for expected in [
            "pä ss'\"<&$/9",
            "70c3a4207373",
            "70C3A4207373",
            "p%C3%A4%20ss%27%22%3C%26%24%2F9",
            "p%c3%a4%20ss%27%22%3c%26%24%2f9",
            "p%C3%A4+ss%27%22%3C%26%24%2F9",
            "p%C3%A4%20ss'%22%3C%26%24%2F9",
            "pä ss'\\\"<&$/9",
            "p\\u00e4 ss'\\\"<&$/9",
            "pä ss'\\\"<&$\\/9",
            "pä ss'\\\"\\u003c\\u0026$/9",
            "pä ss'\\\\\\\"<&$/9",
            "pä ss'\\''\"<&$/9",
            "pä ss'\"'\"'\"<&$/9",
            "pä ss'\\\"<&\\$/9",
            "pä ss&apos;&quot;&lt;&amp;$/9",
            "pä ss&#39;&quot;&lt;&amp;$/9",
        ] {
            assert!(forms.iter().any(|form| form.starts_with(expected)), "{expected} is not in {forms:#?}");
        }
    }

    #[test]
    fn lines_and_trimmed_text_are_forms_and_short_lines_are_not() {
        let forms = exact("  first line\nshort\r\nsecond line\n");
        for expected in ["first line", "second line", "first line\nshort\r\nsecond line"] {
            assert!(forms.iter().any(|form| form == expected), "{expected}");
        }
        assert!(!forms.iter().any(|form| form == "short"));
    }

    #[test]
    fn short_values_and_numbers_are_masked_as_they_are_only() {
        for value in ["a", "docker", "true", "1234567", "1234567890123", "-123456789"] {
            let forms = forms(value.as_bytes());
            assert_eq!((forms.exact.len(), forms.wrapped.len()), (1, 0), "{value}");
        }
        assert!(forms(b"").exact.is_empty());
    }
}
