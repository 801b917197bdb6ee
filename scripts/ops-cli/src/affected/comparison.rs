//! What is compared with what: the working tree with a commit, or one commit of a history with the one before.

use std::collections::BTreeSet;

use crate::repository::Repository;

/// Two states of the project.
pub(super) struct Comparison<'a> {
    repository: &'a Repository,
    before: String,
    /// A commit; without one, the working tree.
    after: Option<String>,
}

impl<'a> Comparison<'a> {
    /// The working tree as it is, files that git does not know yet included.
    pub(super) fn with_working_tree(repository: &'a Repository, base: &str) -> Self {
        Self { repository, before: base.to_owned(), after: None }
    }

    /// `base` with the current commit, and each commit between them with its parent: what was changed and taken back
    /// meanwhile may run somewhere. Of a merge, its own commits count; `base` may be a tree, which has no history.
    pub(super) fn of_commits(repository: &'a Repository, base: &str) -> anyhow::Result<Vec<Self>> {
        const HEAD: &str = "HEAD";
        let between =
            |before: String, after: &str| Self { repository, before, after: Some(after.to_owned()) };
        let mut comparisons = vec![between(base.to_owned(), HEAD)];
        if repository.git(&["cat-file", "-t", base])?.trim() != "tree" {
            let range = format!("{base}..{HEAD}");
            let commits = repository.git(&["rev-list", "--min-parents=1", "--max-parents=1", &range])?;
            comparisons.extend(commits.lines().map(|commit| between(format!("{commit}^"), commit)));
        }
        Ok(comparisons)
    }

    /// Paths that differ.
    pub(super) fn paths(&self) -> anyhow::Result<BTreeSet<String>> {
        self.repository.changed(&self.before, self.after.as_deref())
    }

    /// A file as it was; empty if it was not there.
    pub(super) fn before(&self, path: &str) -> anyhow::Result<String> {
        self.repository.at(&self.before, path)
    }

    /// A file as it became; empty if it is not there.
    pub(super) fn after(&self, path: &str) -> anyhow::Result<String> {
        match &self.after {
            Some(commit) => self.repository.at(commit, path),
            None if self.repository.root().join(path).exists() => self.repository.current(path),
            None => Ok(String::new()),
        }
    }
}
