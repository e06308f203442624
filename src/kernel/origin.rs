// SPDX-License-Identifier: GPL-2.0-only
//! Whose symbols a command looks at: those of the kernel in an object tree, of an installed kernel that someone else
//! built, or of either together with external modules.
//!
//! - `believed`: which maps can be believed

mod believed;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::host::terminal;
use crate::kernel::external::External;
use crate::kernel::external::context::Context;
use crate::kernel::installed;
use crate::kernel::installed::Choice;
use crate::kernel::installed::inventory;
use crate::kernel::installed::places::{NamedKernel, Places};
use crate::kernel::state::StateDir;
use crate::kernel::symbols::list;
use crate::kernel::symbols::map::{Inputs, Map};
use crate::kernel::symbols::modules;
use crate::kernel::symbols::modules::ListKind;
use crate::kernel::symbols::objects::{Objects, Vmlinux};
use crate::kernel::tree::built::BuiltTree;
use crate::kernel::tree::config::{self, Config, ConfigFile};
use crate::kernel::tree::era::Kbuild;
use crate::kernel::tree::facts;

/// Where a command has to look symbols up, as the user named it; paths are absolute.
#[derive(Debug, Default)]
pub struct OriginRequest {
    /// The directory to start in.
    pub start: PathBuf,
    /// The object tree of the kernel.
    pub objtree: Option<PathBuf>,
    /// The release of an installed kernel, in place of an object tree.
    pub release: Option<String>,
    /// The map of symbols.
    pub symbols: Option<PathBuf>,
    /// The files that the user named for an installed kernel's symbols.
    pub choice: Choice,
}

/// The files that tell of one kernel.
#[derive(Debug, Default)]
pub struct Origin {
    /// The object tree: where the kernel was built, or its headers. None if it is only known by its release.
    pub objtree: Option<PathBuf>,
    /// The source tree, if that is known.
    pub srctree: Option<PathBuf>,
    /// The kbuild of the source tree, if that is known.
    pub kbuild: Option<Kbuild>,
    /// The release, if that is known.
    pub release: Option<String>,
    /// The configuration that it was built with, if that is there.
    pub config: Option<ConfigFile>,
    /// The map of its symbols, if there is one.
    pub list: Option<PathBuf>,
    /// Symbol dumps (Module.symvers) that are there: the kernel's own first, then those of external modules. Empty if
    /// the kernel's is missing.
    pub symvers: Vec<PathBuf>,
    /// The files that its symbols are in.
    pub objects: Objects,
    /// The installed kernel, if it is one.
    pub installed: Option<installed::InstalledKernel>,
    /// Where klpbuild looked in vain for a kernel; none if it found one.
    pub searched: Option<Places>,
}

impl Origin {
    /// The kernel that was built in `objtree`.
    ///
    /// # Errors
    /// The list of modules cannot be read.
    pub fn of_tree(objtree: &Path) -> Result<Origin> {
        Origin::of_built(BuiltTree::at(objtree))
    }

    /// The kernel that was built in `tree`.
    ///
    /// # Errors
    /// The list of modules cannot be read.
    pub fn of_built(tree: BuiltTree) -> Result<Origin> {
        let objects = Objects::of_tree(&tree)?;
        let BuiltTree { objtree, srctree, kbuild } = tree;
        let there = |name: &str| Some(objtree.join(name)).filter(|path| path.is_file());
        Ok(Origin {
            release: facts::release(&objtree),
            config: ConfigFile::at(config::file(&objtree)),
            list: there("Symbols.list"),
            symvers: there("Module.symvers").into_iter().collect(),
            objects,
            objtree: Some(objtree),
            srctree,
            kbuild,
            installed: None,
            searched: None,
        })
    }

    /// The installed kernel `release`; `headers` are its headers, if those are there.
    ///
    /// # Errors
    /// What is found is of another kernel.
    pub fn of_installed(release: &str, headers: Option<BuiltTree>, choice: &Choice) -> Result<Origin> {
        let objtree = headers.as_ref().map(|headers| headers.objtree.as_path());
        let kernel = installed::InstalledKernel::find(release, objtree, choice)?;
        let there = |name: &str| Some(objtree?.join(name)).filter(|path| path.is_file());
        let configs = choice.places().configs(release);
        Ok(Origin {
            release: Some(release.to_owned()),
            config: objtree.map(config::file).into_iter().chain(configs).find_map(ConfigFile::at),
            list: None,
            symvers: there("Module.symvers").into_iter().collect(),
            objects: kernel.objects()?,
            objtree: objtree.map(Path::to_path_buf),
            srctree: headers.as_ref().and_then(|headers| headers.srctree.clone()),
            kbuild: headers.and_then(|headers| headers.kbuild),
            installed: Some(kernel),
            searched: None,
        })
    }

    /// The kernel that modules are built for in `tree`: built there, unless that has only the headers of an
    /// installed one, or files of one are named.
    ///
    /// # Errors
    /// As [`Origin::of_tree`] and [`Origin::of_installed`]; or nothing is built there, and its release is not known.
    pub fn of_kernel(tree: BuiltTree, choice: &Choice) -> Result<Origin> {
        let objtree = &tree.objtree;
        let vmlinux = Vmlinux::of_tree(objtree).is_some();
        let modules = [ListKind::ModulesOrder, ListKind::ModverDir].iter().any(|kind| kind.is_there(objtree));
        // Headers may come with a vmlinux; the modules are installed then.
        let is_installed =
            || facts::release(objtree).is_some_and(|release| choice.places().modules(&release).is_some());
        let is_built = objtree.join("Symbols.list").is_file() || vmlinux && (modules || !is_installed());
        if is_built && !choice.names_files() {
            return Origin::of_built(tree);
        }
        let release = facts::release(objtree).with_context(|| {
            format!(
                "{} has neither a vmlinux nor a release (include/config/kernel.release): build the kernel first \
                 (klpbuild modules), or name the directory of an installed kernel's headers",
                objtree.display()
            )
        })?;
        Origin::of_installed(&release, Some(tree), choice)
    }

    /// The kernel of the `external` modules of `context`, which were built with klpbuild, with these modules. `kbuild` is
    /// the kernel's.
    ///
    /// # Errors
    /// As [`Origin::of_kernel`]; or a list of modules cannot be read.
    pub fn of_external(
        context: &Context,
        external: &External,
        kbuild: &Kbuild,
        quiet: bool,
    ) -> Result<Origin> {
        let tree = BuiltTree::known(&context.srctree, &context.objtree, kbuild);
        let mut origin = Origin::of_kernel(tree, &context.choice)?;
        origin.drop_doubtful_list(quiet);
        let kind = kbuild.era.modules();
        let kernels: BTreeSet<String> = origin.objects.names().cloned().collect();
        for directory in external.extra_directories() {
            let all = external.list_extra(&directory, kind)?;
            origin.objects.add_built(&directory, all, None);
        }
        if kind.is_there(&external.output) {
            let own = modules::list_external(&external.output, kind, &external.root)?;
            origin.objects.add_built(&external.output, own, None);
        }
        // Without the kernel's own dump, the dumps of modules do not tell what is exported.
        if !origin.symvers.is_empty() {
            let own = [external.output.join("Module.symvers")];
            origin.symvers.extend(external.extra_symvers().chain(own).filter(|path| path.is_file()));
        }
        origin.make_what_is_named(&external.output, quiet);
        let kernel_list = origin.list.replace(external.output.join("Symbols.list"));
        origin.list = origin.list.filter(|list| list.is_file());
        origin.drop_doubtful_list(quiet);
        if origin.list.is_none() {
            origin.list = kernel_list;
            origin.objects.set_unlisted(|name| !kernels.contains(name));
        }
        Ok(origin)
    }

    /// The kernel that a command has to look at. The user may name an object tree, a list that may lie in one, or
    /// both. If nothing is named, it is, in this order: the directory to start in, if that is an object tree or the
    /// directory of an external module; the tree in which the module `file` was built; the kernel that KDIR names, or
    /// that is running.
    ///
    /// # Errors
    /// There is no such tree, or none at all.
    pub fn named(asked: &OriginRequest, file: Option<&Path>) -> Result<Origin> {
        let OriginRequest { start, choice, .. } = asked;
        let mut origin = match (&asked.objtree, &asked.symbols) {
            _ if asked.release.is_some() => Origin::released(asked, file)?,
            (Some(objtree), _) => {
                ensure!(
                    objtree.is_dir(),
                    "{}: no such directory: --objtree names an object tree",
                    objtree.display()
                );
                let is_it = |context: &Context| is_same_file(&context.objtree, objtree);
                if let (None, Some(origin)) =
                    (&asked.symbols, Origin::built_beside(start, choice, file, is_it)?)
                {
                    origin
                } else if objtree.join("Symbols.list").is_file() || asked.symbols.is_none() {
                    Origin::of_kernel(BuiltTree::at(objtree), choice)?
                } else {
                    Origin::of_tree(objtree)?
                }
            }
            (None, Some(list)) => match list.parent() {
                Some(tree) if Vmlinux::of_tree(tree).is_some() => Origin::of_tree(tree)?,
                _ => Origin::default(),
            },
            (None, None) => Origin::around(start, choice, file)?,
        };
        origin.drop_doubtful_list(terminal::ALOUD);
        if asked.symbols.is_none()
            && let Err(error) = origin.make_list(None, terminal::ALOUD)
        {
            // Then the modules are looked into one by one.
            origin.expect_symbols().map_err(|_| error)?;
        }
        Ok(origin)
    }

    /// The installed kernel whose release was named, together with the modules that klpbuild has built for it in the
    /// directory to start in or beside `file`.
    fn released(asked: &OriginRequest, file: Option<&Path>) -> Result<Origin> {
        let OriginRequest { start, choice, .. } = asked;
        let release = asked.release.as_deref().unwrap_or_default();
        let places = choice.places();
        inventory::expect(&places, release)?;
        let build = places.build(release);
        if !build.is_dir() {
            return Origin::of_installed(release, None, choice);
        }
        let is_it = |context: &Context| is_same_file(&context.objtree, &build);
        match Origin::built_beside(start, choice, file, is_it)? {
            Some(origin) => Ok(origin),
            None => Origin::of_kernel(BuiltTree::at(&build), choice),
        }
    }

    /// The kernel for which klpbuild built last in `directory`, with the modules built there, if `is_wanted`.
    fn built_in(
        directory: &Path,
        choice: &Choice,
        is_wanted: impl Fn(&Context) -> bool,
    ) -> Result<Option<Origin>> {
        let Some(context) = StateDir::at(directory).context()?.filter(|context| is_wanted(context)) else {
            return Ok(None);
        };
        let is_chosen = *choice != Choice::default();
        let choice = if is_chosen { choice.clone() } else { context.choice.clone() };
        let context = Context { choice, ..context };
        let Some(external) = &context.external else {
            let mut origin = Origin::of_kernel(BuiltTree::at(&context.objtree), &context.choice)?;
            origin.drop_doubtful_list(terminal::ALOUD);
            return Ok(Some(origin));
        };
        let kbuild = Kbuild::detect(&context.srctree)?;
        Ok(Some(Origin::of_external(&context, external, &kbuild, terminal::ALOUD)?))
    }

    /// The kernel and modules of the last build in `start`, or else in a directory above the module `file`: the
    /// modules built together with a module are looked at even if the user names the object tree.
    fn built_beside(
        start: &Path,
        choice: &Choice,
        file: Option<&Path>,
        is_wanted: impl Fn(&Context) -> bool,
    ) -> Result<Option<Origin>> {
        for directory in std::iter::once(start).chain(file.iter().flat_map(|file| file.ancestors().skip(1))) {
            if let Some(origin) = Origin::built_in(directory, choice, &is_wanted)? {
                return Ok(Some(origin));
            }
        }
        Ok(None)
    }

    /// The kernel of a command that was started in `start`, if the user named none.
    fn around(start: &Path, choice: &Choice, file: Option<&Path>) -> Result<Origin> {
        if let Some(origin) = Origin::built_in(start, choice, |_| true)? {
            return Ok(origin);
        }
        let is_tree = [
            "Symbols.list",
            "vmlinux",
            ".config",
            "include/config/auto.conf",
            "include/config/kernel.release",
        ]
        .iter()
        .any(|name| start.join(name).exists());
        if is_tree {
            return Origin::of_kernel(BuiltTree::at(start), choice);
        }
        if let Some(origin) = Origin::built_beside(start, choice, file, |_| true)? {
            return Ok(origin);
        }
        let places = choice.places();
        if let Some(NamedKernel::Release(release)) = places.environment() {
            let asked = OriginRequest {
                start: start.to_path_buf(),
                release: Some(release),
                choice: choice.clone(),
                ..OriginRequest::default()
            };
            return Origin::released(&asked, file);
        }
        if let Some(objtree) = places.kernel_directory(None) {
            return Origin::of_kernel(BuiltTree::at(&objtree), choice);
        }
        match places.running() {
            Some(release) if choice.names_files() || places.modules(&release).is_some() => {
                Origin::of_installed(&release, None, choice)
            }
            _ => {
                Ok(Origin { objtree: Some(start.to_path_buf()), searched: Some(places), ..Origin::default() })
            }
        }
    }

    /// The kernel to boot: the one that the user named, or else the one that a command started there would look at.
    ///
    /// # Errors
    /// There is no such directory, or a file that was found is another kernel's.
    pub fn to_boot(asked: &OriginRequest, livepatch: Option<&Path>) -> Result<Origin> {
        let OriginRequest { start, choice, .. } = asked;
        if asked.release.is_some() {
            return Origin::released(asked, livepatch);
        }
        let Some(objtree) = &asked.objtree else { return Origin::around(start, choice, livepatch) };
        let objtree = fs_err::canonicalize(start.join(objtree)).context("cannot enter the object tree")?;
        match facts::release(&objtree) {
            Some(_) => Origin::of_kernel(BuiltTree::at(&objtree), choice),
            None => Origin::of_tree(&objtree),
        }
    }

    /// Makes the map of the kernel's symbols if there is none. The map of an installed kernel is cached; if it cannot
    /// be, it is written to the directory `fallback`.
    ///
    /// # Errors
    /// There is no vmlinux to make it of, or an object cannot be read.
    pub fn make_list(&mut self, fallback: Option<&Path>, quiet: bool) -> Result<()> {
        if let (None, Some(kernel)) = (&self.list, &self.installed) {
            // The modules of external directories have no part in the cached map.
            self.list = Some(kernel.list(&kernel.objects()?, fallback, quiet)?);
        }
        Ok(())
    }

    /// What its configuration says; none if that is not there, or cannot be read.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()?.config().ok()
    }

    /// Sees that there is something to tell the kernel's symbols.
    fn expect_symbols(&self) -> Result<()> {
        self.installed.iter().try_for_each(|kernel| kernel.expect_vmlinux().map(drop))
    }

    /// Says what cannot be known of this kernel's symbols.
    pub fn say_shortcomings(&self) {
        self.installed.iter().flat_map(installed::InstalledKernel::shortcomings).for_each(terminal::say_once);
    }

    /// The text of the map of the kernel's symbols: the existing one, or one that is made now and not kept.
    ///
    /// # Errors
    /// There is no vmlinux to make it of, or an object cannot be read.
    pub fn map_text(&self) -> Result<Vec<u8>> {
        if let Some(list) = &self.list {
            return list::whole(list);
        }
        let Some(objtree) = &self.objtree else { bail!("there is no kernel whose symbols could be mapped") };
        let inputs = Inputs::of_tree(objtree, self.srctree.as_deref(), self.kbuild.as_ref(), &[])?;
        Ok(Map::make(&inputs)?.parts.concat())
    }
}

/// Whether two paths lead to the same file or directory.
fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((fs_err::canonicalize(one), fs_err::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}
