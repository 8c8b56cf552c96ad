//! A workflow document as a whole: its head, its reusable parts, its tasks.

use std::collections::BTreeMap;

use protocol::step::Mode;
use serde_json::{Map, Value};

use super::{
    Authentication, Call, Endpoint, ErrorDefinition, Execution, HttpCall, InputFilter, NamedTask,
    OutputFilter, Reference, RetryPolicy, Schedule, Task, TaskKind, TaskList, Timeout,
};
use crate::expression::{Expression, Language};

/// A parsed document. The source text is what is stored; this is rebuilt from it.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// The head: name, version, metadata.
    pub document: Document,
    /// What is done with the run's input before the first task.
    pub input: InputFilter,
    /// Reusable parts, by name.
    pub use_: Components,
    /// The tasks.
    pub do_: TaskList,
    /// Time after which the run is ended with a timeout error.
    pub timeout: Option<Reference<Timeout>>,
    /// What is done with the last task's output before it is the run's.
    pub output: OutputFilter,
    /// When it starts by itself.
    pub schedule: Option<Schedule>,
    /// How expressions are told from text.
    pub evaluate: Language,
    /// The document as JSON, as `$workflow.definition` shows it.
    pub definition: std::sync::Arc<Value>,
}

/// The head of a document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Version of the DSL, such as `1.0.3`.
    pub dsl: String,
    /// Namespace, a DNS label.
    pub namespace: String,
    /// Name, a DNS label.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Title for people.
    pub title: Option<String>,
    /// Summary in Markdown.
    pub summary: Option<String>,
    /// Free labels.
    pub tags: Map<String, Value>,
    /// Free data, `execution` included.
    pub metadata: Map<String, Value>,
    /// `metadata.execution`: what tasks take when they do not say otherwise.
    pub execution: Execution,
}

/// `use`: what tasks refer to by name.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// Authentication policies.
    pub authentications: BTreeMap<String, Authentication>,
    /// Errors.
    pub errors: BTreeMap<String, ErrorDefinition>,
    /// Extensions, in order.
    pub extensions: Vec<Extension>,
    /// Custom functions: tasks that are called by name.
    pub functions: BTreeMap<String, Task>,
    /// Retry policies.
    pub retries: BTreeMap<String, RetryPolicy>,
    /// Names of secrets; taken as identity references (design §5).
    pub secrets: Vec<String>,
    /// Timeouts.
    pub timeouts: BTreeMap<String, Timeout>,
    /// Catalogs of functions.
    pub catalogs: BTreeMap<String, Endpoint>,
}

/// `use.extensions`: tasks put before or after others.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Kind of task it extends: `call`, `composite`, `emit`, …, `all`.
    pub extend: String,
    /// Whether it applies.
    pub when: Option<Expression>,
    /// Tasks before.
    pub before: TaskList,
    /// Tasks after.
    pub after: TaskList,
}

impl Workflow {
    /// The policy behind an inline or named timeout. `None` for a name that does not exist, which `parse` refuses.
    pub fn timeout<'a>(&'a self, timeout: &'a Reference<Timeout>) -> Option<&'a Timeout> {
        timeout.resolve(&self.use_.timeouts)
    }

    /// The policy behind an inline or named retry policy.
    pub fn retry<'a>(&'a self, retry: &'a Reference<RetryPolicy>) -> Option<&'a RetryPolicy> {
        retry.resolve(&self.use_.retries)
    }

    /// The definition behind an inline or named error.
    pub fn error<'a>(&'a self, error: &'a Reference<ErrorDefinition>) -> Option<&'a ErrorDefinition> {
        error.resolve(&self.use_.errors)
    }

    /// The policy behind an inline or named authentication.
    pub fn authentication<'a>(
        &'a self,
        authentication: &'a Reference<Authentication>,
    ) -> Option<&'a Authentication> {
        authentication.resolve(&self.use_.authentications)
    }

    /// The task of a custom function of `use.functions`.
    pub fn function(&self, name: &str) -> Option<&Task> {
        self.use_.functions.get(name)
    }

    /// The identity whose credential an HTTP call shows, which makes it a step of mode 2: `use.secrets` holds references.
    pub fn call_identity<'a>(&'a self, task: &'a Task) -> Option<&'a str> {
        let TaskKind::Call(Call::Http(call)) = &task.kind else { return None };
        self.http_identity(call)
    }

    /// As [`Workflow::call_identity`], for the call itself.
    pub(crate) fn http_identity<'a>(&'a self, call: &'a HttpCall) -> Option<&'a str> {
        let reference = call.endpoint.authentication.as_ref()?;
        match (self.authentication(reference), reference) {
            (Some(policy), _) => policy.secret(),
            (None, Reference::Named(secret)) => Some(secret),
            (None, Reference::Inline(_)) => None,
        }
    }

    /// The settings a task runs with: its own over the document's, key by key, over the defaults of its kind. A call that
    /// shows an identity's credential runs in mode 2, with that identity, whatever the document says of the others.
    pub fn execution(&self, task: &Task) -> super::StepExecution {
        let mut execution = task.execution.over(&self.document.execution);
        if let Some(identity) = self.call_identity(task) {
            execution.mode = Some(Mode::Identity);
            execution.identity = Some(identity.to_owned());
        }
        execution.for_kind(&task.kind)
    }

    /// The task at a JSON pointer such as `/do/1/query`, functions included.
    pub fn task(&self, pointer: &str) -> Option<&Task> {
        let mut found = None;
        self.each_task(&mut |task| {
            if task.pointer.as_str() == pointer {
                found = Some(task);
            }
        });
        found
    }

    /// Calls `visit` with every task of the document in its order, then those of functions and extensions.
    pub fn each_task<'a>(&'a self, visit: &mut dyn FnMut(&'a Task)) {
        self.do_.each_task(visit);
        for task in self.use_.functions.values() {
            task.each_task(visit);
        }
        for extension in &self.use_.extensions {
            extension.before.each_task(visit);
            extension.after.each_task(visit);
        }
    }

    /// The first task, if there is one.
    pub fn first(&self) -> Option<&NamedTask> {
        self.do_.first()
    }
}
