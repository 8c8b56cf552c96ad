//! Measurements, not tests: run with `--release --run-ignored only --no-capture`. They print and never fail on a time.

use super::harness;
use std::time::{Duration, Instant};

use sandbox::conformance::{Step, run};
use sandbox::pool::{Pool, PoolConfig};
use sandbox::session::StepEvent;
use sandbox::{Backend, Session, Template};
use tokio::sync::mpsc;

/// Repetitions of each measurement.
const ROUNDS: usize = 1000;
/// Memory of the large worker, bytes.
const BALLAST_BYTES: usize = 256 << 20;

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.2} ms, p90 {:.2}, p99 {:.2}, max {:.2}", at(0.5), at(0.9), at(0.99), at(1.0));
}

async fn cold(backend: &dyn Backend, what: &str) {
    let (mut ready, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let sandbox = backend.create(&Template::default()).await.expect("made");
        let session = Session::open(sandbox, &[]).await.expect("ready");
        ready.push(start.elapsed());
        let start = Instant::now();
        session.discard().await.expect("discarded");
        gone.push(start.elapsed());
    }
    print(&format!("cold start, {what}"), ready);
    print(&format!("discard, {what}"), gone);
}

#[test]
#[ignore = "a measurement"]
fn cold_start() {
    harness::run(async |backend| cold(&**backend, "small worker").await);
}

#[test]
#[ignore = "a measurement"]
fn cold_start_of_a_large_worker() {
    harness::run(async |backend| {
        let ballast: Vec<u8> = (0..BALLAST_BYTES).map(|n| n as u8).collect();
        cold(&**backend, "256 MiB worker").await;
        println!("{}", ballast[ballast.len() / 2]);
    });
}

#[test]
#[ignore = "a measurement"]
fn warm_hand_out() {
    harness::run(async |backend| {
        let config = PoolConfig { min_warm: 8, max_warm: 8, ..PoolConfig::default() };
        let pool = Pool::new(backend.clone(), config);
        pool.prepare(&Template::default());
        let (mut claimed, mut started, mut exited) = (Vec::new(), Vec::new(), Vec::new());
        while claimed.len() < ROUNDS {
            while pool.metrics().idle == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let start = Instant::now();
            let mut session = pool.claim(&Template::default()).await.expect("claimed");
            let claim = start.elapsed();
            if !session.warm() {
                continue;
            }
            let (frame, stdin, control) = Step::new(["true"]).into_parts();
            let (events, mut said) = mpsc::channel(4);
            let first = async {
                let event = said.recv().await;
                (event == Some(StepEvent::Started)).then(|| start.elapsed())
            };
            let (exit, first) = tokio::join!(session.run(frame, stdin, events, control), first);
            exit.expect("true ends");
            exited.push(start.elapsed());
            claimed.push(claim);
            started.extend(first);
            session.discard().await.expect("discarded");
        }
        print("warm: claim", claimed);
        print("warm: claim to process started", started);
        print("warm: claim to `true` exited", exited);
        println!("{:?}", pool.metrics());
        pool.shutdown().await;
    });
}

#[test]
#[ignore = "a measurement"]
fn rate_of_refill() {
    harness::run(async |backend| {
        let start = Instant::now();
        let rounds = 8;
        let each = ROUNDS / rounds;
        let one = async || {
            for _ in 0..each {
                let sandbox = backend.create(&Template::default()).await.expect("made");
                Session::open(sandbox, &[]).await.expect("ready").discard().await.expect("discarded");
            }
        };
        futures_util::future::join_all((0..rounds).map(|_| one())).await;
        let per_second = (rounds * each) as f64 / start.elapsed().as_secs_f64();
        println!("made and discarded, {rounds} at once: {per_second:.0} a second");
    });
}

#[test]
#[ignore = "a measurement"]
fn whole_step_cold() {
    harness::run(async |backend| {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let sandbox = backend.create(&Template::default()).await.expect("made");
            let mut session = Session::open(sandbox, &[]).await.expect("ready");
            let ran = run(&mut session, Step::new(["true"])).await;
            assert_eq!(ran.code(), Some(0));
            session.discard().await.expect("discarded");
            times.push(start.elapsed());
        }
        print("cold: request to discarded, `true`", times);
    });
}
