// SPDX-License-Identifier: GPL-2.0-only
//! The sections with an object's debugging information in the form that [`crate::debuginfo::dwarf`] needs: unpacked,
//! and with their relocations applied.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::Endianness;
use object::elf;
use object::read::elf::FileHeader;

use crate::elf::by_class;
use crate::elf::image::{Home, Image, Relocation, Section, SectionIndex, Table};
use crate::elf::{Data, Machine, memory, open, unpacked};
use crate::host::terminal;

/// A function that returns the bytes of the section with a name.
pub(super) type SectionReader<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// Calls `read` with a function for sections. If a section that it asks for cannot be unpacked, the section does not
/// count as missing: that is an error, whatever `read` returns.
fn ask<T>(
    section: impl Fn(&str) -> Result<Option<Vec<u8>>>,
    read: impl FnOnce(SectionReader<'_>) -> Result<T>,
) -> Result<T> {
    let fault = RefCell::new(None);
    let found = read(&|name: &str| match section(name) {
        Ok(bytes) => bytes,
        Err(error) => {
            fault.borrow_mut().get_or_insert(error);
            None
        }
    });
    fault.into_inner().map_or(found, Err)
}

/// The result of reading an object; if its debugging information cannot be read, prints the error, which names the
/// file, and returns none.
pub(super) fn or_warn<T>(found: Result<T>) -> Option<T> {
    let say = |error: &anyhow::Error| {
        terminal::say_once(format_args!(
            "warning: {error:#}; what its debugging information tells of types, lines and inlined functions is not known"
        ));
    };
    found.inspect_err(say).ok()
}

/// The name of a section in the old form of compression: `.zdebug_info` for `.debug_info`.
fn old_name(name: &str) -> String {
    name.replacen(".debug", ".zdebug", 1)
}

impl Image {
    /// Calls `read` with the debugging information and the byte order; `bases` are the sections' addresses.
    ///
    /// # Errors
    /// `read` fails, or a section that it asks for cannot be unpacked.
    pub(super) fn ask<T>(
        &self,
        bases: &Table<SectionIndex, u64>,
        read: impl FnOnce(SectionReader<'_>, bool) -> Result<T>,
    ) -> Result<T> {
        ask(|name| self.relocated_bytes(name, bases), |section| read(section, self.is_little_endian()))
    }

    /// The name of a section with debugging information that cannot be unpacked, and the error; none if all can.
    pub fn fault_of_packing(&self) -> Option<(String, String)> {
        let packed = self.sections.iter().filter(|section| section.is_compressed());
        let mut faults = packed.filter_map(|section| {
            let error = self.unpacked(section).err()?;
            Some((section.shown(), format!("{error:#}")))
        });
        faults.next()
    }

    /// The bytes of a section, unpacked if they are compressed.
    fn unpacked(&self, section: &Section) -> Result<Vec<u8>> {
        if section.is_marked_compressed() {
            unpacked::of_section(&section.data, self.is_64, self.endian)
        } else if section.is_compressed() {
            unpacked::of_old_section(&section.data)
        } else {
            Ok(section.data.clone())
        }
    }

    /// An address for each section, none of them 0.
    pub(super) fn bases(&self) -> Table<SectionIndex, u64> {
        let mut next: u64 = 0x1000;
        let place = |section: &Section| {
            let base = next;
            let size = section.size().min(1 << 40);
            next = next.saturating_add(size.next_multiple_of(0x1000)).saturating_add(0x1000);
            base
        };
        Table::new(self.sections.iter().map(place).collect())
    }

    /// The bytes of a section, unpacked, with its relocations applied; none if there is no such section.
    fn relocated_bytes(&self, name: &str, bases: &Table<SectionIndex, u64>) -> Result<Option<Vec<u8>>> {
        let old = || self.section_named(old_name(name).as_bytes());
        let Some((index, section)) = self.section_named(name.as_bytes()).or_else(old) else {
            return Ok(None);
        };
        let mut bytes = self.unpacked(section).with_context(|| format!("section {}", section.shown()))?;
        for (_, entries, _) in self.relocated().filter(|(_, _, target)| *target == index) {
            for relocation in &entries.relocations {
                self.apply(relocation, bases, &mut bytes);
            }
        }
        Ok(Some(bytes))
    }

    /// Writes the address of a relocation; if it is no plain address, or lies outside of `bytes`, nothing is written.
    fn apply(
        &self,
        relocation: &Relocation,
        bases: &Table<SectionIndex, u64>,
        bytes: &mut [u8],
    ) -> Option<()> {
        let size = absolute_size(self.machine(), relocation.kind)?;
        let symbol = self.symbols.get(relocation.symbol)?;
        let base = match symbol.home {
            Home::Section(section) if self.sections.get(section)?.is_alloc() => *bases.get(section)?,
            _ => 0,
        };
        let value = base.wrapping_add(symbol.value()).wrapping_add_signed(relocation.addend);
        let start = usize::try_from(relocation.offset).ok()?;
        let place = bytes.get_mut(start..start.checked_add(size)?)?;
        place.copy_from_slice(value.to_le_bytes().get(..size)?);
        if !self.is_little_endian() {
            place.reverse();
        }
        Some(())
    }
}

/// The size in bytes of the address that a relocation writes; none if it writes something else. Debugging information
/// has only plain addresses.
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

/// A linked object, whose sections need no relocations.
pub(super) struct Linked {
    path: PathBuf,
    is_little_endian: bool,
}

impl Linked {
    /// The object at `path`; none if it cannot be read, or is relocatable.
    pub(super) fn open(path: &Path) -> Option<Linked> {
        let data = open(path).ok()?;
        let (endian, kind) = by_class!(&data, kind_of(&data), None)?;
        let is_little_endian = endian == Endianness::Little;
        (kind != elf::ET_REL).then(|| Linked { path: path.to_path_buf(), is_little_endian })
    }

    /// Calls `read` with the debugging information and the byte order.
    ///
    /// # Errors
    /// `read` fails, or a section that it asks for cannot be read or unpacked.
    pub(super) fn ask<T>(&self, read: impl FnOnce(SectionReader<'_>, bool) -> Result<T>) -> Result<T> {
        let section = |name: &str| debugging_section(&self.path, name);
        let fault = || format!("cannot read {}", self.path.display());
        ask(section, |section| read(section, self.is_little_endian).with_context(fault))
    }
}

/// The bytes of a section with debugging information in the file at `path`, unpacked, without their relocations
/// applied; none if there is no such section.
///
/// # Errors
/// The file cannot be read, or the section cannot be unpacked.
pub(super) fn debugging_section(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    if let Some(bytes) = memory::section(path, name)? {
        return Ok(Some(bytes));
    }
    let old = old_name(name);
    let bytes = memory::section(path, &old)?;
    let fault = || format!("cannot read {}: section {old}", path.display());
    bytes.map(|bytes| unpacked::of_old_section(&bytes).with_context(fault)).transpose()
}

fn kind_of<E>(data: &Data) -> Option<(Endianness, elf::FileType)>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data).ok()?;
    let endian = header.endian().ok()?;
    Some((endian, header.e_type(endian)))
}
