// SPDX-License-Identifier: GPL-2.0-only
//! Finds the kernel's source: that of the object tree, the one that the user names, or the one in a distribution's
//! package.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::host::program::Program;
use crate::host::terminal;
use crate::kernel::installed::cache;
use crate::kernel::installed::places::Places;
use crate::kernel::installed::remedy::{self, MissingPart};
use crate::kernel::tree;

/// Finds the source of the kernel `release` where distributions put it; `made` is the release that the source's
/// makefiles would give. An archive is unpacked once, into klpbuild's cache.
///
/// # Errors
/// There is none, or it is another version's.
pub fn find(release: &str, made: &str, places: &Places, quiet: bool) -> Result<PathBuf> {
    let mut misfit = None;
    for place in places.sources(release) {
        let found = if place.is_dir() {
            checked(&place, made)
        } else if place.is_file() {
            unpacked(&place, quiet).and_then(|directory| checked(&directory, made))
        } else {
            continue;
        };
        match found {
            Ok(found) => return Ok(found),
            Err(error) => misfit = misfit.or(Some(error)),
        }
    }
    match misfit {
        Some(error) => Err(error),
        None => bail!(
            "the source of {release} is not here: {}, or name it (--source DIR)",
            remedy::for_need(MissingPart::Source, places, release, "").join("; ")
        ),
    }
}

/// Checks that a directory is a source tree with the version of the kernel `release`.
///
/// # Errors
/// It is no source tree, or has another version.
pub fn checked(directory: &Path, release: &str) -> Result<PathBuf> {
    let shown = directory.display();
    ensure!(directory.is_dir(), "{shown}: no such directory: --source names the kernel's source");
    ensure!(
        tree::is_source(directory) && directory.join("init/main.c").is_file(),
        "{shown} is no complete source tree of a kernel (headers alone do not do); --source names one"
    );
    let version = version(directory)?;
    ensure!(
        is_of(release, &version),
        "{shown} is the source of {version}, and the kernel is {release}: the source of exactly that version is needed"
    );
    Ok(fs::canonicalize(directory)?)
}

/// Whether a release is of a version: it begins with the version's numbers, and no further number follows.
fn is_of(release: &str, version: &str) -> bool {
    let rest = release.strip_prefix(version);
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()) && !is_number(rest))
}

/// Whether the rest of a release continues the version's numbers: `6.12` is not the version of `6.12.3`.
fn is_number(rest: &str) -> bool {
    rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// The version in the top Makefile.
///
/// # Errors
/// It cannot be read.
pub fn version(source: &Path) -> Result<String> {
    let text = fs::read_to_string(source.join("Makefile"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        line.unwrap_or_default().trim().to_owned()
    };
    let sublevel = value("SUBLEVEL");
    let sublevel = if sublevel.is_empty() { String::new() } else { format!(".{sublevel}") };
    Ok(format!("{}.{}{sublevel}{}", value("VERSION"), value("PATCHLEVEL"), value("EXTRAVERSION")))
}

/// The tree of an archive in the cache; it is unpacked if it is not there.
fn unpacked(archive: &Path, quiet: bool) -> Result<PathBuf> {
    let base = cache::directory().context("there is no place to unpack the source to: set XDG_CACHE_HOME")?;
    let meta = fs::metadata(archive)?;
    let mut hasher = DefaultHasher::new();
    (archive, meta.len(), meta.mtime(), meta.mtime_nsec()).hash(&mut hasher);
    let directory = base.join("source").join(format!("{:016x}", hasher.finish()));
    let done = directory.join("unpacked");
    if !done.is_file() {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        if !quiet {
            terminal::say(format_args!(
                "unpacking {} (once: kept in {})",
                archive.display(),
                directory.display()
            ));
        }
        unpack(archive, &directory).inspect_err(|_| drop(fs::remove_dir_all(&directory)))?;
        fs::write(&done, "")?;
    }
    let entries = fs::read_dir(&directory)?.flatten().map(|entry| entry.path());
    let tree = entries.into_iter().find(|path| path.is_dir());
    tree.with_context(|| format!("{}: there is no directory in it", archive.display()))
}

fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).context("cannot make a place for the source")?;
    let mut tar = Program::new("tar", directory, "is tar installed?");
    tar.args(["--extract", "--no-same-owner", "--file"]).arg(archive.display().to_string());
    let output = tar.capture("")?;
    ensure!(
        output.success,
        "cannot unpack {}: {}",
        archive.display(),
        String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("tar ended early")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(makefile: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for directory in ["scripts", "init"] {
            fs::create_dir(dir.path().join(directory)).unwrap();
        }
        for file in ["Kconfig", "scripts/Makefile.build", "init/main.c"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        fs::write(dir.path().join("Makefile"), makefile).unwrap();
        dir
    }

    const MAKEFILE: &str = "# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 11\nEXTRAVERSION =\nNAME = x\n";

    #[test]
    fn the_version_has_to_be_the_kernels() {
        let dir = source(MAKEFILE);
        for release in ["6.12.11", "6.12.11+deb12-amd64", "6.12.11-200.fc41.x86_64"] {
            checked(dir.path(), release).unwrap();
        }
        for release in ["6.12.117+deb12-amd64", "6.12.1", "6.1.11"] {
            let error = checked(dir.path(), release).unwrap_err().to_string();
            assert!(error.contains("is the source of 6.12.11") && error.contains(release), "{error}");
        }
        let candidate =
            source(&MAKEFILE.replace("SUBLEVEL = 11\nEXTRAVERSION =", "SUBLEVEL = 0\nEXTRAVERSION = -rc1"));
        checked(candidate.path(), "6.12.0-rc1+").unwrap();
    }

    #[test]
    fn headers_are_no_source() {
        let dir = source(MAKEFILE);
        fs::remove_file(dir.path().join("init/main.c")).unwrap();
        let error = checked(dir.path(), "6.12.11").unwrap_err().to_string();
        assert!(error.contains("headers alone do not do"), "{error}");
    }

    #[test]
    fn a_missing_source_is_named_with_its_package() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/os-release"), "ID=debian\n").unwrap();
        let places = Places::below(Some(root.path()));
        let release = "6.12.117+deb12-amd64";
        let error = find(release, release, &places, true).unwrap_err().to_string();
        assert!(
            error.contains("is not here: apt install linux-source-6.12, or name it")
                && error.contains("--source DIR"),
            "{error}"
        );
    }
}
