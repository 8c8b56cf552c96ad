//! Pulling images: from a registry that misbehaves on demand, and from a real one, against another client's idea of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::oci::made::{MadeImage, Shelf, TarWriter};
use sandbox::oci::{Digest, ImageError, ImageSettings, Images, PullPolicy};
use serde_json::json;

/// Base64 of `user:password`.
const BASIC: &str = "dXNlcjpwYXNzd29yZA==";

struct Machine {
    folder: tempfile::TempDir,
    shelf: Shelf,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), shelf: Shelf::start().expect("a registry") }
    }

    fn settings(&self) -> ImageSettings {
        let mut settings = ImageSettings::new(self.folder.path().join("cache"));
        settings.insecure = vec![self.shelf.address()];
        settings
    }

    fn images(&self) -> Arc<Images> {
        Images::open(self.settings()).expect("a cache")
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.shelf.address())
    }

    fn layers_folder(&self) -> PathBuf {
        Images::make_folders(&self.folder.path().join("cache")).expect("the cache is there")
    }

    fn blob_requests(&self) -> usize {
        self.shelf.requests().iter().filter(|request| request.contains("/blobs/")).count()
    }
}

fn image(content: &[u8]) -> MadeImage {
    let base = TarWriter::new().folder("etc").file("etc/base", 0o644, b"base");
    MadeImage::new([base, TarWriter::new().file("etc/own", 0o644, content)])
}

async fn pull(images: &Images, name: &str) -> Result<(sandbox::Image, Vec<String>), ImageError> {
    let told = Mutex::new(Vec::new());
    let image = images.pull(name, &|text| told.lock().expect("no panic").push(text)).await?;
    Ok((image, told.into_inner().expect("no panic")))
}

#[tokio::test]
async fn an_image_is_pulled_once_and_named_by_its_digest() {
    let machine = Machine::new();
    let mut made = image(b"one");
    made.process = json!({"Env": ["A=1"], "Entrypoint": ["/app"], "WorkingDir": "/srv"});
    let digest = machine.shelf.put("acme/tool:1", &made);
    let images = machine.images();
    let (image, told) = pull(&images, &machine.name("acme/tool:1")).await.expect("pulled");
    assert_eq!(image.pinned, format!("{}@{digest}", machine.name("acme/tool")));
    assert_eq!(image.config.entrypoint, ["/app"]);
    assert!(told.iter().any(|text| text.starts_with("pulling ") && text.contains("2 layers")), "{told:?}");
    assert!(
        told.last().is_some_and(|text| text.starts_with("pulled ") && text.contains(&digest.to_string())),
        "{told:?}"
    );

    // The tag moves; the image that was resolved stays, here and after a restart.
    machine.shelf.put("acme/tool:1", &self::image(b"two"));
    let before = machine.shelf.requests().len();
    for images in [images, machine.images()] {
        let (again, told) = pull(&images, &machine.name("acme/tool:1")).await.expect("here");
        assert_eq!((again, told.len()), (image.clone(), 0));
        assert_eq!(images.layers(&image.pinned).await.expect("here").len(), 2);
    }
    assert_eq!(machine.shelf.requests().len(), before, "the registry was asked for what is here");
}

#[tokio::test]
async fn the_pull_policy_decides_when_a_registry_is_asked() {
    let machine = Machine::new();
    let name = machine.name("acme/tool:1");
    machine.shelf.put("acme/tool:1", &image(b"one"));
    let with = |pull| Images::open(ImageSettings { pull, ..machine.settings() }).expect("a cache");
    let never = pull(&with(PullPolicy::Never), &name).await.expect_err("nothing is here");
    assert!(matches!(never, ImageError::Absent(_)), "{never}");
    let always = with(PullPolicy::Always);
    let (one, _) = pull(&always, &name).await.expect("pulled");
    machine.shelf.put("acme/tool:1", &image(b"two"));
    let blobs = machine.blob_requests();
    let (two, _) = pull(&always, &name).await.expect("pulled");
    assert_ne!(one.pinned, two.pinned);
    // A configuration and one layer: the base is here.
    assert_eq!(machine.blob_requests() - blobs, 2);
    pull(&with(PullPolicy::Never), &name).await.expect("here by now");
}

#[tokio::test]
async fn what_many_ask_for_at_once_is_pulled_once() {
    let machine = Machine::new();
    machine.shelf.put("acme/tool:1", &image(b"one"));
    let images = machine.images();
    let name = machine.name("acme/tool:1");
    let pulls = futures_util::future::join_all((0..16).map(|_| pull(&images, &name))).await;
    assert!(pulls.into_iter().all(|pulled| pulled.is_ok()));
    assert_eq!(machine.blob_requests(), 3, "a configuration and two layers");
}

#[tokio::test]
async fn nothing_is_kept_that_does_not_have_its_digest() {
    let machine = Machine::new();
    let made = image(b"one");
    let parts = made.parts();
    machine.shelf.put("acme/tool:1", &made);
    let tampered = image(b"evil").parts();
    let evil = tampered.blobs[&tampered.layers[1].to_string()].clone();
    machine.shelf.put_bytes(&parts.layers[1].to_string(), &evil);
    let images = machine.images();
    let error = pull(&images, &machine.name("acme/tool:1")).await.expect_err("a layer is not itself");
    assert!(matches!(&error, ImageError::Digest { what: "a layer", .. }), "{error}");
    assert!(
        fs::read_dir(machine.layers_folder()).expect("the folder").count() <= 1,
        "a tampered layer was kept"
    );
    // The other layer's thread may still be at it.
    let is_tidy =
        || fs::read_dir(machine.folder.path().join("cache/drafts")).expect("the folder").count() == 0;
    let tidy = async {
        while !is_tidy() {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(5), tidy).await.expect("drafts go away");

    let digest = Digest::of(b"asked for");
    machine.shelf.put_bytes(&digest.to_string(), &parts.blobs[&parts.manifest.to_string()]);
    let error =
        pull(&images, &machine.name(&format!("acme/tool@{digest}"))).await.expect_err("another manifest");
    assert!(matches!(&error, ImageError::Digest { what: "the manifest", .. }), "{error}");
}

#[tokio::test]
async fn a_layer_whose_content_is_not_what_the_configuration_says_is_refused() {
    let machine = Machine::new();
    let (one, two) = (image(b"one").parts(), image(b"two").parts());
    // A manifest with the layers of one image and the configuration of another: each part has its digest.
    let of = |parts: &sandbox::oci::made::Parts| -> serde_json::Value {
        serde_json::from_slice(&parts.blobs[&parts.manifest.to_string()]).expect("JSON")
    };
    let mut mixed = of(&one);
    mixed["layers"] = of(&two)["layers"].clone();
    machine.shelf.put("acme/tool:1", &image(b"one"));
    machine.shelf.put("acme/tool:2", &image(b"two"));
    machine.shelf.put_bytes("acme/tool:mixed", mixed.to_string().as_bytes());
    let error = pull(&machine.images(), &machine.name("acme/tool:mixed")).await.expect_err("mixed");
    assert!(matches!(&error, ImageError::Digest { what: "a layer", .. }), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again_but_not_for_ever() {
    let machine = Machine::new();
    let made = image(b"one");
    let layer = made.parts().layers[0];
    machine.shelf.put("acme/tool:1", &made);
    machine.shelf.break_off(layer, 20, 1);
    pull(&machine.images(), &machine.name("acme/tool:1")).await.expect("the second try");
    let other = Machine::new();
    other.shelf.put("acme/tool:1", &made);
    other.shelf.break_off(layer, 20, 100);
    let error = pull(&other.images(), &other.name("acme/tool:1")).await.expect_err("it always breaks");
    assert!(matches!(error, ImageError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn credentials_are_given_to_their_registry_alone() {
    for tokens in [false, true] {
        let machine = Machine::new();
        let elsewhere = Shelf::start().expect("a registry");
        let made = image(b"one");
        machine.shelf.put("acme/tool:1", &made);
        elsewhere.put("acme/tool:1", &made);
        machine.shelf.lock(BASIC, tokens);
        let name = machine.name("acme/tool:1");
        let error = pull(&machine.images(), &name).await.expect_err("no credentials");
        assert!(matches!(&error, ImageError::Unauthorized(..)), "{error}");
        machine.shelf.redirect_blobs(&format!("http://{}", elsewhere.address()));
        let credentials = machine.folder.path().join("config.json");
        let auths = json!({"auths": {machine.shelf.address(): {"auth": BASIC}}});
        fs::write(&credentials, auths.to_string()).expect("written");
        let mut settings = ImageSettings { credentials: Some(credentials), ..machine.settings() };
        settings.allow_private = vec![elsewhere.address()];
        let images = Images::open(settings).expect("a cache");
        pull(&images, &name).await.expect("pulled with credentials");
        let seen = elsewhere.requests();
        assert!(!seen.is_empty() && seen.iter().all(|request| request.ends_with(' ')), "{seen:?}");
    }
}

#[tokio::test]
async fn private_addresses_are_not_dialled_unless_the_operator_lists_them() {
    let machine = Machine::new();
    machine.shelf.put("acme/tool:1", &image(b"one"));
    let settings = ImageSettings { insecure: Vec::new(), ..machine.settings() };
    let images = Images::open(settings).expect("a cache");
    let error = pull(&images, &machine.name("acme/tool:1")).await.expect_err("loopback");
    assert!(
        matches!(&error, ImageError::NotAllowed { .. }) && error.to_string().contains("images.insecure"),
        "{error}"
    );
    assert!(machine.shelf.requests().is_empty());
    // A redirect is no way around it.
    let elsewhere = Shelf::start().expect("a registry");
    machine.shelf.redirect_blobs(&format!("http://{}", elsewhere.address()));
    let error = pull(&machine.images(), &machine.name("acme/tool:1")).await.expect_err("not listed");
    assert!(matches!(&error, ImageError::NotAllowed { .. }), "{error}");
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let machine = Machine::new();
    let images = machine.images();
    let fails = async |name: &str| pull(&images, name).await.expect_err(name).to_string();
    assert!(fails(&machine.name("acme/none:1")).await.contains("check repository and tag"));
    machine.shelf.put("acme/foreign:1", &MadeImage { architecture: Some("s390x".to_owned()), ..image(b"x") });
    let text = fails(&machine.name("acme/foreign:1")).await;
    assert!(text.contains("linux/s390x") && text.contains("build it for"), "{text}");
    machine.shelf.put("acme/large:1", &image(&[7; 100_000]));
    let small =
        Images::open(ImageSettings { max_cache_bytes: 50_000, ..machine.settings() }).expect("a cache");
    let error = pull(&small, &machine.name("acme/large:1")).await.expect_err("too large");
    assert!(error.to_string().contains("more than 50000 bytes"), "{error}");
    let gone =
        std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|port| port.local_addr()).expect("a port");
    let settings = ImageSettings { insecure: vec![gone.to_string()], ..machine.settings() };
    let images = Images::open(settings).expect("a cache");
    let error = pull(&images, &format!("{gone}/x")).await.expect_err("nobody listens").to_string();
    assert!(error.contains("cannot be reached") && error.contains("check its name"), "{error}");
    assert!(
        pull(&images, "No Reference").await.expect_err("no reference").to_string().contains("write it as")
    );
}

/// What a tree holds: kind, whether it can be executed, content or target.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable").flatten() {
            let (path, metadata) = (entry.path(), entry.metadata().expect("metadata"));
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            let text = if metadata.is_symlink() {
                format!("-> {}", fs::read_link(&path).expect("a link").display())
            } else if metadata.is_dir() {
                folders.push(path);
                "folder".to_owned()
            } else {
                let mode = metadata.permissions().mode() & 0o100;
                format!("{mode:o} {}", Digest::of(&fs::read(&path).expect("readable")))
            };
            found.insert(name, text);
        }
    }
    found
}

/// An image of one layer through a real registry, put there by skopeo; and what umoci makes of the same image.
#[tokio::test]
async fn a_real_registry_and_another_clients_tree_agree() {
    let Ok(registry) = std::env::var("SAGEWAI_TEST_REGISTRY") else {
        return eprintln!("skipped: SAGEWAI_TEST_REGISTRY names no registry");
    };
    if ["skopeo", "umoci"].iter().any(|tool| Command::new(tool).arg("--version").output().is_err()) {
        return eprintln!("skipped: skopeo and umoci are not installed");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let layer = TarWriter::new()
        .folder("usr/bin")
        .file("usr/bin/tool", 0o755, &[9; 300_000])
        .hard_link("usr/bin/same", "usr/bin/tool")
        .link("bin", "usr/bin")
        .link("absolute", "/etc/passwd")
        .file("etc/config", 0o640, b"x=1")
        .file(&format!("opt/{}/file", "long".repeat(40)), 0o644, b"far away")
        .file("etc/twice", 0o644, b"first")
        .file("etc/twice", 0o755, b"second");
    let layout = folder.path().join("layout");
    MadeImage::new([layer]).write_layout(&layout, "v1").expect("written");
    let run = |tool: &str, arguments: &[&str]| {
        let output = Command::new(tool).args(arguments).output().expect("it starts");
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let source = format!("oci:{}:v1", layout.display());
    let repository = format!("sagewai-test/agree-{}", std::process::id());
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            &source,
            &format!("docker://{registry}/{repository}:v1"),
        ],
    );
    let bundle = folder.path().join("bundle");
    run(
        "umoci",
        &[
            "raw",
            "unpack",
            "--rootless",
            "--image",
            &format!("{}:v1", layout.display()),
            &bundle.display().to_string(),
        ],
    );

    let mut settings = ImageSettings::new(folder.path().join("cache"));
    settings.insecure = vec![registry.clone()];
    let images = Images::open(settings).expect("a cache");
    let (image, _) = pull(&images, &format!("{registry}/{repository}:v1")).await.expect("pulled");
    let layers = images.layers(&image.pinned).await.expect("here");
    let ours = folder.path().join("cache/layers").join(layers[0].name());
    assert_eq!(tree(&ours), tree(&bundle));
}
