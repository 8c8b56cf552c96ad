//! The volume with the guest: filled once per daemon through the API, so that a remote daemon needs nothing of this
//! machine's files, and mounted read-only into each container.

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, VolumeCreateRequest,
};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::container::GUEST_FOLDER;
use super::sweep::Labels;
use super::trouble::{Trouble, from_bollard};

/// Beside the guest, and unpacked after it: where it is, the guest is whole.
const COMPLETE: &str = "complete";
/// Bytes of a block of a tar archive.
const BLOCK_BYTES: usize = 512;

/// The volume's name, by what is in it: versions of this program do not disturb each other.
pub(super) fn name() -> String {
    let digest = Sha256::digest(crate::guest_binary());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("sagewai-guest-{short}")
}

/// Fills the volume, unless another worker has. Files can be put into a volume only where a container mounts it: one is
/// made of `image` for this, and never started.
pub(super) async fn fill(docker: &Docker, image: &str, labels: &Labels) -> Result<String, Trouble> {
    let name = name();
    let request = VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some([("sagewai.guest".to_owned(), "1".to_owned())].into()),
        ..VolumeCreateRequest::default()
    };
    docker.create_volume(request).await.map_err(from_bollard)?;
    let helper = docker.create_container(None, helper(image, &name, labels)).await.map_err(from_bollard)?.id;
    let filled = put(docker, &helper).await;
    let options = RemoveContainerOptionsBuilder::new().force(true).v(false).build();
    let removed = docker.remove_container(&helper, Some(options)).await.map_err(from_bollard);
    filled.and(removed).map(|()| name)
}

fn helper(image: &str, volume: &str, labels: &Labels) -> ContainerCreateBody {
    let mount = Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.to_owned()),
        target: Some(GUEST_FOLDER.to_owned()),
        // An image that has this folder does not get its files into the volume.
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/never-started".to_owned()]),
        cmd: Some(Vec::new()),
        labels: Some(labels.of("helper")),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![mount]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

async fn put(docker: &Docker, helper: &str) -> Result<(), Trouble> {
    let marker = format!("{GUEST_FOLDER}/{COMPLETE}");
    let options = ContainerArchiveInfoOptionsBuilder::new().path(&marker).build();
    match docker.get_container_archive_info(helper, Some(options)).await.map_err(from_bollard) {
        Ok(_) => return Ok(()),
        Err(trouble) if trouble.is_missing() => {}
        Err(trouble) => return Err(trouble),
    }
    let archive = archive(&[("guest", 0o555, crate::guest_binary()), (COMPLETE, 0o444, b"")]);
    let options = UploadToContainerOptionsBuilder::new().path(GUEST_FOLDER).build();
    docker
        .upload_to_container(helper, Some(options), bollard::body_full(Bytes::from(archive)))
        .await
        .map_err(from_bollard)
}

/// A tar archive (POSIX ustar) of files of root: name, permission bits, content.
fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        archive.extend_from_slice(&header(name, *mode, content.len()));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK_BYTES, 0);
    archive
}

fn header(name: &str, mode: u32, size: usize) -> [u8; BLOCK_BYTES] {
    let mut header = [0; BLOCK_BYTES];
    let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, &format!("{mode:07o}"));
    field(108, "0000000");
    field(116, "0000000");
    field(124, &format!("{size:011o}"));
    field(136, "00000000000");
    field(148, "        ");
    field(156, "0");
    field(257, "ustar");
    field(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_the_archive() {
        let archive = archive(&[("guest", 0o555, b"program"), (COMPLETE, 0o444, b"")]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.tar");
        std::fs::write(&file, archive).expect("written");
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&file).output().expect("tar runs");
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        assert!(text.contains("-r-xr-xr-x") && text.contains("7 1970") && text.contains(COMPLETE), "{text}");
    }
}
