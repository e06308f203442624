// SPDX-License-Identifier: GPL-2.0-only
//! What the debugging information of objects says: questions to [`crate::debuginfo::dwarf`]; [`sections`] makes the
//! sections readable.

mod sections;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::debuginfo::dwarf;
use crate::debuginfo::prototype::{Declaration, Prototype};
use crate::elf::debugging::sections::{Linked, SectionReader, debugging_section, or_warn};
use crate::elf::image::{Image, Section, SectionIndex, Table};

/// The source lines of a relocatable object.
#[derive(Debug)]
pub struct ObjectLines {
    lines: dwarf::DwarfLines,
    /// The address that each section was given, so that sections do not overlap.
    bases: Table<SectionIndex, u64>,
}

impl ObjectLines {
    /// File and line of the code `offset` bytes into the section with this index, as in `fs/foo.c:12`.
    pub fn at(&self, section: SectionIndex, offset: u64) -> Option<String> {
        let place = self.lines.at(self.bases.get(section)?.checked_add(offset)?)?;
        Some(format!("{}:{}", place.file.escape_debug(), place.line))
    }
}

impl Image {
    /// The source lines; none without readable debugging information.
    pub fn lines(&self) -> Option<ObjectLines> {
        let bases = self.bases();
        let lines = self.ask(&bases, dwarf::DwarfLines::read).ok()??;
        Some(ObjectLines { lines, bases })
    }
}

/// What became of each of `names`, in that order: functions or variables for which the object at `path` (linked, or a
/// module) has no symbol. Each is none if its debugging information does not tell.
pub fn fates(path: &Path, names: &[&str]) -> Vec<Option<dwarf::NoSymbolReason>> {
    let raw: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let found = ask(path, |section, little| dwarf::fates(section, little, &raw));
    found.unwrap_or_else(|| names.iter().map(|_| None).collect())
}

/// Calls `read` with the debugging information and the byte order of the object at `path` (linked, or a module). None
/// if the object cannot be read; if only its debugging information cannot, a warning is printed.
fn ask<T>(path: &Path, read: impl FnOnce(SectionReader<'_>, bool) -> Result<T>) -> Option<T> {
    let found = match Linked::open(path) {
        Some(linked) => linked.ask(read),
        None => {
            let image = Image::read(path).ok()?;
            image.ask(&image.bases(), read).with_context(|| format!("cannot read {}", path.display()))
        }
    };
    or_warn(found)
}

/// The prototype of the function `name` at `address` in the object at `path` (linked, or a module with debugging
/// information).
pub fn prototype(path: &Path, name: &str, address: u64) -> Option<Prototype> {
    // The sections of a module have no addresses: several functions of one name cannot be told apart.
    let address = if Linked::open(path).is_some() { address } else { u64::MAX };
    ask(path, |section, little| dwarf::prototype(section, little, name.as_bytes(), address)).flatten()
}

/// The sizes of structures in bytes, from the debugging information of the linked object at `path`; none for unknown
/// ones.
pub fn sizes<const N: usize>(path: &Path, names: [&str; N]) -> [Option<u64>; N] {
    let Some(linked) = Linked::open(path) else { return [None; N] };
    or_warn(linked.ask(|section, little| dwarf::sizes(section, little, names))).unwrap_or([None; N])
}

/// The source files that the object at `path` (linked, or a module) was compiled from ([`dwarf::compiled`]); none if
/// its debugging information does not tell.
pub fn compiled(path: &Path) -> Option<Vec<String>> {
    ask(path, dwarf::compiled).filter(|names| !names.is_empty())
}

/// Whether the debugging information of the object at `path` has a string that is a path to a file with one of
/// `names`; only strings are read for that. None if it has no strings.
pub fn mentions(path: &Path, names: &HashSet<&[u8]>) -> Option<bool> {
    // Up to DWARF 4, all strings are in one section.
    let strings = [".debug_line_str", ".debug_str"];
    let bytes = strings.iter().map(|name| debugging_section(path, name).transpose()).find_map(|found| found);
    let bytes = or_warn(bytes.transpose())??;
    let has_one =
        |string: &[u8]| string.rsplit(|&byte| byte == b'/').next().is_some_and(|name| names.contains(name));
    Some(bytes.split(|&byte| byte == 0).any(has_one))
}

/// A function or variable in an object, to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugQuery {
    /// Its name in C.
    pub name: Vec<u8>,
    /// The section it is in; its name does not count in a linked object.
    pub section: Option<String>,
    /// Its address in a linked object, an offset into the section in another.
    pub value: u64,
    /// Whether to find the functions into which it was inlined.
    pub with_copies: bool,
}

/// What the debugging information of an object says of a function or variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DebugFacts {
    /// Its declaration.
    pub declaration: Option<Declaration>,
    /// Where it is defined, if that is known.
    pub defined: Option<dwarf::DefinedAt>,
    /// The functions into which it was inlined, by their names in C, if they were asked for and are known; functions
    /// that are freed after initialisation are left out.
    pub copies: Option<BTreeSet<String>>,
}

impl Image {
    /// The object's declarations of symbols that it does not define, for symbols for which `is_wanted` is true.
    pub fn declared(&self, is_wanted: &(dyn Fn(&[u8]) -> bool + Sync)) -> Vec<dwarf::ExternDeclaration> {
        let declared = |section: SectionReader<'_>, little| dwarf::declared(section, little, is_wanted);
        self.ask(&self.bases(), declared).unwrap_or_default()
    }

    /// The sizes of structures in the debugging information ([`sizes()`]).
    pub fn sizes<const N: usize>(&self, names: [&str; N]) -> [Option<u64>; N] {
        let sizes = |section: SectionReader<'_>, little| dwarf::sizes(section, little, names);
        self.ask(&self.bases(), sizes).unwrap_or([None; N])
    }

    /// What the debugging information says of each of `targets`.
    pub fn debug_facts(&self, targets: &[DebugQuery]) -> Vec<DebugFacts> {
        self.try_debug_facts(targets)
            .unwrap_or_else(|_| targets.iter().map(|_| DebugFacts::default()).collect())
    }

    fn try_debug_facts(&self, targets: &[DebugQuery]) -> Result<Vec<DebugFacts>> {
        let bases = self.bases();
        let address = |target: &DebugQuery| {
            let (index, _) = self.section_named(target.section.as_ref()?.as_bytes())?;
            bases.get(index)?.checked_add(target.value)
        };
        let is_init = |address: u64| {
            let sections = self.sections.iter().zip(bases.iter());
            let end = |section: &Section, base: u64| base.saturating_add(section.size());
            let mut around =
                sections.filter(|(section, base)| (**base..end(section, **base)).contains(&address));
            around.any(|(section, _)| section.name.starts_with(b".init"))
        };
        self.ask(&bases, |section, little| facts_in(section, little, targets, address, is_init))
    }
}

/// What the debugging information of the object at `path` (linked, or a module) says of each of `targets`. `init` is
/// the memory of a linked object that is freed after initialisation.
pub fn debug_facts(path: &Path, targets: &[DebugQuery], init: &Range<u64>) -> Vec<DebugFacts> {
    let found = match Linked::open(path) {
        Some(linked) => {
            let address = |target: &DebugQuery| Some(target.value);
            let is_init = |address: u64| init.contains(&address);
            linked.ask(|section, little| facts_in(section, little, targets, address, is_init))
        }
        None => match Image::read(path) {
            Ok(image) => {
                image.try_debug_facts(targets).with_context(|| format!("cannot read {}", path.display()))
            }
            Err(_) => return Vec::new(),
        },
    };
    or_warn(found).unwrap_or_default()
}

fn facts_in(
    section: SectionReader<'_>,
    little: bool,
    targets: &[DebugQuery],
    address: impl Fn(&DebugQuery) -> Option<u64>,
    is_init: impl Fn(u64) -> bool,
) -> Result<Vec<DebugFacts>> {
    let wanted: Vec<dwarf::DwarfQuery> = targets
        .iter()
        .map(|target| dwarf::DwarfQuery {
            name: target.name.clone(),
            // No code is at the last address.
            address: address(target).unwrap_or(u64::MAX),
            with_copies: target.with_copies,
        })
        .collect();
    let found = dwarf::survey(section, little, &wanted)?;
    let stays = |copy: &dwarf::Copy| !copy.address.is_some_and(&is_init);
    let one = |found: dwarf::Surveyed| DebugFacts {
        declaration: found.declaration,
        defined: found.defined,
        copies: found.copies.map(|copies| copies.into_iter().filter(stays).map(|copy| copy.into).collect()),
    };
    Ok(found.into_iter().map(one).collect())
}
