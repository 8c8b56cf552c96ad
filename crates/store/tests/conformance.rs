//! The conformance suite, on the fake and on SQLite.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::future::Future;

use store::blob::Blobs;
use store::memory::MemoryStore;
use store::sqlite::{SqliteOptions, SqliteStore};
use store::{Store, conformance};

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[test]
            fn $test() {
                let store = MemoryStore::new();
                block_on(conformance::$test(&store as &dyn Store));
            })*
        }
        mod sqlite {
            use super::*;
            $(#[test]
            fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let blobs = Blobs::folder(&folder.path().join("blobs")).unwrap();
                let options = SqliteOptions::at(folder.path().join("sagewai.db"));
                let store = SqliteStore::open(&options, blobs).unwrap();
                block_on(conformance::$test(&store as &dyn Store));
            })*
        }
    };
}

suite!(
    a_deleted_run_leaves_nothing,
    a_key_makes_one_run,
    a_refused_turn_leaves_nothing,
    a_run_is_made_and_advanced,
    a_run_is_retried,
    a_step_goes_from_worker_to_worker,
    chunks_come_in_order_and_once,
    counts_follow_runs_and_steps,
    large_values_come_back,
    leases_of_dead_workers_are_found,
    logs_of_a_step_are_capped,
    one_turn_ends_a_step_and_leases_the_next,
    ready_steps_come_by_class_and_place,
    runs_are_listed_newest_first,
    runs_that_are_needed_are_kept,
    stale_reports_are_refused,
    timers_come_when_due,
    tokens_are_found_by_hash_until_revoked,
    turns_see_the_turns_before_them,
    unused_blobs_are_told,
    versions_are_checked,
    workers_are_enrolled_touched_and_removed,
    workflows_never_change,
);
