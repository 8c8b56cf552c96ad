//! Large values go to the blob store and leave a reference in their column. This is the one place that knows; callers of
//! the store see values as they gave them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::blob::{BlobId, Blobs};
use crate::turn::{StepChange, Turn};
use crate::{LoadedRun, StoreError};

/// Larger values are blobs.
pub const MAX_INLINE_BYTES: usize = 256 * 1024;
/// Larger values are refused.
pub const MAX_VALUE_BYTES: usize = 64 * 1024 * 1024;

/// First byte of a column that is not simply the value. It is no first byte of UTF-8, so JSON never begins with it.
const MARK: u8 = 0xF5;
/// After the mark: the rest is the value, which begins with the mark.
const ESCAPED: u8 = 0;
/// After the mark: the rest is a blob's SHA-256.
const REFERENCE: u8 = 1;

/// A turn with its large values in the blob store.
pub(crate) struct SlimTurn {
    pub(crate) turn: Turn,
    /// The blobs that it refers to.
    pub(crate) blobs: Vec<BlobId>,
}

/// Moves the large values of a turn to the blob store.
pub(crate) async fn slim(blobs: &Blobs, mut turn: Turn) -> Result<SlimTurn, StoreError> {
    let (run, mut used) = (turn.run, Vec::new());
    for value in values_of(&mut turn) {
        if value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::Invalid(format!(
                "a value of run {run} has {} bytes, the limit is {MAX_VALUE_BYTES}",
                value.len()
            )));
        }
        if value.len() > MAX_INLINE_BYTES {
            let blob = blobs.put(value.clone()).await?;
            *value = marked(REFERENCE, &blob.0);
            used.push(blob);
        } else if value.first() == Some(&MARK) {
            *value = marked(ESCAPED, value);
        }
    }
    Ok(SlimTurn { turn, blobs: used })
}

/// Puts the value in place of a column's reference.
pub(crate) async fn fetch(blobs: &Blobs, column: &mut Bytes) -> Result<(), StoreError> {
    match (column.first(), column.get(1)) {
        (Some(&MARK), Some(&ESCAPED)) => *column = column.slice(2..),
        (Some(&MARK), Some(&REFERENCE)) => {
            let blob = <[u8; 32]>::try_from(&column[2..]).map(BlobId);
            let blob =
                blob.map_err(|_| StoreError::Corrupt { detail: "a reference to a blob is cut".to_owned() })?;
            *column = blobs.read(blob, MAX_VALUE_BYTES as u64).await?;
        }
        (Some(&MARK), _) => {
            return Err(StoreError::Corrupt { detail: "a value's mark is unknown".to_owned() });
        }
        _ => {}
    }
    Ok(())
}

/// [`fetch`] for each.
pub(crate) async fn fetch_all<'a>(
    blobs: &Blobs,
    columns: impl IntoIterator<Item = &'a mut Bytes>,
) -> Result<(), StoreError> {
    for column in columns {
        fetch(blobs, column).await?;
    }
    Ok(())
}

/// [`fetch`] for everything in a loaded run.
pub(crate) async fn fetch_run(blobs: &Blobs, run: &mut LoadedRun) -> Result<(), StoreError> {
    let events = run.events.iter_mut().flat_map(|entry| [&mut entry.event, &mut entry.notes]);
    let errors = run.open_steps.iter_mut().filter_map(|step| step.error.as_mut());
    let snapshot = run.snapshot.iter_mut().map(|snapshot| &mut snapshot.state);
    let columns: Vec<&mut Bytes> = events.chain(errors).chain(snapshot).collect();
    fetch_all(blobs, columns).await
}

fn marked(kind: u8, rest: &[u8]) -> Bytes {
    let mut column = BytesMut::with_capacity(2 + rest.len());
    column.put_u8(MARK);
    column.put_u8(kind);
    column.put_slice(rest);
    column.freeze()
}

fn values_of(turn: &mut Turn) -> Vec<&mut Bytes> {
    let mut values: Vec<&mut Bytes> = Vec::with_capacity(8);
    values.extend(turn.create.as_mut().map(|new| &mut new.input));
    values.extend(turn.events.iter_mut().flat_map(|event| [&mut event.event, &mut event.notes]));
    values.extend(turn.snapshot.as_mut());
    if let Some(summary) = &mut turn.summary {
        values.extend(summary.output.as_mut());
        values.extend(summary.error.as_mut());
    }
    for change in &mut turn.steps {
        match change {
            StepChange::Ready(new) => values.push(&mut new.spec),
            StepChange::Finished { error, .. } => values.extend(error.as_mut()),
            StepChange::Leased { .. }
            | StepChange::Started { .. }
            | StepChange::Released { .. }
            | StepChange::Cancelled { .. } => {}
        }
    }
    values
}
