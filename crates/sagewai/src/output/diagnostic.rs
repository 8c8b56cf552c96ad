//! Findings drawn beside the line they are about, as compilers do.

use control::api::problem::Finding;

use super::paint::{Paint, Tone};
use super::safe::safe_line;
use crate::failure::Findings;

/// Characters of a source line that are shown; a longer one is cut around the place.
const LINE_LIMIT_CHARACTERS: usize = 140;

/// All findings, each with its line, a caret, its pointer and its help, and an empty line after each.
pub(super) fn draw(findings: &Findings, paint: Paint) -> String {
    let lines: Vec<&str> = findings.text.lines().collect();
    findings.findings.iter().map(|finding| one(&findings.file, &lines, finding, paint)).collect()
}

fn one(file: &str, lines: &[&str], finding: &Finding, paint: Paint) -> String {
    let tone = if finding.severity == "error" { Tone::Bad } else { Tone::Warn };
    let label = format!("{}[{}]", finding.severity, finding.code);
    let mut text = format!("{}: {}\n", paint.tone(tone, &label), safe_line(&finding.detail));
    let margin = finding.line.to_string().len();
    let bar = paint.tone(Tone::Dim, "|");
    let space = " ".repeat(margin);
    let place =
        if finding.line > 0 { format!(":{}:{}", finding.line, finding.column) } else { String::new() };
    text.push_str(&format!("{space}{} {}{place}\n", paint.tone(Tone::Dim, "-->"), safe_line(file)));
    let source = finding.line.checked_sub(1).and_then(|index| lines.get(index as usize));
    if let Some(source) = source {
        let (shown, column) = cut(source, finding.column.max(1) as usize);
        let width = underlined(&shown, column);
        text.push_str(&format!("{space} {bar}\n"));
        text.push_str(&format!("{} {bar} {shown}\n", paint.tone(Tone::Dim, &finding.line.to_string())));
        let caret = paint.tone(tone, &"^".repeat(width));
        text.push_str(&format!("{space} {bar} {}{caret}\n", " ".repeat(column - 1)));
    }
    let equals = paint.tone(Tone::Dim, "=");
    if !finding.pointer.is_empty() {
        text.push_str(&format!("{space} {equals} at {}\n", safe_line(&finding.pointer)));
    }
    if let Some(help) = &finding.help {
        text.push_str(&format!("{space} {equals} help: {}\n", safe_line(help)));
    }
    text.push('\n');
    text
}

/// The part of a line around a column (from 1), and the column in that part. Tabs become single spaces, so that the
/// caret stands below its character.
fn cut(source: &str, column: usize) -> (String, usize) {
    let clean: Vec<char> = source
        .trim_end()
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    let column = column.min(clean.len() + 1);
    if clean.len() <= LINE_LIMIT_CHARACTERS {
        return (clean.into_iter().collect(), column);
    }
    let start = column.saturating_sub(LINE_LIMIT_CHARACTERS / 2).min(clean.len() - LINE_LIMIT_CHARACTERS);
    let part: String = clean[start..start + LINE_LIMIT_CHARACTERS].iter().collect();
    (part, (column - start).max(1))
}

/// How many characters the carets cover: the word at the column.
fn underlined(shown: &str, column: usize) -> usize {
    let word = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    shown.chars().skip(column - 1).take_while(word).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: u32, column: u32) -> Finding {
        Finding {
            severity: "error".to_owned(),
            code: "unknown-key".to_owned(),
            detail: "unknown key `modee`".to_owned(),
            pointer: "/do/0/query/metadata/execution/modee".to_owned(),
            line,
            column,
            help: Some("did you mean `mode`?".to_owned()),
        }
    }

    fn drawn(text: &str, finding: Finding) -> String {
        let findings = Findings { file: "w.yaml".to_owned(), text: text.to_owned(), findings: vec![finding] };
        draw(&findings, Paint::off())
    }

    #[test]
    fn the_caret_stands_below_the_word() {
        let expected = "\
error[unknown-key]: unknown key `modee`
 --> w.yaml:2:3
  |
2 |   modee: identity
  |   ^^^^^
  = at /do/0/query/metadata/execution/modee
  = help: did you mean `mode`?

";
        assert_eq!(drawn("execution:\n  modee: identity\n", finding(2, 3)), expected);
    }

    #[test]
    fn a_place_outside_the_text_is_said_without_a_line() {
        let text = drawn("", finding(0, 0));
        assert!(text.starts_with("error[unknown-key]: unknown key `modee`\n --> w.yaml\n"), "{text}");
        drawn("short", finding(1, 999));
        drawn(&"x".repeat(5000), finding(1, 4000));
    }
}
