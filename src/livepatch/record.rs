// SPDX-License-Identifier: GPL-2.0-only
//! The record of the builds that a livepatch was converted for: lines `klpbuild_for=<object> <identity>` in
//! `.modinfo`, one for vmlinux and one for each module whose symbols or functions the livepatch names. Positions (S1)
//! hold for one build only; in another build of the same release they may name other symbols.
//!
//! The kernel and modprobe ignore tags that they do not know, so the lines have no effect but that `modinfo` shows
//! them. They are a part of the ELF file, so that a signature covers them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::debuginfo::btf;
use crate::elf::image::Image;
use crate::elf::{definitions, memory, notes};
use crate::host::digest;
use crate::host::words::hex;
use crate::kernel::kallsyms;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::{Objects, Vmlinux};
use crate::livepatch::patch::Patch;

/// The tag of the lines in `.modinfo`.
pub const TAG: &str = "klpbuild_for";
/// The section that holds a module's `struct module` (scripts/mod/modpost.c).
const THIS_MODULE: &[u8] = b".gnu.linkonce.this_module";

/// What distinguishes one build of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildIdentity {
    /// The kind of the value: `build-id` (the linker's note), or else `symbols`, a hash of the symbol table (names,
    /// values and sections), or `names`, a hash of the names, for a list that has nothing else.
    pub kind: String,
    /// The value, in hexadecimal.
    pub value: String,
}

impl fmt::Display for BuildIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// The difference between an object at hand and the build that a livepatch was converted for.
#[derive(Debug, PartialEq, Eq)]
pub struct BuildDifference {
    /// The run-time name of the object.
    pub object: String,
    /// The build that the livepatch is for.
    pub wanted: BuildIdentity,
    /// The build at hand; none if it has no identity of the same kind.
    pub found: Option<BuildIdentity>,
}

impl fmt::Display for BuildDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BuildDifference { object, wanted, found } = self;
        match found {
            Some(found) => {
                write!(f, "it was converted for another build of {object}: for {wanted}, and this is {found}")
            }
            None => write!(
                f,
                "it was converted for {object} with {wanted}: nothing tells whether this is the same build"
            ),
        }
    }
}

/// The builds of objects that `image` was converted for, by its lines.
pub fn read(image: &Image) -> BTreeMap<String, BuildIdentity> {
    let line = |entry: &[u8]| {
        let text = std::str::from_utf8(entry.strip_prefix(TAG.as_bytes())?.strip_prefix(b"=")?).ok()?;
        let (object, identity) = text.split_once(' ')?;
        let (kind, value) = identity.split_once(':')?;
        Some((object.to_owned(), BuildIdentity { kind: kind.to_owned(), value: value.to_owned() }))
    };
    image.modinfo().entries().filter_map(line).collect()
}

/// The lines that `.modinfo` gets for a livepatch whose symbols are resolved.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn lines(named: &BTreeSet<String>, objects: &Objects) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for object in named {
        if let Some(identity) = identity(object, objects)? {
            lines.push(format!("{TAG}={object} {identity}"));
        }
    }
    Ok(lines)
}

/// The objects that a livepatch names: vmlinux in any case, the objects that it patches, and the owners of symbols.
pub fn named<'a>(patch: Option<&'a Patch>, owners: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let patched = patch.iter().flat_map(|patch| &patch.objects).map(|object| object.name.as_str());
    [VMLINUX].into_iter().chain(patched).chain(owners).map(str::to_owned).collect()
}

/// The differences between the objects that `image` was converted for and those at hand. An object that is not at
/// hand is left out.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn differences(image: &Image, objects: &Objects) -> Result<Vec<BuildDifference>> {
    let mut differences = Vec::new();
    for (object, wanted) in read(image) {
        let found = match identity(&object, objects)? {
            None => continue,
            Some(found) if found == wanted => continue,
            Some(found) => Some(found).filter(|found| found.kind == wanted.kind),
        };
        differences.push(BuildDifference { object, wanted, found });
    }
    Ok(differences)
}

/// The identity of an object's build; none if no finished file of it is at hand.
fn identity(object: &str, objects: &Objects) -> Result<Option<BuildIdentity>> {
    if object == VMLINUX {
        return Ok(match &objects.vmlinux {
            Some(Vmlinux::Image { file, .. }) => Some(of_file(file)?),
            Some(Vmlinux::List(file)) => Some(of_list(file)?),
            None => None,
        });
    }
    let file = objects.file(object).filter(|file| is_finished(file));
    file.map(|file| of_file(&file)).transpose()
}

/// The identity of an ELF file.
///
/// # Errors
/// It cannot be read.
pub fn of_file(file: &Path) -> Result<BuildIdentity> {
    if let Some(id) = notes::build_id(file)? {
        return Ok(BuildIdentity { kind: "build-id".to_owned(), value: hex(&id) });
    }
    let found = definitions::find(file, |_| true)?.definitions;
    let values: Vec<[u8; 8]> = found.iter().map(|definition| definition.value.to_le_bytes()).collect();
    let parts = found.iter().zip(&values).flat_map(|(definition, value)| {
        let section = definition.section.as_deref().unwrap_or_default();
        [definition.name.as_slice(), value, section.as_bytes()]
    });
    Ok(BuildIdentity { kind: "symbols".to_owned(), value: digest::sha256(parts) })
}

/// The identity of a list of symbols, without their addresses, which may differ from boot to boot.
fn of_list(file: &Path) -> Result<BuildIdentity> {
    let found = kallsyms::definitions_in(file, |_| true)?;
    let value = digest::sha256(found.iter().map(|definition| definition.name.as_slice()));
    Ok(BuildIdentity { kind: "names".to_owned(), value })
}

/// The size of `struct module` that `image` was compiled with, in bytes: modpost has it in every module.
pub fn module_size(image: &Image) -> Option<u64> {
    image.section_named(THIS_MODULE).map(|(_, section)| section.size())
}

/// The sizes of `struct module` in the kernel's own modules, beginning with those in `named`. A few are enough, since
/// all have the same configuration unless some are left over from another one. Without modules, the size in the BTF
/// of vmlinux.
///
/// # Errors
/// A module cannot be read.
pub fn module_sizes(named: &BTreeSet<String>, objects: &Objects) -> Result<BTreeSet<u64>> {
    const ENOUGH: usize = 4;
    let mut sizes = BTreeSet::new();
    let all = objects.files().map(|(_, file)| file);
    let modules = named.iter().filter_map(|name| objects.file(name)).chain(all);
    let name = String::from_utf8_lossy(THIS_MODULE);
    for file in modules.filter(|file| is_finished(file)).take(ENOUGH) {
        sizes.extend(memory::section(&file, &name)?.map(|bytes| bytes.len() as u64));
    }
    let image = objects.vmlinux.as_ref().and_then(Vmlinux::image);
    if sizes.is_empty()
        && let Some(btf) = image.map(|image| memory::section(image, ".BTF")).transpose()?.flatten()
    {
        sizes.extend(btf::size_of_struct(&btf, "module")?);
    }
    Ok(sizes)
}

/// Whether a module's file is finished: before the final link it has other symbols.
fn is_finished(file: &Path) -> bool {
    file.extension().is_none_or(|extension| extension != "o")
}
