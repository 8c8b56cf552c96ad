//! Both suites, on images that could not differ more.

use sandbox::{adversarial, conformance};
use testkit::images;

use super::harness::{daemon, subject};

/// Cases that need what an image may lack.
const MAY_SKIP: &[&str] = &["a-program-of-the-image-is-found-by-its-name"];

async fn conforms(image: &str) {
    let Some(host) = daemon() else { return };
    let report = conformance::check(&subject(&host, image)).await;
    report.expect_held();
    let skipped: Vec<_> = report.skipped().filter(|(name, _)| !MAY_SKIP.contains(name)).collect();
    assert!(skipped.is_empty(), "{skipped:?}");
}

async fn holds_off_attacks(image: &str) {
    let Some(host) = daemon() else { return };
    adversarial::check(&subject(&host, image)).await.expect_held();
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_on_busybox() {
    conforms(images::BUSYBOX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_on_a_distroless_image() {
    conforms(images::DISTROLESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_on_a_hostile_image() {
    conforms(images::HOSTILE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_busybox_are_held_off() {
    holds_off_attacks(images::BUSYBOX).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_a_hostile_image_are_held_off() {
    holds_off_attacks(images::HOSTILE).await;
}
