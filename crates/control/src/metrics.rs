//! Counters, gauges and histograms of the control plane; the API renders them for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The number.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution over fixed upper bounds; a value above the last falls in `+Inf`.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Takes a value in the histogram's unit.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Takes a duration; the histogram's unit is microseconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Upper bounds with the number of values up to each, cumulative; the last bound is `None` for `+Inf`.
    pub fn cumulative(&self) -> Vec<(Option<u64>, u64)> {
        let mut total = 0;
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds
            .zip(&self.buckets)
            .map(|(bound, bucket)| {
                total += bucket.load(Ordering::Relaxed);
                (bound, total)
            })
            .collect()
    }

    /// Sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

const MICROSECONDS: &[u64] =
    &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];
const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048];

/// Everything that is counted. Names match the rendered ones, without the `sagewai_` prefix.
#[derive(Debug)]
pub struct Metrics {
    /// Runs accepted.
    pub runs_submitted: Counter,
    /// Runs that ended well.
    pub runs_completed: Counter,
    /// Runs that ended with an error.
    pub runs_faulted: Counter,
    /// Runs that were cancelled.
    pub runs_cancelled: Counter,
    /// Live runs in memory.
    pub runs_cached: Gauge,
    /// Runs loaded again from the store.
    pub runs_loaded: Counter,
    /// Steps the planner asked for.
    pub steps_planned: Counter,
    /// Leases handed out.
    pub steps_leased: Counter,
    /// Outcomes accepted: completed.
    pub steps_completed: Counter,
    /// Outcomes accepted: failed.
    pub steps_failed: Counter,
    /// Reports refused as stale.
    pub reports_stale: Counter,
    /// Leases that expired.
    pub leases_expired: Counter,
    /// Ready steps in memory.
    pub steps_ready: Gauge,
    /// Leases in force.
    pub steps_in_flight: Gauge,
    /// Workers connected.
    pub workers_connected: Gauge,
    /// Commits that succeeded.
    pub commits: Counter,
    /// Commits that failed.
    pub commits_failed: Counter,
    /// Microseconds a commit took.
    pub commit_microseconds: Histogram,
    /// Turns in a commit.
    pub commit_turns: Histogram,
    /// Microseconds the planner took for a turn.
    pub plan_microseconds: Histogram,
    /// Timers fired.
    pub timers_fired: Counter,
    /// Log bytes taken from workers.
    pub log_bytes: Counter,
    /// Log bytes dropped over a step's limit.
    pub log_bytes_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            runs_submitted: Counter::default(),
            runs_completed: Counter::default(),
            runs_faulted: Counter::default(),
            runs_cancelled: Counter::default(),
            runs_cached: Gauge::default(),
            runs_loaded: Counter::default(),
            steps_planned: Counter::default(),
            steps_leased: Counter::default(),
            steps_completed: Counter::default(),
            steps_failed: Counter::default(),
            reports_stale: Counter::default(),
            leases_expired: Counter::default(),
            steps_ready: Gauge::default(),
            steps_in_flight: Gauge::default(),
            workers_connected: Gauge::default(),
            commits: Counter::default(),
            commits_failed: Counter::default(),
            commit_microseconds: Histogram::new(MICROSECONDS),
            commit_turns: Histogram::new(SIZES),
            plan_microseconds: Histogram::new(MICROSECONDS),
            timers_fired: Counter::default(),
            log_bytes: Counter::default(),
            log_bytes_dropped: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_cumulatively_and_keeps_the_sum() {
        let histogram = Histogram::new(&[10, 100]);
        for value in [1, 10, 11, 500] {
            histogram.observe(value);
        }
        assert_eq!(histogram.cumulative(), vec![(Some(10), 2), (Some(100), 3), (None, 4)]);
        assert_eq!(histogram.sum(), 522);
    }
}
