// SPDX-License-Identifier: GPL-2.0-only
//! The kernel tree: where its sources and objects are, what its kbuild is like, how it is configured.
//!
//! - [`built`]: a tree that a kernel was built in, as it is handed on
//! - [`config`]: `.config` and what klpbuild needs of it
//! - [`era`]: which kbuild the tree has, by features of its makefiles
//! - [`kconfig`]: why an option is off
//! - [`facts`]: what the livepatch core of the built kernel can do

pub mod built;
pub mod config;
pub(crate) mod era;
pub(crate) mod facts;
pub(crate) mod kconfig;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

/// A kernel's source tree and the object tree that is built from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The source tree, absolute and without symbolic links.
    pub srctree: PathBuf,
    /// The object tree, absolute and without symbolic links; equal to `srctree` for a build in the tree. It need not
    /// exist yet.
    pub objtree: PathBuf,
}

impl Tree {
    /// Finds the trees for a klpbuild started in `start` (absolute), which is a source tree or an object
    /// tree; `output` is what O= or KBUILD_OUTPUT names, relative to `start` as it is for make.
    ///
    /// # Errors
    /// `start` is neither, or a path has a character in it that kbuild cannot take.
    pub fn locate(start: &Path, output: Option<&Path>) -> Result<Tree> {
        let start = fs::canonicalize(start).context("cannot enter the directory")?;
        let srctree = source_of(&start)?;
        let objtree = match output {
            Some(output) => absolute(&start.join(output))?,
            None => start,
        };
        ensure!(
            !objtree.exists() || objtree.is_dir(),
            "{}: not a directory: O= names one for the objects",
            objtree.display()
        );
        for path in [&srctree, &objtree] {
            check_path(path)?;
        }
        Ok(Tree { srctree, objtree })
    }

    /// Whether objects lie in the source tree itself.
    pub fn in_tree(&self) -> bool {
        self.srctree == self.objtree
    }

    /// Whether this kernel takes MO=, a separate directory for an external module's objects, and then reads M=
    /// relative to the directory that make is started in (6.13 and later, top Makefile).
    ///
    /// # Errors
    /// The top Makefile cannot be read.
    pub fn external_has_output(&self) -> Result<bool> {
        let makefile = fs::read_to_string(self.srctree.join("Makefile"))?;
        Ok(makefile.contains("KBUILD_EXTMOD_OUTPUT"))
    }

    /// Checks that the source tree has no configuration and no generated headers: with them, kbuild refuses O=
    /// (`outputmakefile` in the top Makefile).
    ///
    /// # Errors
    /// A file is in the way; the message says which, and how to remove it.
    pub fn check_clean_source(&self, arch: Option<&str>) -> Result<()> {
        if self.in_tree() {
            return Ok(());
        }
        for rest in [".config", "include/config"] {
            if self.srctree.join(rest).exists() {
                let arch = arch.map(|arch| format!(" ARCH={arch}")).unwrap_or_default();
                let srctree = self.srctree.display();
                bail!(
                    "the source tree is not clean: {srctree}/{rest} is in the way of a build in {}; \
                     run: make -C {srctree}{arch} mrproper",
                    self.objtree.display()
                );
            }
        }
        Ok(())
    }
}

/// Checks that a path has no character that breaks kbuild. For make, a blank ends a name, a pattern stands for the
/// files that match it, and a tilde in front for a home directory; recipes pass names to a shell without quotes;
/// kbuild splits lists at commas (`$(call ...)`), and refuses `%` and `:`.
///
/// # Errors
/// The path has such a character, which the message names.
pub fn check_path(path: &Path) -> Result<()> {
    let text = path.to_str().with_context(|| format!("{} is not valid UTF-8", path.display()))?;
    let is_special =
        |character: &char| character.is_ascii_control() || " :'\"$#%()&;|\\,<>*?[]{}`".contains(*character);
    let special = text.chars().find(is_special).or_else(|| text.starts_with('~').then_some('~'));
    if let Some(character) = special {
        bail!(
            "{}: make cannot work in a directory with such a name, because of {}: rename it",
            text.escape_debug(),
            if character == ' ' { "the blank".to_owned() } else { character.escape_debug().to_string() }
        );
    }
    Ok(())
}

/// The absolute path of a directory that need not exist; links in the part that exists are resolved.
///
/// # Errors
/// A link or a directory on the way cannot be read.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        return Ok(fs::canonicalize(path)?);
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(absolute(parent)?.join(name)),
        _ => bail!("{}: no such directory", path.display()),
    }
}

/// The source tree for a directory that is a source tree or an object tree. An object tree has a link `source`, or a
/// Makefile that kbuild generated (scripts/mkmakefile, or `cmd_makefile` in the top Makefile).
fn source_of(directory: &Path) -> Result<PathBuf> {
    if is_source(directory) {
        return Ok(directory.to_path_buf());
    }
    let link = directory.join("source");
    if link.is_dir() && is_source(&link) {
        return Ok(fs::canonicalize(link)?);
    }
    if let Some(source) = generated_makefile_source(directory) {
        ensure!(
            source.join("Makefile").is_file(),
            "{} is an object tree of {}, but there is no kernel source there any more",
            directory.display(),
            source.display()
        );
        return Ok(fs::canonicalize(source)?);
    }
    bail!(
        "{} is not a kernel tree (no Kconfig and scripts/Makefile.build): start klpbuild in a kernel source or \
         object tree, or name one with -C DIR",
        directory.display()
    )
}

/// Whether a directory is a kernel's source or object tree, or has been one.
pub fn is_kernel(directory: &Path) -> bool {
    source_of(directory).is_ok() || directory.join("include/config").exists()
}

/// Whether a directory is a kernel's source tree.
pub fn is_source(directory: &Path) -> bool {
    ["Makefile", "Kconfig", "scripts/Makefile.build"].iter().all(|file| directory.join(file).is_file())
}

/// Makes sure that the directory of KDIR, or of the running kernel, is a kernel tree.
///
/// # Errors
/// It is not.
pub fn expect_kernel(directory: &Path) -> Result<()> {
    ensure!(directory.is_dir(), "{}: no such directory: KDIR names a kernel tree", directory.display());
    let beneath = directory.join("build");
    ensure!(
        is_kernel(directory) || !is_kernel(&beneath),
        "{} is no kernel tree, but {} is: KDIR names that",
        directory.display(),
        beneath.display()
    );
    Ok(())
}

/// What the Makefile of an object tree names as its source: `include /src/Makefile` (5.4 and later), or
/// `MAKEARGS := -C /src` (up to 5.3).
fn generated_makefile_source(directory: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(directory.join("Makefile")).ok()?;
    text.lines().find_map(|line| {
        let include = line.strip_prefix("include ").and_then(|rest| rest.trim().strip_suffix("/Makefile"));
        let makeargs = line.strip_prefix("MAKEARGS := -C ").map(str::trim);
        include.or(makeargs).map(|path| directory.join(path))
    })
}

/// The source tree that the object tree at `objtree` was built from, if that can be told. Unlike in [`Tree::locate`],
/// an object tree without one is no error.
pub fn source_if_known(objtree: &Path) -> Option<PathBuf> {
    source_of(objtree).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dir: &Path) {
        fs::create_dir_all(dir.join("scripts")).unwrap();
        for file in ["Makefile", "Kconfig", "scripts/Makefile.build"] {
            fs::write(dir.join(file), "").unwrap();
        }
    }

    #[test]
    fn object_trees_lead_to_their_source() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let (src, old, new, linked) =
            (root.join("src"), root.join("old"), root.join("new"), root.join("linked"));
        source(&src);
        for object in [&old, &new, &linked] {
            fs::create_dir(object).unwrap();
        }
        fs::write(old.join("Makefile"), format!("VERSION = 4\nMAKEARGS := -C {}\n", src.display())).unwrap();
        fs::write(new.join("Makefile"), "# generated\ninclude ../src/Makefile\n").unwrap();
        std::os::unix::fs::symlink("../src", linked.join("source")).unwrap();
        for object in [&old, &new, &linked] {
            let tree = Tree::locate(object, None).unwrap();
            assert_eq!((&tree.srctree, &tree.objtree), (&src, object));
        }
        assert!(Tree::locate(&src, None).unwrap().in_tree());
        assert!(Tree::locate(&src, Some(Path::new("."))).unwrap().in_tree());
        let tree = Tree::locate(&src, Some(Path::new("../not/yet/there"))).unwrap();
        assert_eq!(tree.objtree, root.join("not/yet/there"));
    }

    #[test]
    fn other_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tree::locate(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("is not a kernel tree") && error.contains("-C DIR"), "{error}");
        fs::write(dir.path().join("Makefile"), "include /no/such/Makefile\n").unwrap();
        let error = Tree::locate(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("no kernel source there any more"), "{error}");
        source(&dir.path().join("src"));
        let error = Tree::locate(&dir.path().join("src"), Some(Path::new("a b"))).unwrap_err().to_string();
        assert!(error.contains("a b: make cannot work") && error.contains("because of the blank"), "{error}");
    }

    #[test]
    fn what_make_or_a_shell_takes_for_its_own_is_refused_by_name() {
        for character in " \t\n:'\"$#%()&;|\\,<>*?[]{}`".chars() {
            let path = format!("/objects/a{character}b");
            let error = check_path(Path::new(&path)).unwrap_err().to_string();
            assert!(error.contains("make cannot work") && !error.contains('\n'), "{character:?}: {error}");
        }
        check_path(Path::new("~root")).unwrap_err();
        // These have built modules with real kernels.
        for path in ["/objects/\u{e9}\u{4e2d}", "/a!b", "/a^b", "/a~b", "/a=b+c@d", "/a-b_c.d"] {
            check_path(Path::new(path)).unwrap();
        }
    }

    #[test]
    fn a_configured_source_tree_is_in_the_way_of_an_object_tree() {
        let dir = tempfile::tempdir().unwrap();
        source(dir.path());
        let tree = Tree::locate(dir.path(), Some(Path::new("o"))).unwrap();
        tree.check_clean_source(None).unwrap();
        fs::write(dir.path().join(".config"), "").unwrap();
        let error = tree.check_clean_source(Some("arm64")).unwrap_err().to_string();
        assert!(error.contains("/.config is in the way") && error.contains("ARCH=arm64 mrproper"), "{error}");
        Tree::locate(dir.path(), None).unwrap().check_clean_source(None).unwrap();
    }
}
