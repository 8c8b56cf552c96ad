//! Bounds: what a neighbour feels of an attack, what an idle sandbox costs, what is left after many.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::{join_all, try_join_all};
use sandbox::suite::{Subject, run};
use sandbox::{Backend, SandboxLimits, Session, Template};

use crate::arguments::Arguments;
use crate::rows::{Goal, Latency, Row};
use crate::sandboxes::cold_turn;

/// Limits of an attacker's sandbox.
const ATTACKER: SandboxLimits =
    SandboxLimits { cpu_millis: 250, memory_bytes: 64 << 20, disk_bytes: 16 << 20, processes: 64 };
/// What attackers do, each in a sandbox of its own.
const ATTACKS: [&[&str]; 4] =
    [&["burn", "600"], &["fork-bomb", "100000"], &["flood"], &["memory-bomb", "8", "33554432"]];
/// Sandboxes that are made and discarded, for each operation of a turn.
const CYCLES_PER_OPERATION: usize = 50;
/// Sandboxes that are made at once in the cycles.
const AT_ONCE: usize = 10;
/// Cycles before the first look, so that what is kept for reuse is there.
const WARM_UP: usize = 100;
/// Idle sandboxes whose memory is read.
const IDLE: usize = 50;
/// How long the spawner is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// All rows of this part.
pub(crate) async fn measure(
    arguments: &Arguments,
    backend: &Arc<dyn Backend>,
    spawner: u32,
) -> Result<Vec<Row>> {
    let mut rows = neighbour(arguments, backend).await?;
    rows.push(idle(&**backend, spawner).await?);
    rows.extend(cycles(arguments, &**backend, spawner).await?);
    Ok(rows)
}

async fn neighbour(arguments: &Arguments, backend: &Arc<dyn Backend>) -> Result<Vec<Row>> {
    eprintln!("a neighbour under attack");
    let subject = Subject::new(Arc::clone(backend));
    let [mut attacked, mut quiet] = [const { Vec::new() }; 2];
    for _ in 0..arguments.rounds {
        quiet.push(cold_turn(&**backend, arguments.operations).await?.exited);
        let sessions = try_join_all(ATTACKS.map(|_| subject.open_limited(ATTACKER)))
            .await
            .map_err(anyhow::Error::msg)?;
        let attackers: Vec<_> = sessions
            .into_iter()
            .zip(ATTACKS)
            .map(|(mut session, attack)| {
                let step = subject.probe(attack.iter().copied()).within(Duration::from_secs(600));
                let cancel = step.cancel.clone();
                let running = tokio::spawn(async move {
                    // How it ends is its own affair.
                    let _ = run(&mut session, step).await;
                    session.discard().await
                });
                (cancel, running)
            })
            .collect();
        attacked.push(cold_turn(&**backend, arguments.operations).await?.exited);
        for (cancel, running) in attackers {
            cancel.cancel();
            running.await??;
        }
    }
    let method = format!(
        "{} rounds of {} in turn, one at a time: a new sandbox, `true` in it; beside four sandboxes of {} thousandths of a core \
         each in which eight processes spin, processes are forked, output is flooded, memory is used up",
        arguments.rounds, arguments.operations, ATTACKER.cpu_millis
    );
    Ok(Latency {
        name: "neighbour under attack: request to `true` exited",
        ours: &attacked,
        beside: Some(("the same without attackers", &quiet)),
        goals: Some((Goal::MaxTimes(2.0), Goal::MaxTimes(2.0))),
        method: &method,
    }
    .rows())
}

async fn idle(backend: &dyn Backend, spawner: u32) -> Result<Row> {
    eprintln!("idle sandboxes");
    let opening =
        (0..IDLE).map(async |_| Session::open(backend.create(&Template::default()).await?, &[]).await);
    let sessions = try_join_all(opening).await?;
    let resident: Vec<f64> = children(spawner)
        .into_iter()
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| is_guest(&name)))
        .filter_map(resident_mib)
        .collect();
    for discarded in join_all(sessions.into_iter().map(Session::discard)).await {
        discarded?;
    }
    ensure!(resident.len() >= IDLE, "{} guests were found", resident.len());
    Ok(Row::new("idle namespace sandbox, resident memory", "MiB", &resident)
        .goal(Goal::Max(0.5))
        .method(format!("resident set of the guests of {IDLE} sandboxes that wait for a step; the program's pages are shared")))
}

/// The guest is started from a file in memory, whose name is a number or `guest`, by kernel.
fn is_guest(name: &str) -> bool {
    name.trim() == "guest" || name.trim().parse::<u32>().is_ok()
}

async fn cycles(arguments: &Arguments, backend: &dyn Backend, spawner: u32) -> Result<Vec<Row>> {
    let count = arguments.operations * CYCLES_PER_OPERATION;
    eprintln!("{count} sandboxes, made and discarded");
    cycle(backend, WARM_UP).await?;
    tokio::time::sleep(SETTLE).await;
    let before = left(spawner);
    let began = Instant::now();
    cycle(backend, count).await?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let after = left(spawner);
    let method = format!(
        "{count} sandboxes, {AT_ONCE} at once, {SETTLE:?} after the last; before {before:?}, after {after:?}"
    );
    let grown = |what: &str| after[what].saturating_sub(before[what]) as f64;
    let mut rows: Vec<Row> = before
        .keys()
        .map(|what| {
            Row::new(format!("left of {count} sandboxes: {what}"), "", &[grown(what)])
                .goal(Goal::Max(0.0))
                .method(&method)
        })
        .collect();
    rows.push(Row::new("namespace sandboxes made and discarded", "1/s", &[rate]).method(&method));
    Ok(rows)
}

async fn cycle(backend: &dyn Backend, count: usize) -> Result<()> {
    let one = async || {
        let session = Session::open(backend.create(&Template::default()).await?, &[]).await?;
        session.discard().await
    };
    for _ in 0..count.div_ceil(AT_ONCE) {
        try_join_all((0..AT_ONCE).map(|_| one())).await?;
    }
    Ok(())
}

/// What there is of the spawner and of this process, which is its worker.
fn left(spawner: u32) -> BTreeMap<&'static str, usize> {
    let entries = |path: String| std::fs::read_dir(path).map_or(0, Iterator::count);
    let lines = |path: String| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let own = std::process::id();
    BTreeMap::from([
        ("processes", children(spawner).len()),
        ("mounts of the spawner", lines(format!("/proc/{spawner}/mountinfo"))),
        ("descriptors of the spawner", entries(format!("/proc/{spawner}/fd"))),
        ("descriptors of the worker", entries(format!("/proc/{own}/fd"))),
        ("cgroups", cgroups(Path::new("/sys/fs/cgroup"), &format!("sagewai-{spawner}-"))),
    ])
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn resident_mib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
}

/// Folders below `root` whose names begin so.
fn cgroups(root: &Path, prefix: &str) -> usize {
    let folders = std::fs::read_dir(root).into_iter().flatten().flatten();
    folders
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| match entry.file_name().to_string_lossy().starts_with(prefix) {
            true => 1,
            false => cgroups(&entry.path(), prefix),
        })
        .sum()
}
