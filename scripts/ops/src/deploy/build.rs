//! What is deployed, and the tag that tells it later.

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::repository::Repository;
use crate::service::Service;
use crate::wrong_call::WrongCall;

/// Characters of a commit or version in a tag.
const SHORT: usize = 12;
const DIGEST: &str = "sha256:";

/// What is asked for.
#[derive(Args)]
pub(super) struct Wanted {
    /// What to deploy: a digest (sha256:…) of this commit in the registry, or a whole image reference [default: the image
    /// of this commit]. The revision is tagged rev-<commit>, or as the whole reference.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Deploy what serves once more, since a secret or a setting is new.
    #[arg(long, conflicts_with = "image")]
    again: bool,
    /// Deploy this commit although what serves is not in its history: what that changed goes away.
    #[arg(long)]
    older: bool,
    /// Where images are: HOST/PROJECT/REPOSITORY.
    #[arg(long, env = "IMAGE_REGISTRY", value_name = "REGISTRY")]
    registry: Option<String>,
}

impl Wanted {
    /// Errs if the current commit does not have what `before` runs in its history, and nobody said that this is meant.
    pub(super) fn ensure_newer(
        &self,
        repository: &Repository,
        service: &Service,
        before: &str,
    ) -> anyhow::Result<()> {
        let serving = service.tag(before).and_then(commit);
        ensure!(
            self.older || serving.is_none_or(|commit| repository.contains(commit)),
            "{before} runs commit {}, which is not in the history of this checkout: fetch that, or say --older to take its changes back",
            serving.unwrap_or_default(),
        );
        Ok(())
    }

    /// The build that is asked for.
    pub(super) fn build(
        &self,
        function: &str,
        repository: &Repository,
        service: &Service,
    ) -> anyhow::Result<Build> {
        if self.again {
            return Build::again(service);
        }
        let registry = || {
            let registry = self.registry.as_deref().context("say --registry, or set IMAGE_REGISTRY")?;
            Ok::<_, anyhow::Error>(format!("{registry}/{function}"))
        };
        let of_checkout = |image| {
            let commit = repository.git(&["rev-parse", "HEAD"])?;
            Ok(Build { image, tag: tag(&commit), is_of_checkout: true })
        };
        match &self.image {
            None => {
                of_checkout(format!("{}:{}", registry()?, repository.git(&["rev-parse", "HEAD"])?.trim()))
            }
            Some(digest) if digest.starts_with(DIGEST) => of_checkout(format!("{}@{digest}", registry()?)),
            Some(image) => match image.split_once('@').or_else(|| image.rsplit_once(':')) {
                Some((_, version)) if image.contains('/') && !version.contains('/') => {
                    Ok(Build { image: image.clone(), tag: tag(version), is_of_checkout: false })
                }
                _ => {
                    bail!(WrongCall(format!(
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
    /// It is that of the current commit.
    pub(super) is_of_checkout: bool,
}

impl Build {
    /// What serves, or served before this same call was left undecided. The tag keeps its commit, and has a number more.
    fn again(service: &Service) -> anyhow::Result<Self> {
        let serving = service.serving_before().map_or_else(|| service.serving(), Ok)?;
        let name = service.tag(serving).and_then(|tag| tag.split('-').nth(1)).unwrap_or("again");
        Ok(Self {
            image: service.image(serving)?.to_owned(),
            tag: format!("rev-{name}-{}", service.generation(serving)),
            is_of_checkout: false,
        })
    }
}

/// Tags are made of lower-case letters, digits and hyphens.
fn tag(version: &str) -> String {
    let allowed = version.chars().filter(char::is_ascii_alphanumeric).take(SHORT);
    format!("rev-{}", allowed.collect::<String>().to_ascii_lowercase())
}

/// The commit of which a tag speaks, if it does. A digest's begins with what it is a digest of.
fn commit(tag: &str) -> Option<&str> {
    let name = tag.split('-').nth(1)?;
    let is_commit = name.len() == SHORT && name.chars().all(|digit| digit.is_ascii_hexdigit());
    is_commit.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_the_commit_that_was_deployed() {
        const COMMIT: &str = "0354f8291a7be0354f8291a7be0354f8291a7be0";
        #[track_caller]
        fn check(tag: &str, expected: Option<&str>) {
            assert_eq!(commit(tag), expected, "{tag}");
        }
        check(&tag(COMMIT), Some("0354f8291a7b"));
        // Deployed once more.
        check(&format!("{}-7", tag(COMMIT)), Some("0354f8291a7b"));
        check(&tag(&format!("sha256:{COMMIT}")), None);
        check(&tag("v1.2"), None);
        // Of a revision that had no tag.
        check("rev-00001-abc", None);
    }
}
