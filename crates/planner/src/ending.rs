//! The end of a run: its output, or its cancellation.

use crate::action::{Action, TaskPhase};
use crate::outcome::{RunError, RunOutcome};
use crate::scope::Sees;
use crate::state::{Phase, State, Todo, Work};
use crate::turn::{Next, Turn};
use crate::value::Shared;
use crate::{data, fault};

/// The last task has ended with this output: transforms it (DSL, "transform workflow output") and ends the run.
pub(crate) fn complete(turn: &mut Turn<'_>, raw_output: Shared) -> Next {
    let filter = &turn.workflow.output;
    match data::filter(turn, State::ROOT, filter, &raw_output, Sees::WORKFLOW_OUTPUT, "workflow's output") {
        Ok(output) => {
            // Steps that nobody waits for go on; everything else has ended.
            turn.state.detached.clear();
            fault::stop_everything(turn);
            close(turn, Phase::Completed, RunOutcome::Completed { output: output.into_arc() });
        }
        Err(error) => {
            let again = Todo::Finish(State::ROOT, raw_output);
            fault::end(turn, vec![again], RunError::at(error, "/output"));
        }
    }
    Next::Wait
}

/// Ends a cancelled run. Whatever is open was told to stop when the run was.
pub(crate) fn cancelled(turn: &mut Turn<'_>, reason: String) {
    turn.clear_timers(|_| true);
    close(turn, Phase::Cancelled, RunOutcome::Cancelled { reason });
}

/// Notes every task in progress as cancelled, innermost first.
pub(crate) fn note_cancelled(turn: &mut Turn<'_>) {
    let begun = turn.state.frames.iter().rev().filter(|(_, frame)| !matches!(frame.work, Work::New));
    for id in begun.map(|(id, _)| *id).collect::<Vec<_>>() {
        turn.note(id, TaskPhase::Cancelled, None);
    }
}

/// The run is over for good: nothing of it is kept but how it ended.
fn close(turn: &mut Turn<'_>, phase: Phase, outcome: RunOutcome) {
    let ended = State { phase, started_at: turn.state.started_at, ..State::new() };
    *turn.state = ended;
    turn.actions.push(Action::Finish(outcome));
}
