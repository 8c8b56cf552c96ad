//! The arrows of ARCHITECTURE.md: which crate may depend on which. What is not listed here is forbidden.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// A crate and the crates of ours that it may depend on, in the order of ARCHITECTURE.md.
const ALLOWED: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("workflow", &["protocol"]),
    ("planner", &["workflow", "protocol"]),
    ("seal", &["protocol"]),
    ("store", &["planner", "protocol"]),
    ("control", &["workflow", "planner", "store", "protocol", "seal"]),
    ("caller", &["protocol"]),
    // `seal` for the fake and the suites alone; no worker has them.
    ("sandbox", &["protocol", "seal"]),
    ("sandbox-namespace", &["sandbox", "protocol"]),
    ("worker", &["protocol", "sandbox", "seal", "caller"]),
    ("guest", &["protocol", "seal"]),
    ("identity", &["protocol", "seal"]),
    (
        "sagewai",
        &[
            "protocol",
            "workflow",
            "planner",
            "store",
            "control",
            "seal",
            "sandbox",
            "sandbox-namespace",
            "worker",
            "identity",
        ],
    ),
    ("testkit", &[]),
    ("bench", &["protocol", "sandbox", "sandbox-namespace"]),
    ("xtask", &["testkit"]),
];

/// Crates of others that a pure crate may not reach: they do I/O, read clocks or are async.
const IMPURE: &[&str] =
    &["tokio", "async-trait", "hyper", "reqwest", "tonic", "axum", "rusqlite", "mio", "rustix", "socket2"];

/// The pure crates.
const PURE: &[&str] = &["workflow", "planner", "seal"];

/// Pairs of a process's crate and what must never be linked behind it, however far.
const NEVER_REACHES: &[(&str, &[&str])] = &[
    // The control plane has no way to execute a step, and none to a secret.
    ("control", &["sandbox", "sandbox-namespace", "worker", "guest", "identity", "age"]),
    // The worker never opens an identity and never sees a document or the store.
    ("worker", &["identity", "planner", "workflow", "store", "control", "age"]),
    ("sandbox", &["identity", "planner", "workflow", "store", "control"]),
    ("sandbox-namespace", &["identity", "planner", "workflow", "store", "control"]),
    // The broker knows no documents and no runs.
    ("identity", &["planner", "workflow", "store", "control", "worker", "sandbox"]),
];

#[test]
fn only_allowed_arrows_exist() {
    let graph = Graph::read();
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(name, to)| (*name, to.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for (name, direct) in &graph.ours {
        match allowed.get(name.as_str()) {
            None => wrong.push(format!("crate `{name}` is not in the table of arrows")),
            Some(may) => wrong.extend(
                direct
                    .iter()
                    .filter(|to| graph.ours.contains_key(*to) && !may.contains(to.as_str()))
                    .map(|to| format!("`{name}` -> `{to}` is forbidden")),
            ),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\nAn arrow is moved in ARCHITECTURE.md and here, with the reason.");
}

#[test]
fn pure_crates_reach_no_input_output_clock_or_async() {
    for name in PURE {
        let reached = reachable(name);
        let impure: Vec<_> = IMPURE.iter().filter(|impure| reached.contains(**impure)).collect();
        assert!(impure.is_empty(), "`{name}` is pure, yet it reaches {impure:?}");
    }
}

#[test]
fn no_process_can_reach_what_its_invariant_forbids() {
    for (name, never) in NEVER_REACHES {
        let reached = reachable(name);
        let wrong: Vec<_> = never.iter().filter(|to| reached.contains(**to)).collect();
        assert!(wrong.is_empty(), "`{name}` reaches {wrong:?}");
    }
}

#[test]
fn unsafe_code_stays_where_it_must_be() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, _) in ALLOWED.iter().filter(|(name, _)| !["guest", "sandbox-namespace"].contains(name)) {
        let beside = [root.join(name), root.join("..").join(name)];
        let folder = beside.iter().find(|folder| folder.is_dir()).expect("a crate has a folder");
        for file in rust_files(&folder.join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(
                !text.contains("unsafe_code"),
                "{}: only `guest` and `sandbox-namespace` may lift the ban on unsafe code",
                file.display()
            );
        }
    }
}

fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Names of crates and what they depend on, dev-dependencies left out.
struct Graph {
    ours: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                "x86_64-unknown-linux-gnu",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        let members: BTreeSet<&str> = strings(&metadata["workspace_members"]).collect();
        let names: BTreeMap<&str, &str> = metadata["packages"]
            .as_array()
            .expect("packages")
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let mut graph = Graph { ours: BTreeMap::new() };
        for node in metadata["resolve"]["nodes"].as_array().expect("nodes") {
            let id = text(&node["id"]);
            let to = node["deps"]
                .as_array()
                .expect("deps")
                .iter()
                .filter(|dependency| {
                    dependency["dep_kinds"]
                        .as_array()
                        .expect("kinds")
                        .iter()
                        .any(|kind| kind["kind"] != "dev")
                })
                .map(|dependency| names[text(&dependency["pkg"])].to_owned())
                .collect::<BTreeSet<_>>();
            if members.contains(id) {
                graph.ours.insert(names[id].to_owned(), to);
            }
        }
        graph
    }
}

/// Every crate behind `from` with the features that `from` alone asks for.
fn reachable(from: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--package",
            from,
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("cargo tree prints text");
    tree.lines().skip(1).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().expect("an array").iter().map(text)
}
