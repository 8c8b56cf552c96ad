//! Kills: a broker process that is killed at any moment leaves a folder from which the next one goes on, and keeps what it
//! promised: what was answered is in the trail and used up, what was set is there.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64ct::{Base64UrlUnpadded, Encoding};
use identity::admin::Client;
use identity::broker::{self, BrokerConfig};
use identity::builtin::Expect;
use protocol::broker::OpenRequest;
use seal::{GuestKey, worker_token};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::fixture::*;

const FOLDER: &str = "SAGEWAI_TEST_BROKER_FOLDER";
const KILLS: usize = 4;

/// Not a test by itself: the broker process of the test below.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let config = BrokerConfig::in_folder(Path::new(&folder));
    let served =
        broker::serve(config, |ready| println!("\nREADY {}", ready.worker_address), std::future::pending());
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_keeps_what_it_promised() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    broker.stop().await;
    let (mut answered, mut last_set) = (Vec::new(), 0);
    for kill in 0..KILLS {
        let (mut child, address) = start_child(folder.path());
        let (progress, mut progressed) = mpsc::unbounded_channel();
        let opening: Vec<_> =
            (0..4).map(|_| tokio::spawn(open_until_broken(address, progress.clone()))).collect();
        let setting = tokio::spawn(set_until_broken(Client::in_folder(folder.path()), last_set));
        // Somewhere in the middle of that: after some progress, at a moment of its own for each round.
        for _ in 0..10 + 7 * kill {
            progressed.recv().await.unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for worker in opening {
            answered.extend(worker.await.unwrap());
        }
        let (acknowledged, tried) = setting.await.unwrap();
        last_set = check(folder.path(), &answered, acknowledged, tried).await;
    }
    assert!(answered.len() > 20, "the rounds did something: {}", answered.len());
}

/// Starts a broker on the folder after a kill and looks at what it kept; returns the version of the key that is set over and over.
async fn check(folder: &Path, answered: &[String], acknowledged: u64, tried: u64) -> u64 {
    let broker = Running::start(folder).await;
    broker.client.verify_audit(None).await.unwrap();
    let trail = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    for grant in answered.iter().rev().take(20) {
        let open = broker.worker().open(grant, &GuestKey::generate().unwrap()).await;
        assert_eq!(code(open), "grant-used");
    }
    for grant in answered {
        let part = grant.split('.').nth(1).unwrap();
        let claims: protocol::broker::GrantClaims =
            serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap();
        assert!(trail.contains(&claims.jti), "an answered grant is not in the trail");
    }
    let detail = broker.client.identity(&"acme-prod".parse().unwrap()).await.unwrap();
    let version = detail.description.keys.iter().find(|key| key.name.as_str() == "API_KEY").unwrap().version;
    assert!(
        (acknowledged..=tried).contains(&version),
        "{acknowledged} acknowledged, {version} found, {tried} tried"
    );
    broker.stop().await;
    version
}

fn start_child(folder: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.find_map(|line| line.unwrap().strip_prefix("READY ").map(str::to_owned));
    std::thread::spawn(move || lines.for_each(drop));
    (child, ready.expect("the broker says where it listens").parse().unwrap())
}

/// Opens grants until the broker is gone; returns those that were answered.
async fn open_until_broken(broker: SocketAddr, progress: mpsc::UnboundedSender<()>) -> Vec<String> {
    let mut answered = Vec::new();
    loop {
        let guest = GuestKey::generate().unwrap().public_bytes();
        let grant = server().sign(&claims("acme-prod/reporting")).unwrap();
        let token = worker_token::sign(&worker_key(), "worker-1", &guest, &grant, now());
        let request =
            OpenRequest { grant: grant.clone(), guest_key: Base64UrlUnpadded::encode_string(&guest) };
        match try_post(broker, "/v1/open", &token, &request).await {
            Some(answer) => {
                answered.push(answer.map(|_| grant).expect("a good grant is opened"));
                let _ = progress.send(());
            }
            None => return answered,
        }
    }
}

/// Sets a key until the broker is gone; returns the last acknowledged version and the last that was tried.
async fn set_until_broken(client: Client, mut version: u64) -> (u64, u64) {
    let (acme, key) = ("acme-prod".parse().unwrap(), "API_KEY".parse().unwrap());
    loop {
        let value = Zeroizing::new(format!("value {version}").into_bytes());
        match client.set(&acme, &key, true, Expect::Existing, &value).await {
            Ok(set) => version = set.version,
            Err(_) => return (version, version.max(1) + 1),
        }
    }
}
