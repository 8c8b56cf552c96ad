//! The fake passes the conformance suite.

use sandbox::conformance;
use sandbox::fake::FakeBackend;
use sandbox::suite::Subject;

#[tokio::test]
async fn the_fake_conforms() {
    let backend = FakeBackend::new();
    conformance::check(&Subject::new(backend.clone())).await.expect_held();
    assert_eq!(backend.alive(), 0, "sandboxes are left");
}
