//! The repository's text files, found without git: sources are checked where only an archive of them is, too.

use std::fs;
use std::path::Path;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Folders that hold what tools make: builds, downloads, and generated records of queries.
const GENERATED: [&str; 6] = ["target", "node_modules", ".git", ".sqlx", ".terraform", ".venv"];

/// Calls `visit` with the path below the root and the text of each file with one of these extensions, and of each script
/// below `scripts` that has none, in the order of their paths.
pub fn each_text_file(extensions: &[&str], mut visit: impl FnMut(&Path, &str)) {
    let root = Path::new(ROOT);
    let mut folders = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folders can be read") {
            let entry = entry.expect("folders can be read");
            let (kind, path) = (entry.file_type().expect("files have a type"), entry.path());
            if kind.is_dir() {
                let is_generated = GENERATED.iter().any(|name| entry.file_name() == *name);
                if !is_generated && !path.join("CACHEDIR.TAG").exists() {
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
        let is_text = match path.extension().and_then(|extension| extension.to_str()) {
            Some(extension) => extensions.contains(&extension),
            None => path.starts_with("scripts"),
        };
        if is_text {
            visit(path, &fs::read_to_string(&file).expect("text files are UTF-8"));
        }
    }
}
