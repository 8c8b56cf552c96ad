//! `/api/v1/tokens`: the tokens of the API. A token's text is shown once; its SHA-256 is kept.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64ct::{Base64UrlUnpadded, Encoding};
use protocol::id::Timestamp;
use store::{ApiToken, Store, StoreError, TokenHash};

use super::Api;
use super::access::{self, Access, Caller};
use super::extract::Body;
use super::model::{CreateToken, CreatedToken, Page, Role, Token};
use super::problem::{Kind, Problem};
use crate::clock::Clock;

/// Bytes of a token's or a namespace's name.
const NAME_LIMIT_BYTES: usize = 128;
/// Namespaces a token may be bound to.
const NAMESPACE_LIMIT: usize = 64;

/// The text of a new token: `prefix` and 256 random bits.
///
/// # Panics
/// The system's random source does not answer; without it nothing here is safe.
pub fn new_secret(prefix: &str) -> String {
    format!("{prefix}_{}", Base64UrlUnpadded::encode_string(&random_bytes::<32>()))
}

/// SHA-256 of a token's text, as the server keeps it.
pub fn hash(secret: &str) -> TokenHash {
    access::hash(secret)
}

/// Makes sure that an admin token with this hash exists, for a server's first start: whoever starts the server keeps
/// the text and gives the hash.
///
/// # Errors
/// The store does not answer.
pub async fn ensure_admin(store: &dyn Store, name: &str, hash: TokenHash) -> Result<(), StoreError> {
    if store.token_by_hash(&hash).await?.is_some() {
        return Ok(());
    }
    let access = Access { role: Role::Admin, namespaces: Vec::new() };
    store.put_token(row(name.to_owned(), &access, hash, Clock::System.now())).await
}

/// Makes a token. Its text is in this answer alone.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken, responses(
    (status = 201, body = CreatedToken), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<CreateToken>,
) -> Result<impl IntoResponse, Problem> {
    caller.require_whole_admin()?;
    check_name("name", &request.name)?;
    if request.namespaces.len() > NAMESPACE_LIMIT {
        let detail = format!("a token is bound to at most {NAMESPACE_LIMIT} namespaces; none means all");
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    for namespace in &request.namespaces {
        check_namespace(namespace)?;
    }
    let secret = new_secret("swt");
    let access = Access { role: request.role, namespaces: request.namespaces };
    let row = row(request.name, &access, hash(&secret), Clock::System.now());
    api.store.put_token(row.clone()).await?;
    let token = shown(row).expect("a role that was just written can be read");
    Ok((StatusCode::CREATED, Json(CreatedToken { token, secret })))
}

/// Lists the tokens, without their texts.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", responses(
    (status = 200, body = Page<Token>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Page<Token>>, Problem> {
    caller.require_whole_admin()?;
    let rows = api.store.tokens().await?;
    Ok(Json(Page { items: rows.into_iter().filter_map(shown).collect(), next: None }))
}

/// Revokes a token, at once and for good.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "Id of the token")), responses(
    (status = 204, description = "It is revoked"), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require_whole_admin()?;
    let revoked = api.store.revoke_token(&id).await;
    // Whatever the answer: a revocation may be stored though the store could not say so.
    api.callers.forget_all();
    if revoked? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found(format_args!("token {id}")).hint("sagewai token list shows the ids"))
}

fn row(name: String, access: &Access, hash: TokenHash, created_at: Timestamp) -> ApiToken {
    ApiToken { id: new_id(), hash, name, role: access.encode(), created_at }
}

fn shown(row: ApiToken) -> Option<Token> {
    let access = Access::decode(&row.role)?;
    Some(Token {
        id: row.id,
        name: row.name,
        role: access.role,
        namespaces: access.namespaces,
        created: row.created_at.into(),
    })
}

/// A public id: 64 random bits, hex.
pub(super) fn new_id() -> String {
    super::model::hex(&random_bytes::<8>())
}

/// Random bytes of the system.
///
/// # Panics
/// The system's random source does not answer.
pub fn random_bytes<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the system's random source answers");
    bytes
}

/// A name that people give to a token.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Problem> {
    let printable = name.chars().all(|c| !c.is_control());
    if !name.trim().is_empty() && name.len() <= NAME_LIMIT_BYTES && printable {
        return Ok(());
    }
    let detail = format!("`{field}` is 1 to {NAME_LIMIT_BYTES} bytes of printable text");
    Err(Problem::new(Kind::MalformedRequest, detail))
}

fn check_namespace(namespace: &str) -> Result<(), Problem> {
    let dns_label = namespace.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if dns_label && !namespace.is_empty() && namespace.len() <= NAME_LIMIT_BYTES {
        return Ok(());
    }
    let detail = format!("`{namespace}` is not a namespace: lower-case letters, digits and `-`");
    Err(Problem::new(Kind::MalformedRequest, detail))
}
