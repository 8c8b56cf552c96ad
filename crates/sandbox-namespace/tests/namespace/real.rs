//! Real sandboxes: the suites, as this user and as an ordinary one.

use std::sync::Arc;

use super::harness;
use sandbox::conformance;
use sandbox::suite::Subject;

/// Cases that need what an ordinary user may lack: cgroups, the right to kill the guest.
const MAY_SKIP: &[&str] = &[
    "limits-of-a-step-are-set",
    "the-deadline-holds-without-the-worker",
    "a-guest-that-dies-fails-the-step",
];

#[test]
fn conforms() {
    harness::run(async |backend| {
        let report = conformance::check(&Subject::new(Arc::clone(backend))).await;
        report.expect_held();
        let skipped: Vec<_> = report.skipped().filter(|(name, _)| !MAY_SKIP.contains(name)).collect();
        assert!(skipped.is_empty(), "{skipped:?}");
    });
}

#[test]
fn conforms_for_an_ordinary_user() {
    harness::again_as_ordinary_user("real::conforms");
}
