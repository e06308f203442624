// SPDX-License-Identifier: GPL-2.0-only
//! The kernel that a livepatch is made for, with the trees that its files are compiled in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::plan::Order;
use crate::frompatch::compiler;
use crate::frompatch::prepare::{self, Made, PreparedTree, UnpreparedKernel};
use crate::frompatch::source;
use crate::host::exit::Exit;
use crate::kernel::installed::inventory;
use crate::kernel::origin::Origin;
use crate::kernel::sources::Sources;
use crate::kernel::tree::config::Config;
use crate::kernel::tree::facts;

/// A kernel for which a livepatch can be made, with all that is needed.
#[derive(Debug)]
pub struct TargetKernel {
    /// The files of the kernel.
    pub origin: Origin,
    /// Where its symbols are looked up.
    pub sources: Sources,
    /// Its configuration.
    pub config: Config,
    /// Its release.
    pub release: String,
    /// The directory that modules are built with: its object tree, or its headers.
    pub kdir: PathBuf,
    /// Its source tree, without symbolic links.
    pub source: PathBuf,
    /// The directory of its architecture in `arch`.
    pub arch: &'static str,
}

/// The object tree in which the kernel's files are compiled.
#[derive(Debug)]
pub enum Workshop {
    /// The object tree in which the whole kernel was built.
    Built(PathBuf),
    /// An object tree that was prepared for an installed kernel.
    Prepared(Box<PreparedTree>),
}

impl Workshop {
    /// The object tree.
    pub fn objtree(&self) -> &Path {
        match self {
            Workshop::Built(objtree) => objtree,
            Workshop::Prepared(prepared) => &prepared.objtree,
        }
    }

    /// Has kbuild compile files in a prepared tree; returns make's exit if it failed.
    ///
    /// # Errors
    /// make cannot be run.
    pub fn compile(&self, goals: &[&str]) -> Result<Option<Exit>> {
        match self {
            Workshop::Built(_) => Ok(None),
            Workshop::Prepared(prepared) => prepared.compile(goals),
        }
    }
}

impl TargetKernel {
    /// Finds the configuration, release and source of a kernel.
    ///
    /// # Errors
    /// The kernel takes no livepatches, its source is not here, or it is for a machine whose code cannot be compared
    /// yet.
    pub fn of(origin: Origin, named: Option<&Path>, quiet: bool) -> Result<TargetKernel> {
        if let Some(places) = &origin.searched {
            bail!(
                "no kernel is named, and the one that is running has no headers here: {}",
                inventory::advice(places)
            );
        }
        let kdir = origin.objtree.clone().context(
            "there is nothing to build modules with: install the kernel's headers (klpbuild doctor names the package), or \
             name its object tree (KDIR=DIR)",
        );
        let kdir = match &origin.installed {
            Some(kernel) => inventory::or_others(kdir, kernel.places())?,
            None => kdir?,
        };
        let file = (origin.config.as_ref())
            .with_context(|| format!("{} has no .config: it is no kernel that was built", kdir.display()))?;
        let config = file.config()?.clone();
        ensure!(
            config.livepatch,
            "CONFIG_LIVEPATCH is not set in {}: this kernel takes no livepatches",
            file.path().display()
        );
        ensure!(
            config.has("X86_64"),
            "livepatches are made of patches for x86-64 only, not yet for other machines: write one by hand (klpbuild new)"
        );
        ensure!(!config.has("LTO_CLANG"), compiler::NO_LTO);
        ensure!(
            !config.has("CFI_CLANG"),
            "the kernel is built with control flow integrity (CONFIG_CFI_CLANG): not yet"
        );
        let release = origin.release.clone().context("the release of the kernel is not known")?;
        let made = facts::made_release(&kdir).unwrap_or_else(|| release.clone());
        let source = match (&origin.installed, named) {
            (_, Some(named)) => source::checked(named, &made)?,
            (Some(kernel), None) => match &origin.srctree {
                Some(tree) if tree.join("init/main.c").is_file() => tree.clone(),
                _ => source::find(&release, &made, kernel.places(), quiet)?,
            },
            (None, None) => match &origin.srctree {
                Some(tree) => fs_err::canonicalize(tree)?,
                None => bail!(
                    "the source that {} was built from is not known: name it (--source DIR)",
                    kdir.display()
                ),
            },
        };
        let sources = Sources::open(&origin, None)?;
        Ok(TargetKernel {
            kdir: fs_err::canonicalize(kdir)?,
            sources,
            config,
            release,
            source,
            arch: "x86",
            origin,
        })
    }

    /// The object tree to compile in: the kernel's own, or one that is prepared. A `signal` ends the wait for another
    /// klpbuild.
    ///
    /// # Errors
    /// The compiler is not the kernel's, or the tree cannot be made.
    pub fn workshop(
        &self,
        order: impl Fn() -> Result<Order>,
        signal: impl FnMut() -> Option<i32>,
    ) -> Result<Made<Workshop>> {
        match &self.origin.installed {
            None => Ok(Made::Done(Workshop::Built(self.kdir.clone()))),
            Some(kernel) => {
                let wanted = UnpreparedKernel { kernel, headers: &self.kdir, source: &self.source };
                Ok(match prepare::prepare(&wanted, order, signal)? {
                    Made::Done(prepared) => Made::Done(Workshop::Prepared(Box::new(prepared))),
                    Made::Over(exit) => Made::Over(exit),
                })
            }
        }
    }

    /// Checks that a unit is compiled with the kernel's compiler.
    ///
    /// # Errors
    /// It is not.
    pub fn check_compiler(&self, compiler: &str) -> Result<()> {
        compiler::check(compiler, &self.config)
    }
}
