//! The warm pool over the fake: each sandbox is handed out once, the dead are replaced, nothing is left.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sandbox::fake::FakeBackend;
use sandbox::pool::{Pool, PoolConfig};
use sandbox::{SandboxError, Template};

/// Claims of the racing test; the long one makes ten times as many.
const CLAIMS: usize = 10_000;
/// Tasks that claim at once.
const CLAIMANTS: usize = 50;

fn config() -> PoolConfig {
    PoolConfig { min_warm: 4, max_warm: 16, ..PoolConfig::default() }
}

/// Waits until `holds`; the test's own limit of time ends a wait for ever.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_claims_with_crashes_get_different_sandboxes() {
    race(CLAIMS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes a minute"]
async fn a_hundred_thousand_racing_claims_get_different_sandboxes() {
    race(10 * CLAIMS).await;
}

async fn race(claims: usize) {
    let backend = FakeBackend::new();
    let pool = Pool::new(Arc::clone(&backend) as _, config());
    pool.prepare(&Template::default());
    let stop = Arc::new(AtomicBool::new(false));
    let crashing = tokio::spawn({
        let (backend, stop) = (Arc::clone(&backend), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                backend.crash_all();
            }
        }
    });
    let claimants: Vec<_> = (0..CLAIMANTS)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let mut seen = Vec::with_capacity(claims / CLAIMANTS);
                while seen.len() < claims / CLAIMANTS {
                    // A crash may hit a sandbox that is being made on the spot.
                    if let Ok(session) = pool.claim(&Template::default()).await {
                        seen.push(session.id().clone());
                    }
                }
                seen
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for claimant in claimants {
        for id in claimant.await.expect("no panic") {
            assert!(seen.insert(id.clone()), "{id} was handed out twice");
        }
    }
    stop.store(true, Ordering::SeqCst);
    crashing.await.expect("no panic");
    assert_eq!(seen.len(), claims);
    let metrics = pool.metrics();
    assert!(metrics.warm_claims > 0, "{metrics:?}");
    pool.shutdown().await;
    until("all are gone", || backend.alive() == 0).await;
}

#[tokio::test]
async fn fills_ahead_and_hands_out_warm() {
    let backend = FakeBackend::new();
    let pool = Pool::new(Arc::clone(&backend) as _, config());
    pool.prepare(&Template::default());
    until("four wait", || pool.metrics().idle == 4).await;
    let session = pool.claim(&Template::default()).await.expect("a warm one");
    assert!(session.warm());
    let other = Template { image: Some("debian:12".to_owned()), ..Template::default() };
    assert!(!pool.claim(&other).await.expect("a cold one").warm());
    let metrics = pool.metrics();
    assert_eq!((metrics.warm_claims, metrics.cold_claims), (1, 1));
}

#[tokio::test]
async fn a_warm_sandbox_that_dies_is_noticed_and_replaced() {
    let backend = FakeBackend::new();
    let pool = Pool::new(Arc::clone(&backend) as _, config());
    pool.prepare(&Template::default());
    until("four wait", || pool.metrics().idle == 4).await;
    backend.crash_all();
    until("the dead are counted", || pool.metrics().died == 4).await;
    until("four wait again", || pool.metrics().idle == 4).await;
    assert!(pool.claim(&Template::default()).await.expect("a living one").warm());
}

#[tokio::test]
async fn old_sandboxes_are_replaced() {
    let backend = FakeBackend::new();
    let pool =
        Pool::new(Arc::clone(&backend) as _, PoolConfig { max_age: Duration::from_millis(50), ..config() });
    pool.prepare(&Template::default());
    until("some expire", || pool.metrics().expired >= 4).await;
    until("others wait", || pool.metrics().idle > 0).await;
}

#[tokio::test]
async fn shutting_down_drains_and_refuses() {
    let backend = FakeBackend::new();
    let pool = Pool::new(Arc::clone(&backend) as _, config());
    pool.prepare(&Template::default());
    until("four wait", || pool.metrics().idle == 4).await;
    pool.shutdown().await;
    assert_eq!(backend.alive(), 0);
    let refused = pool.claim(&Template::default()).await.err();
    assert!(matches!(refused, Some(SandboxError::ShutDown)), "{refused:?}");
}

#[tokio::test]
async fn layers_that_are_required_and_absent_refuse_every_claim() {
    let required = vec![protocol::frame::Layer::Seccomp];
    let pool = Pool::new(FakeBackend::new(), PoolConfig { required, ..config() });
    let refused = pool.claim(&Template::default()).await.err();
    assert!(matches!(refused, Some(SandboxError::LayersAbsent(_))), "{refused:?}");
    assert_eq!(pool.metrics().failed_claims, 1);
}

/// A sandbox takes a second to make, four steps come each second: once the pool has learnt that, none waits.
#[tokio::test(start_paused = true)]
async fn a_slow_sandbox_backend_is_kept_far_enough_ahead() {
    let backend = FakeBackend::slow(Duration::from_secs(1));
    let pool = Pool::new(Arc::clone(&backend) as _, PoolConfig::default());
    let mut cold = Vec::new();
    for second in 0..20 {
        let before = pool.metrics().cold_claims;
        for _ in 0..4 {
            let session = pool.claim(&Template::default()).await.expect("a sandbox");
            tokio::spawn(async move { session.discard().await });
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        cold.push(pool.metrics().cold_claims - before);
        assert!(backend.alive() < 40, "second {second}: {} live", backend.alive());
    }
    assert!(cold[0] > 0 && cold[8..].iter().all(|cold| *cold == 0), "{cold:?}");
    pool.shutdown().await;
    until("all are gone", || backend.alive() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_what_is_being_made_and_removed() {
    let backend = FakeBackend::slow(Duration::from_secs(1));
    let pool = Pool::new(Arc::clone(&backend) as _, config());
    let session = pool.claim(&Template::default()).await.expect("a sandbox");
    pool.prepare(&Template { image: Some("another".to_owned()), ..Template::default() });
    until("others are being made", || pool.metrics().filling > 0).await;
    let asked = tokio::time::Instant::now();
    pool.retire(session).await.expect("dead");
    assert!(asked.elapsed() < Duration::from_millis(500), "the end is told before all is removed");
    pool.shutdown().await;
    assert_eq!(backend.alive(), 0);
}

#[tokio::test]
async fn each_template_has_its_own() {
    let backend = FakeBackend::new();
    let pool = Pool::new(Arc::clone(&backend) as _, config());
    let images = ["debian:12", "alpine:3", "busybox:1"];
    let template = |image: &str| Template { image: Some(image.to_owned()), ..Template::default() };
    images.iter().for_each(|image| pool.prepare(&template(image)));
    until("four of each wait", || pool.metrics().idle == 12).await;
    for image in images {
        assert!(pool.claim(&template(image)).await.expect("a warm one").warm());
    }
    pool.shutdown().await;
    until("all are gone", || backend.alive() == 0).await;
}
