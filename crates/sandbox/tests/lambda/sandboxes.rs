//! The backend as every other one: the conformance suite, and what is refused before it costs anything.

use sandbox::lambda::MIB;
use sandbox::suite::Subject;
use sandbox::{Backend, SandboxError, SandboxLimits, Template, conformance};

use crate::harness::Lambda;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invocations_conform() {
    let Some(lambda) = Lambda::deployed(|_| {}).await else { return };
    let backend = lambda.backend().await;
    conformance::check(&Subject::new(backend)).await.expect_held();
}

#[tokio::test]
async fn what_the_function_cannot_give_is_refused_without_an_invocation() {
    let Some(lambda) = Lambda::deployed(|wanted| wanted.memory_mib = 512).await else { return };
    let backend = lambda.backend().await;
    let usual = SandboxLimits { memory_bytes: 256 * MIB, cpu_millis: 100, ..SandboxLimits::default() };
    for template in [
        Template { image: Some("alpine".to_owned()), limits: usual },
        Template { image: None, limits: SandboxLimits { memory_bytes: 1024 * MIB, ..usual } },
        Template { image: None, limits: SandboxLimits { disk_bytes: 20_480 * MIB, ..usual } },
    ] {
        let refused = backend.create(&template).await.err();
        assert!(matches!(refused, Some(SandboxError::Unavailable { .. })), "{refused:?}");
    }
    assert_eq!(lambda.emulator.environments(), 0);
}

#[tokio::test]
async fn a_function_that_is_not_there_is_named_with_the_remedy() {
    let Some(lambda) = Lambda::deployed(|wanted| wanted.function = "other".to_owned()).await else { return };
    let refused = lambda.backend().await.create(&Template::default()).await.err().unwrap().to_string();
    assert!(refused.contains("sagewai-sandbox") && refused.contains("lambda deploy"), "{refused}");
}

#[tokio::test]
async fn throttling_says_so() {
    let Some(lambda) = Lambda::deployed(|_| {}).await else { return };
    lambda.emulator.reserve("sagewai-sandbox", 1);
    let backend = lambda.backend().await;
    let first = backend.create(&Template::default()).await.unwrap();
    let second = backend.create(&Template::default()).await.err().unwrap();
    assert!(matches!(&second, SandboxError::Create(why) if why.contains("throttles")), "{second}");
    first.discard().await.unwrap();
}

#[tokio::test]
async fn layers_are_told_as_the_guest_finds_them() {
    use protocol::frame::Layer;
    let Some(lambda) = Lambda::deployed(|_| {}).await else { return };
    let layers = lambda.backend().await.layers().await.unwrap();
    let holds = |layer| layers.iter().any(|report| report.layer == layer && report.enforced);
    for layer in [Layer::Seccomp, Layer::NoNewPrivileges, Layer::UndumpableGuest, Layer::ClosedNetwork] {
        assert!(holds(layer), "{layer:?} in {layers:?}");
    }
    for layer in [Layer::MountNamespace, Layer::StepUser, Layer::NetworkNamespace, Layer::Cgroup] {
        assert!(!holds(layer), "{layer:?} in {layers:?}");
    }
}
