//! What is deployed, and the tag of its revision.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::image::layout;
use crate::repository::Repository;
use crate::service::Service;
use crate::usage_error::UsageError;

/// Characters of a commit or version in a tag.
const SHORT: usize = 12;
const DIGEST: &str = "sha256:";

/// Which image to deploy.
#[derive(Args)]
pub(super) struct Wanted {
    /// Image to deploy: the digest (sha256:…) of this commit's image in the registry, or a whole image reference; by default,
    /// the image of this commit. The revision's tag is rev-COMMIT, or made from the whole reference.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Deploy this commit's images that `scripts/ops image` left in a folder and that are in the registry. Those that serve
    /// already, by their digest, are left alone.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["image", "redeploy"])]
    images: Option<PathBuf>,
    /// Deploy the serving image again, so that it gets a new secret or setting.
    #[arg(long, conflicts_with = "image")]
    redeploy: bool,
    /// Deploy this commit although the serving commit is not in its history: the changes of that one are removed.
    #[arg(long)]
    older: bool,
    /// Registry of the images: HOST/PROJECT/REPOSITORY.
    #[arg(long, env = "IMAGE_REGISTRY", value_name = "REGISTRY")]
    registry: Option<String>,
}

impl Wanted {
    /// Fails if one image is given for several functions.
    pub(super) fn ensure_fits(&self, functions: usize) -> anyhow::Result<()> {
        let is_one = functions == 1 || self.image.is_none();
        ensure!(
            is_one,
            UsageError("--image is the image of one function: for several, pass --images".to_owned())
        );
        Ok(())
    }

    /// Whether the images are those of the current commit.
    pub(super) fn is_of_checkout(&self) -> bool {
        let is_digest = |image: &String| image.starts_with(DIGEST);
        !self.redeploy && self.image.as_ref().is_none_or(is_digest)
    }

    /// Fails if the commit that `before` runs is not in the history of the current commit, unless --older is given.
    pub(super) fn ensure_newer(&self, service: &Service, before: &str) -> anyhow::Result<()> {
        let repository = Repository::here()?;
        let serving = service.tag(before).and_then(commit);
        ensure!(
            self.older || serving.is_none_or(|commit| repository.contains(commit)),
            "{before} runs commit {}, which is not in the history of this checkout: fetch it, or pass --older to remove its changes",
            serving.unwrap_or_default(),
        );
        Ok(())
    }

    /// The requested build.
    pub(super) fn build(&self, function: &str, service: &Service) -> anyhow::Result<Build> {
        if self.redeploy {
            return Build::serving(service);
        }
        let registry = || {
            let registry = self.registry.as_deref().context("pass --registry, or set IMAGE_REGISTRY")?;
            Ok::<_, anyhow::Error>(format!("{registry}/{function}"))
        };
        let of_checkout = |image| Ok(Build { image, tag: tag(&head()?) });
        if let Some(images) = &self.images {
            return of_checkout(format!("{}@{}", registry()?, layout::digest(&images.join(function))?));
        }
        match &self.image {
            None => of_checkout(format!("{}:{}", registry()?, head()?)),
            Some(digest) if digest.starts_with(DIGEST) => of_checkout(format!("{}@{digest}", registry()?)),
            Some(image) => match image.split_once('@').or_else(|| image.rsplit_once(':')) {
                Some((_, version)) if image.contains('/') && !version.contains('/') => {
                    Ok(Build { image: image.clone(), tag: tag(version) })
                }
                _ => {
                    bail!(UsageError(format!(
                        "{image} is neither a digest nor an image with a tag or a digest"
                    )))
                }
            },
        }
    }
}

/// What is deployed.
pub(super) struct Build {
    pub(super) image: String,
    /// The tag of its revision.
    pub(super) tag: String,
}

impl Build {
    /// Whether a revision runs this image, as far as its digest is known.
    pub(super) fn is_what_runs(&self, service: &Service, revision: &str) -> bool {
        let digest = self.image.split_once('@').map(|(_, digest)| digest);
        let serving = service.image(revision).ok().and_then(|image| image.split_once('@'));
        digest.is_some() && digest == serving.map(|(_, digest)| digest)
    }

    /// The serving image, or the one that served before this call was interrupted. The tag keeps its commit and gets a number.
    fn serving(service: &Service) -> anyhow::Result<Self> {
        let serving = service.serving_before().map_or_else(|| service.serving(), Ok)?;
        let name = service.tag(serving).and_then(|tag| tag.split('-').nth(1)).unwrap_or("redeploy");
        Ok(Self {
            image: service.image(serving)?.to_owned(),
            tag: format!("rev-{name}-{}", service.generation(serving)),
        })
    }
}

/// The current commit.
fn head() -> anyhow::Result<String> {
    Ok(Repository::here()?.git(&["rev-parse", "HEAD"])?.trim().to_owned())
}

/// Tags are made of lower-case letters, digits and hyphens.
fn tag(version: &str) -> String {
    let allowed = version.chars().filter(char::is_ascii_alphanumeric).take(SHORT);
    format!("rev-{}", allowed.collect::<String>().to_ascii_lowercase())
}

/// The commit in a tag, if there is one. The tag of a digest contains the name of the hash instead.
fn commit(tag: &str) -> Option<&str> {
    let name = tag.split('-').nth(1)?;
    let is_commit = name.len() == SHORT && name.chars().all(|digit| digit.is_ascii_hexdigit());
    is_commit.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_contains_the_deployed_commit() {
        const COMMIT: &str = "0354f8291a7be0354f8291a7be0354f8291a7be0";
        #[track_caller]
        fn check(tag: &str, expected: Option<&str>) {
            assert_eq!(commit(tag), expected, "{tag}");
        }
        check(&tag(COMMIT), Some("0354f8291a7b"));
        // Redeployed.
        check(&format!("{}-7", tag(COMMIT)), Some("0354f8291a7b"));
        check(&tag(&format!("sha256:{COMMIT}")), None);
        check(&tag("v1.2"), None);
        // Of a revision that had no tag.
        check("rev-00001-abc", None);
    }
}
