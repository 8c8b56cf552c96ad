//! Orchestration: durable steps a second, latency and CPU beside Restate; planning with no worker and a saturated one.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use crate::http::{Call, Connection};
use crate::load::{Turn, closed_loop, one_at_a_time};
use crate::machine::monotonic_ns;
use crate::restate::{self, Restate};
use crate::rows::{Goal, Latency, Row};
use crate::sagewai::{Sagewai, Workflow};
use crate::samples::Samples;
use crate::target::{FIRST, HOLD, Target};

/// Steps of a run.
const STEPS: f64 = 3.0;
/// Runs under way at once, in turns under load.
const OUTSTANDING: [usize; 2] = [64, 256];
/// Loops of the long run: the second and the last are timed.
const LOOPS: [usize; 4] = [100, 1000, 8000, 1000];
/// The longest a loop may take.
const LOOP_LIMIT: Duration = Duration::from_secs(120);
/// Clients that submit at once where the rate of submissions is measured.
const SUBMITTERS: usize = 64;

/// All rows of this group.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Vec<Row>> {
    let mut rows = beside_restate(arguments).await?;
    rows.extend(submissions(arguments).await?);
    Ok(rows)
}

async fn beside_restate(arguments: &Arguments) -> Result<Vec<Row>> {
    let mut target = Target::start().await?;
    let mut ours = Sagewai::start(&arguments.sagewai, &arguments.work, "orchestration").await?;
    ours.add_worker("worker", &["--allow-private", &target.address.to_string()]).await?;
    let peer = match &arguments.restate {
        Some(installed) => Some(Restate::start(installed, &arguments.work).await?),
        None => None,
    };
    ours.publish(&Workflow::three_steps()).await?;
    let waiting = if ours.waits(&Workflow::three_steps()).await? {
        "Each run is one request, answered at its end (ours: Prefer: wait)."
    } else {
        "Each run is one request, answered at its end, at Restate; ours takes two, a submission and its event stream, \
         because this server does not know Prefer: wait."
    };
    let mut rows = Vec::new();
    for outstanding in OUTSTANDING {
        eprintln!("steps a second, {outstanding} runs outstanding");
        rows.extend(throughput(arguments, &ours, peer.as_ref(), outstanding, waiting).await?);
    }
    eprintln!("latency, one run at a time");
    rows.extend(latency(arguments, &ours, peer.as_ref(), &mut target, waiting).await?);
    eprintln!("a long run");
    rows.push(growth(arguments, &ours, &mut target).await?);
    Ok(rows)
}

async fn throughput(
    arguments: &Arguments,
    ours: &Sagewai,
    peer: Option<&Restate>,
    outstanding: usize,
    waiting: &str,
) -> Result<Vec<Row>> {
    let our_call = ours.run(&Workflow::three_steps());
    let (mut our_turns, mut peer_turns) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        our_turns.push(closed_loop(&our_call, outstanding, arguments.turn(), &ours.server).await?);
        if let Some(peer) = peer {
            let turn = closed_loop(&peer.three_steps(), outstanding, arguments.turn(), &peer.server).await?;
            peer_turns.push(turn);
        }
    }
    let method = format!(
        "{} rounds of {:?} in turn, closed loop of {outstanding} connections, runs of three no-op steps; sagewai server \
         (SQLite, fsync on) and one worker, default settings; Restate's server (own log, fsync on) and a Node.js service. \
         {waiting}",
        arguments.rounds,
        arguments.turn()
    );
    let rate = |turns: &[Turn]| turns.iter().map(|turn| turn.per_second() * STEPS).collect::<Vec<_>>();
    let cpu = |turns: &[Turn]| {
        let of_step = |turn: &Turn| turn.server_cpu.as_secs_f64() * 1e3 / (turn.calls as f64 * STEPS);
        turns.iter().map(of_step).collect::<Vec<_>>()
    };
    let latency = |turns: &[Turn]| turns.iter().map(|turn| turn.latency.clone()).collect::<Vec<_>>();
    let mut rows = vec![
        Row::new(format!("durable steps, {outstanding} runs outstanding"), "steps/s", &rate(&our_turns))
            .beside(restate::NAME, &rate(&peer_turns))
            .goal(Goal::MinTimes(3.0))
            .method(&method),
        Row::new(format!("server CPU per step, {outstanding} runs outstanding"), "ms", &cpu(&our_turns))
            .beside(restate::NAME, &cpu(&peer_turns))
            .goal(Goal::Max(0.15))
            .method(format!("user and system time of the server process over the turn. {method}")),
    ];
    rows.extend(
        Latency {
            name: &format!("submit to done, 3 steps, {outstanding} runs outstanding"),
            ours: &latency(&our_turns),
            beside: Some((restate::NAME, &latency(&peer_turns))),
            goals: None,
            method: &method,
        }
        .rows(),
    );
    Ok(rows)
}

async fn latency(
    arguments: &Arguments,
    ours: &Sagewai,
    peer: Option<&Restate>,
    target: &mut Target,
    waiting: &str,
) -> Result<Vec<Row>> {
    let first_step = Workflow::first_step_at("first-step", &format!("http://{}{FIRST}", target.address));
    ours.publish(&first_step).await?;
    let (first_step, three_steps) = (ours.run(&first_step), ours.run(&Workflow::three_steps()));
    let [mut our_first, mut our_done, mut peer_first, mut peer_done] = [const { Vec::new() }; 4];
    for _ in 0..arguments.rounds {
        our_done.push(one_at_a_time(&three_steps, arguments.operations).await?);
        if let Some(peer) = peer {
            peer_done.push(one_at_a_time(&peer.three_steps(), arguments.operations).await?);
        }
        our_first.push(our_first_steps(&first_step, target, arguments.operations).await?);
        if let Some(peer) = peer {
            peer_first.push(peer_first_steps(&peer.three_steps(), arguments.operations).await?);
        }
    }
    let method = format!(
        "{} rounds of {} runs in turn, one at a time. {waiting}",
        arguments.rounds, arguments.operations
    );
    let half = Some((Goal::MaxTimes(0.5), Goal::MaxTimes(0.5)));
    let mut rows = Latency {
        name: "submit to first step",
        ours: &our_first,
        beside: Some((restate::NAME, &peer_first)),
        goals: half,
        method: &format!(
            "From before the request to, at Restate, the clock inside the first step; ours, the arrival of the HTTP \
             request that is the first step (no-op steps tell no time), so a request more is in ours. {method}"
        ),
    }
    .rows();
    rows.extend(
        Latency {
            name: "submit to done, 3 steps, one run at a time",
            ours: &our_done,
            beside: Some((restate::NAME, &peer_done)),
            goals: half,
            method: &method,
        }
        .rows(),
    );
    Ok(rows)
}

async fn our_first_steps(call: &Call, target: &mut Target, count: usize) -> Result<Samples> {
    let mut connection = Connection::open(call.address).await?;
    let mut times = Samples::default();
    for _ in 0..count {
        let began = monotonic_ns();
        connection.run(call).await?;
        times.add(Duration::from_nanos(target.arrival().await?.saturating_sub(began)));
    }
    Ok(times)
}

async fn peer_first_steps(call: &Call, count: usize) -> Result<Samples> {
    let mut connection = Connection::open(call.address).await?;
    let mut times = Samples::default();
    for _ in 0..count {
        let began = monotonic_ns();
        let first = restate::first_step_ns(&connection.run(call).await?)?;
        times.add(Duration::from_nanos(first.saturating_sub(began)));
    }
    Ok(times)
}

/// What a late step of a long run costs beside an early one.
async fn growth(arguments: &Arguments, ours: &Sagewai, target: &mut Target) -> Result<Row> {
    let workflow = Workflow::loops("long", &format!("http://{}{FIRST}", target.address), &LOOPS);
    ours.publish(&workflow).await?;
    let call = ours.submit(&workflow);
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        Connection::open(call.address).await?.run(&call).await?;
        let mut told = Vec::new();
        while told.len() < LOOPS.len() {
            told.push(
                tokio::time::timeout(LOOP_LIMIT, target.arrival()).await.context("a loop does not end")??,
            );
        }
        let each = |from: usize, to: usize| (told[to] - told[from]) as f64 / 1e6 / LOOPS[to] as f64;
        early.push(each(0, 1));
        late.push(each(2, 3));
    }
    let total: usize = LOOPS.iter().sum();
    Ok(Row::new(format!("a step of one run, steps {} to {total}", total - LOOPS[3]), "ms", &late)
        .beside(format!("the same run, steps {} to {}", LOOPS[0], LOOPS[0] + LOOPS[1]), &early)
        .goal(Goal::MaxTimes(1.2))
        .method(format!(
            "{} runs of {total} no-op steps in loops, one step after the other",
            arguments.rounds
        )))
}

/// Submissions with no worker and with a saturated one, beside an idle fleet.
async fn submissions(arguments: &Arguments) -> Result<Vec<Row>> {
    eprintln!("submissions with no worker, a saturated one, an idle one");
    let target = Target::start().await?;
    let start = async |name| Sagewai::start(&arguments.sagewai, &arguments.work, name).await;
    let (none, mut busy, mut idle) =
        (start("no-worker").await?, start("saturated").await?, start("idle").await?);
    let allow = target.address.to_string();
    busy.add_worker("worker", &["--slots", "1", "--allow-private", &allow]).await?;
    idle.add_worker("worker", &[]).await?;
    occupy(&busy, target).await?;
    for system in [&none, &busy, &idle] {
        system.publish(&Workflow::three_steps()).await?;
    }
    let [mut none_turns, mut busy_turns, mut idle_turns] = [const { Vec::new() }; 3];
    for _ in 0..arguments.rounds {
        for (system, turns) in [(&idle, &mut idle_turns), (&none, &mut none_turns), (&busy, &mut busy_turns)]
        {
            let call = system.submit(&Workflow::three_steps());
            turns.push(closed_loop(&call, SUBMITTERS, arguments.turn(), &system.server).await?);
        }
    }
    let mut rows = Vec::new();
    for (name, turns) in [("no worker", &none_turns), ("a saturated worker", &busy_turns)] {
        rows.extend(submission_rows(arguments, name, turns, &idle_turns));
    }
    let memory = none.server.resident_mib()?;
    let pending: usize = none_turns.iter().map(|turn| turn.calls).sum();
    rows.push(
        Row::new("server memory, all its runs pending", "MiB", &[memory])
            .method(format!("resident memory of the server without workers after {pending} submissions")),
    );
    Ok(rows)
}

/// Gives the worker's one slot a step that does not end, and waits until it has begun.
async fn occupy(busy: &Sagewai, mut target: Target) -> Result<()> {
    let hold = Workflow::first_step_at("hold", &format!("http://{}{HOLD}", target.address));
    busy.publish(&hold).await?;
    let call = busy.submit(&hold);
    Connection::open(call.address).await?.run(&call).await?;
    target.arrival().await?;
    Ok(())
}

fn submission_rows(arguments: &Arguments, name: &str, turns: &[Turn], idle: &[Turn]) -> Vec<Row> {
    const BESIDE: &str = "an idle worker";
    let method = format!(
        "{} rounds of {:?} in turn, {SUBMITTERS} clients submit runs of three no-op steps, a server each. The idle \
         fleet's worker takes and ends the runs on the same cores.",
        arguments.rounds,
        arguments.turn()
    );
    let rate = |turns: &[Turn]| turns.iter().map(Turn::per_second).collect::<Vec<_>>();
    let latency = |turns: &[Turn]| turns.iter().map(|turn| turn.latency.clone()).collect::<Vec<_>>();
    let mut rows = vec![
        Row::new(format!("submissions, {name}"), "runs/s", &rate(turns))
            .beside(BESIDE, &rate(idle))
            .goal(Goal::MinTimes(0.95))
            .method(&method),
    ];
    rows.extend(
        Latency {
            name: &format!("submission, {name}"),
            ours: &latency(turns),
            beside: Some((BESIDE, &latency(idle))),
            goals: Some((Goal::MaxTimes(1.05), Goal::MaxTimes(1.05))),
            method: &method,
        }
        .rows(),
    );
    rows
}
