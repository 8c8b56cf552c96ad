//! What every store must do, as functions over a fresh, empty store. The fake passes first. A function panics, with what it
//! found, where a store does otherwise.

mod logs;
mod people;
mod queue;
mod retention;
mod samples;
mod turns;
mod workers;

pub use logs::{chunks_come_in_order_and_once, logs_of_a_step_are_capped, unused_blobs_are_told};
pub use people::{
    counts_follow_runs_and_steps, runs_are_listed_newest_first, tokens_are_found_by_hash_until_revoked,
    workflows_never_change,
};
pub use queue::{
    a_step_goes_from_worker_to_worker, leases_of_dead_workers_are_found, ready_steps_come_by_class_and_place,
    stale_reports_are_refused, timers_come_when_due,
};
pub use retention::{a_deleted_run_leaves_nothing, runs_that_are_needed_are_kept};
pub use turns::{
    a_key_makes_one_run, a_refused_turn_leaves_nothing, a_run_is_made_and_advanced, a_run_is_retried,
    large_values_come_back, one_turn_ends_a_step_and_leases_the_next, turns_see_the_turns_before_them,
    versions_are_checked,
};
pub use workers::workers_are_enrolled_touched_and_removed;
