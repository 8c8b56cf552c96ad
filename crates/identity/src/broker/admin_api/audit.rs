//! Reading and verifying the audit trail.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::Admin;
use super::change::{blocking, internal, json};
use crate::admin::wire;
use crate::audit::log::MAX_LINE_BYTES;
use crate::audit::verify::verify_folder;
use crate::audit::{AuditReport, Checkpoint, Line};
use crate::broker::problem::Problem;

/// Most lines of one page of the audit trail.
const MAX_PAGE_LINES: usize = 1000;

/// Query of a page of the trail.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    #[serde(default)]
    offset: u64,
}

pub(super) async fn page(
    State(admin): State<Admin>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<wire::AuditPage>, Problem> {
    blocking(move || read_page(&admin, query.offset)).await?.map(Json)
}

pub(super) fn read_page(admin: &Admin, offset: u64) -> Result<wire::AuditPage, Problem> {
    let unreadable = |error: std::io::Error| internal(format!("the audit trail cannot be read: {error}"));
    let mut file = std::fs::File::open(admin.folder.join("audit.jsonl")).map_err(unreadable)?;
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut reader = BufReader::new(file);
    let mut page = wire::AuditPage { lines: vec![], next_offset: offset, end: false };
    while page.lines.len() < MAX_PAGE_LINES {
        let mut bytes = Vec::new();
        (&mut reader).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes).map_err(unreadable)?;
        if bytes.last() != Some(&b'\n') {
            page.end = true;
            break;
        }
        let line: Line = serde_json::from_slice(&bytes).map_err(|_| {
            internal(format!("the audit trail is damaged near byte {}: verify it", page.next_offset))
        })?;
        page.next_offset += bytes.len() as u64;
        page.lines.push(line);
    }
    Ok(page)
}

pub(super) async fn verify(State(admin): State<Admin>, body: Bytes) -> Result<Json<AuditReport>, Problem> {
    let kept: Option<Checkpoint> = json(&body)?;
    let verified =
        blocking(move || verify_folder(&admin.folder, &admin.broker.public_key(), kept.as_ref())).await?;
    let title = "The audit trail does not hold together";
    verified.map(Json).map_err(|fault| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "audit-fault", title, fault.to_string(), false)
    })
}
