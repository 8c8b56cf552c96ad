//! `Prefer: wait=SECONDS` (RFC 7240 §4.3): an answer that waits for the end of a run.

use std::time::Duration;

use axum::http::HeaderMap;
use protocol::id::RunId;

use super::Api;
use super::events::permit;
use super::problem::Problem;
use crate::driver::ends::End;

/// The longest that an answer waits, seconds; a longer wish is cut to it.
pub(super) const WAIT_LIMIT_SECONDS: u64 = 60;

/// How long the client wishes to wait. A preference that is malformed is ignored, as the RFC says.
pub(super) fn preference(headers: &HeaderMap) -> Option<Duration> {
    let texts = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wishes = texts.flat_map(|text| text.split([',', ';'])).filter_map(|wish| wish.split_once('='));
    let (_, seconds) = wishes.find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))?;
    let seconds: u64 = seconds.trim().trim_matches('"').parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds.min(WAIT_LIMIT_SECONDS)))
}

/// Waits until a run has ended; `false` if it has not after `limit`. `end` is the end of a run that was just made.
pub(super) async fn until_ended(
    api: &Api,
    run: RunId,
    end: Option<End>,
    limit: Duration,
) -> Result<bool, Problem> {
    let _permit = permit(api)?;
    let ended = async {
        match end {
            Some(end) => end.reached().await,
            None => api.control.ended(run).await?,
        }
        Ok(())
    };
    match tokio::time::timeout(limit, ended).await {
        Ok(reached) => reached.map(|()| true),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_cut_or_ignored() {
        let wish = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", text.parse().unwrap());
            preference(&headers).map(|limit| limit.as_secs())
        };
        assert_eq!(wish("wait=5"), Some(5));
        assert_eq!(wish("respond-async, Wait=\"7\""), Some(7));
        assert_eq!(wish("wait=100000"), Some(WAIT_LIMIT_SECONDS));
        for ignored in ["wait", "wait=", "wait=soon", "wait=-1", "wait=0", "handling=strict"] {
            assert_eq!(wish(ignored), None, "{ignored}");
        }
    }
}
