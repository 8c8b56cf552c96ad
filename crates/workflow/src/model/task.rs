//! Tasks and lists of tasks: what all kinds share, and the kinds.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Call, DurationValue, Emit, Execution, For, Fork, InputFilter, Listen, OutputFilter, Raise, Reference,
    Run, Switch, Timeout, Try,
};
use crate::expression::{Expression, Template};

/// JSON pointer (RFC 6901) of a task in its document, such as `/do/0/clean`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Arc<str>);

impl Pointer {
    /// Takes a pointer's text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Pointer(text.into())
    }

    /// The pointer's text; empty for the document itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tasks in order.
#[derive(Clone, Debug, Default)]
pub struct TaskList(pub Vec<NamedTask>);

impl Deref for TaskList {
    type Target = [NamedTask];

    fn deref(&self) -> &[NamedTask] {
        &self.0
    }
}

impl TaskList {
    /// The first task of that name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|entry| entry.name == name)
    }

    /// Calls `visit` with every task, depth first.
    pub fn each_task<'a>(&'a self, visit: &mut dyn FnMut(&'a Task)) {
        for entry in &self.0 {
            entry.task.each_task(visit);
        }
    }
}

/// An entry of a list of tasks.
#[derive(Clone, Debug)]
pub struct NamedTask {
    /// The name, unique in its list.
    pub name: String,
    /// The task.
    pub task: Task,
}

/// A task: what all kinds share, and its kind.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its place in the document.
    pub pointer: Pointer,
    /// `if`: runs only when true; sees the raw input.
    pub if_: Option<Expression>,
    /// `input`.
    pub input: InputFilter,
    /// `output`.
    pub output: OutputFilter,
    /// `export`: the new context.
    pub export: OutputFilter,
    /// `timeout`.
    pub timeout: Option<Reference<Timeout>>,
    /// `then`; [`FlowDirective::Continue`] when absent.
    pub then: FlowDirective,
    /// `metadata`, `execution` included.
    pub metadata: Map<String, Value>,
    /// `metadata.execution` as written on this task; see [`super::Workflow::execution`] for the settings in force.
    pub execution: Execution,
    /// What it does.
    pub kind: TaskKind,
}

/// One variant per kind of task of the DSL.
#[derive(Clone, Debug)]
pub enum TaskKind {
    /// `call`
    Call(Call),
    /// `do`
    Do(TaskList),
    /// `emit`
    Emit(Emit),
    /// `for`
    For(For),
    /// `fork`
    Fork(Fork),
    /// `listen`
    Listen(Listen),
    /// `raise`
    Raise(Raise),
    /// `run`
    Run(Run),
    /// `set`: the output; an object, or one expression.
    Set(Template),
    /// `switch`
    Switch(Switch),
    /// `try`
    Try(Try),
    /// `wait`
    Wait(DurationValue),
}

impl TaskKind {
    /// The DSL's word for the kind.
    pub fn name(&self) -> &'static str {
        match self {
            TaskKind::Call(_) => "call",
            TaskKind::Do(_) => "do",
            TaskKind::Emit(_) => "emit",
            TaskKind::For(_) => "for",
            TaskKind::Fork(_) => "fork",
            TaskKind::Listen(_) => "listen",
            TaskKind::Raise(_) => "raise",
            TaskKind::Run(_) => "run",
            TaskKind::Set(_) => "set",
            TaskKind::Switch(_) => "switch",
            TaskKind::Try(_) => "try",
            TaskKind::Wait(_) => "wait",
        }
    }
}

impl Task {
    /// The lists of tasks inside this one.
    pub fn lists(&self) -> Vec<&TaskList> {
        match &self.kind {
            TaskKind::Do(list) => vec![list],
            TaskKind::For(task) => vec![&task.do_],
            TaskKind::Fork(task) => vec![&task.branches],
            TaskKind::Try(task) => vec![&task.try_, &task.catch.do_],
            TaskKind::Listen(task) => task.foreach.iter().map(|each| &each.do_).collect(),
            TaskKind::Call(Call::AsyncApi(call)) => {
                call.subscription.iter().filter_map(|s| s.foreach.as_ref()).map(|each| &each.do_).collect()
            }
            TaskKind::Call(_)
            | TaskKind::Emit(_)
            | TaskKind::Raise(_)
            | TaskKind::Run(_)
            | TaskKind::Set(_)
            | TaskKind::Switch(_)
            | TaskKind::Wait(_) => Vec::new(),
        }
    }

    /// Calls `visit` with this task and every task inside it, depth first.
    pub fn each_task<'a>(&'a self, visit: &mut dyn FnMut(&'a Task)) {
        visit(self);
        for list in self.lists() {
            list.each_task(visit);
        }
    }
}

/// `then`: where the flow goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FlowDirective {
    /// To the next task of the list.
    #[default]
    Continue,
    /// Out of the current list.
    Exit,
    /// To the end of the run.
    End,
    /// To the task of that name in the same list.
    Task(String),
}
