//! Both suites, in an image that holds nothing but the guest.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use protocol::frame::LayerReport;
use sandbox::suite::Subject;
use sandbox::{Backend, Capabilities, Sandbox, SandboxError, Session, Template, adversarial, conformance};

use super::harness::{Closed, small, with_namespace};

/// The one node of the tests' cluster is this machine, so that the suites find a sandbox's processes here.
struct OnThisMachine(Arc<dyn Backend>);

#[async_trait]
impl Backend for OnThisMachine {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { local: true, ..self.0.capabilities() }
    }

    async fn create(&self, template: &Template) -> Result<Box<dyn Sandbox>, SandboxError> {
        self.0.create(template).await
    }

    async fn layers(&self) -> Result<Vec<LayerReport>, SandboxError> {
        self.0.layers().await
    }
}

fn subject(backend: Arc<dyn Backend>) -> Subject {
    Subject { template: small(), at_once: 3, ..Subject::new(Arc::new(OnThisMachine(backend))) }
}

#[test]
fn it_conforms() {
    with_namespace(Closed::NoInterface, async |namespace| {
        conformance::check(&subject(namespace.backend().await)).await.expect_held();
        namespace.expect_no_pods().await;
    });
}

#[test]
fn it_holds_attacks_off() {
    with_namespace(Closed::NoInterface, async |namespace| {
        adversarial::check(&subject(namespace.backend().await)).await.expect_held();
        namespace.expect_no_pods().await;
    });
}

/// Prints how long sandboxes take to come and to go: `--ignored --nocapture`.
#[test]
#[ignore = "measures, and asserts nothing"]
fn how_long_a_pod_comes_and_goes() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let backend = namespace.backend().await;
        let (mut coming, mut going) = (Vec::new(), Vec::new());
        for _ in 0..11 {
            let began = Instant::now();
            let session = Session::open(backend.create(&small()).await.unwrap(), &[]).await.unwrap();
            coming.push(began.elapsed());
            let began = Instant::now();
            session.discard().await.unwrap();
            going.push(began.elapsed());
        }
        for (what, mut times) in [("ready", coming), ("gone", going)] {
            times.sort_unstable();
            eprintln!("{what}: median {:?}, longest {:?}", times[times.len() / 2], times[times.len() - 1]);
        }
    });
}
