//! Opening: the order of checks, each refusal, single use across a restart.

use seal::grant::GrantSigner;
use seal::{GuestKey, SigningKey, sealed, worker_token};

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_becomes_values_in_the_guest_and_nowhere_else() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let guest = GuestKey::generate().unwrap();
    let grant = server().sign(&claims("acme-prod/reporting")).unwrap();
    let answer = broker.worker().open(&grant, &guest).await.unwrap();
    assert_eq!(answer.names, ["DATABASE_URL"], "secrets of the view only");
    let payload = sealed::open(&guest, &answer.sealed, &broker.broker_key(), attempt(), now()).ok().unwrap();
    let found: Vec<_> = payload.entries().iter().map(|entry| (entry.name(), entry.value())).collect();
    assert_eq!(found, [("DATABASE_URL", DATABASE_URL), ("REGION", b"eu-central-1")]);

    let text = serde_json::to_string(&answer).unwrap();
    assert!(!text.contains("canary"), "the answer holds the value in the clear");
    broker.stop().await;
    for (path, bytes) in files(folder.path()) {
        let found = bytes.windows(6).any(|window| window == b"canary");
        assert!(!found, "{} holds the value in the clear", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_good_once_also_after_a_restart() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let (guest, other) = (GuestKey::generate().unwrap(), GuestKey::generate().unwrap());
    let grant = server().sign(&claims("acme-prod")).unwrap();
    broker.worker().open(&grant, &guest).await.unwrap();
    assert_eq!(code(broker.worker().open(&grant, &guest).await), "grant-used");
    broker.stop().await;
    let broker = Running::start(folder.path()).await;
    assert_eq!(code(broker.worker().open(&grant, &other).await), "grant-used");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_opens() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let grant = server().sign(&claims("acme-prod")).unwrap();
    let tries = (0..20).map(|_| {
        let (worker, grant) = (broker.worker(), grant.clone());
        tokio::spawn(async move { worker.open(&grant, &GuestKey::generate().unwrap()).await.is_ok() })
    });
    let mut opened = 0;
    for attempt in tries.collect::<Vec<_>>() {
        opened += usize::from(attempt.await.unwrap());
    }
    assert_eq!(opened, 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_check_refuses() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let (worker, guest) = (broker.worker(), GuestKey::generate().unwrap());
    let good = || server().sign(&claims("acme-prod")).unwrap();

    // The worker: unknown, another key, a captured token with another guest or grant, a stale token, none.
    let stranger = Worker { name: "worker-2".into(), ..broker.worker() };
    assert_eq!(code(stranger.open(&good(), &guest).await), "worker-token");
    let forger = Worker { key: SigningKey::from_seed(&[99; 32]), ..broker.worker() };
    assert_eq!(code(forger.open(&good(), &guest).await), "worker-token");
    let grant = good();
    let token = worker_token::sign(&worker_key(), "worker-1", &guest.public_bytes(), &grant, now());
    assert_eq!(code(worker.open_with(&token, &grant, &GuestKey::generate().unwrap()).await), "worker-token");
    assert_eq!(code(worker.open_with(&token, &good(), &guest).await), "worker-token");
    let stale = worker_token::sign(&worker_key(), "worker-1", &guest.public_bytes(), &grant, now() - 120);
    assert_eq!(code(worker.open_with(&stale, &grant, &guest).await), "worker-token");
    assert_eq!(code(worker.open_with("", &grant, &guest).await), "worker-token");

    // The grant: of a stranger, expired, for another worker.
    let thief = GrantSigner::new(SigningKey::from_seed(&[98; 32]));
    assert_eq!(code(worker.open(&thief.sign(&claims("acme-prod")).unwrap(), &guest).await), "grant");
    let mut expired = claims("acme-prod");
    (expired.iat, expired.exp) = (now() - 400, now() - 100);
    assert_eq!(code(worker.open(&server().sign(&expired).unwrap(), &guest).await), "grant-expired");
    let mut others = claims("acme-prod");
    others.worker = "worker-2".into();
    assert_eq!(code(worker.open(&server().sign(&others).unwrap(), &guest).await), "other-worker");

    // The identity: unknown, unknown view, unknown scheme, not for this namespace.
    for (identity, expected) in [
        ("nobody", "identity-not-found"),
        ("acme-prod/nothing", "identity-not-found"),
        ("vault:x", "policy"),
        ("valt:x", "reference"),
    ] {
        assert_eq!(code(worker.open(&server().sign(&claims(identity)).unwrap(), &guest).await), expected);
    }
    let mut elsewhere = claims("acme-prod");
    elsewhere.namespace = "evil".into();
    let refused = worker.open(&server().sign(&elsewhere).unwrap(), &guest).await.err().unwrap();
    assert!(refused.kind.ends_with(":policy") && refused.detail.contains("namespace"), "{refused:?}");
    assert!(!refused.detail.contains("DATABASE_URL"));

    // The guest's key: of small order.
    use protocol::broker::OpenRequest;
    let token = worker_token::sign(&worker_key(), "worker-1", &[0; 32], &grant, now());
    let request = OpenRequest { grant, guest_key: "A".repeat(43) };
    assert_eq!(code(post(worker.broker, "/v1/open", &token, &request).await), "malformed");

    // A sign of life is bound to its grants.
    let token = worker_token::sign_keep(&worker_key(), "worker-1", &["a".into()], now());
    let keep = protocol::broker::KeepRequest { grants: vec!["b".into()] };
    assert_eq!(code(post(worker.broker, "/v1/keep", &token, &keep).await), "worker-token");

    // None of that spoiled a good one.
    worker.open(&good(), &guest).await.unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_rotation_and_removal_take_effect_at_the_next_grant() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let (worker, guest, acme) =
        (broker.worker(), GuestKey::generate().unwrap(), "acme-prod".parse().unwrap());
    let held = claims("acme-prod");
    worker.open(&server().sign(&held).unwrap(), &guest).await.unwrap();

    let revoked = broker.client.revoke(&acme, "leaked", false).await.unwrap();
    assert_eq!(revoked.holders, [attempt()]);
    assert_eq!(
        code(worker.open(&server().sign(&claims("acme-prod")).unwrap(), &guest).await),
        "identity-revoked"
    );
    let strangers = vec!["another".to_owned(), held.jti.clone()];
    assert_eq!(worker.keep(&strangers).await.unwrap().ended, ["another"], "what it does not hold is over");
    worker.release(&held.jti).await.unwrap();
    assert_eq!(worker.keep(&strangers).await.unwrap().ended, strangers);
    worker.release(&held.jti).await.unwrap();
    assert!(broker.client.identity(&acme).await.unwrap().holders.is_empty());

    // Hard: also from those who hold it, whose workers hear of it.
    broker.client.restore(&acme).await.unwrap();
    let held = claims("acme-prod");
    worker.open(&server().sign(&held).unwrap(), &guest).await.unwrap();
    let held_grants = [held.jti.clone()];
    assert!(worker.keep(&held_grants).await.unwrap().ended.is_empty());
    assert_eq!(broker.client.revoke(&acme, "leaked again", true).await.unwrap().holders, [attempt()]);
    assert_eq!(worker.keep(&held_grants).await.unwrap().ended, held_grants);

    broker.client.restore(&acme).await.unwrap();
    let value = zeroize::Zeroizing::new(b"rotated-value".to_vec());
    let expect = identity::builtin::Expect::Existing;
    let acme_name = "acme-prod".parse().unwrap();
    let set =
        broker.client.set(&acme_name, &"DATABASE_URL".parse().unwrap(), true, expect, &value).await.unwrap();
    assert_eq!(set.version, 2);
    let answer = worker.open(&server().sign(&claims("acme-prod/reporting")).unwrap(), &guest).await.unwrap();
    let payload = sealed::open(&guest, &answer.sealed, &broker.broker_key(), attempt(), now()).ok().unwrap();
    assert_eq!(payload.entries()[0].value(), b"rotated-value");

    broker.client.remove_worker("worker-1").await.unwrap();
    assert_eq!(
        code(worker.open(&server().sign(&claims("acme-prod")).unwrap(), &guest).await),
        "worker-token"
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_and_nonsense_are_refused() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    let address = broker.ready.worker_address;
    let long = protocol::broker::OpenRequest { grant: "x".repeat(40_000), guest_key: "x".into() };
    let refused = post(address, "/v1/open", "t", &long).await.unwrap_err();
    assert!(refused.detail.contains("longer than 32 KiB"), "{refused:?}");
    assert_eq!(code(post(address, "/v1/open", "t", &serde_json::json!({ "grant": 1 })).await), "malformed");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_grants_share_a_sync() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let started = std::time::Instant::now();
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let worker = broker.worker();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let grant = server().sign(&claims("acme-prod")).unwrap();
                    worker.open(&grant, &GuestKey::generate().unwrap()).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    eprintln!("320 grants in {:?}, signing and sealing unoptimised", started.elapsed());
    let report = broker.client.verify_audit(None).await.unwrap();
    assert!(report.lines >= 320, "every grant is in the trail: {report:?}");
    broker.stop().await;
}
