//! However it ends, nothing is left: processes, descriptors, mounts, cgroups.

use super::harness;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sandbox::conformance::{Step, run};
use sandbox::pool::{Pool, PoolConfig};
use sandbox::session::StepEvent;
use sandbox::{Backend, SandboxError, SandboxLimits, Session, Template};
use sandbox_namespace::{NamespaceBackend, Spawner, SpawnerError};
use tokio::sync::mpsc;

/// Sandboxes of the normal test of cycles; the long one makes 10 000.
const CYCLES: usize = 300;
/// Says to a copy of this program that it is the worker that will be killed.
const VICTIM: &str = "SAGEWAI_TEST_VICTIM";
/// The longest an end may take to be complete.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Waits until `holds`, or fails.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < END_LIMIT, "not after {END_LIMIT:?}: {what}");
        std::thread::yield_now();
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn children(pid: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Folders of cgroups that belong to the spawner `pid`.
fn cgroups_of(pid: u32) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Path::new("/sys/fs/cgroup").join(controllers).join(path.trim_start_matches('/')))
    };
    own.lines()
        .filter_map(path)
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("sagewai-{pid}-")))
        .map(|entry| entry.path())
        .collect()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

async fn cycle(backend: &dyn Backend) {
    let sandbox = backend.create(&Template::default()).await.expect("made");
    let session = Session::open(sandbox, &[]).await.expect("ready");
    session.discard().await.expect("discarded");
}

fn cycles_leave_nothing(cycles: usize) {
    let spawner = match Spawner::start(&harness::options()) {
        Ok(spawner) => spawner,
        Err(error) => return eprintln!("skipped, no namespaces here: {error}"),
    };
    let pid = spawner.pid();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let backend = NamespaceBackend::new(spawner).expect("talks");
        for _ in 0..20 {
            cycle(&*backend).await;
        }
        let before =
            (descriptors(pid), descriptors(std::process::id()), cgroups_of(pid).len(), children(pid).len());
        for _ in 0..cycles / 10 {
            let ten: Vec<_> = (0..10).map(|_| cycle(&*backend)).collect();
            futures_util::future::join_all(ten).await;
        }
        // Blanks and spare cgroups come and go; what grows with the cycles would be far more.
        let slack = 60;
        let after =
            (descriptors(pid), descriptors(std::process::id()), cgroups_of(pid).len(), children(pid).len());
        let grown = after.0 > before.0 + slack
            || after.1 > before.1 + slack
            || after.2 > before.2 + slack
            || after.3 > before.3 + slack;
        assert!(!grown, "descriptors of spawner and worker, cgroups, processes: {before:?} became {after:?}");
    });
    drop(runtime);
    until("the spawner has ended", || !is_alive(pid));
    until("its cgroups are gone", || cgroups_of(pid).is_empty());
}

#[test]
fn three_hundred_cycles_leave_nothing() {
    cycles_leave_nothing(CYCLES);
}

#[test]
#[ignore = "takes a minute"]
fn ten_thousand_cycles_leave_nothing() {
    cycles_leave_nothing(10_000);
}

/// The worker of the next test: starts a step that never ends, says so, and waits to be killed.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let spawner = match Spawner::start(&harness::options()) {
        Ok(spawner) => spawner,
        Err(error) => return println!("skipped {error}"),
    };
    let pid = spawner.pid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let backend = NamespaceBackend::new(spawner).expect("talks");
        let sandbox = backend.create(&Template::default()).await.expect("made");
        let mut session = Session::open(sandbox, &[]).await.expect("ready");
        let script = "setsid sleep 1000 & sleep 1000";
        let (start, stdin, control) = Step::shell(script).within(Duration::from_secs(600)).into_parts();
        let (events, mut said) = mpsc::channel(4);
        let telling = async {
            assert_eq!(said.recv().await, Some(StepEvent::Started));
            println!("spawner {pid}");
            said.recv().await
        };
        drop(tokio::join!(session.run(start, stdin, events, control), telling));
    });
}

/// Starts the victim; its process and its spawner's id, once its step runs.
fn start_victim() -> Option<(std::process::Child, u32)> {
    let program = std::env::current_exe().expect("a test knows its program");
    let mut victim = Command::new(program)
        .args(["--exact", "ends::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the victim starts");
    let lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
    for line in lines.map_while(Result::ok) {
        if let Some(pid) = line.split_once("spawner ").and_then(|(_, pid)| pid.trim().parse().ok()) {
            return Some((victim, pid));
        }
        if line.contains("skipped") {
            eprintln!("{line}");
            break;
        }
    }
    victim.wait().expect("the victim ends");
    None
}

fn all_below(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("ours to kill");
}

#[test]
fn killing_the_worker_ends_everything() {
    let Some((mut victim, spawner)) = start_victim() else { return };
    let below = all_below(spawner);
    assert!(below.len() >= 3, "a guest and two sleepers at least: {below:?}");
    victim.kill().expect("ours to kill");
    victim.wait().expect("it was ours");
    until("the spawner has ended", || !is_alive(spawner));
    until("all sandboxes have ended", || !below.iter().any(|pid| is_alive(*pid)));
    until("its cgroups are gone", || cgroups_of(spawner).is_empty());
}

#[test]
fn killing_the_spawner_ends_its_sandboxes_and_the_next_one_sweeps() {
    let Some((mut victim, spawner)) = start_victim() else { return };
    let below = all_below(spawner);
    kill(spawner);
    until("all sandboxes have ended", || !below.iter().any(|pid| is_alive(*pid)));
    let _ = victim.kill();
    victim.wait().expect("it was ours");
    // The dead spawner is reaped with its parent; its cgroups are nobody's then.
    until("the spawner is gone", || !Path::new(&format!("/proc/{spawner}")).exists());
    let next = Spawner::start(&harness::options()).expect("there was one before");
    until("its cgroups were swept", || cgroups_of(spawner).is_empty());
    drop(next);
}

#[test]
fn killing_the_guest_fails_the_step() {
    let spawner = match Spawner::start(&harness::options()) {
        Ok(spawner) => spawner,
        Err(error) => return eprintln!("skipped, no namespaces here: {error}"),
    };
    let pid = spawner.pid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let backend = NamespaceBackend::new(spawner).expect("talks");
        let sandbox = backend.create(&Template::default()).await.expect("made");
        let mut session = Session::open(sandbox, &[]).await.expect("ready");
        let (start, stdin, control) = Step::new(["sleep", "1000"]).into_parts();
        let (events, mut said) = mpsc::channel(4);
        let killing = async {
            assert_eq!(said.recv().await, Some(StepEvent::Started));
            let guest = children(pid).into_iter().find(|child| !children(*child).is_empty());
            kill(guest.expect("the guest has a child"));
        };
        let (exit, ()) = tokio::join!(session.run(start, stdin, events, control), killing);
        assert!(matches!(exit, Err(SandboxError::Ended(_) | SandboxError::OutputClosed)), "{exit:?}");
        session.discard().await.expect("discarded");
    });
}

#[test]
fn a_pool_of_real_sandboxes_notices_the_dead() {
    let spawner = match Spawner::start(&harness::options()) {
        Ok(spawner) => spawner,
        Err(error) => return eprintln!("skipped, no namespaces here: {error}"),
    };
    let pid = spawner.pid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let backend = NamespaceBackend::new(spawner).expect("talks");
        let pool = Pool::new(backend, PoolConfig { min_warm: 2, max_warm: 2, ..PoolConfig::default() });
        pool.prepare(&Template::default());
        let enough = async |died: u64| {
            let start = Instant::now();
            while pool.metrics().idle < 2 || pool.metrics().died < died {
                assert!(start.elapsed() < END_LIMIT, "{:?}", pool.metrics());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        enough(0).await;
        // Blanks die with the waiting guests; both are replaced.
        children(pid).into_iter().for_each(kill);
        enough(2).await;
        let mut session = pool.claim(&Template::default()).await.expect("a living one");
        assert_eq!(run(&mut session, Step::new(["echo", "well"])).await.text(), "well");
        session.discard().await.expect("discarded");
        pool.shutdown().await;
    });
}

#[test]
fn what_cannot_be_made_says_why_and_what_to_do() {
    if let Err(error) = Spawner::start(&harness::options()) {
        return eprintln!("skipped, no namespaces here: {error}");
    }
    // A guest that is no program: the set-up fails at its last step, in the sandbox.
    let options =
        sandbox_namespace::SpawnerOptions { guest: Some(b"not a program".to_vec()), ..harness::options() };
    match Spawner::start(&options) {
        Err(SpawnerError::Unavailable { reason, remedy }) => {
            assert!(reason.contains("failed to start the guest"), "{reason}");
            assert!(!remedy.is_empty());
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn sandboxes_of_different_sizes_follow_each_other() {
    harness::run(async |backend| {
        for round in 0..40_u64 {
            let limits = SandboxLimits {
                memory_bytes: (64 << 20) << (round * 7 % 5),
                disk_bytes: if round % 9 == 0 { 0 } else { (1 << 20) << (round * 3 % 6) },
                ..SandboxLimits::default()
            };
            let sandbox = backend.create(&Template { image: None, limits }).await.expect("made");
            let mut session = Session::open(sandbox, &[]).await.expect("ready");
            let ran =
                run(&mut session, Step::shell("df -k /workspace | tail -1 | tr -s ' ' | cut -d' ' -f2"))
                    .await;
            assert_eq!(ran.text(), (limits.disk_bytes.max(64 << 10) >> 10).to_string(), "{ran:?}");
            session.discard().await.expect("discarded");
        }
    });
}

#[test]
fn wrong_paths_are_refused_with_the_path() {
    for path in ["relative", "/no/such/folder", "/proc/self", "/dev", "/"] {
        let options = sandbox_namespace::SpawnerOptions { paths: vec![path.into()], ..harness::options() };
        let error = Spawner::start(&options).err().expect("refused").to_string();
        assert!(error.contains(path), "{error}");
    }
}

#[test]
fn added_paths_are_there_and_read_only() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("added-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("tool"), "#!/bin/sh\necho tool runs\n").expect("written");
    let options = sandbox_namespace::SpawnerOptions { paths: vec![folder.clone()], ..harness::options() };
    if let Ok(spawner) = Spawner::start(&options) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let backend = NamespaceBackend::new(spawner).expect("talks");
            let sandbox = backend.create(&Template::default()).await.expect("made");
            let mut session = Session::open(sandbox, &[]).await.expect("ready");
            let path = folder.display();
            assert!(backend.capabilities().path.starts_with(&format!("{path}:")));
            let ran =
                run(&mut session, Step::shell(&format!("sh {path}/tool; echo x > {path}/new || echo kept")))
                    .await;
            assert_eq!(ran.text(), "tool runs\nkept", "{ran:?}");
            session.discard().await.expect("discarded");
        });
    }
    fs::remove_dir_all(&folder).expect("ours");
}
