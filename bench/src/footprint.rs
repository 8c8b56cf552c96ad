//! Footprint: the guest's size, memory of idle processes, and how fast the command line starts.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::arguments::Arguments;
use crate::process::{Process, fresh_folder};
use crate::rows::{Goal, Latency, Row};
use crate::sagewai::Sagewai;
use crate::samples::Samples;

/// How long processes are left alone before their memory is read.
const SETTLE: Duration = Duration::from_secs(5);

/// All rows of this group.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Vec<Row>> {
    eprintln!("footprint");
    let guest_mb = sandbox::guest_binary().len() as f64 / 1e6;
    let binary_mb = std::fs::metadata(&arguments.sagewai)
        .with_context(|| format!("no {}", arguments.sagewai.display()))?
        .len() as f64
        / 1e6;
    let mut rows = vec![
        Row::new("guest, static", "MB", &[guest_mb])
            .goal(Goal::Max(2.0))
            .method("size of the embedded program"),
        Row::new("sagewai, guest included", "MB", &[binary_mb]).method("size of the release build, stripped"),
    ];
    rows.extend(idle_memory(arguments).await?);
    rows.extend(start_time(arguments)?);
    Ok(rows)
}

async fn idle_memory(arguments: &Arguments) -> Result<Vec<Row>> {
    let folder = fresh_folder(&arguments.work, "footprint")?;
    let mut broker = Process::start(
        "broker",
        &folder,
        Command::new(&arguments.sagewai)
            .args(["broker", "--listen", "127.0.0.1:0", "--init", "--data"])
            .arg(folder.join("broker"))
            .arg("--recovery-key-file")
            .arg(folder.join("recovery.key")),
    )?;
    broker.said("where it listens", |line| line.contains("listens on").then_some(())).await?;
    let mut stack = Sagewai::start(&arguments.sagewai, &folder, "stack").await?;
    stack.add_worker("worker", &[]).await?;
    tokio::time::sleep(SETTLE).await;
    let method = format!("resident memory {SETTLE:?} after the start, nothing to do, default settings");
    let row = |name: &str, process: &Process, most: f64| -> Result<Row> {
        let resident = process.resident_mib()?;
        Ok(Row::new(format!("{name}, idle"), "MiB", &[resident]).goal(Goal::Max(most)).method(&method))
    };
    Ok(vec![
        row("server", &stack.server, 40.0)?,
        row("worker", &stack.workers()[0], 40.0)?,
        row("broker", &broker, 25.0)?,
    ])
}

fn start_time(arguments: &Arguments) -> Result<Vec<Row>> {
    let mut ours_command = Command::new(&arguments.sagewai);
    ours_command.arg("--version");
    let mut baseline_command = Command::new("true");
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        ours.push(run_to_end(&mut ours_command, arguments.operations)?);
        baseline.push(run_to_end(&mut baseline_command, arguments.operations)?);
    }
    let method = format!(
        "{} rounds of {} in turn, from starting `sagewai --version` to its end",
        arguments.rounds, arguments.operations
    );
    Ok(Latency {
        name: "start of the command line",
        ours: &ours,
        beside: Some(("true", &baseline)),
        goals: Some((Goal::Max(10.0), Goal::Max(10.0))),
        method: &method,
    }
    .rows())
}

/// Runs a program to its end, `count` times.
pub(crate) fn run_to_end(command: &mut Command, count: usize) -> Result<Samples> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut times = Samples::default();
    for _ in 0..count {
        let began = Instant::now();
        let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
        times.add(began.elapsed());
        ensure!(status.success(), "{command:?} failed: {status}");
    }
    Ok(times)
}
