//! Sandboxes: namespace sandboxes cold and warm from a process as large as a worker, beside bwrap; mode 1 beside mode 0.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol::frame::{StartStep, StepLimits};
use sandbox::egress::{Dialer, Egress, OperatorPolicy};
use sandbox::pool::{Pool, PoolConfig};
use sandbox::session::{Control, ExitStatus, Stdin, StepEvent};
use sandbox::{Backend, CancellationToken, PATH, Session, Template, WORKSPACE};
use sandbox_namespace::{NamespaceBackend, Spawner, SpawnerError};
use tokio::sync::mpsc;

use crate::arguments::Arguments;
use crate::footprint::run_to_end;
use crate::load::one_at_a_time;
use crate::rows::{Goal, Latency, Row};
use crate::sagewai::{Sagewai, Workflow};
use crate::samples::Samples;
use crate::{bounds, egress};

/// Memory that this process holds, as a busy worker does: making sandboxes must not become slower by it.
const BALLAST_BYTES: usize = 256 << 20;
/// Sandboxes that wait in the pool.
const WARM: usize = 8;
/// How often the pool is looked at while it fills.
const FILL_POLL: Duration = Duration::from_millis(1);
/// The longest a no-op step may take.
const STEP_LIMIT: Duration = Duration::from_secs(20);

/// All rows of this group; none where this machine has no namespaces.
pub(crate) async fn measure(
    arguments: &Arguments,
    spawner: Result<Spawner, SpawnerError>,
) -> Result<Vec<Row>> {
    let spawner = match spawner {
        Ok(spawner) => spawner,
        Err(error) => {
            eprintln!("sandbox: not measured: {error}");
            return Ok(Vec::new());
        }
    };
    let spawner_pid = spawner.pid();
    let backend: Arc<dyn Backend> = NamespaceBackend::new(spawner).context("cannot watch the spawner")?;
    let ballast: Vec<u8> = (0..BALLAST_BYTES).map(|n| n as u8).collect();
    let mut rows = cold(arguments, &*backend).await?;
    rows.extend(warm(arguments, Arc::clone(&backend)).await?);
    rows.extend(egress::measure(arguments, &backend).await?);
    rows.extend(bounds::measure(arguments, &backend, spawner_pid).await?);
    // Held until here, and read, so that it is there.
    ensure!(ballast[ballast.len() - 1] == u8::MAX, "the ballast is intact");
    drop(ballast);
    rows.extend(modes(arguments).await?);
    Ok(rows)
}

async fn cold(arguments: &Arguments, backend: &dyn Backend) -> Result<Vec<Row>> {
    eprintln!("namespace sandboxes, cold");
    let has_bwrap =
        Command::new("bwrap").arg("--version").output().is_ok_and(|output| output.status.success());
    let [mut ready, mut exited, mut gone, mut bwrap] = [const { Vec::new() }; 4];
    for _ in 0..arguments.rounds {
        let turn = cold_turn(backend, arguments.operations).await?;
        ready.push(turn.ready);
        exited.push(turn.exited);
        gone.push(turn.gone);
        if has_bwrap {
            let mut command = Command::new("bwrap");
            command.args(["--unshare-all", "--ro-bind", "/", "/", "true"]);
            bwrap.push(run_to_end(&mut command, arguments.operations)?);
        }
    }
    let beside = Some(("bwrap --unshare-all --ro-bind / / true", bwrap.as_slice()));
    let method = format!(
        "{} rounds of {} in turn, one at a time, from a process with {} MiB of memory",
        arguments.rounds,
        arguments.operations,
        BALLAST_BYTES >> 20
    );
    let mut rows = Latency {
        name: "namespace sandbox, cold: request to the guest's first frame",
        ours: &ready,
        beside,
        goals: Some((Goal::MaxAndTimes(2.0, 0.5), Goal::Max(6.0))),
        method: &format!("{method}; bwrap from its start to its end"),
    }
    .rows();
    rows.extend(
        Latency {
            name: "namespace sandbox, cold: request to `true` exited",
            ours: &exited,
            beside,
            goals: None,
            method: &method,
        }
        .rows(),
    );
    rows.extend(
        Latency {
            name: "namespace sandbox: discard, used",
            ours: &gone,
            beside: None,
            goals: None,
            method: &format!("{method}; until nothing of it is left"),
        }
        .rows(),
    );
    Ok(rows)
}

#[derive(Default)]
pub(crate) struct ColdTurn {
    ready: Samples,
    pub(crate) exited: Samples,
    gone: Samples,
}

pub(crate) async fn cold_turn(backend: &dyn Backend, count: usize) -> Result<ColdTurn> {
    let mut turn = ColdTurn::default();
    for _ in 0..count {
        let began = Instant::now();
        let mut session = Session::open(backend.create(&Template::default()).await?, &[]).await?;
        turn.ready.add(began.elapsed());
        run_true(&mut session).await?;
        turn.exited.add(began.elapsed());
        let began = Instant::now();
        session.discard().await?;
        turn.gone.add(began.elapsed());
    }
    Ok(turn)
}

async fn warm(arguments: &Arguments, backend: Arc<dyn Backend>) -> Result<Vec<Row>> {
    eprintln!("namespace sandboxes, warm");
    let config = PoolConfig { min_warm: WARM, max_warm: WARM, ..PoolConfig::default() };
    let pool = Pool::new(backend, config);
    pool.prepare(&Template::default());
    let [mut started, mut exited, mut processes] = [const { Vec::new() }; 3];
    for _ in 0..arguments.rounds {
        let (turn_started, turn_exited) = warm_turn(&pool, arguments.operations).await?;
        started.push(turn_started);
        exited.push(turn_exited);
        processes.push(run_to_end(&mut Command::new("true"), arguments.operations)?);
    }
    pool.shutdown().await;
    let method = format!(
        "{} rounds of {} in turn, one at a time, from a full pool of {WARM}, from a process with {} MiB \
         of memory; no secrets",
        arguments.rounds,
        arguments.operations,
        BALLAST_BYTES >> 20
    );
    let mut rows = Latency {
        name: "namespace sandbox, warm: claim to process started",
        ours: &started,
        beside: None,
        goals: Some((Goal::Max(1.0), Goal::Max(3.0))),
        method: &method,
    }
    .rows();
    rows.extend(
        Latency {
            name: "namespace sandbox, warm: claim to `true` exited",
            ours: &exited,
            beside: Some(("true, started and ended without a sandbox", &processes)),
            goals: None,
            method: &method,
        }
        .rows(),
    );
    Ok(rows)
}

async fn warm_turn(pool: &Pool, count: usize) -> Result<(Samples, Samples)> {
    let (mut started, mut exited) = (Samples::default(), Samples::default());
    while exited.len() < count {
        // Full, so that the making of others disturbs the hand-out no more than the one that it causes itself.
        while pool.metrics().idle < WARM as u64 {
            tokio::time::sleep(FILL_POLL).await;
        }
        let began = Instant::now();
        let mut session = pool.claim(&Template::default()).await?;
        let is_warm = session.warm();
        let first = run_true(&mut session).await?;
        if is_warm {
            exited.add(began.elapsed());
            started.add(first.duration_since(began));
        }
        session.discard().await?;
    }
    Ok((started, exited))
}

/// Runs `true` to its end; when its process was started.
async fn run_true(session: &mut Session) -> Result<Instant> {
    let start = StartStep {
        argv: vec!["true".to_owned()],
        environment: BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]),
        directory: WORKSPACE.to_owned(),
        sealed: None,
        broker_key: None,
        attempt: None,
        network: Vec::new(),
        terminal: false,
        limits: StepLimits::default(),
    };
    let control = Control {
        egress: Egress::new(Vec::new(), Dialer::new(OperatorPolicy::default())),
        cancel: CancellationToken::new(),
        grace: Duration::from_secs(1),
        deadline: STEP_LIMIT,
    };
    let (events, mut said) = mpsc::channel(4);
    let first = async { (said.recv().await == Some(StepEvent::Started)).then(Instant::now) };
    let (exit, first) = tokio::join!(session.run(start, Stdin::Empty, events, control), first);
    ensure!(exit?.status == ExitStatus::Code(0), "`true` fails in a sandbox");
    first.context("the sandbox did not say that the process started")
}

/// One step in mode 1 beside one in mode 0, through server and worker.
async fn modes(arguments: &Arguments) -> Result<Vec<Row>> {
    eprintln!("mode 1 beside mode 0");
    let mut stack = Sagewai::start(&arguments.sagewai, &arguments.work, "modes").await?;
    stack.add_worker("worker", &[]).await?;
    for workflow in [Workflow::mode_0(), Workflow::mode_1()] {
        stack.publish(&workflow).await?;
    }
    let (mode_0, mode_1) = (stack.run(&Workflow::mode_0()), stack.run(&Workflow::mode_1()));
    // The pool learns what is wanted of it.
    one_at_a_time(&mode_1, WARM).await?;
    let (mut sandboxed, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        sandboxed.push(one_at_a_time(&mode_1, arguments.operations).await?);
        bare.push(one_at_a_time(&mode_0, arguments.operations).await?);
    }
    let method = format!(
        "{} rounds of {} runs in turn, one at a time, one step each: `run: shell` with `:`, and `call: noop`",
        arguments.rounds, arguments.operations
    );
    Ok(Latency {
        name: "mode 1 step, submit to done",
        ours: &sandboxed,
        beside: Some(("the same in mode 0", &bare)),
        goals: Some((Goal::MaxTimes(2.0), Goal::MaxTimes(2.0))),
        method: &method,
    }
    .rows())
}
