//! SQLite's errors as the store's.

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let (code, extended) = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => (Some(failure.code), failure.extended_code),
            _ => (None, 0),
        };
        match code {
            Some(ErrorCode::DiskFull) => StoreError::Full,
            // The index of the log is a file of its own: a full disk shows there as an input or output error.
            Some(ErrorCode::SystemIoFailure) if extended == SQLITE_IOERR_SHMSIZE => StoreError::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { detail: error.to_string() }
            }
            _ => StoreError::Io { action: "use the database".to_owned(), source: Box::new(error) },
        }
    }
}

/// A row that no version of this program writes.
pub(super) fn corrupt(detail: impl Into<String>) -> StoreError {
    StoreError::Corrupt { detail: detail.into() }
}
