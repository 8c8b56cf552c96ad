//! The files of `examples/` that the demo uses, as they were at build time.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where the example expects the demo's service.
pub(super) const SERVICE: &str = "127.0.0.1:17429";

const DOCUMENT: &str = include_str!("../../../../../examples/first-run.yaml");
const AGENT_FILES: [(&str, &str); 2] = [
    ("scribe.toml", include_str!("../../../../../examples/agents/scribe.toml")),
    ("scribe.py", include_str!("../../../../../examples/agents/scribe.py")),
];

/// The document, with the service where it really is.
pub(super) fn document(service: &str) -> String {
    DOCUMENT.replace(SERVICE, service)
}

/// Writes the manifest of the example's CLI agent and its program below `data`; gives their folder.
pub(super) fn lay_out_agents(data: &Path) -> Result<PathBuf, Failure> {
    let folder = data.join("agents");
    std::fs::create_dir_all(&folder).map_err(|error| Failure::file("make", &folder, &error))?;
    for (name, text) in AGENT_FILES {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    }
    Ok(folder)
}
