//! Cursors of pages: opaque to clients, the keys of the last row inside.

use axum::Json;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::limits::{DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS};
use super::model::Page;
use super::problem::{Kind, Problem};

/// Characters of a cursor; a longer one is none of ours.
const CURSOR_LIMIT_CHARACTERS: usize = 1024;

/// Parameters of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Rows of the page, 1 to 1000; 50 if absent.
    pub(super) limit: Option<usize>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
}

/// Rows of a page from what the client asked for.
pub(super) fn rows(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(DEFAULT_PAGE_ROWS) {
        rows @ 1..=MAX_PAGE_ROWS => Ok(rows),
        other => {
            Err(Problem::new(Kind::MalformedRequest, format!("limit is {other}; it is 1 to {MAX_PAGE_ROWS}")))
        }
    }
}

/// A cursor's text from the keys of the last row.
pub(super) fn encode(keys: &impl Serialize) -> String {
    let json = serde_json::to_vec(keys).expect("keys of rows are plain data");
    Base64UrlUnpadded::encode_string(&json)
}

/// The keys from a cursor's text.
pub(super) fn decode<K: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<K>, Problem> {
    let Some(text) = cursor else { return Ok(None) };
    let refuse = || {
        Problem::new(Kind::MalformedRequest, "the cursor is none of this list")
            .hint("pass `next` of the page before, unchanged and with the same filters")
    };
    if text.len() > CURSOR_LIMIT_CHARACTERS {
        return Err(refuse());
    }
    let json = Base64UrlUnpadded::decode_vec(text).map_err(|_| refuse())?;
    serde_json::from_slice(&json).map(Some).map_err(|_| refuse())
}

/// A page as the response: rows were read with a limit of `rows + 1`, and `keys` gives the cursor of a row.
pub(super) fn respond<R, T, K>(uri: &Uri, mut read: Vec<R>, rows: usize, keys: impl Fn(&R) -> K) -> Response
where
    T: From<R> + Serialize,
    K: Serialize,
{
    let more = read.len() > rows;
    read.truncate(rows);
    let next = if more { read.last().map(|row| encode(&keys(row))) } else { None };
    let link = next.as_deref().and_then(|next| link(uri, next));
    let page = Page { items: read.into_iter().map(T::from).collect(), next };
    let mut response = Json(page).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// `Link: </path?…&cursor=…>; rel="next"` (RFC 8288), with the query of this page.
pub(super) fn link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let kept = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: Vec<&str> = kept.collect();
    let separator = if query.is_empty() { "" } else { "&" };
    let target = format!("<{}?{}{separator}cursor={next}>; rel=\"next\"", uri.path(), query.join("&"));
    HeaderValue::from_str(&target).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let text = encode(&("acme", 7));
        assert_eq!(decode::<(String, u32)>(Some(&text)).unwrap(), Some(("acme".to_owned(), 7)));
        assert!(decode::<(String, u32)>(Some("???")).is_err());
        assert!(decode::<u32>(Some(&text)).is_err());
    }

    #[test]
    fn the_link_keeps_the_filters() {
        let uri: Uri = "/api/v1/runs?state=faulted&cursor=old&limit=2".parse().unwrap();
        assert_eq!(
            link(&uri, "new").unwrap(),
            "</api/v1/runs?state=faulted&limit=2&cursor=new>; rel=\"next\""
        );
    }
}
