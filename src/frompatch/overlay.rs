// SPDX-License-Identifier: GPL-2.0-only
//! The directory with the patched files, which the compiler looks into before the source tree. A file found there
//! looks for the files that it includes with quotes from its own directory on. Therefore symbolic links in the overlay
//! lead to everything that lies beside a patched file in the source tree, in the directories above it, and in those
//! that a header there names. The directories are real ones: what is written into the overlay must not reach the
//! source tree.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::host::paths;

/// Adds symbolic links to everything beside the overlay's files in the source tree, and to what headers there may
/// include.
///
/// # Errors
/// A link cannot be made.
pub fn surround(overlay: &Path, source: &Path) -> Result<()> {
    let mut directories = BTreeSet::new();
    collect(overlay, Path::new(""), &mut directories)?;
    surround_all(overlay, source, directories)
}

fn surround_all(overlay: &Path, source: &Path, directories: BTreeSet<PathBuf>) -> Result<()> {
    let mut rest: Vec<PathBuf> = directories.iter().cloned().collect();
    let mut seen = directories;
    while let Some(directory) = rest.pop() {
        surround_one(overlay, source, &directory)?;
        for named in named_in(overlay, source, &directory)? {
            if seen.insert(named.clone()) {
                fs::create_dir_all(overlay.join(&named))?;
                rest.push(named);
            }
        }
    }
    Ok(())
}

/// The directories of the source tree that the headers in one of the overlay's name in quotes, seen from there.
fn named_in(overlay: &Path, source: &Path, directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(overlay.join(directory))? {
        let path = entry?.path();
        if path.extension().is_none_or(|suffix| suffix != "h") {
            continue;
        }
        // A link may lead nowhere, as some of the tree's own do.
        let Ok(text) = fs::read(&path) else { continue };
        let names = text.split(|&byte| byte == b'\n').filter_map(quoted);
        let inside =
            names.map(|name| PathBuf::from(paths::normal(&format!("{}/{name}", directory.display()))));
        let is_there = |file: &PathBuf| !file.starts_with("..") && source.join(file).is_file();
        found.extend(inside.filter(is_there).filter_map(|file| Some(file.parent()?.to_owned())));
    }
    Ok(found)
}

/// The file of another directory that a line includes with quotes.
fn quoted(line: &[u8]) -> Option<&str> {
    let line = line.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start();
    let rest = line.strip_prefix(b"include")?.trim_ascii_start().strip_prefix(b"\"")?;
    let name = std::str::from_utf8(rest.get(..memchr::memchr(b'"', rest)?)?).ok()?;
    name.contains('/').then_some(name)
}

/// The directories below the overlay's own, relative to it.
fn collect(overlay: &Path, directory: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(overlay.join(directory))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let inner = directory.join(entry.file_name());
            found.insert(inner.clone());
            collect(overlay, &inner, found)?;
        }
    }
    Ok(())
}

fn surround_one(overlay: &Path, source: &Path, directory: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(source.join(directory)) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let own = overlay.join(directory).join(entry.file_name());
        if entry.file_type()?.is_dir() {
            continue;
        }
        match symlink(entry.path(), own) {
            // A patched file, or a link that another unit has made meanwhile.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            laid => laid?,
        }
    }
    Ok(())
}

/// Puts a copy of the file `path` of the source tree into the overlay, with links to everything around it.
fn carry(overlay: &Path, source: &Path, path: &Path) -> Result<()> {
    let own = overlay.join(path);
    fs::create_dir_all(own.parent().unwrap_or(overlay))?;
    let above = path.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty());
    surround_all(overlay, source, above.map(Path::to_owned).collect())
}

/// Whether the overlay has a file at `path` that is no link.
fn has_own(overlay: &Path, path: &Path) -> bool {
    fs::symlink_metadata(overlay.join(path)).is_ok_and(|meta| meta.is_file())
}

/// Whether the overlay has the file `path`, or a link to it.
fn has(overlay: &Path, path: &Path) -> bool {
    fs::symlink_metadata(overlay.join(path)).is_ok()
}

/// Whether `text` includes, with quotes, a file of that name.
fn includes(text: &[u8], path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    memchr::memmem::find(text, &[b"\"", name, b"\""].concat()).is_some()
        || memchr::memmem::find(text, &[b"/", name, b"\""].concat()).is_some()
}

/// Handles files that were read from the source tree although the overlay has them patched: copies the files that
/// include them into the overlay, where these find the patched file beside themselves. If such a file is in the
/// overlay already, the files that include it in turn are copied. True if there was a file to handle. `seen` are the
/// files that were read from the source tree, relative to it.
///
/// # Errors
/// No file includes one of them.
pub fn carry_includers(seen: &BTreeSet<PathBuf>, overlay: &Path, source: &Path) -> Result<bool> {
    let (mut missed, rest): (Vec<&PathBuf>, Vec<_>) = seen.iter().partition(|path| has_own(overlay, path));
    let Some(first) = missed.first().copied() else { return Ok(false) };
    let texts = rest.into_iter().map(|path| Ok((path, fs::read(source.join(path))?)));
    let mut rest: Vec<(&PathBuf, Vec<u8>)> = texts.collect::<Result<_>>()?;
    let mut is_named = false;
    while let Some(path) = missed.pop() {
        let (naming, others) = rest.into_iter().partition(|(_, text)| includes(text, path));
        rest = others;
        for (includer, _) in naming {
            is_named = true;
            if has(overlay, includer) {
                missed.push(includer);
            } else {
                carry(overlay, source, includer)?;
            }
        }
    }
    ensure!(
        is_named,
        "{}: the compiler finds this file in the source tree in place of the patched one",
        first.display()
    );
    Ok(true)
}

/// Copies an overlay; links are copied as links.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (source, overlay) = (directory.path().join("source"), directory.path().join("overlay"));
        for (path, text) in [
            ("fs/server/auth.c", "#include \"mgmt/user.h\"\n#include \"own/deep.h\"\n"),
            ("fs/server/common.h", "old"),
            ("fs/server/mgmt/user.h", "#include \"../common.h\"\n"),
            ("fs/server/sub/session.h", "#include \"../mgmt/user.h\"\n"),
            ("fs/server/own/deep.h", "#include \"../common.h\"\n"),
            ("fs/server/wide.h", "# include \"proto/v1.h\"\n#include <other/x.h>\n#include \"none/y.h\"\n"),
            ("fs/server/proto/v1.h", "#include \"../../share/s.h\"\n"),
            ("fs/server/proto/v2.h", ""),
            ("fs/share/s.h", ""),
            ("fs/top.h", ""),
            ("other/x.h", ""),
        ] {
            fs::create_dir_all(source.join(path).parent().unwrap()).unwrap();
            fs::write(source.join(path), text).unwrap();
        }
        fs::create_dir_all(overlay.join("fs/server")).unwrap();
        fs::write(overlay.join("fs/server/common.h"), "new").unwrap();
        surround(&overlay, &source).unwrap();
        (directory, source, overlay)
    }

    #[test]
    fn what_lies_beside_a_patched_file_is_there() {
        let (_directory, source, overlay) = trees();
        let read = |path: &str| fs::read_to_string(overlay.join(path)).ok();
        assert_eq!(read("fs/server/common.h").as_deref(), Some("new"));
        assert_eq!(read("fs/top.h").as_deref(), Some(""));
        assert!(read("fs/server/auth.c").is_some() && read("other/x.h").is_none());
        assert!(!overlay.join("fs/server/mgmt").exists());
        // What headers there name, and what these name in turn, by directories that are no links.
        let is_directory = |path: &str| fs::symlink_metadata(overlay.join(path)).unwrap().is_dir();
        assert!(is_directory("fs/server/proto") && is_directory("fs/share"));
        assert_eq!(read("fs/server/proto/v2.h").as_deref(), Some(""));
        assert_eq!(read("fs/server/proto/../../share/s.h").as_deref(), Some(""));
        assert!(!overlay.join("fs/server/none").exists());
        // A second time, nothing is to be done.
        surround(&overlay, &source).unwrap();
        let other = overlay.with_file_name("copy");
        copy(&overlay, &other).unwrap();
        assert!(has_own(&other, Path::new("fs/server/common.h")));
        assert!(!has_own(&other, Path::new("fs/server/auth.c")) && other.join("fs/server/auth.c").is_file());
    }

    #[test]
    fn what_includes_a_patched_file_is_carried_along() {
        let (_directory, source, overlay) = trees();
        let seen: BTreeSet<PathBuf> =
            ["fs/server/common.h", "fs/server/mgmt/user.h", "fs/top.h"].map(PathBuf::from).into();
        assert!(carry_includers(&seen, &overlay, &source).unwrap());
        assert!(overlay.join("fs/server/mgmt/user.h").is_file());
        assert_eq!(fs::read_to_string(overlay.join("fs/server/mgmt/../common.h")).unwrap(), "new");
        assert!(carry_includers(&seen, &overlay, &source).unwrap(), "another unit may have done it");
        // What is there as a link, and was read from the source tree: what names that is missed.
        let linked: BTreeSet<PathBuf> =
            ["fs/server/common.h", "fs/server/mgmt/user.h", "fs/server/sub/session.h"]
                .map(PathBuf::from)
                .into();
        assert!(!overlay.join("fs/server/sub").exists());
        assert!(carry_includers(&linked, &overlay, &source).unwrap());
        assert!(overlay.join("fs/server/sub/session.h").is_file());
        let alone: BTreeSet<PathBuf> = [PathBuf::from("fs/server/common.h")].into();
        let error = carry_includers(&alone, &overlay, &source).unwrap_err().to_string();
        assert!(error.starts_with("fs/server/common.h: the compiler finds this file"), "{error}");
        let none: BTreeSet<PathBuf> = ["fs/top.h", "other/x.h"].map(PathBuf::from).into();
        assert!(!carry_includers(&none, &overlay, &source).unwrap());
    }
}
