//! What `sagewai sandbox lambda` does, against moto: a control plane that we did not write. Its Invoke is never called.

use std::path::PathBuf;

use sandbox::lambda::deploy::{self, Change, DeployError, Deployment};
use sandbox::lambda::{AwsSettings, LambdaApi};
use testkit::moto::{Moto, VARIABLE};

use crate::harness::{credentials, deployment};

struct ControlPlane {
    moto: Moto,
    folder: tempfile::TempDir,
}

impl ControlPlane {
    fn start() -> Option<Self> {
        let Some(program) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
            eprintln!("skipped: {VARIABLE} names no moto_server");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        Some(ControlPlane { moto: Moto::start(&program, folder.path()).unwrap(), folder })
    }

    fn api(&self) -> LambdaApi {
        LambdaApi::new(&AwsSettings {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(format!("http://{}", self.moto.address())),
            credentials_file: Some(credentials(self.folder.path())),
        })
        .unwrap()
    }

    /// A role, which moto looks for.
    fn wanted(&self) -> Deployment {
        let query = "Action=CreateRole&Version=2010-05-08&RoleName=sagewai&AssumeRolePolicyDocument=%7B%7D";
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/iam/aws4_request"),
        ];
        let (status, body) = testkit::http::ask(self.moto.address(), "POST", "/", &headers, query).unwrap();
        assert!(status == 200 || body.contains("EntityAlreadyExists"), "{status}: {body}");
        // moto does not know tenant isolation.
        Deployment { tenants: false, ..deployment() }
    }
}

#[tokio::test]
async fn deploying_twice_changes_nothing_and_removing_twice_neither() {
    let Some(plane) = ControlPlane::start() else { return };
    let (api, wanted) = (plane.api(), plane.wanted());
    let made = deploy::deploy(&api, &wanted).await.unwrap();
    assert_eq!((made.change, made.version.as_str(), made.alias.as_str()), (Change::Created, "1", "live"));
    assert_eq!(made.code_sha256, deploy::code_sha256(&deploy::package()));
    let again = deploy::deploy(&api, &wanted).await.unwrap();
    assert_eq!((again.change, again.version.as_str()), (Change::Unchanged, "1"));
    assert!(deploy::remove(&api, &wanted.function).await.unwrap());
    assert!(!deploy::remove(&api, &wanted.function).await.unwrap());
}

#[tokio::test]
async fn a_change_moves_the_alias_to_a_new_version() {
    let Some(plane) = ControlPlane::start() else { return };
    let (api, wanted) = (plane.api(), plane.wanted());
    deploy::deploy(&api, &wanted).await.unwrap();
    let larger = Deployment { memory_mib: 3538, timeout_seconds: 300, ..wanted.clone() };
    let changed = deploy::deploy(&api, &larger).await.unwrap();
    assert_eq!(changed.change, Change::Updated);
    let function = api.function(&wanted.function, None).await.unwrap().unwrap();
    assert_eq!((function.memory_mib, function.timeout_seconds), (3538, 300));
    let alias = api.alias(&wanted.function, "live").await.unwrap();
    assert_eq!(alias.as_deref(), Some(changed.version.as_str()));
}

#[tokio::test]
async fn what_cannot_be_changed_and_what_is_missing_is_said() {
    let Some(plane) = ControlPlane::start() else { return };
    let (api, wanted) = (plane.api(), plane.wanted());
    let no_role = Deployment { role: None, ..wanted.clone() };
    assert!(
        matches!(deploy::deploy(&api, &no_role).await, Err(DeployError::Value(why)) if why.contains("--role"))
    );
    deploy::deploy(&api, &wanted).await.unwrap();
    let tenants = Deployment { tenants: true, ..wanted.clone() };
    assert!(matches!(deploy::deploy(&api, &tenants).await, Err(DeployError::Fixed { .. })));
    let image = Deployment { image: Some("1.dkr.ecr.us-east-1.amazonaws.com/x:1".to_owned()), ..wanted };
    assert!(matches!(deploy::deploy(&api, &image).await, Err(DeployError::Fixed { .. })));
}
