//! A seeded simulation of a run and its world: outcomes at random, reports lost and repeated, people who cancel, suspend, resume
//! and retry. Every event goes to a run and to its twin, which is restored from a snapshot first (see `support`).
//!
//! `SAGEWAI_SEED=n` plays one seed; `SAGEWAI_SEEDS=n` plays so many.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use planner::{Action, ChildId, Event, RunOutcome, Status};
use protocol::id::{TimerId, Timestamp};
use protocol::step::StepOutcome;
use serde_json::json;
use support::documents::document;
use support::random::Random;
use support::{Twins, completed, error, failed, parse};

/// Seeds of one test.
const SEEDS: u64 = 250;
/// Seeds of events in any order.
const CHAOTIC_SEEDS: u64 = 60;
/// Events of trouble of one seed; after them all goes well until the run ends.
const TROUBLES: usize = 60;
/// Events after which a run that has not ended never will.
const MAX_EVENTS: usize = 5_000;

/// Everything outside the planner, as its actions have made it.
struct World {
    random: Random,
    twins: Twins,
    steps: BTreeMap<u32, Step>,
    children: BTreeMap<u32, Step>,
    timers: BTreeMap<u32, Timestamp>,
    yielded: bool,
    ended: bool,
    /// Events that were applied once already; they must be refused if they come again.
    past: Vec<Event>,
    story: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Open,
    /// Told to stop.
    Stopping,
}

#[test]
fn any_run_ends_whatever_happens() {
    let one = std::env::var("SAGEWAI_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = std::env::var("SAGEWAI_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let seeds = one.map_or(0..seeds, |seed: u64| seed..seed + 1);
    let mut ends: BTreeMap<Status, usize> = BTreeMap::new();
    for seed in seeds {
        let status = play(seed, one.is_some());
        *ends.entry(status).or_default() += 1;
    }
    eprintln!("{ends:?}");
    if one.is_none() {
        for status in [Status::Completed, Status::Faulted, Status::Cancelled] {
            assert!(ends.contains_key(&status), "no run ended {status}: the simulation tells too little");
        }
    }
}

/// Events of any kind with any id, in any order: none may panic, and `Twins` sees that a rejected one changes nothing.
#[test]
fn events_in_any_order_never_panic() {
    let mut accepted = 0;
    for seed in 0..CHAOTIC_SEEDS {
        let mut random = Random::new(seed.wrapping_mul(7919));
        let document = document(&mut random);
        let mut twins = Twins::new(parse(&document.to_string()));
        for turn in 0..TROUBLES {
            // Time may go backwards too.
            let at = Timestamp(support::START.0 + random.below(100_000) as i64);
            let id = 1 + random.below(6) as u32;
            let event = match random.below(12) {
                _ if turn == 3 => Event::Started { input: json!({ "seed": seed }), at },
                0 => Event::Started { input: json!({ "seed": seed }), at },
                1..=4 => completed(id, json!({ "id": id }), at),
                5 => failed(id, error(503, "communication", "Service unavailable"), at),
                6 => Event::ChildFinished {
                    child: ChildId(id),
                    outcome: RunOutcome::Completed { output: json!(id).into() },
                    at,
                },
                7 | 8 => Event::TimerFired { timer: TimerId(id), at },
                9 => Event::Continued { at },
                10 if random.once_in(2) => Event::SuspendRequested { at },
                10 => Event::ResumeRequested { at },
                _ if random.once_in(8) => Event::CancelRequested { reason: "chaos".to_owned(), at },
                _ => Event::RetryRequested { at },
            };
            accepted += usize::from(twins.apply(&event).is_ok());
        }
    }
    assert!(
        accepted > CHAOTIC_SEEDS as usize * 4,
        "only {accepted} events were accepted: the test tells too little"
    );
}

fn play(seed: u64, aloud: bool) -> Status {
    let mut random = Random::new(seed);
    let document = document(&mut random);
    if aloud {
        eprintln!("{document:#}");
    }
    let twins = Twins::new(parse(&document.to_string()));
    let mut world = World {
        random,
        twins,
        steps: BTreeMap::new(),
        children: BTreeMap::new(),
        timers: BTreeMap::new(),
        yielded: false,
        ended: false,
        past: Vec::new(),
        story: format!("seed {seed}\n"),
    };
    let at = world.twins.now;
    world.give(Event::Started { input: json!({ "seed": seed }), at });
    let mut count = 0;
    while !(world.ended && count >= TROUBLES) {
        count += 1;
        assert!(count < MAX_EVENTS, "the run does not end\n{}", world.story);
        let event = if count < TROUBLES { world.trouble() } else { world.progress() };
        if let Some(event) = event {
            world.give(event);
        }
        if world.random.once_in(10) {
            world.repeat();
        }
    }
    if aloud {
        eprintln!("{}", world.story);
    }
    world.twins.status()
}

impl World {
    /// Applies an event that may happen, and holds the planner's answer to what the world knows.
    fn give(&mut self, event: Event) {
        let _ = writeln!(self.story, "> {event:?}");
        let answer = self.twins.apply(&event);
        let _ = write!(self.story, "{}", support::tell(&answer, self.twins.now));
        match answer {
            Ok(actions) => {
                self.past.push(event);
                for action in actions {
                    self.act(action);
                }
            }
            Err(rejected) => panic!("an event that may happen was rejected: {rejected}\n{}", self.story),
        }
        self.check();
    }

    fn act(&mut self, action: Action) {
        assert!(!self.ended, "an action after the end: {action:?}\n{}", self.story);
        match action {
            Action::StartStep { step, .. } => {
                let is_new = self.steps.keys().all(|known| *known < step.0);
                assert!(is_new && self.steps.insert(step.0, Step::Open).is_none(), "{}", self.story);
            }
            Action::CancelStep { step } => {
                let known = self.steps.insert(step.0, Step::Stopping);
                assert!(known == Some(Step::Open), "step {step} is not open\n{}", self.story);
            }
            Action::StartChild { child, awaited, .. } => {
                if awaited {
                    assert!(self.children.insert(child.0, Step::Open).is_none(), "{}", self.story);
                }
            }
            Action::CancelChild { child } => {
                let known = self.children.insert(child.0, Step::Stopping);
                assert!(known == Some(Step::Open), "child {child} is not open\n{}", self.story);
            }
            Action::SetTimer { timer, at } => {
                assert!(self.timers.insert(timer.0, at).is_none(), "{}", self.story);
            }
            Action::ClearTimer { timer } => {
                assert!(self.timers.remove(&timer.0).is_some(), "timer is not set\n{}", self.story);
            }
            Action::Yield => self.yielded = true,
            Action::Note(_) => {}
            Action::Finish(outcome) => {
                self.ended = true;
                assert!(self.timers.is_empty(), "a timer outlives the run\n{}", self.story);
                if !matches!(outcome, RunOutcome::Completed { .. }) {
                    let open = self.steps.values().chain(self.children.values());
                    assert!(open.into_iter().all(|step| *step == Step::Stopping), "{}", self.story);
                }
                self.steps.clear();
                self.children.clear();
                self.yielded = false;
            }
        }
    }

    /// A run that has not ended waits for something.
    fn check(&self) {
        let status = self.twins.status();
        assert_eq!(self.ended, status.is_final(), "{status}\n{}", self.story);
        let waits = !self.steps.is_empty()
            || !self.children.is_empty()
            || !self.timers.is_empty()
            || self.yielded
            || status == Status::Suspended;
        assert!(self.ended || waits, "the run is stuck, {status}\n{}", self.story);
    }

    /// Anything that may happen.
    fn trouble(&mut self) -> Option<Event> {
        self.twins.now = self.twins.now.plus(self.random.below(2_000) as i64);
        let at = self.twins.now;
        let status = self.twins.status();
        match (self.random.below(40), status) {
            (_, Status::Faulted) if self.random.once_in(3) => {
                self.ended = false;
                Some(Event::RetryRequested { at })
            }
            (_, status) if status.is_final() => None,
            (0, Status::Running | Status::Waiting | Status::Suspended) if self.random.once_in(3) => {
                self.yielded = false;
                Some(Event::CancelRequested { reason: "enough".to_owned(), at })
            }
            (1 | 2, Status::Running | Status::Waiting) => Some(Event::SuspendRequested { at }),
            (3..=12, Status::Suspended) => Some(Event::ResumeRequested { at }),
            (13..=18, _) => self.end_step(true),
            (19..=21, _) => self.end_child(true),
            _ => self.progress(),
        }
    }

    /// Whatever brings the run on.
    fn progress(&mut self) -> Option<Event> {
        let at = self.twins.now;
        match self.twins.status() {
            Status::Suspended => return Some(Event::ResumeRequested { at }),
            status if status.is_final() => return None,
            _ => {}
        }
        if self.yielded {
            self.yielded = false;
            return Some(Event::Continued { at });
        }
        if self.random.once_in(3) {
            return self.fire().or_else(|| self.end_step(false)).or_else(|| self.end_child(false));
        }
        self.end_step(false).or_else(|| self.end_child(false)).or_else(|| self.fire())
    }

    /// A step ends; one that was told to stop is heard of no more, unless the run waits for that.
    fn end_step(&mut self, badly: bool) -> Option<Event> {
        let is_cancelling = self.twins.status() == Status::Cancelling;
        self.steps.retain(|_, step| is_cancelling || *step == Step::Open);
        let open: Vec<u32> = self.steps.keys().copied().collect();
        let step = (!open.is_empty()).then(|| self.random.pick(&open))?;
        let at = self.twins.now;
        let stopping = self.steps.remove(&step) == Some(Step::Stopping);
        Some(match self.random.below(8) {
            _ if stopping => {
                Event::StepFinished { step: protocol::id::StepId(step), outcome: StepOutcome::Cancelled, at }
            }
            0 if badly => {
                Event::StepFinished { step: protocol::id::StepId(step), outcome: StepOutcome::Cancelled, at }
            }
            1..=4 if badly => failed(step, error(503, "communication", "Service unavailable"), at),
            _ => completed(step, json!({ "step": step }), at),
        })
    }

    fn end_child(&mut self, badly: bool) -> Option<Event> {
        let is_cancelling = self.twins.status() == Status::Cancelling;
        self.children.retain(|_, step| is_cancelling || *step == Step::Open);
        let open: Vec<u32> = self.children.keys().copied().collect();
        let child = (!open.is_empty()).then(|| self.random.pick(&open))?;
        let at = self.twins.now;
        self.children.remove(&child);
        let outcome = match self.random.below(6) {
            0 if badly => RunOutcome::Cancelled { reason: "by hand".to_owned() },
            1..=3 if badly => RunOutcome::Faulted {
                error: planner::RunError::at(error(500, "runtime", "Child failed"), "/do/0/inner"),
            },
            _ => RunOutcome::Completed { output: json!({ "child": child }).into() },
        };
        Some(Event::ChildFinished { child: ChildId(child), outcome, at })
    }

    /// The next timer fires.
    fn fire(&mut self) -> Option<Event> {
        let (&timer, &due) = self.timers.iter().min_by_key(|(_, due)| **due)?;
        self.timers.remove(&timer);
        self.twins.now = self.twins.now.max(due);
        Some(Event::TimerFired { timer: TimerId(timer), at: self.twins.now })
    }

    /// A report comes again: it must be refused, and `Twins` checks that it changes nothing.
    fn repeat(&mut self) {
        let reports = |event: &&Event| {
            matches!(
                event,
                Event::Started { .. }
                    | Event::StepFinished { .. }
                    | Event::ChildFinished { .. }
                    | Event::TimerFired { .. }
            )
        };
        let reports: Vec<Event> = self.past.iter().filter(reports).cloned().collect();
        let again = &reports[self.random.below(reports.len())];
        let answer = self.twins.apply(again);
        assert!(answer.is_err(), "a repeated {again:?} was accepted: {answer:?}\n{}", self.story);
    }
}
