// SPDX-License-Identifier: GPL-2.0-only
//! Debugging information of objects: the bytes that [`crate::debuginfo::dwarf`] reads.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf;
use object::read::elf::FileHeader;

use crate::debuginfo::dwarf;
use crate::debuginfo::prototype::{Declaration, Prototype};
use crate::elf::by_class;
use crate::elf::image::{Home, Image, Section, SectionIndex, Table};
use crate::elf::{Data, Machine, memory, open};

/// The lines of C of a relocatable object.
#[derive(Debug)]
pub struct Lines {
    lines: dwarf::Lines,
    /// The address that each section was given, so that all are apart.
    bases: Table<SectionIndex, u64>,
}

impl Lines {
    /// The line of what is `offset` bytes into the section with this index, as in `fs/foo.c:12`.
    pub fn at(&self, section: SectionIndex, offset: u64) -> Option<String> {
        let place = self.lines.at(self.bases.get(section)?.checked_add(offset)?)?;
        Some(format!("{}:{}", place.file.escape_debug(), place.line))
    }
}

impl Image {
    /// The lines; none without debugging information that can be read.
    pub fn lines(&self) -> Option<Lines> {
        let bases = self.bases();
        let section = |name: &str| self.relocated_bytes(name, &bases);
        let lines = dwarf::Lines::read(&section, self.is_little_endian()).ok()??;
        Some(Lines { lines, bases })
    }

    /// An address for each section, none of them 0.
    fn bases(&self) -> Table<SectionIndex, u64> {
        let mut next: u64 = 0x1000;
        let place = |section: &Section| {
            let base = next;
            let size = section.size().min(1 << 40);
            next = next.saturating_add(size.next_multiple_of(0x1000)).saturating_add(0x1000);
            base
        };
        Table::new(self.sections.iter().map(place).collect())
    }

    /// The bytes of a section with its relocations applied.
    fn relocated_bytes(&self, name: &str, bases: &Table<SectionIndex, u64>) -> Option<Vec<u8>> {
        let (index, section) = self.section_named(name.as_bytes())?;
        if section.is_compressed() {
            return None;
        }
        let mut bytes = section.data.clone();
        for (_, entries, _) in self.relocated().filter(|(_, _, target)| *target == index) {
            for relocation in &entries.relocations {
                let size = absolute_size(self.machine(), relocation.kind).unwrap_or(0);
                let Some(symbol) = self.symbols.get(relocation.symbol) else { continue };
                let base = match symbol.home {
                    Home::Section(section) if self.sections.get(section)?.is_alloc() => {
                        *bases.get(section)?
                    }
                    _ => 0,
                };
                let value = base.wrapping_add(symbol.value()).wrapping_add_signed(relocation.addend);
                let start = usize::try_from(relocation.offset).ok()?;
                if let Some(place) = bytes.get_mut(start..start.checked_add(size)?) {
                    let number = value.to_le_bytes();
                    place.copy_from_slice(number.get(..size)?);
                    if !self.is_little_endian() {
                        place.reverse();
                    }
                }
            }
        }
        Some(bytes)
    }
}

/// The size in bytes of what a relocation writes, if it is a plain address: what debugging information has.
fn absolute_size(machine: Machine, kind: u32) -> Option<usize> {
    const LOONGARCH: Machine = Machine(elf::EM_LOONGARCH.0);
    let (eight, four): (&[u32], &[u32]) = match machine {
        Machine::X86_64 => (&[1], &[10, 11]),
        Machine::AARCH64 => (&[257], &[258]),
        Machine::S390 => (&[22], &[4]),
        Machine::PPC64 => (&[38, 43], &[1, 24]),
        Machine::PPC => (&[], &[1, 24]),
        LOONGARCH => (&[2], &[1]),
        _ => (&[], &[]),
    };
    match kind {
        kind if eight.contains(&kind) => Some(8),
        kind if four.contains(&kind) => Some(4),
        _ => None,
    }
}

/// What became of functions or variables that the object at `path`, linked or a module, has no symbol for, if its
/// debugging information tells: of each of `names`, in that order.
pub fn fates(path: &Path, names: &[&str]) -> Vec<Option<dwarf::Fate>> {
    let raw: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let found = match Linked::open(path) {
        Some(linked) => dwarf::fates(&|section| linked.section(section), linked.is_little_endian, &raw).ok(),
        None => Image::read(path).ok().and_then(|image| {
            let bases = image.bases();
            let section = |name: &str| image.relocated_bytes(name, &bases);
            dwarf::fates(&section, image.is_little_endian(), &raw).ok()
        }),
    };
    found.unwrap_or_else(|| names.iter().map(|_| None).collect())
}

/// The prototype of the function `name`, which is at `address` in the object at `path`: linked, or a module with
/// debugging information.
pub fn prototype(path: &Path, name: &str, address: u64) -> Option<Prototype> {
    if let Some(linked) = Linked::open(path) {
        let section = |section: &str| linked.section(section);
        return dwarf::prototype(&section, linked.is_little_endian, name.as_bytes(), address).ok()?;
    }
    let image = Image::read(path).ok()?;
    let bases = image.bases();
    let section = |name: &str| image.relocated_bytes(name, &bases);
    // Addresses were given to sections here: of several functions, none can be told.
    dwarf::prototype(&section, image.is_little_endian(), name.as_bytes(), u64::MAX).ok()?
}

/// The sizes of structures in bytes, as the debugging information of the linked object at `path` has them; none of those
/// that it does not know.
pub fn sizes<const N: usize>(path: &Path, names: [&str; N]) -> [Option<u64>; N] {
    let Some(linked) = Linked::open(path) else { return [None; N] };
    let section = |name: &str| linked.section(name);
    dwarf::sizes(&section, linked.is_little_endian, names).unwrap_or([None; N])
}

/// The source files that the object at `path`, linked or a module, was compiled of ([`dwarf::compiled`]); none if its
/// debugging information does not tell.
pub fn compiled(path: &Path) -> Option<Vec<String>> {
    let found = match Linked::open(path) {
        Some(linked) => dwarf::compiled(&|name| linked.section(name), linked.is_little_endian),
        None => {
            let image = Image::read(path).ok()?;
            let bases = image.bases();
            dwarf::compiled(&|name| image.relocated_bytes(name, &bases), image.is_little_endian())
        }
    };
    found.ok().filter(|names| !names.is_empty())
}

/// Whether the debugging information of the object at `path` has a string that is a path to a file of one of the `names`,
/// which is told without reading the rest; none if it has no strings.
pub fn mentions(path: &Path, names: &HashSet<&[u8]>) -> Option<bool> {
    // Up to DWARF 4, all strings are in one section.
    let strings = [".debug_line_str", ".debug_str"];
    let bytes = strings.iter().find_map(|name| memory::section(path, name).ok()?)?;
    let has_one =
        |string: &[u8]| string.rsplit(|&byte| byte == b'/').next().is_some_and(|name| names.contains(name));
    Some(bytes.split(|&byte| byte == 0).any(has_one))
}

/// A function or variable in an object, to be told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in C.
    pub name: Vec<u8>,
    /// The section it is in; its name does not count in a linked object.
    pub section: Option<String>,
    /// Its address in a linked object, an offset into the section in another.
    pub value: u64,
    /// Whether the functions are asked for into which it was inlined.
    pub with_copies: bool,
}

/// What the debugging information of an object says of a function or variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What it is.
    pub declaration: Option<Declaration>,
    /// Where it is defined, if that is known.
    pub defined: Option<dwarf::DefinedAt>,
    /// The functions that have it inlined, by their names in C, if they were asked for and it is known: those alone
    /// that stay once the object has come up.
    pub copies: Option<BTreeSet<String>>,
}

impl Image {
    /// What this object declares and leaves to others, of the symbols that `is_wanted`.
    pub fn declared(&self, is_wanted: &(dyn Fn(&[u8]) -> bool + Sync)) -> Vec<dwarf::Declared> {
        let bases = self.bases();
        let section = |name: &str| self.relocated_bytes(name, &bases);
        dwarf::declared(&section, self.is_little_endian(), is_wanted).unwrap_or_default()
    }

    /// The sizes of structures that the debugging information has ([`sizes()`]).
    pub fn sizes<const N: usize>(&self, names: [&str; N]) -> [Option<u64>; N] {
        let bases = self.bases();
        let section = |name: &str| self.relocated_bytes(name, &bases);
        dwarf::sizes(&section, self.is_little_endian(), names).unwrap_or([None; N])
    }

    /// What the debugging information says of each of `targets`.
    pub fn tell(&self, targets: &[Target]) -> Vec<Told> {
        let bases = self.bases();
        let section = |name: &str| self.relocated_bytes(name, &bases);
        let address = |target: &Target| {
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
        told(&section, self.is_little_endian(), targets, address, is_init)
    }
}

/// What the debugging information of the object at `path`, linked or a module, says of each of `targets`. `init` is
/// the memory that is freed once a linked one has come up.
pub fn tell(path: &Path, targets: &[Target], init: &Range<u64>) -> Vec<Told> {
    match Linked::open(path) {
        Some(linked) => {
            let section = |name: &str| linked.section(name);
            let address = |target: &Target| Some(target.value);
            let is_init = |address: u64| init.contains(&address);
            told(&section, linked.is_little_endian, targets, address, is_init)
        }
        None => Image::read(path).map(|image| image.tell(targets)).unwrap_or_default(),
    }
}

fn told(
    section: &dyn Fn(&str) -> Option<Vec<u8>>,
    little: bool,
    targets: &[Target],
    address: impl Fn(&Target) -> Option<u64>,
    is_init: impl Fn(u64) -> bool,
) -> Vec<Told> {
    let wanted: Vec<dwarf::Wanted> = targets
        .iter()
        .map(|target| dwarf::Wanted {
            name: target.name.clone(),
            // No code is at the last one.
            address: address(target).unwrap_or(u64::MAX),
            with_copies: target.with_copies,
        })
        .collect();
    let found = dwarf::survey(section, little, &wanted).unwrap_or_default();
    let stays = |copy: &dwarf::Copy| !copy.address.is_some_and(&is_init);
    let one = |found: dwarf::Surveyed| Told {
        declaration: found.declaration,
        defined: found.defined,
        copies: found.copies.map(|copies| copies.into_iter().filter(stays).map(|copy| copy.into).collect()),
    };
    found.into_iter().map(one).collect()
}

/// A linked object, whose sections need no relocations.
struct Linked {
    path: PathBuf,
    is_little_endian: bool,
}

impl Linked {
    fn open(path: &Path) -> Option<Linked> {
        let data = open(path).ok()?;
        let (endian, kind) = by_class!(&data, kind_of(&data), None)?;
        let is_little_endian = endian == Endianness::Little;
        (kind != elf::ET_REL).then(|| Linked { path: path.to_path_buf(), is_little_endian })
    }

    fn section(&self, name: &str) -> Option<Vec<u8>> {
        memory::section(&self.path, name).ok()?
    }
}

fn kind_of<E>(data: &Data) -> Option<(Endianness, elf::FileType)>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data).ok()?;
    let endian = header.endian().ok()?;
    Some((endian, header.e_type(endian)))
}
