//! Errors on their way out: a `try` catches one, or the run ends with it.
//!
//! A faulted run keeps the frames that were in progress, so that a retry goes on from the task that failed.

use std::collections::BTreeSet;

use crate::action::{Action, TaskPhase};
use crate::error;
use crate::limits::MAX_TASKS_WITHOUT_WAIT;
use crate::outcome::{RunError, RunOutcome};
use crate::state::{FrameId, Phase, Purpose, State, Timer, Todo, Work};
use crate::task::try_::{self, Verdict};
use crate::turn::{Next, Turn};

/// The task of a frame has failed: asks each `try` around it, innermost first.
pub(crate) fn raise(turn: &mut Turn<'_>, id: FrameId, error: RunError) -> Next {
    turn.note(id, TaskPhase::Faulted, Some(describe(&error)));
    ask_around(turn, id, error)
}

/// Something inside a `try` has failed that is no task, such as the time of an attempt: asks the `try` itself first.
pub(crate) fn raise_inside(turn: &mut Turn<'_>, id: FrameId, error: RunError) -> Next {
    match try_::judge(turn, id, &error) {
        Ok(Verdict::PassOn) => raise(turn, id, error),
        Ok(verdict) => {
            remove_below(turn, id, &[]);
            try_::take(turn, id, &verdict, &error)
        }
        Err(error) => turn.fault(id, error),
    }
}

/// `origin` is the task that failed: where a retry of the run would begin.
fn ask_around(turn: &mut Turn<'_>, mut origin: FrameId, mut error: RunError) -> Next {
    let mut faulted = vec![origin];
    let mut inside = origin;
    while let Some(around) = turn.state.frame(inside).parent {
        if let Work::Try(state) = &turn.state.frame(around).work
            && state.catches()
        {
            match try_::judge(turn, around, &error) {
                Ok(Verdict::PassOn) => {}
                Ok(verdict) => {
                    remove_below(turn, around, &faulted);
                    return try_::take(turn, around, &verdict, &error);
                }
                // The condition of a catch failed: that is an error of the `try`, in place of the first.
                Err(failure) => {
                    error = RunError::at(failure, turn.task(around).pointer.as_str());
                    origin = around;
                }
            }
        }
        turn.note(around, TaskPhase::Faulted, Some(describe(&error)));
        faulted.push(around);
        inside = around;
    }
    remove_below(turn, origin, &faulted);
    end(turn, vec![Todo::Begin(origin)], error);
    Next::Wait
}

/// The run took longer than its `timeout`.
pub(crate) fn time_out_run(turn: &mut Turn<'_>, milliseconds: i64) -> Next {
    let error = RunError::at(error::timeout("run", milliseconds), "/timeout");
    end(turn, Vec::new(), error);
    Next::Wait
}

/// The run goes in circles. No `try` is asked: it could go on with the next one.
pub(crate) fn end_circle(turn: &mut Turn<'_>, id: FrameId) -> Next {
    let instance = match turn.state.frame(id).path.task(turn.workflow) {
        Some(task) => task.pointer.as_str(),
        None => "",
    };
    let error = error::limit(format!(
        "the run did {MAX_TASKS_WITHOUT_WAIT} tasks one after the other without a step or a wait: does a `then` lead back \
         for ever? Let an `if` or a `switch` end the loop, or put a `wait` in it"
    ));
    let error = RunError::at(error, instance);
    turn.note(id, TaskPhase::Faulted, Some(describe(&error)));
    end(turn, vec![Todo::Begin(id)], error);
    Next::Wait
}

/// Ends the run with an error. A retry begins with `first`, with what is open and is stopped now, and with what has failed but was
/// not told yet; a result that has come but was not taken yet is kept for it.
pub(crate) fn end(turn: &mut Turn<'_>, first: Vec<Todo>, error: RunError) {
    let is_kept = |todo: &Todo| match todo {
        Todo::Begin(_) | Todo::Finish(..) => true,
        Todo::Due(timer) => matches!(timer.purpose, Purpose::Wait | Purpose::Retry),
        Todo::Fault(..) => false,
    };
    let again: BTreeSet<FrameId> = first.iter().map(Todo::frame).collect();
    turn.state.agenda.retain(|todo| is_kept(todo) && !again.contains(&todo.frame()));
    let kept: BTreeSet<FrameId> = turn.state.agenda.iter().map(Todo::frame).collect();
    for todo in &first {
        if let Todo::Begin(frame) = todo
            && *frame != State::ROOT
        {
            turn.state.frame_mut(*frame).work = Work::New;
        }
    }
    turn.state.agenda.extend(first);
    for id in turn.state.frames.keys().copied().collect::<Vec<_>>() {
        if kept.contains(&id) {
            continue;
        }
        match &turn.state.frame(id).work {
            Work::Step(_) | Work::Child(_) | Work::Wait => {
                turn.note(id, TaskPhase::Cancelled, None);
                turn.state.frame_mut(id).work = Work::New;
                turn.state.agenda.push_back(Todo::Begin(id));
            }
            Work::Try(state) if state.is_delayed() => {
                turn.state.agenda.push_back(Todo::Due(Timer { frame: id, purpose: Purpose::Retry }));
            }
            _ => {}
        }
    }
    stop_everything(turn);
    turn.state.phase = Phase::Faulted;
    turn.actions.push(Action::Finish(RunOutcome::Faulted { error }));
}

/// Tells every open step and child run to stop, and clears every timer. None is waited for.
pub(crate) fn stop_everything(turn: &mut Turn<'_>) {
    let steps = std::mem::take(&mut turn.state.steps).into_keys();
    let detached = std::mem::take(&mut turn.state.detached);
    turn.actions.extend(steps.chain(detached).map(|step| Action::CancelStep { step }));
    let children = std::mem::take(&mut turn.state.children).into_keys();
    turn.actions.extend(children.map(|child| Action::CancelChild { child }));
    turn.clear_timers(|_| true);
}

/// Removes every frame inside a frame and stops what they have open. A task that had begun is noted as cancelled, unless it
/// is one of `faulted`.
pub(crate) fn remove_below(turn: &mut Turn<'_>, id: FrameId, faulted: &[FrameId]) {
    let mut gone: BTreeSet<FrameId> = BTreeSet::new();
    // A child's id is greater than its parent's, so that one pass finds them all.
    for (&inside, frame) in turn.state.frames.range(id..) {
        if frame.parent.is_some_and(|parent| parent == id || gone.contains(&parent)) {
            gone.insert(inside);
        }
    }
    if gone.is_empty() {
        turn.stop_work(id);
        return;
    }
    for &inside in gone.iter().rev() {
        turn.stop_work(inside);
        let has_begun = !matches!(turn.state.frame(inside).work, Work::New);
        if has_begun && !faulted.contains(&inside) {
            turn.note(inside, TaskPhase::Cancelled, None);
        }
    }
    turn.clear_timers(|timer| gone.contains(&timer.frame));
    turn.state.frames.retain(|id, _| !gone.contains(id));
    turn.state.agenda.retain(|todo| !gone.contains(&todo.frame()));
}

impl Turn<'_> {
    /// Stops the step or child run that a frame has open.
    fn stop_work(&mut self, id: FrameId) {
        let (step, child) = match self.state.frame(id).work {
            Work::Step(step) => (Some(step), None),
            Work::Child(child) => (None, Some(child)),
            _ => return,
        };
        if let Some(step) = step.filter(|step| self.state.steps.remove(step).is_some()) {
            self.actions.push(Action::CancelStep { step });
        }
        if let Some(child) = child.filter(|child| self.state.children.remove(child).is_some()) {
            self.actions.push(Action::CancelChild { child });
        }
    }
}

fn describe(error: &RunError) -> String {
    match (error.title.is_empty(), error.detail.is_empty()) {
        (false, false) => format!("{}: {}", error.title, error.detail),
        (false, true) => error.title.clone(),
        (true, false) => error.detail.clone(),
        (true, true) => error.kind.clone(),
    }
}
