//! Images as folders: the OCI image layout, which skopeo, crane, podman and containerd read.
//!
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::layer::{self, Layer};
use super::recipe::Recipe;

const LAYOUT_VERSION: &str = "1.0.0";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// What copying programs call the image in a layout.
const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The same for all: an image with the same contents has the same digest, whatever commit it was made of.
const CREATED: &str = "1970-01-01T00:00:00Z";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: String,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Serialize, Deserialize)]
struct Configuration {
    created: String,
    #[serde(flatten)]
    platform: Platform,
    config: Process,
    rootfs: RootFileSystem,
}

/// How the program of an image is run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Process {
    /// `uid:gid`.
    pub(crate) user: String,
    /// Program and arguments.
    pub(crate) entrypoint: Vec<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct RootFileSystem {
    r#type: String,
    diff_ids: Vec<Digest>,
}

/// An image that was written.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    /// Of its manifest: what a registry knows the image by.
    pub(crate) digest: Digest,
    /// What a registry stores and a machine fetches.
    pub(crate) compressed_bytes: usize,
    /// Its layers, unpacked.
    pub(crate) unpacked_bytes: usize,
}

/// Writes an image of these layers to `folder`, in place of what is there. `reference` names it there, and is no part of it.
pub(crate) fn write(
    folder: &Path,
    reference: &str,
    recipe: &Recipe,
    layers: &[Layer],
) -> anyhow::Result<Written> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    let blobs = blobs(folder);
    fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
    let store = |media_type: &str, content: &[u8]| -> anyhow::Result<Descriptor> {
        let digest = Digest::of(content);
        fs::write(blobs.join(digest.hex()?), content).context("cannot write a blob")?;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: content.len(),
            platform: None,
            annotations: BTreeMap::new(),
        })
    };

    let platform = Platform { architecture: architecture().to_owned(), os: "linux".to_owned() };
    let configuration = Configuration {
        created: CREATED.to_owned(),
        platform: platform.clone(),
        config: Process {
            user: recipe.user.clone(),
            entrypoint: recipe.entrypoint.clone(),
            labels: recipe.labels.clone(),
        },
        rootfs: RootFileSystem {
            r#type: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        },
    };
    let config = store(CONFIG, &serde_json::to_vec(&configuration)?)?;
    let stored = layers.iter().map(|layer| store(LAYER, &layer.compressed)).collect::<Result<Vec<_>, _>>()?;
    let compressed_bytes = config.size + stored.iter().map(|layer| layer.size).sum::<usize>();
    let manifest = Manifest { schema_version: 2, media_type: MANIFEST.to_owned(), config, layers: stored };
    let mut manifest = store(MANIFEST, &serde_json::to_vec(&manifest)?)?;
    let digest = manifest.digest.clone();
    manifest.platform = Some(platform);
    manifest.annotations.insert(REFERENCE.to_owned(), reference.to_owned());
    let index = Index { schema_version: 2, media_type: INDEX.to_owned(), manifests: vec![manifest] };
    fs::write(folder.join("index.json"), serde_json::to_vec(&index)?).context("cannot write an index")?;
    let layout = Layout { image_layout_version: LAYOUT_VERSION.to_owned() };
    fs::write(folder.join("oci-layout"), serde_json::to_vec(&layout)?).context("cannot write a layout")?;
    Ok(Written {
        digest,
        compressed_bytes,
        unpacked_bytes: layers.iter().map(|layer| layer.unpacked_bytes).sum(),
    })
}

/// Digest of the image in `folder`: what a registry knows it by.
pub(crate) fn digest(folder: &Path) -> anyhow::Result<Digest> {
    let path = folder.join("index.json");
    let index = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(only(parsed(&index)?)?.digest)
}

fn only(index: Index) -> anyhow::Result<Descriptor> {
    let [manifest] = <[Descriptor; 1]>::try_from(index.manifests)
        .map_err(|manifests| anyhow::anyhow!("{} images instead of one", manifests.len()))?;
    Ok(manifest)
}

/// Unpacks the image in `folder` into `root`, trusting nothing that its digests do not vouch for.
pub(crate) fn unpack(folder: &Path, root: &Path) -> anyhow::Result<Process> {
    let layout: Layout = parsed(&fs::read(folder.join("oci-layout")).context("no OCI layout")?)?;
    ensure!(layout.image_layout_version == LAYOUT_VERSION, "layout {}", layout.image_layout_version);
    let index: Index = parsed(&fs::read(folder.join("index.json")).context("no index")?)?;
    let manifest: Manifest = parsed(&blob(folder, &only(index)?)?)?;
    let configuration: Configuration = parsed(&blob(folder, &manifest.config)?)?;
    let mut diff_ids = Vec::new();
    for stored in &manifest.layers {
        diff_ids.push(layer::unpack(&blob(folder, stored)?, root)?);
    }
    ensure!(diff_ids == configuration.rootfs.diff_ids, "the layers are not those of the configuration");
    Ok(configuration.config)
}

fn blobs(folder: &Path) -> PathBuf {
    folder.join("blobs/sha256")
}

fn blob(folder: &Path, descriptor: &Descriptor) -> anyhow::Result<Vec<u8>> {
    let path = blobs(folder).join(descriptor.digest.hex()?);
    let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(content.len() == descriptor.size, "{} has {} bytes", path.display(), content.len());
    ensure!(Digest::of(&content) == descriptor.digest, "{} is something else", path.display());
    Ok(content)
}

fn parsed<T: DeserializeOwned>(json: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(json).context("a broken layout")
}

/// This machine's, in the words of OCI (that is, of Go).
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path) -> Written {
        image_of(folder, "abc", "code")
    }

    fn image_of(folder: &Path, commit: &str, code: &str) -> Written {
        let recipe = Recipe {
            copies: Vec::new(),
            labels: BTreeMap::new(),
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/function".to_owned()],
        };
        let program = folder.with_extension("program");
        fs::write(&program, code).unwrap();
        write(folder, commit, &recipe, &[Layer::of_program(&program, "/function").unwrap()]).unwrap()
    }

    #[test]
    fn an_image_is_read_as_it_was_written() {
        let work = tempfile::tempdir().unwrap();
        let [folder, root] = ["image", "root"].map(|name| work.path().join(name));
        let written = image(&folder);
        let process = unpack(&folder, &root).unwrap();
        assert_eq!(fs::read(root.join("function")).unwrap(), b"code");
        assert_eq!(
            (process.user.as_str(), process.entrypoint),
            ("65532:65532", vec!["/function".to_owned()])
        );
        assert!(written.unpacked_bytes >= 4 && written.compressed_bytes > 0);
    }

    #[test]
    fn the_digest_is_that_of_the_contents_whatever_commit_they_are_of() {
        let work = tempfile::tempdir().unwrap();
        let digest_of = |name: &str, commit: &str, code: &str| {
            let folder = work.path().join(name);
            let written = image_of(&folder, commit, code);
            assert_eq!(digest(&folder).unwrap(), written.digest);
            written.digest
        };
        let one = digest_of("one", "abc", "code");
        assert_eq!(digest_of("other", "def", "code"), one);
        assert_ne!(digest_of("changed", "abc", "other code"), one);
    }

    #[test]
    fn a_blob_that_was_changed_is_noticed() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("image");
        image(&folder);
        for entry in blobs(&folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            let content = fs::read(&path).unwrap();
            let mut changed = content.clone();
            *changed.last_mut().unwrap() ^= 1;
            fs::write(&path, changed).unwrap();
            let error = unpack(&folder, &work.path().join("root")).unwrap_err();
            assert!(error.to_string().contains("is something else"), "{error:#}");
            fs::write(&path, content).unwrap();
        }
    }
}
