//! Bodies of the admin API.

use protocol::id::AttemptId;
use serde::{Deserialize, Serialize};

use crate::advice::Advice;
use crate::audit::Line;
use crate::backend::{Capabilities, Description};
use crate::broker::harden::Layer;
use crate::builtin::format::Revocation;
use crate::policy::Policy;
use crate::reference::{IdentityRef, ViewName};

/// The broker's own facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The broker's Ed25519 public key, base64url: what guests check sealed messages with.
    pub broker_key: String,
    /// Counter of the builtin file.
    pub file_counter: u64,
    /// age recipients that can unlock the builtin file.
    pub recipients: Vec<String>,
    /// What the process does about its own memory.
    pub layers: Vec<Layer>,
}

/// An identity in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentitySummary {
    /// Its name.
    pub name: IdentityRef,
    /// How many keys it has; absent for one of another identity backend, which is not asked for a list.
    pub keys: Option<usize>,
    /// Its views.
    pub views: Vec<ViewName>,
    /// Whether it is revoked.
    pub revoked: bool,
}

/// What an identity backend lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreListing {
    /// Its scheme.
    pub store: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// What it lists, sorted.
    pub identities: Vec<IdentityRef>,
    /// Why it could not be asked.
    pub problem: Option<String>,
}

/// An identity with the names of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityDetail {
    /// Names, versions, times, views.
    pub description: Description,
    /// What may ask for it.
    pub policy: Policy,
    /// Set while it is revoked.
    pub revoked: Option<Revocation>,
    /// Attempts that hold it now.
    pub holders: Vec<AttemptId>,
}

/// Answer to a value that was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAnswer {
    /// The key's new version.
    pub version: u64,
    /// What the person should know about the value.
    pub advice: Vec<Advice>,
}

/// Why an identity is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// For the audit trail and for those who look; no secret.
    pub reason: String,
    /// Also takes it from those who hold it: leases end at once, and their workers are told to end the steps.
    #[serde(default)]
    pub hard: bool,
}

/// Answer to a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAnswer {
    /// Attempts that hold the identity still, or from whom it was taken.
    pub holders: Vec<AttemptId>,
}

/// Recipients of a new data key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// age recipients, at least two; the present ones where absent.
    pub recipients: Option<Vec<String>>,
}

/// A worker's or a server's public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Ed25519, 32 bytes, base64url.
    pub key: String,
}

/// An enrolled worker or a trusted server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Its name.
    pub name: String,
    /// Ed25519 public key, base64url.
    pub key: String,
    /// Since when: milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// Lines of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The lines, oldest first.
    pub lines: Vec<Line>,
    /// Where to go on, a byte offset into the trail.
    pub next_offset: u64,
    /// Whether the trail's present end was reached.
    pub end: bool,
}
