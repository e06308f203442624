// SPDX-License-Identifier: GPL-2.0-only
//! The contents of a file: its memory by address, its sections by name.

use std::path::Path;

use anyhow::{Context as _, Result};
use object::Endianness;
use object::elf;
use object::read::ReadRef as _;
use object::read::elf::{FileHeader, SectionHeader as _};

use crate::elf::by_class;
use crate::elf::not_elf;
use crate::elf::unpacked;
use crate::elf::{Data, open};

/// The memory of a linked program: the bytes of its sections that take up memory (`SHF_ALLOC`), by address.
#[derive(Debug)]
pub struct Memory {
    /// By ascending address.
    sections: Vec<Loaded>,
}

/// A section of a [`Memory`].
#[derive(Debug)]
struct Loaded {
    start: u64,
    size: u64,
    /// Its bytes; none for `SHT_NOBITS`.
    bytes: Vec<u8>,
}

impl Memory {
    /// Reads the program at `path`, without sections that take up no memory, such as debugging information.
    ///
    /// # Errors
    /// The file cannot be read, or is inconsistent.
    pub fn of(path: &Path) -> Result<Memory> {
        let data = open(path)?;
        let memory = by_class!(&data, memory_of(&data), Err(not_elf(&data)));
        memory.with_context(|| format!("cannot read {}", path.display()))
    }

    /// The bytes from `address` to the end of its section; none if no section is there, or one whose zeros are not in
    /// the file.
    pub fn at(&self, address: u64) -> Option<&[u8]> {
        let next = self.sections.partition_point(|section| section.start <= address);
        // Sections without bytes may share their addresses with others.
        let before = self.sections.get(..next)?.iter().rev().take(4);
        let holds = |section: &&Loaded| address - section.start < section.bytes.len() as u64;
        let section = before.into_iter().find(holds)?;
        section.bytes.get(usize::try_from(address - section.start).ok()?..)
    }

    /// Whether `address` lies in a section, with bytes or without.
    pub fn has(&self, address: u64) -> bool {
        let next = self.sections.partition_point(|section| section.start <= address);
        let before = self.sections.get(..next).unwrap_or_default().iter().rev().take(4);
        before.into_iter().any(|section| address - section.start < section.size)
    }
}

fn memory_of<E>(data: &Data) -> Result<Memory>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let mut sections = Vec::new();
    for section in header.sections(endian, data)?.iter() {
        let (start, size): (u64, u64) = (section.sh_addr(endian).into(), section.sh_size(endian).into());
        if section.sh_flags(endian).0 & elf::SHF_ALLOC.0 == 0 || size == 0 {
            continue;
        }
        let has_bytes = section.sh_type(endian) != elf::SHT_NOBITS;
        let bytes = if has_bytes { section.data(endian, data)?.to_vec() } else { Vec::new() };
        sections.push(Loaded { start, size, bytes });
    }
    sections.sort_by_key(|section| section.start);
    Ok(Memory { sections })
}

/// Up to `length` bytes at `address` in the file at `path`, as many as the section there has; none if the file has no
/// bytes for that address.
///
/// # Errors
/// The file cannot be read, or is inconsistent.
pub fn read(path: &Path, address: u64, length: u64) -> Result<Option<Vec<u8>>> {
    let data = open(path)?;
    let bytes = by_class!(&data, read_in(&data, address, length), Err(not_elf(&data)));
    bytes.with_context(|| format!("cannot read {}", path.display()))
}

fn read_in<E>(data: &Data, address: u64, length: u64) -> Result<Option<Vec<u8>>>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    for section in header.sections(endian, data)?.iter() {
        let (start, size): (u64, u64) = (section.sh_addr(endian).into(), section.sh_size(endian).into());
        let end = start.saturating_add(size);
        if start == 0 || section.sh_type(endian) != elf::SHT_PROGBITS || !(start..end).contains(&address) {
            continue;
        }
        let offset: u64 = section.sh_offset(endian).into();
        let from = offset.checked_add(address - start).context("a section lies outside of the file")?;
        let bytes = data
            .read_bytes_at(from, length.min(end - address))
            .map_err(|()| anyhow::anyhow!("a section lies outside of the file"))?;
        return Ok(Some(bytes.to_vec()));
    }
    Ok(None)
}

/// The bytes of the section `name` in the file at `path`, unpacked if they are compressed; none if there is no such
/// section.
///
/// # Errors
/// The file cannot be read, or is inconsistent, or the section cannot be unpacked.
pub fn section(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    Ok(section_at(path, name)?.map(|(_, bytes)| bytes))
}

/// The address and the bytes of the section `name` in the file at `path`, unpacked if they are compressed; none if
/// there is no such section.
///
/// # Errors
/// The errors of [`section()`].
pub fn section_at(path: &Path, name: &str) -> Result<Option<(u64, Vec<u8>)>> {
    let data = open(path)?;
    let bytes = by_class!(&data, section_in(&data, name), Err(not_elf(&data)));
    bytes.with_context(|| format!("cannot read {}", path.display()))
}

fn section_in<E>(data: &Data, name: &str) -> Result<Option<(u64, Vec<u8>)>>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let Some((_, section)) = sections.section_by_name(endian, name.as_bytes()) else { return Ok(None) };
    if section.sh_type(endian) == elf::SHT_NOBITS {
        return Ok(None);
    }
    let bytes = section.data(endian, data)?;
    let bytes = match section.sh_flags(endian).0 & elf::SHF_COMPRESSED.0 {
        0 => bytes.to_vec(),
        _ => unpacked::of_section(bytes, header.is_type_64(), endian)
            .with_context(|| format!("section {name}"))?,
    };
    Ok(Some((section.sh_addr(endian).into(), bytes)))
}
