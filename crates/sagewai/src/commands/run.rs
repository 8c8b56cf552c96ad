//! `sagewai run`: submits a run, and follows it.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use control::api::model::{Event, Run, RunState, RunSummary, SubmitRun, WorkflowReference};
use serde_json::Value;

use super::client;
use crate::cli::Globals;
use crate::client::{Client, encoded};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Progress, Tone, safe_text, write};
use crate::process::{asked_to_stop, small_runtime};

/// Bytes of a document or an input.
const INPUT_LIMIT_BYTES: u64 = 4 << 20;
/// First and longest pause before a stream that was cut is opened again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Times in a row that a stream may fail to open before the command gives up.
const RECONNECT_LIMIT: u32 = 20;

/// Arguments of `sagewai run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sagewai run workflow.yaml --follow\n  \
    sagewai run workflow.yaml --input '{\"customer\": 7}'\n  \
    cat input.json | sagewai run workflow.yaml --input - --idempotency-key order-1187\n  \
    sagewai run acme/weekly-report --input @input.json       a published workflow, its latest version\n  \
    sagewai run acme/weekly-report:1.2.0 --output json")]
pub(crate) struct Arguments {
    /// File of a workflow document, `-` for standard input, or a published workflow as namespace/name[:version].
    #[arg(value_name = "FILE|WORKFLOW")]
    what: String,
    /// The run's input: JSON, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// Show the steps until the run has ended; Ctrl-C stops showing, not the run.
    #[arg(long, short)]
    follow: bool,
    /// Namespace that the document must be of.
    #[arg(long)]
    namespace: Option<String>,
    /// The same key with the same request gives the same run.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    idempotency_key: Option<String>,
    /// Labels to find the run by: key=value, may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let (request, document) = request(arguments)?;
    let client = client(globals)?;
    small_runtime()?.block_on(async {
        let key = arguments.idempotency_key.as_deref();
        let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        let submitted: Result<RunSummary, Failure> =
            client.post_with("/api/v1/runs", &request, &headers).await;
        let summary = submitted.map_err(|failure| drawn_on(failure, &arguments.what, document.as_deref()))?;
        if arguments.follow {
            return follow(&client, &summary.id, output).await;
        }
        output.answer(&summary, || format!("run {} {}\n", summary.id, summary.state.name()));
        output.remark(&format!("follow it: sagewai runs show {} --follow", summary.id));
        Ok(Exit::Ok)
    })
}

fn request(arguments: &Arguments) -> Result<(SubmitRun, Option<String>), Failure> {
    let mut labels = std::collections::BTreeMap::new();
    for label in &arguments.labels {
        match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => labels.insert(key.to_owned(), value.to_owned()),
            _ => {
                return Err(Failure::usage(format!("label `{label}` is not of the form key=value"))
                    .hint("as in --label team=data"));
            }
        };
    }
    let input = arguments.input.as_deref().map(input).transpose()?.unwrap_or(Value::Null);
    let mut request =
        SubmitRun { input, labels, namespace: arguments.namespace.clone(), ..SubmitRun::default() };
    if let Some(reference) = published(&arguments.what) {
        request.namespace = None;
        request.workflow = Some(reference);
        return Ok((request, None));
    }
    if arguments.what == "-" && arguments.input.as_deref() == Some("-") {
        return Err(Failure::usage("document and input cannot both come from standard input")
            .hint("put one of them in a file"));
    }
    let text = document(&arguments.what)?;
    request.document = Some(text.clone());
    Ok((request, Some(text)))
}

/// `namespace/name[:version]`, where no file is of that name.
fn published(what: &str) -> Option<WorkflowReference> {
    let looks_like_file =
        what == "-" || what.ends_with(".yaml") || what.ends_with(".yml") || what.ends_with(".json");
    if looks_like_file || Path::new(what).exists() {
        return None;
    }
    let (namespace, rest) = what.split_once('/')?;
    let (name, version) = match rest.split_once(':') {
        Some((name, version)) => (name, Some(version.to_owned())),
        None => (rest, None),
    };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (word(namespace) && word(name)).then(|| WorkflowReference {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        version,
    })
}

/// The text of a document: of a file, or of standard input for `-`.
pub(super) fn document(what: &str) -> Result<String, Failure> {
    if what == "-" {
        read_text(std::io::stdin().lock(), Path::new("standard input"))
    } else {
        read_file(Path::new(what))
    }
}

fn input(argument: &str) -> Result<Value, Failure> {
    let (text, place) = match argument.strip_prefix('@') {
        Some(path) => (read_file(Path::new(path))?, path.to_owned()),
        None if argument == "-" => {
            (read_text(std::io::stdin().lock(), Path::new("standard input"))?, "standard input".to_owned())
        }
        None => (argument.to_owned(), "--input".to_owned()),
    };
    serde_json::from_str(&text).map_err(|error| {
        Failure {
            exit: Exit::Invalid,
            ..Failure::usage(format!("the input of {place} is not JSON")).because(&error)
        }
        .hint("quote it for the shell, as in --input '{\"n\": 1}', or put it in a file: --input @input.json")
    })
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let file = std::fs::File::open(path).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure { exit, ..Failure::file("read", path, &error) }
    })?;
    read_text(file, path)
}

fn read_text(source: impl Read, place: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source
        .take(INPUT_LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("read", place, &error))?;
    if bytes.len() as u64 > INPUT_LIMIT_BYTES {
        let message = format!("{} is larger than {} MiB", place.display(), INPUT_LIMIT_BYTES >> 20);
        return Err(Failure::new(Exit::Invalid, message)
            .hint("keep large data in a store of your own and pass its address"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let message = format!("{} is no text in UTF-8: line {line} has a byte that is none", place.display());
        Failure::new(Exit::Invalid, message).hint("save it as UTF-8")
    })
}

/// A refusal of a document, to be drawn on its text.
pub(super) fn drawn_on(failure: Failure, file: &str, text: Option<&str>) -> Failure {
    match (failure.problem_findings.is_empty(), text) {
        (false, Some(text)) => Failure::document(file, text, failure.problem_findings),
        _ => failure,
    }
}

/// Shows a run until it has ended. A stream that was cut is opened again: each begins with the whole state.
pub(super) async fn follow(client: &Client, id: &str, output: &Output) -> Result<Exit, Failure> {
    let shown = show_until_end(client, id, output);
    tokio::pin!(shown);
    tokio::select! {
        ended = &mut shown => ended,
        stopped = asked_to_stop() => {
            stopped?;
            output.remark(&format!("the run goes on: sagewai runs show {id} --follow, or sagewai runs cancel {id}"));
            Ok(Exit::Interrupted)
        }
    }
}

async fn show_until_end(client: &Client, id: &str, output: &Output) -> Result<Exit, Failure> {
    let path = format!("/api/v1/runs/{}/events", encoded(id));
    let mut progress = Progress::new(*output);
    let mut pause = RECONNECT.0;
    let mut failures = 0;
    loop {
        match client.events(&path).await {
            Ok(mut events) => {
                (pause, failures) = (RECONNECT.0, 0);
                loop {
                    let event = tokio::select! {
                        event = events.next() => event,
                        () = tokio::time::sleep(Duration::from_secs(1)) => { progress.tick(); continue }
                    };
                    let Some(event) = event else { break };
                    let Ok(event) = serde_json::from_str::<Event>(&event.data) else { continue };
                    let end = match &event {
                        Event::End { state } => Some(*state),
                        _ => None,
                    };
                    progress.event(event);
                    if let Some(state) = end {
                        return Ok(ended(progress.run(), state, output));
                    }
                }
            }
            Err(failure) if failure.exit == Exit::Unreachable && failures < RECONNECT_LIMIT => failures += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT.1);
    }
}

/// Says how a run ended, and what came out.
fn ended(run: Option<&Run>, state: RunState, output: &Output) -> Exit {
    if let (false, Some(run)) = (output.is_json(), run) {
        write(&result_text(run, output));
    }
    if state == RunState::Completed { Exit::Ok } else { Exit::Faulted }
}

/// Output or error of a run that has ended.
pub(super) fn result_text(run: &Run, output: &Output) -> String {
    let mut text = String::new();
    if let Some(value) = &run.output {
        let shown = serde_json::to_string_pretty(value).expect("a value is plain data");
        text.push_str(&format!("{}\n{}\n", output.paint.tone(Tone::Note, "output"), safe_text(&shown)));
    }
    if let Some(error) = &run.error {
        text.push_str(&error_text(error, output));
    }
    text
}

/// An error in the shape of DSL errors.
pub(super) fn error_text(error: &Value, output: &Output) -> String {
    let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("{}: {}\n", output.paint.tone(Tone::Bad, "faulted"), safe_text(part("title")));
    if !part("detail").is_empty() {
        text.push_str(&format!("  {}\n", safe_text(part("detail")).replace('\n', "\n  ")));
    }
    for name in ["type", "instance"] {
        if !part(name).is_empty() {
            text.push_str(&format!("  {name}: {}\n", safe_text(part(name))));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_workflow_is_told_from_a_file() {
        let reference = published("acme/report:1.2.0").unwrap();
        assert_eq!((reference.namespace.as_str(), reference.name.as_str()), ("acme", "report"));
        assert_eq!(reference.version.as_deref(), Some("1.2.0"));
        assert!(published("acme/report").unwrap().version.is_none());
        for file in ["-", "w.yaml", "a/b.json", "report", "./a/b", "/etc/hostname"] {
            assert!(published(file).is_none(), "{file}");
        }
    }
}
