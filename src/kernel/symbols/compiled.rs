// SPDX-License-Identifier: GPL-2.0-only
//! Which source files a kernel that someone else built was compiled from, by the debugging information of its
//! objects.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;

use crate::elf::debugging;
use crate::host::paths;
use crate::host::words::count;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Objects;

/// A file that every kernel is compiled from: if the debugging information does not name it, its paths cannot be
/// used.
const KNOWN: &str = "init/main.c";

/// The objects (vmlinux, or modules by their run-time names) that were compiled from a source file, each with the path
/// that kbuild gave to the compiler: kbuild reaches some files through other directories
/// (`drivers/gpu/drm/amd/amdgpu/../amdkfd/kfd_queue.c`), and compiles some into several objects (those of
/// drivers/gpu/drm/i915/display into i915 and xe).
pub type GivenTo = BTreeMap<String, String>;

/// Source files by their paths in the source tree, each with its objects.
pub type Given = BTreeMap<String, GivenTo>;

/// Of the source files `paths` (relative to the source tree), those that vmlinux and the modules were compiled from.
///
/// # Errors
/// The debugging information of vmlinux or of a module is not here.
pub fn compiled(objects: &Objects, paths: &BTreeSet<String>) -> Result<Given> {
    let vmlinux = objects.with_debug_info(VMLINUX).as_deref().and_then(debugging::compiled);
    let vmlinux = vmlinux.context("vmlinux has no debugging information here")?;
    ensure!(
        vmlinux.iter().any(|name| paths::end_of(name, KNOWN).is_some()),
        "the debugging information of vmlinux does not name the kernel's source files"
    );
    let modules = objects.modules_with_debug_info();
    let missing = objects.names().count() - modules.len();
    ensure!(missing == 0, "the debugging information of {} is not here", count(missing, "module"));
    let names: HashSet<&[u8]> = paths.iter().map(|path| paths::last(path).as_bytes()).collect();
    let of_modules: Vec<(&str, Vec<String>)> = (modules.par_iter())
        .filter_map(|(name, file)| match debugging::mentions(file, &names) {
            Some(false) => None,
            Some(true) => {
                let units = debugging::compiled(file).with_context(|| {
                    format!("the debugging information of {name} ({}) cannot be read", file.display())
                });
                Some(units.map(|units| (name.as_str(), units)))
            }
            None => Some(Err(anyhow::anyhow!("{name} has no debugging information here"))),
        })
        .collect::<Result<_>>()?;
    let vmlinux = (VMLINUX, vmlinux);
    let all = std::iter::once(&vmlinux).chain(&of_modules);
    Ok(given(all.flat_map(|(object, units)| units.iter().map(|unit| (*object, unit.as_str()))), paths))
}

/// Whether an object was compiled from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompiledFrom {
    /// It was, and kbuild gave this path to the compiler.
    Given(String),
    /// It was not.
    None,
    /// Its debugging information is not here.
    Unknown,
}

/// The source files that objects were compiled from: each object's debugging information is read once.
#[derive(Debug)]
pub struct SourceFiles<'a> {
    objects: &'a Objects,
    /// By object: the paths that the compiler was given; none if there is no debugging information.
    read: BTreeMap<String, Option<Vec<String>>>,
}

impl<'a> SourceFiles<'a> {
    /// The source files of `objects`; none of them is read yet.
    pub fn of(objects: &'a Objects) -> SourceFiles<'a> {
        SourceFiles { objects, read: BTreeMap::new() }
    }

    /// Whether the object with the run-time name `name` was compiled from the file `path`.
    pub fn part(&mut self, name: &str, path: &str) -> CompiledFrom {
        let objects = self.objects;
        if !self.read.contains_key(name)
            && let Some(file) = objects.with_debug_info(name)
            && debugging::mentions(&file, &HashSet::from([paths::last(path).as_bytes()])) == Some(false)
        {
            // Only strings were read for that, which is a small part of it.
            return CompiledFrom::None;
        }
        let read = || objects.with_debug_info(name).as_deref().and_then(debugging::compiled);
        match self.read.entry(name.to_owned()).or_insert_with(read) {
            Some(all) => (all.iter().find_map(|given| paths::end_of(given, path)))
                .map_or(CompiledFrom::None, |given| CompiledFrom::Given(given.to_owned())),
            None => CompiledFrom::Unknown,
        }
    }
}

/// Which of the source files `paths` are `named`, each with an object.
fn given<'a>(named: impl Iterator<Item = (&'a str, &'a str)>, paths: &BTreeSet<String>) -> Given {
    let mut by_last: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for path in paths {
        by_last.entry(paths::last(path)).or_default().push(path);
    }
    let mut found = Given::new();
    for (object, name) in named {
        for &path in by_last.get(paths::last(name)).into_iter().flatten() {
            if let Some(end) = paths::end_of(name, path) {
                found.entry(path.clone()).or_default().insert(object.to_owned(), end.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_through_other_directories() {
        let paths = ["gpu/amdkfd/queue.c", "gpu/queue.c", "fs/dir.c"].map(str::to_owned).into();
        let named = [
            ("amdgpu", "/b/gpu/amdgpu/../amdkfd/queue.c"),
            ("ext4", "/b/fs/ext4/dir.c"),
            ("vmlinux", "/b/fs/dir.c"),
            ("fat", "/b/fs/dir.c"),
        ];
        let found = given(named.into_iter(), &paths);
        let told = found.iter().flat_map(|(path, objects)| {
            objects.iter().map(|(object, given)| (path.as_str(), object.as_str(), given.as_str()))
        });
        let expected = [
            ("fs/dir.c", "fat", "fs/dir.c"),
            ("fs/dir.c", "vmlinux", "fs/dir.c"),
            ("gpu/amdkfd/queue.c", "amdgpu", "gpu/amdgpu/../amdkfd/queue.c"),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
