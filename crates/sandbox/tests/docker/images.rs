//! Images: pulled or not, pinned, refused with the remedy.

use std::os::unix::fs::PermissionsExt;

use sandbox::docker::{DockerBackend, DockerOptions, Pull};
use sandbox::{Backend, SandboxError, Template};
use testkit::images;

use super::harness::{backend, daemon, docker, options, owner, registry};

fn silent(_: String) {}

/// The reason and the remedy of a refusal.
fn refused(error: SandboxError) -> String {
    match error {
        SandboxError::Unavailable { reason, remedy, .. } => format!("{reason}; {remedy}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_says_what_it_runs() {
    let Some(host) = daemon() else { return };
    let backend = backend(&host);
    let image =
        backend.pull(images::DISTROLESS, &silent).await.expect("it is there").expect("images are read");
    assert_eq!(image.config.command_line(&[]).expect("an entrypoint"), ["/busybox", "echo", "hello"]);
    assert!(image.pinned.starts_with("sha256:"), "no registry knows it: {}", image.pinned);
    let python = backend.pull(images::PYTHON, &silent).await.expect("it is there").expect("images are read");
    assert_eq!(python.config.environment["PATH"], "/usr/bin:/bin");
    assert_eq!(python.config.directory.as_deref(), Some("/usr"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_refused_with_the_remedy() {
    let Some(host) = daemon() else { return };
    let backend = backend(&host);
    let why = refused(backend.pull("nobody.example/absent:1", &silent).await.expect_err("it is absent"));
    assert!(why.contains("docker pull nobody.example/absent:1"), "{why}");
    let template = Template { image: Some("../../containers/json".to_owned()), ..Template::default() };
    let why = refused(backend.create(&template).await.err().expect("no reference"));
    assert!(why.contains("registry/name:tag"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_and_pinned_to_its_digest() {
    let (Some(host), Some(registry)) = (daemon(), registry()) else { return };
    let there = images::push(&host, images::BUSYBOX, &registry).expect("pushed");
    docker(&host, &["rmi", &there]);
    let pulling = |pull| DockerBackend::new(DockerOptions { pull, ..options(&host, &owner()) });
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |text: String| told.lock().expect("no panic").push(text);
    let image = pulling(Pull::IfNotPresent).pull(&there, &tell).await.expect("pulled").expect("an image");
    let name = there.rsplit_once(':').expect("a tag").0;
    assert!(image.pinned.starts_with(&format!("{name}@sha256:")), "{}", image.pinned);
    assert_eq!(told.lock().expect("no panic").len(), 2, "{told:?}");

    // The tag moves; who has it keeps it, who always pulls follows, and what was pinned stays what it was.
    let moved = format!("{registry}/{}", images::DISTROLESS);
    docker(&host, &["tag", images::DISTROLESS, &there]);
    docker(&host, &["push", "--quiet", &there]);
    docker(&host, &["tag", images::BUSYBOX, &there]);
    let kept = pulling(Pull::IfNotPresent).pull(&there, &silent).await.expect("there").expect("an image");
    assert_eq!(kept.pinned, image.pinned);
    let followed = pulling(Pull::Always).pull(&there, &silent).await.expect("pulled").expect("an image");
    assert_ne!(followed.pinned, image.pinned, "{moved}");
    let backend = pulling(Pull::IfNotPresent);
    let sandbox = backend
        .create(&Template { image: Some(image.pinned.clone()), ..Template::default() })
        .await
        .expect("by its digest");
    let made_of = docker(&host, &["inspect", "--format", "{{.Image}}", sandbox.id().as_str()]);
    assert_eq!(made_of, docker(&host, &["image", "inspect", "--format", "{{.Id}}", images::BUSYBOX]));
    sandbox.discard().await.expect("discarded");

    let absent = format!("{registry}/absent:1");
    let why = refused(backend.pull(&absent, &silent).await.expect_err("it is absent"));
    assert!(why.contains("check its name"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_another_architecture_is_refused_before_it_is_tried() {
    let Some(host) = daemon() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let name = images::foreign(&host, folder.path()).expect("loaded");
    let why = refused(backend(&host).pull(&name, &silent).await.expect_err("another architecture"));
    assert!(why.contains("riscv64") && why.contains("amd64"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_others_may_read_are_not_used() {
    let Some(host) = daemon() else { return };
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).expect("set");
    let registries = Some(file.path().to_owned());
    let backend =
        DockerBackend::new(DockerOptions { registries, pull: Pull::Always, ..options(&host, &owner()) });
    let why = refused(backend.pull("nobody.example/a:1", &silent).await.expect_err("refused"));
    assert!(why.contains("chmod 600"), "{why}");
}
