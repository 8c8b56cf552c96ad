//! Manifests, indexes and configurations, of OCI and of Docker's second schema: which layers an image has, and what it says
//! about its process.

use serde::Deserialize;

use super::digest::Digest;
use super::limits::{MAX_COMPRESSED_BYTES, MAX_LAYERS, MAX_PROCESS_BYTES};
use crate::ImageConfig;

/// What is asked for, in the header `Accept`.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A part of an image by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    /// As the manifest says; what comes is cut off there.
    pub(super) bytes: u64,
}

/// One image for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Blob,
    /// From the lowest.
    pub(super) layers: Vec<Blob>,
}

/// What a registry has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Manifest(Manifest),
    /// The manifest for this platform, out of several.
    Index(Blob),
}

/// Why a document is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Not for this platform but for these.
    Platform(String),
    /// Something else, as a sentence.
    Other(String),
}

/// What of an image's configuration counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) process: ImageConfig,
    /// Digests of the layers' plain tar streams, from the lowest.
    pub(super) diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
}

/// This machine in the words of images (Go's GOARCH).
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Reads a manifest or an index.
pub(super) fn read_document(bytes: &[u8]) -> Result<Document, Unfit> {
    let raw: RawDocument = serde_json::from_slice(bytes)
        .map_err(|error| other(format!("its manifest is no JSON of a manifest ({error})")))?;
    if raw.schema_version != 2 {
        return Err(other(
            "its manifest is of Docker's first schema, which is no longer read: push it anew with a newer tool",
        ));
    }
    // A document that is both could be taken for one by a check and for the other here (CVE-2021-41190).
    match (raw.manifests, raw.layers, raw.config) {
        (Some(manifests), None, None) => choose(&manifests).map(Document::Index),
        (None, Some(layers), Some(config)) => read_manifest(&config, &layers).map(Document::Manifest),
        _ => Err(other(format!(
            "its manifest is neither an image nor an index (media type {:?})",
            raw.media_type.unwrap_or_default()
        ))),
    }
}

fn read_manifest(config: &RawDescriptor, layers: &[RawDescriptor]) -> Result<Manifest, Unfit> {
    if layers.is_empty() {
        return Err(other("it has no layers"));
    }
    if layers.len() > MAX_LAYERS {
        return Err(other(format!(
            "it has more than {MAX_LAYERS} layers; join some of them when it is built"
        )));
    }
    for layer in layers {
        let known = layer.media_type.contains("image.layer.v1.tar")
            || layer.media_type.contains("image.rootfs.diff.tar");
        if !known || layer.media_type.contains("encrypted") || layer.media_type.contains("foreign") {
            return Err(other(format!(
                "it has a layer of type {:?}, which is not a tar archive from the registry",
                layer.media_type
            )));
        }
        if layer.size > MAX_COMPRESSED_BYTES {
            return Err(other("it has a layer of more than 8 GiB"));
        }
    }
    Ok(Manifest { config: blob(config)?, layers: layers.iter().map(blob).collect::<Result<_, _>>()? })
}

fn choose(manifests: &[RawDescriptor]) -> Result<Blob, Unfit> {
    let of = |descriptor: &RawDescriptor| match &descriptor.platform {
        Some(platform) => {
            platform.os == "linux"
                && platform.architecture == architecture()
                // Higher levels of amd64 need newer processors than this one may be.
                && platform.variant.as_deref().is_none_or(|variant| matches!(variant, "" | "v1" | "v8"))
        }
        None => false,
    };
    match manifests.iter().find(|descriptor| of(descriptor)) {
        Some(found) => blob(found),
        None => {
            let mut offered: Vec<String> = manifests
                .iter()
                .filter_map(|descriptor| descriptor.platform.as_ref())
                .filter(|platform| platform.os != "unknown")
                .map(|platform| format!("{}/{}", platform.os, platform.architecture))
                .collect();
            offered.sort();
            offered.dedup();
            offered.truncate(20);
            Err(Unfit::Platform(if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") }))
        }
    }
}

fn blob(raw: &RawDescriptor) -> Result<Blob, Unfit> {
    let digest = Digest::parse(&raw.digest).ok_or_else(|| {
        other(format!(
            "it names a part by {:?}, which is no sha256 digest",
            raw.digest.chars().take(80).collect::<String>()
        ))
    })?;
    Ok(Blob { digest, bytes: raw.size })
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    rootfs: RawRoot,
    #[serde(default)]
    config: Option<RawProcess>,
}

#[derive(Deserialize)]
struct RawRoot {
    diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawProcess {
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    user: Option<String>,
}

/// Reads the configuration of an image with so many layers.
pub(super) fn read_config(bytes: &[u8], layers: usize) -> Result<Config, Unfit> {
    let raw: RawConfig = serde_json::from_slice(bytes)
        .map_err(|error| other(format!("its configuration is none of an image ({error})")))?;
    if raw.os != "linux" || raw.architecture != architecture() {
        return Err(Unfit::Platform(format!("{}/{}", raw.os, raw.architecture)));
    }
    let diff_ids: Option<Vec<Digest>> = raw.rootfs.diff_ids.iter().map(|text| Digest::parse(text)).collect();
    let diff_ids = diff_ids
        .ok_or_else(|| other("its configuration names a layer by something else than a sha256 digest"))?;
    if diff_ids.len() != layers {
        return Err(other("its configuration and its manifest differ in the number of layers"));
    }
    let process = raw.config.unwrap_or_default();
    let words = [&process.env, &process.entrypoint, &process.cmd];
    let bytes: usize = words.into_iter().flatten().flatten().map(|word| word.len() + 1).sum();
    if bytes > MAX_PROCESS_BYTES {
        return Err(other("its environment, entrypoint and command together have more than 64 KiB"));
    }
    Ok(Config {
        process: ImageConfig {
            environment: ImageConfig::read_environment(process.env.unwrap_or_default()),
            directory: process.working_dir.as_deref().and_then(ImageConfig::read_directory),
            entrypoint: process.entrypoint.unwrap_or_default(),
            command: process.cmd.unwrap_or_default(),
            user: process.user.filter(|user| !user.is_empty()),
        },
        diff_ids,
    })
}

fn other(why: impl Into<String>) -> Unfit {
    Unfit::Other(why.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(document: &Value) -> Result<Document, Unfit> {
        read_document(document.to_string().as_bytes())
    }

    fn descriptor(media_type: &str, content: &[u8]) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(content).to_string(), "size": content.len()})
    }

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    #[test]
    fn the_platform_of_this_machine_is_chosen_and_others_are_told() {
        let entry = |os: &str, architecture: &str, content: &[u8]| {
            let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", content);
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        };
        let index = |entries: Vec<Value>| json!({"schemaVersion": 2, "manifests": entries});
        let many = index(vec![
            entry("windows", architecture(), b"w"),
            entry("unknown", "unknown", b"attestation"),
            entry("linux", "s390x", b"s"),
            entry("linux", architecture(), b"ours"),
        ]);
        let Ok(Document::Index(chosen)) = read(&many) else { panic!("an index") };
        assert_eq!(chosen.digest, Digest::of(b"ours"));
        let none = index(vec![entry("linux", "s390x", b"s"), entry("unknown", "unknown", b"a")]);
        assert_eq!(read(&none), Err(Unfit::Platform("linux/s390x".to_owned())));
    }

    #[test]
    fn what_is_no_plain_image_is_refused() {
        let config = descriptor("application/vnd.oci.image.config.v1+json", b"{}");
        let image = |layers: Vec<Value>| json!({"schemaVersion": 2, "config": config, "layers": layers});
        assert!(matches!(read(&image(vec![descriptor(LAYER, b"x")])), Ok(Document::Manifest(_))));
        let mut both = image(vec![descriptor(LAYER, b"x")]);
        both["manifests"] = json!([]);
        let mut huge = descriptor(LAYER, b"x");
        huge["size"] = json!(u64::MAX);
        let mut sha512 = descriptor(LAYER, b"x");
        sha512["digest"] = json!("sha512:00");
        for wrong in [
            both,
            image(vec![]),
            image(vec![descriptor(LAYER, b"x"); MAX_LAYERS + 1]),
            image(vec![descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"x")]),
            image(vec![descriptor("application/json", b"x")]),
            image(vec![huge]),
            image(vec![sha512]),
            json!({"schemaVersion": 1, "fsLayers": []}),
            json!([]),
        ] {
            assert!(matches!(read(&wrong), Err(Unfit::Other(_))), "{wrong}");
        }
    }

    #[test]
    fn a_configuration_says_how_the_process_starts() {
        let diff = Digest::of(b"layer").to_string();
        let config = json!({
            "architecture": architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]},
            "config": {"Env": ["A=1"], "Entrypoint": ["/app"], "Cmd": null, "WorkingDir": "/srv", "User": "65532:0"},
        });
        let read = read_config(config.to_string().as_bytes(), 1).expect("well-formed");
        assert_eq!(read.process.entrypoint, ["/app"]);
        assert_eq!(read.process.directory.as_deref(), Some("/srv"));
        assert_eq!(read.process.user.as_deref(), Some("65532:0"));
        assert!(matches!(read_config(config.to_string().as_bytes(), 2), Err(Unfit::Other(_))));
        let mut foreign = config.clone();
        foreign["architecture"] = json!("s390x");
        assert_eq!(
            read_config(foreign.to_string().as_bytes(), 1),
            Err(Unfit::Platform("linux/s390x".to_owned()))
        );
        let mut large = config;
        large["config"]["Env"] = json!(["A=".to_owned() + &"x".repeat(MAX_PROCESS_BYTES)]);
        assert!(matches!(read_config(large.to_string().as_bytes(), 1), Err(Unfit::Other(_))));
    }
}
