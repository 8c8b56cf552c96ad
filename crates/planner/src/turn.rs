//! One turn of a run: what an event makes it do, in transitions, until it waits for events or has done enough.

use protocol::id::{StepId, TimerId, Timestamp};
use protocol::step::StepSpec;
use workflow::expression::Meter;
use workflow::{FlowDirective, Task, Workflow};

use crate::action::{Action, TaskNote, TaskPhase};
use crate::limits::{
    MAX_DELAY_MS, MAX_FUEL_PER_TRANSITION, MAX_FUEL_PER_TURN, MAX_OPEN_STEPS, MAX_TASKS_WITHOUT_WAIT,
    MAX_TRANSITIONS_PER_TURN,
};
use crate::outcome::RunError;
use crate::path::{self, Path};
use crate::run::RunInfo;
use crate::state::{Frame, FrameId, Phase, Purpose, State, Timer, Todo, Work};
use crate::value::Shared;
use crate::{data, ending, error, fault, task};
use protocol::step::StepError;

/// The run's parts while an event is applied, and the actions so far.
pub(crate) struct Turn<'a> {
    pub(crate) info: &'a RunInfo,
    pub(crate) workflow: &'a Workflow,
    pub(crate) state: &'a mut State,
    pub(crate) at: Timestamp,
    pub(crate) actions: Vec<Action>,
    pub(crate) meter: Meter,
}

/// What follows from a piece of work. A transition is a chain of these that ends with [`Next::Wait`].
#[must_use]
pub(crate) enum Next {
    /// Nothing now: something was put on the agenda, or an event is awaited, or the run has ended.
    Wait,
    /// The task of the frame has its raw output. `then` goes before the task's own.
    Finish { frame: FrameId, output: Shared, then: Option<FlowDirective> },
    /// The frame is over; its parent takes the output.
    Leave { frame: FrameId, output: Shared, then: FlowDirective },
    /// The task of the frame has failed.
    Fault { frame: FrameId, error: RunError },
    /// The run has come to its end with this output of its last task.
    End { output: Shared },
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        info: &'a RunInfo,
        workflow: &'a Workflow,
        state: &'a mut State,
        at: Timestamp,
    ) -> Turn<'a> {
        Turn { info, workflow, state, at, actions: Vec::new(), meter: Meter::new(MAX_FUEL_PER_TRANSITION) }
    }

    /// Works on the agenda until it is empty, the run may not go on, or the turn is full.
    pub(crate) fn advance(&mut self) {
        let mut transitions = 0;
        let mut fuel = 0;
        while self.state.phase == Phase::Active && !self.state.yielded {
            if self.state.agenda.is_empty() {
                return;
            }
            if transitions == MAX_TRANSITIONS_PER_TURN || fuel >= MAX_FUEL_PER_TURN {
                self.state.yielded = true;
                self.actions.push(Action::Yield);
                return;
            }
            if let Some(todo) = self.state.agenda.pop_front() {
                self.meter = Meter::new(MAX_FUEL_PER_TRANSITION);
                self.transition(todo);
                transitions += 1;
                fuel += self.meter.steps_spent();
            }
        }
    }

    fn transition(&mut self, todo: Todo) {
        if !self.state.frames.contains_key(&todo.frame()) {
            return;
        }
        let mut next = match todo {
            Todo::Begin(frame) if self.state.tasks_without_wait == MAX_TASKS_WITHOUT_WAIT => {
                fault::end_circle(self, frame)
            }
            Todo::Begin(frame) => {
                self.state.tasks_without_wait += 1;
                task::begin(self, frame)
            }
            Todo::Finish(State::ROOT, output) => Next::End { output },
            Todo::Finish(frame, output) => Next::Finish { frame, output, then: None },
            Todo::Fault(frame, error) => Next::Fault { frame, error },
            Todo::Due(timer) => task::due(self, timer),
        };
        loop {
            next = match next {
                Next::Wait => return,
                Next::Finish { frame, output, then } => data::finish(self, frame, output, then),
                Next::Leave { frame, output, then } => task::leave(self, frame, output, then),
                Next::Fault { frame, error } => fault::raise(self, frame, error),
                Next::End { output } => ending::complete(self, output),
            };
        }
    }

    /// The task of a frame. The root has none; nothing asks for it.
    pub(crate) fn task(&self, frame: FrameId) -> &'a Task {
        self.state
            .frame(frame)
            .path
            .task(self.workflow)
            .expect("restore checked that the document has the task")
    }

    /// A new frame inside another; it begins when its turn on the agenda comes.
    pub(crate) fn open(&mut self, parent: Option<FrameId>, path: Path, input: Shared, work: Work) -> FrameId {
        let id = FrameId(self.state.given.frames);
        self.state.given.frames += 1;
        let depth = match parent {
            None => 0,
            Some(parent) => {
                let parent = self.state.frame(parent);
                parent.depth + u32::from(!matches!(parent.work, Work::List(_)))
            }
        };
        let frame = Frame {
            parent,
            path,
            depth,
            raw_input: input.clone(),
            input,
            started_at: self.at,
            timeout_ms: None,
            work,
        };
        self.state.frames.insert(id, frame);
        self.state.agenda.push_back(Todo::Begin(id));
        id
    }

    /// Puts a step in the queue; `frame` waits for its outcome.
    pub(crate) fn start_step(&mut self, frame: Option<FrameId>, spec: StepSpec) -> Result<StepId, StepError> {
        if self.state.steps.len() + self.state.detached.len() >= MAX_OPEN_STEPS {
            return Err(error::limit(format!(
                "a run may have {MAX_OPEN_STEPS} steps open at once; fork into fewer branches"
            )));
        }
        let number = self.state.given.steps.checked_add(1);
        self.state.given.steps =
            number.ok_or_else(|| error::limit(format!("a run may have {} steps", u32::MAX)))?;
        let step = StepId(self.state.given.steps);
        match frame {
            Some(frame) => drop(self.state.steps.insert(step, frame)),
            None => drop(self.state.detached.insert(step)),
        }
        self.actions.push(Action::StartStep { step, spec });
        Ok(step)
    }

    /// Sets a timer of a frame, `milliseconds` from now.
    pub(crate) fn set_timer(&mut self, frame: FrameId, purpose: Purpose, milliseconds: i64) {
        // Whatever had this number four thousand million timers ago is over.
        self.state.given.timers = self.state.given.timers.wrapping_add(1);
        let id = TimerId(self.state.given.timers);
        self.state.timers.insert(id, Timer { frame, purpose });
        self.actions
            .push(Action::SetTimer { timer: id, at: self.at.plus(milliseconds.clamp(0, MAX_DELAY_MS)) });
    }

    /// Clears the timers that `which` picks.
    pub(crate) fn clear_timers(&mut self, which: impl Fn(&Timer) -> bool) {
        let actions = &mut self.actions;
        self.state.timers.retain(|id, timer| {
            let cleared = which(timer);
            if cleared {
                actions.push(Action::ClearTimer { timer: *id });
            }
            !cleared
        });
    }

    /// A line for the timeline on the task of a frame; none on a list.
    pub(crate) fn note(&mut self, frame: FrameId, phase: TaskPhase, detail: Option<String>) {
        let held = self.state.frame(frame);
        if matches!(held.work, Work::List(_)) {
            return;
        }
        let step = match held.work {
            Work::Step(step) => Some(step),
            _ => None,
        };
        let task = self.task(frame);
        self.actions.push(Action::Note(TaskNote {
            task: task.pointer.as_str().into(),
            name: path::name(task).into(),
            phase,
            iteration: self.state.iteration(frame),
            step,
            at: self.at,
            detail,
        }));
    }

    /// An error at the place of a frame's task.
    pub(crate) fn fault(&self, frame: FrameId, error: StepError) -> Next {
        let instance = match self.state.frame(frame).path.task(self.workflow) {
            Some(task) => task.pointer.as_str(),
            None => "",
        };
        Next::Fault { frame, error: RunError::at(error, instance) }
    }
}
