// SPDX-License-Identifier: GPL-2.0-only
//! The files in which symbols are looked up: vmlinux, or a list of its symbols, and modules with their
//! debugging information.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::elf::notes;
use crate::host::text;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::modules;
use crate::kernel::symbols::modules::{ListKind, MODVERDIR, Module};
use crate::kernel::tree::built::BuiltTree;

/// The file that has the symbols of vmlinux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vmlinux {
    /// A linked vmlinux with its symbol table. Debugging information may have been put into it, or taken apart.
    Image {
        /// The ELF file.
        file: PathBuf,
        /// The System.map that was made of it, if that is there.
        system_map: Option<PathBuf>,
    },
    /// A list of its symbols, `System.map` or `/proc/kallsyms`: it has neither sizes nor types, nor source files.
    List(PathBuf),
}

impl Vmlinux {
    /// The file to read.
    pub fn file(&self) -> &Path {
        match self {
            Vmlinux::Image { file, .. } | Vmlinux::List(file) => file,
        }
    }

    /// The ELF file, if it is one.
    pub fn image(&self) -> Option<&Path> {
        match self {
            Vmlinux::Image { file, .. } => Some(file),
            Vmlinux::List(_) => None,
        }
    }

    /// The vmlinux of an object tree, with the System.map beside it; none if it is not there, or has no kernel
    /// symbols, as the one that Debian's headers carry only for its BTF.
    pub fn of_tree(objtree: &Path) -> Option<Vmlinux> {
        let file = objtree.join("vmlinux");
        // If the file cannot be read, the code that needs it reports the error.
        let is_there = file.is_file() && notes::has_code_and_symbols(&file).unwrap_or(true);
        let system_map = Some(objtree.join("System.map")).filter(|map| map.is_file());
        is_there.then_some(Vmlinux::Image { file, system_map })
    }
}

/// Where one module's symbols are.
#[derive(Debug, Clone)]
enum Files {
    /// The object of a module built in an object tree, or in the directory of an external module.
    Built { root: PathBuf, module: Module, prelink: Option<String> },
    /// An installed module, maybe packed; `debug` are the paths at which its debugging information may lie.
    Installed { file: PathBuf, debug: Vec<PathBuf> },
}

/// The objects of a kernel and of external modules built for it.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// vmlinux, if there is a file that has its symbols.
    pub vmlinux: Option<Vmlinux>,
    modules: BTreeMap<String, Files>,
    unlisted: BTreeSet<String>,
}

impl Objects {
    /// The modules that are built in a tree, and its vmlinux. Livepatches are left out.
    ///
    /// # Errors
    /// The list of modules cannot be read.
    pub fn of_tree(tree: &BuiltTree) -> Result<Objects> {
        let BuiltTree { objtree, kbuild, .. } = tree;
        let mut objects = Objects { vmlinux: Vmlinux::of_tree(objtree), ..Objects::default() };
        let kind = match kbuild {
            Some(kbuild) => kbuild.era.modules(),
            None if objtree.join(MODVERDIR).is_dir() => ListKind::ModverDir,
            None => ListKind::ModulesOrder,
        };
        if kind.is_there(objtree) {
            let all = modules::list(objtree, kind).context("the modules of the object tree are not known")?;
            objects.add_built(objtree, all, kbuild.as_ref().and_then(|kbuild| kbuild.prelink.as_deref()));
        }
        Ok(objects)
    }

    /// Adds modules that are built in `root`, except for those on the list of livepatches there.
    pub fn add_built(&mut self, root: &Path, modules: Vec<Module>, prelink: Option<&str>) {
        let livepatches = text::read(root.join("modules.livepatch")).unwrap_or_default();
        let livepatches: HashSet<&str> = livepatches.lines().collect();
        for module in modules.into_iter().filter(|module| !livepatches.contains(module.ko().as_str())) {
            let files = Files::Built {
                root: root.to_path_buf(),
                prelink: prelink.map(str::to_owned),
                module: module.clone(),
            };
            self.modules.insert(module.name(), files);
        }
    }

    /// Adds a module that is installed as `file`; the first path of `debug` that exists has the module's debugging
    /// information.
    pub fn add_installed(&mut self, name: String, file: PathBuf, debug: Vec<PathBuf>) {
        self.modules.insert(name, Files::Installed { file, debug });
    }

    /// Marks the modules that the map of symbols for these objects does not have: they are read in any case.
    pub fn set_unlisted(&mut self, is_unlisted: impl Fn(&String) -> bool) {
        self.unlisted = self.modules.keys().filter(|name| is_unlisted(name)).cloned().collect();
    }

    /// The run-time names of the modules that the map of symbols does not have.
    pub fn unlisted(&self) -> impl Iterator<Item = &String> {
        self.unlisted.iter()
    }

    /// The file that was changed last among the objects that a map is made of: vmlinux (`is_installed` says whether
    /// it was installed or built) and the modules as they are before modpost.
    pub fn newest(&self, is_installed: bool) -> Option<(PathBuf, SystemTime)> {
        let vmlinux = self.vmlinux.iter().map(|vmlinux| (vmlinux.file().to_path_buf(), is_installed));
        let modules = self.modules.values().map(|files| match files {
            Files::Built { root, module, prelink } => (module.object(root, prelink.as_deref()), false),
            Files::Installed { file, .. } => (file.clone(), true),
        });
        let changed = |(file, is_installed): (PathBuf, bool)| {
            // Files of /proc have no times of their own.
            let meta = fs::metadata(&file).ok().filter(|meta| meta.len() > 0)?;
            // Packages set the modification times of their files back; the change time (ctime) tells when they were
            // installed.
            let written = Duration::from_secs(meta.ctime().try_into().unwrap_or(0));
            let written = SystemTime::UNIX_EPOCH + if is_installed { written } else { Duration::ZERO };
            Some((file, meta.modified().ok()?.max(written)))
        };
        vmlinux.chain(modules).filter_map(changed).max_by_key(|(_, time)| *time)
    }

    /// The run-time names of the modules.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.modules.keys()
    }

    /// The modules with their files; a module without a file is left out.
    pub fn files(&self) -> impl Iterator<Item = (&String, PathBuf)> {
        self.modules.keys().filter_map(|name| Some((name, self.file(name)?)))
    }

    /// The file with a module's symbols, if it is there: the finished module, whose order of symbols counts
    /// (S5), or else its object.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        match self.modules.get(name)? {
            Files::Built { root, module, prelink } => {
                let finished = root.join(module.ko());
                if finished.is_file() {
                    return Some(finished);
                }
                Some(module.object(root, prelink.as_deref())).filter(|file| file.is_file())
            }
            Files::Installed { file, .. } => Some(file.clone()),
        }
    }

    /// The directory of the source tree that has a module's makefile; none if the module came from elsewhere.
    pub fn directory(&self, name: &str) -> Option<&str> {
        let below = match self.modules.get(name)? {
            Files::Built { module, .. } => module.stem.as_str(),
            Files::Installed { file, .. } => {
                let (_, release) = file.to_str()?.split_once("/lib/modules/")?;
                release.split_once('/')?.1.strip_prefix("kernel/")?
            }
        };
        Some(below.rsplit_once('/').map_or("", |(directory, _)| directory))
    }

    /// The file with the debugging information of vmlinux or of a module, if there is one.
    pub fn with_debug_info(&self, object: &str) -> Option<PathBuf> {
        if object == VMLINUX {
            return self.vmlinux.as_ref().and_then(Vmlinux::image).map(Path::to_path_buf);
        }
        self.debug_file(object).map(Path::to_path_buf).or_else(|| self.file(object))
    }

    /// The files with the debugging information of all modules; modules that were installed without it are left out.
    pub fn modules_with_debug_info(&self) -> Vec<(String, PathBuf)> {
        let has_debug_info = |name: &String| match self.modules.get(name) {
            Some(Files::Installed { .. }) => self.debug_file(name).is_some(),
            _ => true,
        };
        let names = self.modules.keys().filter(|name| has_debug_info(name));
        names.filter_map(|name| Some((name.clone(), self.with_debug_info(name)?))).collect()
    }

    /// The separate file with a module's debugging information, if there is one.
    pub fn debug_file(&self, name: &str) -> Option<&Path> {
        match self.modules.get(name)? {
            Files::Built { .. } => None,
            Files::Installed { debug, .. } => debug.iter().find(|file| file.is_file()).map(PathBuf::as_path),
        }
    }
}
