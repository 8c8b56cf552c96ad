//! Where a task is in its document, in a form that finds it without searching.

use serde::{Deserialize, Serialize};
use workflow::{Task, TaskKind, TaskList, Workflow};

/// The way from the document to a task. Empty for the workflow itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Path {
    /// The function of `use.functions` that the way starts at; absent for the workflow's `do`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    function: Option<String>,
    hops: Vec<Hop>,
}

/// From a task, or the workflow, to a task inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hop {
    /// Into `do`, `try` or `branches`, at this index.
    Body(u32),
    /// Into `catch.do`, at this index.
    Catch(u32),
}

impl Path {
    /// The task of a function.
    pub(crate) fn function(name: &str) -> Path {
        Path { function: Some(name.to_owned()), hops: Vec::new() }
    }

    /// A task inside the one that this path leads to.
    pub(crate) fn then(&self, hop: Hop) -> Path {
        let mut hops = Vec::with_capacity(self.hops.len() + 1);
        hops.extend_from_slice(&self.hops);
        hops.push(hop);
        Path { function: self.function.clone(), hops }
    }

    /// The last hop; none for the workflow itself and for the task of a function.
    pub(crate) fn last(&self) -> Option<Hop> {
        self.hops.last().copied()
    }

    /// The task, or `None` where the document has none: the workflow itself, or a document that is not the run's.
    pub(crate) fn task<'a>(&self, workflow: &'a Workflow) -> Option<&'a Task> {
        let mut task = match &self.function {
            Some(name) => Some(workflow.function(name)?),
            None => None,
        };
        for hop in &self.hops {
            task = Some(match (task, hop) {
                (None, Hop::Body(index)) => &workflow.do_.get(*index as usize)?.task,
                (None, Hop::Catch(_)) => return None,
                (Some(task), Hop::Body(index)) => &body(task)?.get(*index as usize)?.task,
                (Some(task), Hop::Catch(index)) => &catch(task)?.get(*index as usize)?.task,
            });
        }
        task
    }

    /// A list of the task that this path leads to: its body, or its `catch.do`.
    pub(crate) fn list<'a>(&self, workflow: &'a Workflow, in_catch: bool) -> Option<&'a TaskList> {
        if self.function.is_none() && self.hops.is_empty() {
            return Some(&workflow.do_);
        }
        let task = self.task(workflow)?;
        if in_catch { catch(task) } else { body(task) }
    }
}

fn body(task: &Task) -> Option<&TaskList> {
    match &task.kind {
        TaskKind::Do(list) => Some(list),
        TaskKind::For(task) => Some(&task.do_),
        TaskKind::Fork(task) => Some(&task.branches),
        TaskKind::Try(task) => Some(&task.try_),
        _ => None,
    }
}

fn catch(task: &Task) -> Option<&TaskList> {
    match &task.kind {
        TaskKind::Try(task) => Some(&task.catch.do_),
        _ => None,
    }
}

/// The name of a task: the last part of its pointer.
pub(crate) fn name(task: &Task) -> String {
    let pointer = task.pointer.as_str();
    let last = pointer.rsplit('/').next().unwrap_or_default();
    if last.contains('~') { last.replace("~1", "/").replace("~0", "~") } else { last.to_owned() }
}
