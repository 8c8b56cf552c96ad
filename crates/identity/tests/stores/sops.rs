//! Files that the real `sops` writes: the suite, every form, key groups, and each way to tamper with one.

use std::path::{Path, PathBuf};
use std::process::Command;

use async_trait::async_trait;
use identity::backend::{BackendError, IdentityBackend};
use identity::conformance::{self, Fault, Holds, Subject, as_text};
use identity::external::External;
use identity::external::config;
use identity::reference::IdentityPath;
use identity::sops::Sops;

use crate::external::*;

const VARIABLE: &str = "SAGEWAI_TEST_SOPS";

struct Files {
    program: PathBuf,
    folder: tempfile::TempDir,
    recipients: Vec<String>,
    backend: External,
}

impl Files {
    fn start() -> Option<Self> {
        let program = counterpart(VARIABLE)?;
        let folder = folder();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let keys =
            [identity::builtin::unlock::generate_identity(), identity::builtin::unlock::generate_identity()];
        let text: String = keys.iter().map(|(secret, _)| format!("# a key\n{}\n", secret.as_str())).collect();
        let age_key_file = private_file(folder.path(), "age.key", &text);
        let config = config::Sops { folder: folder.path().join("files"), age_key_file };
        let mappings = mappings(|name| format!("{name}.yaml").parse().unwrap());
        let backend = External::new(Box::new(Sops::open(&config).unwrap()), mappings);
        let recipients = keys.into_iter().map(|(_, recipient)| recipient).collect();
        Some(Files { program, folder, recipients, backend })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    fn sops(&self, arguments: &[&str], file: &Path) -> String {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg(file)
            .env("SOPS_DISABLE_VERSION_CHECK", "1")
            .env("HOME", self.folder.path());
        command.env("SOPS_AGE_KEY_FILE", self.folder.path().join("age.key"));
        testkit::program::output(&mut command).unwrap()
    }

    /// Encrypts a text into a file of the store.
    fn encrypt(&self, name: &str, text: &str, arguments: &[&str]) {
        let plain = self.folder.path().join(name);
        std::fs::write(&plain, text).unwrap();
        let age = ["--encrypt", "--age", &self.recipients[0]];
        let encrypted = self.sops(&[&age, arguments].concat(), &plain);
        std::fs::write(self.file(name), encrypted).unwrap();
        std::fs::remove_file(plain).unwrap();
    }

    async fn read(&self, name: &str) -> Result<Vec<(String, String)>, String> {
        // Names of nested values cannot name variables: each is given one.
        let path: IdentityPath = name.parse().unwrap();
        let text = std::fs::read_to_string(self.file(name)).unwrap();
        let names = identity::sops::decrypt::names(name, &text).map_err(|error| error.to_string())?;
        let target = |at: usize| identity::external::mapping::Target {
            name: format!("K{at:02}").parse().unwrap(),
            base64: false,
        };
        let keys = names.iter().enumerate().map(|(at, name)| (name.clone(), target(at))).collect();
        let mapping = identity::external::mapping::Mapping { keys, ..Default::default() };
        let config = config::Sops {
            folder: self.folder.path().join("files"),
            age_key_file: self.folder.path().join("age.key"),
        };
        let store = Box::new(Sops::open(&config).unwrap());
        let backend = External::new(store, [(path.clone(), mapping)].into());
        let reading = backend.read(&path, None, None).await.map_err(|error| error.to_string())?;
        let value = |at: usize| String::from_utf8(reading.entries[at].value.to_vec()).unwrap();
        Ok(names.into_iter().enumerate().map(|(at, name)| (name, value(at))).collect())
    }
}

#[async_trait]
impl Subject for Files {
    fn backend(&self) -> &dyn IdentityBackend {
        &self.backend
    }

    fn holds(&self) -> Holds {
        Holds { value_bytes: 64 * 1024, any_name: true, many: 3 }
    }

    fn path(&self, identity: &str) -> IdentityPath {
        format!("{identity}.yaml").parse().unwrap()
    }

    async fn set(&self, identity: &str, key: &str, value: &[u8]) {
        let path = self.file(&format!("{identity}.yaml"));
        if !path.exists() {
            self.encrypt(&format!("{identity}.yaml"), "A: first\n", &[]);
        }
        let index = serde_json::to_string(&[key]).unwrap();
        let value = serde_json::to_string(&as_text(key, value)).unwrap();
        let value_file = self.folder.path().join("value");
        std::fs::write(&value_file, value).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["set", "--value-file"]).arg(&path).arg(index).arg(&value_file);
        command.env("SOPS_AGE_KEY_FILE", self.folder.path().join("age.key")).env("HOME", self.folder.path());
        testkit::program::output(command.env("SOPS_DISABLE_VERSION_CHECK", "1")).unwrap();
        if identity.starts_with("many") || key == "A" {
            return;
        }
        if std::fs::read_to_string(&path).unwrap().contains("\nA:")
            || std::fs::read_to_string(&path).unwrap().starts_with("A:")
        {
            self.remove(identity, "A").await;
        }
    }

    async fn remove(&self, identity: &str, key: &str) {
        let path = self.file(&format!("{identity}.yaml"));
        let mut command = Command::new(&self.program);
        command.arg("unset").arg(&path).arg(serde_json::to_string(&[key]).unwrap());
        command.env("SOPS_AGE_KEY_FILE", self.folder.path().join("age.key")).env("HOME", self.folder.path());
        testkit::program::output(command.env("SOPS_DISABLE_VERSION_CHECK", "1")).unwrap();
    }

    async fn fault(&self, fault: Option<Fault>) -> bool {
        let (files, gone) = (self.folder.path().join("files"), self.folder.path().join("gone"));
        match fault {
            Some(Fault::Unreachable) => std::fs::rename(files, gone).unwrap(),
            None => std::fs::rename(gone, files).unwrap(),
            // Names are read without a key, so only reading values is denied: a test of its own.
            Some(Fault::Denied | Fault::Slow) => return false,
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(files) = Files::start() else { return };
    conformance::check(&files).await;
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const YAML: &str = "a: hello\n# a comment\nempty: \"\"\nn: 42\nf: 1.50\nt: true\nnil: null\nnested:\n  list: [x, 2, {y: z}]\n  \
    deep: {k: \"v\\nw\"}\nplain_unencrypted: visible\nnum_unencrypted: 0x1F\nlarge_unencrypted: 1e3\nyes_unencrypted: false\n\
    text_unencrypted: \"12\"\n";

/// Every type, empty text, null, comments, lists, and what SOPS leaves as it is, in each of the forms that it writes.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_read_as_sops_reads_it() {
    let Some(files) = Files::start() else { return };
    files.encrypt("all.yaml", YAML, &[]);
    let expected = pairs(&[
        ("a", "hello"),
        ("empty", ""),
        ("n", "42"),
        ("f", "1.5"),
        ("t", "true"),
        ("nested.list.0", "x"),
        ("nested.list.1", "2"),
        ("nested.list.2.y", "z"),
        ("nested.deep.k", "v\nw"),
        ("plain_unencrypted", "visible"),
        ("num_unencrypted", "31"),
        ("large_unencrypted", "1000"),
        ("yes_unencrypted", "false"),
        ("text_unencrypted", "12"),
    ]);
    assert_eq!(files.read("all.yaml").await.unwrap(), expected);

    let json = r#"{"a": "ö \"q\" \\ \n", "n": 7, "f": 0.25, "b": false, "o": {"l": [1, "two"]}, "x_unencrypted": 3}"#;
    files.encrypt("all.json", json, &[]);
    let expected = pairs(&[
        ("a", "ö \"q\" \\ \n"),
        ("n", "7"),
        ("f", "0.25"),
        ("b", "false"),
        ("o.l.0", "1"),
        ("o.l.1", "two"),
        ("x_unencrypted", "3"),
    ]);
    assert_eq!(files.read("all.json").await.unwrap(), expected);

    files.encrypt("all.env", "A=1\n# c\nURL=postgres://u:p=q@h/d\nP_unencrypted=plain\n", &[]);
    let expected = pairs(&[("A", "1"), ("URL", "postgres://u:p=q@h/d"), ("P_unencrypted", "plain")]);
    assert_eq!(files.read("all.env").await.unwrap(), expected);

    files.encrypt("all.ini", "[db]\nuser = u\npassword = \"p = q\"\n[other]\nx = 1\n", &[]);
    let expected = pairs(&[("db.user", "u"), ("db.password", "p = q"), ("other.x", "1")]);
    assert_eq!(files.read("all.ini").await.unwrap(), expected);

    files.encrypt("all.pem", "-----BEGIN-----\nbytes\n", &[]);
    assert_eq!(files.read("all.pem").await.unwrap(), pairs(&[("data", "-----BEGIN-----\nbytes\n")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mac_over_encrypted_values_alone_lets_no_other_value_through() {
    let Some(files) = Files::start() else { return };
    files.encrypt("some.yaml", "a: secret\nb_unencrypted: plain\n", &["--mac-only-encrypted"]);
    let refused = files.read("some.yaml").await.unwrap_err();
    assert!(refused.contains("`b_unencrypted`") && refused.contains("--mac-only-encrypted"), "{refused}");
    files.encrypt("all.yaml", "a: secret\nb: other\n", &["--mac-only-encrypted"]);
    assert_eq!(files.read("all.yaml").await.unwrap(), pairs(&[("a", "secret"), ("b", "other")]));
}

/// Two groups of which both are needed, each with a recipient of the broker's.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_in_parts_is_put_together() {
    let Some(files) = Files::start() else { return };
    let [first, second] = files.recipients.as_slice() else { panic!("two recipients") };
    let rules = format!(
        "creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n      - age: [{first}]\n      - age: [{second}]\n"
    );
    std::fs::write(files.folder.path().join(".sops.yaml"), rules).unwrap();
    let plain = files.folder.path().join("groups.yaml");
    std::fs::write(&plain, "a: in parts\n").unwrap();
    let rules = files.folder.path().join(".sops.yaml");
    let encrypted = files.sops(&["--config", rules.to_str().unwrap(), "--encrypt"], &plain);
    std::fs::write(files.file("groups.yaml"), encrypted).unwrap();
    assert_eq!(files.read("groups.yaml").await.unwrap(), pairs(&[("a", "in parts")]));

    let key = std::fs::read_to_string(files.folder.path().join("age.key")).unwrap();
    private_file(files.folder.path(), "age.key", key.lines().nth(1).unwrap());
    assert!(files.read("groups.yaml").await.unwrap_err().contains("recipients"), "one part is not enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_and_strangers_are_refused() {
    let Some(files) = Files::start() else { return };
    files.encrypt("t.yaml", "a: first\nb: second\nc_unencrypted: plain\n", &[]);
    let whole = std::fs::read_to_string(files.file("t.yaml")).unwrap();
    let line =
        |key: &str| whole.lines().find(|line| line.starts_with(&format!("{key}:"))).unwrap().to_owned();
    let (a, b) = (line("a"), line("b"));
    let swapped = whole.replace(&a, "FIRST").replace(&b, &a.replacen("a:", "b:", 1));
    let swapped = swapped.replace("FIRST", &b.replacen("b:", "a:", 1));
    let reordered = whole.replace(&format!("{a}\n{b}\n"), &format!("{b}\n{a}\n"));
    for (tampered, why) in [
        (swapped, "was changed or moved"),
        (reordered, "MAC"),
        (whole.replace("plain", "other"), "MAC"),
        (whole.replace(&a, "a: plain text instead"), "MAC"),
        (whole.replace(&format!("{b}\n"), ""), "MAC"),
        (format!("d: added\n{whole}"), "MAC"),
        (whole.replace("lastmodified: \"2", "lastmodified: \"3"), "MAC"),
        (whole.replace("    unencrypted_suffix: _unencrypted\n", "    mac_only_encrypted: true\n"), "MAC"),
        (whole.replace("sops:", "spos:"), "not encrypted by SOPS"),
    ] {
        assert_ne!(tampered, whole);
        std::fs::write(files.file("t.yaml"), tampered).unwrap();
        let refused = files.read("t.yaml").await.unwrap_err();
        assert!(refused.contains(why) && !refused.contains("first"), "{why}: {refused}");
    }
    std::fs::write(files.file("t.yaml"), &whole).unwrap();
    let other = identity::builtin::unlock::generate_identity().0;
    private_file(files.folder.path(), "age.key", &other);
    let path = "t.yaml".parse().unwrap();
    let error = files.backend.read(&path, None, None).await.err().unwrap();
    assert!(
        matches!(error, BackendError::Denied { .. }) && error.to_string().contains("updatekeys"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_of_the_folder_is_read() {
    let Some(files) = Files::start() else { return };
    files.encrypt("in.yaml", "a: b\n", &[]);
    std::fs::copy(files.file("in.yaml"), files.folder.path().join("out.yaml")).unwrap();
    std::os::unix::fs::symlink("../out.yaml", files.file("link.yaml")).unwrap();
    std::os::unix::fs::symlink("in.yaml", files.file("inner.yaml")).unwrap();
    let read = async |name: &str| files.backend.read(&name.parse().unwrap(), None, None).await;
    assert!(matches!(read("link.yaml").await, Err(BackendError::Corrupt(_))));
    assert!(read("inner.yaml").await.is_ok(), "a link within the folder");
    assert!("../out.yaml".parse::<IdentityPath>().is_err());
}
