//! `sagewai workflow`: validate, publish, list.

use clap::{Args, Subcommand};
use control::api::model::{Document, Validation, WorkflowSummary};
use control::api::problem::Finding;

use super::client;
use super::run::{document, drawn_on};
use crate::cli::Globals;
use crate::client::encoded;
use crate::exit::Exit;
use crate::failure::{Failure, Findings};
use crate::output::{Output, Table, draw_findings, write};
use crate::process::small_runtime;

/// Arguments of `sagewai workflow`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check documents, without a server
    #[command(after_help = "Examples:\n  sagewai workflow validate workflow.yaml\n  \
        sagewai workflow validate *.yaml --output json")]
    Validate {
        /// Files, or `-` for standard input.
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Publish a document under its namespace, name and version
    #[command(after_help = "Examples:\n  sagewai workflow publish workflow.yaml\n\n\
        A published version never changes: raise document.version for another text.")]
    Publish {
        /// File, or `-` for standard input.
        file: String,
    },
    /// List published workflows
    #[command(
        after_help = "Examples:\n  sagewai workflow list\n  sagewai workflow list --namespace acme --name weekly-report"
    )]
    List {
        /// Only of this namespace.
        #[arg(long)]
        namespace: Option<String>,
        /// Only with this name.
        #[arg(long, requires = "namespace")]
        name: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

pub(super) fn run(arguments: Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Validate { files } => validate(&files, output),
        Command::Publish { file } => publish(&file, globals, output),
        Command::List { namespace, name, limit } => list(namespace, name, limit, globals, output),
    }
}

fn validate(files: &[String], output: &Output) -> Result<Exit, Failure> {
    let mut refused = 0;
    for file in files {
        let text = document(file)?;
        let diagnostics = check(&text);
        let findings: Vec<Finding> = diagnostics.iter().map(Finding::from).collect();
        let valid = !diagnostics.has_errors();
        refused += usize::from(!valid);
        let answer = Validation { valid, findings: findings.clone() };
        output.item(
            &serde_json::json!({ "file": file, "valid": valid, "findings": answer.findings }),
            || {
                let drawn = draw_findings(&Findings { file: file.clone(), text, findings }, output.paint);
                format!("{drawn}{file} is {}\n", if valid { "valid" } else { "refused" })
            },
        );
    }
    Ok(if refused == 0 { Exit::Ok } else { Exit::Invalid })
}

/// All findings about a document; errors refuse it, also what cannot be run yet.
fn check(text: &str) -> workflow::Diagnostics {
    let (parsed, mut findings) = workflow::Workflow::parse_with_warnings(text);
    if let Some(parsed) = parsed
        && let Err(missing) = parsed.check_executable(text)
    {
        findings.0.extend(missing.0);
    }
    findings
}

fn publish(file: &str, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let text = document(file)?;
    let client = client(globals)?;
    let request = Document { document: text.clone() };
    let published: Result<WorkflowSummary, Failure> =
        small_runtime()?.block_on(client.post("/api/v1/workflows", &request));
    let summary = published.map_err(|failure| drawn_on(failure, file, Some(&text)))?;
    if !output.is_json() {
        let warnings = Findings { file: file.to_owned(), text, findings: summary.warnings.clone() };
        write(&draw_findings(&warnings, output.paint));
    }
    output.answer(&summary, || {
        format!("published {}/{}:{}\n", summary.namespace, summary.name, summary.version)
    });
    Ok(Exit::Ok)
}

fn list(
    namespace: Option<String>,
    name: Option<String>,
    limit: usize,
    globals: &Globals,
    output: &Output,
) -> Result<Exit, Failure> {
    let client = client(globals)?;
    let mut query = Vec::new();
    query.extend(namespace.map(|namespace| format!("namespace={}", encoded(&namespace))));
    query.extend(name.map(|name| format!("name={}", encoded(&name))));
    let path = format!("/api/v1/workflows?{}", query.join("&"));
    let workflows: Vec<WorkflowSummary> = small_runtime()?.block_on(client.list(&path, limit))?;
    output.answer(&workflows, || {
        let mut table = Table::new(&["WORKFLOW", "VERSION", "PUBLISHED"]);
        for workflow in &workflows {
            let published = workflow.published.map(|time| time.to_string()).unwrap_or_default();
            table.plain([
                format!("{}/{}", workflow.namespace, workflow.name),
                workflow.version.clone(),
                published,
            ]);
        }
        if table.is_empty() { "no workflows\n".to_owned() } else { table.render(output.paint) }
    });
    Ok(Exit::Ok)
}
