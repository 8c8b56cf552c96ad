//! Starts a spawner for a test, and runs a test once more as another user.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use sandbox::Backend;
use sandbox_namespace::{NamespaceBackend, Spawner, SpawnerOptions};

/// User and group `nobody` of every Linux.
const NOBODY: u32 = 65_534;

/// A spawner in a process that has threads already, as every test has.
pub(crate) fn options() -> SpawnerOptions {
    SpawnerOptions { threads: true, ..SpawnerOptions::default() }
}

/// Runs `test` with a sandbox backend; says so and passes where this machine has no namespaces for this user.
pub(crate) fn run(test: impl AsyncFnOnce(&Arc<dyn Backend>)) {
    let spawner = match Spawner::start(&options()) {
        Ok(spawner) => spawner,
        Err(error) => return eprintln!("skipped, no namespaces here: {error}"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let backend = NamespaceBackend::new(spawner).expect("the spawner's socket can be watched");
        let backend: Arc<dyn Backend> = backend;
        test(&backend).await;
    });
}

/// Runs the test of that name in a process of user `nobody`, if this one is root's.
pub(crate) fn again_as_ordinary_user(test: &str) {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: this user is an ordinary one already");
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("the test starts again");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if text.contains("Permission denied (os error 13)") && text.contains("failed to start") {
        return eprintln!("skipped: an ordinary user cannot run the test's program where it is");
    }
    assert!(output.status.success() && text.contains("1 passed"), "as an ordinary user:\n{text}");
}
