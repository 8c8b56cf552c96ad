//! `run`: containers, scripts, shell commands, other workflows.

use protocol::step::ProcessReturn;
use serde_json::{Map, Value};

use super::{DurationValue, ExternalResource};
use crate::expression::Template;

/// `run`.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is run.
    pub process: Process,
    /// Whether the task waits for its end; true when absent.
    pub await_: bool,
    /// What becomes the output.
    pub return_: ProcessReturn,
}

/// What a `run` task runs.
#[derive(Clone, Debug)]
pub enum Process {
    /// `run.container`
    Container(Container),
    /// `run.script`
    Script(Script),
    /// `run.shell`
    Shell(Shell),
    /// `run.workflow`
    Workflow(Subflow),
}

impl Process {
    /// The DSL's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Process::Container(_) => "container",
            Process::Script(_) => "script",
            Process::Shell(_) => "shell",
            Process::Workflow(_) => "workflow",
        }
    }
}

/// `run.container`.
#[derive(Clone, Debug)]
pub struct Container {
    /// Image; gives a string.
    pub image: Template,
    /// Name of the container; gives a string.
    pub name: Option<Template>,
    /// Command line; gives a string.
    pub command: Option<Template>,
    /// Ports, host → container.
    pub ports: Map<String, Value>,
    /// Volumes, host → container.
    pub volumes: Map<String, Value>,
    /// Environment, an object.
    pub environment: Template,
    /// Standard input; gives a string.
    pub stdin: Option<Template>,
    /// Arguments; each gives a string.
    pub arguments: Vec<Template>,
    /// When it is cleaned up.
    pub lifetime: Option<ContainerLifetime>,
    /// `ifNotPresent`, `always` or `never`.
    pub pull_policy: Option<String>,
}

/// `run.container.lifetime`.
#[derive(Clone, Debug)]
pub enum ContainerLifetime {
    /// Removed at its end.
    Always,
    /// Kept.
    Never,
    /// Removed after a while.
    Eventually(DurationValue),
}

/// `run.script`.
#[derive(Clone, Debug)]
pub struct Script {
    /// Language, such as `python` or `js`.
    pub language: String,
    /// Where its text is.
    pub source: ScriptSource,
    /// Standard input; gives a string.
    pub stdin: Option<Template>,
    /// Arguments; each gives a string.
    pub arguments: Vec<Template>,
    /// Environment, an object.
    pub environment: Template,
}

/// The text of a script.
#[derive(Clone, Debug)]
pub enum ScriptSource {
    /// In the document: text or an expression.
    Code(Template),
    /// Elsewhere.
    External(ExternalResource),
}

/// `run.shell`.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Command line; gives a string.
    pub command: Template,
    /// Standard input; gives a string.
    pub stdin: Option<Template>,
    /// Arguments; each gives a string.
    pub arguments: Vec<Template>,
    /// Environment, an object.
    pub environment: Template,
}

/// `run.workflow`.
#[derive(Clone, Debug)]
pub struct Subflow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version, or `latest`.
    pub version: String,
    /// Its input, an object; absent means the task's input.
    pub input: Option<Template>,
}
