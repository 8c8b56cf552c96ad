//! Logs and the use of blobs.

use bytes::Bytes;
use protocol::id::{AttemptId, StepId};
use protocol::step::Artifact;

use super::samples::*;
use crate::blob::BlobId;
use crate::{
    LogBody, LogChunk, LogCursor, LogFilter, MAX_INLINE_BYTES, MAX_LOG_BYTES_PER_STEP, StepChange, StepState,
    Store, Turn,
};

fn chunk(step: u32, attempt: u32, sequence: u64, content: &str) -> LogChunk {
    LogChunk {
        attempt: AttemptId { run: run(1), step: StepId(step), attempt },
        sequence,
        stream: 1,
        at: at(5),
        body: LogBody::Inline(text(content)),
    }
}

/// Chunks come back by step, attempt and sequence, each once, in pages.
pub async fn chunks_come_in_order_and_once(store: &dyn Store) {
    let blob = LogBody::Blob { blob: BlobId([3; 32]), size: 70 };
    let far = LogChunk { body: blob, stream: 2, ..chunk(2, 1, 0, "") };
    let chunks = vec![chunk(1, 2, 0, "c"), chunk(1, 1, 1, "b"), chunk(1, 1, 0, "a"), far.clone()];
    assert!(store.append_logs(chunks).await.expect("append").is_empty());
    let again = vec![chunk(1, 1, 0, "a"), chunk(1, 2, 1, "d")];
    assert!(store.append_logs(again).await.expect("append").is_empty());

    let ordered =
        [chunk(1, 1, 0, "a"), chunk(1, 1, 1, "b"), chunk(1, 2, 0, "c"), chunk(1, 2, 1, "d"), far.clone()];
    let all = LogFilter { run: run(1), step: None };
    assert_eq!(store.logs(all, None, 10).await.expect("logs"), ordered);
    let after = LogCursor { step: StepId(1), attempt: 1, sequence: 1 };
    assert_eq!(store.logs(all, Some(after), 2).await.expect("logs"), ordered[2..4]);
    let first = LogFilter { step: Some(StepId(1)), ..all };
    assert_eq!(store.logs(first, Some(after), 10).await.expect("logs"), ordered[2..4]);
    let second = LogFilter { step: Some(StepId(2)), ..all };
    assert_eq!(store.logs(second, Some(after), 10).await.expect("logs"), [far]);
    assert!(store.logs(LogFilter { run: run(2), step: None }, None, 10).await.expect("logs").is_empty());
}

/// A step's logs stop at the limit, and the caller is told; a chunk sent again is no loss.
pub async fn logs_of_a_step_are_capped(store: &dyn Store) {
    let large = |step, sequence, size| LogChunk {
        body: LogBody::Blob { blob: BlobId([1; 32]), size },
        ..chunk(step, 1, sequence, "")
    };
    let most = large(1, 0, MAX_LOG_BYTES_PER_STEP - 1);
    assert!(store.append_logs(vec![most.clone(), chunk(1, 1, 1, "x")]).await.expect("append").is_empty());
    let cut = store.append_logs(vec![chunk(1, 1, 2, "y"), chunk(2, 1, 0, "z")]).await.expect("append");
    assert_eq!(cut, [(run(1), StepId(1))]);
    assert!(store.append_logs(vec![most]).await.expect("append").is_empty());
    let inline = LogBody::Inline(Bytes::from(vec![b'x'; MAX_INLINE_BYTES + 1]));
    store
        .append_logs(vec![LogChunk { body: inline, ..chunk(3, 1, 0, "") }])
        .await
        .expect_err("that is for a blob");
    assert_eq!(store.logs(LogFilter { run: run(1), step: None }, None, 10).await.expect("logs").len(), 3);
}

/// Blobs of artifacts and logs are in use; others are not.
pub async fn unused_blobs_are_told(store: &dyn Store) {
    let (file, log, nothing) = (BlobId([0xAB; 32]), BlobId([0xCD; 32]), BlobId([0xEF; 32]));
    let artifact = Artifact { path: "a".to_owned(), size: 1, sha256: file.to_string() };
    let end = StepChange::Finished {
        step: StepId(1),
        attempt: 1,
        state: StepState::Completed,
        at: at(1),
        artifacts: vec![artifact],
        error: None,
    };
    taken(store, Turn { steps: vec![ready(1), lease(1, 1, "w"), end], ..create(1) }).await;
    let body = LogBody::Blob { blob: log, size: 1 };
    store.append_logs(vec![LogChunk { body, ..chunk(1, 1, 0, "") }]).await.expect("append");
    assert_eq!(store.unused_blobs(vec![file, nothing, log]).await.expect("unused"), [nothing]);
}
