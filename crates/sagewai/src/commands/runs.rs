//! `sagewai runs`: list, show, control; logs and artifacts.

mod artifacts;
mod logs;

use clap::{Args, Subcommand};
use control::api::model::{Run, RunSummary, Step};
use serde_json::Value;

use super::client;
use super::run::{error_text, follow, result_text};
use crate::cli::Globals;
use crate::client::{Client, encoded};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table, run_tone, safe_text, since, steps_text};
use crate::process::{now, small_runtime};

/// Steps of one run that are shown with `--steps`.
const STEP_LIMIT: usize = 100_000;

/// Arguments of `sagewai runs`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List runs, the newest first
    #[command(
        after_help = "Examples:\n  sagewai runs list\n  sagewai runs list --state faulted --namespace acme --limit 500\n  \
        sagewai runs list --label team=data --output json"
    )]
    List(ListArguments),
    /// Show a run and its steps
    #[command(
        after_help = "Examples:\n  sagewai runs show 0192f0c1-…\n  sagewai runs show 0192f0c1-… --follow\n  \
        sagewai runs show 0192f0c1-… --history"
    )]
    Show {
        /// Id of the run.
        id: String,
        /// Go on until the run has ended.
        #[arg(long, short)]
        follow: bool,
        /// All steps, not the first 500.
        #[arg(long, conflicts_with = "follow")]
        steps: bool,
        /// Also the history: each event that the planner was told.
        #[arg(long, conflicts_with = "follow")]
        history: bool,
    },
    /// Print what the steps of a run wrote
    Logs(logs::Arguments),
    /// End a run; its running steps are told to stop
    #[command(after_help = "Examples:\n  sagewai runs cancel 0192f0c1-…")]
    Cancel {
        /// Id of the run.
        id: String,
    },
    /// Hold a run: no further step starts
    #[command(after_help = "Examples:\n  sagewai runs suspend 0192f0c1-…")]
    Suspend {
        /// Id of the run.
        id: String,
    },
    /// Go on with a suspended run
    #[command(after_help = "Examples:\n  sagewai runs resume 0192f0c1-…")]
    Resume {
        /// Id of the run.
        id: String,
    },
    /// Go on with a faulted run from the task that failed
    #[command(after_help = "Examples:\n  sagewai runs retry 0192f0c1-…")]
    Retry {
        /// Id of the run.
        id: String,
    },
    /// List the files that a run gave back, or fetch one
    Artifacts(artifacts::Arguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Only of this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// Only of this workflow.
    #[arg(long, requires = "namespace")]
    workflow: Option<String>,
    /// Only in this state: pending, running, waiting, suspended, completed, faulted, cancelled.
    #[arg(long)]
    state: Option<String>,
    /// Only with this label, key=value.
    #[arg(long)]
    label: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

pub(super) fn run(arguments: Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let client = client(globals)?;
    small_runtime()?.block_on(async {
        match arguments.command {
            Command::List(arguments) => list(&client, arguments, output).await,
            Command::Show { id, follow: true, .. } => follow(&client, &id, output).await,
            Command::Show { id, steps, history, .. } => show(&client, &id, steps, history, output).await,
            Command::Logs(arguments) => logs::run(&client, &arguments, output).await,
            Command::Cancel { id } => order(&client, &id, "cancel", output).await,
            Command::Suspend { id } => order(&client, &id, "suspend", output).await,
            Command::Resume { id } => order(&client, &id, "resume", output).await,
            Command::Retry { id } => order(&client, &id, "retry", output).await,
            Command::Artifacts(arguments) => artifacts::run(&client, &arguments, output).await,
        }
    })
}

async fn list(client: &Client, arguments: ListArguments, output: &Output) -> Result<Exit, Failure> {
    let ListArguments { namespace, workflow, state, label, limit } = arguments;
    let filters = [("namespace", namespace), ("workflow", workflow), ("state", state), ("label", label)];
    let given =
        filters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_deref()?))));
    let path = format!("/api/v1/runs?{}", given.collect::<Vec<_>>().join("&"));
    let runs: Vec<RunSummary> = client.list(&path, limit).await?;
    output.answer(&runs, || {
        let now = now();
        let mut table = Table::new(&["RUN", "WORKFLOW", "STATE", "AGE", "TIME"]);
        for run in &runs {
            table.row([
                (run.id.clone(), None),
                (format!("{}/{}:{}", run.namespace, run.workflow, run.version), None),
                (run.state.name().to_owned(), Some(run_tone(run.state))),
                (since(run.created, None, now), None),
                (since(run.created, run.ended, now), None),
            ]);
        }
        if table.is_empty() { "no runs\n".to_owned() } else { table.render(output.paint) }
    });
    Ok(Exit::Ok)
}

async fn show(client: &Client, id: &str, all: bool, history: bool, output: &Output) -> Result<Exit, Failure> {
    let path = format!("/api/v1/runs/{}", encoded(id));
    let mut run: Run = client.get(&path).await?;
    if all && run.more_steps.is_some() {
        run.steps = client.list::<Step>(&format!("{path}/steps"), STEP_LIMIT).await?;
        run.more_steps = None;
    }
    if history {
        let entries: Vec<control::api::model::HistoryEntry> =
            client.list(&format!("{path}/history"), STEP_LIMIT).await?;
        for entry in &entries {
            output.item(entry, || safe_text(&format!("{} {} {}\n", entry.number, entry.time, entry.event)));
        }
        return Ok(Exit::Ok);
    }
    output.answer(&run, || run_text(&run, all, output));
    Ok(Exit::Ok)
}

fn run_text(run: &Run, all: bool, output: &Output) -> String {
    let summary = &run.summary;
    let mut text = format!("workflow {}/{}:{}\n", summary.namespace, summary.workflow, summary.version);
    text.push_str(&format!("created  {}\n", summary.created));
    if let Some(ended) = summary.ended {
        text.push_str(&format!("ended    {ended}\n"));
    }
    for (key, value) in &summary.labels {
        text.push_str(&safe_text(&format!("label    {key}={value}\n")));
    }
    text.push('\n');
    text.push_str(&steps_text(run, all, output));
    for step in &run.steps {
        if let Some(error) = step.error.as_ref().filter(|error| !ended_it(run, error)) {
            text.push_str(&format!("\nstep {} {}\n{}", step.step, step.name, error_text(error, output)));
        }
    }
    let result = result_text(run, output);
    if !result.is_empty() {
        text.push('\n');
        text.push_str(&result);
    }
    let artifacts: usize = run.steps.iter().map(|step| step.artifacts).sum();
    if artifacts > 0 {
        text.push_str(&format!("\n{artifacts} artifacts: sagewai runs artifacts {}\n", summary.id));
    }
    text
}

/// Whether this error of a step is the one that ended the run, and so is shown as the run's.
fn ended_it(run: &Run, error: &Value) -> bool {
    run.error.as_ref().is_some_and(|of_run| {
        ["type", "title", "detail"].iter().all(|part| of_run.get(part) == error.get(part))
    })
}

async fn order(client: &Client, id: &str, verb: &str, output: &Output) -> Result<Exit, Failure> {
    let run: RunSummary = client.order(&format!("/api/v1/runs/{}/{verb}", encoded(id))).await?;
    output.answer(&run, || format!("run {} {}\n", run.id, run.state.name()));
    Ok(Exit::Ok)
}
