//! The broker's API: HTTP with JSON bodies. A worker trades a grant and a guest's public key for sealed values.
//!
//! | Request, with `Authorization: Bearer <worker token>` | Answer |
//! |---|---|
//! | `POST /v1/open` with [`OpenRequest`] | 200 [`OpenResponse`] |
//! | `POST /v1/keep` with [`KeepRequest`] | 200 [`KeepResponse`] |
//! | `POST /v1/release` with [`ReleaseRequest`] | 204, also when there was nothing to release |
//! | `GET /healthz` (no token) | 200 |
//!
//! Bodies are at most 32 KiB. Anything else is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, and
//! `retryable`, which says whether a new grant may succeed. `detail` names no key and may be shown in the control plane. `type`
//! is `urn:sagewai:problem:broker:` and a code:
//!
//! | Status | Codes |
//! |---|---|
//! | 400 | `malformed` |
//! | 401 | `worker-token`: not enrolled, stale, or bound to another guest or grant |
//! | 403 | `grant`, `grant-expired` (retryable), `other-worker`, `identity-revoked`, `policy` |
//! | 404 | `identity-not-found` |
//! | 409 | `grant-used` |
//! | 422 | `reference` |
//! | 503 | `identity-unavailable`, `audit`, `busy` (all retryable) |

use serde::{Deserialize, Serialize};

use crate::id::AttemptId;

/// Claims of a grant: a compact JWS (RFC 7515), algorithm EdDSA (RFC 8037), `typ` `sagewai-grant+jwt`, signed by the
/// server. It names no key of the identity: the server knows none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantClaims {
    /// Issuer: the server's name.
    pub iss: String,
    /// Audience: `sagewai-broker`.
    pub aud: String,
    /// Unique id of the grant; it is accepted once.
    pub jti: String,
    /// Issued at, seconds since the Unix epoch.
    pub iat: i64,
    /// Expiry, seconds since the Unix epoch; at most 300 s after `iat`.
    pub exp: i64,
    /// The attempt that may receive the identity.
    pub attempt: AttemptId,
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of the workflow.
    pub version: String,
    /// The identity reference as the document writes it.
    pub identity: String,
    /// Mode of the step: `2`, `3` or `3b`.
    pub mode: String,
    /// Name of the worker that holds the lease.
    pub worker: String,
    /// Sandbox backend that the step will run on, such as `namespace`.
    pub sandbox: String,
    /// OCI image of the sandbox, with digest where one is pinned; absent for the default root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
}

/// A worker asks for one identity to be sealed to one guest.
///
/// The request carries `Authorization: Bearer <worker token>`: a compact JWS by the worker's own Ed25519 key, enrolled
/// at the broker, over [`WorkerClaims`], so that a captured request cannot be used for another guest or grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The grant, compact JWS.
    pub grant: String,
    /// The guest's X25519 public key, 32 bytes, base64url without padding.
    pub guest_key: String,
}

/// Claims of a worker's request to the broker; JWS `typ` `sagewai-worker+jwt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerClaims {
    /// The worker's name, as enrolled.
    pub sub: String,
    /// Audience: `sagewai-broker`.
    pub aud: String,
    /// Issued at, seconds since the Unix epoch; accepted for 60 s.
    pub iat: i64,
    /// base64url SHA-256 of `guest key bytes ‖ grant text`; for a release, of `release: ‖ jti`;
    /// for a sign of life, of `keep: ‖ jtis`, each followed by a newline.
    pub binding: String,
}

/// Sealed values for one guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenResponse {
    /// Names of the secret keys inside; the worker may know names.
    pub names: Vec<String>,
    /// What the guest opens.
    pub sealed: Sealed,
}

/// An HPKE message (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305), signed by the
/// broker so that the guest knows who sealed it. The plaintext is a `seal::Payload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Encapsulated key, 32 bytes, base64url.
    pub encapsulated_key: String,
    /// Ciphertext with tag, base64url.
    pub ciphertext: String,
    /// What the message is bound to (HPKE `aad` is its JSON text, byte for byte as in `bound_text`).
    pub bound_text: String,
    /// Ed25519 signature by the broker over `label ‖ encapsulated key ‖ ciphertext length (u64, big-endian) ‖ ciphertext ‖
    /// bound_text`, base64url; the label is `sagewai sealed identity v1`, which is HPKE's `info` too.
    pub signature: String,
}

/// What a sealed message is bound to; it travels as JSON text in [`Sealed::bound_text`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedBinding {
    /// `jti` of the grant.
    pub grant: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// Expiry, seconds since the Unix epoch.
    pub expires: i64,
}

/// The steps of these grants live: the broker renews what it leased for them. A worker says so every few seconds for all that it
/// runs; of what it does not say so for 30 s the leases are revoked. Carries a worker token (`seal::worker_token::sign_keep`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepRequest {
    /// `jti`s of grants.
    pub grants: Vec<String>,
}

/// Answer to [`KeepRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepResponse {
    /// Those of the grants that the worker does not hold any more: their steps must end at once.
    pub ended: Vec<String>,
}

/// End of a grant: the broker revokes what it leased for it. Carries a worker token too (`seal::worker_token::sign_release`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// `jti` of the grant.
    pub grant: String,
}
