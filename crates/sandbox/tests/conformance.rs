//! The fake passes the conformance suite.

use sandbox::conformance;
use sandbox::fake::FakeBackend;

#[tokio::test]
async fn the_fake_conforms() {
    let backend = FakeBackend::new();
    if let Err(failures) = conformance::check(&*backend).await {
        panic!("{failures}");
    }
    assert_eq!(backend.alive(), 0, "sandboxes are left");
}
