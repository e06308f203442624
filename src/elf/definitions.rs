// SPDX-License-Identifier: GPL-2.0-only
//! Where given names are defined in an object, with everything that its symbol table has on each definition.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use memchr::memchr;
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, SectionHeader as _, Sym as _};

use crate::elf::by_class;
use crate::elf::{Binding, Data, Machine, SymbolKind, not_elf, open, truncated};

/// A definition of a symbol, as a symbol table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The name, raw.
    pub name: Vec<u8>,
    /// `st_value`: an address in vmlinux, an offset into the section in a module.
    pub value: u64,
    /// `st_size`, in bytes; none if it comes from a list that has no sizes (System.map).
    pub size: Option<u64>,
    /// Its type; none if it comes from such a list.
    pub kind: Option<SymbolKind>,
    /// Its binding.
    pub binding: Binding,
    /// The section it is in; none for an absolute or common symbol.
    pub section: Option<String>,
    /// Whether it is known to lie in data, and so is no function.
    pub is_data: bool,
    /// Whether it is freed after initialisation: code and data marked `__init`, and what lies in the same memory.
    pub is_init: bool,
    /// The source file as the compiler named it (the `STT_FILE` symbol before a local one).
    pub file: Option<String>,
}

/// The definitions that were found in one object.
#[derive(Debug, Clone)]
pub struct ObjectDefinitions {
    /// The definitions asked for, in the order of the symbol table.
    pub definitions: Vec<Definition>,
    /// The machine the object is for.
    pub machine: Machine,
    /// Whether its addresses have 64 bits.
    is_64: bool,
    endian: Endianness,
}

impl ObjectDefinitions {
    /// The object's byte order.
    pub fn is_little_endian(&self) -> bool {
        self.endian == Endianness::Little
    }

    /// The addresses in a table of pointers, whose `bytes` are the object's.
    pub fn addresses(&self, bytes: &[u8]) -> impl Iterator<Item = u64> {
        bytes.chunks_exact(if self.is_64 { 8 } else { 4 }).map(|bytes| super::number(self.endian, bytes))
    }
}

/// Finds the definitions in the object at `path` whose names are `wanted`. Undefined symbols, and symbols of sections
/// and files, do not count.
///
/// # Errors
/// The file cannot be read, is no ELF file, or is inconsistent; the message names it.
pub fn find(path: &Path, wanted: impl Fn(&[u8]) -> bool) -> Result<ObjectDefinitions> {
    let data = open(path)?;
    let inner = || by_class!(&data, find_in(&data, &wanted), Err(not_elf(&data)));
    inner().with_context(|| format!("cannot read the symbols of {}", path.display()))
}

fn find_in<E>(data: &Data, wanted: &impl Fn(&[u8]) -> bool) -> Result<ObjectDefinitions>
where
    E: FileHeader<Endian = Endianness>,
{
    let fault = |error| truncated(error, data);
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let machine = Machine(header.e_machine(endian).0);
    let sections = header.sections(endian, data).map_err(fault)?;
    let table = sections.symbols(endian, data, elf::SHT_SYMTAB).map_err(fault)?;
    let mut found =
        ObjectDefinitions { definitions: Vec::new(), machine, is_64: header.is_type_64(), endian };
    if table.is_empty() {
        return Ok(found);
    }
    let strings =
        sections.section(table.string_section()).and_then(|s| s.data(endian, data)).map_err(fault)?;
    let mut file: Option<&[u8]> = None;
    for (index, symbol) in table.enumerate().skip(1) {
        let kind = symbol.st_type();
        if kind == elf::STT_SECTION || (symbol.is_undefined(endian) && kind != elf::STT_FILE) {
            continue;
        }
        let name = strings
            .get(symbol.st_name(endian) as usize..)
            .and_then(|rest| rest.get(..memchr(0, rest)?))
            .ok_or_else(|| anyhow!("symbol {} has its name outside of the string table", index.0))?;
        if kind == elf::STT_FILE {
            file = Some(name).filter(|name| !name.is_empty());
            continue;
        }
        if !wanted(name) {
            continue;
        }
        let section = table.symbol_section(endian, symbol, index).map_err(fault)?;
        let section = match section {
            Some(section) => {
                let header = sections.section(section).map_err(fault)?;
                let name = sections.section_name(endian, header).map_err(fault)?;
                Some(String::from_utf8_lossy(name).into_owned())
            }
            None => None,
        };
        let binding = Binding::of(symbol.st_bind());
        // Hidden symbols that the linker made local stand after the last source file, and may belong to any of them.
        let is_own = binding == Binding::Local && symbol.st_visibility() == elf::STV_DEFAULT;
        let file = file.filter(|_| is_own);
        found.definitions.push(Definition {
            name: name.to_vec(),
            value: symbol.st_value(endian).into(),
            size: Some(symbol.st_size(endian).into()),
            kind: Some(SymbolKind::of(kind)),
            is_data: kind == elf::STT_OBJECT,
            binding,
            is_init: section.as_deref().is_some_and(|name| name.starts_with(".init")),
            section,
            file: file.map(|file| String::from_utf8_lossy(file).into_owned()),
        });
    }
    Ok(found)
}
