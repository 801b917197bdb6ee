//! Layers: archives of files, the same bytes whenever and wherever they are made.

use std::io::{Read, Write as _};
use std::path::Path;

use anyhow::Context as _;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use super::digest::Digest;

const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;

/// A compressed archive.
pub(crate) struct Layer {
    /// What is stored.
    pub(crate) compressed: Vec<u8>,
    /// Digest of the archive before it was compressed.
    pub(crate) diff_id: Digest,
    /// Bytes of the archive before it was compressed.
    pub(crate) unpacked_bytes: usize,
}

impl Layer {
    /// The files below `folder`, at the root of the image.
    pub(crate) fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        let mut archive = Builder::new(Vec::new());
        add_folder(&mut archive, folder, "")?;
        Self::packed(archive)
    }

    /// One program, at `path` in the image.
    pub(crate) fn of_program(program: &Path, path: &str) -> anyhow::Result<Self> {
        let mut archive = Builder::new(Vec::new());
        let content = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        add(&mut archive, EntryType::Regular, path.trim_start_matches('/'), PROGRAM_MODE, &content)?;
        Self::packed(archive)
    }

    fn packed(archive: Builder<Vec<u8>>) -> anyhow::Result<Self> {
        let archive = archive.into_inner().context("cannot write an archive")?;
        // Its header carries neither a name nor a time.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&archive)?;
        let compressed = encoder.finish().context("cannot compress")?;
        Ok(Self { compressed, diff_id: Digest::of(&archive), unpacked_bytes: archive.len() })
    }
}

/// Unpacks a stored layer into `folder`, and returns its [`Layer::diff_id`].
pub(crate) fn unpack(compressed: &[u8], folder: &Path) -> anyhow::Result<Digest> {
    let mut archive = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut archive).context("cannot decompress a layer")?;
    Archive::new(archive.as_slice()).unpack(folder).context("cannot unpack a layer")?;
    Ok(Digest::of(&archive))
}

fn add_folder(archive: &mut Builder<Vec<u8>>, folder: &Path, path: &str) -> anyhow::Result<()> {
    let entries = folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{path}{}", entry.file_name().to_str().context("a file's name is not UTF-8")?);
        if entry.file_type()?.is_dir() {
            let path = format!("{path}/");
            add(archive, EntryType::Directory, &path, FOLDER_MODE, &[])?;
            add_folder(archive, &entry.path(), &path)?;
        } else {
            add(archive, EntryType::Regular, &path, FILE_MODE, &std::fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Adds an entry of root, from the beginning of time.
fn add(
    archive: &mut Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    content: &[u8],
) -> anyhow::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len().try_into()?);
    archive.append_data(&mut header, path, content).with_context(|| format!("cannot archive {path}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn the_same_files_give_the_same_layer_whatever_their_order_times_and_rights() {
        let one = folder_with(&[("etc/b", "1"), ("etc/a", "2"), ("c", "3")]);
        let other = folder_with(&[("c", "3"), ("etc/a", "2"), ("etc/b", "1")]);
        let path = other.path().join("etc/a");
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let [one, other] = [one, other].map(|folder| Layer::of_folder(folder.path()).unwrap());
        assert_eq!(one.diff_id, other.diff_id);
        assert_eq!(one.compressed, other.compressed);
    }

    #[test]
    fn a_layer_unpacks_to_what_it_was_made_of() {
        let folder = folder_with(&[("program", "code")]);
        let layer = Layer::of_program(&folder.path().join("program"), "/bin/function").unwrap();
        let target = tempfile::tempdir().unwrap();
        assert_eq!(unpack(&layer.compressed, target.path()).unwrap(), layer.diff_id);
        let program = target.path().join("bin/function");
        assert_eq!(fs::read(&program).unwrap(), b"code");
        assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, PROGRAM_MODE);
    }
}
