//! The conformance suite on the builtin file, also after it was opened again and its data key replaced.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::unlock::{Unlock, generate_identity};
use super::{BuiltinFile, Expect};
use crate::backend::IdentityBackend;
use crate::conformance::{self, Fault, Holds, SETTING_KEY, Subject};
use crate::disk;
use crate::policy::Policy;
use crate::reference::{IdentityName, IdentityPath, KeyName};

#[async_trait]
impl Subject for BuiltinFile {
    fn backend(&self) -> &dyn IdentityBackend {
        self
    }

    fn holds(&self) -> Holds {
        // All three values of one identity must fit a step together.
        Holds { value_bytes: 60 * 1024, any_name: false, many: 3 }
    }

    fn path(&self, identity: &str) -> IdentityPath {
        identity.parse().unwrap()
    }

    async fn set(&self, identity: &str, key: &str, value: &[u8]) {
        let name: IdentityName = identity.parse().unwrap();
        let _ = self.create_identity(&name, Policy::default());
        let value = Zeroizing::new(value.to_vec());
        BuiltinFile::set(self, &name, &key.parse().unwrap(), key != SETTING_KEY, Expect::Any, value, 0)
            .unwrap();
    }

    async fn remove(&self, identity: &str, key: &str) {
        self.remove_key(&identity.parse().unwrap(), &key.parse().unwrap()).unwrap();
    }

    async fn set_view(&self, identity: &str, view: &str, keys: &[&str]) {
        let keys: Vec<KeyName> = keys.iter().map(|key| key.parse().unwrap()).collect();
        BuiltinFile::set_view(self, &identity.parse().unwrap(), &view.parse().unwrap(), &keys).unwrap();
    }

    async fn fault(&self, _: Option<Fault>) -> bool {
        false
    }
}

#[tokio::test]
async fn conforms_also_after_opening_again() {
    let folder = disk::test_folder();
    let ((secret, operator), (_, recovery)) = (generate_identity(), generate_identity());
    let path = folder.path().join("operator.key");
    disk::create(&path, secret.as_bytes()).unwrap();
    let key = Unlock::KeyFile { path, passphrase: None }.operator_key().ok().unwrap();
    let recipients = [operator, recovery];
    let file = BuiltinFile::create(folder.path(), &recipients).unwrap_or_else(|error| panic!("{error:?}"));
    conformance::check(&file).await;
    drop(file);
    let reset = async |file: &BuiltinFile| {
        for identity in file.list().await.ok().unwrap() {
            file.remove_identity(&identity.as_str().parse().unwrap()).unwrap();
        }
        conformance::check(file).await;
    };
    let file = BuiltinFile::open(folder.path(), &key, 0).ok().unwrap();
    file.rotate_data_key(&recipients).unwrap();
    reset(&file).await;
}
