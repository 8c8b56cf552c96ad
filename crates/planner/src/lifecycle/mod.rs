//! Events: a file per kind. Each checks first whether its event may happen now, and changes nothing if not.

mod cancel_requested;
mod child_finished;
mod continued;
mod resume_requested;
mod retry_requested;
mod started;
mod step_finished;
mod suspend_requested;
mod timer_fired;

use crate::event::Event;
use crate::rejected::Rejected;
use crate::state::Phase;
use crate::turn::Turn;

/// Takes an event: changes the state and puts what follows on the agenda.
pub(crate) fn accept(turn: &mut Turn<'_>, event: &Event) -> Result<(), Rejected> {
    take(turn, event)?;
    if !matches!(event, Event::Continued { .. }) {
        turn.state.tasks_without_wait = 0;
    }
    Ok(())
}

fn take(turn: &mut Turn<'_>, event: &Event) -> Result<(), Rejected> {
    match event {
        Event::Started { input, .. } => started::accept(turn, event, input),
        Event::StepFinished { step, outcome, .. } => step_finished::accept(turn, event, *step, outcome),
        Event::ChildFinished { child, outcome, .. } => child_finished::accept(turn, event, *child, outcome),
        Event::TimerFired { timer, .. } => timer_fired::accept(turn, event, *timer),
        Event::CancelRequested { reason, .. } => cancel_requested::accept(turn, event, reason),
        Event::SuspendRequested { .. } => suspend_requested::accept(turn, event),
        Event::ResumeRequested { .. } => resume_requested::accept(turn, event),
        Event::RetryRequested { .. } => retry_requested::accept(turn, event),
        Event::Continued { .. } => continued::accept(turn, event),
    }
}

/// Refuses an event in a phase in which it means nothing.
fn expect(turn: &Turn<'_>, event: &Event, may: impl Fn(&Phase) -> bool) -> Result<(), Rejected> {
    if may(&turn.state.phase) {
        return Ok(());
    }
    Err(Rejected::Status { event: event.name(), status: turn.state.status() })
}

/// A run whose steps, child runs and timers matter still.
fn is_live(phase: &Phase) -> bool {
    matches!(phase, Phase::Active | Phase::Suspended | Phase::Cancelling { .. })
}
