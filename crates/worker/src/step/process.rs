//! From the kinds of work to a process: its command line, the files it needs, its environment.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::step::{ProcessReturn, ProcessRun, StepError, Work};
use sandbox::session::PutFile;

use crate::agent::AgentManifest;
use crate::error::configuration;

/// Where the work of a step lies in its sandbox.
pub(crate) const WORKSPACE: &str = "/workspace";
/// Folder below the workspace for scripts.
const SCRIPT_FOLDER: &str = ".sagewai";
/// Folder below the workspace that is a CLI agent's HOME.
const AGENT_HOME: &str = "/workspace/.home";

/// A process, ready to be started.
pub(crate) struct Process {
    pub(crate) argv: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) stdin: Bytes,
    pub(crate) files: Vec<PutFile>,
    pub(crate) returns: ProcessReturn,
}

/// The process for a kind of work; `agents` are the manifests that the operator installed.
///
/// # Errors
/// The work is not a process, or this worker lacks what it needs.
pub(crate) fn prepare(work: &Work, agents: &[AgentManifest]) -> Result<Process, StepError> {
    match work {
        Work::Shell(run) => Ok(shell(run)),
        Work::Script { language, code, process } => script(language, code, process),
        Work::Container { process, .. } => Ok(container(process)),
        Work::CliAgent { agent, prompt, files, arguments } => {
            let manifest = find(agents, agent)?;
            Ok(cli_agent(manifest, prompt, files, arguments))
        }
        Work::Http(call) => super::request::prepare(call),
        Work::Noop { .. } => Err(configuration(
            "this kind of step runs in mode 0 only; remove `mode` from its `metadata.execution`",
        )),
    }
}

/// The manifest of a named agent.
pub(crate) fn find<'a>(agents: &'a [AgentManifest], name: &str) -> Result<&'a AgentManifest, StepError> {
    agents.iter().find(|manifest| manifest.name == name).ok_or_else(|| {
        configuration(format!("this worker has no manifest for the CLI agent {name:?}; its operator can add one to the folder of agents"))
    })
}

/// `sh -c COMMAND sh ARGUMENTS…`, so that the command sees its arguments as `$1`, `$2`, …
fn shell(run: &ProcessRun) -> Process {
    let argv = ["/bin/sh", "-c", &run.command, "sh"]
        .map(str::to_owned)
        .into_iter()
        .chain(run.arguments.iter().cloned());
    from(run, argv.collect(), Vec::new())
}

fn container(run: &ProcessRun) -> Process {
    if run.command.is_empty() { from(run, run.arguments.clone(), Vec::new()) } else { shell(run) }
}

fn script(language: &str, code: &str, run: &ProcessRun) -> Result<Process, StepError> {
    let (interpreter, extension) = match language {
        "python" => ("python3", "py"),
        // The DSL's scripts are ES modules: its examples import.
        "js" | "javascript" => ("node", "mjs"),
        other => {
            return Err(configuration(format!(
                "scripts in {other:?} are not supported; `python` and `javascript` are"
            )));
        }
    };
    let path = format!("{SCRIPT_FOLDER}/script.{extension}");
    let argv = [interpreter.to_owned(), format!("{WORKSPACE}/{path}")]
        .into_iter()
        .chain(run.arguments.iter().cloned());
    let file = PutFile { path, mode: 0o644, content: Bytes::copy_from_slice(code.as_bytes()) };
    Ok(from(run, argv.collect(), vec![file]))
}

fn from(run: &ProcessRun, argv: Vec<String>, files: Vec<PutFile>) -> Process {
    Process {
        argv,
        environment: run.environment.clone(),
        stdin: run.stdin.clone().unwrap_or_default().into_bytes().into(),
        files,
        returns: run.returns,
    }
}

fn cli_agent(
    manifest: &AgentManifest,
    prompt: &str,
    files: &BTreeMap<String, String>,
    arguments: &[String],
) -> Process {
    let (argv, prompt_to_stdin) = manifest.command_line(prompt, arguments);
    let mut environment = manifest.environment.clone();
    environment.entry("HOME".to_owned()).or_insert_with(|| AGENT_HOME.to_owned());
    let brought = manifest.files.iter().map(|file| PutFile {
        path: file.to.clone(),
        mode: if file.executable { 0o755 } else { 0o644 },
        content: file.content.clone().into(),
    });
    let given = files.iter().map(|(path, text)| PutFile {
        path: path.clone(),
        mode: 0o644,
        content: Bytes::copy_from_slice(text.as_bytes()),
    });
    // HOME has to exist even where the manifest puts nothing there.
    let home = PutFile { path: ".home/.keep".to_owned(), mode: 0o644, content: Bytes::new() };
    Process {
        argv,
        environment,
        stdin: if prompt_to_stdin { Bytes::copy_from_slice(prompt.as_bytes()) } else { Bytes::new() },
        files: std::iter::once(home).chain(brought).chain(given).collect(),
        returns: ProcessReturn::Stdout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str) -> ProcessRun {
        ProcessRun { command: command.to_owned(), arguments: vec!["Foo".to_owned()], ..ProcessRun::default() }
    }

    #[test]
    fn a_shell_command_sees_its_arguments_by_number() {
        let process = prepare(&Work::Shell(run("echo $1")), &[]).unwrap();
        assert_eq!(process.argv, ["/bin/sh", "-c", "echo $1", "sh", "Foo"]);
    }

    #[test]
    fn a_script_is_a_file_with_its_interpreter() {
        let work = Work::Script { language: "python".into(), code: "print(1)".into(), process: run("") };
        let process = prepare(&work, &[]).unwrap();
        assert_eq!(process.argv, ["python3", "/workspace/.sagewai/script.py", "Foo"]);
        assert_eq!(process.files[0].content, "print(1)");
        let work = Work::Script { language: "cobol".into(), code: String::new(), process: run("") };
        assert!(prepare(&work, &[]).err().unwrap().detail.contains("cobol"));
    }

    #[test]
    fn an_agent_without_a_manifest_is_named_with_the_remedy() {
        let work = Work::CliAgent {
            agent: "ghost".into(),
            prompt: String::new(),
            files: BTreeMap::new(),
            arguments: Vec::new(),
        };
        let error = prepare(&work, &[]).err().unwrap();
        assert!(
            error.detail.contains("ghost") && error.detail.contains("folder of agents"),
            "{}",
            error.detail
        );
    }
}
