//! An emulator with the function deployed, and a backend that uses it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandbox::lambda::deploy::{self, Deployment};
use sandbox::lambda::{AwsSettings, LambdaApi, LambdaBackend, LambdaConfig};
use testkit::lambda::{Emulator, Settings};

/// Invocations at once, unless a test says otherwise.
const CONCURRENCY: usize = 100;

/// What all tests of one function need.
pub(crate) struct Lambda {
    pub(crate) emulator: Emulator,
    pub(crate) folder: tempfile::TempDir,
}

impl Lambda {
    /// An emulator with the guest deployed; `None` where this machine cannot make execution environments.
    pub(crate) async fn deployed(change: impl FnOnce(&mut Deployment)) -> Option<Self> {
        if let Err(why) = Emulator::is_possible() {
            eprintln!("skipped: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        open_to_all(folder.path());
        let settings = Settings { folder: folder.path().to_path_buf(), concurrency: CONCURRENCY };
        let lambda = Lambda { emulator: Emulator::start(settings).unwrap(), folder };
        let mut wanted = Deployment { timeout_seconds: 60, ..deployment() };
        change(&mut wanted);
        deploy::deploy(&lambda.api(), &wanted).await.unwrap();
        Some(lambda)
    }

    pub(crate) fn aws(&self) -> AwsSettings {
        AwsSettings {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.emulator.url()),
            credentials_file: Some(credentials(self.folder.path())),
        }
    }

    pub(crate) fn api(&self) -> LambdaApi {
        LambdaApi::new(&self.aws()).unwrap()
    }

    pub(crate) async fn backend(&self) -> Arc<LambdaBackend> {
        let config = LambdaConfig {
            aws: self.aws(),
            listen: ([127, 0, 0, 1], 0).into(),
            dial_limit: Duration::from_secs(20),
            ..LambdaConfig::default()
        };
        Arc::new(LambdaBackend::start(config).unwrap())
    }
}

/// What is deployed.
pub(crate) fn deployment() -> Deployment {
    Deployment { role: Some("arn:aws:iam::123456789012:role/sagewai".to_owned()), ..Deployment::default() }
}

/// Credentials for who checks none, in a file.
pub(crate) fn credentials(folder: &Path) -> PathBuf {
    let file = folder.join("credentials");
    std::fs::write(&file, "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = example\n")
        .unwrap();
    file
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}
