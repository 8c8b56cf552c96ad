//! Rules beyond the shape: names resolve, targets exist, expressions read variables that are there.

use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, Severity};
use crate::expression::{Expression, Template};
use crate::model::{
    Authentication, Call, Catch, Credentials, DurationValue, Endpoint, FlowDirective, HttpCall, InputFilter,
    OutputFilter, Process, Reference, RetryPolicy, ScriptSource, Task, TaskKind, TaskList, Timeout, Uri,
    Workflow,
};
use crate::parse::reader::nearest;
use crate::parse::syntax::{Content, Node, Place};

/// Calls of the design that are not built yet.
pub(crate) const COMING: &[&str] = &["llm", "agent"];
/// Variables that every expression of a task sees; a task's own come on top (DSL, "runtime expression arguments").
const ALWAYS: &[&str] = &["context", "input", "task", "workflow", "runtime", "authorization"];
/// Variables that the workflow's `output.as` sees.
const WORKFLOW_OUTPUT: &[&str] = &["context", "workflow", "runtime", "authorization"];

/// Checks what the parser, which sees one place at a time, cannot.
pub(crate) fn references(workflow: &Workflow, root: &Node) -> Vec<Diagnostic> {
    let mut check = Check { workflow, root, found: Vec::new() };
    let scope = Scope(ALWAYS.to_vec());
    check.list(&workflow.do_, "/do", &scope);
    check.input(&workflow.input, "/input", &scope);
    check.output(&workflow.output, "/output", &Scope(WORKFLOW_OUTPUT.to_vec()));
    if let Some(timeout) = &workflow.timeout {
        check.timeout(timeout, "/timeout", &scope);
    }
    check.components(&scope);
    check.cycles();
    check.found
}

/// Places of a document by JSON pointer: line and column.
pub(crate) fn place_of(root: &Node, pointer: &str) -> Place {
    let mut node = root;
    let mut place = root.place;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        match &node.content {
            Content::Map(entries) => match entries.iter().find(|entry| entry.key == step) {
                Some(entry) => (node, place) = (&entry.value, entry.place),
                None => return place,
            },
            Content::List(items) => match step.parse::<usize>().ok().and_then(|at| items.get(at)) {
                Some(item) => (node, place) = (item, item.place),
                None => return place,
            },
            _ => return place,
        }
    }
    place
}

pub(crate) fn node_at<'n>(root: &'n Node, pointer: &str) -> Option<&'n Node> {
    let mut node = root;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        node = match &node.content {
            Content::Map(entries) => &entries.iter().find(|entry| entry.key == step)?.value,
            Content::List(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(node)
}

/// Names of the tasks of a list, those that could not be read included.
fn names_written<'n>(root: &'n Node, pointer: &str) -> Vec<&'n str> {
    let Some(Node { content: Content::List(items), .. }) = node_at(root, pointer) else { return Vec::new() };
    let entries = items.iter().filter_map(|item| match &item.content {
        Content::Map(entries) => entries.first(),
        _ => None,
    });
    entries.map(|entry| entry.key.as_str()).collect()
}

/// Names of variables in force.
#[derive(Clone)]
struct Scope<'a>(Vec<&'a str>);

impl<'a> Scope<'a> {
    fn with(&self, names: &[&'a str]) -> Scope<'a> {
        Scope([self.0.as_slice(), names].concat())
    }
}

struct Check<'a> {
    workflow: &'a Workflow,
    root: &'a Node,
    found: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    fn report(
        &mut self,
        severity: Severity,
        code: &'static str,
        pointer: &str,
        message: String,
        help: Option<String>,
    ) {
        let Place { line, column } = place_of(self.root, pointer);
        self.found.push(Diagnostic {
            severity,
            code,
            message,
            pointer: pointer.to_owned(),
            line,
            column,
            help,
        });
    }

    fn error(&mut self, code: &'static str, pointer: &str, message: String, help: Option<String>) {
        self.report(Severity::Error, code, pointer, message, help);
    }

    /// Whether the document has something there: what could not be read has been told of, and is not missing too.
    fn is_written(&self, pointer: &str) -> bool {
        node_at(self.root, pointer).is_some()
    }

    /// A name must be one of those under a key of `use`.
    fn resolves<T>(&mut self, what: &str, reference: &Reference<T>, names: &[&String], pointer: &str) {
        let Reference::Named(name) = reference else { return };
        if !names.contains(&name) && !self.is_written(&join(&format!("/use/{what}"), name)) {
            let known: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            let help = match nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add it under use.{what}"),
            };
            self.error(
                "unknown-reference",
                pointer,
                format!("there is no `{name}` in use.{what}"),
                Some(help),
            );
        }
    }

    fn expression(&mut self, expression: &Expression, pointer: &str, scope: &Scope<'_>) {
        for name in expression.variables() {
            if !scope.0.contains(&name) {
                let help = match nearest(name, &scope.0) {
                    Some(near) => format!("did you mean ${near}?"),
                    None => format!("there are ${}", scope.0.join(", $")),
                };
                self.error(
                    "unknown-variable",
                    pointer,
                    format!("there is no variable ${name} here"),
                    Some(help),
                );
            }
        }
    }

    fn optional(&mut self, expression: Option<&Expression>, pointer: &str, scope: &Scope<'_>) {
        if let Some(expression) = expression {
            self.expression(expression, pointer, scope);
        }
    }

    fn template(&mut self, template: &Template, pointer: &str, scope: &Scope<'_>) {
        match template {
            Template::Constant(_) | Template::Loose(..) => {}
            Template::Expression(expression) => self.expression(expression, pointer, scope),
            Template::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.template(item, &format!("{pointer}/{at}"), scope);
                }
            }
            Template::Object(entries) => {
                for (key, item) in entries {
                    self.template(item, &join(pointer, key), scope);
                }
            }
        }
    }

    fn templates<'t>(
        &mut self,
        templates: impl IntoIterator<Item = &'t Template>,
        pointer: &str,
        scope: &Scope<'_>,
    ) {
        for (at, template) in templates.into_iter().enumerate() {
            self.template(template, &format!("{pointer}/{at}"), scope);
        }
    }

    /// Templates by their keys.
    fn parts(&mut self, parts: &[(&str, Option<&Template>)], pointer: &str, scope: &Scope<'_>) {
        for (key, template) in parts {
            if let Some(template) = template {
                self.template(template, &format!("{pointer}/{key}"), scope);
            }
        }
    }

    fn duration(&mut self, duration: &DurationValue, pointer: &str, scope: &Scope<'_>) {
        if let DurationValue::Expression(expression) = duration {
            self.expression(expression, pointer, scope);
        }
    }

    fn timeout(&mut self, timeout: &Reference<Timeout>, pointer: &str, scope: &Scope<'_>) {
        self.resolves("timeouts", timeout, &self.workflow.use_.timeouts.keys().collect::<Vec<_>>(), pointer);
        if let Reference::Inline(timeout) = timeout {
            self.duration(&timeout.after, &format!("{pointer}/after"), scope);
        }
    }

    fn retry(&mut self, policy: &RetryPolicy, pointer: &str, scope: &Scope<'_>) {
        self.optional(policy.when.as_ref(), &format!("{pointer}/when"), scope);
        self.optional(policy.except_when.as_ref(), &format!("{pointer}/exceptWhen"), scope);
        let durations = [
            (policy.delay.as_ref(), "delay"),
            (policy.limit_duration.as_ref(), "limit/duration"),
            (policy.limit_attempt_duration.as_ref(), "limit/attempt/duration"),
            (policy.jitter.as_ref().map(|(from, _)| from), "jitter/from"),
            (policy.jitter.as_ref().map(|(_, to)| to), "jitter/to"),
        ];
        for (duration, key) in durations {
            if let Some(duration) = duration {
                self.duration(duration, &format!("{pointer}/{key}"), scope);
            }
        }
    }

    fn input(&mut self, input: &InputFilter, pointer: &str, scope: &Scope<'_>) {
        if let Some(from) = &input.from {
            self.template(from, &format!("{pointer}/from"), scope);
        }
    }

    fn output(&mut self, output: &OutputFilter, pointer: &str, scope: &Scope<'_>) {
        if let Some(as_) = &output.as_ {
            self.template(as_, &format!("{pointer}/as"), scope);
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint, pointer: &str, scope: &Scope<'_>) {
        if let Uri::Expression(expression) = &endpoint.uri {
            self.expression(expression, pointer, scope);
        }
        self.authentication(endpoint.authentication.as_ref(), &format!("{pointer}/authentication"), scope);
    }

    /// Without TLS the worker, which relays the connection of a sandbox, would see the credential of an identity.
    fn clear_credential(&mut self, http: &HttpCall, pointer: &str) {
        let in_the_clear =
            matches!(&http.endpoint.uri, Uri::Template(uri) if uri.text.starts_with("http://"));
        if in_the_clear && self.workflow.http_identity(http).is_some() {
            let message = "a credential of an identity is sent by https only".to_owned();
            let help = "write https://, or use the service in a `run` task of mode 2".to_owned();
            self.error("clear-credential", &format!("{pointer}/uri"), message, Some(help));
        }
    }

    fn authentication(
        &mut self,
        reference: Option<&Reference<Authentication>>,
        pointer: &str,
        scope: &Scope<'_>,
    ) {
        let Some(reference) = reference else { return };
        let workflow = self.workflow;
        let known: Vec<&String> =
            workflow.use_.authentications.keys().chain(&workflow.use_.secrets).collect();
        self.resolves("authentications", reference, &known, &format!("{pointer}/use"));
        if let Reference::Inline(policy) = reference {
            self.policy(policy, pointer, scope);
        }
    }

    /// Literal credentials are the standard's, but a document is no place for them.
    fn policy(&mut self, policy: &Authentication, pointer: &str, scope: &Scope<'_>) {
        let pointer = format!("{pointer}/{}", policy.scheme());
        if let Some(secret) = policy.secret() {
            self.secret(secret, &format!("{pointer}/use"));
        }
        let literal = match policy {
            Authentication::Basic(Credentials::Literal(pair))
            | Authentication::Digest(Credentials::Literal(pair)) => {
                self.parts(
                    &[("username", Some(&pair.username)), ("password", Some(&pair.password))],
                    &pointer,
                    scope,
                );
                pair.password.is_constant()
            }
            Authentication::Bearer(Credentials::Literal(token)) => {
                self.parts(&[("token", Some(token))], &pointer, scope);
                token.is_constant()
            }
            Authentication::OAuth2(Credentials::Literal(settings))
            | Authentication::Oidc(Credentials::Literal(settings)) => {
                self.template(settings, &pointer, scope);
                settings.is_constant()
            }
            _ => false,
        };
        if literal {
            let message =
                "a credential is written in the document, where everyone who may read it sees it".to_owned();
            let help =
                "keep it in a Sealed Identity: name that in use.secrets, and say `use: NAME` here".to_owned();
            self.report(Severity::Warning, "literal-credential", &pointer, message, Some(help));
        }
    }

    /// A secret must be one of `use.secrets`.
    fn secret(&mut self, name: &str, pointer: &str) {
        let secrets: Vec<&str> = self.workflow.use_.secrets.iter().map(String::as_str).collect();
        if !secrets.contains(&name) {
            let help = match nearest(name, &secrets) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it there: an entry is the reference of a Sealed Identity".to_owned(),
            };
            self.error(
                "unknown-reference",
                pointer,
                format!("there is no `{name}` in use.secrets"),
                Some(help),
            );
        }
    }

    fn components(&mut self, scope: &Scope<'_>) {
        let use_ = &self.workflow.use_;
        for (name, task) in &use_.functions {
            self.task(task, &join("/use/functions", name), scope);
        }
        let caught = scope.with(&["error"]);
        for (name, policy) in &use_.retries {
            // A policy is used by tasks whose `catch.as` may have any name: only its shape can be checked here.
            let names: Vec<&str> = catch_names(self.workflow).into_iter().collect();
            self.retry(policy, &join("/use/retries", name), &caught.with(&names));
        }
        for (name, timeout) in &use_.timeouts {
            self.duration(&timeout.after, &format!("{}/after", join("/use/timeouts", name)), scope);
        }
        for (name, policy) in &use_.authentications {
            self.policy(policy, &join("/use/authentications", name), scope);
        }
        for (at, extension) in use_.extensions.iter().enumerate() {
            let pointer = join(&format!("/use/extensions/{at}"), &extension.name);
            self.optional(extension.when.as_ref(), &format!("{pointer}/when"), scope);
            self.list(&extension.before, &format!("{pointer}/before"), scope);
            self.list(&extension.after, &format!("{pointer}/after"), scope);
        }
    }

    fn list(&mut self, list: &'a TaskList, pointer: &str, scope: &Scope<'_>) {
        let written = names_written(self.root, pointer);
        for entry in list.iter() {
            // Not by counting: the list is without the tasks that could not be read.
            let pointer = entry.task.pointer.as_str();
            self.target(&entry.task.then, list, &written, &format!("{pointer}/then"));
            if let TaskKind::Switch(switch) = &entry.task.kind {
                for case in &switch.cases {
                    let case_pointer = join(&format!("{pointer}/switch/{}", case.position), &case.name);
                    self.target(&case.then, list, &written, &format!("{case_pointer}/then"));
                }
            }
            self.task(&entry.task, pointer, scope);
        }
    }

    fn target(&mut self, then: &FlowDirective, list: &TaskList, written: &[&str], pointer: &str) {
        let FlowDirective::Task(name) = then else { return };
        if list.position(name).is_none() && !written.contains(&name.as_str()) {
            let mut known: Vec<&str> = list.iter().map(|entry| entry.name.as_str()).collect();
            known.extend(["continue", "exit", "end"]);
            let help = match nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`then` goes to a task of the same list, or is continue, exit or end".to_owned(),
            };
            self.error("unknown-target", pointer, format!("this list has no task `{name}`"), Some(help));
        }
    }

    fn task(&mut self, task: &'a Task, pointer: &str, scope: &Scope<'_>) {
        let at = |key: &str| format!("{pointer}/{key}");
        self.optional(task.if_.as_ref(), &at("if"), scope);
        self.input(&task.input, &at("input"), scope);
        let inner = match &task.kind {
            // Examples of the standard read a loop's variables in its output.
            TaskKind::For(each) => scope.with(&[&each.each, &each.at]),
            _ => scope.clone(),
        };
        self.output(&task.output, &at("output"), &inner);
        self.output(&task.export, &at("export"), &inner.with(&["output"]));
        if let Some(timeout) = &task.timeout {
            self.timeout(timeout, &at("timeout"), scope);
        }
        match &task.kind {
            TaskKind::Call(call) => self.call(call, &at("with"), pointer, scope),
            TaskKind::Do(list) => self.list(list, &at("do"), scope),
            TaskKind::Emit(emit) => self.template(&emit.event, &at("emit/event/with"), scope),
            TaskKind::For(each) => {
                self.expression(&each.in_, &at("for/in"), scope);
                self.optional(each.while_.as_ref(), &at("while"), &inner);
                self.list(&each.do_, &at("do"), &inner);
            }
            TaskKind::Fork(fork) => self.list(&fork.branches, &at("fork/branches"), scope),
            TaskKind::Listen(listen) => {
                if let Some(each) = &listen.foreach {
                    self.list(&each.do_, &at("foreach/do"), &scope.with(&[&each.item, &each.at]));
                }
            }
            TaskKind::Raise(raise) => {
                let names: Vec<&String> = self.workflow.use_.errors.keys().collect();
                self.resolves("errors", &raise.error, &names, &at("raise/error"));
                if let Reference::Inline(error) = &raise.error {
                    let parts = [
                        ("type", Some(&error.type_)),
                        ("title", error.title.as_ref()),
                        ("detail", error.detail.as_ref()),
                        ("instance", error.instance.as_ref()),
                    ];
                    self.parts(&parts, &at("raise/error"), scope);
                }
            }
            TaskKind::Run(run) => self.run(&run.process, &at("run"), scope),
            TaskKind::Set(template) => self.template(template, &at("set"), scope),
            TaskKind::Switch(switch) => {
                for case in &switch.cases {
                    let pointer = join(&format!("{pointer}/switch/{}", case.position), &case.name);
                    self.optional(case.when.as_ref(), &format!("{pointer}/when"), scope);
                }
            }
            TaskKind::Try(try_) => {
                self.list(&try_.try_, &at("try"), scope);
                self.catch(&try_.catch, &at("catch"), scope);
            }
            TaskKind::Wait(duration) => self.duration(duration, &at("wait"), scope),
        }
        self.execution(task, pointer);
    }

    fn catch(&mut self, catch: &'a Catch, pointer: &str, scope: &Scope<'_>) {
        let caught = scope.with(&[&catch.as_]);
        if let Some(filter) = &catch.errors {
            let pointer = format!("{pointer}/errors/with");
            let detail = if self.is_written(&format!("{pointer}/detail")) { "detail" } else { "details" };
            let parts = [
                ("type", filter.type_.as_ref()),
                ("instance", filter.instance.as_ref()),
                ("title", filter.title.as_ref()),
                (detail, filter.detail.as_ref()),
            ];
            self.parts(&parts, &pointer, scope);
        }
        self.optional(catch.when.as_ref(), &format!("{pointer}/when"), &caught);
        self.optional(catch.except_when.as_ref(), &format!("{pointer}/exceptWhen"), &caught);
        if let Some(retry) = &catch.retry {
            let pointer = format!("{pointer}/retry");
            self.resolves("retries", retry, &self.workflow.use_.retries.keys().collect::<Vec<_>>(), &pointer);
            if let Reference::Inline(policy) = retry {
                self.retry(policy, &pointer, &caught);
            }
        }
        self.list(&catch.do_, &format!("{pointer}/do"), &caught);
    }

    fn call(&mut self, call: &Call, with: &str, pointer: &str, scope: &Scope<'_>) {
        match call {
            Call::Http(http) => {
                self.template(&http.method, &format!("{with}/method"), scope);
                self.endpoint(&http.endpoint, &format!("{with}/endpoint"), scope);
                self.clear_credential(http, &format!("{with}/endpoint"));
                self.template(&http.headers, &format!("{with}/headers"), scope);
                self.template(&http.query, &format!("{with}/query"), scope);
                if let Some(body) = &http.body {
                    self.template(body, &format!("{with}/body"), scope);
                }
            }
            Call::CliAgent(agent) => {
                self.template(&agent.prompt, &format!("{with}/prompt"), scope);
                for (path, content) in &agent.files {
                    self.template(content, &join(&format!("{with}/files"), path), scope);
                }
                self.templates(&agent.args, &format!("{with}/args"), scope);
            }
            Call::Noop(value) => self.template(value, with, scope),
            Call::Function(function) => {
                let name = function.function.as_str();
                self.template(&function.with, with, scope);
                if !function.is_external()
                    && !COMING.contains(&name)
                    && self.workflow.function(name).is_none()
                    && !self.is_written(&join("/use/functions", name))
                {
                    self.unknown_function(name, &format!("{pointer}/call"));
                }
            }
            Call::OpenApi(call) => {
                self.authentication(call.authentication.as_ref(), &format!("{with}/authentication"), scope)
            }
            Call::Grpc(call) => {
                self.authentication(
                    call.authentication.as_ref(),
                    &format!("{with}/service/authentication"),
                    scope,
                );
            }
            Call::AsyncApi(call) => {
                self.authentication(call.authentication.as_ref(), &format!("{with}/authentication"), scope)
            }
            Call::A2a(_) | Call::Mcp(_) => {}
        }
    }

    fn unknown_function(&mut self, name: &str, pointer: &str) {
        let mut known: Vec<&str> = self.workflow.use_.functions.keys().map(String::as_str).collect();
        known.extend(["http", "openapi", "grpc", "asyncapi", "a2a", "mcp", "cli-agent", "noop"]);
        let help = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "a function is defined under use.functions".to_owned(),
        };
        self.error("unknown-reference", pointer, format!("there is no function `{name}`"), Some(help));
    }

    fn run(&mut self, process: &Process, pointer: &str, scope: &Scope<'_>) {
        let (base, texts, arguments, environment) = match process {
            Process::Container(c) => {
                let texts = vec![
                    ("image", Some(&c.image)),
                    ("name", c.name.as_ref()),
                    ("command", c.command.as_ref()),
                    ("stdin", c.stdin.as_ref()),
                ];
                (format!("{pointer}/container"), texts, &c.arguments, &c.environment)
            }
            Process::Script(s) => {
                let code = match &s.source {
                    ScriptSource::Code(code) => Some(code),
                    ScriptSource::External(_) => None,
                };
                let texts = vec![("code", code), ("stdin", s.stdin.as_ref())];
                (format!("{pointer}/script"), texts, &s.arguments, &s.environment)
            }
            Process::Shell(s) => (
                format!("{pointer}/shell"),
                vec![("command", Some(&s.command)), ("stdin", s.stdin.as_ref())],
                &s.arguments,
                &s.environment,
            ),
            Process::Workflow(subflow) => {
                if let Some(input) = &subflow.input {
                    self.template(input, &format!("{pointer}/workflow/input"), scope);
                }
                return;
            }
        };
        self.parts(&texts, &base, scope);
        self.templates(arguments, &format!("{base}/arguments"), scope);
        self.template(environment, &format!("{base}/environment"), scope);
    }

    /// The rules of `metadata.execution` for the settings in force.
    fn execution(&mut self, task: &Task, pointer: &str) {
        use protocol::step::Mode;
        let own = task.execution != crate::model::Execution::default();
        let place = if own { format!("{pointer}/metadata/execution") } else { pointer.to_owned() };
        let default = match (crate::model::default_mode(&task.kind), &task.kind) {
            (Some(default), _) => default,
            (None, TaskKind::Emit(_) | TaskKind::Listen(_)) => return,
            (None, _) if own => {
                let message = "this task runs on no worker, so `execution` means nothing to it".to_owned();
                let help = "write it on the tasks within, or in document.metadata for all".to_owned();
                return self.error("no-execution", &place, message, Some(help));
            }
            (None, _) => return,
        };
        let merged = task.execution.over(&self.workflow.document.execution);
        let mode = merged.mode.unwrap_or(default);
        if let Some(identity) = self.workflow.call_identity(task) {
            if task.execution.mode.is_some_and(|mode| mode != Mode::Identity) {
                let message = format!(
                    "a call with the credential of `{identity}` runs in mode 2 (identity), not {mode}"
                );
                self.error("identity-mode", &place, message, Some("remove the mode".to_owned()));
            }
            if task.execution.identity.as_deref().is_some_and(|own| own != identity) {
                let message = format!("the identity of this call is `{identity}`, by its authentication");
                self.error("identity-mode", &place, message, Some("remove the identity".to_owned()));
            }
            return;
        }
        // The document's identity is for the tasks that can take one; a task's own must fit its mode.
        if task.execution.identity.is_some() && mode < Mode::Identity {
            let message =
                format!("an identity needs mode 2 (identity) or more, and this task runs in mode {mode}");
            let help = "add mode: identity, or remove the identity".to_owned();
            self.error("identity-mode", &place, message, Some(help));
        }
        if mode == Mode::Identity && merged.identity.is_none() {
            let message = "mode 2 (identity) needs an identity".to_owned();
            let help = "add identity: NAME, such as acme-prod/reporting".to_owned();
            self.error("identity-mode", &place, message, Some(help));
        }
        match &task.kind {
            TaskKind::Call(Call::CliAgent(_)) if mode == Mode::Bare => {
                let message = "a CLI agent runs in a sandbox, never in mode 0 (bare)".to_owned();
                let help = "remove the mode; full is the default".to_owned();
                self.error("agent-mode", &place, message, Some(help));
            }
            TaskKind::Call(Call::Noop(_)) if task.execution.mode.is_some_and(|mode| mode != Mode::Bare) => {
                let message = format!("`call: noop` runs in mode 0 (bare), not {mode}");
                self.error("noop-mode", &place, message, Some("remove the mode".to_owned()));
            }
            _ => {}
        }
    }

    /// A function that calls itself, by others or not, would never end.
    fn cycles(&mut self) {
        let functions = &self.workflow.use_.functions;
        let calls = |name: &str| -> BTreeSet<&'a str> {
            let mut called = BTreeSet::new();
            if let Some(task) = functions.get(name) {
                task.each_task(&mut |task| {
                    if let TaskKind::Call(Call::Function(call)) = &task.kind {
                        called.insert(call.function.as_str());
                    }
                });
            }
            called
        };
        for name in functions.keys() {
            let mut reached = BTreeSet::new();
            let mut pending: Vec<&str> = calls(name).into_iter().collect();
            while let Some(next) = pending.pop() {
                if reached.insert(next) {
                    pending.extend(calls(next));
                }
            }
            if reached.contains(name.as_str()) {
                let pointer = join("/use/functions", name);
                self.error("cyclic-function", &pointer, format!("the function `{name}` calls itself"), None);
            }
        }
    }
}

fn catch_names(workflow: &Workflow) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    workflow.each_task(&mut |task| {
        if let TaskKind::Try(try_) = &task.kind {
            names.insert(try_.catch.as_.as_str());
        }
    });
    names
}

/// A pointer with one more step.
fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}
