//! Database users that OpenBao makes in a real PostgreSQL for a grant: renewed while the step lives, dropped at its end, swept
//! after a kill of the broker.

use std::path::Path;
use std::time::{Duration, Instant};

use identity::policy::Policy;
use protocol::id::AttemptId;
use seal::{GuestKey, sealed};
use serde_json::json;
use testkit::openbao::{OpenBao, VARIABLE};
use testkit::postgres::{PASSWORD, Postgres, SUPERUSER};

use crate::external::{counterpart, private_file};
use crate::fixture::*;

const IDENTITY: &str = "vault:database/creds/reporting";
/// What the broker's role may do, as the documentation has it.
const BROKER_POLICY: &str = r#"
path "auth/token/create/sagewai-grant" { capabilities = ["update"] }
path "auth/token/renew-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"#;
const GRANT_POLICY: &str = r#"path "database/creds/reporting" { capabilities = ["read"] }"#;
const CREATE: &str = r#"CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"#;
const RENEW: &str = r#"ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'"#;
const DROP: &str = r#"DROP ROLE IF EXISTS "{{name}}""#;

struct Database {
    postgres: Postgres,
    _bao: OpenBao,
    broker_folder: tempfile::TempDir,
    _folder: tempfile::TempDir,
}

impl Database {
    /// PostgreSQL, OpenBao with a role whose users live `ttl`, and a broker's folder that knows both.
    fn start(ttl: &str) -> Option<Self> {
        let program = counterpart(VARIABLE)?;
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL runs as another user.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (postgres_folder, bao_folder) = (folder.path().join("pg"), folder.path().join("bao"));
        std::fs::create_dir_all(&postgres_folder).unwrap();
        std::fs::create_dir_all(&bao_folder).unwrap();
        let postgres = match Postgres::start(&postgres_folder) {
            Ok(postgres) => postgres,
            Err(error) => {
                eprintln!("skipped: no PostgreSQL: {error}");
                return None;
            }
        };
        let bao = OpenBao::start(&program, &bao_folder).unwrap();
        bao.call("POST", "sys/mounts/database", &json!({ "type": "database" })).unwrap();
        let url = format!(
            "postgresql://{{{{username}}}}:{{{{password}}}}@{}/postgres?sslmode=disable",
            postgres.address()
        );
        let connection = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": "reporting", "connection_url": url,
            "username": SUPERUSER, "password": PASSWORD, "max_open_connections": 10,
        });
        bao.call("POST", "database/config/acme", &connection).unwrap();
        let role = json!({
            "db_name": "acme", "creation_statements": [CREATE], "renew_statements": [RENEW],
            "revocation_statements": [DROP], "default_ttl": ttl, "max_ttl": "1h",
        });
        bao.call("POST", "database/roles/reporting", &role).unwrap();
        bao.call("POST", "sys/policies/acl/sagewai-grant", &json!({ "policy": GRANT_POLICY })).unwrap();
        let token_role = json!({
            "allowed_policies": "sagewai-grant", "orphan": true, "renewable": true, "token_type": "service",
            "token_no_default_policy": true,
        });
        bao.call("POST", "auth/token/roles/sagewai-grant", &token_role).unwrap();
        let (role_id, secret_id) = bao.approle("broker", BROKER_POLICY).unwrap();

        let broker_folder = crate::fixture::folder();
        let secret_id = private_file(broker_folder.path(), "secret-id", &secret_id);
        let config = format!(
            "[vault]\naddress = \"http://{}\"\ndynamic-mounts = [\"database\"]\ntoken-role = \"sagewai-grant\"\n\
             auth = {{ method = \"approle\", role-id = \"{role_id}\", secret-id-file = \"{}\" }}\n\
             [[identity]]\nreference = \"{IDENTITY}\"\nkeys = {{ username = \"PGUSER\", password = \"PGPASSWORD\" }}\n",
            bao.address(),
            secret_id.display()
        );
        private_file(broker_folder.path(), "backends.toml", &config);
        Some(Database { postgres, _bao: bao, broker_folder, _folder: folder })
    }

    async fn broker(&self) -> Running {
        let broker = Running::start(self.broker_folder.path()).await;
        broker.set_up().await;
        broker.client.set_policy(&IDENTITY.parse().unwrap(), &Policy::for_namespace("acme")).await.unwrap();
        broker
    }

    /// The users that OpenBao made and has not dropped.
    fn users(&self) -> usize {
        let count = self.postgres.query("select count(*) from pg_roles where rolname like 'v-%'").unwrap();
        count.parse().unwrap()
    }

    fn wait_for_users(&self, expected: usize, within: Duration) {
        let until = Instant::now() + within;
        while self.users() != expected {
            assert!(Instant::now() < until, "{} users are there, not {expected}", self.users());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Opens one grant; its `jti`, and what the step gets.
async fn open(broker: &Running, step: u32) -> (String, String, String) {
    let mut claims = claims(IDENTITY);
    claims.attempt = AttemptId { step: protocol::id::StepId(step), ..attempt() };
    let guest = GuestKey::generate().unwrap();
    let answer = broker.worker().open(&server().sign(&claims).unwrap(), &guest).await.unwrap();
    assert_eq!(answer.names, ["PGPASSWORD", "PGUSER"]);
    let payload = sealed::open(&guest, &answer.sealed, &broker.broker_key(), claims.attempt, now());
    let payload = payload.ok().unwrap();
    let value = |at: usize| String::from_utf8(payload.entries()[at].value().to_vec()).unwrap();
    (claims.jti, value(1), value(0))
}

fn trail(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("audit.jsonl")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_made_for_the_grant_and_dropped_at_its_end() {
    let Some(database) = Database::start("60s") else { return };
    let broker = database.broker().await;
    let (grant, user, password) = open(&broker, 1).await;
    assert_eq!(database.postgres.query_as(&user, &password, "select current_user").unwrap(), user);
    assert_eq!(database.users(), 1);
    let text = trail(database.broker_folder.path());
    let leased = text.find("\"type\":\"leased\"").expect("the lease is recorded");
    assert!(leased < text.find("\"type\":\"open\"").unwrap(), "before anything is read under it");
    assert!(text.contains("database/creds/reporting/") && !text.contains(&password));

    broker.worker().release(&grant).await.unwrap();
    database.wait_for_users(0, Duration::from_secs(10));
    assert!(database.postgres.query_as(&user, &password, "select 1").is_err());

    // What is refused after the lease was taken keeps nothing either: nobody may have this view.
    let (grant, guest) = (claims(&format!("{IDENTITY}/nothing")), GuestKey::generate().unwrap());
    let refused = broker.worker().open(&server().sign(&grant).unwrap(), &guest).await;
    assert_eq!(code(refused), "identity-not-found");
    assert_eq!(database.users(), 0);
    broker.stop().await;
    assert!(trail(database.broker_folder.path()).contains("\"reason\":\"released\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_outlives_its_lease_while_the_step_lives() {
    let Some(database) = Database::start("4s") else { return };
    let broker = database.broker().await;
    let (grant, user, password) = open(&broker, 1).await;
    let valid_until = || {
        let sql = format!("select extract(epoch from rolvaliduntil) from pg_roles where rolname = '{user}'");
        database.postgres.query(&sql).unwrap().parse::<f64>().unwrap_or(0.0)
    };
    let first = valid_until();
    let until = Instant::now() + Duration::from_secs(9);
    while valid_until() < first + 4.0 {
        assert!(Instant::now() < until, "the lease is not renewed");
        assert!(broker.worker().keep(std::slice::from_ref(&grant)).await.unwrap().ended.is_empty());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(database.postgres.query_as(&user, &password, "select 1").is_ok());
    broker.stop().await;
}

/// 200 at once, and the broker is gone in the middle: the next one ends what nobody speaks of any more.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute"]
async fn nothing_is_left_of_200_steps_whose_worker_and_broker_died() {
    let Some(database) = Database::start("60s") else { return };
    let broker = std::sync::Arc::new(database.broker().await);
    let opens = (0..200).map(|step| {
        let broker = broker.clone();
        tokio::spawn(async move { open(&broker, step).await.1 })
    });
    let mut users = std::collections::BTreeSet::new();
    for open in opens.collect::<Vec<_>>() {
        users.insert(open.await.unwrap());
    }
    assert_eq!((users.len(), database.users()), (200, 200), "each has a user of its own");
    let broker = std::sync::Arc::into_inner(broker).unwrap();
    broker.stop().await;
    let started = Instant::now();
    let broker = Running::start(database.broker_folder.path()).await;
    database.wait_for_users(0, Duration::from_secs(60));
    eprintln!("200 users were gone after {:?}", started.elapsed());
    broker.stop().await;
}
