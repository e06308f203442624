// SPDX-License-Identifier: GPL-2.0-only
//! Changes of an object that keep every index right.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use object::Endianness;
use object::elf;
use object::write::elf as raw;

use crate::elf::image::index::{SectionIndex, SymbolIndex, Table, TableIndex};
use crate::elf::image::parts::{Home, Image, Relocation, Section};
use crate::elf::modinfo;

impl Image {
    /// Adds a `tag=value` string to the end of `.modinfo`; does nothing if there is no such section.
    pub fn add_modinfo(&mut self, entry: &str) {
        let index = self.section_named(b".modinfo").map(|(index, _)| index);
        let Some(section) = index.and_then(|index| self.sections.get_mut(index)) else { return };
        if section.data.last().is_some_and(|&last| last != 0) {
            section.data.push(0);
        }
        section.data.extend_from_slice(entry.as_bytes());
        section.data.push(0);
    }

    /// Gives each `tag=value` string of `.modinfo` with this tag the value that `shorter` makes of its own, with bytes 0
    /// up to its old length: what stands there keeps its place.
    pub fn shorten_modinfo(&mut self, tag: &str, shorter: impl Fn(&[u8]) -> Vec<u8>) {
        let index = self.section_named(b".modinfo").map(|(index, _)| index);
        if let Some(section) = index.and_then(|index| self.sections.get_mut(index)) {
            modinfo::shorten(&mut section.data, tag, shorter);
        }
    }

    /// Gives a section fewer bytes, which nothing refers to but symbols that stand for all of them.
    pub fn shorten(&mut self, section: SectionIndex, data: Vec<u8>) {
        let size = data.len() as u64;
        let Some(old) = self.sections.get_mut(section) else { return };
        let whole = old.data.len() as u64;
        old.data = data;
        for symbol in self.symbols.iter_mut() {
            if symbol.home == Home::Section(section) && symbol.entry.st_size == whole {
                symbol.entry.st_size = size;
            }
        }
    }

    /// Removes the records with the numbers `gone`, of `size` bytes each, from a section, with their relocations;
    /// later records move up. Nothing but its relocations may use offsets into the section.
    pub fn remove_records(&mut self, section: SectionIndex, size: u64, gone: &BTreeSet<u64>) {
        let number = |offset: u64| offset / size.max(1);
        let before = |offset: u64| gone.range(..number(offset)).count() as u64 * size;
        for entries in self.sections.iter_mut().filter(|other| other.is_rela() && other.target() == section) {
            entries.relocations.retain(|entry| !gone.contains(&number(entry.offset)));
            entries.relocations.iter_mut().for_each(|entry| entry.offset -= before(entry.offset));
        }
        let Some(section) = self.sections.get_mut(section) else { return };
        let records = section.data.chunks(usize::try_from(size.max(1)).unwrap_or(usize::MAX)).enumerate();
        let kept = records.filter(|(number, _)| !gone.contains(&(*number as u64)));
        section.data = kept.flat_map(|(_, record)| record).copied().collect();
        section.header.sh_size = section.data.len() as u64;
    }

    /// Adds a section that holds relocations for the section `target`, and returns its index.
    pub fn add_relocations(
        &mut self,
        name: Vec<u8>,
        flags: u64,
        target: SectionIndex,
        relocations: Vec<Relocation>,
    ) {
        let link = self.symtab.number() as u32;
        let entsize = if self.is_64 { 24 } else { 12 };
        let header = raw::SectionHeader {
            sh_name: 0,
            sh_type: elf::SHT_RELA,
            sh_flags: elf::SectionFlags(flags),
            sh_addr: 0,
            // It comes after all existing contents.
            sh_offset: u64::MAX,
            sh_size: 0,
            sh_link: link,
            sh_info: target.number() as u32,
            sh_addralign: if self.is_64 { 8 } else { 4 },
            sh_entsize: entsize,
        };
        self.sections.push(Section { name, header, data: Vec::new(), relocations, is_new: true });
    }

    /// Removes sections and symbols, and makes every index right again (R5).
    ///
    /// Relocations to a removed symbol are removed as well if they are in sections that are not loaded (debugging
    /// information).
    ///
    /// # Errors
    /// Something else still refers to a removed part, or a section holds indices in an unknown form.
    pub fn remove(
        &mut self,
        sections: &BTreeSet<SectionIndex>,
        symbols: &BTreeSet<SymbolIndex>,
    ) -> Result<()> {
        let section_map = Renumbered::of(&self.sections, sections);
        let symbol_map = Renumbered::of(&self.symbols, symbols);
        let symtab = self.symtab;
        let names: Vec<String> = self.sections.iter().map(Section::shown).collect();
        let section = |index: SectionIndex, user: &str| -> Result<SectionIndex> {
            section_map.get(index).with_context(|| {
                format!("{user} belongs to section {}, which is to be removed", name_of(&names, index))
            })
        };
        let moved = |number: u32, user: &str| -> Result<u32> {
            Ok(section(SectionIndex::new(number as usize), user)?.number() as u32)
        };
        for (index, current) in self.sections.enumerate_mut() {
            if sections.contains(&index) {
                continue;
            }
            let user = name_of(&names, index);
            let is_loaded_target =
                current.is_rela() && self.header.e_type == elf::ET_REL && current.header.sh_info != 0;
            if current.is_rela() {
                let mut kept = Vec::with_capacity(current.relocations.len());
                for mut relocation in std::mem::take(&mut current.relocations) {
                    match symbol_map.get(relocation.symbol) {
                        Some(symbol) => {
                            relocation.symbol = symbol;
                            kept.push(relocation);
                        }
                        None if user.contains(".debug_") || user.contains(".zdebug_") => {}
                        None => bail!(
                            "{user} refers to {}, which is to be removed",
                            String::from_utf8_lossy(
                                self.symbols.get(relocation.symbol).map_or(&[][..], |symbol| &symbol.name)
                            )
                        ),
                    }
                }
                current.relocations = kept;
            } else if current.header.sh_type == elf::SHT_GROUP {
                let named = symbol_map.get(SymbolIndex::new(current.header.sh_info as usize));
                current.header.sh_info = named.map_or(0, |symbol| symbol.number() as u32);
                remap_group(&mut current.data, self.endian, &section_map);
            } else if current.header.sh_link as usize == symtab.number()
                && index != symtab
                && !symbols.is_empty()
            {
                bail!(
                    "section {user} refers to the symbol table in a way that klpbuild does not know \
                     (section type {:#x})",
                    current.header.sh_type.0
                );
            }
            if is_loaded_target || current.header.sh_flags.0 & elf::SHF_INFO_LINK.0 != 0 {
                current.header.sh_info = moved(current.header.sh_info, user)?;
            }
            current.header.sh_link = moved(current.header.sh_link, user)?;
        }
        for (index, symbol) in self.symbols.enumerate_mut() {
            if let (Home::Section(home), false) = (symbol.home, symbols.contains(&index)) {
                symbol.home = Home::Section(section(
                    home,
                    &format!("symbol {}", String::from_utf8_lossy(&symbol.name)),
                )?);
            }
        }
        for index in [&mut self.symtab, &mut self.strtab, &mut self.shstrtab] {
            *index = section(*index, "the symbol table")?;
        }
        self.sections.retain(|index| !sections.contains(&index));
        self.symbols.retain(|index| !symbols.contains(&index));
        Ok(())
    }
}

fn name_of(names: &[String], index: SectionIndex) -> &str {
    names.get(index.number()).map_or("?", String::as_str)
}

/// The new index of each old one; none for removed parts.
struct Renumbered<I>(Vec<Option<I>>);

impl<I: TableIndex + Ord> Renumbered<I> {
    fn of<T>(table: &Table<I, T>, removed: &BTreeSet<I>) -> Renumbered<I> {
        let mut next = 0;
        let number = |index: usize| {
            if removed.contains(&I::new(index)) {
                return None;
            }
            next += 1;
            Some(I::new(next - 1))
        };
        Renumbered((0..table.count()).map(number).collect())
    }

    fn get(&self, old: I) -> Option<I> {
        self.0.get(old.number()).copied().flatten()
    }
}

/// Renumbers a group: a word of flags, then a section index in each word.
fn remap_group(data: &mut Vec<u8>, endian: Endianness, map: &Renumbered<SectionIndex>) {
    let mut out = data.get(..4).unwrap_or_default().to_vec();
    for word in data.get(4..).unwrap_or_default().chunks_exact(4) {
        let Ok(bytes) = <[u8; 4]>::try_from(word) else { continue };
        let little = endian == Endianness::Little;
        let index = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        if let Some(new) = map.get(SectionIndex::new(index as usize)) {
            let new = new.number() as u32;
            out.extend_from_slice(&if little { new.to_le_bytes() } else { new.to_be_bytes() });
        }
    }
    *data = out;
}
