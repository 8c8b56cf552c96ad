//! What all kinds of task share: how a task begins, how it leaves, what its timers do.

use protocol::step::StepError;
use workflow::{FlowDirective, Task, TaskKind};

use super::{call, for_, fork, list, raise, run, set, switch, try_, wait};
use crate::action::{Action, TaskPhase};
use crate::limits::{MAX_DEPTH, MAX_FRAMES};
use crate::scope::Sees;
use crate::state::{FrameId, Purpose, State, Timer, Work};
use crate::turn::{Next, Turn};
use crate::value::Shared;
use crate::{data, error, fault};

/// Begins the task or the list of a frame.
pub(crate) fn begin(turn: &mut Turn<'_>, frame: FrameId) -> Next {
    if let Work::List(_) = turn.state.frame(frame).work {
        return if frame == State::ROOT { data::begin_run(turn) } else { list::begin(turn, frame) };
    }
    let task = turn.task(frame);
    begin_task(turn, frame, task).unwrap_or_else(|error| turn.fault(frame, error))
}

/// `if`, then input, then the kind's own work (DSL, "data flow").
fn begin_task<'a>(turn: &mut Turn<'a>, id: FrameId, task: &'a Task) -> Result<Next, StepError> {
    let at = turn.at;
    let frame = turn.state.frame_mut(id);
    frame.started_at = at;
    frame.input = frame.raw_input.clone();
    let raw_input = frame.raw_input.clone();
    if frame.depth > MAX_DEPTH {
        return Err(error::limit(format!(
            "tasks may be {MAX_DEPTH} deep within each other; does a function call itself without end?"
        )));
    }
    if turn.state.frames.len() > MAX_FRAMES {
        return Err(error::limit(format!(
            "a run may have {MAX_FRAMES} tasks in progress at once; fork into fewer branches"
        )));
    }
    if let Some(condition) = &task.if_
        && !turn.holds(id, condition, &raw_input, Sees::TASK_INPUT)?
    {
        // A skipped task did not complete, so its `then` does not count: `then: end` would defeat `if`.
        turn.note(id, TaskPhase::Skipped, None);
        return Ok(Next::Leave { frame: id, output: raw_input, then: FlowDirective::Continue });
    }
    data::take_input(turn, id, task)?;
    let noted = turn.actions.len();
    turn.note(id, TaskPhase::Started, None);
    start_timeout(turn, id, task)?;
    let next = match &task.kind {
        TaskKind::Call(call) => call::begin(turn, id, task, call),
        TaskKind::Do(_) => {
            turn.state.frame_mut(id).work = Work::Do;
            let input = turn.state.frame(id).input.clone();
            list::open(turn, id, false, Vec::new(), input);
            Ok(Next::Wait)
        }
        TaskKind::For(task) => for_::begin(turn, id, task),
        TaskKind::Fork(task) => fork::begin(turn, id, task),
        TaskKind::Raise(task) => raise::begin(turn, id, task),
        TaskKind::Run(process) => run::begin(turn, id, task, process),
        TaskKind::Set(template) => set::begin(turn, id, template),
        TaskKind::Switch(task) => switch::begin(turn, id, task),
        TaskKind::Try(task) => try_::begin(turn, id, task),
        TaskKind::Wait(duration) => wait::begin(turn, id, duration),
        TaskKind::Emit(_) | TaskKind::Listen(_) => {
            Err(error::configuration(format!("`{}` tasks cannot be run yet", task.kind.name())))
        }
    }?;
    if let Some(Action::Note(note)) = turn.actions.get_mut(noted)
        && let Work::Step(step) = turn.state.frame(id).work
    {
        note.step = Some(step);
    }
    Ok(next)
}

fn start_timeout(turn: &mut Turn<'_>, id: FrameId, task: &Task) -> Result<(), StepError> {
    let Some(reference) = &task.timeout else {
        return Ok(());
    };
    let timeout = turn
        .workflow
        .timeout(reference)
        .ok_or_else(|| error::configuration("`timeout` names no entry of `use.timeouts`"))?;
    let milliseconds = turn.milliseconds(id, &timeout.after)?;
    turn.state.frame_mut(id).timeout_ms = Some(milliseconds);
    turn.set_timer(id, Purpose::Timeout, milliseconds);
    Ok(())
}

/// Removes a frame that is over and gives its output to its parent.
pub(crate) fn leave(turn: &mut Turn<'_>, id: FrameId, output: Shared, then: FlowDirective) -> Next {
    turn.clear_timers(|timer| timer.frame == id);
    if id == State::ROOT {
        return Next::End { output };
    }
    let frame = turn.state.frames.remove(&id).expect("a frame in progress");
    let parent = frame.parent.expect("only the root has no parent");
    if then == FlowDirective::End {
        return end_around(turn, parent, output);
    }
    match &turn.state.frame(parent).work {
        Work::List(_) => list::entry_left(turn, parent, output, &then),
        Work::Do | Work::Function => Next::Finish { frame: parent, output, then: None },
        Work::For(_) => for_::iteration_left(turn, parent, output),
        Work::Fork(_) => fork::branch_left(turn, parent, &frame.path, output),
        Work::Try(_) => Next::Finish { frame: parent, output, then: None },
        Work::New | Work::Wait | Work::Step(_) | Work::Child(_) => {
            unreachable!("only frames that run other frames have children")
        }
    }
}

/// `then: end`: everything around ends too, with the same output and without transforming it.
fn end_around(turn: &mut Turn<'_>, id: FrameId, output: Shared) -> Next {
    fault::remove_below(turn, id, &[]);
    turn.note(id, TaskPhase::Completed, Some("ended by `then: end`".to_owned()));
    Next::Leave { frame: id, output, then: FlowDirective::End }
}

/// A timer of a frame is due.
pub(crate) fn due(turn: &mut Turn<'_>, timer: Timer) -> Next {
    let Timer { frame: id, purpose } = timer;
    let frame = turn.state.frame(id);
    match purpose {
        Purpose::Timeout => {
            let milliseconds = frame.timeout_ms.unwrap_or_default();
            if id == State::ROOT {
                return fault::time_out_run(turn, milliseconds);
            }
            turn.fault(id, error::timeout("task", milliseconds))
        }
        Purpose::Wait if matches!(frame.work, Work::Wait) => {
            let output = frame.input.clone();
            Next::Finish { frame: id, output, then: None }
        }
        Purpose::Retry => try_::delay_over(turn, id),
        Purpose::Attempt { number } => try_::attempt_timed_out(turn, id, number),
        Purpose::Wait | Purpose::Grace => Next::Wait,
    }
}
