//! Golden files: what a command said, with what differs from run to run written out as a word.

use std::path::Path;
use std::process::Command;

/// What a command said: its line, both outputs, its exit code.
pub(crate) fn said(mut command: Command) -> String {
    let output = command.output().expect("the program starts");
    let arguments: Vec<_> =
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    format!(
        "$ sagewai {}\n{}{}exit {}\n",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap_or(-1)
    )
}

/// Holds `text` against `tests/golden/NAME.txt`.
pub(crate) fn check(name: &str, text: &str) {
    let text = normal(text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("SAGEWAI_BLESS").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{} differs; SAGEWAI_BLESS=1 rewrites it\n--- expected\n{golden}--- found\n{text}",
        path.display()
    );
}

/// Ids, times, durations and ports as words; columns are then one space apart, since their widths vary with them.
fn normal(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let mut words: Vec<String> = line.split_whitespace().map(word).collect();
        if let Some(uid) = words.iter().position(|word| word == "uid") {
            let colon = if words[uid + 1].ends_with(':') { ":" } else { "" };
            words[uid + 1] = format!("UID{colon}");
        }
        let drawn = line.contains(" | ") || line.trim_start().starts_with('|');
        lines.push(if drawn { line.to_owned() } else { format!("{}{}", &line[..indent], words.join(" ")) });
    }
    lines.join("\n") + "\n"
}

fn word(word: &str) -> String {
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let uuid = |text: &str| text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if let Some(at) = word.find("/.tmp") {
        let rest = word[at + 1..].split_once('/').map_or("", |(_, rest)| rest);
        return format!("TMP/{rest}");
    }
    let core = word.trim_matches(|c: char| "\"',;()`".contains(c));
    let replaced = if uuid(core) && core != "01010101-0101-0101-0101-010101010101" {
        "ID"
    } else if core.len() == 64 && hex(core) {
        "SHA256"
    } else if core.len() == 24 && core.ends_with('Z') && core.as_bytes()[10] == b'T' {
        "TIME"
    } else if core.len() == 43 && core.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        "KEY"
    } else if is_duration(core) {
        "DURATION"
    } else if let Some(port) = core.strip_prefix("http://127.0.0.1:").filter(|port| *port != "1") {
        if port.parse::<u16>().is_ok() { "URL" } else { return word.to_owned() }
    } else {
        return word.to_owned();
    };
    word.replace(core, replaced)
}

fn is_duration(text: &str) -> bool {
    let number = text.strip_suffix("ms").or_else(|| text.strip_suffix('s'));
    number.is_some_and(|number| number.parse::<f64>().is_ok())
}
