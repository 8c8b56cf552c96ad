//! `run`: a shell command, script or container as a step; another workflow as a child run.

use std::collections::BTreeMap;

use protocol::step::{ProcessRun, StepError, Work as StepWork};
use workflow::expression::Template;
use workflow::{Process, Run, ScriptSource, Subflow, Task};

use super::step;
use crate::action::Action;
use crate::error;
use crate::event::ChildId;
use crate::limits::MAX_OPEN_CHILDREN;
use crate::scope::{Sees, as_text};
use crate::state::{FrameId, Work};
use crate::turn::{Next, Turn};

/// Starts the process.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, task: &Task, run: &Run) -> Result<Next, StepError> {
    let work = match &run.process {
        Process::Workflow(subflow) => return begin_child(turn, id, subflow, run.await_),
        Process::Shell(shell) => {
            let mut process = process(turn, id, run, &shell.stdin, &shell.arguments, &shell.environment)?;
            process.command = turn.text(id, &shell.command)?;
            StepWork::Shell(process)
        }
        Process::Script(script) => {
            let ScriptSource::Code(code) = &script.source else {
                return Err(error::configuration(
                    "`script.source` cannot be read yet; put the text of the script in `script.code`",
                ));
            };
            let language = match script.language.to_ascii_lowercase() {
                language if language == "javascript" => "js".to_owned(),
                language => language,
            };
            StepWork::Script {
                language,
                code: turn.text(id, code)?,
                process: process(turn, id, run, &script.stdin, &script.arguments, &script.environment)?,
            }
        }
        Process::Container(container) => {
            if !container.ports.is_empty() || !container.volumes.is_empty() {
                return Err(error::configuration(
                    "`container.ports` and `container.volumes` cannot be used yet",
                ));
            }
            let (arguments, environment) = (&container.arguments, &container.environment);
            let mut process = process(turn, id, run, &container.stdin, arguments, environment)?;
            if let Some(command) = &container.command {
                process.command = turn.text(id, command)?;
            }
            StepWork::Container { image: turn.text(id, &container.image)?, process }
        }
    };
    if run.await_ { step::start(turn, id, task, work) } else { step::start_detached(turn, id, task, work) }
}

fn process(
    turn: &mut Turn<'_>,
    id: FrameId,
    run: &Run,
    stdin: &Option<Template>,
    arguments: &[Template],
    environment: &Template,
) -> Result<ProcessRun, StepError> {
    let stdin = match stdin {
        Some(template) => Some(turn.text(id, template)?),
        None => None,
    };
    let arguments =
        arguments.iter().map(|argument| turn.text(id, argument)).collect::<Result<Vec<_>, _>>()?;
    let environment = text_map(turn, id, environment, "environment")?;
    if let Some(name) = environment.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(error::configuration(format!(
            "`environment` has the name {name:?}: a variable's name has at least one character, and no `=`"
        )));
    }
    Ok(ProcessRun { command: String::new(), arguments, environment, stdin, returns: run.return_ })
}

/// A template that must give an object; its values as text.
pub(super) fn text_map(
    turn: &mut Turn<'_>,
    id: FrameId,
    template: &Template,
    what: &str,
) -> Result<BTreeMap<String, String>, StepError> {
    let input = turn.state.frame(id).input.clone();
    let value = turn.value(id, template, &input, Sees::DEFINITION)?;
    let Some(entries) = value.as_object() else {
        return Err(error::unexpected(format!("`{what}` must give an object")));
    };
    Ok(entries.iter().map(|(key, value)| (key.clone(), as_text(value))).collect())
}

/// `run: workflow`.
fn begin_child(
    turn: &mut Turn<'_>,
    id: FrameId,
    subflow: &Subflow,
    awaited: bool,
) -> Result<Next, StepError> {
    if awaited && turn.state.children.len() >= MAX_OPEN_CHILDREN {
        return Err(error::limit(format!("a run may have {MAX_OPEN_CHILDREN} child runs open at once")));
    }
    let own = turn.state.frame(id).input.clone();
    let input = match &subflow.input {
        Some(template) => turn.value(id, template, &own, Sees::DEFINITION)?,
        None => own.clone(),
    };
    let number = turn.state.given.children.checked_add(1);
    turn.state.given.children =
        number.ok_or_else(|| error::limit(format!("a run may have {} child runs", u32::MAX)))?;
    let child = ChildId(turn.state.given.children);
    turn.actions.push(Action::StartChild {
        child,
        namespace: subflow.namespace.clone(),
        name: subflow.name.clone(),
        version: subflow.version.clone(),
        input: input.into_arc(),
        awaited,
    });
    if !awaited {
        return Ok(Next::Finish { frame: id, output: own, then: None });
    }
    turn.state.children.insert(child, id);
    turn.state.frame_mut(id).work = Work::Child(child);
    Ok(Next::Wait)
}
