//! What the tests of all stores share: mappings of the suite, the way to a store that can be broken, private files.

use std::collections::BTreeMap;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use identity::conformance::{Fault, IDENTITIES, mapping};
use identity::external::mapping::Mapping;
use identity::reference::IdentityPath;
use testkit::proxy::{Proxy, Way};

/// The path in a variable, or `None` after saying what is skipped.
pub(crate) fn counterpart(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: {variable} is not set; `cargo xtask test` sets it");
    }
    found
}

/// A folder that only this user may enter.
pub(crate) fn folder() -> tempfile::TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().unwrap()
}

/// A file that only this user may read.
pub(crate) fn private_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::io::Write;
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path
}

/// The mappings of the suite.
pub(crate) fn mappings(path_of: impl Fn(&str) -> IdentityPath) -> BTreeMap<IdentityPath, Mapping> {
    IDENTITIES.into_iter().map(|name| (path_of(name), mapping(name))).collect()
}

/// Sets the way to a store as a fault of the network wants it; false for another fault.
pub(crate) fn break_way(proxy: &Proxy, fault: Option<Fault>) -> bool {
    match fault {
        None => proxy.set(Way::Open),
        Some(Fault::Unreachable) => proxy.set(Way::Closed),
        Some(Fault::Slow) => proxy.set(Way::Stalled),
        Some(Fault::Denied) => return false,
    }
    true
}
