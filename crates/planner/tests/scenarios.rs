//! Golden scenarios: each file of `scenarios/planner` is a document and a story of events with what the planner answers.
//!
//! `SAGEWAI_BLESS=1 cargo nextest run -p planner` rewrites the answers, so that a change of behaviour is a diff to read.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use support::stories::{Story, files};
use support::{Twins, event, parse, tell};

#[test]
fn every_scenario_goes_as_it_is_told() {
    let files = files();
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
    let (head, _) = told.split_once("story: |\n").expect("a story");
    let Story { document, lines } = Story::read(told, file);
    let mut twins = Twins::new(parse(&document));
    let mut played = format!("{head}story: |\n");
    for line in &lines {
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

fn first_difference(told: &str, played: &str) -> String {
    let mut lines = told.lines().zip(played.lines()).enumerate();
    match lines.find(|(_, (told, played))| told != played) {
        Some((number, (told, played))) => format!("line {}:\n- {told}\n+ {played}", number + 1),
        None => "one is longer than the other".to_owned(),
    }
}
