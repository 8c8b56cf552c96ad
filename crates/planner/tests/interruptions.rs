//! Every scenario, interrupted at every point: cancelled, or suspended and resumed around each event.

mod support;

use std::collections::BTreeSet;
use std::fs;

use planner::{Action, ChildId, Event, RunOutcome, Status};
use protocol::id::{StepId, TimerId};
use protocol::step::StepOutcome;
use support::stories::{Story, files};
use support::{Twins, event, parse};

/// Scenarios of people who interrupt are interrupted enough.
const INTERRUPTING: [&str; 5] = ["cancel", "suspend", "resume", "continue", "retry"];

fn stories() -> Vec<(String, Story)> {
    let read = |file: std::path::PathBuf| {
        let text = fs::read_to_string(&file).expect("a scenario is readable");
        (file.display().to_string(), Story::read(&text, &file))
    };
    let is_plain = |(_, story): &(String, Story)| {
        story.events().iter().all(|line| !INTERRUPTING.iter().any(|word| line.starts_with(word)))
    };
    files().into_iter().map(read).filter(is_plain).collect()
}

/// What is open, as the actions have it.
#[derive(Default)]
struct Open {
    steps: BTreeSet<StepId>,
    children: BTreeSet<ChildId>,
    outcome: Option<RunOutcome>,
}

impl Open {
    fn take(&mut self, event: &Event, actions: Vec<Action>) {
        match event {
            Event::StepFinished { step, .. } => drop(self.steps.remove(step)),
            Event::ChildFinished { child, .. } => drop(self.children.remove(child)),
            _ => {}
        }
        for action in actions {
            match action {
                Action::StartStep { step, .. } => drop(self.steps.insert(step)),
                Action::StartChild { child, awaited: true, .. } => drop(self.children.insert(child)),
                Action::Finish(outcome) => self.outcome = Some(outcome),
                _ => {}
            }
        }
    }
}

#[test]
fn a_run_can_be_cancelled_at_every_point() {
    for (name, story) in stories() {
        let workflow = parse(&story.document);
        for point in 0..=story.events().len() {
            let mut twins = Twins::new(workflow.clone());
            let mut open = Open::default();
            for line in story.events().iter().take(point) {
                let event = event(line, &mut twins).expect("a line of a scenario");
                if let Ok(actions) = twins.apply(&event) {
                    // Whoever is told to stop and is not waited for is forgotten.
                    for action in &actions {
                        match action {
                            Action::CancelStep { step } => drop(open.steps.remove(step)),
                            Action::CancelChild { child } => drop(open.children.remove(child)),
                            _ => {}
                        }
                    }
                    open.take(&event, actions);
                }
            }
            if twins.status().is_final() {
                continue;
            }
            let cancel = Event::CancelRequested { reason: "enough".to_owned(), at: twins.now };
            let actions = twins.apply(&cancel).unwrap_or_else(|why| panic!("{name} at {point}: {why}"));
            for step in &open.steps {
                assert!(
                    actions.contains(&Action::CancelStep { step: *step }),
                    "{name} at {point}: {actions:?}"
                );
            }
            open.take(&cancel, actions);
            for step in open.steps.clone() {
                let event = Event::StepFinished { step, outcome: StepOutcome::Cancelled, at: twins.now };
                let actions = twins.apply(&event).unwrap_or_else(|why| panic!("{name} at {point}: {why}"));
                assert!(actions.iter().all(|action| !matches!(action, Action::StartStep { .. })), "{name}");
                open.take(&event, actions);
            }
            for child in open.children.clone() {
                let outcome = RunOutcome::Cancelled { reason: "enough".to_owned() };
                let event = Event::ChildFinished { child, outcome, at: twins.now };
                let actions = twins.apply(&event).unwrap_or_else(|why| panic!("{name} at {point}: {why}"));
                open.take(&event, actions);
            }
            assert_eq!(twins.status(), Status::Cancelled, "{name} at {point}");
            let ended = RunOutcome::Cancelled { reason: "enough".to_owned() };
            assert_eq!(open.outcome, Some(ended), "{name} at {point}");
            for timer in twins.timers.clone().into_keys() {
                let event = Event::TimerFired { timer: TimerId(timer), at: twins.now };
                assert!(twins.apply(&event).is_err(), "{name} at {point}");
            }
        }
    }
}

#[test]
fn a_run_that_is_suspended_around_every_event_ends_as_without() {
    for (name, story) in stories() {
        let workflow = parse(&story.document);
        let play = |suspends: bool| {
            let mut twins = Twins::new(workflow.clone());
            let mut open = Open::default();
            for line in story.events() {
                let event = event(line, &mut twins).expect("a line of a scenario");
                let suspend = Event::SuspendRequested { at: twins.now };
                let suspended = suspends && twins.apply(&suspend).is_ok();
                if let Ok(actions) = twins.apply(&event) {
                    let starts = actions.iter().any(|action| matches!(action, Action::StartStep { .. }));
                    assert!(!(suspended && starts), "{name}: a step started while suspended");
                    open.take(&event, actions);
                }
                if suspended {
                    let resume = Event::ResumeRequested { at: twins.now };
                    open.take(&resume.clone(), twins.apply(&resume).expect("a suspended run resumes"));
                }
            }
            (twins.status(), open.outcome, open.steps)
        };
        assert_eq!(play(true), play(false), "{name}");
    }
}
