//! What an image may cost, whoever made it.

use std::time::Duration;

/// Bytes of a manifest, an index or a token's answer, at most (the distribution specification asks for 4 MiB).
pub(super) const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Bytes of an image's configuration, at most.
pub(super) const MAX_CONFIG_BYTES: usize = 4 << 20;
/// Bytes of environment, entrypoint and command of an image together, at most: they travel in one frame.
pub(super) const MAX_PROCESS_BYTES: usize = 64 << 10;
/// Layers of an image, at most; their names have to fit into one page of mount options.
pub(super) const MAX_LAYERS: usize = 127;
/// Bytes of one layer as it is sent, at most.
pub(super) const MAX_COMPRESSED_BYTES: u64 = 8 << 30;
/// Bytes of one layer's files, at most.
pub(super) const MAX_UNPACKED_BYTES: u64 = 16 << 30;
/// Files, folders and links of one layer, at most.
pub(super) const MAX_ENTRIES: u64 = 1_000_000;
/// Bytes of a path, at most (PATH_MAX of Linux).
pub(super) const MAX_PATH_BYTES: usize = 4095;
/// Bytes of one name in a path, at most (NAME_MAX of Linux).
pub(super) const MAX_NAME_BYTES: usize = 255;
/// Folders above a file, at most: removing a tree keeps one open for each.
pub(super) const MAX_DEPTH: usize = 128;
/// Bytes of a tar header's extension (long names), at most.
pub(super) const MAX_EXTENSION_BYTES: u64 = 64 << 10;
/// Layers that are pulled at once.
pub(super) const LAYERS_AT_ONCE: usize = 3;
/// Times a layer is asked for where the connection breaks.
pub(super) const LAYER_ATTEMPTS: u32 = 3;
/// Chunks of a layer that wait to be unpacked.
pub(super) const CHUNKS: usize = 16;
/// Redirects that are followed.
pub(super) const MAX_REDIRECTS: u32 = 5;
/// The longest a registry may take to begin its answer, and to send its next bytes.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How often the step's log hears of a pull that goes on.
pub(super) const PROGRESS: Duration = Duration::from_secs(5);
/// Manifests, configurations and tags that are remembered, each; the oldest are forgotten.
pub(super) const MAX_RECORDS: usize = 4096;

/// Limits of unpacking one layer; a test asks for smaller ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerLimits {
    pub(super) compressed_bytes: u64,
    pub(super) unpacked_bytes: u64,
    pub(super) entries: u64,
}

impl Default for LayerLimits {
    fn default() -> Self {
        Self {
            compressed_bytes: MAX_COMPRESSED_BYTES,
            unpacked_bytes: MAX_UNPACKED_BYTES,
            entries: MAX_ENTRIES,
        }
    }
}
