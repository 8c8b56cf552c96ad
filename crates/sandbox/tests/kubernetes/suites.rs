//! Both suites, in an image that holds nothing but the guest.

use sandbox::suite::Subject;
use sandbox::{SandboxLimits, Template, adversarial, conformance};

use super::harness::{Closed, with_namespace};

/// Small, so that several pods fit on one node.
fn subject(backend: std::sync::Arc<dyn sandbox::Backend>) -> Subject {
    let limits = SandboxLimits { cpu_millis: 200, ..SandboxLimits::default() };
    Subject { template: Template { limits, ..Template::default() }, at_once: 2, ..Subject::new(backend) }
}

#[test]
fn it_conforms() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let backend = namespace.backend().await;
        conformance::check(&subject(backend)).await.expect_held();
        namespace.expect_no_pods().await;
    });
}

#[test]
fn it_holds_attacks_off() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let backend = namespace.backend().await;
        adversarial::check(&subject(backend)).await.expect_held();
        namespace.expect_no_pods().await;
    });
}
