// SPDX-License-Identifier: GPL-2.0-only
//! Writing files: complete or not at all, and untouched if the content is the same.
//!
//! New contents go to a temporary file first. Nobody can guess its name, it is created only if no such file exists,
//! and it is removed whatever happens; if the process is killed, a later one removes it.

use std::collections::BTreeSet;
use std::io::{BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err::{self as fs, File};
use tempfile::NamedTempFile;

/// How the names of temporary files begin, and how they end.
const TEMPORARY: [&str; 2] = [".klpbuild-", ".tmp"];
/// The age at which a temporary file is surely not being written any more.
const STALE: Duration = Duration::from_secs(3600);

/// Whether a file had to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileWritten {
    /// The file has new contents now.
    Changed,
    /// The file had these contents already, and keeps its time stamp.
    Unchanged,
}

/// Writes `parts`, one after the other, to the file at `path`.
///
/// The contents go to a temporary file in `directory` (on the same file system), which is flushed to disk and
/// renamed: at every moment `path` has either the old contents or the new. A link is replaced, and not followed.
///
/// # Errors
/// An error of the file system, with the path; then `path` is unchanged.
pub fn replace(path: &Path, directory: &Path, parts: &[impl AsRef<[u8]>]) -> Result<FileWritten> {
    replace_with_mode(path, directory, parts, None)
}

/// Writes `parts` to the file at `path` as [`replace`] does; if the file is written, it gets the permissions `mode`.
///
/// # Errors
/// The errors of [`replace`].
pub fn replace_with_mode(
    path: &Path,
    directory: &Path,
    parts: &[impl AsRef<[u8]>],
    mode: Option<u32>,
) -> Result<FileWritten> {
    if same(path, parts)? {
        return Ok(FileWritten::Unchanged);
    }
    let write = || -> Result<()> {
        let temporary = temporary(directory, mode)?;
        let mut file = BufWriter::with_capacity(1 << 20, temporary.as_file());
        for part in parts {
            file.write_all(part.as_ref())?;
        }
        file.into_inner().map_err(|e| e.into_error())?.sync_data()?;
        temporary.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}: it is left as it was", path.display()))?;
    Ok(FileWritten::Changed)
}

/// Writes to a path that the user named: a link is followed, and a device or a pipe is written to and not replaced.
///
/// # Errors
/// It is a directory; or the errors of [`replace`].
pub fn write_named(path: &Path, parts: &[impl AsRef<[u8]>], mode: Option<u32>) -> Result<()> {
    let path = behind_links(path)?;
    ensure!(!path.is_dir(), "{}: a directory: name the file to write", path.display());
    if !path.exists() || path.is_file() {
        return replace_with_mode(&path, beside(&path), parts, mode).map(drop);
    }
    let write = || -> Result<()> {
        let mut file = fs::OpenOptions::new().write(true).open(&path)?;
        for part in parts {
            file.write_all(part.as_ref())?;
        }
        Ok(())
    };
    write().with_context(|| format!("cannot write to {}", path.display()))
}

/// The path that links at `path` lead to, whether it exists or not.
fn behind_links(path: &Path) -> Result<PathBuf> {
    // The kernel follows as many links (path_resolution(7)).
    const LINKS: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        let Ok(target) = std::fs::read_link(&path) else { return Ok(path) };
        path = beside(&path).join(target);
    }
    anyhow::bail!("{}: too many links", path.display())
}

/// The directory of a file, for a temporary file on the same file system.
pub fn beside(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file in `directory`, which is removed when it is dropped unless it is persisted. Without a `mode`, it
/// gets the permissions of a new file.
///
/// # Errors
/// It cannot be made.
pub fn temporary(directory: &Path, mode: Option<u32>) -> Result<NamedTempFile> {
    sweep(directory, STALE);
    let [prefix, suffix] = TEMPORARY;
    let file = tempfile::Builder::new()
        .prefix(prefix)
        .suffix(suffix)
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    if let Some(mode) = mode {
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// Removes temporary files in `directory` that are older than `age`, once in a process: killed processes left them.
pub fn sweep(directory: &Path, age: Duration) {
    static SWEPT: Mutex<BTreeSet<(PathBuf, Duration)>> = Mutex::new(BTreeSet::new());
    let is_first = SWEPT.lock().is_ok_and(|mut swept| swept.insert((directory.to_path_buf(), age)));
    if !is_first {
        return;
    }
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let [prefix, suffix] = TEMPORARY;
        let is_stale = || {
            let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some(meta.modified().ok()?.elapsed().ok()? >= age)
        };
        if name.starts_with(prefix) && name.ends_with(suffix) && is_stale() == Some(true) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn same(path: &Path, parts: &[impl AsRef<[u8]>]) -> Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let length: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    if file.metadata()?.len() != length as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0; 1 << 16];
    for part in parts {
        for chunk in part.as_ref().chunks(buffer.len()) {
            let Some(old) = buffer.get_mut(..chunk.len()) else { return Ok(false) };
            match file.read_exact(old) {
                Ok(()) if old == chunk => {}
                Ok(()) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    use std::time::SystemTime;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn unchanged_content_leaves_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        assert_eq!(replace(&path, dir.path(), &["a\n", "b\n"]).unwrap(), FileWritten::Changed);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(replace(&path, dir.path(), &["a\nb", "\n"]).unwrap(), FileWritten::Unchanged);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(replace(&path, dir.path(), &["a\nc\n"]).unwrap(), FileWritten::Changed);
        assert_eq!(fs::read(&path).unwrap(), b"a\nc\n");
        assert_eq!(names(dir.path()), ["list"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        fs::write(&path, "old").unwrap();
        let error = replace(&path, &dir.path().join("no/such/dir"), &["new"]).unwrap_err();
        assert!(format!("{error:#}").contains("it is left as it was"), "{error:#}");
        // Nothing takes the place of a directory.
        fs::create_dir_all(dir.path().join("full/of")).unwrap();
        let directory = dir.path().join("full");
        assert!(write_named(&directory, &["new"], None).is_err());
        assert_eq!(
            (fs::read(&path).unwrap(), names(dir.path())),
            (b"old".to_vec(), vec!["full".into(), "list".into()])
        );
    }

    #[test]
    fn a_new_file_has_the_permissions_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        fs::write(dir.path().join("plain"), "").unwrap();
        replace(&dir.path().join("ours"), dir.path(), &["new"]).unwrap();
        assert_eq!(mode("ours"), mode("plain"));
        replace_with_mode(&dir.path().join("other"), dir.path(), &["new"], Some(0o751)).unwrap();
        assert_eq!(mode("other"), 0o751);
    }

    #[test]
    fn what_a_user_names_stays_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "old").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("link", at("second")).unwrap();
        symlink("not-yet", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        symlink("/dev/full", at("full")).unwrap();
        write_named(&at("second"), &["new"], None).unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"new");
        write_named(&at("dangling"), &["new"], None).unwrap();
        assert_eq!(fs::read(at("not-yet")).unwrap(), b"new");
        write_named(&at("null"), &["new"], Some(0o755)).unwrap();
        let error = write_named(&at("full"), &["new"], None).unwrap_err();
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
        assert!(write_named(&at("circle"), &["new"], None).is_err());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        for link in ["link", "second", "dangling", "null", "full"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        // A list of ours takes the place of a link.
        replace(&at("link"), dir.path(), &["list"]).unwrap();
        assert_eq!(
            (fs::read(at("link")).unwrap(), fs::read(at("file")).unwrap()),
            (b"list".to_vec(), b"new".to_vec())
        );
    }

    #[test]
    fn only_stale_files_of_ours_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * STALE;
        for name in [".klpbuild-old.tmp", ".klpbuild-old", "klpbuild-old.tmp", ".klpbuild-new.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
            if name != ".klpbuild-new.tmp" {
                File::options().write(true).open(dir.path().join(name)).unwrap().set_modified(old).unwrap();
            }
        }
        fs::create_dir(dir.path().join(".klpbuild-directory.tmp")).unwrap();
        replace(&dir.path().join("list"), dir.path(), &["new"]).unwrap();
        let left =
            [".klpbuild-directory.tmp", ".klpbuild-new.tmp", ".klpbuild-old", "klpbuild-old.tmp", "list"];
        assert_eq!(names(dir.path()), left);
    }
}
