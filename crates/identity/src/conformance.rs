//! What every identity backend must do, as one suite: apply [`changes`] to the store in its own way, then [`check`].

use crate::backend::{BackendError, IdentityBackend};
use crate::reference::{IdentityName, KeyName, ViewName};

/// One change that the store under test makes before [`check`].
pub enum Change {
    /// A value is set.
    Set {
        /// Of this identity.
        identity: IdentityName,
        /// This key.
        key: KeyName,
        /// Secret or plain setting.
        secret: bool,
        /// The value.
        value: &'static [u8],
    },
    /// A view is set, after its keys.
    View {
        /// Of this identity.
        identity: IdentityName,
        /// This view.
        view: ViewName,
        /// Grants these keys.
        keys: Vec<KeyName>,
    },
}

/// The changes, in order: two identities, a rotation, two views; values with newlines, non-UTF-8 bytes and none at all.
pub fn changes() -> Vec<Change> {
    let set = |identity: &str, key: &str, secret, value| Change::Set {
        identity: name(identity),
        key: self::key(key),
        secret,
        value,
    };
    vec![
        set("acme-prod", "DATABASE_URL", true, b"postgres://u:p@db/acme"),
        set("acme-prod", "REGION", false, b"eu-central-1"),
        set("acme-prod", "PEM", true, b"-----BEGIN-----\nline\n-----END-----\n"),
        set("acme-prod", "DATABASE_URL", true, b"postgres://u:rotated@db/acme"),
        set("other", "BYTES", true, b"\xff\xfe\x80"),
        set("other", "EMPTY", true, b""),
        Change::View {
            identity: name("acme-prod"),
            view: view("reporting"),
            keys: vec![key("REGION"), key("DATABASE_URL")],
        },
        Change::View { identity: name("acme-prod"), view: view("none"), keys: vec![] },
    ]
}

/// Checks an identity backend to which [`changes`] were applied.
///
/// # Panics
/// Where it does not conform.
pub async fn check(backend: &dyn IdentityBackend) {
    lists_and_describes(backend).await;
    reads_what_the_view_grants(backend).await;
    says_what_is_missing(backend).await;
}

async fn lists_and_describes(backend: &dyn IdentityBackend) {
    let identities = backend.list().await.unwrap_or_else(|error| panic!("list: {error}"));
    assert_eq!(identities, [name("acme-prod"), name("other")], "identities, sorted");
    let description = describe(backend, "acme-prod").await;
    let keys: Vec<_> = description.keys.iter().map(|info| (info.name.as_str(), info.secret)).collect();
    assert_eq!(keys, [("DATABASE_URL", true), ("PEM", true), ("REGION", false)], "keys, sorted");
    if backend.capabilities().versions {
        let versions: Vec<_> = description.keys.iter().map(|info| info.version).collect();
        assert_eq!(versions, [2, 1, 1], "a version grows with each value");
    }
    let views: Vec<_> = description.views.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(views, ["none", "reporting"], "views, sorted");
}

async fn reads_what_the_view_grants(backend: &dyn IdentityBackend) {
    let all = read(backend, "acme-prod", None).await;
    assert_eq!(
        all,
        [
            ("DATABASE_URL".into(), b"postgres://u:rotated@db/acme".to_vec()),
            ("PEM".into(), b"-----BEGIN-----\nline\n-----END-----\n".to_vec()),
            ("REGION".into(), b"eu-central-1".to_vec()),
        ],
        "all keys"
    );
    let granted: Vec<_> =
        read(backend, "acme-prod", Some("reporting")).await.into_iter().map(|entry| entry.0).collect();
    assert_eq!(granted, ["DATABASE_URL", "REGION"], "the view's keys and no other");
    assert!(read(backend, "acme-prod", Some("none")).await.is_empty(), "an empty view grants nothing");
    let other = read(backend, "other", None).await;
    assert_eq!(
        other,
        [("BYTES".into(), b"\xff\xfe\x80".to_vec()), ("EMPTY".into(), vec![])],
        "bytes as they were set"
    );
}

async fn says_what_is_missing(backend: &dyn IdentityBackend) {
    let missing = backend.describe(&name("missing")).await;
    assert!(matches!(missing, Err(BackendError::NotFound(_))), "an identity that is not there");
    for (identity, view) in [("missing", None), ("acme-prod", Some("missing")), ("other", Some("reporting"))]
    {
        let read = backend.read(&name(identity), view.map(self::view).as_ref()).await;
        assert!(matches!(read, Err(BackendError::NotFound(_))), "{identity} {view:?}");
    }
}

async fn describe(backend: &dyn IdentityBackend, identity: &str) -> crate::backend::Description {
    backend.describe(&name(identity)).await.unwrap_or_else(|error| panic!("describe {identity}: {error}"))
}

async fn read(backend: &dyn IdentityBackend, identity: &str, view: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let reading = backend.read(&name(identity), view.map(self::view).as_ref()).await;
    let reading = reading.unwrap_or_else(|error| panic!("read {identity}: {error}"));
    reading.entries.iter().map(|entry| (entry.info.name.to_string(), entry.value.to_vec())).collect()
}

fn name(text: &str) -> IdentityName {
    text.parse().expect("a name of the suite is valid")
}

fn view(text: &str) -> ViewName {
    text.parse().expect("a view of the suite is valid")
}

fn key(text: &str) -> KeyName {
    text.parse().expect("a key of the suite is valid")
}
