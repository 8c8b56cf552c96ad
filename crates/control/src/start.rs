//! Puts the parts together and starts them.

use std::sync::Arc;

use store::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::config::ControlConfig;
use crate::core::{Core, Health};
use crate::dispatch::leases::Leases;
use crate::driver::documents::Documents;
use crate::driver::input::RunIds;
use crate::driver::planning::Planning;
use crate::driver::schedule::Schedule;
use crate::driver::timers::Bell;
use crate::driver::{committer, planners, timers};
use crate::error::ControlError;
use crate::handle::Control;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::watch::WATCH_BUFFER;
use crate::workers::grants::Grants;
use crate::workers::liveness;
use crate::workers::registry::Registry;
use crate::{logs, retention, submit};

/// Bytes of a planner's stack: documents nest, and so do expressions.
const PLANNER_STACK_BYTES: usize = 16 << 20;

/// Starts the control plane's tasks and threads. They end when the returned task is aborted; it ends by itself only when a
/// part of the control plane has panicked, and then the process should end too.
pub async fn start(
    config: ControlConfig,
    store: Arc<dyn Store>,
) -> Result<(Control, JoinHandle<()>), ControlError> {
    let (to_committer, committer_inbox) = mpsc::channel(committer::MAX_QUEUED);
    let (beats, beats_inbox) = mpsc::channel(liveness::MAX_BEATS);
    let (log_writer, log_inbox) = mpsc::channel(logs::MAX_QUEUED_CHUNKS);
    let ready_window = config.ready_window;
    let planners = config.planner_threads;
    let core = Arc::new(Core {
        planning: Planning {
            documents: Documents::new(Arc::clone(&store)),
            signs_grants: config.grant_key.is_some(),
            snapshot_events: config.snapshot_events.max(2),
            clock: config.clock.clone(),
        },
        store,
        clock: config.clock,
        ids: config.seed.map_or(RunIds::System, |seed| RunIds::Seeded(seed.into())),
        schedule: Schedule::new(config.cached_runs, (planners / 4).max(1)),
        leases: Leases::default(),
        registry: Registry::default(),
        bell: Bell::default(),
        ends: Arc::default(),
        watchers: Arc::new(Hub::new(WATCH_BUFFER)),
        log_tails: Arc::new(Hub::new(logs::TAIL_BUFFER)),
        log_writer,
        committer: to_committer,
        beats,
        grants: config.grant_key.as_ref().map(|key| Grants::new(key, &config.server)),
        metrics: Arc::new(Metrics::default()),
        health: Health::default(),
        admissions: Semaphore::new(submit::MAX_ADMISSIONS),
        lease: config.lease,
        heartbeat: config.heartbeat,
        server: config.server,
    });
    keep_leases(&core).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(committer::run(Arc::clone(&core), committer_inbox, ready_window));
    tasks.spawn(timers::run(Arc::clone(&core)));
    tasks.spawn(liveness::renew(Arc::clone(&core), beats_inbox));
    tasks.spawn(liveness::expire(Arc::clone(&core)));
    tasks.spawn(logs::write(Arc::clone(&core), log_inbox));
    tasks.spawn(retention::run(Arc::clone(&core), config.keep_runs));
    let stop = start_planners(&core, planners, &mut tasks);
    let supervisor = tokio::spawn(async move {
        // Dropped with this task: that ends the planners' threads.
        let _stop = stop;
        if let Some(Err(error)) = tasks.join_next().await {
            tracing::error!(%error, "a part of the control plane has failed");
        }
    });
    Ok((Control::new(core), supervisor))
}

/// Workers that held leases when the last server ended have one lease's time to come back.
async fn keep_leases(core: &Core) -> Result<(), ControlError> {
    let unavailable = |error: store::StoreError| ControlError::Unavailable(error.to_string());
    let until = core.lease_end();
    let workers = core.store.workers().await.map_err(unavailable)?;
    let seen = workers.into_iter().filter(|worker| worker.alive_until.0 > 0);
    core.store.touch_workers(seen.map(|worker| (worker.name, until)).collect()).await.map_err(unavailable)
}

/// Planners on threads of their own; with none, one planner on the runtime, which makes a test's order repeatable.
fn start_planners(
    core: &Arc<Core>,
    planners: usize,
    tasks: &mut JoinSet<()>,
) -> tokio::sync::watch::Sender<()> {
    let (stop, stopped) = tokio::sync::watch::channel(());
    if planners == 0 {
        tasks.spawn(planners::run(Arc::clone(core)));
    }
    let runtime = tokio::runtime::Handle::current();
    for number in 0..planners {
        let (core, runtime, mut stopped) = (Arc::clone(core), runtime.clone(), stopped.clone());
        let plan = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stopped.changed() => {}
                    () = planners::run(core) => {}
                }
            });
        };
        std::thread::Builder::new()
            .name(format!("planner-{number}"))
            .stack_size(PLANNER_STACK_BYTES)
            .spawn(plan)
            .expect("the system has room for a few threads at the start");
    }
    stop
}
