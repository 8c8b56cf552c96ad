//! Reads events, subscriptions and schedules.

use super::reader::{At, Fields, Reader};
use super::syntax::Content;
use crate::expression::Template;
use crate::model::{
    Correlation, Emit, EventFilter, EventStrategy, Listen, ListenRead, OutputFilter, Schedule,
    SubscriptionIterator, TaskList, Until,
};

impl Reader {
    pub(super) fn emit(&self, at: &At<'_>) -> Option<Emit> {
        let fields = self.fields(at, &["event"])?;
        let at = fields.require("event")?;
        let fields = self.fields(&at, &["with"])?;
        let at = fields.require("with")?;
        let with = self.any_fields(&at)?;
        for key in ["source", "type"] {
            with.require(key);
        }
        Some(Emit { event: self.event_properties(&at)? })
    }

    fn event_properties(&self, at: &At<'_>) -> Option<Template> {
        let fields = self.any_fields(at)?;
        for at in ["id", "type", "subject", "datacontenttype"].iter().filter_map(|key| fields.get(key)) {
            self.text(&at);
        }
        for at in ["source", "dataschema"].iter().filter_map(|key| fields.get(key)) {
            self.uri_or_expression(&at);
        }
        if let Some(at) = fields.get("time")
            && let Some(text) = self.text(&at)
            && !self.is_expression(text)
            && text.parse::<jiff::Timestamp>().is_err()
        {
            self.error(
                &at,
                "time",
                "`time` must be a time such as 2026-01-31T12:00:00Z, or an expression in ${ } on one line",
            );
        }
        self.template(at)
    }

    pub(super) fn listen(&self, task: &Fields<'_>, at: &At<'_>) -> Option<Listen> {
        let foreach = task.get("foreach").and_then(|at| self.subscription_iterator(&at));
        let fields = self.fields(at, &["to", "read"])?;
        let reads =
            [("data", ListenRead::Data), ("envelope", ListenRead::Envelope), ("raw", ListenRead::Raw)];
        let read = fields.get("read").and_then(|at| self.word(&at, &reads)).unwrap_or_default();
        let to = fields.require("to").and_then(|at| self.strategy(&at, true))?;
        Some(Listen { to, read, foreach })
    }

    fn strategy(&self, at: &At<'_>, until_allowed: bool) -> Option<EventStrategy> {
        let fields = self.fields(at, &["all", "any", "one", "until"])?;
        let (kind, filters) = fields.one_of(&["all", "any", "one"])?;
        let until = fields.get("until");
        if let Some(until) = &until
            && (kind != "any" || !until_allowed)
        {
            self.error(until, "conflicting-keys", "`until` goes with `any`, and not inside another `until`");
        }
        Some(match kind {
            "all" => EventStrategy::All(self.filters(&filters)),
            "one" => EventStrategy::One(self.filter(&filters)?),
            _ => {
                let until = until.filter(|_| until_allowed).and_then(|at| match at.node.content {
                    Content::Text(_) => self.expression(&at).map(Until::Expression),
                    _ => self.strategy(&at, false).map(|events| Until::Events(Box::new(events))),
                });
                EventStrategy::Any { filters: self.filters(&filters), until }
            }
        })
    }

    fn filters(&self, at: &At<'_>) -> Vec<EventFilter> {
        self.items(at).iter().filter_map(|item| self.filter(item)).collect()
    }

    fn filter(&self, at: &At<'_>) -> Option<EventFilter> {
        let fields = self.fields(at, &["with", "correlate"])?;
        let correlate = fields.get("correlate").map(|at| self.by_name(&at, |at| self.correlation(at)));
        let with = fields.require("with")?;
        if matches!(&with.node.content, Content::Map(entries) if entries.is_empty()) {
            self.error(&with, "missing-key", "`with` needs at least one key");
        }
        Some(EventFilter { with: self.event_properties(&with)?, correlate: correlate.unwrap_or_default() })
    }

    fn correlation(&self, at: &At<'_>) -> Option<Correlation> {
        let fields = self.fields(at, &["from", "expect"])?;
        let expect = fields.get("expect").and_then(|at| self.string_template(&at));
        let from = fields.require("from").and_then(|at| self.expression(&at))?;
        Some(Correlation { from, expect })
    }

    pub(super) fn subscription_iterator(&self, at: &At<'_>) -> Option<SubscriptionIterator> {
        let fields = self.fields(at, &["item", "at", "do", "output", "export"])?;
        Some(SubscriptionIterator {
            item: self.variable(fields.get("item"), "item"),
            at: self.variable(fields.get("at"), "index"),
            do_: fields.get("do").map_or_else(TaskList::default, |at| self.task_list(&at)),
            output: fields.get("output").map_or_else(OutputFilter::default, |at| self.output(&at)),
            export: fields.get("export").map_or_else(OutputFilter::default, |at| self.output(&at)),
        })
    }

    pub(super) fn schedule(&self, at: &At<'_>) -> Schedule {
        let Some(fields) = self.fields(at, &["every", "cron", "after", "on"]) else {
            return Schedule::default();
        };
        Schedule {
            every: fields.get("every").and_then(|at| self.duration(&at)),
            cron: fields.get("cron").and_then(|at| self.string(&at)),
            after: fields.get("after").and_then(|at| self.duration(&at)),
            on: fields.get("on").and_then(|at| self.strategy(&at, true)),
        }
    }
}
