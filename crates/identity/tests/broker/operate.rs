//! The operator's side: admin API, audit trail, refusals to start.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use identity::admin::{Client, ClientError};
use identity::advice::Advice;
use identity::audit::record::Verdict;
use identity::audit::{Event, Line};
use identity::broker::{self, BrokerConfig};
use identity::builtin::Expect;
use identity::policy::Policy;
use seal::GuestKey;
use zeroize::Zeroizing;

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn names_are_shown_and_values_never() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let (acme, acme_name) = ("acme-prod".parse().unwrap(), "acme-prod".parse().unwrap());
    let list = broker.client.identities().await.unwrap();
    assert_eq!((list.len(), list[0].keys, list[0].revoked), (1, Some(3), false));
    let detail = broker.client.identity(&acme).await.unwrap();
    let keys: Vec<_> =
        detail.description.keys.iter().map(|key| (key.name.as_str(), key.secret, key.version)).collect();
    assert_eq!(keys, [("API_KEY", true, 1), ("DATABASE_URL", true, 1), ("REGION", false, 1)]);
    assert_eq!(detail.policy, Policy::for_namespace("acme"));
    assert!(!format!("{detail:?}").contains("canary"));

    broker.client.set_policy(&acme, &Policy::default()).await.unwrap();
    assert_eq!(broker.client.identity(&acme).await.unwrap().policy, Policy::default());
    broker.client.rotate_data_key(None).await.unwrap();
    broker.client.remove_key(&acme_name, &"API_KEY".parse().unwrap()).await.unwrap();
    broker.client.remove_view(&acme_name, &"reporting".parse().unwrap()).await.unwrap();
    broker.client.remove(&acme).await.unwrap();
    assert!(broker.client.identities().await.unwrap().is_empty());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_set_is_explained_and_poor_values_are_warned_of() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    let (acme, key) = ("acme".parse().unwrap(), "TOKEN".parse().unwrap());
    let set = async |value: &[u8]| {
        broker.client.set(&acme, &key, true, Expect::Any, &Zeroizing::new(value.to_vec())).await
    };
    assert!(refusal(set(b"value").await).contains("`acme` does not exist"));
    broker.client.create(&acme, &Policy::any()).await.unwrap();
    assert!(refusal(broker.client.create(&acme, &Policy::any()).await).contains("exists already"));
    assert!(refusal(set(b"a\0b").await).contains("NUL"));
    assert!(refusal(set(&[b'x'; 70_000]).await).contains("64 KiB"));
    assert_eq!(set(b"docker").await.unwrap().advice, [Advice::Short]);
    assert!(refusal(broker.client.enrol_worker("w", "nonsense").await).contains("public key"));
    broker.client.enrol_worker("w", &worker_key().public_key().to_string()).await.unwrap();
    let other = server().public_key().to_string();
    assert!(refusal(broker.client.enrol_worker("w", &other).await).contains("another key"));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_tells_who_got_what_and_shows_tampering() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    let guest = GuestKey::generate().unwrap();
    let grant = server().sign(&claims("acme-prod/reporting")).unwrap();
    broker.worker().open(&grant, &guest).await.unwrap();
    broker.worker().open(&grant, &guest).await.unwrap_err();
    let lines = trail(&broker.client).await;
    let opens: Vec<_> = lines
        .iter()
        .filter_map(|line| match &line.event {
            Event::Open { decision, reason, keys, grant, .. } => {
                let keys: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.version)).collect();
                assert_eq!(grant.as_ref().unwrap().attempt, attempt());
                Some((*decision, reason.as_str(), keys))
            }
            _ => None,
        })
        .collect();
    let expected = [
        (Verdict::Sealed, "allowed", vec![("DATABASE_URL", 1), ("REGION", 1)]),
        (Verdict::Refused, "grant-used", vec![]),
    ];
    assert_eq!(opens, expected);
    let changes = lines.iter().filter(|line| matches!(line.event, Event::Changed { .. })).count();
    assert_eq!(changes, 7, "enrol, trust, create, three values, a view");
    broker.client.verify_audit(None).await.unwrap();
    broker.stop().await;

    // After the stop its end is signed. A line less, and the broker does not start.
    let path = folder.path().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().last().unwrap().contains("checkpoint"));
    let edited = text.replacen("grant-used", "grant-usee", 1);
    std::fs::write(&path, edited).unwrap();
    assert!(start_error(folder.path()).await.contains("does not hold together"));
    let cut: String = text.lines().take(4).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, cut).unwrap();
    assert!(start_error(folder.path()).await.contains("cut off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_identity_file_is_noticed_by_the_trail() {
    let folder = folder();
    let first = std::fs::read(folder.path().join("identities.json")).unwrap();
    let anchor = std::fs::read(folder.path().join("identities.counter")).unwrap();
    let broker = Running::start(folder.path()).await;
    broker.set_up().await;
    broker.stop().await;
    std::fs::write(folder.path().join("identities.json"), first).unwrap();
    std::fs::write(folder.path().join("identities.counter"), anchor).unwrap();
    assert!(start_error(folder.path()).await.contains("older copy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_and_socket_are_private_and_held_by_one() {
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    for (path, mode) in [(folder.path().join("admin.sock"), 0o600), (folder.path().join("broker.key"), 0o600)]
    {
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode, "{}", path.display());
    }
    assert!(start_error(folder.path()).await.contains("in use by another process"));
    broker.stop().await;
    let gone = Client::in_folder(folder.path()).status().await;
    assert!(matches!(gone, Err(ClientError::Connect { .. })));
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(start_error(folder.path()).await.contains("chmod 700"));
}

/// The kernel tells the broker who connects; another user is refused even where the socket's mode would let it in.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_at_the_admin_socket() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let folder = folder();
    let broker = Running::start(folder.path()).await;
    for path in [folder.path().to_owned(), folder.path().join("admin.sock")] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                  s.sendall(b'GET /v1/status HTTP/1.1\\r\\nhost: b\\r\\nconnection: close\\r\\n\\r\\n')\n\
                  print(s.recv(4096).decode())";
    let mut command = std::process::Command::new("python3");
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    let socket = folder.path().join("admin.sock");
    let output =
        tokio::task::spawn_blocking(move || command.args(["-c", script]).arg(socket).output()).await.unwrap();
    let Ok(output) = output else {
        eprintln!("skipped: there is no python3 to connect with");
        return broker.stop().await;
    };
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}{}", String::from_utf8_lossy(&output.stderr));
    broker.stop().await;
}

async fn trail(client: &Client) -> Vec<Line> {
    let (mut lines, mut offset) = (vec![], 0);
    loop {
        let page = client.audit(offset).await.unwrap();
        lines.extend(page.lines);
        offset = page.next_offset;
        if page.end {
            return lines;
        }
    }
}

async fn start_error(folder: &std::path::Path) -> String {
    let refused =
        broker::serve(BrokerConfig::in_folder(folder), |_| panic!("must not start"), async {}).await;
    refused.unwrap_err().to_string()
}

fn refusal<T>(answer: Result<T, ClientError>) -> String {
    answer.err().expect("must be refused").to_string()
}
