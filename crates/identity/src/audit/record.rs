//! What the audit trail records: a grant that was asked for and how it was decided, and every change by an operator.

use base64ct::{Base64UrlUnpadded, Encoding};
use protocol::broker::GrantClaims;
use protocol::id::AttemptId;
use seal::PublicKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backend::{LeaseId, Leased, LeasedPart};
use crate::reference::KeyName;

/// `prev` of the first line.
pub const GENESIS: &str = "";
/// Signed together with sequence number and hash.
const CHECKPOINT_LABEL: &str = "sagewai audit checkpoint v1";

/// One line of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// 1, 2, 3, …
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// base64url SHA-256 of the line before, without its newline; [`GENESIS`] for the first.
    pub prev: String,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The broker began to serve.
    Started {
        /// Counter of the builtin file.
        file_counter: u64,
    },
    /// The broker was told to stop and finished what was begun.
    Stopped {
        /// Counter of the builtin file.
        file_counter: u64,
    },
    /// A grant was presented by an enrolled worker and was decided.
    Open {
        /// `sealed` or `refused`.
        decision: Verdict,
        /// Why; for a refusal the problem's code.
        reason: String,
        /// The worker that asked.
        worker: String,
        /// The grant's facts, where its signature verified.
        grant: Option<Asked>,
        /// Keys that were sealed, with their versions.
        keys: Vec<KeyVersion>,
        /// What among them ends by itself.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        leased: Vec<LeasedPart>,
    },
    /// A lease was taken for a grant; recorded before anything is read under it.
    Leased {
        /// The worker that asked.
        worker: String,
        /// `jti` of the grant.
        grant: String,
        /// The lease.
        lease: Leased,
    },
    /// A lease was ended.
    LeaseEnded {
        /// The identity backend.
        scheme: String,
        /// The lease.
        lease: LeaseId,
        /// `jti` of the grant.
        grant: String,
        /// `released`, `refused`, `revoked`, `silent` (the step was not heard of), `swept`, `lost` (the store ended it) or `left`
        /// (the store could not be asked; it ends by itself).
        reason: String,
    },
    /// A grant ended.
    Released {
        /// The worker that said so.
        worker: String,
        /// `jti` of the grant.
        grant: String,
    },
    /// An operator's change, recorded before it is made.
    Changed {
        /// Numeric user id of the operator's process.
        operator_uid: u32,
        /// What is changed.
        change: Change,
    },
    /// The change of the line named could not be made.
    ChangeFailed {
        /// Its sequence number.
        seq: u64,
        /// Why, without values.
        reason: String,
    },
    /// The lines so far, signed by the broker.
    Checkpoint(Checkpoint),
}

/// Whether values were handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Values were sealed to the guest.
    Sealed,
    /// Nothing was handed out.
    Refused,
}

/// The facts of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// `jti`.
    pub grant: String,
    /// The server that signed it.
    pub server: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of the workflow.
    pub version: String,
    /// Mode of the step.
    pub mode: String,
    /// Sandbox backend.
    pub sandbox: String,
    /// Image, where one is named.
    pub image: Option<String>,
    /// The reference as written.
    pub identity: String,
}

impl From<&GrantClaims> for Asked {
    fn from(claims: &GrantClaims) -> Self {
        Asked {
            grant: claims.jti.clone(),
            server: claims.iss.clone(),
            attempt: claims.attempt,
            namespace: claims.namespace.clone(),
            workflow: claims.workflow.clone(),
            version: claims.version.clone(),
            mode: claims.mode.clone(),
            sandbox: claims.sandbox.clone(),
            image: claims.image.clone(),
            identity: claims.identity.clone(),
        }
    }
}

/// A key and the version that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyVersion {
    /// The key.
    pub name: KeyName,
    /// Its version.
    pub version: u64,
}

/// A change by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Such as `set`, `remove`, `policy`, `revoke`, `enrol-worker`.
    pub action: String,
    /// What it is about: `acme-prod`, `acme-prod KEY`, a worker's or a server's name.
    pub subject: String,
    /// More of it, such as the new policy; never a value.
    pub detail: Option<String>,
}

/// A signed statement that the trail up to `seq` ends in the line of this hash. It can be kept elsewhere and given to
/// [`crate::audit::verify()`] later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Sequence number of the last line that it covers.
    pub seq: u64,
    /// Hash of that line.
    pub hash: String,
    /// Id of the broker's key.
    pub key: String,
    /// Ed25519 over `label LF seq LF hash`, base64url.
    pub signature: String,
}

impl Checkpoint {
    /// Signs the trail's end.
    pub fn sign(seq: u64, hash: &str, broker: &seal::SigningKey) -> Self {
        let signature = broker.sign(checkpoint_text(seq, hash).as_bytes());
        Checkpoint {
            seq,
            hash: hash.into(),
            key: broker.public_key().id(),
            signature: Base64UrlUnpadded::encode_string(&signature),
        }
    }

    /// Whether the broker signed it.
    pub fn verifies(&self, broker: &PublicKey) -> bool {
        let signature = Base64UrlUnpadded::decode_vec(&self.signature).unwrap_or_default();
        broker.verifies(checkpoint_text(self.seq, &self.hash).as_bytes(), &signature)
    }
}

/// The hash of a line: base64url SHA-256 of its bytes without the newline.
pub fn line_hash(line: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(line))
}

fn checkpoint_text(seq: u64, hash: &str) -> String {
    format!("{CHECKPOINT_LABEL}\n{seq}\n{hash}")
}
