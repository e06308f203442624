// SPDX-License-Identifier: GPL-2.0-only
//! Reads an object from a file.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, Rela, SectionHeader as _, SymbolTable};
use object::write::elf as raw;

use crate::elf::by_class;
use crate::elf::image::index::{SectionIndex, SymbolIndex, Table, TableIndex as _};
use crate::elf::image::parts::{Home, Image, Relocation, SHN_LIVEPATCH, Section, Symbol};
use crate::elf::modinfo::SIGNATURE;
use crate::host::compressed;

impl Image {
    /// Reads the object at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is not a relocatable ELF object, or is inconsistent; the message names the
    /// file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Image> {
        let data = compressed::read(path).context("cannot read the module")?;
        Image::parse(&data).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Reads an object from the bytes of a file.
    ///
    /// # Errors
    /// The errors of [`Image::read`], without the file's name.
    pub fn parse(data: &[u8]) -> Result<Image> {
        by_class!(
            data,
            parse(data),
            match data {
                [] => bail!("the file is empty: delete it and build again"),
                [0x1f, 0x8b, ..] | [0xfd, b'7', b'z', b'X', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                    bail!("it is compressed: unpack it first (gunzip, unxz or unzstd)")
                }
                _ => bail!("not an ELF file"),
            }
        )
    }
}

fn parse<E>(data: &[u8]) -> Result<Image>
where
    E: FileHeader<Endian = Endianness>,
{
    let fault = |error: object::read::Error| {
        anyhow!(
            "{error} (the file has {} bytes: truncated or corrupt; delete it and build again)",
            data.len()
        )
    };
    let header = E::parse(data).map_err(fault)?;
    let endian = header.endian().map_err(fault)?;
    ensure!(header.e_type(endian) == elf::ET_REL, "not a relocatable object, as modules are");
    let table = header.sections(endian, data).map_err(fault)?;
    // R13: more would need extended numbering.
    ensure!(
        table.len() < usize::from(elf::SHN_LORESERVE),
        "it has {} sections: klpbuild handles less than {} (build without -ffunction-sections or \
         -fdata-sections, or merge sections in a linker script)",
        table.len(),
        elf::SHN_LORESERVE
    );
    let symbols = table.symbols(endian, data, elf::SHT_SYMTAB).map_err(fault)?;
    let (symtab, strtab) = (symbols.section().0, symbols.string_section().0);
    ensure!(!symbols.is_empty(), "it has no symbol table: was it stripped?");
    let mut sections = Vec::with_capacity(table.len());
    // The sections of a real object do not overlap: together they are no larger than the file.
    let mut room = data.len() as u64;
    for (index, section) in table.iter().enumerate() {
        let raw = raw::SectionHeader::from_raw(endian, section);
        let name = if index == 0 { &[][..] } else { table.section_name(endian, section).map_err(fault)? };
        let shown = String::from_utf8_lossy(name).into_owned();
        ensure!(
            (raw.sh_link as usize) < table.len(),
            "section {shown} is linked to section {}, which is not there",
            raw.sh_link
        );
        if raw.sh_type != elf::SHT_NOBITS && index != 0 {
            let rest = room.checked_sub(raw.sh_size);
            room =
                rest.with_context(|| format!("section {shown} overlaps another one: the file is corrupt"))?;
        }
        let (relocations, bytes) = match section.rela(endian, data).map_err(fault)? {
            Some((entries, link)) if index != 0 => {
                ensure!(link.0 == symtab, "relocations in {shown} refer to another symbol table");
                ensure!(
                    (raw.sh_info as usize) < table.len(),
                    "{shown} applies to section {}, which is not there",
                    raw.sh_info
                );
                (relocations(entries, endian, symbols.len(), &shown)?, Vec::new())
            }
            _ if index == 0 || index == symtab => (Vec::new(), Vec::new()),
            _ => (Vec::new(), section.data(endian, data).map_err(fault)?.to_vec()),
        };
        sections.push(Section { name: name.to_vec(), header: raw, data: bytes, relocations, is_new: false });
    }
    let all = all_symbols(&symbols, endian, sections.len(), fault)?;
    let shstrtab = header.shstrndx(endian, data).map_err(fault)? as usize;
    ensure!(shstrtab < sections.len() && strtab < sections.len(), "its string tables are not there");
    let image = Image {
        header: raw::FileHeader::from_raw(endian, header),
        endian,
        is_64: header.is_type_64(),
        sections: Table::new(sections),
        symbols: Table::new(all),
        symtab: SectionIndex::new(symtab),
        strtab: SectionIndex::new(strtab),
        shstrtab: SectionIndex::new(shstrtab),
        is_signed: data.ends_with(SIGNATURE),
    };
    image.expect_consistency()?;
    Ok(image)
}

/// The relocations of the section `shown`, in a file with so many `symbols`.
fn relocations<R: Rela<Endian = Endianness>>(
    entries: &[R],
    endian: Endianness,
    symbols: usize,
    shown: &str,
) -> Result<Vec<Relocation>> {
    let mut relocations = Vec::with_capacity(entries.len());
    for entry in entries {
        let symbol = entry.r_sym(endian, false) as usize;
        ensure!(symbol < symbols, "a relocation in {shown} refers to symbol {symbol}, which is not there");
        relocations.push(Relocation {
            offset: entry.r_offset(endian).into(),
            symbol: SymbolIndex::new(symbol),
            kind: entry.r_type(endian, false).0,
            addend: entry.r_addend(endian).into(),
        });
    }
    Ok(relocations)
}

/// The symbols of a file with so many `sections`.
fn all_symbols<E: FileHeader<Endian = Endianness>>(
    symbols: &SymbolTable<'_, E>,
    endian: Endianness,
    sections: usize,
    fault: impl Fn(object::read::Error) -> anyhow::Error,
) -> Result<Vec<Symbol>> {
    let mut all = Vec::with_capacity(symbols.len());
    for (index, symbol) in symbols.enumerate() {
        let name = symbols.symbol_name(endian, symbol).map_err(&fault)?.to_vec();
        let section = symbols.symbol_section(endian, symbol, index).map_err(&fault)?;
        let entry = raw::Sym::from_raw(endian, symbol, section.map(|section| section.0 as u32));
        let home = match section {
            Some(section) if section.0 < sections => Home::Section(SectionIndex::new(section.0)),
            Some(section) => bail!("symbol {index} is in section {}, which is not there", section.0),
            None if entry.st_shndx.0 == 0 => Home::Undefined,
            None if entry.st_shndx.0 == SHN_LIVEPATCH => Home::Livepatch,
            None => Home::Reserved(entry.st_shndx.0),
        };
        all.push(Symbol { name, home, entry, is_renamed: false });
    }
    Ok(all)
}
