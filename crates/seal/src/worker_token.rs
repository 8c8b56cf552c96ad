//! Worker tokens: a worker proves to the broker that it asks, with a key that the operator enrolled there. The token is bound
//! to one guest and one grant, so that a captured request is of no use for another.

use base64ct::{Base64UrlUnpadded, Encoding};
use protocol::broker::WorkerClaims;
use sha2::{Digest, Sha256};

use crate::grant::{BROKER_AUDIENCE, CLOCK_SKEW_SECONDS};
use crate::jws::{self, JwsError};
use crate::keys::{PublicKey, SigningKey};

/// `typ` of a worker token.
pub const WORKER_TYP: &str = "sagewai-worker+jwt";
/// How long a worker token is accepted after it was issued, seconds.
pub const MAX_WORKER_TOKEN_SECONDS: i64 = 60;

/// Why a worker token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerTokenError {
    /// Not a token of ours, or not signed by the enrolled key.
    #[error("the worker's token is refused: {0}")]
    Token(#[from] JwsError),
    /// `aud` is not the broker.
    #[error("the worker's token is for another audience")]
    Audience,
    /// Older than [`MAX_WORKER_TOKEN_SECONDS`], or from the future: compare the clocks of worker and broker.
    #[error("the worker's token is stale: sign a new one, and compare the clocks of worker and broker")]
    Stale,
    /// Signed for another guest key or another grant.
    #[error("the worker's token is bound to another request")]
    Binding,
}

/// The `binding` claim: base64url SHA-256 of `guest key ‖ grant text`. The key has a fixed length, so the two cannot be shifted
/// into each other.
pub fn binding(guest_key: &[u8; 32], grant: &str) -> String {
    let digest = Sha256::new().chain_update(guest_key).chain_update(grant.as_bytes()).finalize();
    Base64UrlUnpadded::encode_string(&digest)
}

/// The compact JWS for `Authorization: Bearer …`; make one per request.
pub fn sign(key: &SigningKey, worker: &str, guest_key: &[u8; 32], grant: &str, now_seconds: i64) -> String {
    sign_claims(key, worker, binding(guest_key, grant), now_seconds)
}

/// As [`sign`], for `POST /v1/release`, where there is no guest: bound to the text `release:` and the grant's `jti`.
pub fn sign_release(key: &SigningKey, worker: &str, jti: &str, now_seconds: i64) -> String {
    sign_claims(key, worker, release_binding(jti), now_seconds)
}

/// As [`sign`], for `POST /v1/keep`: bound to the text `keep:` and the `jti`s, each followed by a newline.
pub fn sign_keep(key: &SigningKey, worker: &str, jtis: &[String], now_seconds: i64) -> String {
    sign_claims(key, worker, keep_binding(jtis), now_seconds)
}

/// Verifies a token for `POST /v1/open`. `key_of` finds the enrolled key of a worker's name.
pub fn verify(
    token: &str,
    key_of: impl FnOnce(&str) -> Option<PublicKey>,
    guest_key: &[u8; 32],
    grant: &str,
    now_seconds: i64,
) -> Result<WorkerClaims, WorkerTokenError> {
    verify_bound(token, key_of, &binding(guest_key, grant), now_seconds)
}

/// Verifies a token for `POST /v1/release`.
pub fn verify_release(
    token: &str,
    key_of: impl FnOnce(&str) -> Option<PublicKey>,
    jti: &str,
    now_seconds: i64,
) -> Result<WorkerClaims, WorkerTokenError> {
    verify_bound(token, key_of, &release_binding(jti), now_seconds)
}

/// Verifies a token for `POST /v1/keep`.
pub fn verify_keep(
    token: &str,
    key_of: impl FnOnce(&str) -> Option<PublicKey>,
    jtis: &[String],
    now_seconds: i64,
) -> Result<WorkerClaims, WorkerTokenError> {
    verify_bound(token, key_of, &keep_binding(jtis), now_seconds)
}

fn keep_binding(jtis: &[String]) -> String {
    let mut digest = Sha256::new().chain_update("keep:");
    for jti in jtis {
        digest.update(jti);
        digest.update("\n");
    }
    Base64UrlUnpadded::encode_string(&digest.finalize())
}

fn release_binding(jti: &str) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::new().chain_update("release:").chain_update(jti).finalize())
}

fn sign_claims(key: &SigningKey, worker: &str, binding: String, now_seconds: i64) -> String {
    let claims = WorkerClaims { sub: worker.into(), aud: BROKER_AUDIENCE.into(), iat: now_seconds, binding };
    jws::sign(key, WORKER_TYP, None, &claims)
}

fn verify_bound(
    token: &str,
    key_of: impl FnOnce(&str) -> Option<PublicKey>,
    binding: &str,
    now_seconds: i64,
) -> Result<WorkerClaims, WorkerTokenError> {
    let claims: WorkerClaims =
        jws::verify(token, WORKER_TYP, |_, claims: &WorkerClaims| key_of(&claims.sub))?;
    if claims.aud != BROKER_AUDIENCE {
        return Err(WorkerTokenError::Audience);
    }
    let age_seconds = now_seconds.saturating_sub(claims.iat);
    if !(-CLOCK_SKEW_SECONDS..=MAX_WORKER_TOKEN_SECONDS).contains(&age_seconds) {
        return Err(WorkerTokenError::Stale);
    }
    if claims.binding != binding {
        return Err(WorkerTokenError::Binding);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const GUEST: [u8; 32] = [3; 32];

    fn key() -> SigningKey {
        SigningKey::from_seed(&[5; 32])
    }

    fn enrolled(name: &str) -> Option<PublicKey> {
        (name == "worker-1").then(|| key().public_key())
    }

    #[test]
    fn verifies_for_its_guest_and_grant_only() {
        let token = sign(&key(), "worker-1", &GUEST, "grant", NOW);
        assert_eq!(verify(&token, enrolled, &GUEST, "grant", NOW).unwrap().sub, "worker-1");
        assert_eq!(verify(&token, enrolled, &[4; 32], "grant", NOW), Err(WorkerTokenError::Binding));
        assert_eq!(verify(&token, enrolled, &GUEST, "other", NOW), Err(WorkerTokenError::Binding));
        assert_eq!(verify_release(&token, enrolled, "grant", NOW), Err(WorkerTokenError::Binding));
    }

    #[test]
    fn is_fresh_for_a_minute() {
        let token = sign(&key(), "worker-1", &GUEST, "grant", NOW);
        assert!(verify(&token, enrolled, &GUEST, "grant", NOW + 60).is_ok());
        assert_eq!(verify(&token, enrolled, &GUEST, "grant", NOW + 61), Err(WorkerTokenError::Stale));
        assert!(verify(&token, enrolled, &GUEST, "grant", NOW - 30).is_ok());
        assert_eq!(verify(&token, enrolled, &GUEST, "grant", NOW - 31), Err(WorkerTokenError::Stale));
    }

    #[test]
    fn strangers_and_forgers_are_refused() {
        let stranger = sign(&key(), "worker-2", &GUEST, "grant", NOW);
        assert_eq!(verify(&stranger, enrolled, &GUEST, "grant", NOW), Err(JwsError::UnknownKey.into()));
        let forged = sign(&SigningKey::from_seed(&[6; 32]), "worker-1", &GUEST, "grant", NOW);
        assert_eq!(verify(&forged, enrolled, &GUEST, "grant", NOW), Err(JwsError::Signature.into()));
    }

    #[test]
    fn a_release_is_bound_to_its_grant() {
        let token = sign_release(&key(), "worker-1", "jti-1", NOW);
        assert!(verify_release(&token, enrolled, "jti-1", NOW).is_ok());
        assert_eq!(verify_release(&token, enrolled, "jti-2", NOW), Err(WorkerTokenError::Binding));
    }
}
