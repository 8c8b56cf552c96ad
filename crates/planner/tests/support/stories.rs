//! The files of `scenarios/planner`: a document, and events with the answers that were told.

use std::fs;
use std::path::{Path, PathBuf};

/// A scenario without its answers.
pub(crate) struct Story {
    /// The document, YAML.
    pub(crate) document: String,
    /// Lines of events (`> …`) and comments (`# …`).
    pub(crate) lines: Vec<String>,
}

/// The files, in order.
pub(crate) fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/planner");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    files
}

impl Story {
    /// Takes the text of a file apart.
    pub(crate) fn read(text: &str, file: &Path) -> Story {
        let part = |text: &'_ str, marker: &str| match text.split_once(marker) {
            Some((before, after)) => (before.to_owned(), after.to_owned()),
            None => panic!("{} has no `{marker}`", file.display()),
        };
        let (head, story) = part(text, "story: |\n");
        let (_, document) = part(&head, "document: |\n");
        let is_kept = |line: &&str| line.starts_with('>') || line.starts_with('#');
        let lines = outdent(&story).lines().filter(is_kept).map(str::to_owned).collect();
        Story { document: outdent(&document), lines }
    }

    /// The events, without their `>`.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix('>')).map(str::trim).collect()
    }
}

fn outdent(block: &str) -> String {
    block.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}
