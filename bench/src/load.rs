//! Load: a closed loop of some connections, each with one run under way, or one run at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::http::{Call, Connection};
use crate::process::Process;
use crate::samples::Samples;

/// Part of a turn that goes by before anything is counted.
const WARM_UP_PART: f64 = 0.25;

/// What a turn under load came to.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Calls that ended while it was counted.
    pub(crate) calls: usize,
    /// How long it was counted.
    pub(crate) time: Duration,
    /// CPU time of the server in it.
    pub(crate) server_cpu: Duration,
    /// Time of each call.
    pub(crate) latency: Samples,
}

impl Turn {
    /// Calls a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.time.as_secs_f64()
    }
}

/// Keeps `outstanding` calls under way for `time`.
pub(crate) async fn closed_loop(
    call: &Call,
    outstanding: usize,
    time: Duration,
    server: &Process,
) -> Result<Turn> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let call = Arc::new(call.clone());
    let mut tasks = JoinSet::new();
    for _ in 0..outstanding {
        let connection = Connection::open(call.address).await?;
        tasks.spawn(keep_calling(connection, Arc::clone(&call), Arc::clone(&phase)));
    }
    tokio::time::sleep(time.mul_f64(WARM_UP_PART)).await;
    let (began, cpu) = (Instant::now(), server.cpu()?);
    phase.store(COUNTING, Ordering::Relaxed);
    tokio::time::sleep(time).await;
    phase.store(OVER, Ordering::Relaxed);
    let (time, server_cpu) = (began.elapsed(), server.cpu()?.saturating_sub(cpu));
    let mut latency = Samples::default();
    while let Some(ended) = tasks.join_next().await {
        latency.extend(&ended??);
    }
    Ok(Turn { calls: latency.len(), time, server_cpu, latency })
}

/// Makes `count` calls, `outstanding` of them at once; all are counted.
pub(crate) async fn count_loop(
    call: &Call,
    outstanding: usize,
    count: usize,
    server: &Process,
) -> Result<Turn> {
    let left = Arc::new(AtomicUsize::new(count));
    let call = Arc::new(call.clone());
    let (began, cpu) = (Instant::now(), server.cpu()?);
    let mut tasks = JoinSet::new();
    for _ in 0..outstanding {
        let (mut connection, call, left) =
            (Connection::open(call.address).await?, Arc::clone(&call), Arc::clone(&left));
        tasks.spawn(async move {
            let mut latency = Samples::default();
            let taken = |left: &AtomicUsize| {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            };
            while taken(&left) {
                let began = Instant::now();
                connection.run(&call).await?;
                latency.add(began.elapsed());
            }
            anyhow::Ok(latency)
        });
    }
    let mut latency = Samples::default();
    while let Some(ended) = tasks.join_next().await {
        latency.extend(&ended??);
    }
    let (time, server_cpu) = (began.elapsed(), server.cpu()?.saturating_sub(cpu));
    Ok(Turn { calls: latency.len(), time, server_cpu, latency })
}

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;

async fn keep_calling(mut connection: Connection, call: Arc<Call>, phase: Arc<AtomicU8>) -> Result<Samples> {
    let mut latency = Samples::default();
    while phase.load(Ordering::Relaxed) != OVER {
        let began = Instant::now();
        connection.run(&call).await?;
        if phase.load(Ordering::Relaxed) == COUNTING {
            latency.add(began.elapsed());
        }
    }
    Ok(latency)
}

/// Makes `count` calls, one after the other, on one connection.
pub(crate) async fn one_at_a_time(call: &Call, count: usize) -> Result<Samples> {
    let mut connection = Connection::open(call.address).await?;
    let mut latency = Samples::default();
    for _ in 0..count {
        let began = Instant::now();
        connection.run(call).await?;
        latency.add(began.elapsed());
    }
    Ok(latency)
}
