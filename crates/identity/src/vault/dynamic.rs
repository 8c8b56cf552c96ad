//! Credentials that a secrets engine makes: under an orphan token for the grant, whose end takes them with it, also where the
//! broker dies between the two.

use serde_json::json;
use zeroize::Zeroizing;

use super::session::{Session, path_of};
use crate::backend::{BackendError, Lease, LeaseId, Leased, LeasedPart};
use crate::external::json::scalar;
use crate::external::store::{StoredKey, StoredReading, StoredValue};
use crate::reference::{IdentityPath, Scheme};

/// How long a grant's token lasts unless it is renewed, seconds: what a broker that never comes back leaves behind is gone then.
pub(super) const TOKEN_SECONDS: u64 = 60;

/// What every engine of database users names its two values; those of others are declared in `backends.toml`.
const USUAL_KEYS: [&str; 2] = ["password", "username"];

pub(super) async fn lease(session: &Session, token_role: &str) -> Result<Lease, BackendError> {
    let path = format!("/v1/auth/token/create/{}", path_of(token_role));
    let ttl = format!("{TOKEN_SECONDS}s");
    let body = json!({ "ttl": ttl, "renewable": true, "display_name": "sagewai-grant" });
    let missing = || BackendError::NotFound(format!("the token role `{token_role}` of vault"));
    let answer = session.post(&path, &body).await?.ok_or_else(missing)?;
    let auth = &answer.value()["auth"];
    let fields = (auth["client_token"].as_str(), auth["accessor"].as_str(), auth["lease_duration"].as_u64());
    let (Some(token), Some(accessor), Some(seconds)) = fields else {
        return Err(BackendError::Corrupt(format!(
            "a token of the role `{token_role}` has no accessor: make its type `service`"
        )));
    };
    Ok(Lease { id: LeaseId(accessor.to_owned()), token: Zeroizing::new(token.to_owned()), seconds })
}

pub(super) fn names() -> Vec<StoredKey> {
    USUAL_KEYS.into_iter().map(key).collect()
}

pub(super) async fn read(
    session: &Session,
    path: &IdentityPath,
    lease: &Lease,
) -> Result<StoredReading, BackendError> {
    let missing = || BackendError::NotFound(format!("`vault:{path}`"));
    let url = format!("/v1/{}", path_of(path.as_str()));
    let answer = session.get_with(&url, &lease.token).await?.ok_or_else(missing)?;
    let answer = answer.value();
    let values = answer["data"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some(StoredValue { key: key(name), value: scalar(value)? }));
    let part = answer["lease_id"]
        .as_str()
        .filter(|id| !id.is_empty())
        .map(|id| LeasedPart { id: id.to_owned(), seconds: answer["lease_duration"].as_u64().unwrap_or(0) });
    Ok(StoredReading { values: values.collect(), leased: part.into_iter().collect() })
}

pub(super) async fn renew(session: &Session, lease: &Leased) -> Result<u64, BackendError> {
    let gone = || BackendError::NotFound(format!("the lease `{}`", lease.id));
    let body = json!({ "accessor": lease.id.0, "increment": format!("{TOKEN_SECONDS}s") });
    let answer = session.post("/v1/auth/token/renew-accessor", &body).await?.ok_or_else(gone)?;
    let mut shortest = answer.value()["auth"]["lease_duration"].as_u64().unwrap_or(0);
    for part in &lease.parts {
        let answer = session.post("/v1/sys/leases/renew", &json!({ "lease_id": part.id })).await?;
        let seconds = answer.ok_or_else(gone)?.value()["lease_duration"].as_u64();
        shortest = shortest.min(seconds.unwrap_or(0));
    }
    if shortest == 0 { Err(gone()) } else { Ok(shortest) }
}

/// Each part at once and waited for, then the token; what is gone already was ended by somebody else.
pub(super) async fn revoke(session: &Session, lease: &Leased) -> Result<(), BackendError> {
    for part in &lease.parts {
        session.post("/v1/sys/leases/revoke", &json!({ "lease_id": part.id, "sync": true })).await?;
    }
    match session.post("/v1/auth/token/revoke-accessor", &json!({ "accessor": lease.id.0 })).await {
        // An unknown accessor is answered like a refusal: whether it is gone, looking it up tells.
        Err(BackendError::Denied { .. } | BackendError::Failed { store: Scheme::Vault, .. }) => {
            match session.post("/v1/auth/token/lookup-accessor", &json!({ "accessor": lease.id.0 })).await {
                Ok(Some(_)) => Err(BackendError::Denied {
                    store: Scheme::Vault,
                    what: "auth/token/revoke-accessor".into(),
                    remedy: "give the broker's role a policy with update on that path",
                }),
                Ok(None) => Ok(()),
                Err(BackendError::Failed { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn key(name: impl Into<String>) -> StoredKey {
    StoredKey { name: name.into(), version: 0, updated_ms: None }
}
