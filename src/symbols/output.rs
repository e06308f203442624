//! Writing lists: complete or not at all, and untouched if the content is the same.

use std::io::{BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err::{self as fs, File};

/// Whether a list had to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file has new content now.
    Changed,
    /// The file had this content already; its time stamp is as it was.
    Unchanged,
}

/// Gives the file at `path` the content `parts`, one after the other.
///
/// The content goes to `temporary` (on the same file system), is flushed to disk and renamed: at every
/// moment `path` has either the old content or the new. On any error `temporary` is removed.
///
/// # Errors
/// What the file system says, with the path; `path` is as it was then.
pub fn replace(path: &Path, temporary: &Path, parts: &[impl AsRef<[u8]>]) -> Result<Written> {
    replace_with_mode(path, temporary, parts, None)
}

/// Likewise; a file that is written gets the permissions `mode`.
///
/// # Errors
/// As [`replace`].
pub fn replace_with_mode(
    path: &Path,
    temporary: &Path,
    parts: &[impl AsRef<[u8]>],
    mode: Option<u32>,
) -> Result<Written> {
    if same(path, parts)? {
        return Ok(Written::Unchanged);
    }
    let write = || -> Result<()> {
        let file = File::create(temporary)?;
        if let Some(mode) = mode {
            fs::set_permissions(temporary, std::fs::Permissions::from_mode(mode))?;
        }
        let mut file = BufWriter::with_capacity(1 << 20, file);
        for part in parts {
            file.write_all(part.as_ref())?;
        }
        file.into_inner().map_err(|e| e.into_error())?.sync_data()?;
        fs::rename(temporary, path)?;
        Ok(())
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(temporary)))
        .with_context(|| format!("cannot write {}: it is left as it was", path.display()))?;
    Ok(Written::Changed)
}

/// A temporary name on the same file system, for [`replace`].
pub fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
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
    use super::*;

    #[test]
    fn unchanged_content_leaves_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, temporary) = (dir.path().join("list"), dir.path().join("tmp"));
        assert_eq!(replace(&path, &temporary, &["a\n", "b\n"]).unwrap(), Written::Changed);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(replace(&path, &temporary, &["a\nb", "\n"]).unwrap(), Written::Unchanged);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(replace(&path, &temporary, &["a\nc\n"]).unwrap(), Written::Changed);
        assert_eq!(fs::read(&path).unwrap(), b"a\nc\n");
        assert!(!temporary.exists());
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        fs::write(&path, "old").unwrap();
        let error = replace(&path, &dir.path().join("no/such/dir"), &["new"]).unwrap_err();
        assert!(format!("{error:#}").contains("it is left as it was"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        // A device that is always full stands in for a full disk (behind a link: the link is removed).
        let full = dir.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &full).unwrap();
        let error = replace(&path, &full, &["new"]).unwrap_err();
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
