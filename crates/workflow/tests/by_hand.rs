//! Documents written by hand: every construct of the DSL, valid and not, and what YAML has in store. Each has its verdict
//! beside it in `tests/by_hand/`; `SAGEWAI_BLESS=1` rewrites those, so that a change of behaviour is a diff to read.
//! Where the official schema is at hand, the verdicts are held to it.

use std::path::{Path, PathBuf};

use workflow::Workflow;

/// Reasons to refuse what the schema accepts: it leaves objects open, sees no expression and follows no name.
const STRICTER: &[&str] = &[
    "not-supported-yet",
    "unknown-key",
    "unknown-reference",
    "out-of-range",
    "unknown-word",
    "dsl-version",
    "uri",
    "time",
];

struct Case {
    name: String,
    verdict: String,
    text: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/by_hand")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// `=== name: verdict`, then the document.
fn cases(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).expect("the file can be read");
    let parts = text.split("=== ").skip(1);
    parts
        .map(|part| {
            let (head, text) = part.split_once('\n').expect("a head");
            let (name, verdict) = head.split_once(": ").expect("a verdict");
            Case { name: name.to_owned(), verdict: verdict.to_owned(), text: text.to_owned() }
        })
        .collect()
}

/// `ok`, or the rules that refuse the document with their places.
fn verdict(text: &str) -> String {
    let (workflow, found) = Workflow::parse_with_warnings(text);
    let found = match workflow {
        None => found,
        Some(workflow) => match workflow.check_executable(text) {
            Ok(()) => return "ok".to_owned(),
            Err(found) => found,
        },
    };
    let shown = found.errors().map(|d| format!("{}:{} {}", d.line, d.column, d.code));
    shown.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_document_has_its_verdict() {
    let bless = std::env::var_os("SAGEWAI_BLESS").is_some();
    let mut wrong = Vec::new();
    for file in files() {
        let mut rewritten = String::new();
        for case in cases(&file) {
            let now = verdict(&case.text);
            if now != case.verdict {
                wrong.push(format!("{}: {}, was {}\n{}", case.name, now, case.verdict, case.text));
            }
            rewritten.push_str(&format!("=== {}: {now}\n{}", case.name, case.text));
        }
        if bless {
            std::fs::write(&file, rewritten).expect("the file can be written");
        }
    }
    assert!(bless || wrong.is_empty(), "{} went otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_verdicts_agree_with_the_official_schema() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/serverless-workflow/workflow.schema.yaml");
    let Ok(text) = std::fs::read_to_string(&schema) else {
        eprintln!("skipped: {} is not here", schema.display());
        return;
    };
    let schema = workflow::testing::yaml_to_json(&text).expect("the schema is YAML");
    let schema = jsonschema::options().build(&schema).expect("the schema is valid");
    let mut wrong = Vec::new();
    for case in files().iter().flat_map(|file| cases(file)) {
        let Ok(value) = workflow::testing::yaml_to_json(&case.text) else { continue };
        let now = verdict(&case.text);
        let reason = |finding: &str| STRICTER.iter().any(|code| finding.ends_with(code));
        let agreed = match schema.is_valid(&value) {
            true => now == "ok" || now.split(", ").all(reason),
            false => now != "ok",
        };
        if !agreed {
            wrong.push(format!("{}: {now}\n{}", case.name, case.text));
        }
    }
    assert!(wrong.is_empty(), "{} disagree:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_cannot_stand_in_a_list_of_documents() {
    let good = "document: { dsl: '1.0.3', namespace: n, name: m, version: '1.0.0' }\ndo: [ { a: { set: { x: 1 } } } ]\n";
    let value = |value: &str| good.replace("x: 1", &format!("x: {value}"));
    for (text, expected) in [
        (format!("\u{feff}{good}"), "ok"),
        (good.replace('\n', "\r\n"), "ok"),
        (good.replace("do: [", "do:\n\t["), "3:2 syntax"),
        (value("'a\0b'"), "2:24 syntax"),
        (value(&format!("1{}", "0".repeat(400))), "2:24 syntax"),
        (value(&format!("{}{}", "[".repeat(5000), "]".repeat(5000))), "2:275 syntax"),
        (value(&format!("'{}'", "z".repeat(10_000_000))), "1:1 too-large"),
    ] {
        let shown: String = text.chars().take(160).collect();
        assert_eq!(verdict(&text), expected, "{shown:?}");
    }
}
