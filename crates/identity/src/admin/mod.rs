//! The admin API as its users see it: JSON over HTTP on the broker's Unix socket, for the operator on the broker's machine.
//!
//! | Request | Body → answer |
//! |---|---|
//! | `GET /v1/status` | → [`wire::Status`] |
//! | `GET /v1/stores` | → [`wire::StoreListing`] list: what each identity backend beside the builtin file lists |
//! | `GET /v1/identities` | → [`wire::IdentitySummary`] list |
//! | `GET /v1/identities/{name}` | → [`wire::IdentityDetail`] |
//! | `PUT /v1/identities/{name}` | [`crate::policy::Policy`] → 204; makes it |
//! | `DELETE /v1/identities/{name}` | → 204 |
//! | `PUT /v1/identities/{name}/keys/{key}?secret=true&expect=any` | the value's bytes → [`wire::SetAnswer`] |
//! | `DELETE /v1/identities/{name}/keys/{key}` | → 204 |
//! | `PUT /v1/identities/{name}/views/{view}` | list of keys → 204 |
//! | `DELETE /v1/identities/{name}/views/{view}` | → 204 |
//! | `PUT /v1/identities/{name}/policy` | [`crate::policy::Policy`] → 204 |
//! | `POST /v1/identities/{name}/revoke` | [`wire::RevokeRequest`] → [`wire::RevokeAnswer`] |
//! | `POST /v1/identities/{name}/restore` | → 204 |
//! | `POST /v1/data-key/rotate` | [`wire::RotateRequest`] → 204 |
//! | `GET /v1/workers`, `GET /v1/servers` | → [`wire::Party`] list |
//! | `PUT /v1/workers/{name}`, `PUT /v1/servers/{name}` | [`wire::EnrolRequest`] → 204 |
//! | `DELETE /v1/workers/{name}`, `DELETE /v1/servers/{name}` | → 204 |
//! | `GET /v1/audit?offset=0` | → [`wire::AuditPage`] |
//! | `POST /v1/audit/verify` | a kept checkpoint or `null` → [`crate::audit::AuditReport`] |
//!
//! `{name}` is percent-encoded; where a route is not about keys and views it may be of another identity backend, such as
//! `vault:kv/acme-prod`. No answer holds a value. Refusals are problems (RFC 9457).

pub mod client;
pub mod wire;

pub use client::{Client, ClientError};
