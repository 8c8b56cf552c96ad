//! Bitwarden's protocol against a stand-in, which a client of others reads too.

use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use identity::backend::IdentityBackend;
use identity::bitwarden::Bitwarden;
use identity::conformance::{self, Fault, Holds, Subject, as_text};
use identity::external::External;
use identity::external::config;
use identity::reference::IdentityPath;
use testkit::bitwarden::ACCESS_TOKEN;
use testkit::proxy::Proxy;

use crate::external::*;

struct Projects {
    server: testkit::bitwarden::Bitwarden,
    proxy: Proxy,
    backend: External,
    folder: tempfile::TempDir,
}

#[async_trait]
impl Subject for Projects {
    fn backend(&self) -> &dyn IdentityBackend {
        &self.backend
    }

    fn holds(&self) -> Holds {
        // The vendor's limit is 25000 characters.
        Holds { value_bytes: 24 * 1024, any_name: true, many: 120 }
    }

    fn path(&self, identity: &str) -> IdentityPath {
        identity.parse().unwrap()
    }

    async fn set(&self, identity: &str, key: &str, value: &[u8]) {
        self.server.set(identity, key, &as_text(key, value));
    }

    async fn remove(&self, identity: &str, key: &str) {
        self.server.remove(identity, key);
    }

    async fn fault(&self, fault: Option<Fault>) -> bool {
        self.server.deny(fault == Some(Fault::Denied));
        fault == Some(Fault::Denied) || break_way(&self.proxy, fault)
    }
}

fn start() -> Projects {
    let folder = folder();
    let server = testkit::bitwarden::Bitwarden::start().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let url = Some(format!("http://{}", proxy.address()));
    let access_token_file = private_file(folder.path(), "token", ACCESS_TOKEN);
    let config =
        config::Bitwarden { identity_url: url.clone(), api_url: url, access_token_file, ca_file: None };
    let store = Box::new(Bitwarden::open(&config).unwrap());
    let backend = External::new(store, mappings(|name| name.parse().unwrap()));
    Projects { server, proxy, backend: backend.with_call_limit(Duration::from_secs(2)), folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    conformance::check(&start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_access_token_is_named_and_not_shown() {
    let projects = start();
    private_file(projects.folder.path(), "token", "0.half.a-token-canary");
    let error = projects.backend.list().await.err().unwrap().to_string();
    assert!(error.contains("token") && error.contains("0.<id>") && !error.contains("canary"), "{error}");
}

/// A client that is not ours reads from the stand-in what was put there.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_others_reads_the_stand_in() {
    let Some(python) = counterpart("SAGEWAI_TEST_PYTHON") else { return };
    let projects = start();
    projects.server.set("acme", "DB", "wért ☂");
    projects.server.set("acme", "EMPTY", "");
    let id = projects.server.id("acme", "DB").unwrap();
    let script = "import sys, datetime\nfrom bws_sdk import BWSecretClient, Region\n\
        r = Region(api_url=sys.argv[1], identity_url=sys.argv[1])\nc = BWSecretClient(r, sys.argv[2])\n\
        s = c.get_by_id(sys.argv[3])\nprint(s.key, s.value)\n\
        print(sorted((s.key, s.value) for s in c.sync(datetime.datetime(2020, 1, 1)).secrets))";
    let mut command = Command::new(python);
    command.args(["-c", script, &format!("http://{}", projects.server.address()), ACCESS_TOKEN, &id]);
    let output = tokio::task::spawn_blocking(move || testkit::program::output(&mut command)).await.unwrap();
    assert_eq!(output.unwrap().trim(), "DB wért ☂\n[('DB', 'wért ☂'), ('EMPTY', '')]");
}
