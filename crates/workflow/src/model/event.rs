//! Events and schedules. Parsed and checked as the standard says; not executable yet.

use std::collections::BTreeMap;

use super::{DurationValue, OutputFilter, TaskList};
use crate::expression::{Expression, Template};

/// `emit`.
#[derive(Clone, Debug)]
pub struct Emit {
    /// The event's attributes, an object.
    pub event: Template,
}

/// `listen`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// For which events.
    pub to: EventStrategy,
    /// What of an event is given on.
    pub read: ListenRead,
    /// What is done with each.
    pub foreach: Option<SubscriptionIterator>,
}

/// `listen.read`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenRead {
    /// The event's data.
    #[default]
    Data,
    /// The event with its attributes.
    Envelope,
    /// The event as it came.
    Raw,
}

/// Which events are awaited.
#[derive(Clone, Debug)]
pub enum EventStrategy {
    /// Every one of them.
    All(Vec<EventFilter>),
    /// Any of them.
    Any {
        /// Which; empty means every event.
        filters: Vec<EventFilter>,
        /// When it has enough.
        until: Option<Until>,
    },
    /// This one.
    One(EventFilter),
}

/// When `any` has enough.
#[derive(Clone, Debug)]
pub enum Until {
    /// When true.
    Expression(Expression),
    /// When these came.
    Events(Box<EventStrategy>),
}

/// Which event.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// Attributes it has, an object.
    pub with: Template,
    /// Links to data: key → how.
    pub correlate: BTreeMap<String, Correlation>,
}

/// A link between events and data.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Takes the value from the event.
    pub from: Expression,
    /// What it must be.
    pub expect: Option<Template>,
}

/// `foreach` of `listen` and of subscriptions.
#[derive(Clone, Debug)]
pub struct SubscriptionIterator {
    /// Variable of the item, without `$`; `item` when absent.
    pub item: String,
    /// Variable of the index, without `$`; `index` when absent.
    pub at: String,
    /// Tasks per item.
    pub do_: TaskList,
    /// The item's output.
    pub output: OutputFilter,
    /// The new context.
    pub export: OutputFilter,
}

/// `schedule`.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// `every`
    pub every: Option<DurationValue>,
    /// `cron`
    pub cron: Option<String>,
    /// `after`
    pub after: Option<DurationValue>,
    /// `on`
    pub on: Option<EventStrategy>,
}
