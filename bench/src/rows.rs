//! Rows: what was measured, beside its baseline and its goal; as JSON and as a table.

use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;
use crate::samples::{Samples, median};

/// All rows, and the machine they were measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
    machine_before: Machine,
    machine_after: Machine,
}

/// One measured thing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Rows that belong together.
    group: &'static str,
    /// What was measured.
    name: String,
    /// Unit of every number of this row.
    unit: &'static str,
    /// Median over the rounds.
    ours: f64,
    /// The smallest and the largest round.
    spread: [f64; 2],
    /// Median over the rounds; absent where there is none or it could not be measured.
    baseline: Option<f64>,
    /// What the baseline is.
    baseline_name: Option<String>,
    /// `ours` / `baseline`.
    ratio: Option<f64>,
    /// The goal, in words.
    goal: String,
    /// Whether the goal is met; absent where there is no goal, or a baseline that it needs.
    holds: Option<bool>,
    /// Ours, over all rounds, where every operation was timed.
    p50: Option<f64>,
    /// As `p50`.
    p99: Option<f64>,
    /// How it was measured.
    method: String,
}

/// What a row should show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At least so many times the baseline.
    MinTimes(f64),
    /// At most so many times the baseline.
    MaxTimes(f64),
    /// At least this, in the row's unit.
    Min(f64),
    /// At most this, in the row's unit.
    Max(f64),
    /// At most this, and at most so many times the baseline.
    MaxAndTimes(f64, f64),
}

impl Row {
    /// A row of one value a round.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, rounds: &[f64]) -> Row {
        Row {
            group: "",
            name: name.into(),
            unit,
            ours: median(rounds),
            spread: [
                rounds.iter().copied().fold(f64::INFINITY, f64::min),
                rounds.iter().copied().fold(0.0, f64::max),
            ],
            baseline: None,
            baseline_name: None,
            ratio: None,
            goal: String::new(),
            holds: None,
            p50: None,
            p99: None,
            method: String::new(),
        }
    }

    /// Beside a baseline with one value a round; none means that it could not be measured.
    #[must_use]
    pub(crate) fn beside(mut self, name: impl Into<String>, rounds: &[f64]) -> Row {
        self.baseline_name = Some(name.into());
        self.baseline = (!rounds.is_empty()).then(|| median(rounds));
        self.ratio = self.baseline.filter(|baseline| *baseline > 0.0).map(|baseline| self.ours / baseline);
        self
    }

    /// With its goal; name the baseline first.
    #[must_use]
    pub(crate) fn goal(mut self, goal: Goal) -> Row {
        let unit = self.unit;
        (self.goal, self.holds) = match goal {
            Goal::MinTimes(times) => (format!(">= {times}x"), self.ratio.map(|ratio| ratio >= times)),
            Goal::MaxTimes(times) => (format!("<= {times}x"), self.ratio.map(|ratio| ratio <= times)),
            Goal::Min(least) => (format!(">= {least} {unit}"), Some(self.ours >= least)),
            Goal::Max(most) => (format!("<= {most} {unit}"), Some(self.ours <= most)),
            Goal::MaxAndTimes(most, times) => (
                format!("<= {most} {unit}, <= {times}x"),
                self.ratio.map(|ratio| ratio <= times && self.ours <= most),
            ),
        };
        self
    }

    /// With the percentiles of all operations of ours.
    #[must_use]
    pub(crate) fn percentiles(mut self, samples: &Samples) -> Row {
        self.p50 = Some(samples.percentile(0.5));
        self.p99 = Some(samples.percentile(0.99));
        self
    }

    /// With how it was measured.
    #[must_use]
    pub(crate) fn method(mut self, method: impl Into<String>) -> Row {
        self.method = method.into();
        self
    }
}

/// Rows for the middle and the tail of times that were taken in rounds, beside a baseline's.
pub(crate) struct Latency<'a> {
    /// What was timed.
    pub(crate) name: &'a str,
    /// Ours, a turn a round.
    pub(crate) ours: &'a [Samples],
    /// The baseline and its turns.
    pub(crate) beside: Option<(&'a str, &'a [Samples])>,
    /// Goals of p50 and p99.
    pub(crate) goals: Option<(Goal, Goal)>,
    /// How it was measured.
    pub(crate) method: &'a str,
}

impl Latency<'_> {
    /// A row for p50 and one for p99, in ms.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let all = self.ours.iter().fold(Samples::default(), |mut all, turn| {
            all.extend(turn);
            all
        });
        [("p50", 0.5), ("p99", 0.99)]
            .map(|(label, part)| {
                let of = |turns: &[Samples]| -> Vec<f64> {
                    turns.iter().filter(|turn| turn.len() > 0).map(|turn| turn.percentile(part)).collect()
                };
                let mut row = Row::new(format!("{}, {label}", self.name), "ms", &of(self.ours));
                if let Some((name, turns)) = self.beside {
                    row = row.beside(name, &of(turns));
                }
                if let Some((middle, tail)) = self.goals {
                    row = row.goal(if label == "p50" { middle } else { tail });
                }
                row.percentiles(&all).method(self.method)
            })
            .into()
    }
}

impl Report {
    /// Of a machine as it is before.
    pub(crate) fn new(machine: Machine) -> Report {
        Report { rows: Vec::new(), machine_before: machine.clone(), machine_after: machine }
    }

    /// Takes the rows of a group.
    pub(crate) fn add(&mut self, group: &'static str, rows: Vec<Row>) {
        self.rows.extend(rows.into_iter().map(|row| Row { group, ..row }));
    }

    /// Notes the machine as it is after.
    pub(crate) fn end(&mut self, machine: Machine) {
        self.machine_after = machine;
    }

    /// All rows as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine_after;
        let line = format!(
            "Linux {}, {} cores, {} GiB; load (1 minute) {} before and {} after, the measured processes included.\n\n",
            machine.kernel,
            machine.cores,
            machine.memory_gib,
            self.machine_before.load_1_minute,
            machine.load_1_minute
        );
        text.push_str(&line);
        text.push_str("| What | Ours (lowest – highest round) | Baseline | Ratio | Goal | Holds |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for row in &self.rows {
            row.write(&mut text);
        }
        text
    }
}

impl Row {
    fn write(&self, text: &mut String) {
        let baseline = match (self.baseline, &self.baseline_name) {
            (Some(value), Some(name)) => format!("{} ({name})", short(value)),
            (None, Some(name)) => format!("not measured ({name})"),
            _ => String::new(),
        };
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{}x", short(ratio)));
        let holds = match self.holds {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        writeln!(
            text,
            "| {} | {} {} ({} – {}) | {baseline} | {ratio} | {} | {holds} |",
            self.name,
            short(self.ours),
            self.unit,
            short(self.spread[0]),
            short(self.spread[1]),
            self.goal
        )
        .expect("writing to a String cannot fail");
    }
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_needs_a_baseline_is_open_without_it() {
        let row = Row::new("steps", "1/s", &[300.0, 310.0, 290.0]);
        assert_eq!(row.clone().beside("peer", &[]).goal(Goal::MinTimes(3.0)).holds, None);
        assert_eq!(row.clone().beside("peer", &[100.0]).goal(Goal::MinTimes(3.0)).holds, Some(true));
        assert_eq!(row.clone().beside("peer", &[101.0]).goal(Goal::MinTimes(3.0)).holds, Some(false));
        assert_eq!(row.goal(Goal::Max(299.0)).holds, Some(false));
    }

    #[test]
    fn a_goal_of_two_parts_needs_both() {
        let row = Row::new("cold", "ms", &[1.5]).beside("bwrap", &[4.0]);
        assert_eq!(row.clone().goal(Goal::MaxAndTimes(2.0, 0.5)).holds, Some(true));
        assert_eq!(row.clone().goal(Goal::MaxAndTimes(1.0, 0.5)).holds, Some(false));
        assert_eq!(row.goal(Goal::MaxAndTimes(2.0, 0.1)).holds, Some(false));
    }
}
