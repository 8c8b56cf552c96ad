//! Sandboxes out of images: that they work as images do, and that no image has a say in how its sandbox is made.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use sandbox::oci::made::{MadeImage, Shelf, TarWriter};
use sandbox::oci::{ImageSettings, Images};
use sandbox::pool::{Pool, PoolConfig};
use sandbox::suite::{Ran, Step, Subject, run};
use sandbox::{Backend, Session, Template, adversarial, conformance};
use sandbox_namespace::{NamespaceBackend, Spawner, SpawnerOptions};

use super::harness;

/// A sandbox backend with a registry beside it.
struct Machine {
    backend: Arc<dyn Backend>,
    shelf: Shelf,
    _cache: tempfile::TempDir,
}

/// Runs `test` with images; says so and passes where this machine has no namespaces for this user.
fn with_images(test: impl AsyncFnOnce(&Machine)) {
    let cache = tempfile::tempdir().expect("a folder");
    let layers = Images::make_folders(cache.path()).expect("a cache");
    let spawner = match Spawner::start(&SpawnerOptions { images: Some(layers), ..harness::options() }) {
        Ok(spawner) => spawner,
        Err(error) => return eprintln!("skipped, no namespaces here: {error}"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let shelf = Shelf::start().expect("a registry");
        let mut settings = ImageSettings::new(cache.path().to_owned());
        settings.insecure = vec![shelf.address()];
        let images = Images::open(settings).expect("the cache");
        let backend = NamespaceBackend::with_images(spawner, Some(images)).expect("the spawner's socket");
        test(&Machine { backend, shelf, _cache: cache }).await;
    });
}

impl Machine {
    /// Puts an image up and brings it here.
    async fn template(&self, image: &MadeImage) -> Template {
        self.shelf.put("test/image:1", image);
        let name = format!("{}/test/image:1", self.shelf.address());
        let image = self.backend.pull(&name, &|text| eprintln!("{text}")).await.expect("pulled");
        Template { image: Some(image.expect("an image").pinned), ..Template::default() }
    }

    /// Runs a script of the shell in a sandbox of this image.
    async fn shell(&self, image: &MadeImage, script: &str) -> Ran {
        let sandbox = self.backend.create(&self.template(image).await).await.expect("a sandbox");
        let mut session = Session::open(sandbox, &[]).await.expect("the guest's first frame");
        let ran = run(&mut session, Step::shell(script)).await;
        session.discard().await.expect("discarded");
        ran
    }
}

/// A shell and a few programs with their libraries, out of this machine's own.
fn userland() -> TarWriter {
    let mut tar = TarWriter::new().folder("usr").folder("usr/bin").link("bin", "usr/bin");
    let mut libraries = BTreeSet::new();
    for program in ["sh", "cat", "ls", "readlink"] {
        let path = format!("/usr/bin/{program}");
        tar = tar.file(&path, 0o755, &std::fs::read(&path).expect("this machine has it"));
        let listed = Command::new("ldd").arg(&path).output().expect("ldd");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        libraries.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    }
    libraries
        .iter()
        .fold(tar, |tar, library| tar.file(library, 0o755, &std::fs::read(library).expect("a library")))
}

#[test]
fn an_image_is_the_root_and_nothing_of_the_host_is_beside_it() {
    with_images(async |machine| {
        let base = userland()
            .file("etc/gone", 0o644, b"x")
            .file("opt/old/x", 0o644, b"x")
            .file("etc/os", 0o644, b"one");
        let over = TarWriter::new()
            .file("etc/.wh.gone", 0o644, b"")
            .folder("opt/old")
            .file("opt/old/.wh..wh..opq", 0o644, b"")
            .file("opt/old/y", 0o644, b"y")
            .file("etc/os", 0o600, b"two")
            .file("usr/bin/root-tool", 0o4755, b"#!");
        let script = "ls /etc; ls /opt/old; cat /etc/os; echo; ls /usr/bin; echo x > /workspace/x && cat /workspace/x; \
             echo x > /etc/new; echo x > /etc/os; echo x > /usr/bin/sh; echo x > /tmp/x && echo tmp; echo $HOME > ~/x && cat ~/x; \
             cat /proc/self/comm; echo > /dev/null && echo null; ls -l /usr/bin/root-tool";
        let ran = machine.shell(&MadeImage::new([base, over]), script).await;
        let text = ran.text();
        let lines: Vec<&str> = text.lines().collect();
        let own = ["group", "hostname", "hosts", "nsswitch.conf", "os", "passwd", "resolv.conf", "shells"];
        assert_eq!(lines[..8], own, "{ran:?}");
        assert_eq!(lines[8..10], ["y", "two"], "{ran:?}");
        assert_eq!(lines[10..15], ["cat", "ls", "readlink", "root-tool", "sh"], "{ran:?}");
        assert_eq!(lines[15..20], ["x", "tmp", sandbox::HOME, "cat", "null"], "{ran:?}");
        assert!(lines[20].starts_with("-rwxr-xr-x"), "{ran:?}");
        assert_eq!(
            String::from_utf8_lossy(&ran.stderr).matches("Read-only file system").count()
                + String::from_utf8_lossy(&ran.stderr).matches("Permission denied").count(),
            3,
            "{ran:?}"
        );
    });
}

#[test]
fn an_image_is_the_root_for_an_ordinary_user() {
    harness::again_as_ordinary_user("images::an_image_is_the_root_and_nothing_of_the_host_is_beside_it");
}

/// Images that would have their sandbox's mounts go elsewhere (the shapes of runc's CVE-2019-5736, CVE-2024-21626 and
/// CVE-2025-31133): links and files in the place of each folder that a sandbox mounts or writes at its start.
#[test]
fn no_image_moves_a_mount_of_its_sandbox() {
    let script = "readlink /proc /dev /tmp /workspace /home /home/step /etc /etc/resolv.conf /dev/null; \
         cat /proc/self/comm /etc/resolv.conf; echo > /dev/null && echo null; \
         for place in /tmp /workspace /home/step /dev/shm; do echo $place > $place/x && cat $place/x; done; ls / /usr";
    let places: [&[&str]; 2] = [
        &["proc", "dev", "tmp", "workspace", "home", "etc"],
        &["proc/self", "dev/null", "dev/shm", "home/step", "etc/resolv.conf", "etc/passwd"],
    ];
    let targets = ["/", "/proc/self/fd/7", "/proc/sys/kernel/core_pattern", "../../../../images"];
    with_images(async |machine| {
        let base = userland();
        let plain = machine.shell(&MadeImage::new([base.clone()]), script).await.text();
        assert!(
            plain.starts_with("cat\nnameserver 127.77.0.1\n") && plain.contains("null\n/tmp\n"),
            "{plain}"
        );
        for places in places {
            let links = |target| places.iter().fold(TarWriter::new(), |tar, place| tar.link(place, target));
            let files = places.iter().fold(TarWriter::new(), |tar, place| tar.file(place, 0o666, b"x"));
            for hostile in targets.map(links).into_iter().chain([files]) {
                let ran = machine.shell(&MadeImage::new([base.clone(), hostile]), script).await;
                assert_eq!(ran.text(), plain, "{places:?}: {ran:?}");
            }
        }
    });
}

/// The suites bring the one program that they need: an image without shell, users or libraries is a sandbox like others.
fn bare_image() -> MadeImage {
    MadeImage::new([TarWriter::new()
        .file("only", 0o644, b"x")
        .link("tmp", "/proc")
        .link("etc", "/workspace")])
}

#[test]
fn an_image_without_anything_conforms() {
    with_images(async |machine| {
        let template = machine.template(&bare_image()).await;
        let subject = Subject { template, ..Subject::new(Arc::clone(&machine.backend)) };
        conformance::check(&subject).await.expect_held();
    });
}

#[test]
fn an_image_without_anything_holds_off_every_attack() {
    with_images(async |machine| {
        let template = machine.template(&bare_image()).await;
        let subject = Subject { template, ..Subject::new(Arc::clone(&machine.backend)) };
        adversarial::check(&subject).await.expect_held();
    });
}

#[test]
fn sandboxes_of_an_image_are_kept_warm_and_its_layers_are_kept_with_them() {
    with_images(async |machine| {
        let template = machine.template(&MadeImage::new([userland()])).await;
        let pool = Pool::new(Arc::clone(&machine.backend), PoolConfig::default());
        pool.prepare(&template);
        while pool.metrics().idle == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let mut session = pool.claim(&template).await.expect("a sandbox");
        assert!(session.warm());
        assert_eq!(run(&mut session, Step::shell("echo warm")).await.text(), "warm");
        session.discard().await.expect("discarded");
        pool.shutdown().await;
    });
}

#[test]
fn a_program_that_the_image_lacks_is_named() {
    with_images(async |machine| {
        let ran = machine.shell(&bare_image(), "echo x").await;
        let error = ran.exit.expect_err("there is no shell").to_string();
        assert!(error.contains("`sh` cannot be started"), "{error}");
    });
}

#[test]
fn a_sandbox_backend_without_a_cache_says_so() {
    harness::run(async |backend| {
        let template = Template { image: Some("busybox".to_owned()), ..Template::default() };
        let error = backend.create(&template).await.err().expect("no images").to_string();
        assert!(error.contains("no image cache"), "{error}");
        assert!(!backend.capabilities().images);
    });
}
