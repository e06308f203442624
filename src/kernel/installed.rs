// SPDX-License-Identifier: GPL-2.0-only
//! A kernel that someone else built: which of its files lie where distributions put them, and whether they belong to
//! this very kernel.
//!
//! - [`places`]: the paths
//! - [`identity`]: release, version and build ID have to agree
//! - [`inventory`]: all that are installed
//! - [`cache`]: the map of its symbols, which takes a while to make and is kept
//! - [`loaded`]: the livepatches that are loaded on this machine
//! - [`remedy`]: which package supplies what is missing

pub(crate) mod cache;
mod identity;
pub(crate) mod inventory;
pub(crate) mod loaded;
pub mod places;
pub(crate) mod remedy;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::elf::notes;
use crate::host::compressed::unpacked_name;
use crate::host::program;
use crate::host::terminal;
use crate::kernel::installed::identity::KernelIdentity;
use crate::kernel::installed::places::Places;
use crate::kernel::symbols::modules::Module;
use crate::kernel::symbols::objects::{Objects, Vmlinux};

/// The files that a user names for a kernel's symbols; paths are absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The vmlinux with symbols.
    pub vmlinux: Option<PathBuf>,
    /// The System.map, in place of a vmlinux.
    pub system_map: Option<PathBuf>,
    /// The directory of the modules.
    pub modules_dir: Option<PathBuf>,
    /// The root directory below which all files are looked for, in place of `/`.
    pub sysroot: Option<PathBuf>,
    /// Whether files are used although they do not fit the kernel.
    pub force: bool,
}

impl Choice {
    /// Whether the user names files to be used in place of an object tree's own.
    pub fn names_files(&self) -> bool {
        self.vmlinux.is_some() || self.system_map.is_some() || self.modules_dir.is_some()
    }

    /// The choice as options of klpbuild, quoted for a shell.
    pub fn to_flags(&self) -> String {
        let paths = [
            ("--vmlinux", &self.vmlinux),
            ("--system-map", &self.system_map),
            ("--modules-dir", &self.modules_dir),
            ("--sysroot", &self.sysroot),
        ];
        let mut flags: Vec<String> = paths
            .into_iter()
            .filter_map(|(option, path)| {
                Some(format!("{option} {}", program::quoted(&path.as_ref()?.to_string_lossy())))
            })
            .collect();
        flags.extend(self.force.then(|| "--force".to_owned()));
        flags.join(" ")
    }

    /// The root below which files are looked for.
    pub fn places(&self) -> Places {
        Places::below(self.sysroot.as_deref())
    }
}

/// The files of an installed kernel that are there.
#[derive(Debug)]
pub struct InstalledKernel {
    /// Its release, as `uname -r` has it.
    pub release: String,
    /// The file that has the symbols of vmlinux.
    pub vmlinux: Option<Vmlinux>,
    /// The build ID of vmlinux, if that is known.
    pub build_id: Option<Vec<u8>>,
    /// Where its modules are.
    pub modules: Option<PathBuf>,
    places: Places,
    force: bool,
    /// Some of its files are not where distributions put them.
    is_chosen: bool,
}

impl InstalledKernel {
    /// Finds the files of the kernel `release`; `objtree` has its headers.
    ///
    /// # Errors
    /// A file that the user named is not there, or a file is another kernel's.
    pub fn find(release: &str, objtree: Option<&Path>, choice: &Choice) -> Result<InstalledKernel> {
        let places = choice.places();
        let wanted = KernelIdentity::of(release, objtree, &places);
        let vmlinux = vmlinux(release, objtree, choice, &places, &wanted)?;
        let build_id = match &vmlinux {
            Some(Vmlinux::Image { file, .. }) => notes::build_id(file)?,
            _ => wanted.build_id.clone(),
        };
        let is_chosen = choice.names_files() || choice.sysroot.is_some();
        let modules = match &choice.modules_dir {
            Some(directory) => {
                ensure!(directory.is_dir(), "{}: no such directory (--modules-dir)", directory.display());
                Some(directory.clone())
            }
            None => places.modules(release),
        };
        Ok(InstalledKernel {
            release: release.to_owned(),
            vmlinux,
            build_id,
            modules,
            places,
            force: choice.force,
            is_chosen,
        })
    }

    /// The files in which the kernel's symbols are looked up.
    ///
    /// # Errors
    /// The modules' directory cannot be read.
    pub fn objects(&self) -> Result<Objects> {
        let mut objects = Objects::default();
        objects.vmlinux.clone_from(&self.vmlinux);
        let Some(directory) = &self.modules else { return Ok(objects) };
        for file in places::modules_below(directory)? {
            let relative = file.strip_prefix(directory).unwrap_or(&file).to_string_lossy().into_owned();
            let Some(stem) = unpacked_name(&relative).strip_suffix(".ko").map(str::to_owned) else {
                continue;
            };
            let name = Module { stem: stem.clone() }.name();
            objects.add_installed(name, file, self.places.debug_of(&self.release, &stem));
        }
        Ok(objects)
    }

    /// Where distributions put the kernel's files.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The paths at which its boot image may lie.
    pub fn images(&self) -> Vec<PathBuf> {
        self.places.images(&self.release)
    }

    /// What cannot be known of the kernel's symbols without a vmlinux: one sentence for each thing.
    pub fn shortcomings(&self) -> Vec<String> {
        let mut short = Vec::new();
        match &self.vmlinux {
            Some(Vmlinux::List(file)) => short.push(format!(
                "vmlinux's symbols are read from {}: their types, sizes and source files are not known, nor which \
                 functions ftrace can step in",
                file.display()
            )),
            Some(Vmlinux::Image { .. }) | None => {}
        }
        if self.modules.is_none() {
            short.push(format!("the modules of {} are not known (--modules-dir DIR)", self.release));
        }
        short
    }

    /// Its vmlinux.
    ///
    /// # Errors
    /// There is none; the message says what to install.
    pub fn expect_vmlinux(&self) -> Result<&Vmlinux> {
        match &self.vmlinux {
            Some(vmlinux) => Ok(vmlinux),
            None => bail!(
                "nothing tells the symbols of {release}'s vmlinux: there is none with symbols in {}, no full \
                 System.map, and no /proc/kallsyms to be read as root while it runs; install its debug symbols, or \
                 name a file (--vmlinux FILE, --system-map FILE); klpbuild doctor says which package has them",
                self.places.shown_vmlinux(&self.release),
                release = self.release
            ),
        }
    }

    /// Whether modules of another kernel are accepted.
    pub(super) fn accepts_other_kernels(&self) -> bool {
        self.force
    }
}

/// Fails with `message` because something does not fit; with `force`, only warns.
fn object(force: bool, message: &str) -> Result<()> {
    ensure!(force, "{message}; name the right one, or use --force if you know better");
    terminal::say_once(format_args!("warning: {message}; used all the same (--force)"));
    Ok(())
}

fn vmlinux(
    release: &str,
    objtree: Option<&Path>,
    choice: &Choice,
    places: &Places,
    wanted: &KernelIdentity,
) -> Result<Option<Vmlinux>> {
    let image = |file: PathBuf| {
        let system_map = places.system_maps(release).into_iter().find(|map| places::is_full_map(map));
        Vmlinux::Image { system_map: system_map.filter(|_| choice.vmlinux.is_none() && !choice.force), file }
    };
    if let Some(file) = &choice.vmlinux {
        ensure!(file.is_file(), "{}: no such file (--vmlinux)", file.display());
        ensure!(
            notes::has_code_and_symbols(file)?,
            "{}: it has no symbols of a kernel: name a vmlinux that was not stripped (--vmlinux)",
            file.display()
        );
        if let Some(difference) = wanted.difference(file)? {
            object(choice.force, &difference)?;
        }
        return Ok(Some(image(file.clone())));
    }
    if let Some(file) = &choice.system_map {
        ensure!(file.is_file(), "{}: no such file (--system-map)", file.display());
        ensure!(
            places::is_full_map(file),
            "{}: it has no symbols: some distributions ship one line in place of System.map, and the real one with \
             the debug symbols (--system-map)",
            file.display()
        );
        if let Some(difference) = wanted.difference_of_list(file)? {
            object(choice.force, &difference)?;
        }
        return Ok(Some(Vmlinux::List(file.clone())));
    }
    let own = objtree.map(|objtree| objtree.join("vmlinux"));
    let mut misfit = None;
    for file in own.into_iter().chain(places.vmlinux(release)) {
        if !file.is_file() || !notes::has_code_and_symbols(&file).unwrap_or(false) {
            continue;
        }
        match wanted.difference(&file)? {
            None => return Ok(Some(image(file))),
            Some(difference) => misfit = misfit.or(Some((file, difference))),
        }
    }
    if let Some((file, difference)) = misfit {
        object(choice.force, &difference)?;
        return Ok(Some(image(file)));
    }
    let map = places.system_maps(release).into_iter().find(|map| places::is_full_map(map));
    let running = || (places.running().as_deref() == Some(release)).then(|| places.kallsyms()).flatten();
    let Some(list) = map.or_else(running) else { return Ok(None) };
    if let Some(difference) = wanted.difference_of_list(&list)? {
        object(choice.force, &difference)?;
    }
    Ok(Some(Vmlinux::List(list)))
}
