//! Edits of several files: all of them are made, or none.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::usage_error::UsageError;

/// Files to create and to change.
pub(super) struct Edits {
    root: PathBuf,
    files: Vec<Edit>,
}

struct Edit {
    path: String,
    /// `None`: it is new.
    before: Option<String>,
    after: String,
}

impl Edits {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: Vec::new() }
    }

    /// Adds a file, which must not be there.
    pub(super) fn create(&mut self, path: &str, after: String) -> anyhow::Result<()> {
        ensure!(!self.root.join(path).exists(), UsageError(format!("{path} exists already")));
        self.files.push(Edit { path: path.to_owned(), before: None, after });
        Ok(())
    }

    /// Changes a file, which must be there.
    pub(super) fn change(
        &mut self,
        path: &str,
        change: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let before =
            fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path}"))?;
        let after = change(&before).with_context(|| format!("cannot change {path}"))?;
        self.files.push(Edit { path: path.to_owned(), before: Some(before), after });
        Ok(())
    }

    /// Writes all files and does `then`; if either fails, the files are as they were.
    pub(super) fn apply(&self, then: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let result = self.files.iter().try_for_each(|edit| self.write(edit)).and_then(|()| then());
        if result.is_err() {
            self.undo();
        }
        result
    }

    /// What is done with each file.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let verb = |edit: &Edit| if edit.before.is_some() { "changed" } else { "new" };
        self.files.iter().map(move |edit| (verb(edit), edit.path.as_str()))
    }

    fn write(&self, edit: &Edit) -> anyhow::Result<()> {
        let path = self.root.join(&edit.path);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, &edit.after))
            .with_context(|| format!("cannot write {}", edit.path))
    }

    fn undo(&self) {
        for edit in self.files.iter().rev() {
            let path = self.root.join(&edit.path);
            let undone = match &edit.before {
                Some(text) => fs::write(&path, text),
                None => fs::remove_file(&path),
            };
            if let Err(error) = undone
                && error.kind() != std::io::ErrorKind::NotFound
            {
                eprintln!("{} is not as it was: {error}", edit.path);
            }
            // Folders that only held what is new: removing one that holds more is refused.
            if edit.before.is_none() {
                let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
                let _first_in_use = folders.map(fs::remove_dir).find(Result::is_err);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn what_fails_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("kept")).unwrap();
        fs::write(root.join("kept/file"), "before").unwrap();
        let mut edits = Edits::new(root);
        edits.change("kept/file", |text| Ok(text.replace("before", "after"))).unwrap();
        edits.create("new/folder/file", "text".to_owned()).unwrap();
        let failed = edits.apply(|| {
            assert_eq!(fs::read_to_string(root.join("kept/file")).unwrap(), "after");
            bail!("something else fails")
        });
        failed.unwrap_err();
        assert_eq!(fs::read_to_string(root.join("kept/file")).unwrap(), "before");
        assert!(!root.join("new").exists());

        edits.apply(|| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(root.join("new/folder/file")).unwrap(), "text");
        edits.create("new/folder/file", String::new()).unwrap_err();
    }
}
