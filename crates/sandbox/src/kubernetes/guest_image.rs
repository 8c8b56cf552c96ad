//! The guest's image, as an archive that `docker load`, `podman load`, `ctr images import` and `skopeo copy` read: one layer
//! with one static file. An operator pushes it to the registry that the cluster pulls from.

use std::fmt::Write as _;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::pod::GUEST_IN_IMAGE;
use crate::guest_binary;

/// Unit of a tar archive.
const BLOCK_BYTES: usize = 512;
/// Everyone may run the guest.
const FILE_MODE: u32 = 0o755;
/// Root alone enters a folder.
const FOLDER_MODE: u32 = 0o700;

/// The archive; `name` is what the image is called after loading, such as `registry.example.com/sagewai-guest:1`.
pub fn guest_image(name: &str) -> Vec<u8> {
    // The folder is what the guest makes where it is copied; where its image is mounted it has to be there.
    let layer = archive(&[
        (GUEST_IN_IMAGE.trim_start_matches('/'), guest_binary()),
        ("closed/", b""),
        ("closed/log", b""),
    ]);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": [GUEST_IN_IMAGE]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hash(&layer))]},
    });
    let config = config.to_string();
    let config_name = format!("{}.json", hash(config.as_bytes()));
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).to_string();
    archive(&[
        ("manifest.json", manifest.as_bytes()),
        (&config_name, config.as_bytes()),
        ("layer.tar", &layer),
    ])
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// A tar archive (POSIX ustar) of files that belong to root and are as old as the epoch, so that it is always the same.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        archive.extend_from_slice(&header(name, content.len()));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    // Two empty blocks end it.
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    archive
}

fn header(name: &str, bytes: usize) -> [u8; BLOCK_BYTES] {
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    let folder = name.ends_with('/');
    put(100, format!("{:07o}", if folder { FOLDER_MODE } else { FILE_MODE }).as_bytes());
    for owner_or_group in [108, 116] {
        put(owner_or_group, b"0000000");
    }
    put(124, format!("{bytes:011o}").as_bytes());
    put(136, b"00000000000");
    // The checksum is counted with spaces in its place.
    put(148, b"        ");
    put(156, if folder { b"5" } else { b"0" });
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_read_by_tar() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.tar");
        std::fs::write(&file, archive(&[("one", b"first"), ("folder/", b""), ("folder/two", &[7; 1000])]))
            .expect("written");
        let unpacked =
            std::process::Command::new("tar").arg("-C").arg(folder.path()).arg("-xf").arg(&file).status();
        assert!(unpacked.expect("tar runs").success());
        assert_eq!(std::fs::read(folder.path().join("one")).expect("read"), b"first");
        assert_eq!(std::fs::read(folder.path().join("folder/two")).expect("read"), [7; 1000]);
    }
}
