//! Both suites, in an image that holds nothing but the guest.

use sandbox::suite::Subject;
use sandbox::{adversarial, conformance};

use super::harness::{Closed, small, with_namespace};

#[test]
fn it_conforms() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let subject = Subject { template: small(), ..Subject::new(namespace.backend().await) };
        conformance::check(&subject).await.expect_held();
        namespace.expect_no_pods().await;
    });
}

#[test]
fn it_holds_attacks_off() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let subject = Subject { template: small(), ..Subject::new(namespace.backend().await) };
        adversarial::check(&subject).await.expect_held();
        namespace.expect_no_pods().await;
    });
}
