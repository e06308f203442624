// SPDX-License-Identifier: GPL-2.0-only
//! External modules: a directory outside of the kernel tree that is built with M=.
//!
//! - [`context`]: what a build is for, written down for the map step and for later commands

pub mod context;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::kernel::symbols::modules;
use crate::kernel::symbols::modules::{ListKind, Module};

/// The directory of external modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// Where their sources are: absolute, without symbolic links.
    pub source: PathBuf,
    /// Where their objects are: the directory of the sources, or the one that MO= names (6.13 and later).
    pub output: PathBuf,
    /// The directory that make runs in when it builds them: the kernel's object tree up to 6.12, later `output`.
    pub root: PathBuf,
    /// The directory as make gets it (M=).
    pub argument: String,
    /// Symbol dumps of other external modules, as KBUILD_EXTRA_SYMBOLS has them.
    pub extra_symbols: Vec<String>,
}

impl External {
    /// The symbol dumps of other external modules, absolute.
    pub fn extra_symvers(&self) -> impl Iterator<Item = PathBuf> {
        self.extra_symbols.iter().map(|path| self.root.join(path))
    }

    /// The directories of those modules, each once.
    pub fn extra_directories(&self) -> Vec<PathBuf> {
        let directories = self.extra_symvers().filter_map(|path| fs_err::canonicalize(path.parent()?).ok());
        let mut directories: Vec<PathBuf> =
            directories.filter(|directory| *directory != self.output).collect();
        directories.sort();
        directories.dedup();
        directories
    }

    /// The modules that were built in `directory`, a directory of other external modules.
    ///
    /// # Errors
    /// The errors of [`modules::list_external`].
    pub fn list_extra(&self, directory: &Path, kind: ListKind) -> Result<Vec<Module>> {
        // The directory that make ran in when it wrote their list.
        let root = if self.root == self.output { directory } else { &self.root };
        if kind.is_there(directory) { modules::list_external(directory, kind, root) } else { Ok(Vec::new()) }
    }

    /// Whether `directory` has a kbuild makefile: `Kbuild`, or else a `Makefile` that speaks of modules or of what
    /// builds them (scripts/Makefile.build).
    pub fn is_one(directory: &Path) -> bool {
        const WORDS: [&str; 3] = ["obj-", "Makefile.snippet", "KERNELRELEASE"];
        let makefile = fs_err::read(directory.join("Makefile")).unwrap_or_default();
        let makefile = String::from_utf8_lossy(&makefile);
        directory.join("Kbuild").is_file() || WORDS.iter().any(|word| makefile.contains(word))
    }
}
