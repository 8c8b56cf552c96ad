//! Grants: the server signs, the broker verifies. A grant permits one attempt of one step to receive one identity; that it is
//! used once is the broker's to hold (`jti`).

use std::collections::BTreeMap;

use protocol::broker::GrantClaims;

use crate::jws::{self, JwsError};
use crate::keys::{PublicKey, SigningKey};

/// `typ` of a grant.
pub const GRANT_TYP: &str = "sagewai-grant+jwt";
/// `aud` of grants and worker tokens.
pub const BROKER_AUDIENCE: &str = "sagewai-broker";
/// Longest life of a grant, seconds.
pub const MAX_GRANT_SECONDS: i64 = 300;
/// How far the clocks of server and broker may differ, seconds.
pub const CLOCK_SKEW_SECONDS: i64 = 30;
/// Longest claim, bytes; keeps audit records and lookups small.
const MAX_CLAIM_BYTES: usize = 512;

/// Why a grant was refused. No message holds anything of the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not a token of ours, or not signed by a trusted server.
    #[error("the grant is refused: {0}")]
    Token(#[from] JwsError),
    /// `aud` is not the broker.
    #[error("the grant is for another audience")]
    Audience,
    /// It expired; the step must be leased anew.
    #[error("the grant has expired")]
    Expired,
    /// It was issued in the future: compare the clocks of server and broker.
    #[error("the grant is not valid yet: the clocks of server and broker differ by more than 30 s")]
    NotYetValid,
    /// It lives longer than [`MAX_GRANT_SECONDS`], or ends before it begins.
    #[error("the grant's life is not between 1 and 300 seconds")]
    Lifetime,
    /// A claim is empty where it may not be, or too long.
    #[error("the grant's claim `{0}` is empty or longer than 512 bytes")]
    Claim(&'static str),
}

/// Signs grants for a server.
pub struct GrantSigner {
    key: SigningKey,
    kid: String,
}

impl GrantSigner {
    /// A signer whose tokens carry the key's id as `kid`.
    pub fn new(key: SigningKey) -> Self {
        let kid = key.public_key().id();
        GrantSigner { key, kid }
    }

    /// The key that brokers must trust.
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// The compact JWS of `claims`. Claims that every broker would refuse are refused here already.
    pub fn sign(&self, claims: &GrantClaims) -> Result<String, GrantError> {
        check_claims(claims)?;
        let token = jws::sign(&self.key, GRANT_TYP, Some(&self.kid), claims);
        if token.len() > jws::MAX_TOKEN_BYTES { Err(JwsError::TooLong.into()) } else { Ok(token) }
    }
}

/// Verifies grants by the servers' keys; several at once, so that a key can be rotated.
#[derive(Clone, Default)]
pub struct GrantVerifier {
    keys: BTreeMap<String, PublicKey>,
}

impl GrantVerifier {
    /// A verifier that trusts `keys`.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        GrantVerifier { keys: keys.into_iter().map(|key| (key.id(), key)).collect() }
    }

    /// The claims of a grant that is signed by a trusted key, for the broker, and alive at `now_seconds` (Unix epoch).
    pub fn verify(&self, token: &str, now_seconds: i64) -> Result<GrantClaims, GrantError> {
        let claims: GrantClaims =
            jws::verify(token, GRANT_TYP, |kid, _| kid.and_then(|kid| self.keys.get(kid)).copied())?;
        check_claims(&claims)?;
        if claims.iat > now_seconds.saturating_add(CLOCK_SKEW_SECONDS) {
            return Err(GrantError::NotYetValid);
        }
        if claims.exp.saturating_add(CLOCK_SKEW_SECONDS) <= now_seconds {
            return Err(GrantError::Expired);
        }
        Ok(claims)
    }
}

fn check_claims(claims: &GrantClaims) -> Result<(), GrantError> {
    if claims.aud != BROKER_AUDIENCE {
        return Err(GrantError::Audience);
    }
    let life_seconds = claims.exp.checked_sub(claims.iat).ok_or(GrantError::Lifetime)?;
    if !(1..=MAX_GRANT_SECONDS).contains(&life_seconds) {
        return Err(GrantError::Lifetime);
    }
    for (name, value) in [
        ("iss", &claims.iss),
        ("jti", &claims.jti),
        ("namespace", &claims.namespace),
        ("workflow", &claims.workflow),
        ("version", &claims.version),
        ("identity", &claims.identity),
        ("mode", &claims.mode),
        ("worker", &claims.worker),
        ("sandbox", &claims.sandbox),
    ] {
        if value.is_empty() || value.len() > MAX_CLAIM_BYTES {
            return Err(GrantError::Claim(name));
        }
    }
    match &claims.image {
        Some(image) if image.is_empty() || image.len() > MAX_CLAIM_BYTES => Err(GrantError::Claim("image")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::{AttemptId, RunId, StepId};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn claims() -> GrantClaims {
        GrantClaims {
            iss: "server-1".into(),
            aud: BROKER_AUDIENCE.into(),
            jti: "0192".into(),
            iat: NOW,
            exp: NOW + 300,
            attempt: AttemptId { run: RunId(uuid::Uuid::from_u128(1)), step: StepId(2), attempt: 1 },
            namespace: "acme".into(),
            workflow: "weekly-report".into(),
            version: "1.0.0".into(),
            identity: "acme-prod/reporting".into(),
            mode: "2".into(),
            worker: "worker-1".into(),
            sandbox: "namespace".into(),
            image: None,
        }
    }

    fn signer(seed: u8) -> GrantSigner {
        GrantSigner::new(SigningKey::from_seed(&[seed; 32]))
    }

    /// Signed without the signer's own checks, as a hostile server would.
    fn forged(change: impl FnOnce(&mut GrantClaims)) -> String {
        let mut claims = claims();
        change(&mut claims);
        let signer = signer(1);
        jws::sign(&signer.key, GRANT_TYP, Some(&signer.kid), &claims)
    }

    fn verify(token: &str, now: i64) -> Result<GrantClaims, GrantError> {
        GrantVerifier::new([signer(1).public_key()]).verify(token, now)
    }

    #[test]
    fn a_signed_grant_verifies_while_it_lives() {
        let token = signer(1).sign(&claims()).unwrap();
        assert_eq!(verify(&token, NOW), Ok(claims()));
        assert_eq!(verify(&token, NOW - CLOCK_SKEW_SECONDS), Ok(claims()));
        assert_eq!(verify(&token, NOW + 300 + CLOCK_SKEW_SECONDS - 1), Ok(claims()));
        assert_eq!(verify(&token, NOW + 300 + CLOCK_SKEW_SECONDS), Err(GrantError::Expired));
        assert_eq!(verify(&token, NOW - CLOCK_SKEW_SECONDS - 1), Err(GrantError::NotYetValid));
    }

    #[test]
    fn both_keys_verify_during_a_rotation_and_no_third() {
        let verifier = GrantVerifier::new([signer(1).public_key(), signer(2).public_key()]);
        for seed in [1, 2] {
            assert!(verifier.verify(&signer(seed).sign(&claims()).unwrap(), NOW).is_ok());
        }
        let third = signer(3).sign(&claims()).unwrap();
        assert_eq!(verifier.verify(&third, NOW), Err(GrantError::Token(JwsError::UnknownKey)));
    }

    #[test]
    fn a_kid_of_a_trusted_key_does_not_help_a_stranger() {
        let token = jws::sign(&SigningKey::from_seed(&[9; 32]), GRANT_TYP, Some(&signer(1).kid), &claims());
        assert_eq!(verify(&token, NOW), Err(GrantError::Token(JwsError::Signature)));
    }

    #[test]
    fn claims_out_of_bounds_are_refused() {
        assert_eq!(verify(&forged(|c| c.aud = "sagewai-server".into()), NOW), Err(GrantError::Audience));
        assert_eq!(verify(&forged(|c| c.exp = NOW + 301), NOW), Err(GrantError::Lifetime));
        assert_eq!(verify(&forged(|c| c.exp = NOW), NOW), Err(GrantError::Lifetime));
        assert_eq!(
            verify(&forged(|c| (c.iat, c.exp) = (i64::MIN, i64::MAX)), NOW),
            Err(GrantError::Lifetime)
        );
        assert_eq!(verify(&forged(|c| c.jti = String::new()), NOW), Err(GrantError::Claim("jti")));
        assert_eq!(
            verify(&forged(|c| c.identity = "x".repeat(513)), NOW),
            Err(GrantError::Claim("identity"))
        );
    }

    #[test]
    fn a_worker_token_is_no_grant() {
        let token =
            jws::sign(&signer(1).key, crate::worker_token::WORKER_TYP, Some(&signer(1).kid), &claims());
        assert_eq!(verify(&token, NOW), Err(GrantError::Token(JwsError::Header)));
    }
}
