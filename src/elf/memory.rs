//! The content of a file: its memory by address, its sections by name.

use std::path::Path;

use anyhow::{Context as _, Result};
use object::elf;
use object::read::ReadRef as _;
use object::read::elf::{FileHeader, SectionHeader as _};
use object::{Endianness, FileKind};

use crate::elf::{Data, open};

/// Up to `length` bytes at `address` in the file at `path`, as many as the section there has; none if the file has
/// no content for that address.
///
/// # Errors
/// The file cannot be read, or is inconsistent.
pub fn read(path: &Path, address: u64, length: u64) -> Result<Option<Vec<u8>>> {
    let data = open(path)?;
    let bytes = match FileKind::parse(&data) {
        Ok(FileKind::Elf64) => read_in::<elf::FileHeader64<Endianness>>(&data, address, length),
        _ => read_in::<elf::FileHeader32<Endianness>>(&data, address, length),
    };
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

/// The bytes of the section `name` in the file at `path`; none if there is none, or its bytes are compressed.
///
/// # Errors
/// The file cannot be read, or is inconsistent.
pub fn section(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    Ok(section_at(path, name)?.map(|(_, bytes)| bytes))
}

/// The bytes of such a section, with its address.
///
/// # Errors
/// As [`section()`].
pub fn section_at(path: &Path, name: &str) -> Result<Option<(u64, Vec<u8>)>> {
    let data = open(path)?;
    let bytes = match FileKind::parse(&data) {
        Ok(FileKind::Elf64) => section_in::<elf::FileHeader64<Endianness>>(&data, name),
        _ => section_in::<elf::FileHeader32<Endianness>>(&data, name),
    };
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
    let is_compressed = section.sh_flags(endian).0 & elf::SHF_COMPRESSED.0 != 0;
    let has_bytes = section.sh_type(endian) != elf::SHT_NOBITS && !is_compressed;
    let address = section.sh_addr(endian).into();
    if has_bytes { Ok(Some((address, section.data(endian, data)?.to_vec()))) } else { Ok(None) }
}
