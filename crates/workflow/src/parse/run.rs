//! Reads `run`.

use protocol::step::ProcessReturn;

use super::reader::{At, Reader};
use crate::model::{Container, ContainerLifetime, Process, Run, Script, ScriptSource, Shell, Subflow};

const RETURNS: &[(&str, ProcessReturn)] = &[
    ("stdout", ProcessReturn::Stdout),
    ("stderr", ProcessReturn::Stderr),
    ("code", ProcessReturn::Code),
    ("all", ProcessReturn::All),
    ("none", ProcessReturn::None),
];
const CONTAINER_KEYS: &[&str] = &[
    "image",
    "name",
    "command",
    "ports",
    "volumes",
    "environment",
    "stdin",
    "arguments",
    "lifetime",
    "pullPolicy",
];

impl Reader {
    pub(super) fn run(&self, at: &At<'_>) -> Option<Run> {
        let fields = self.fields(at, &["container", "script", "shell", "workflow", "await", "return"])?;
        let await_ = fields.get("await").and_then(|at| self.boolean(&at)).unwrap_or(true);
        let return_ = fields.get("return").and_then(|at| self.word(&at, RETURNS)).unwrap_or_default();
        let (kind, at) = fields.one_of(&["container", "script", "shell", "workflow"])?;
        let process = match kind {
            "container" => Process::Container(self.container(&at)?),
            "script" => Process::Script(self.script(&at)?),
            "shell" => Process::Shell(self.shell(&at)?),
            _ => Process::Workflow(self.subflow(&at)?),
        };
        Some(Run { process, await_, return_ })
    }

    fn container(&self, at: &At<'_>) -> Option<Container> {
        let fields = self.fields(at, CONTAINER_KEYS)?;
        let text = |key| fields.get(key).and_then(|at| self.string_template(&at));
        let image = fields.require("image").and_then(|at| self.string_template(&at));
        let policies = ["ifNotPresent", "always", "never"].map(|word| (word, word));
        Some(Container {
            image: image?,
            name: text("name"),
            command: text("command"),
            ports: self.object_or_empty(fields.get("ports")),
            volumes: self.object_or_empty(fields.get("volumes")),
            environment: self.object_template(fields.get("environment")),
            stdin: text("stdin"),
            arguments: self.string_templates(fields.get("arguments")),
            lifetime: fields.get("lifetime").and_then(|at| self.lifetime(&at)),
            pull_policy: fields.get("pullPolicy").and_then(|at| self.word(&at, &policies)).map(str::to_owned),
        })
    }

    fn lifetime(&self, at: &At<'_>) -> Option<ContainerLifetime> {
        let fields = self.fields(at, &["cleanup", "after"])?;
        let words = ["always", "never", "eventually"].map(|word| (word, word));
        let cleanup = fields.require("cleanup").and_then(|at| self.word(&at, &words))?;
        if cleanup == "eventually" {
            let after = fields.require("after").and_then(|at| self.duration(&at))?;
            return Some(ContainerLifetime::Eventually(after));
        }
        if let Some(at) = fields.get("after") {
            self.error(
                &at,
                "conflicting-keys",
                format!("`after` goes with `cleanup: eventually`, not with `{cleanup}`"),
            );
        }
        Some(if cleanup == "always" { ContainerLifetime::Always } else { ContainerLifetime::Never })
    }

    fn script(&self, at: &At<'_>) -> Option<Script> {
        let fields = self.fields(at, &["language", "code", "source", "stdin", "arguments", "environment"])?;
        let language = fields.require("language").and_then(|at| self.string(&at));
        let stdin = fields.get("stdin").and_then(|at| self.string_template(&at));
        let arguments = self.string_templates(fields.get("arguments"));
        let environment = self.object_template(fields.get("environment"));
        let (key, at) = fields.one_of(&["code", "source"])?;
        let source = match key {
            "code" => ScriptSource::Code(self.string_template(&at)?),
            _ => ScriptSource::External(self.external_resource(&at)?),
        };
        Some(Script { language: language?, source, stdin, arguments, environment })
    }

    fn shell(&self, at: &At<'_>) -> Option<Shell> {
        let fields = self.fields(at, &["command", "stdin", "arguments", "environment"])?;
        let command = fields.require("command").and_then(|at| self.string_template(&at));
        let stdin = fields.get("stdin").and_then(|at| self.string_template(&at));
        let arguments = self.string_templates(fields.get("arguments"));
        let environment = self.object_template(fields.get("environment"));
        Some(Shell { command: command?, stdin, arguments, environment })
    }

    fn subflow(&self, at: &At<'_>) -> Option<Subflow> {
        let fields = self.fields(at, &["namespace", "name", "version", "input"])?;
        let text = |key| fields.require(key).and_then(|at| self.string(&at));
        let (namespace, name, version) = (text("namespace"), text("name"), text("version"));
        let input = fields.get("input").map(|at| self.object_template(Some(at)));
        Some(Subflow { namespace: namespace?, name: name?, version: version?, input })
    }
}
