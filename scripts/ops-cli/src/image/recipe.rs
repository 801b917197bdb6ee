//! What an image is made of: the last stage of `infra/Dockerfile`, which Docker reads as well.
//!
//! Only what that stage uses is understood; anything else is an error, so that Docker and this command cannot make different images.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

/// `COPY --from=` of this stage is the program, which `infra/images/program` builds here.
const PROGRAM: &str = "--from=program";

/// The last stage, with its arguments filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// One layer each, in order.
    pub(crate) copies: Vec<Copied>,
    /// `org.opencontainers.image.*`.
    pub(crate) labels: BTreeMap<String, String>,
    /// `uid:gid`.
    pub(crate) user: String,
    /// Program and arguments.
    pub(crate) entrypoint: Vec<String>,
}

/// One `COPY`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// A folder of the repository, to the root of the image.
    Folder(String),
    /// The function's program, to a path in the image.
    Program(String),
}

impl Recipe {
    /// Reads a Dockerfile; `arguments` are what `--build-arg` gives.
    pub(crate) fn read(dockerfile: &str, arguments: &BTreeMap<&str, String>) -> anyhow::Result<Self> {
        let mut recipe =
            Self { copies: Vec::new(), labels: BTreeMap::new(), user: String::new(), entrypoint: Vec::new() };
        let instructions = instructions(dockerfile);
        let from = instructions.iter().rposition(|(name, _)| name == "FROM").context("no stage")?;
        ensure!(instructions[from].1 == "scratch", "the last stage is not FROM scratch");
        let mut variables = BTreeMap::new();
        for (name, text) in &instructions[from + 1..] {
            if name == "ARG" {
                let (variable, default) = text
                    .split_once('=')
                    .map_or((text.as_str(), None), |(name, value)| (name, Some(value.to_owned())));
                let value = arguments.get(variable).cloned().or(default);
                variables.insert(variable, value.with_context(|| format!("{variable} has no value"))?);
                continue;
            }
            recipe.follow(name, &filled_in(text, &variables)?)?;
        }
        ensure!(!recipe.entrypoint.is_empty(), "the last stage has no ENTRYPOINT");
        ensure!(!recipe.user.is_empty(), "the last stage has no USER");
        Ok(recipe)
    }

    fn follow(&mut self, instruction: &str, text: &str) -> anyhow::Result<()> {
        let words: Vec<_> = text.split_whitespace().collect();
        match (instruction, words.as_slice()) {
            ("COPY", [folder, "/"]) => self.copies.push(Copied::Folder((*folder).to_owned())),
            ("COPY", [PROGRAM, "/program", path]) => self.copies.push(Copied::Program((*path).to_owned())),
            ("LABEL", labels) => {
                for label in labels {
                    let (name, value) = label.split_once('=').context("a LABEL without a value")?;
                    self.labels.insert(name.to_owned(), value.to_owned());
                }
            }
            ("USER", [user]) => (*user).clone_into(&mut self.user),
            ("ENTRYPOINT", _) => {
                self.entrypoint = serde_json::from_str(text).context("ENTRYPOINT is no list")?;
            }
            _ => bail!("the last stage has {instruction} {text}, which scripts/ops image does not support"),
        }
        Ok(())
    }
}

/// Name and text of each instruction, without comments, on one line.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines: Vec<_> = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let whole = lines.join("\n").replace("\\\n", " ");
    let instruction =
        |line: &str| line.split_once(' ').map(|(name, text)| (name.to_owned(), text.trim().to_owned()));
    whole.lines().filter_map(instruction).collect()
}

fn filled_in(text: &str, variables: &BTreeMap<&str, String>) -> anyhow::Result<String> {
    let filled = variables
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
    ensure!(!filled.contains('$'), "{text} names a variable that is not declared");
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = include_str!("../../../../infra/Dockerfile");

    fn arguments() -> BTreeMap<&'static str, String> {
        BTreeMap::from([("FUNCTION", "some-function".to_owned())])
    }

    #[track_caller]
    fn check_refused(last_stage: &str, expected: &str) {
        let error = Recipe::read(last_stage, &arguments()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error:#}");
    }

    #[test]
    fn the_dockerfile_gives_an_unprivileged_function_and_nothing_else() {
        let recipe = Recipe::read(DOCKERFILE, &arguments()).unwrap();
        let (uid, gid) = recipe.user.split_once(':').unwrap();
        assert!(uid.parse::<u32>().unwrap() > 0 && gid.parse::<u32>().unwrap() > 0, "{}", recipe.user);
        assert_eq!(recipe.entrypoint, ["/function"]);
        assert_eq!(
            recipe.copies,
            [Copied::Folder("infra/images/root".to_owned()), Copied::Program("/function".to_owned())]
        );
        assert_eq!(recipe.labels["org.opencontainers.image.title"], "some-function");
        // The same contents are the same image, whatever commit they are of: what is deployed is decided by its digest.
        let of_the_commit =
            recipe.labels.keys().find(|name| name.ends_with(".revision") || name.ends_with(".created"));
        assert_eq!(of_the_commit, None);
    }

    #[test]
    fn the_users_name_is_in_the_image() {
        let recipe = Recipe::read(DOCKERFILE, &arguments()).unwrap();
        let users = include_str!("../../../../infra/images/root/etc/passwd");
        assert!(users.lines().any(|line| line.contains(&format!(":x:{}:", recipe.user))), "{users}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        check_refused("FROM scratch\nRUN true", "has RUN true");
        check_refused("FROM scratch\nCOPY --chown=1 a /", "has COPY --chown=1");
        check_refused("FROM scratch\nUSER ${WHO}", "not declared");
        check_refused("FROM scratch\nARG WHO\nUSER ${WHO}", "WHO has no value");
        check_refused("FROM scratch\nUSER 1:1", "no ENTRYPOINT");
        check_refused("FROM scratch\nENTRYPOINT [\"/a\"]", "no USER");
        check_refused("FROM debian\nUSER 1:1", "not FROM scratch");
    }
}
