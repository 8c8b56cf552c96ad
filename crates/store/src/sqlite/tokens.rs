//! Tokens as rows.

use protocol::id::Timestamp;
use rusqlite::{Connection, Row};

use super::rows::{self, all, one};
use super::write::Session;
use crate::{ApiToken, JoinToken, StoreError, TokenHash, sql};

pub(super) fn put(session: &Session, token: &ApiToken) -> Result<(), StoreError> {
    let parameters = (&token.id, token.hash, &token.name, &token.role, token.created_at.0);
    match session.prepare(sql::TOKEN_INSERT)?.execute(parameters)? {
        0 => Err(StoreError::Exists { what: format!("token {}", token.id) }),
        _ => Ok(()),
    }
}

pub(super) fn by_hash(connection: &Connection, hash: &TokenHash) -> Result<Option<ApiToken>, StoreError> {
    one(connection, sql::TOKEN_BY_HASH, [hash], token)
}

pub(super) fn list(connection: &Connection) -> Result<Vec<ApiToken>, StoreError> {
    all(connection, sql::TOKENS_ALL, [], token)
}

pub(super) fn revoke(session: &Session, id: &str) -> Result<bool, StoreError> {
    Ok(session.prepare(sql::TOKEN_DELETE)?.execute([id])? > 0)
}

fn token(row: &Row<'_>) -> Result<ApiToken, StoreError> {
    Ok(ApiToken {
        id: row.get(0)?,
        hash: row.get(1)?,
        name: row.get(2)?,
        role: row.get(3)?,
        created_at: rows::time(row, 4)?,
    })
}

pub(super) fn put_join(session: &Session, token: &JoinToken) -> Result<(), StoreError> {
    let expires_at = token.expires_at.map(|at| at.0);
    let parameters = (&token.id, token.hash, &token.name, token.created_at.0, expires_at);
    match session.prepare(sql::JOIN_TOKEN_INSERT)?.execute(parameters)? {
        0 => Err(StoreError::Exists { what: format!("join token {}", token.id) }),
        _ => Ok(()),
    }
}

pub(super) fn join_by_hash(
    connection: &Connection,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Option<JoinToken>, StoreError> {
    one(connection, sql::JOIN_TOKEN_BY_HASH, (hash, now.0), join_token)
}

pub(super) fn list_join(connection: &Connection) -> Result<Vec<JoinToken>, StoreError> {
    all(connection, sql::JOIN_TOKENS_ALL, [], join_token)
}

pub(super) fn revoke_join(session: &Session, id: &str) -> Result<bool, StoreError> {
    Ok(session.prepare(sql::JOIN_TOKEN_DELETE)?.execute([id])? > 0)
}

fn join_token(row: &Row<'_>) -> Result<JoinToken, StoreError> {
    Ok(JoinToken {
        id: row.get(0)?,
        hash: row.get(1)?,
        name: row.get(2)?,
        created_at: rows::time(row, 3)?,
        expires_at: rows::optional_time(row, 4)?,
    })
}
