//! Text of others on a terminal: control characters could move the cursor, retitle the window or type commands.

/// `text` on one line, control characters written out.
pub(crate) fn safe_line(text: &str) -> String {
    escape(text, |_| false)
}

/// `text` with its lines and tabs, other control characters written out.
pub(crate) fn safe_text(text: &str) -> String {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, kept: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && !kept(c)) || reorders {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_written_out() {
        assert_eq!(safe_line("a\x1b]0;title\x07b\nc"), "a\\u{1b}]0;title\\u{7}b\\nc");
        assert_eq!(safe_text("one\n\ttwo\r\x1b[2J"), "one\n\ttwo\\r\\u{1b}[2J");
        assert_eq!(safe_line("größer ✓"), "größer ✓");
    }
}
