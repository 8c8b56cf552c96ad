//! `GET /metrics`: what is counted, in the text format of Prometheus.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use store::{RunStatus, StepState};

use super::Api;
use super::access::Caller;
use super::model::Role;
use super::problem::Problem;
use crate::metrics::{Histogram, Metrics};

/// The metrics; any token without namespaces may read them.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, description = "Prometheus text format", body = String, content_type = "text/plain"),
    (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn render(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    if !caller.access.namespaces.is_empty() {
        return Err(Problem::new(super::problem::Kind::Forbidden, "metrics are of all namespaces"));
    }
    let counts = api.store.counts(None).await?;
    let mut text = counted(api.control.metrics());
    family(&mut text, "runs", "gauge", "Runs by state.");
    for status in RunStatus::ALL {
        line(&mut text, "runs", &format!("state=\"{}\"", status.name()), counts.runs(status));
    }
    family(&mut text, "steps", "gauge", "Steps by state.");
    for state in StepState::ALL {
        line(&mut text, "steps", &format!("state=\"{}\"", state.name()), counts.steps(state));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn counted(metrics: &Metrics) -> String {
    let mut text = String::with_capacity(8 << 10);
    let counters = [
        ("runs_submitted_total", "Runs accepted.", &metrics.runs_submitted),
        ("runs_completed_total", "Runs that ended well.", &metrics.runs_completed),
        ("runs_faulted_total", "Runs that ended with an error.", &metrics.runs_faulted),
        ("runs_cancelled_total", "Runs that were cancelled.", &metrics.runs_cancelled),
        ("runs_loaded_total", "Runs loaded again from the store.", &metrics.runs_loaded),
        ("steps_planned_total", "Steps the planner asked for.", &metrics.steps_planned),
        ("steps_leased_total", "Leases handed out.", &metrics.steps_leased),
        ("steps_completed_total", "Outcomes accepted: completed.", &metrics.steps_completed),
        ("steps_failed_total", "Outcomes accepted: failed.", &metrics.steps_failed),
        ("reports_stale_total", "Reports refused as stale.", &metrics.reports_stale),
        ("leases_expired_total", "Leases that expired.", &metrics.leases_expired),
        ("commits_total", "Commits that succeeded.", &metrics.commits),
        ("commits_failed_total", "Commits that failed.", &metrics.commits_failed),
        ("timers_fired_total", "Timers fired.", &metrics.timers_fired),
        ("log_bytes_total", "Log bytes taken from workers.", &metrics.log_bytes),
        ("log_bytes_dropped_total", "Log bytes dropped over a step's limit.", &metrics.log_bytes_dropped),
    ];
    for (name, help, counter) in counters {
        family(&mut text, name, "counter", help);
        line(&mut text, name, "", counter.value());
    }
    let gauges = [
        ("runs_cached", "Live runs in memory.", &metrics.runs_cached),
        ("steps_ready", "Ready steps in memory.", &metrics.steps_ready),
        ("steps_in_flight", "Leases in force.", &metrics.steps_in_flight),
        ("workers_connected", "Workers connected.", &metrics.workers_connected),
    ];
    for (name, help, gauge) in gauges {
        family(&mut text, name, "gauge", help);
        line(&mut text, name, "", gauge.value());
    }
    histogram(
        &mut text,
        "commit_seconds",
        "Time of a commit.",
        &metrics.commit_microseconds,
        Unit::Microseconds,
    );
    histogram(
        &mut text,
        "plan_seconds",
        "Time of a turn of the planner.",
        &metrics.plan_microseconds,
        Unit::Microseconds,
    );
    histogram(&mut text, "commit_turns", "Turns in a commit.", &metrics.commit_turns, Unit::Count);
    text
}

#[derive(Clone, Copy)]
enum Unit {
    Microseconds,
    Count,
}

fn histogram(text: &mut String, name: &str, help: &str, histogram: &Histogram, unit: Unit) {
    let scaled = |value: u64| match unit {
        Unit::Microseconds => format!("{}", value as f64 / 1e6),
        Unit::Count => value.to_string(),
    };
    family(text, name, "histogram", help);
    let mut count = 0;
    for (bound, total) in histogram.cumulative() {
        let bound = bound.map_or("+Inf".to_owned(), scaled);
        line(text, &format!("{name}_bucket"), &format!("le=\"{bound}\""), total);
        count = total;
    }
    writeln!(text, "sagewai_{name}_sum {}", scaled(histogram.sum()))
        .expect("writing to a String cannot fail");
    line(text, &format!("{name}_count"), "", count);
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    write!(text, "# HELP sagewai_{name} {help}\n# TYPE sagewai_{name} {kind}\n")
        .expect("writing to a String cannot fail");
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    writeln!(text, "sagewai_{name}{labels} {value}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_in_seconds_and_cumulative() {
        let metrics = Metrics::default();
        metrics.commit_microseconds.observe(200);
        let text = counted(&metrics);
        assert!(text.contains("sagewai_commit_seconds_bucket{le=\"0.0001\"} 0\n"), "{text}");
        assert!(text.contains("sagewai_commit_seconds_bucket{le=\"0.00025\"} 1\n"), "{text}");
        assert!(text.contains("sagewai_commit_seconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("sagewai_commit_seconds_sum 0.0002\n"), "{text}");
    }
}
