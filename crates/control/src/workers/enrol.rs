//! Enrolment: a join token is traded for a worker's own credential, of which the store keeps the hash.

use base64ct::{Base64UrlUnpadded, Encoding};
use protocol::id::Timestamp;
use protocol::worker_api::{EnrolRequest, EnrolResponse};
use sha2::{Digest, Sha256};
use store::{StoreError, TokenHash, Worker};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::core::Core;

/// How a credential begins, so that people and scanners know one when they see it.
const CREDENTIAL_PREFIX: &str = "sgw_worker_";
/// Random bytes of a credential.
const CREDENTIAL_BYTES: usize = 32;
/// Characters of a worker's name.
const MAX_NAME: usize = 63;
/// Bytes of a token that are looked at.
const MAX_TOKEN_BYTES: usize = 256;

/// Enrols a worker.
pub(crate) async fn enrol(core: &Core, request: EnrolRequest) -> Result<EnrolResponse, Status> {
    let EnrolRequest { join_token, name } = request;
    let now = core.clock.now();
    let unavailable = |error: StoreError| Status::unavailable(error.to_string());
    let known = match hash(&join_token) {
        Some(hash) => core.store.join_token_by_hash(&hash, now).await.map_err(unavailable)?,
        None => None,
    };
    if known.is_none() {
        return Err(Status::unauthenticated(
            "the join token is unknown or has expired: make a new one with `sagewai workers token`",
        ));
    }
    check_name(&name)?;
    let mut secret = [0; CREDENTIAL_BYTES];
    getrandom::fill(&mut secret).map_err(|error| Status::internal(format!("no randomness: {error}")))?;
    let credential = format!("{CREDENTIAL_PREFIX}{}", Base64UrlUnpadded::encode_string(&secret));
    let worker = Worker {
        name: name.clone(),
        credential: Sha256::digest(credential.as_bytes()).into(),
        description: bytes::Bytes::new(),
        enrolled_at: now,
        alive_until: Timestamp(0),
        draining: false,
    };
    match core.store.enrol_worker(worker).await {
        Ok(()) => Ok(EnrolResponse { name, credential }),
        Err(StoreError::Exists { .. }) => Err(Status::already_exists(format!(
            "a worker `{name}` is enrolled: choose another name, or remove that one first"
        ))),
        Err(error) => Err(unavailable(error)),
    }
}

/// The worker whose credential the metadata carries.
pub(crate) async fn authenticate(core: &Core, metadata: &MetadataMap) -> Result<Worker, Status> {
    let token = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .and_then(hash)
        .ok_or_else(|| Status::unauthenticated("send `authorization: Bearer <worker credential>`"))?;
    let found = core.store.worker_by_hash(&token).await;
    found.map_err(|error| Status::unavailable(error.to_string()))?.ok_or_else(|| {
        Status::unauthenticated("the worker's credential is unknown or was removed: enrol the worker anew")
    })
}

fn hash(token: &str) -> Option<TokenHash> {
    (!token.is_empty() && token.len() <= MAX_TOKEN_BYTES).then(|| Sha256::digest(token.as_bytes()).into())
}

fn check_name(name: &str) -> Result<(), Status> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.len() > MAX_NAME
        || !name.chars().all(allowed)
        || !ends(name.chars().next())
        || !ends(name.chars().last())
    {
        return Err(Status::invalid_argument(format!(
            "`{}` is no worker's name: use 1 to {MAX_NAME} of a-z, 0-9, `-` and `.`, with a letter or digit at \
             both ends",
            name.chars().take(MAX_NAME).collect::<String>()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["w", "worker-1", "gpu.eu-1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-w", "w-", "W", "a b", "a/b", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
