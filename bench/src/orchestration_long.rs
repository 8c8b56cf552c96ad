//! What takes minutes: a million pending runs without a worker, a start over them, a run of a hundred thousand steps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use crate::http::Connection;
use crate::load::{Turn, count_loop};
use crate::rows::{Goal, Row};
use crate::sagewai::{Sagewai, Workflow};
use crate::target::{FIRST, Target};

/// Runs that are submitted while no worker is there.
const PENDING_RUNS: usize = 1_000_000;
/// Runs of one part: the first and the last are compared.
const PART_RUNS: usize = 50_000;
/// Clients that submit at once.
const SUBMITTERS: usize = 64;
/// Steps of the long run in each of its loops; the first and the last are compared.
const LOOPS: [usize; 4] = [1_000, 1_000, 97_000, 1_000];
/// The longest that a loop may take.
const LOOP_LIMIT: Duration = Duration::from_secs(1_800);

/// All rows of this group.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Vec<Row>> {
    let mut rows = pending(arguments).await?;
    rows.extend(long_run(arguments).await?);
    Ok(rows)
}

async fn pending(arguments: &Arguments) -> Result<Vec<Row>> {
    let mut system = Sagewai::start(&arguments.sagewai, &arguments.work, "pending").await?;
    system.publish(&Workflow::three_steps()).await?;
    let call = system.submit(&Workflow::three_steps());
    let mut parts: Vec<Turn> = Vec::new();
    let mut most_mib: f64 = 0.0;
    while parts.len() * PART_RUNS < PENDING_RUNS {
        parts.push(count_loop(&call, SUBMITTERS, PART_RUNS, &system.server).await?);
        most_mib = most_mib.max(system.server.resident_mib()?);
        let last = parts.last().context("one was just made")?;
        eprintln!(
            "{} runs pending, {:.0} a second, {:.3} ms of CPU each, {most_mib:.0} MiB",
            parts.len() * PART_RUNS,
            last.per_second(),
            last.server_cpu.as_secs_f64() * 1e3 / PART_RUNS as f64
        );
    }
    let method = format!("{SUBMITTERS} clients submit {PENDING_RUNS} runs of three no-op steps, no worker");
    let rate = |part: &Turn| part.per_second();
    let cpu = |part: &Turn| part.server_cpu.as_secs_f64() * 1e3 / part.calls as f64;
    let (first, last) = (&parts[1..3], &parts[parts.len() - 2..]);
    let each = |parts: &[Turn], of: &dyn Fn(&Turn) -> f64| parts.iter().map(of).collect::<Vec<_>>();
    let early = format!("runs {PART_RUNS} to {}", 3 * PART_RUNS);
    let mut rows = vec![
        Row::new("submissions, no worker, the last of 1 000 000", "runs/s", &each(last, &rate))
            .beside(early.as_str(), &each(first, &rate))
            .goal(Goal::MinTimes(0.95))
            .method(&method),
        Row::new("server CPU per submission, the last of 1 000 000", "ms", &each(last, &cpu))
            .beside(early.as_str(), &each(first, &cpu))
            .goal(Goal::MaxTimes(1.05))
            .method(&method),
        Row::new("server memory, 1 000 000 runs pending", "MiB", &[most_mib])
            .method(format!("the most after any {PART_RUNS}: {method}")),
    ];
    let took = system.restart().await?;
    rows.push(
        Row::new("start of a server with 1 000 000 stored runs", "s", &[took.as_secs_f64()])
            .goal(Goal::Max(2.0))
            .method("from the process's start to the line that says where it listens; all runs are pending"),
    );
    Ok(rows)
}

async fn long_run(arguments: &Arguments) -> Result<Vec<Row>> {
    let mut target = Target::start().await?;
    let mut system = Sagewai::start(&arguments.sagewai, &arguments.work, "long").await?;
    system.add_worker("worker", &["--allow-private", &target.address.to_string()]).await?;
    let workflow = Workflow::loops("very-long", &format!("http://{}{FIRST}", target.address), &LOOPS);
    system.publish(&workflow).await?;
    let call = system.submit(&workflow);
    let (began, mut told) = (Instant::now(), Vec::new());
    let mut cpu = Vec::new();
    Connection::open(call.address).await?.run(&call).await?;
    while told.len() < LOOPS.len() {
        let arrival = tokio::time::timeout(LOOP_LIMIT, target.arrival()).await;
        told.push(arrival.context("a loop does not end")??);
        cpu.push(system.server.cpu()?.as_secs_f64());
    }
    let each = |times: &[f64], n: usize| (times[n] - times[n - 1]) * 1e3 / LOOPS[n] as f64;
    let told: Vec<f64> = told.into_iter().map(|ns| ns as f64 / 1e9).collect();
    let (early, total) =
        (format!("steps {} to {}", LOOPS[0], LOOPS[0] + LOOPS[1]), LOOPS.iter().sum::<usize>());
    let method = format!("one run of {total} no-op steps in loops, one step after the other");
    let late = format!("of one run, steps {} to {total}", total - LOOPS[3]);
    Ok(vec![
        Row::new(format!("a step {late}"), "ms", &[each(&told, 3)])
            .beside(early.as_str(), &[each(&told, 1)])
            .goal(Goal::MaxTimes(1.2))
            .method(&method),
        Row::new(format!("server CPU of a step {late}"), "ms", &[each(&cpu, 3)])
            .beside(early.as_str(), &[each(&cpu, 1)])
            .goal(Goal::MaxTimes(1.2))
            .method(&method),
        Row::new(format!("a run of {total} steps"), "s", &[began.elapsed().as_secs_f64()]).method(method),
    ])
}
