//! 1Password's protocol against a stand-in, which the vendor's own client reads too.

use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use identity::backend::{BackendError, IdentityBackend};
use identity::conformance::{self, Fault, Holds, Subject, as_text};
use identity::external::External;
use identity::external::config;
use identity::onepassword::OnePassword;
use identity::reference::IdentityPath;
use testkit::onepassword::{Connect, TOKEN};
use testkit::proxy::Proxy;

use crate::external::*;

const VAULT: &str = "Tresor Köln \"1\"";

struct Items {
    connect: Connect,
    proxy: Proxy,
    backend: External,
    _folder: tempfile::TempDir,
}

#[async_trait]
impl Subject for Items {
    fn backend(&self) -> &dyn IdentityBackend {
        &self.backend
    }

    fn holds(&self) -> Holds {
        Holds { value_bytes: 64 * 1024, any_name: true, many: 120 }
    }

    fn path(&self, identity: &str) -> IdentityPath {
        format!("{VAULT}/{identity}").parse().unwrap()
    }

    async fn set(&self, identity: &str, key: &str, value: &[u8]) {
        self.connect.set(VAULT, identity, key, &as_text(key, value));
    }

    async fn remove(&self, identity: &str, key: &str) {
        self.connect.remove(VAULT, identity, key);
    }

    async fn fault(&self, fault: Option<Fault>) -> bool {
        self.connect.deny(fault == Some(Fault::Denied));
        fault == Some(Fault::Denied) || break_way(&self.proxy, fault)
    }
}

fn start() -> Items {
    let folder = folder();
    let connect = Connect::start().unwrap();
    let proxy = Proxy::start(connect.address()).unwrap();
    let token_file = private_file(folder.path(), "token", TOKEN);
    let address = format!("http://{}", proxy.address());
    let store = OnePassword::open(&config::OnePassword { address, token_file, ca_file: None }).unwrap();
    let mappings = mappings(|name| format!("{VAULT}/{name}").parse().unwrap());
    let backend = External::new(Box::new(store), mappings).with_call_limit(Duration::from_secs(2));
    Items { connect, proxy, backend, _folder: folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    conformance::check(&start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_and_ids_are_understood() {
    let items = start();
    items.connect.set("V", "item", "A", "1");
    items.connect.set("V", "item", "db.B", "2");
    let path: IdentityPath = "V/item".parse().unwrap();
    let error = items.backend.read(&path, None, None).await.err().unwrap();
    assert!(matches!(&error, BackendError::Unmapped { key, .. } if key == "db.B"), "{error}");
    let ids: IdentityPath = "v0000000000000000000000000/i0000000000000000000000001".parse().unwrap();
    let by_id = items.backend.read(&ids, None, None).await;
    assert!(matches!(by_id, Err(BackendError::Unmapped { .. })), "found by its ids");
}

/// The vendor's own client reads from the stand-in what was put there.
#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_client_reads_the_stand_in() {
    let Some(python) = counterpart("SAGEWAI_TEST_PYTHON") else { return };
    let items = start();
    items.connect.set("V", "item", "A", "value one");
    items.connect.set("V", "item", "db.B", "value two");
    let script = "import sys\nfrom onepasswordconnectsdk.client import new_client\n\
        c = new_client(sys.argv[1], sys.argv[2])\nv = c.get_vault_by_title('V')\n\
        i = c.get_item_by_title('item', v.id)\n\
        print(v.name, i.title, i.version, sorted((f.label, f.value) for f in i.fields), [s.label for s in i.sections])";
    let mut command = Command::new(python);
    command.args(["-c", script, &format!("http://{}", items.connect.address()), TOKEN]);
    let output = tokio::task::spawn_blocking(move || testkit::program::output(&mut command)).await.unwrap();
    assert_eq!(output.unwrap().trim(), "V item 2 [('A', 'value one'), ('B', 'value two')] ['db']");
}
