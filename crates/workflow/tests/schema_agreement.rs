//! The parser against the official schema: it accepts every example, and refuses whatever the schema refuses, for
//! thousands of seeded mutations of the examples. Skipped where the schema is not at hand.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use workflow::Workflow;

const SEED: u64 = 0x5eed_0001;
const MUTATIONS_PER_EXAMPLE: usize = 100;

fn shared() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/serverless-workflow");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not here", folder.display());
        return None;
    }
    Some(folder)
}

fn examples(folder: &std::path::Path) -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("examples"))
        .expect("the folder can be read")
        .map(|entry| entry.expect("the entry can be read").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        (path.file_name().expect("a file").to_string_lossy().into_owned(), text)
    };
    files.into_iter().map(read).collect()
}

/// YAML to JSON by the parser under test: `definition` of a document that is accepted.
fn schema(folder: &std::path::Path) -> jsonschema::Validator {
    let text = std::fs::read_to_string(folder.join("workflow.schema.yaml")).expect("the schema can be read");
    let value = workflow::testing::yaml_to_json(&text).expect("the schema is YAML");
    jsonschema::options().build(&value).expect("the schema is valid")
}

#[test]
fn every_example_is_accepted() {
    let Some(folder) = shared() else { return };
    let schema = schema(&folder);
    let mut wrong = Vec::new();
    for (name, text) in examples(&folder) {
        match Workflow::parse(&text) {
            Ok(workflow) => assert!(schema.is_valid(&workflow.definition), "{name}: the schema refuses it"),
            Err(diagnostics) => wrong.push(format!("{name}:\n{diagnostics}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_schema_refuses_is_refused() {
    let Some(folder) = shared() else { return };
    let schema = schema(&folder);
    let mut random = Random(SEED);
    let mut laxer = Vec::new();
    let mut stricter: std::collections::BTreeMap<String, (usize, String)> = Default::default();
    let (mut refused, mut accepted) = (0, 0);
    for (name, text) in examples(&folder) {
        let Ok(workflow) = Workflow::parse(&text) else { continue };
        for _ in 0..MUTATIONS_PER_EXAMPLE {
            let mut document = Value::clone(&workflow.definition);
            let change = mutate(&mut document, &mut random);
            let ours = Workflow::parse(&document.to_string());
            match (schema.is_valid(&document), &ours) {
                (false, Ok(_)) => {
                    let why = schema.iter_errors(&document).next().expect("an error").to_string();
                    let why: String = why.chars().take(160).collect();
                    laxer.push(format!("{name}: {change}\n    schema: {why}"));
                }
                (true, Err(diagnostics)) => {
                    let first = diagnostics.errors().next().expect("an error");
                    let entry = stricter.entry(first.code.to_owned()).or_default();
                    entry.0 += 1;
                    entry.1 = format!("{name}: {change}: {first}");
                }
                (true, Ok(_)) => accepted += 1,
                (false, Err(_)) => refused += 1,
            }
        }
    }
    eprintln!("accepted by both {accepted}, refused by both {refused}; stricter:");
    for (code, (count, example)) in &stricter {
        eprintln!("  {code}: {count}, such as {example}");
    }
    assert!(
        refused > 1000 && accepted > 500,
        "the mutations say little: {refused} refused, {accepted} accepted"
    );
    assert!(laxer.is_empty(), "{} laxer than the schema:\n{}", laxer.len(), laxer.join("\n"));
    let justified = [
        // Closed where the schema leaves objects open: a misspelled key must not pass.
        "unknown-key",
        // What the schema cannot see: a text that is no expression, a reference to nothing, a name that is no variable.
        "expression",
        "secret-in-expression",
        "unknown-reference",
        "unknown-target",
        "unknown-variable",
        "name",
        // Keys the specification requires or excludes and the schema does not, and empty documents.
        "missing-key",
        "conflicting-keys",
        "out-of-range",
        "dsl-version",
        // Formats that the schema states and its dialect does not assert.
        "uri",
        "json-pointer",
        "time",
        // Numbers as 1.0, negative durations.
        "wrong-type",
        "schema",
        "cyclic-function",
    ];
    let unjustified: Vec<_> =
        stricter.iter().filter(|(code, _)| !justified.contains(&code.as_str())).collect();
    assert!(unjustified.is_empty(), "stricter without a reason: {unjustified:?}");
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("small")
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| places(item, &format!("{pointer}/{index}"), found));
        }
        Value::Object(entries) => entries.iter().for_each(|(key, item)| {
            places(item, &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        _ => {}
    }
}

/// Keys of the DSL, to be put where they do not belong.
const KEYS: &[&str] = &[
    "call",
    "with",
    "do",
    "emit",
    "for",
    "fork",
    "listen",
    "raise",
    "run",
    "set",
    "switch",
    "try",
    "catch",
    "wait",
    "if",
    "then",
    "input",
    "output",
    "export",
    "timeout",
    "metadata",
    "while",
    "when",
    "as",
    "from",
    "schema",
    "document",
    "resource",
    "endpoint",
    "uri",
    "use",
    "authentication",
    "basic",
    "bearer",
    "oauth2",
    "oidc",
    "digest",
    "username",
    "password",
    "token",
    "retry",
    "delay",
    "backoff",
    "limit",
    "attempt",
    "count",
    "duration",
    "jitter",
    "to",
    "exceptWhen",
    "errors",
    "type",
    "status",
    "title",
    "detail",
    "instance",
    "method",
    "headers",
    "body",
    "query",
    "redirect",
    "container",
    "script",
    "shell",
    "workflow",
    "await",
    "return",
    "image",
    "command",
    "arguments",
    "environment",
    "stdin",
    "lifetime",
    "cleanup",
    "after",
    "code",
    "source",
    "language",
    "namespace",
    "name",
    "version",
    "all",
    "any",
    "one",
    "until",
    "foreach",
    "item",
    "at",
    "in",
    "each",
    "every",
    "cron",
    "on",
    "branches",
    "compete",
    "constant",
    "linear",
    "exponential",
    "seconds",
    "days",
    "format",
    "read",
    "event",
    "proto",
    "service",
    "host",
    "port",
    "operation",
    "channel",
    "message",
    "subscription",
    "consume",
    "amount",
    "filter",
    "parameters",
    "transport",
    "functions",
    "retries",
    "timeouts",
    "secrets",
    "extensions",
    "catalogs",
    "unknownKey",
];

fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(7),
        json!(1.5),
        json!(70000),
        json!(""),
        json!("text"),
        json!("${ .a }"),
        json!("${}"),
        json!("${ .a\n }"),
        json!("https://example.com/{id}"),
        json!("PT5S"),
        json!("P"),
        json!("PT"),
        json!("P1Y2M3W4DT5H6M7.5S"),
        json!("PT5"),
        json!("1.0.0"),
        json!("01.0.0"),
        json!([]),
        json!(["a"]),
        json!([1]),
        json!({}),
        json!({"a": 1}),
        json!({"seconds": 1}),
        json!({"seconds": "1"}),
        json!({"use": "x"}),
        json!({"uri": "https://a.b"}),
        json!({"after": {"seconds": 1}}),
        json!([{"t": {"set": {"a": 1}}}]),
        json!({"set": {"a": 1}}),
        json!({"call": "http"}),
        json!({"one": {"with": {"type": "x"}}}),
        json!({"any": [], "until": "${ . }"}),
        json!({"basic": {"use": "x"}}),
        json!({"bearer": {"token": "x"}}),
        json!({"endpoint": "https://a.b"}),
        json!({"document": {}}),
        json!("always"),
        json!("eventually"),
        json!("response"),
        json!("all"),
        json!("data"),
        json!("/a/b"),
        json!("-a"),
        json!("a_b"),
        json!({"type": "https://a.b", "status": 1}),
        json!({"constant": {}}),
        json!({"attempt": {"count": 1}}),
    ]
}

fn mutate(document: &mut Value, random: &mut Random) -> String {
    let mut change = String::new();
    let times = if random.below(4) == 0 { 2 } else { 1 };
    for _ in 0..times {
        let mut found = Vec::new();
        places(document, "", &mut found);
        let place = random.pick(&found[1.min(found.len() - 1)..]).clone();
        let value = document.pointer_mut(&place).expect("it was found");
        change.push_str(&match random.below(6) {
            0 | 1 => {
                *value = random.pick(&values()).clone();
                format!("[{place} = {value}]")
            }
            2 => match value {
                Value::Object(entries) if !entries.is_empty() => {
                    let key = entries.keys().nth(random.below(entries.len())).expect("in range").clone();
                    entries.shift_remove(&key);
                    format!("[{place} - {key}]")
                }
                Value::Array(items) if !items.is_empty() => {
                    items.remove(random.below(items.len()));
                    format!("[{place} - item]")
                }
                _ => String::new(),
            },
            3 => match value {
                Value::Object(entries) if !entries.is_empty() => {
                    let at = random.below(entries.len());
                    let new = (*random.pick(KEYS)).to_owned();
                    let renamed: Map<String, Value> = std::mem::take(entries)
                        .into_iter()
                        .enumerate()
                        .map(|(index, (key, value))| (if index == at { new.clone() } else { key }, value))
                        .collect();
                    *entries = renamed;
                    format!("[{place} renamed to {new}]")
                }
                _ => String::new(),
            },
            _ => match value {
                Value::Object(entries) => {
                    let key = (*random.pick(KEYS)).to_owned();
                    let new = random.pick(&values()).clone();
                    let text = format!("[{place} + {key}: {new}]");
                    entries.insert(key, new);
                    text
                }
                Value::Array(items) => {
                    items.push(random.pick(&values()).clone());
                    format!("[{place} + item]")
                }
                _ => String::new(),
            },
        });
    }
    change
}
