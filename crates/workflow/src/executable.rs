//! What of a valid document cannot be run yet: refused with its place, never silently ignored.

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::expression::Template;
use crate::model::{
    Authentication, Call, Credentials, HttpCall, Process, Reference, Schema, SchemaSource, ScriptSource,
    Task, TaskKind, Workflow,
};
use crate::parse::syntax::Place;
use crate::validate::{COMING, place_of};

const CODE: &str = "not-supported-yet";

impl Workflow {
    /// Every construct of the document that is valid and cannot be run yet. `text` is what the document was parsed from:
    /// it gives the lines and columns.
    pub fn check_executable(&self, text: &str) -> Result<(), Diagnostics> {
        let mut check = Check { workflow: self, found: Vec::new() };
        check.document();
        let mut tasks = Vec::new();
        self.each_task(&mut |task| tasks.push(task));
        for task in tasks {
            check.task(task);
        }
        if check.found.is_empty() {
            return Ok(());
        }
        let root = crate::parse::syntax::read(text).ok();
        for diagnostic in &mut check.found {
            if let Some(root) = &root {
                let Place { line, column } = place_of(root, &diagnostic.pointer);
                (diagnostic.line, diagnostic.column) = (line, column);
            }
        }
        let mut diagnostics = Diagnostics(check.found);
        diagnostics.sort();
        Err(diagnostics)
    }
}

struct Check<'a> {
    workflow: &'a Workflow,
    found: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    fn refuse(&mut self, pointer: impl Into<String>, what: &str, help: Option<&str>) {
        self.found.push(Diagnostic {
            severity: Severity::Error,
            code: CODE,
            message: format!("{what}: not supported yet"),
            pointer: pointer.into(),
            line: 0,
            column: 0,
            help: help.map(str::to_owned),
        });
    }

    fn document(&mut self) {
        let workflow = self.workflow;
        if workflow.schedule.is_some() {
            self.refuse(
                "/schedule",
                "schedules",
                Some("start runs by `sagewai run` or the API, for example from cron"),
            );
        }
        if !workflow.use_.extensions.is_empty() {
            self.refuse("/use/extensions", "extensions", Some("write the tasks where they belong"));
        }
        if !workflow.use_.catalogs.is_empty() {
            self.refuse("/use/catalogs", "catalogs", Some("define the functions under use.functions"));
        }
        for (name, policy) in &workflow.use_.authentications {
            self.policy(policy, &format!("/use/authentications/{}", escape(name)));
        }
        self.schema(workflow.input.schema.as_ref(), "/input");
        self.schema(workflow.output.schema.as_ref(), "/output");
    }

    fn schema(&mut self, schema: Option<&Schema>, pointer: &str) {
        match schema {
            Some(Schema { source: SchemaSource::External(_), .. }) => {
                let help = Some("put the schema into the document: schema.document");
                self.refuse(format!("{pointer}/schema/resource"), "external schemas", help);
            }
            Some(Schema { format, .. }) if format != "json" && !format.starts_with("json:") => {
                self.refuse(
                    format!("{pointer}/schema/format"),
                    &format!("schemas in the format `{format}`"),
                    None,
                );
            }
            _ => {}
        }
    }

    fn task(&mut self, task: &'a Task) {
        let pointer = task.pointer.as_str();
        self.schema(task.input.schema.as_ref(), &format!("{pointer}/input"));
        self.schema(task.output.schema.as_ref(), &format!("{pointer}/output"));
        self.schema(task.export.schema.as_ref(), &format!("{pointer}/export"));
        match &task.kind {
            TaskKind::Emit(_) => self.refuse(format!("{pointer}/emit"), "emit", None),
            TaskKind::Listen(_) => self.refuse(format!("{pointer}/listen"), "listen", None),
            TaskKind::Call(call) => self.call(call, pointer),
            TaskKind::Run(run) => self.run(&run.process, run.await_, pointer),
            TaskKind::Do(_)
            | TaskKind::For(_)
            | TaskKind::Fork(_)
            | TaskKind::Raise(_)
            | TaskKind::Set(_)
            | TaskKind::Switch(_)
            | TaskKind::Try(_)
            | TaskKind::Wait(_) => {}
        }
    }

    fn call(&mut self, call: &'a Call, pointer: &str) {
        match call {
            Call::Http(http) => self.http(http, &format!("{pointer}/with/endpoint")),
            Call::CliAgent(_) | Call::Noop(_) => {}
            Call::Function(function) => {
                let name = &function.function;
                if function.is_external() {
                    let help = Some("define the function under use.functions");
                    self.refuse(format!("{pointer}/call"), "functions from outside of the document", help);
                } else if COMING.contains(&name.as_str()) && self.workflow.function(name).is_none() {
                    self.refuse(
                        format!("{pointer}/call"),
                        &format!("call: {name}"),
                        Some("call: cli-agent is"),
                    );
                }
            }
            Call::OpenApi(_) | Call::Grpc(_) | Call::AsyncApi(_) | Call::A2a(_) | Call::Mcp(_) => {
                self.refuse(
                    format!("{pointer}/call"),
                    &format!("call: {}", call.name()),
                    Some("call: http may do the same"),
                );
            }
        }
    }

    fn http(&mut self, http: &'a HttpCall, pointer: &str) {
        // A policy of `use.authentications` is looked at there.
        if let Some(Reference::Inline(policy)) = &http.endpoint.authentication {
            self.policy(policy, &format!("{pointer}/authentication"));
        }
    }

    /// What an authority is asked for, as far as it is not for an expression to say.
    fn policy(&mut self, policy: &Authentication, pointer: &str) {
        let (Authentication::OAuth2(Credentials::Literal(settings))
        | Authentication::Oidc(Credentials::Literal(settings))) = policy
        else {
            return;
        };
        let pointer = format!("{pointer}/{}", policy.scheme());
        let stated = |keys: &[&str]| {
            let mut found = settings;
            for key in keys {
                match found {
                    Template::Object(entries) => {
                        found = &entries.iter().find(|(name, _)| name == key)?.1;
                    }
                    Template::Constant(value) => {
                        let rest = &keys[keys.iter().position(|k| k == key)?..];
                        return rest.iter().try_fold(&**value, |value, key| value.get(key))?.as_str();
                    }
                    _ => return None,
                }
            }
            match found {
                Template::Constant(value) => value.as_str(),
                _ => None,
            }
        };
        if let Some(grant) = stated(&["grant"])
            && !matches!(grant, "client_credentials" | "password")
        {
            let help = Some("client_credentials and password are");
            self.refuse(format!("{pointer}/grant"), &format!("the grant `{grant}`"), help);
        }
        if let Some(way) = stated(&["client", "authentication"])
            && !matches!(way, "client_secret_basic" | "client_secret_post" | "none")
        {
            let help = Some("client_secret_post, client_secret_basic and none are");
            self.refuse(
                format!("{pointer}/client/authentication"),
                &format!("the client authentication `{way}`"),
                help,
            );
        }
    }

    fn run(&mut self, process: &Process, await_: bool, pointer: &str) {
        if !await_ {
            self.refuse(
                format!("{pointer}/run/await"),
                "run without waiting for its end",
                Some("put the task into a fork"),
            );
        }
        match process {
            Process::Script(script) => {
                let pointer = format!("{pointer}/run/script");
                if let ScriptSource::External(_) = script.source {
                    self.refuse(
                        format!("{pointer}/source"),
                        "scripts from elsewhere",
                        Some("put the text into `code`"),
                    );
                }
                if !matches!(script.language.to_ascii_lowercase().as_str(), "python" | "js" | "javascript") {
                    let what = format!("scripts in `{}`", script.language);
                    self.refuse(
                        format!("{pointer}/language"),
                        &what,
                        Some("python and js are; others by run.shell"),
                    );
                }
            }
            Process::Container(container) => {
                let pointer = format!("{pointer}/run/container");
                let parts = [
                    ("ports", !container.ports.is_empty()),
                    ("volumes", !container.volumes.is_empty()),
                    (
                        "lifetime",
                        matches!(&container.lifetime, Some(l) if !matches!(l, crate::model::ContainerLifetime::Always)),
                    ),
                ];
                for (key, used) in parts {
                    if used {
                        let help = Some(
                            "a step's sandbox is destroyed at its end, and reaches only what `network` lists",
                        );
                        self.refuse(format!("{pointer}/{key}"), &format!("run.container.{key}"), help);
                    }
                }
            }
            Process::Shell(_) | Process::Workflow(_) => {}
        }
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
