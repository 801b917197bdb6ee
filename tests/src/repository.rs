//! The repository's text files, found without git: sources are checked where only an archive of them is, too.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Files and folders that are not written by hand: builds, downloads, generated records of queries, and fixtures.
const NOT_WRITTEN: [&str; 8] =
    ["target", "node_modules", ".git", ".sqlx", ".terraform", ".venv", "fixtures", "package-lock.json"];

/// Calls `visit` with the path below the root and the text of each file with one of these extensions, and of each script
/// (it begins with `#!`), in the order of their paths. What is removed meanwhile is skipped.
pub fn each_text_file(extensions: &[&str], mut visit: impl FnMut(&Path, &str)) {
    let root = Path::new(ROOT);
    let mut folders = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in present(fs::read_dir(&folder)).into_iter().flatten() {
            let entry = entry.expect("folders can be read");
            if NOT_WRITTEN.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let (Some(kind), path) = (present(entry.file_type()), entry.path()) else { continue };
            if kind.is_dir() {
                if !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    for file in files {
        let path = file.strip_prefix(root).expect("files are below the root");
        let Some(content) = present(fs::read(&file)) else { continue };
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| extensions.contains(&extension)) || content.starts_with(b"#!") {
            visit(path, str::from_utf8(&content).expect("text files are UTF-8"));
        }
    }
}

/// `None` for a file or folder that is not there any more.
fn present<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        result => Some(result.expect("files and folders can be read")),
    }
}
