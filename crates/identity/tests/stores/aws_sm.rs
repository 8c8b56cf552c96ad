//! AWS Secrets Manager against the server of moto, which checks no authorisation; refusals are a stand-in's.

use std::time::Duration;

use async_trait::async_trait;
use identity::aws_sm::AwsSm;
use identity::backend::{BackendError, IdentityBackend};
use identity::conformance::{self, Fault, Holds, Subject, as_text};
use identity::external::External;
use identity::external::config;
use identity::external::mapping::Mapping;
use identity::reference::IdentityPath;
use serde_json::{Value, json};
use testkit::moto::{Moto, REGION, VARIABLE};
use testkit::proxy::Proxy;

use crate::external::*;

struct Secrets {
    moto: Moto,
    proxy: Proxy,
    backend: External,
    folder: tempfile::TempDir,
}

impl Secrets {
    fn data(&self, identity: &str) -> Option<Value> {
        let body = json!({ "SecretId": format!("sagewai/{identity}") }).to_string();
        let (status, text) = self.moto.secrets("GetSecretValue", &body).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        (status == 200).then(|| serde_json::from_str(answer["SecretString"].as_str().unwrap()).unwrap())
    }

    fn write(&self, identity: &str, data: &Value) {
        let name = format!("sagewai/{identity}");
        let create = json!({ "Name": name, "SecretString": data.to_string() }).to_string();
        if self.moto.secrets("CreateSecret", &create).unwrap().0 == 200 {
            return;
        }
        let put = json!({ "SecretId": name, "SecretString": data.to_string() }).to_string();
        let (status, text) = self.moto.secrets("PutSecretValue", &put).unwrap();
        assert_eq!(status, 200, "{text}");
    }
}

#[async_trait]
impl Subject for Secrets {
    fn backend(&self) -> &dyn IdentityBackend {
        &self.backend
    }

    fn holds(&self) -> Holds {
        // A secret holds 64 KiB with all its keys; a list has pages of 100.
        Holds { value_bytes: 60 * 1024, any_name: true, many: 101 }
    }

    fn path(&self, identity: &str) -> IdentityPath {
        format!("sagewai/{identity}").parse().unwrap()
    }

    async fn set(&self, identity: &str, key: &str, value: &[u8]) {
        let known = if identity.starts_with("many") { None } else { self.data(identity) };
        let mut data = known.unwrap_or_else(|| json!({}));
        data[key] = as_text(key, value).into();
        self.write(identity, &data);
    }

    async fn remove(&self, identity: &str, key: &str) {
        let mut data = self.data(identity).unwrap();
        data.as_object_mut().unwrap().remove(key);
        self.write(identity, &data);
    }

    async fn fault(&self, fault: Option<Fault>) -> bool {
        break_way(&self.proxy, fault)
    }
}

fn configuration(address: impl std::fmt::Display, folder: &std::path::Path) -> config::AwsSm {
    let text = "[broker]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret-of-the-test\n";
    config::AwsSm {
        region: REGION.into(),
        endpoint: Some(format!("http://{address}")),
        ca_file: None,
        credentials_file: Some(private_file(folder, "credentials", text)),
        profile: Some("broker".into()),
        prefix: Some("sagewai/".into()),
    }
}

fn start() -> Option<Secrets> {
    let program = counterpart(VARIABLE)?;
    let folder = folder();
    let moto = Moto::start(&program, folder.path()).unwrap();
    let proxy = Proxy::start(moto.address()).unwrap();
    let store = AwsSm::open(&configuration(proxy.address(), folder.path())).unwrap();
    let mappings = mappings(|name| format!("sagewai/{name}").parse().unwrap());
    let backend = External::new(Box::new(store), mappings).with_call_limit(Duration::from_secs(3));
    Some(Secrets { moto, proxy, backend, folder })
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(subject) = start() else { return };
    conformance::check(&subject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_bytes_are_one_value_and_what_is_being_deleted_is_gone() {
    let Some(secrets) = start() else { return };
    for (name, body) in [
        ("sagewai/text", json!({ "Name": "sagewai/text", "SecretString": "plain text" })),
        ("sagewai/bytes", json!({ "Name": "sagewai/bytes", "SecretBinary": "/wA=" })),
    ] {
        assert_eq!(secrets.moto.secrets("CreateSecret", &body.to_string()).unwrap().0, 200, "{name}");
    }
    let read = async |path: &str| secrets.backend.read(&path.parse().unwrap(), None, None).await;
    let text = read("sagewai/text").await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (text.entries[0].info.name.as_str(), text.entries[0].value.as_slice()),
        ("value", &b"plain text"[..])
    );
    assert_eq!(read("sagewai/bytes").await.ok().unwrap().entries[0].value.as_slice(), [0xff, 0]);
    let delete = json!({ "SecretId": "sagewai/text" }).to_string();
    assert_eq!(secrets.moto.secrets("DeleteSecret", &delete).unwrap().0, 200);
    assert!(matches!(read("sagewai/text").await, Err(BackendError::NotFound(_))));
}

/// What AWS answers where moto does not: refusals are told from failures, and each says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    let folder = folder();
    let kinds = std::sync::Arc::new(std::sync::Mutex::new(("", 400)));
    let shared = kinds.clone();
    let server = testkit::http::Server::start(move |request| {
        let signed =
            request.header("authorization").is_some_and(|header| header.contains("x-amz-target, Signature="));
        let (kind, status) = *shared.lock().unwrap();
        (if signed { status } else { 500 }, json!({ "__type": format!("com.amazonaws#{kind}") }).to_string())
    });
    let server = server.unwrap();
    let store = AwsSm::open(&configuration(server.address(), folder.path())).unwrap();
    let backend = External::new(Box::new(store), [("a".parse().unwrap(), Mapping::default())].into());
    for (kind, status, said) in [
        ("AccessDeniedException", 400, "secretsmanager:GetSecretValue"),
        ("ExpiredTokenException", 400, "credentials"),
        ("ThrottlingException", 400, "ThrottlingException"),
        ("InternalServiceError", 500, "InternalServiceError"),
        ("ResourceNotFoundException", 400, "does not exist"),
    ] {
        *kinds.lock().unwrap() = (kind, status);
        let error = backend.read(&"a".parse().unwrap(), None, None).await.err().unwrap().to_string();
        assert!(error.contains(said) && error.contains("aws-sm"), "{kind}: {error}");
    }
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_not_there_is_named() {
    let Some(secrets) = start() else { return };
    private_file(secrets.folder.path(), "credentials", "[another]\n");
    let error = secrets.backend.read(&secrets.path("acme-prod"), None, None).await.err().unwrap().to_string();
    assert!(error.contains("[broker]") && error.contains("credentials"), "{error}");
}
