// SPDX-License-Identifier: GPL-2.0-only
//! What a build is for: written by `klpbuild modules` for the map step, which make runs, and read later by commands
//! that are started in the directory of an external module.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::host::output;
use crate::host::processes;
use crate::host::terminal;
use crate::host::text;
use crate::kernel::external::External;
use crate::kernel::installed::Choice;
use crate::kernel::state::{self, StateDir};

/// A kernel, and what is built for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The kernel's source tree, or as much of it as headers have.
    pub srctree: PathBuf,
    /// Its object tree.
    pub objtree: PathBuf,
    /// The external modules, for a build with M=.
    pub external: Option<External>,
    /// The files that the user named for the kernel's symbols.
    pub choice: Choice,
    /// The map of an installed kernel's symbols.
    pub kernel_list: Option<PathBuf>,
    /// Why the kernel's symbols are not known, if so.
    pub problem: Option<String>,
    /// How livepatches are converted.
    #[serde(flatten)]
    pub conversion: Conversion,
}

/// How livepatches are converted after their final link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversion {
    /// They are left as they are linked.
    #[serde(rename = "unconverted")]
    pub is_off: bool,
    /// Symbols that modules export stay normal ones (R10).
    pub keep_module_exports: bool,
}

impl Context {
    /// The context of a kernel's own build without options.
    pub fn of_tree(srctree: &Path, objtree: &Path) -> Context {
        Context {
            srctree: srctree.to_path_buf(),
            objtree: objtree.to_path_buf(),
            external: None,
            choice: Choice::default(),
            kernel_list: None,
            problem: None,
            conversion: Conversion::default(),
        }
    }
}

impl StateDir {
    /// The context of the enclosing klpbuild, if its make started this process, and if it works on this directory:
    /// then it holds the lock.
    ///
    /// # Errors
    /// The errors of [`StateDir::context`].
    pub fn context_above(&self) -> Result<Option<Context>> {
        let above = std::env::var_os(state::VARIABLE).map(PathBuf::from);
        match above.is_some_and(|above| self.directory() == above) {
            true => self.context(),
            false => Ok(None),
        }
    }

    /// Writes down what this klpbuild builds.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_context(&self, context: &Context) -> Result<()> {
        let path = self.context_file();
        output::replace(&path, output::beside(&path), &[terminal::to_json(context)?])?;
        Ok(())
    }

    /// What was built here last, if that was an external module or is being built now. A file that another user has
    /// written is not trusted: it says which files to read.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn context(&self) -> Result<Option<Context>> {
        let path = self.context_file();
        if !path.is_file() {
            return Ok(None);
        }
        let owner = fs::symlink_metadata(&path)?.uid();
        if !is_trusted(owner, processes::user(), std::env::var("SUDO_UID").ok().as_deref()) {
            terminal::say(format_args!(
                "{} belongs to another user ({owner}), and is not trusted: build again, or name the kernel",
                path.display()
            ));
            return Ok(None);
        }
        let context = terminal::from_json(&text::read(&path)?).with_context(|| {
            format!(
                "{}: not written by this version of klpbuild: build again (klpbuild modules)",
                path.display()
            )
        })?;
        Ok(Some(context))
    }
}

/// Whether `user` trusts a file that `owner` wrote: the user's own and root's files; for root also those of the user
/// who became root with sudo.
fn is_trusted(owner: u32, user: u32, sudo: Option<&str>) -> bool {
    let by_sudo = || user == 0 && sudo.and_then(|uid| uid.parse().ok()) == Some(owner);
    owner == user || owner == 0 || by_sudo()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_user_and_root_are_trusted() {
        assert!(
            is_trusted(1000, 1000, None) && is_trusted(0, 1000, None) && is_trusted(1000, 0, Some("1000"))
        );
        assert!(!is_trusted(1001, 1000, None) && !is_trusted(1000, 0, None));
        assert!(!is_trusted(1001, 0, Some("1000")) && !is_trusted(1000, 1001, Some("1000")));
    }
}
