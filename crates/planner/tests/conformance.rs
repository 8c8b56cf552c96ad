//! The conformance features of the DSL (Gherkin), where `../shared/serverless-workflow/ctk`, or the folder that
//! `SAGEWAI_CTK` names, is there to be read.
//!
//! Steps of runs are answered by a world that knows what the features' HTTP services would say. Features of tasks that cannot be
//! run yet are told and skipped.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use planner::{Action, Event, RunOutcome, TaskPhase};
use protocol::step::{HttpCall, HttpOutput, Work};
use serde_json::{Value, json};
use support::{Twins, completed, error, failed};
use workflow::Workflow;

/// Scenarios that must be played when the features are there: the conformance test tells nothing if it skips them all.
const MIN_PLAYED: usize = 8;

/// A scenario of a feature: its name and its steps, each with the text between its quotes.
struct Scenario {
    name: String,
    steps: Vec<(String, Option<String>)>,
}

/// What a scenario's run did.
#[derive(Default)]
struct Played {
    outcome: Option<RunOutcome>,
    /// Names of tasks in the order in which they began.
    began: Vec<String>,
}

#[test]
fn the_features_of_the_dsl_hold() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/serverless-workflow/ctk");
    let folder = std::env::var_os("SAGEWAI_CTK").map_or(shared, PathBuf::from);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: no conformance features at {}", folder.display());
        return;
    };
    let mut played = 0;
    for entry in entries {
        let path = entry.expect("an entry of the folder").path();
        if path.extension().is_none_or(|extension| extension != "feature") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a feature is readable");
        for scenario in read(&text) {
            eprintln!("{}: {}", path.display(), scenario.name);
            played += usize::from(play(&scenario));
        }
    }
    assert!(played >= MIN_PLAYED, "only {played} scenarios were played");
}

fn read(feature: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut lines = feature.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("Scenario:") {
            scenarios.push(Scenario { name: name.trim().to_owned(), steps: Vec::new() });
        } else if let Some(scenario) = scenarios.last_mut() {
            if line.starts_with("\"\"\"") {
                let quoted: Vec<&str> =
                    lines.by_ref().take_while(|line| !line.trim().starts_with("\"\"\"")).collect();
                if let Some((_, text)) = scenario.steps.last_mut() {
                    *text = Some(quoted.join("\n"));
                }
            } else if let Some(step) =
                ["Given ", "When ", "Then ", "And "].iter().find_map(|word| line.strip_prefix(word))
            {
                scenario.steps.push((step.trim_end_matches(':').to_owned(), None));
            }
        }
    }
    scenarios
}

/// Plays a scenario; false when it needs what cannot be run yet.
fn play(scenario: &Scenario) -> bool {
    let mut document = String::new();
    let mut input = Value::Null;
    let mut played = Played::default();
    for (step, text) in &scenario.steps {
        let quoted = text.as_deref().unwrap_or_default();
        match step.as_str() {
            "a workflow with definition" => quoted.clone_into(&mut document),
            "given the workflow input is" => input = yaml(quoted),
            "the workflow is executed" => match execute(&document, &input) {
                Some(result) => played = result,
                None => return false,
            },
            expectation => expect(expectation, quoted, &played),
        }
    }
    true
}

fn yaml(text: &str) -> Value {
    workflow::testing::yaml_to_json(text).unwrap_or_else(|problem| panic!("{problem:?} in\n{text}"))
}

fn execute(document: &str, input: &Value) -> Option<Played> {
    let workflow = match Workflow::parse(document) {
        Ok(workflow) => workflow,
        Err(diagnostics) => panic!("the document is refused: {diagnostics:#?}\n{document}"),
    };
    let mut twins = Twins::new(workflow.into());
    let mut played = Played::default();
    let mut events = vec![Event::Started { input: input.clone(), at: twins.now }];
    while let Some(event) = events.pop() {
        for action in twins.apply(&event).expect("an event in order") {
            match action {
                Action::StartStep { step, spec } => {
                    let Work::Http(call) = &spec.work else { panic!("a feature runs {spec:?}") };
                    events.push(match answer(call) {
                        Some(output) => completed(step.0, output, twins.now),
                        None => failed(step.0, error(404, "communication", "Not found"), twins.now),
                    });
                }
                Action::Note(note) if note.phase == TaskPhase::Started => {
                    played.began.push(note.name.to_string())
                }
                Action::Finish(RunOutcome::Faulted { error })
                    if error.detail.ends_with("cannot be run yet") =>
                {
                    eprintln!("  skipped: {}", error.detail);
                    return None;
                }
                Action::Finish(outcome) => played.outcome = Some(outcome),
                _ => {}
            }
        }
    }
    Some(played)
}

/// What the services of the features say.
fn answer(call: &HttpCall) -> Option<Value> {
    let pet = |id: u64| json!({ "id": id, "name": "Milou", "status": "available" });
    let content = match call.uri.as_str() {
        "https://petstore.swagger.io/v2/pet/findByStatus?status=available" => json!([pet(1), pet(2)]),
        "https://petstore.swagger.io/v2/pet/1" => pet(1),
        "https://petstore.swagger.io/v2/pet/2" => pet(2),
        "https://httpbin.org/basic-auth/serverless-workflow/conformance-test" => {
            assert!(call.authentication.is_some(), "the credentials are sent");
            json!({ "authenticated": true })
        }
        _ => return None,
    };
    Some(match call.output {
        HttpOutput::Response => json!({
            "request": { "method": call.method, "uri": call.uri, "headers": {} },
            "statusCode": 200,
            "headers": {},
            "content": content,
        }),
        HttpOutput::Content | HttpOutput::Raw => content,
    })
}

fn expect(expectation: &str, quoted: &str, played: &Played) {
    let quotes: Vec<&str> = expectation.split('\'').skip(1).step_by(2).collect();
    let words: Vec<&str> = expectation.split(' ').collect();
    match expectation {
        "the workflow should complete" => drop(output(played)),
        "the workflow should complete with output" => assert_eq!(*output(played), yaml(quoted)),
        "the workflow should fault" => drop(fault(played)),
        "the workflow should fault with error" => {
            let (actual, expected) = (fault(played), yaml(quoted));
            for (key, value) in expected.as_object().expect("an error is an object") {
                assert_eq!(actual.get(key), Some(value), "{key} of {actual}");
            }
        }
        "the workflow should cancel" => assert!(matches!(played.outcome, Some(RunOutcome::Cancelled { .. }))),
        _ if expectation.contains("should have propert") => {
            for path in &quotes {
                assert!(at(output(played), path).is_some(), "no {path} in {}", output(played));
            }
        }
        _ if expectation.ends_with("property with value") => {
            assert_eq!(at(output(played), quotes[0]), Some(&yaml(quoted)));
        }
        _ if expectation.contains("property containing") => {
            let items = at(output(played), quotes[0]).and_then(Value::as_array).expect("an array");
            assert_eq!(items.len().to_string(), words[words.len() - 2]);
        }
        _ if expectation.ends_with("should run first") => {
            assert_eq!(played.began.first().map(String::as_str), Some(words[0]));
        }
        _ if expectation.ends_with("should run last") => {
            assert_eq!(played.began.last().map(String::as_str), Some(words[0]));
        }
        _ if expectation.contains("should run after") => {
            assert!(place(played, words[0]) > place(played, words[4]))
        }
        _ if expectation.contains("should run before") => {
            assert!(place(played, words[0]) < place(played, words[4]))
        }
        other => panic!("no such step of a feature: {other}"),
    }
}

fn output(played: &Played) -> &Value {
    match &played.outcome {
        Some(RunOutcome::Completed { output }) => output,
        other => panic!("the run did not complete: {other:?}"),
    }
}

fn fault(played: &Played) -> Value {
    match &played.outcome {
        Some(RunOutcome::Faulted { error }) => error.to_json(),
        other => panic!("the run did not fault: {other:?}"),
    }
}

fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

fn place(played: &Played, task: &str) -> usize {
    played.began.iter().position(|name| name == task).unwrap_or_else(|| panic!("{task} did not run"))
}
