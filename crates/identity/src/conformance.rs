//! What every identity backend must do, as one suite: a [`Subject`] lets it change a store and break the way to it, and [`check`]
//! looks at what the identity backend makes of that.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64ct::{Base64, Encoding};

use crate::backend::{BackendError, IdentityBackend, Reading};
use crate::external::mapping::{Mapping, Naming, Target};
use crate::reference::{IdentityPath, KeyName, ViewName};

/// Identities of the suite.
pub const IDENTITIES: [&str; 2] = ["acme-prod", "other"];
/// A store's name that no environment variable can have; the step sees `UNICODE`.
pub const UNICODE_KEY: &str = "Schlüssel 鍵";
/// The key whose value is bytes; a store of text holds base64 of them.
pub const BYTES_KEY: &str = "BYTES";
/// The key that is a plain setting.
pub const SETTING_KEY: &str = "REGION";
/// A way in which a store cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker's credential is refused.
    Denied,
    /// Nobody answers at the store's address.
    Unreachable,
    /// The connection is made and nothing comes.
    Slow,
}

/// What a store is able to hold.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// Longest value, bytes; at most what a step can be given.
    pub value_bytes: usize,
    /// Keys may have any name.
    pub any_name: bool,
    /// How many identities it has to list beside [`IDENTITIES`]: more than a page where it has pages, none where it lists nothing.
    pub many: usize,
}

/// A store under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The identity backend; with the mappings of [`mapping`] where it has mappings.
    fn backend(&self) -> &dyn IdentityBackend;

    /// What the store is able to hold.
    fn holds(&self) -> Holds;

    /// Where an identity of the suite is in this store.
    fn path(&self, identity: &str) -> IdentityPath;

    /// Sets a value, as the store's own users do; makes the identity where it is missing. A store of text is given [`as_text`].
    async fn set(&self, identity: &str, key: &str, value: &[u8]);

    /// Removes a key.
    async fn remove(&self, identity: &str, key: &str);

    /// Makes a view, where the store keeps views itself; a mapping has them otherwise.
    async fn set_view(&self, _identity: &str, _view: &str, _keys: &[&str]) {}

    /// Breaks the way to the store, or mends it; false where there is no such fault.
    async fn fault(&self, fault: Option<Fault>) -> bool;
}

/// The mapping of an identity of the suite, for identity backends that have mappings.
pub fn mapping(identity: &str) -> Mapping {
    let target = |name: &str, base64| Target { name: key(name), base64 };
    let keys = BTreeMap::from([
        (UNICODE_KEY.to_owned(), target("UNICODE", false)),
        (BYTES_KEY.to_owned(), target(BYTES_KEY, true)),
    ]);
    let views = views(identity)
        .into_iter()
        .map(|(name, keys)| (view(name), keys.iter().map(|name| key(name)).collect::<BTreeSet<_>>()));
    Mapping { naming: Naming::AsIs, keys, settings: [key(SETTING_KEY)].into(), views: views.collect() }
}

/// A value as a store of text holds it.
pub fn as_text(key: &str, value: &[u8]) -> String {
    if key == BYTES_KEY {
        return Base64::encode_string(value);
    }
    String::from_utf8(value.to_vec()).expect("the suite has one value that is not text")
}

/// Runs the suite.
///
/// # Panics
/// Where the identity backend does not conform.
pub async fn check(subject: &dyn Subject) {
    fill(subject).await;
    let checks = Checks { subject, backend: subject.backend() };
    checks.lists_all_pages().await;
    checks.describes_names().await;
    checks.reads_what_the_view_grants().await;
    checks.carries_bytes_and_large_values().await;
    checks.says_what_is_missing().await;
    checks.sees_rotation_and_removal().await;
    checks.says_why_the_store_cannot_be_asked().await;
}

fn views(identity: &str) -> Vec<(&'static str, Vec<&'static str>)> {
    match identity {
        "acme-prod" => {
            vec![("reporting", vec!["DATABASE_URL", "REGION"]), ("tls", vec!["PEM"]), ("none", vec![])]
        }
        _ => vec![],
    }
}

async fn fill(subject: &dyn Subject) {
    for (key, value) in [("DATABASE_URL", URL), ("PEM", PEM), (SETTING_KEY, REGION)] {
        subject.set("acme-prod", key, value).await;
    }
    if subject.holds().any_name {
        subject.set("acme-prod", UNICODE_KEY, "wért ☂".as_bytes()).await;
    }
    for (view, keys) in views("acme-prod") {
        subject.set_view("acme-prod", view, &keys).await;
    }
    subject.set("other", BYTES_KEY, BYTES).await;
    subject.set("other", "EMPTY", b"").await;
    subject.set("other", "LARGE", &large(subject)).await;
    for n in 0..subject.holds().many {
        subject.set(&many(n), "A", b"value of many").await;
    }
}

const URL: &[u8] = b"postgres://u:canary-1@db/acme";
const ROTATED: &[u8] = b"postgres://u:canary-2@db/acme";
const PEM: &[u8] = b"-----BEGIN-----\nline canary-3\n-----END-----\n";
const REGION: &[u8] = b"eu-central-1";
const BYTES: &[u8] = b"\xff\xfe\x80canary";

fn many(n: usize) -> String {
    format!("many-{n:03}")
}

fn large(subject: &dyn Subject) -> Vec<u8> {
    // Lines of 64, so that nothing takes it for one word.
    (0..subject.holds().value_bytes)
        .map(|at| if at % 64 == 63 { b'\n' } else { b'a' + (at % 23) as u8 })
        .collect()
}

struct Checks<'a> {
    subject: &'a dyn Subject,
    backend: &'a dyn IdentityBackend,
}

impl Checks<'_> {
    async fn lists_all_pages(&self) {
        if self.subject.holds().many == 0 {
            return;
        }
        let found = self.backend.list().await.unwrap_or_else(|error| panic!("list: {error}"));
        assert!(found.is_sorted(), "identities are sorted");
        let names = IDENTITIES.into_iter().map(str::to_owned).chain((0..self.subject.holds().many).map(many));
        for name in names {
            let path = self.subject.path(&name);
            assert_eq!(found.iter().filter(|found| **found == path).count(), 1, "{path} is listed once");
        }
    }

    async fn describes_names(&self) {
        let description = self.backend.describe(&self.subject.path("acme-prod")).await;
        let description = description.unwrap_or_else(|error| panic!("describe: {error}"));
        let mut expected = vec![("DATABASE_URL", true), ("PEM", true), (SETTING_KEY, false)];
        if self.subject.holds().any_name {
            expected.push(("UNICODE", true));
        }
        let keys: Vec<_> = description.keys.iter().map(|info| (info.name.as_str(), info.secret)).collect();
        assert_eq!(keys, expected, "keys, sorted");
        let views: Vec<_> = description.views.iter().map(|info| info.name.as_str()).collect();
        assert_eq!(views, ["none", "reporting", "tls"], "views, sorted");
        assert_eq!(description.name.scheme(), self.backend.scheme());
    }

    async fn reads_what_the_view_grants(&self) {
        let mut all = vec![("DATABASE_URL", URL), ("PEM", PEM), (SETTING_KEY, REGION)];
        if self.subject.holds().any_name {
            all.push(("UNICODE", "wért ☂".as_bytes()));
        }
        assert_eq!(self.read("acme-prod", None).await, owned(&all), "all keys");
        let reporting = owned(&[("DATABASE_URL", URL), (SETTING_KEY, REGION)]);
        assert_eq!(
            self.read("acme-prod", Some("reporting")).await,
            reporting,
            "the view's keys and no other"
        );
        assert_eq!(self.read("acme-prod", Some("none")).await, [], "an empty view grants nothing");
    }

    async fn carries_bytes_and_large_values(&self) {
        let large = large(self.subject);
        let expected = owned(&[(BYTES_KEY, BYTES), ("EMPTY", b""), ("LARGE", &large)]);
        assert!(self.read("other", None).await == expected, "bytes as they were set");
    }

    async fn says_what_is_missing(&self) {
        let missing = self.backend.describe(&self.subject.path("missing")).await;
        assert!(
            matches!(missing, Err(BackendError::NotFound(_))),
            "an identity that is not there: {missing:?}"
        );
        for (identity, view) in
            [("missing", None), ("acme-prod", Some("missing")), ("other", Some("reporting"))]
        {
            let error = self.refused(identity, view).await;
            assert!(matches!(error, BackendError::NotFound(_)), "{identity} {view:?}: {error:?}");
        }
    }

    async fn sees_rotation_and_removal(&self) {
        let path = self.subject.path("acme-prod");
        let before = self.backend.describe(&path).await.unwrap_or_else(|error| panic!("describe: {error}"));
        self.subject.set("acme-prod", "DATABASE_URL", ROTATED).await;
        let reading = self.reading("acme-prod", Some("reporting")).await;
        assert_eq!(reading.entries[0].value.as_slice(), ROTATED, "rotated between the names and the values");
        if self.backend.capabilities().versions {
            let (before, after) = (before.keys[0].version, reading.entries[0].info.version);
            assert!(after > before && before > 0, "a version grows with each value: {before}, {after}");
        }
        self.subject.remove("acme-prod", "PEM").await;
        let names: Vec<_> = self.read("acme-prod", None).await.into_iter().map(|entry| entry.0).collect();
        assert!(!names.contains(&"PEM".to_owned()), "what is removed is gone: {names:?}");
        if !matches!(self.backend.scheme(), crate::reference::Scheme::Builtin) {
            let error = self.refused("acme-prod", Some("tls")).await;
            assert!(matches!(error, BackendError::NotFound(_)), "a view whose key is gone: {error:?}");
        }
        self.subject.set("acme-prod", "PEM", PEM).await;
        self.subject.set_view("acme-prod", "tls", &["PEM"]).await;
        assert_eq!(self.read("acme-prod", Some("tls")).await, owned(&[("PEM", PEM)]));
    }

    async fn says_why_the_store_cannot_be_asked(&self) {
        for fault in [Fault::Denied, Fault::Unreachable, Fault::Slow] {
            if !self.subject.fault(Some(fault)).await {
                continue;
            }
            let error = self.refused("acme-prod", Some("reporting")).await;
            let fits = match fault {
                Fault::Denied => matches!(error, BackendError::Denied { .. }),
                Fault::Unreachable => matches!(error, BackendError::Unreachable { .. }),
                Fault::Slow => matches!(error, BackendError::Slow { .. }),
            };
            assert!(fits, "{fault:?}: {error:?}");
            let said = error.to_string();
            assert!(said.contains(self.backend.scheme().as_str()), "which store it is: {said}");
            assert!(self.backend.describe(&self.subject.path("acme-prod")).await.is_err(), "{fault:?}");
            assert!(self.subject.fault(None).await);
            assert_eq!(self.read("acme-prod", Some("tls")).await, owned(&[("PEM", PEM)]), "after {fault:?}");
        }
    }

    async fn reading(&self, identity: &str, view: Option<&str>) -> Reading {
        let view: Option<ViewName> = view.map(self::view);
        let reading = self.backend.read(&self.subject.path(identity), view.as_ref(), None).await;
        let reading = reading.unwrap_or_else(|error| panic!("read {identity}: {error:?}"));
        assert!(reading.entries.is_sorted_by(|a, b| a.info.name < b.info.name), "keys are sorted");
        reading
    }

    async fn read(&self, identity: &str, view: Option<&str>) -> Vec<(String, Vec<u8>)> {
        let entries = self.reading(identity, view).await.entries;
        entries.iter().map(|entry| (entry.info.name.to_string(), entry.value.to_vec())).collect()
    }

    async fn refused(&self, identity: &str, view: Option<&str>) -> BackendError {
        let view: Option<ViewName> = view.map(self::view);
        let error = self.backend.read(&self.subject.path(identity), view.as_ref(), None).await;
        let error = error.err().unwrap_or_else(|| panic!("{identity} {view:?} must be refused"));
        let said = format!("{error:?} {}", crate::external::open::chain(&error));
        assert!(!said.contains("canary"), "an error holds a value: {said}");
        error
    }
}

fn owned(entries: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
}

fn view(text: &str) -> ViewName {
    text.parse().expect("a view of the suite is valid")
}

fn key(text: &str) -> KeyName {
    text.parse().expect("a key of the suite is valid")
}
