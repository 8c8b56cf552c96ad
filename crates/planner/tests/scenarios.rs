//! Golden scenarios: each file of `scenarios/planner` is a document and a story of events with what the planner answers.
//!
//! `SAGEWAI_BLESS=1 cargo nextest run -p planner` rewrites the answers, so that a change of behaviour is a diff to read.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use support::{Twins, event, parse, tell};

/// A line of a story that stands alone and is kept: an event, or a comment.
fn is_kept(line: &str) -> bool {
    line.starts_with('>') || line.starts_with('#')
}

#[test]
fn every_scenario_goes_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/planner");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    let bless = std::env::var_os("SAGEWAI_BLESS").is_some();
    let mut different = Vec::new();
    for file in &files {
        let told = fs::read_to_string(file).expect("a scenario is readable");
        let played = play(&told, file);
        if bless {
            fs::write(file, played).expect("a scenario is writable");
        } else if played != told {
            different.push(format!("{}\n{}", file.display(), first_difference(&told, &played)));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {} scenarios went otherwise (SAGEWAI_BLESS=1 accepts it):\n{}",
        different.len(),
        files.len(),
        different.join("\n")
    );
}

/// Plays the story of a file and writes the file anew.
fn play(told: &str, file: &Path) -> String {
    let (head, story) =
        told.split_once("story: |\n").unwrap_or_else(|| panic!("{} has no `story: |`", file.display()));
    let (_, document) =
        head.split_once("document: |\n").unwrap_or_else(|| panic!("{} has no `document: |`", file.display()));
    eprintln!("{}", file.display());
    let mut twins = Twins::new(parse(&outdent(document)));
    let mut played = format!("{head}story: |\n");
    for line in outdent(story).lines().filter(|line| is_kept(line)) {
        let _ = writeln!(played, "  {line}");
        let Some(text) = line.strip_prefix('>') else {
            continue;
        };
        let event = event(text, &mut twins)
            .unwrap_or_else(|problem| panic!("{}: `{line}`: {problem}", file.display()));
        let answer = twins.apply(&event);
        for line in tell(&answer, twins.now).lines() {
            let _ = writeln!(played, "    {line}");
        }
        let _ = writeln!(played, "    = {}", twins.status());
    }
    played
}

fn outdent(block: &str) -> String {
    block.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}

fn first_difference(told: &str, played: &str) -> String {
    let mut lines = told.lines().zip(played.lines()).enumerate();
    match lines.find(|(_, (told, played))| told != played) {
        Some((number, (told, played))) => format!("line {}:\n- {told}\n+ {played}", number + 1),
        None => "one is longer than the other".to_owned(),
    }
}
