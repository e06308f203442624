// SPDX-License-Identifier: GPL-2.0-only
//! Whether the parts of an [`Image`] fit together, which changing and writing it rely on, and which the kernel's
//! module loader does not check (`apply_relocate_add` of each architecture writes wherever a relocation says).

use anyhow::{Result, bail, ensure};
use object::elf;

use crate::elf::Machine;
use crate::elf::image::{
    Home, Image, Relocation, SHN_LIVEPATCH, Section, SectionIndex, Symbol, TableIndex as _,
};

/// Types of sections whose contents cannot be relocated.
const NO_CONTENT: [elf::SectionType; 5] =
    [elf::SHT_NULL, elf::SHT_RELA, elf::SHT_SYMTAB, elf::SHT_STRTAB, elf::SHT_GROUP];

impl Image {
    /// Checks that every reference leads to a thing of the right kind.
    ///
    /// # Errors
    /// A reference does not; the message names the section or symbol.
    pub(super) fn expect_consistency(&self) -> Result<()> {
        self.expect_class()?;
        self.expect_tables()?;
        for (_, section) in self.enumerate() {
            let shown = section.shown();
            let alignment = section.header.sh_addralign;
            ensure!(
                alignment == 0 || alignment.is_power_of_two(),
                "section {shown} has the alignment {alignment}, which is no power of two"
            );
            ensure!(
                !section.is_compressed()
                    || section.header.sh_type == elf::SHT_PROGBITS && !section.is_alloc(),
                "section {shown} is marked as compressed, which the kernel does not unpack"
            );
            let has_index = section.header.sh_flags.0 & elf::SHF_INFO_LINK.0 != 0;
            ensure!(
                !has_index || self.sections.get(section.target()).is_some(),
                "section {shown} belongs to section {}, which is not there (sh_info)",
                section.target().number()
            );
            if section.is_rela() {
                self.expect_relocations(section)?;
            } else if section.header.sh_type == elf::SHT_GROUP {
                self.expect_group(section)?;
            }
        }
        self.expect_symbols()
    }

    /// Checks the size of addresses: each machine that klpbuild knows has one size, except for s390 and ppc.
    fn expect_class(&self) -> Result<()> {
        let has_64 = [Machine::X86_64, Machine::AARCH64, Machine::PPC64].contains(&self.machine());
        ensure!(self.is_64 || !has_64, "its ELF class is 32 bits, and its machine has 64");
        ensure!(self.is_64 || self.machine() != Machine::S390, "it is for 31-bit s390, which no kernel is");
        ensure!(
            !self.is_64 || self.machine() != Machine::PPC,
            "its ELF class is 64 bits, and its machine has 32"
        );
        Ok(())
    }

    /// Checks the symbol table and the two tables of names, which are written anew.
    fn expect_tables(&self) -> Result<()> {
        let of_type = |kind| self.enumerate().filter(move |(_, section)| section.header.sh_type == kind);
        for index in [self.strtab, self.shstrtab] {
            let table = self.sections.get(index).filter(|table| table.header.sh_type == elf::SHT_STRTAB);
            ensure!(
                table.is_some(),
                "section {} is to hold names, but is no string table (SHT_STRTAB)",
                index.number()
            );
        }
        ensure!(of_type(elf::SHT_SYMTAB).count() == 1, "it has more than one symbol table");
        // R13: only a file with more sections than are read here needs it.
        if let Some((_, section)) = of_type(elf::SHT_SYMTAB_SHNDX).next() {
            bail!("section {} has extended section numbers: klpbuild handles none", section.shown());
        }
        let size = if self.is_64 { 24 } else { 16 };
        let table = self.sections.get(self.symtab);
        ensure!(
            table.is_some_and(|table| table.entsize() == size),
            "the entries of its symbol table are not said to have {size} bytes (sh_entsize)"
        );
        Ok(())
    }

    fn expect_relocations(&self, section: &Section) -> Result<()> {
        let shown = section.shown();
        let size = if self.is_64 { 24 } else { 12 };
        ensure!(
            section.entsize() == size,
            "the entries of {shown} have {} bytes, and not {size} (sh_entsize)",
            section.entsize()
        );
        let index = section.target();
        let is_null = index.number() == 0;
        ensure!(!is_null || section.relocations.is_empty(), "{shown} applies to no section");
        let Some(target) = self.sections.get(index).filter(|_| !is_null) else { return Ok(()) };
        ensure!(
            !NO_CONTENT.contains(&target.header.sh_type),
            "{shown} applies to {}, which is no code and no data",
            target.shown()
        );
        // In a section with compressed bytes, offsets count in the unpacked bytes. Type 0 does nothing on any
        // machine.
        let is_outside = |entry: &&Relocation| entry.kind != 0 && entry.offset >= target.size();
        let outside = section.relocations.iter().find(is_outside).filter(|_| !target.is_compressed());
        if let Some(entry) = outside {
            bail!(
                "{shown} has a relocation at {:#x} in {}, which has {:#x} bytes",
                entry.offset,
                target.shown(),
                target.size()
            );
        }
        Ok(())
    }

    /// Checks a group: a word of flags, then the index of a section in each word; `sh_info` is its symbol.
    fn expect_group(&self, group: &Section) -> Result<()> {
        let shown = group.shown();
        let mut words = group.data.chunks(4).skip(1);
        let is_there = |word: &[u8]| {
            let index = self.number(word) as usize;
            word.len() == 4 && index != 0 && index < self.sections.count()
        };
        ensure!(
            group.data.len() >= 4 && words.all(is_there),
            "section {shown} is a group with a section that is not there"
        );
        ensure!(
            group.header.sh_link as usize == self.symtab.number()
                && (group.header.sh_info as usize) < self.symbols.count(),
            "section {shown} is a group whose symbol is not there"
        );
        Ok(())
    }

    /// Checks the symbols' section indices and values. `simplify_symbols` in kernel/module/main.c takes every other
    /// reserved index for a section's, and adds any symbol's value to the section's address. At most, a label marks
    /// the end of a section.
    fn expect_symbols(&self) -> Result<()> {
        let known = [elf::SHN_ABS.0, elf::SHN_COMMON.0, SHN_LIVEPATCH];
        for symbol in self.symbols.iter() {
            if let Home::Reserved(index) = symbol.home {
                ensure!(
                    known.contains(&index),
                    "symbol {} has the section number {index:#x}, which the kernel does not know",
                    symbol.shown()
                );
            }
            let section = match symbol.home {
                Home::Section(section) => {
                    self.sections.get(section).filter(|section| !section.is_compressed())
                }
                _ => None,
            };
            if let Some(section) = section.filter(|section| symbol.value() > section.size()) {
                bail!(
                    "symbol {} is at {:#x} in {}, which has {:#x} bytes",
                    symbol.shown(),
                    symbol.value(),
                    section.shown(),
                    section.size()
                );
            }
        }
        Ok(())
    }

    /// The first difference between the contents of two images, whatever the order of the bytes in their files; none
    /// if they are equal.
    pub fn difference(&self, other: &Image) -> Option<String> {
        if (self.sections.count(), self.symbols.count()) != (other.sections.count(), other.symbols.count()) {
            return Some("sections or symbols are lost".to_owned());
        }
        let names = [self.symtab, self.strtab, self.shstrtab];
        let is_same = |index: SectionIndex, one: &Section, other: &Section| {
            let of = |section: &Section| {
                let header = &section.header;
                (header.sh_type, header.sh_flags.0, header.sh_link, header.sh_addralign, header.sh_entsize)
            };
            // The number of local symbols is counted when the file is written, and names are added then.
            let is_table = names.contains(&index);
            one.name == other.name
                && of(one) == of(other)
                && one.relocations == other.relocations
                && (is_table || (one.data == other.data && one.target() == other.target()))
        };
        let mut sections = self.sections.enumerate().zip(other.sections.iter().skip(1));
        let changed = sections.find(|((index, one), other)| !is_same(*index, one, other));
        if let Some(((_, section), _)) = changed {
            return Some(format!("section {} is not what it should be", section.shown()));
        }
        let mut symbols = self.symbols.iter().zip(other.symbols.iter()).skip(1);
        let changed = symbols.find(|(one, other)| {
            let of = |symbol: &Symbol| {
                (symbol.home, symbol.value(), symbol.size(), symbol.entry.st_info.0, symbol.entry.st_other.0)
            };
            one.name != other.name || of(one) != of(other)
        });
        changed.map(|(symbol, _)| format!("symbol {} is not what it should be", symbol.shown()))
    }
}
