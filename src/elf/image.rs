//! A relocatable object (`.o`, `.ko`) as a whole, to be looked at and changed: each section, symbol and
//! relocation. [`super::write`] makes a file of it again.
//!
//! Whatever does not fit together is refused when the image is read ([`super::consistent`]), so that indices can be
//! relied on later: each relocation's symbol and place, each section's link and each symbol's section exists.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use object::elf;
use object::read::elf::{FileHeader, Rela as _, SectionHeader as _};
use object::write::elf as raw;
use object::{Endianness, FileKind};

use crate::host::compressed;

/// What kbuild appends to a signed module (`MODULE_SIG_STRING` in include/linux/module_signature.h).
const SIGNATURE: &[u8] = b"~Module signature appended~\n";

/// Section flag of what takes up memory in the kernel.
pub const SHF_ALLOC: u64 = elf::SHF_ALLOC.0;
/// Section flag of a livepatch relocation section (`SHF_RELA_LIVEPATCH`, include/uapi/linux/elf.h; R1).
pub const SHF_RELA_LIVEPATCH: u64 = 0x0010_0000;
/// Section index of a symbol that the kernel resolves for a livepatch (`SHN_LIVEPATCH`, likewise; R4).
pub(super) const SHN_LIVEPATCH: u16 = 0xff20;

/// A place in a section of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The section, by index.
    pub section: usize,
    /// Bytes from its start.
    pub offset: u64,
}

/// A relocatable object.
#[derive(Debug, Clone)]
pub struct Image {
    pub(super) header: raw::FileHeader,
    pub(super) endian: Endianness,
    pub(super) is_64: bool,
    /// By section index; the first is the null section.
    pub sections: Vec<Section>,
    /// By symbol index; the first is the null symbol.
    pub symbols: Vec<Symbol>,
    pub(super) symtab: usize,
    pub(super) strtab: usize,
    pub(super) shstrtab: usize,
    /// Whether a module signature follows the ELF file.
    pub is_signed: bool,
}

/// A section of an [`Image`].
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name, raw.
    pub name: Vec<u8>,
    pub(super) header: raw::SectionHeader,
    /// Its bytes; none for `SHT_NOBITS`, for the symbol table, and where [`Section::relocations`] stand for
    /// them.
    pub data: Vec<u8>,
    /// The entries of a `SHT_RELA` section.
    pub relocations: Vec<Relocation>,
    /// Whether the name has to be added to the table of section names.
    pub(super) is_new: bool,
}

/// One entry of a `SHT_RELA` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Where, in bytes from the start of the target section.
    pub offset: u64,
    /// The symbol, by index.
    pub symbol: usize,
    /// The machine's relocation type.
    pub kind: u32,
    /// What is added to the symbol's value.
    pub addend: i64,
}

/// Where a symbol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In the section with this index.
    Section(usize),
    /// `SHN_UNDEF`: nowhere here.
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
    /// Where it stands.
    pub home: Home,
    pub(super) entry: raw::Sym,
    pub(super) is_renamed: bool,
}

impl Image {
    /// Where a relocation points, if that is in this object.
    pub fn target(&self, relocation: &Relocation) -> Option<Offset> {
        let symbol = self.symbols.get(relocation.symbol)?;
        let Home::Section(section) = symbol.home else { return None };
        Some(Offset { section, offset: symbol.value().checked_add_signed(relocation.addend)? })
    }

    /// Reads the object at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is not a relocatable ELF object, or is inconsistent; the message names the
    /// file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Image> {
        let data = compressed::read(path).context("cannot read the module")?;
        Image::parse(&data).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Likewise, from the bytes of a file.
    ///
    /// # Errors
    /// As [`Image::read`], without the file's name.
    pub fn parse(data: &[u8]) -> Result<Image> {
        match FileKind::parse(data) {
            Ok(FileKind::Elf32) => parse::<elf::FileHeader32<Endianness>>(data),
            Ok(FileKind::Elf64) => parse::<elf::FileHeader64<Endianness>>(data),
            _ => match data {
                [] => bail!("the file is empty: delete it and build again"),
                [0x1f, 0x8b, ..] | [0xfd, b'7', b'z', b'X', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                    bail!("it is compressed: unpack it first (gunzip, unxz or unzstd)")
                }
                _ => bail!("not an ELF file"),
            },
        }
    }

    /// The machine (`e_machine`).
    pub fn machine(&self) -> super::Machine {
        super::Machine(self.header.e_machine.0)
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
        super::number(self.endian, bytes)
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
    pub fn enumerate(&self) -> impl Iterator<Item = (usize, &Section)> {
        self.sections.iter().enumerate().skip(1)
    }

    /// The first section of this name, with its index.
    pub fn section_named(&self, name: &[u8]) -> Option<(usize, &Section)> {
        self.enumerate().find(|(_, section)| section.name == name)
    }

    /// The relocation sections with their indices, and those of the sections they apply to.
    pub fn relocated(&self) -> impl Iterator<Item = (usize, &Section, usize)> {
        self.enumerate()
            .filter(|(_, section)| section.is_rela())
            .map(|(index, section)| (index, section, section.target()))
    }

    /// The `tag=value` strings of `.modinfo`; none if there is no such section.
    pub fn modinfo(&self) -> impl Iterator<Item = &[u8]> {
        let data = self.section_named(b".modinfo").map_or(&[][..], |(_, section)| &section.data);
        data.split(|&byte| byte == 0).filter(|entry| !entry.is_empty())
    }

    /// The value of a `.modinfo` tag.
    pub fn modinfo_value(&self, tag: &str) -> Option<&[u8]> {
        self.modinfo().find_map(|entry| entry.strip_prefix(tag.as_bytes())?.strip_prefix(b"="))
    }

    /// What is wrong with the symbol table's order: local symbols come first, as many as it says (`sh_info`).
    pub fn fault_of_locals(&self) -> Option<String> {
        let said = self.sections.get(self.symtab).map_or(0, |section| section.header.sh_info as usize);
        let is_local = |symbol: &Symbol| symbol.binding() == super::Binding::Local;
        let right = self.symbols.iter().enumerate().all(|(index, symbol)| is_local(symbol) == (index < said));
        (!right).then(|| {
            format!("local and other symbols are mixed, or there are not {said} local ones (sh_info)")
        })
    }

    /// The bytes of a string that ends with a zero byte, `offset` bytes into a section.
    pub fn string_at(&self, section: usize, offset: u64) -> Option<&[u8]> {
        let rest = self.sections.get(section)?.data.get(usize::try_from(offset).ok()?..)?;
        rest.get(..rest.iter().position(|&byte| byte == 0)?)
    }

    /// Adds a `tag=value` string to `.modinfo`, after those that are there; nothing if there is no such section.
    pub fn add_modinfo(&mut self, entry: &str) {
        let index = self.section_named(b".modinfo").map(|(index, _)| index);
        let Some(section) = index.and_then(|index| self.sections.get_mut(index)) else { return };
        if section.data.last().is_some_and(|&last| last != 0) {
            section.data.push(0);
        }
        section.data.extend_from_slice(entry.as_bytes());
        section.data.push(0);
    }

    /// Gives a section fewer bytes, which nothing refers to but symbols that stand for all of them.
    pub fn shorten(&mut self, section: usize, data: Vec<u8>) {
        let size = data.len() as u64;
        let Some(old) = self.sections.get_mut(section) else { return };
        let whole = old.data.len() as u64;
        old.data = data;
        for symbol in &mut self.symbols {
            if symbol.home == Home::Section(section) && symbol.entry.st_size == whole {
                symbol.entry.st_size = size;
            }
        }
    }

    /// Adds a section that holds relocations for the section `target`, and gives its index.
    pub fn add_relocations(
        &mut self,
        name: Vec<u8>,
        flags: u64,
        target: usize,
        relocations: Vec<Relocation>,
    ) {
        let link = self.symtab as u32;
        let entsize = if self.is_64 { 24 } else { 12 };
        let header = raw::SectionHeader {
            sh_name: 0,
            sh_type: elf::SHT_RELA,
            sh_flags: elf::SectionFlags(flags),
            sh_addr: 0,
            // After all that is there.
            sh_offset: u64::MAX,
            sh_size: 0,
            sh_link: link,
            sh_info: target as u32,
            sh_addralign: if self.is_64 { 8 } else { 4 },
            sh_entsize: entsize,
        };
        self.sections.push(Section { name, header, data: Vec::new(), relocations, is_new: true });
    }

    /// Takes sections and symbols out, and makes every index right again (R5).
    ///
    /// Relocations in sections that are not loaded (debugging information) which refer to a symbol taken out
    /// go with it.
    ///
    /// # Errors
    /// Something else still refers to what is to go, or a section holds indices in a form that is not known.
    pub fn remove(&mut self, sections: &BTreeSet<usize>, symbols: &BTreeSet<usize>) -> Result<()> {
        let section_map = renumbered(self.sections.len(), sections);
        let symbol_map = renumbered(self.symbols.len(), symbols);
        let symtab = self.symtab;
        let names: Vec<String> = self.sections.iter().map(Section::shown).collect();
        let section = |index: usize, user: &str| -> Result<usize> {
            section_map.get(index).copied().flatten().with_context(|| {
                format!("{user} belongs to section {}, which is to be removed", name_of(&names, index))
            })
        };
        let symbol_names: Vec<&[u8]> = self.symbols.iter().map(|symbol| symbol.name.as_slice()).collect();
        for (index, current) in self.sections.iter_mut().enumerate().skip(1) {
            if sections.contains(&index) {
                continue;
            }
            let user = name_of(&names, index);
            let is_loaded_target =
                current.is_rela() && self.header.e_type == elf::ET_REL && current.header.sh_info != 0;
            if current.is_rela() {
                let mut kept = Vec::with_capacity(current.relocations.len());
                for mut relocation in std::mem::take(&mut current.relocations) {
                    match symbol_map.get(relocation.symbol).copied().flatten() {
                        Some(symbol) => {
                            relocation.symbol = symbol;
                            kept.push(relocation);
                        }
                        None if user.contains(".debug_") => {}
                        None => bail!(
                            "{user} refers to {}, which is to be removed",
                            String::from_utf8_lossy(
                                symbol_names.get(relocation.symbol).copied().unwrap_or_default()
                            )
                        ),
                    }
                }
                current.relocations = kept;
            } else if current.header.sh_type == elf::SHT_GROUP {
                current.header.sh_info =
                    symbol_map.get(current.header.sh_info as usize).copied().flatten().unwrap_or(0) as u32;
                remap_group(&mut current.data, self.endian, &section_map);
            } else if current.header.sh_link as usize == symtab && index != symtab && !symbols.is_empty() {
                bail!(
                    "section {user} refers to the symbol table in a way that klpbuild does not know \
                     (section type {:#x})",
                    current.header.sh_type.0
                );
            }
            if is_loaded_target || current.header.sh_flags.0 & elf::SHF_INFO_LINK.0 != 0 {
                current.header.sh_info = section(current.header.sh_info as usize, user)? as u32;
            }
            current.header.sh_link = section(current.header.sh_link as usize, user)? as u32;
        }
        for (index, symbol) in self.symbols.iter_mut().enumerate() {
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
        keep(&mut self.sections, sections);
        keep(&mut self.symbols, symbols);
        Ok(())
    }
}

fn name_of(names: &[String], index: usize) -> &str {
    names.get(index).map_or("?", String::as_str)
}

/// The new index of each old one; none for those that go.
fn renumbered(length: usize, removed: &BTreeSet<usize>) -> Vec<Option<usize>> {
    let mut next = 0;
    let number = |index: usize| {
        if removed.contains(&index) {
            return None;
        }
        next += 1;
        Some(next - 1)
    };
    (0..length).map(number).collect()
}

fn keep<T>(items: &mut Vec<T>, removed: &BTreeSet<usize>) {
    let mut index = 0;
    items.retain(|_| {
        index += 1;
        !removed.contains(&(index - 1))
    });
}

/// A group is a word of flags, then a section index in each word.
fn remap_group(data: &mut Vec<u8>, endian: Endianness, map: &[Option<usize>]) {
    let mut out = data.get(..4).unwrap_or_default().to_vec();
    for word in data.get(4..).unwrap_or_default().chunks_exact(4) {
        let Ok(bytes) = <[u8; 4]>::try_from(word) else { continue };
        let little = endian == Endianness::Little;
        let index = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        if let Some(Some(new)) = map.get(index as usize) {
            let new = *new as u32;
            out.extend_from_slice(&if little { new.to_le_bytes() } else { new.to_be_bytes() });
        }
    }
    *data = out;
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
    pub fn target(&self) -> usize {
        self.header.sh_info as usize
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

    /// Whether its bytes are compressed (`SHF_COMPRESSED`).
    pub fn is_compressed(&self) -> bool {
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

    /// What it stands for.
    pub fn kind(&self) -> super::Kind {
        super::Kind::of(self.entry.st_info.st_type())
    }

    /// Its binding.
    pub fn binding(&self) -> super::Binding {
        super::Binding::of(self.entry.st_info.st_bind())
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
    // Sections of a real object do not overlap: together they are no larger than the file.
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
        let mut relocations = Vec::new();
        let mut bytes = Vec::new();
        match section.rela(endian, data).map_err(fault)? {
            Some((entries, link)) if index != 0 => {
                ensure!(link.0 == symtab, "relocations in {shown} refer to another symbol table");
                ensure!(
                    (raw.sh_info as usize) < table.len(),
                    "{shown} applies to section {}, which is not there",
                    raw.sh_info
                );
                for entry in entries {
                    let symbol = entry.r_sym(endian, false) as usize;
                    ensure!(
                        symbol < symbols.len(),
                        "a relocation in {shown} refers to symbol {symbol}, which is not there"
                    );
                    relocations.push(Relocation {
                        offset: entry.r_offset(endian).into(),
                        symbol,
                        kind: entry.r_type(endian, false).0,
                        addend: entry.r_addend(endian).into(),
                    });
                }
            }
            _ if index == 0 || index == symtab => {}
            _ => bytes = section.data(endian, data).map_err(fault)?.to_vec(),
        }
        sections.push(Section { name: name.to_vec(), header: raw, data: bytes, relocations, is_new: false });
    }
    let mut all = Vec::with_capacity(symbols.len());
    for (index, symbol) in symbols.enumerate() {
        let name = symbols.symbol_name(endian, symbol).map_err(fault)?.to_vec();
        let section = symbols.symbol_section(endian, symbol, index).map_err(fault)?;
        let entry = raw::Sym::from_raw(endian, symbol, section.map(|section| section.0 as u32));
        let home = match section {
            Some(section) if section.0 < sections.len() => Home::Section(section.0),
            Some(section) => bail!("symbol {index} is in section {}, which is not there", section.0),
            None if entry.st_shndx.0 == 0 => Home::Undefined,
            None if entry.st_shndx.0 == SHN_LIVEPATCH => Home::Livepatch,
            None => Home::Reserved(entry.st_shndx.0),
        };
        all.push(Symbol { name, home, entry, is_renamed: false });
    }
    let shstrtab = header.shstrndx(endian, data).map_err(fault)? as usize;
    ensure!(shstrtab < sections.len() && strtab < sections.len(), "its string tables are not there");
    let image = Image {
        header: raw::FileHeader::from_raw(endian, header),
        endian,
        is_64: header.is_type_64(),
        sections,
        symbols: all,
        symtab,
        strtab,
        shstrtab,
        is_signed: data.ends_with(SIGNATURE),
    };
    image.expect_consistency()?;
    Ok(image)
}
