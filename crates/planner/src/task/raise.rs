//! `raise`: the task ends with the error that the document states.

use protocol::step::StepError;
use workflow::Raise;
use workflow::expression::Template;

use crate::error;
use crate::outcome::RunError;
use crate::state::FrameId;
use crate::turn::{Next, Turn};

/// Evaluates the error's parts. Its instance is the raising task unless stated.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, task: &Raise) -> Result<Next, StepError> {
    let definition = turn
        .workflow
        .error(&task.error)
        .ok_or_else(|| error::configuration("`raise.error` names no entry of `use.errors`"))?;
    let kind = turn.text(id, &definition.type_)?;
    let status = u16::try_from(definition.status)
        .map_err(|_| error::configuration(format!("status {} of an error is none", definition.status)))?;
    let mut part = |template: &Option<Template>| match template {
        Some(template) => turn.text(id, template).map(Some),
        None => Ok(None),
    };
    let title = part(&definition.title)?.unwrap_or_default();
    let detail = part(&definition.detail)?.unwrap_or_default();
    let instance = part(&definition.instance)?.unwrap_or_else(|| turn.task(id).pointer.as_str().to_owned());
    Ok(Next::Fault { frame: id, error: RunError { kind, status, title, detail, instance } })
}
