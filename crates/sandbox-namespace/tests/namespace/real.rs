//! Real sandboxes: the suites, as this user and as an ordinary one.

use super::harness;
use sandbox::conformance;

#[test]
fn conforms() {
    harness::run(async |backend| {
        if let Err(failures) = conformance::check(&**backend).await {
            panic!("{failures}");
        }
    });
}

#[test]
fn conforms_for_an_ordinary_user() {
    harness::again_as_ordinary_user("real::conforms");
}
