// SPDX-License-Identifier: GPL-2.0-only
//! The parts of an object, and their properties.

use crate::elf::image::index::{SectionIndex, SymbolIndex, Table, TableIndex as _};
use crate::elf::modinfo::Modinfo;
use crate::elf::{Binding, Machine, SymbolKind, number};

use object::Endianness;
use object::elf;
use object::write::elf as raw;

/// The flag of a section that takes up memory in the kernel.
pub const SHF_ALLOC: u64 = elf::SHF_ALLOC.0;
/// The flag of a livepatch relocation section (`SHF_RELA_LIVEPATCH`, include/uapi/linux/elf.h; R1).
pub const SHF_RELA_LIVEPATCH: u64 = 0x0010_0000;
/// The section index of a symbol that the kernel resolves for a livepatch (`SHN_LIVEPATCH`, include/uapi/linux/elf.h;
/// R4).
pub(in crate::elf) const SHN_LIVEPATCH: u16 = 0xff20;

/// An offset in a section of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The section.
    pub section: SectionIndex,
    /// Bytes from its start.
    pub offset: u64,
}

/// A relocatable object.
#[derive(Debug, Clone)]
pub struct Image {
    pub(in crate::elf) header: raw::FileHeader,
    pub(in crate::elf) endian: Endianness,
    pub(in crate::elf) is_64: bool,
    /// The first is the null section.
    pub sections: Table<SectionIndex, Section>,
    /// The first is the null symbol.
    pub symbols: Table<SymbolIndex, Symbol>,
    pub(in crate::elf) symtab: SectionIndex,
    pub(in crate::elf) strtab: SectionIndex,
    pub(in crate::elf) shstrtab: SectionIndex,
    /// Whether a module signature follows the ELF file.
    pub is_signed: bool,
}

/// A section of an [`Image`].
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name, raw.
    pub name: Vec<u8>,
    pub(in crate::elf) header: raw::SectionHeader,
    /// Its bytes; empty for `SHT_NOBITS`, for the symbol table, and for a section with [`Section::relocations`].
    pub data: Vec<u8>,
    /// The entries of a `SHT_RELA` section.
    pub relocations: Vec<Relocation>,
    /// Whether the name has to be added to the table of section names.
    pub(in crate::elf) is_new: bool,
}

/// One entry of a `SHT_RELA` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// The offset of the bytes it writes, from the start of the target section.
    pub offset: u64,
    /// The symbol.
    pub symbol: SymbolIndex,
    /// The machine's relocation type.
    pub kind: u32,
    /// The number that is added to the symbol's value.
    pub addend: i64,
}

/// The section of a symbol (`st_shndx`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In this section.
    Section(SectionIndex),
    /// `SHN_UNDEF`: in no section of this object.
    Undefined,
    /// `SHN_LIVEPATCH`: the kernel resolves it for the livepatch (R4).
    Livepatch,
    /// `SHN_ABS`, `SHN_COMMON` or another reserved index.
    Reserved(u16),
}

/// A symbol of an [`Image`].
#[derive(Debug, Clone)]
pub struct Symbol {
    /// Its name, raw.
    pub name: Vec<u8>,
    /// Its section.
    pub home: Home,
    pub(in crate::elf) entry: raw::Sym,
    pub(in crate::elf) is_renamed: bool,
}

impl Image {
    /// The target of a relocation, if that is in this object.
    pub fn target(&self, relocation: &Relocation) -> Option<Offset> {
        let symbol = self.symbols.get(relocation.symbol)?;
        let Home::Section(section) = symbol.home else { return None };
        Some(Offset { section, offset: symbol.value().checked_add_signed(relocation.addend)? })
    }

    /// The machine (`e_machine`).
    pub fn machine(&self) -> Machine {
        Machine(self.header.e_machine.0)
    }

    /// The size of an address in bytes: 4 or 8.
    pub fn address_size(&self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    /// Whether the least significant byte comes first.
    pub fn is_little_endian(&self) -> bool {
        self.endian == Endianness::Little
    }

    /// The unsigned number in `bytes`, in this object's byte order.
    pub fn number(&self, bytes: &[u8]) -> u64 {
        number(self.endian, bytes)
    }

    /// The name of a relocation type of this machine, as in `R_X86_64_PC32`.
    pub fn relocation_name(&self, kind: u32) -> String {
        let names = elf::machine_names(self.header.e_machine);
        match names.r.name(elf::RelocationType(kind)) {
            Some(name) => name.to_owned(),
            None => format!("type {kind}"),
        }
    }

    /// The sections with their indices, without the null section.
    pub fn enumerate(&self) -> impl Iterator<Item = (SectionIndex, &Section)> {
        self.sections.enumerate()
    }

    /// The first section of this name, with its index.
    pub fn section_named(&self, name: &[u8]) -> Option<(SectionIndex, &Section)> {
        self.enumerate().find(|(_, section)| section.name == name)
    }

    /// The relocation sections with their indices, and those of the sections they apply to.
    pub fn relocated(&self) -> impl Iterator<Item = (SectionIndex, &Section, SectionIndex)> {
        self.enumerate()
            .filter(|(_, section)| section.is_rela())
            .map(|(index, section)| (index, section, section.target()))
    }

    /// Its `.modinfo`; empty if there is none.
    pub fn modinfo(&self) -> Modinfo<'_> {
        Modinfo::of(self.section_named(b".modinfo").map_or(&[][..], |(_, section)| &section.data))
    }

    /// The fault of the symbol table's order: local symbols have to come first, as many as its `sh_info` says.
    pub fn fault_of_locals(&self) -> Option<String> {
        let said = self.sections.get(self.symtab).map_or(0, |section| section.header.sh_info as usize);
        let is_local = |symbol: &Symbol| symbol.binding() == Binding::Local;
        let right = self.symbols.iter().enumerate().all(|(index, symbol)| is_local(symbol) == (index < said));
        (!right).then(|| {
            format!("local and other symbols are mixed, or there are not {said} local ones (sh_info)")
        })
    }

    /// The bytes of a string that ends with a zero byte, `offset` bytes into a section.
    pub fn string_at(&self, section: SectionIndex, offset: u64) -> Option<&[u8]> {
        let rest = self.sections.get(section)?.data.get(usize::try_from(offset).ok()?..)?;
        rest.get(..rest.iter().position(|&byte| byte == 0)?)
    }
}

impl Section {
    /// The name for messages.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// Whether it takes up memory in the kernel (`SHF_ALLOC`).
    pub fn is_alloc(&self) -> bool {
        self.header.sh_flags.0 & elf::SHF_ALLOC.0 != 0
    }

    /// Whether it holds code (`SHF_EXECINSTR`).
    pub fn is_code(&self) -> bool {
        self.header.sh_flags.0 & elf::SHF_EXECINSTR.0 != 0
    }

    /// Whether the linker merges equal contents in it (`SHF_MERGE`).
    pub fn is_merged(&self) -> bool {
        self.header.sh_flags.0 & elf::SHF_MERGE.0 != 0
    }

    /// Whether it holds strings that end with a zero byte (`SHF_STRINGS`).
    pub fn has_strings(&self) -> bool {
        self.header.sh_flags.0 & elf::SHF_STRINGS.0 != 0
    }

    /// Whether it is a `SHT_RELA` section.
    pub fn is_rela(&self) -> bool {
        self.header.sh_type == elf::SHT_RELA
    }

    /// Whether it holds relocations without addends (`SHT_REL`), which no livepatch architecture has.
    pub fn is_rel(&self) -> bool {
        self.header.sh_type == elf::SHT_REL
    }

    /// Whether the kernel takes it for livepatch relocations (R1).
    pub fn is_livepatch_rela(&self) -> bool {
        self.header.sh_flags.0 & SHF_RELA_LIVEPATCH != 0
    }

    /// The section that a `SHT_RELA` section applies to (`sh_info`).
    pub fn target(&self) -> SectionIndex {
        SectionIndex::new(self.header.sh_info as usize)
    }

    /// The section's flags (`sh_flags`).
    pub fn flags(&self) -> u64 {
        self.header.sh_flags.0
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: Vec<u8>) {
        self.name = name;
        self.is_new = true;
    }

    /// Gives it other flags (`sh_flags`).
    pub fn set_flags(&mut self, flags: u64) {
        self.header.sh_flags = elf::SectionFlags(flags);
    }

    /// The size of an entry (`sh_entsize`).
    pub fn entsize(&self) -> u64 {
        self.header.sh_entsize
    }

    /// Its size in memory, in bytes.
    pub fn size(&self) -> u64 {
        self.header.sh_size
    }

    /// Whether its bytes are compressed.
    pub fn is_compressed(&self) -> bool {
        self.is_marked_compressed() || self.name.starts_with(b".zdebug_")
    }

    /// Whether a flag says that its bytes are compressed (`SHF_COMPRESSED`), and not the old form of its name.
    pub(in crate::elf) fn is_marked_compressed(&self) -> bool {
        self.header.sh_flags.0 & elf::SHF_COMPRESSED.0 != 0
    }
}

impl Symbol {
    /// The name for messages.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// Its value: an offset into its section.
    pub fn value(&self) -> u64 {
        self.entry.st_value
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.entry.st_size
    }

    /// Its type.
    pub fn kind(&self) -> SymbolKind {
        SymbolKind::of(self.entry.st_info.st_type())
    }

    /// Its binding.
    pub fn binding(&self) -> Binding {
        Binding::of(self.entry.st_info.st_bind())
    }

    /// Gives it another name and has the kernel resolve it (R3, R4); it keeps its binding.
    pub fn become_livepatch(&mut self, name: Vec<u8>) {
        self.name = name;
        self.is_renamed = true;
        self.home = Home::Livepatch;
        self.entry.st_value = 0;
        self.entry.st_size = 0;
    }
}
