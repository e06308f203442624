// SPDX-License-Identifier: GPL-2.0-only
//! The ftrace sites: the instructions at which ftrace can step in. A livepatch can only replace a function that
//! begins with one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::Result;

use crate::elf::definitions;
use crate::elf::image::Image;
use crate::elf::{Machine, memory};
use crate::kernel::sources::KernelDefinition;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::{Objects, Vmlinux};

/// Sections of a module that list its ftrace sites (`__mcount_loc`, or `__patchable_function_entries`).
const TABLES: [&[u8]; 2] = [b"__mcount_loc", b"__patchable_function_entries"];

/// The ftrace sites in one object.
#[derive(Debug, Default)]
pub struct FtraceSites {
    /// By the section's name (empty in vmlinux): addresses, or offsets into that section.
    sites: HashMap<String, BTreeSet<u64>>,
    /// How many bytes before a function its site may lie.
    slack: u64,
}

impl FtraceSites {
    /// The ftrace sites in the vmlinux at `path`, between `__start_mcount_loc` and `__stop_mcount_loc`
    /// (include/asm-generic/vmlinux.lds.h); none if the file does not have the table's contents, for example because
    /// the kernel fills it in at boot.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_vmlinux(path: &Path) -> Result<Option<FtraceSites>> {
        let ends: [&[u8]; 2] = [b"__start_mcount_loc", b"__stop_mcount_loc"];
        let found = definitions::find(path, |name| ends.contains(&name))?;
        let value = |name: &[u8]| found.definitions.iter().find(|d| d.name == name).map(|d| d.value);
        let (Some(start), Some(stop)) = (value(ends[0]), value(ends[1])) else { return Ok(None) };
        let bytes = memory::read(path, start, stop.saturating_sub(start))?.unwrap_or_default();
        let sites: BTreeSet<u64> = found.addresses(&bytes).filter(|&address| address != 0).collect();
        let slack = slack(found.machine);
        Ok((!sites.is_empty()).then(|| FtraceSites { sites: HashMap::from([(String::new(), sites)]), slack }))
    }

    /// The ftrace sites in a module; none if it has no table of them.
    pub fn of_module(image: &Image) -> Option<FtraceSites> {
        let mut sites: HashMap<String, BTreeSet<u64>> = HashMap::new();
        for (_, entries, target) in image.relocated() {
            if !image.sections.get(target).is_some_and(|section| TABLES.contains(&section.name.as_slice())) {
                continue;
            }
            for place in entries.relocations.iter().filter_map(|relocation| image.target(relocation)) {
                let section =
                    image.sections.get(place.section).map(|section| section.shown()).unwrap_or_default();
                sites.entry(section).or_default().insert(place.offset);
            }
        }
        (!sites.is_empty()).then(|| FtraceSites { sites, slack: slack(image.machine()) })
    }

    /// The ftrace site of a function of this object, in bytes from the function's beginning; 0 if the machine has it
    /// before the function. None if the function does not begin with a site.
    pub fn of(&self, known: &KernelDefinition) -> Option<u64> {
        let function = known.definition.as_ref()?;
        let is_vmlinux = known.object == VMLINUX;
        let section = if is_vmlinux { "" } else { function.section.as_deref().unwrap_or_default() };
        let start = function.value.saturating_sub(self.slack);
        let end = function.value.saturating_add(function.size.unwrap_or(0).max(1));
        let first = self.sites.get(section)?.range(start..end).next()?;
        Some(first.saturating_sub(function.value))
    }

    /// The ftrace sites in the object `name` of a kernel; none if its table of them cannot be read.
    ///
    /// # Errors
    /// The object cannot be read.
    pub fn of_object(objects: &Objects, name: &str) -> Result<Option<FtraceSites>> {
        match (name, objects.vmlinux.as_ref().and_then(Vmlinux::image), objects.file(name)) {
            (VMLINUX, Some(vmlinux), _) => FtraceSites::of_vmlinux(vmlinux),
            (VMLINUX, None, _) | (_, _, None) => Ok(None),
            (_, _, Some(file)) => Ok(Image::read(&file).ok().as_ref().and_then(FtraceSites::of_module)),
        }
    }
}

/// The ftrace sites in the objects of a kernel; each object is read once, when it is first asked for.
#[derive(Debug)]
pub struct KnownSites<'a> {
    objects: &'a Objects,
    read: BTreeMap<String, Option<FtraceSites>>,
}

impl<'a> KnownSites<'a> {
    /// The ftrace sites of `objects`; none of them is read yet.
    pub fn of(objects: &'a Objects) -> KnownSites<'a> {
        KnownSites { objects, read: BTreeMap::new() }
    }

    /// The ftrace sites in the object `name` ([`FtraceSites::of_object`]).
    ///
    /// # Errors
    /// The object cannot be read.
    pub fn in_object(&mut self, name: &str) -> Result<Option<&FtraceSites>> {
        if !self.read.contains_key(name) {
            self.read.insert(name.to_owned(), FtraceSites::of_object(self.objects, name)?);
        }
        Ok(self.read.get(name).and_then(Option::as_ref))
    }
}

/// arm64 may have the table point to the no-operations before the function
/// (CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS).
fn slack(machine: Machine) -> u64 {
    if machine == Machine::AARCH64 { 8 } else { 0 }
}
