//! The broker's own credentials for stores: always in files that only its user may read, or in the environment where a store's
//! platform puts them; never on a command line.

use std::path::Path;

use zeroize::Zeroizing;

use crate::backend::BackendError;
use crate::disk;
use crate::reference::Scheme;

/// Longest credential file, bytes.
const MAX_CREDENTIAL_BYTES: u64 = 64 * 1024;

/// A private file's text without white space around it. It is read anew at each login, so that it can be replaced while the
/// broker runs.
pub(crate) fn private_text(store: Scheme, path: &Path) -> Result<Zeroizing<String>, BackendError> {
    let bytes = disk::read(path, MAX_CREDENTIAL_BYTES)
        .map_err(|error| BackendError::Credential { store, detail: crate::external::open::chain(&error) })?;
    text(store, path, &bytes)
}

/// A token that a platform projects into a file, such as a Kubernetes service account's: others of the same pod may read it.
#[cfg(any(feature = "vault", feature = "aws-sm"))]
pub(crate) fn projected_text(store: Scheme, path: &Path) -> Result<Zeroizing<String>, BackendError> {
    let unreadable = |error: std::io::Error| BackendError::Credential {
        store,
        detail: format!("{} cannot be read: {error}", path.display()),
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_CREDENTIAL_BYTES {
        let detail = format!("{} is longer than 64 KiB", path.display());
        return Err(BackendError::Credential { store, detail });
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    text(store, path, &bytes)
}

fn text(store: Scheme, path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, BackendError> {
    let text = std::str::from_utf8(bytes).ok().map(str::trim).filter(|text| !text.is_empty());
    let refused = || BackendError::Credential { store, detail: format!("{} holds no text", path.display()) };
    Ok(Zeroizing::new(text.ok_or_else(refused)?.to_owned()))
}
