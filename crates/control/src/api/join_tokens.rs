//! `/api/v1/join-tokens`: what workers enrol with.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use store::JoinToken as Row;

use super::Api;
use super::access::Caller;
use super::extract::Body;
use super::model::{CreateJoinToken, CreatedJoinToken, JoinToken, Page};
use super::problem::{Kind, Problem};
use super::tokens::{check_name, hash, new_id, new_secret};
use crate::clock::Clock;

/// Seconds a join token lives, if the client says nothing: an hour.
const DEFAULT_LIFE_SECONDS: u32 = 3600;
/// Seconds a join token lives at most: 90 days.
const LIFE_LIMIT_SECONDS: u32 = 90 * 24 * 3600;

/// Makes a join token. Its text is in this answer alone. It enrols any number of workers until it expires.
#[utoipa::path(post, path = "/api/v1/join-tokens", tag = "workers", request_body = CreateJoinToken, responses(
    (status = 201, body = CreatedJoinToken), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 403, body = Problem)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<CreateJoinToken>,
) -> Result<impl IntoResponse, Problem> {
    caller.require_whole_admin()?;
    check_name("name", &request.name)?;
    let seconds = request.seconds.unwrap_or(DEFAULT_LIFE_SECONDS);
    if seconds == 0 || seconds > LIFE_LIMIT_SECONDS {
        let detail = format!("`seconds` is {seconds}; it is 1 to {LIFE_LIMIT_SECONDS} (90 days)");
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    let now = Clock::System.now();
    let secret = new_secret("swj");
    let row = Row {
        id: new_id(),
        hash: hash(&secret),
        name: request.name,
        created_at: now,
        expires_at: Some(now.plus(i64::from(seconds) * 1000)),
    };
    api.store.put_join_token(row.clone()).await?;
    Ok((StatusCode::CREATED, Json(CreatedJoinToken { token: shown(row), secret })))
}

/// Lists the join tokens, without their texts, expired ones too.
#[utoipa::path(get, path = "/api/v1/join-tokens", tag = "workers", responses(
    (status = 200, body = Page<JoinToken>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Page<JoinToken>>, Problem> {
    caller.require_whole_admin()?;
    let rows = api.store.join_tokens().await?;
    Ok(Json(Page { items: rows.into_iter().map(shown).collect(), next: None }))
}

/// Revokes a join token. Workers that enrolled with it stay.
#[utoipa::path(delete, path = "/api/v1/join-tokens/{id}", tag = "workers",
    params(("id" = String, Path, description = "Id of the join token")), responses(
    (status = 204, description = "It is revoked"), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require_whole_admin()?;
    if api.store.revoke_join_token(&id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found(format_args!("join token {id}"))
        .hint("sagewai workers join-token list shows the ids"))
}

fn shown(row: Row) -> JoinToken {
    JoinToken {
        id: row.id,
        name: row.name,
        created: row.created_at.into(),
        expires: row.expires_at.map(Into::into),
    }
}
