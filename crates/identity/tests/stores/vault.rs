//! Vault's protocol against a real OpenBao: KV version 2 by each way to log in.

use std::time::Duration;

use async_trait::async_trait;
use identity::backend::{BackendError, IdentityBackend};
use identity::conformance::{self, Fault, Holds, Subject, as_text};
use identity::external::External;
use identity::external::config::{self, VaultAuth};
use identity::reference::IdentityPath;
use identity::vault::Vault;
use serde_json::{Value, json};
use testkit::openbao::{OpenBao, ROOT_TOKEN, VARIABLE};
use testkit::proxy::Proxy;

use crate::external::*;

/// What the broker's role may do, as the documentation has it.
const POLICY: &str = r#"
path "secret/data/sagewai/*" { capabilities = ["read"] }
path "secret/subkeys/sagewai/*" { capabilities = ["read"] }
path "secret/metadata/sagewai/*" { capabilities = ["list"] }
"#;

struct Kv {
    bao: OpenBao,
    proxy: Proxy,
    backend: External,
    folder: tempfile::TempDir,
}

impl Kv {
    fn write(&self, identity: &str, data: &Value) {
        let path = format!("secret/data/sagewai/{identity}");
        self.bao.call("POST", &path, &json!({ "data": data })).unwrap();
    }

    fn data(&self, identity: &str) -> Value {
        let path = format!("secret/data/sagewai/{identity}");
        let (status, text) = self.bao.ask("GET", &path, &Value::Null).unwrap();
        if status == 404 {
            return json!({});
        }
        serde_json::from_str::<Value>(&text).unwrap()["data"]["data"].clone()
    }
}

#[async_trait]
impl Subject for Kv {
    fn backend(&self) -> &dyn IdentityBackend {
        &self.backend
    }

    fn holds(&self) -> Holds {
        Holds { value_bytes: 64 * 1024, any_name: true, many: 30 }
    }

    fn path(&self, identity: &str) -> IdentityPath {
        format!("secret/sagewai/{identity}").parse().unwrap()
    }

    async fn set(&self, identity: &str, key: &str, value: &[u8]) {
        let mut data = self.data(identity);
        data[key] = as_text(key, value).into();
        self.write(identity, &data);
    }

    async fn remove(&self, identity: &str, key: &str) {
        let mut data = self.data(identity);
        data.as_object_mut().unwrap().remove(key);
        self.write(identity, &data);
    }

    async fn fault(&self, fault: Option<Fault>) -> bool {
        if fault == Some(Fault::Denied) {
            let none = json!({ "policy": "path \"secret/data/elsewhere\" { capabilities = [\"read\"] }" });
            self.bao.call("POST", "sys/policies/acl/broker", &none).unwrap();
            return true;
        }
        self.bao.call("POST", "sys/policies/acl/broker", &json!({ "policy": POLICY })).unwrap();
        break_way(&self.proxy, fault)
    }
}

fn configuration(address: impl std::fmt::Display, auth: VaultAuth) -> config::Vault {
    config::Vault {
        address: format!("http://{address}"),
        namespace: None,
        ca_file: None,
        auth,
        dynamic_mounts: [].into(),
        token_role: None,
        folders: vec!["secret/sagewai".parse().unwrap()],
    }
}

fn approle(folder: &std::path::Path, (role_id, secret_id): (String, String)) -> VaultAuth {
    let secret_id_file = private_file(folder, "secret-id", &format!("{secret_id}\n"));
    VaultAuth::Approle { role_id, secret_id_file, mount: None }
}

fn start() -> Option<Kv> {
    let program = counterpart(VARIABLE)?;
    let folder = folder();
    let bao = OpenBao::start(&program, folder.path()).unwrap();
    let auth = approle(folder.path(), bao.approle("broker", POLICY).unwrap());
    let proxy = Proxy::start(bao.address()).unwrap();
    let store = Vault::open(&configuration(proxy.address(), auth)).unwrap();
    let mappings = mappings(|name| format!("secret/sagewai/{name}").parse().unwrap());
    let backend = External::new(Box::new(store), mappings).with_call_limit(Duration::from_secs(2));
    Some(Kv { bao, proxy, backend, folder })
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(subject) = start() else { return };
    conformance::check(&subject).await;
}

/// The broker's login may be revoked under it, and a secret id may be replaced: it logs in anew, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_made_anew() {
    let Some(kv) = start() else { return };
    kv.set("acme-prod", "DATABASE_URL", b"value").await;
    let read = async || kv.backend.read(&kv.path("acme-prod"), None, None).await;
    assert!(read().await.is_ok());
    kv.bao.call("POST", "sys/leases/revoke-prefix/auth/approle/login", &json!({ "sync": true })).unwrap();
    assert!(read().await.is_ok(), "after its token was revoked");

    kv.bao.call("DELETE", "auth/approle/role/broker", &Value::Null).unwrap();
    kv.bao.call("POST", "sys/leases/revoke-prefix/auth/approle/login", &json!({ "sync": true })).unwrap();
    let error = read().await.err().unwrap();
    assert!(matches!(&error, BackendError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("vault.auth"), "{error}");
}

/// A token that an agent writes into a file, and replaces.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_is_read_again() {
    let Some(kv) = start() else { return };
    kv.set("acme-prod", "DATABASE_URL", b"value").await;
    let path = private_file(kv.folder.path(), "token", "no token of this server");
    let store =
        Vault::open(&configuration(kv.bao.address(), VaultAuth::Token { token_file: path.clone() })).unwrap();
    let backend = External::new(Box::new(store), [].into());
    let read = async || backend.read(&kv.path("acme-prod"), None, None).await;
    assert!(matches!(read().await, Err(BackendError::Denied { .. })));
    private_file(kv.folder.path(), "token", ROOT_TOKEN);
    assert!(read().await.is_ok());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let store = Vault::open(&configuration(kv.bao.address(), VaultAuth::Token { token_file: path })).unwrap();
    let error = External::new(Box::new(store), [].into()).read(&kv.path("acme-prod"), None, None).await;
    assert!(error.err().unwrap().to_string().contains("chmod 600"));
}

/// What a namespace holds is not read from another.
#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_apart() {
    let Some(kv) = start() else { return };
    kv.bao.call("POST", "sys/namespaces/tenant", &Value::Null).unwrap();
    let token_file = private_file(kv.folder.path(), "token", ROOT_TOKEN);
    let mut configuration = configuration(kv.bao.address(), VaultAuth::Token { token_file });
    configuration.namespace = Some("tenant".into());
    kv.set("acme-prod", "DATABASE_URL", b"value").await;
    let backend = External::new(Box::new(Vault::open(&configuration).unwrap()), [].into());
    let error = backend.read(&kv.path("acme-prod"), None, None).await.err().unwrap();
    assert!(matches!(error, BackendError::NotFound(_)), "{error:?}");
}

/// A token that another party signed (EdDSA), from a file that is projected into the broker's pod and replaced there.
#[tokio::test(flavor = "multi_thread")]
async fn logs_in_with_a_signed_token() {
    use base64ct::{Base64, Base64UrlUnpadded, Encoding};
    let Some(kv) = start() else { return };
    kv.set("acme-prod", "DATABASE_URL", b"value").await;
    let signer = crate::fixture::server();
    let key = Base64UrlUnpadded::decode_vec(&signer.public_key().to_string()).unwrap();
    // RFC 8410: an Ed25519 key as a SubjectPublicKeyInfo.
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        Base64::encode_string(&[&prefix[..], &key].concat())
    );
    kv.bao.call("POST", "sys/auth/jwt", &json!({ "type": "jwt" })).unwrap();
    kv.bao.call("POST", "auth/jwt/config", &json!({ "jwt_validation_pubkeys": [pem] })).unwrap();
    let role = json!({
        "role_type": "jwt", "user_claim": "iss", "bound_audiences": ["sagewai-broker"],
        "bound_claims": { "namespace": "acme" }, "token_policies": ["broker"], "token_ttl": "10m",
    });
    kv.bao.call("POST", "auth/jwt/role/broker", &role).unwrap();
    let token = |namespace: &str| {
        let mut claims = crate::fixture::claims("any");
        claims.namespace = namespace.into();
        signer.sign(&claims).unwrap()
    };
    let jwt_file = private_file(kv.folder.path(), "jwt", &token("other"));
    let auth = VaultAuth::Jwt { role: "broker".into(), jwt_file, mount: None };
    let store = Vault::open(&configuration(kv.bao.address(), auth)).unwrap();
    let backend = External::new(Box::new(store), [].into());
    let read = async || backend.read(&kv.path("acme-prod"), None, None).await;
    assert!(
        matches!(read().await, Err(BackendError::Denied { .. })),
        "a claim that the role does not accept"
    );
    private_file(kv.folder.path(), "jwt", &token("acme"));
    assert!(read().await.is_ok());
}
