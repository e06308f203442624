// SPDX-License-Identifier: GPL-2.0-only
//! ELF objects; with the files below it, the only place that names the object crate.
//!
//! - here: names of the symbol table and `.modinfo`, for the map
//! - [`definitions`]: where given names are defined in an object, with everything that its symbol table has on them
//! - [`image`]: a module as a whole, to be read and changed; [`consistent`]: whether its parts fit together;
//!   [`mod@write`]: a file made of it again
//! - [`modinfo`]: a module's information about itself
//! - [`debugging`] and [`types`]: debugging information, and BTF; [`unpacked`]: compressed sections
//! - [`notes`]: build IDs and banners, and what kind of program a file is; [`memory`]: bytes by their address
//!
//! For the map and for definitions only the headers, the symbol table with its strings, and `.modinfo` are
//! read: memory does not grow with the size of the file. Files are read, not mapped, because make may still
//! be writing others. Nothing in a file is trusted: whatever does not fit is an error that names the file.

mod consistent;
pub mod debugging;
pub mod definitions;
pub mod image;
pub mod memory;
pub(crate) mod modinfo;
pub mod notes;
pub(crate) mod types;
mod unpacked;
mod write;

use std::ffi::CStr;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, SectionHeader as _, Sym as _};
use object::read::{ReadCache, ReadRef as _};

use crate::elf::modinfo::Modinfo;
use crate::host::compressed;

/// Calls a generic function with the ELF header type for the class of `$data`; if that is no ELF file, `$otherwise`.
macro_rules! by_class {
    ($data:expr, $function:ident($($argument:expr),*), $otherwise:expr) => {
        match ::object::FileKind::parse($data) {
            Ok(::object::FileKind::Elf32) => {
                $function::<::object::elf::FileHeader32<::object::Endianness>>($($argument),*)
            }
            Ok(::object::FileKind::Elf64) => {
                $function::<::object::elf::FileHeader64<::object::Endianness>>($($argument),*)
            }
            _ => $otherwise,
        }
    };
}
use by_class;

/// The bytes of an object, which are read when they are needed.
type Data = ReadCache<compressed::Source>;

/// Whether an object defines a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definedness {
    /// Defined here: in a section, absolute, or common.
    Defined,
    /// `SHN_UNDEF`: another object has to define it.
    Undefined,
    /// `SHN_UNDEF` and weak: the object works without it.
    UndefinedWeak,
}

/// The type of a symbol (`STT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    /// `STT_FUNC`, or an indirect function.
    Function,
    /// `STT_OBJECT`, or a thread's or a common one.
    Object,
    /// `STT_NOTYPE`
    None,
    /// `STT_SECTION`
    Section,
    /// `STT_FILE`
    File,
}

impl SymbolKind {
    fn of(kind: elf::SymbolType) -> SymbolKind {
        match kind {
            elf::STT_FUNC | elf::STT_GNU_IFUNC => SymbolKind::Function,
            elf::STT_OBJECT | elf::STT_COMMON | elf::STT_TLS => SymbolKind::Object,
            elf::STT_SECTION => SymbolKind::Section,
            elf::STT_FILE => SymbolKind::File,
            _ => SymbolKind::None,
        }
    }

    /// The type as readelf prints it.
    pub fn shown(self) -> &'static str {
        match self {
            SymbolKind::Function => "FUNC",
            SymbolKind::Object => "OBJECT",
            SymbolKind::None => "NOTYPE",
            SymbolKind::Section => "SECTION",
            SymbolKind::File => "FILE",
        }
    }
}

/// The binding of a symbol (`STB_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Visible only in its own object file.
    Local,
    /// Visible everywhere.
    Global,
    /// Visible everywhere, unless there is a global symbol of its name.
    Weak,
}

impl Binding {
    fn of(binding: elf::SymbolBind) -> Binding {
        match binding {
            elf::STB_LOCAL => Binding::Local,
            elf::STB_WEAK => Binding::Weak,
            _ => Binding::Global,
        }
    }

    /// The binding as readelf prints it.
    pub fn shown(self) -> &'static str {
        match self {
            Binding::Local => "LOCAL",
            Binding::Global => "GLOBAL",
            Binding::Weak => "WEAK",
        }
    }
}

/// The machine an object is for (`e_machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine(pub u16);

impl Machine {
    /// x86-64
    pub const X86_64: Machine = Machine(elf::EM_X86_64.0);
    /// 64-bit Arm
    pub const AARCH64: Machine = Machine(elf::EM_AARCH64.0);
    /// s390x
    pub const S390: Machine = Machine(elf::EM_S390.0);
    /// 64-bit PowerPC
    pub const PPC64: Machine = Machine(elf::EM_PPC64.0);
    /// 32-bit PowerPC
    pub const PPC: Machine = Machine(elf::EM_PPC.0);
}

/// A symbol table's entry for code or data: neither the null entry nor one of type `STT_SECTION` or `STT_FILE`.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Offset and length of the name in the string table.
    name: (u32, u32),
    place: Definedness,
}

/// The part of one object file that klpbuild needs for the map.
#[derive(Debug, Default)]
pub struct ObjectSymbols {
    strings: Vec<u8>,
    entries: Vec<Entry>,
    modinfo: Vec<u8>,
    machine: u16,
}

impl ObjectSymbols {
    /// Reads the symbol table and `.modinfo` of the ELF file at `path`, of either class and byte order.
    ///
    /// # Errors
    /// The file cannot be read, is no ELF file, or is truncated or inconsistent; the message names the file
    /// and what is wrong with it.
    pub fn read(path: &Path) -> Result<ObjectSymbols> {
        let data = open(path)?;
        let inner = || by_class!(&data, parse(&data), Err(not_elf(&data)));
        inner().with_context(|| format!("cannot read the symbols of {}", path.display()))
    }

    /// The symbols in the order of the symbol table: raw names, and whether they are defined. The null entry, section
    /// and file symbols are left out, as in `nm`.
    pub fn symbols(&self) -> impl Iterator<Item = (&[u8], Definedness)> {
        self.entries.iter().map(|entry| {
            let start = entry.name.0 as usize;
            let name = self.strings.get(start..start + entry.name.1 as usize).unwrap_or_default();
            (name, entry.place)
        })
    }

    /// The machine it is for.
    pub fn machine(&self) -> Machine {
        Machine(self.machine)
    }

    /// Whether `nm` of the object's own binutils hides a symbol of this name: the mapping symbols that mark
    /// code and data (bfd's `bfd_is_target_special_symbol`), on architectures that have them.
    pub fn is_mapping_symbol(&self, name: &[u8]) -> bool {
        let kinds: &[u8] = match elf::Machine(self.machine) {
            elf::EM_AARCH64 => b"xdmfp",
            elf::EM_ARM => b"atdmfp",
            _ => return false,
        };
        match name {
            [b'$', kind] | [b'$', kind, b'.', ..] => kinds.contains(kind),
            _ => false,
        }
    }

    /// Its `.modinfo`; empty if there is none.
    pub fn modinfo(&self) -> Modinfo<'_> {
        Modinfo::of(&self.modinfo)
    }
}

/// The unsigned number in `bytes`, in the object's byte order.
fn number(endian: Endianness, bytes: &[u8]) -> u64 {
    let append = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
    match endian {
        Endianness::Little => bytes.iter().rev().fold(0, append),
        Endianness::Big => bytes.iter().fold(0, append),
    }
}

fn open(path: &Path) -> Result<Data> {
    let missing = "an object is missing: build it first (klpbuild modules)";
    match compressed::open(path) {
        Ok(source) => Ok(ReadCache::new(source)),
        Err(error) if !path.exists() => Err(error.context(missing)),
        Err(error) => Err(error),
    }
}

fn parse<E>(data: &Data) -> Result<ObjectSymbols>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian).0;
    let sections = header.sections(endian, data).map_err(|e| truncated(e, data))?;
    let modinfo = match sections.section_by_name(endian, b".modinfo") {
        Some((_, section)) => section.data(endian, data).map_err(|e| truncated(e, data))?.to_vec(),
        None => Vec::new(),
    };
    let table = sections.symbols(endian, data, elf::SHT_SYMTAB).map_err(|e| truncated(e, data))?;
    if table.is_empty() {
        return Ok(ObjectSymbols { modinfo, machine, ..ObjectSymbols::default() });
    }
    let strings = sections
        .section(table.string_section())
        .and_then(|section| section.data(endian, data))
        .map_err(|e| truncated(e, data))?
        .to_vec();
    let mut entries = Vec::with_capacity(table.len());
    for (index, symbol) in table.iter().enumerate().skip(1) {
        if matches!(symbol.st_type(), elf::STT_SECTION | elf::STT_FILE) {
            continue;
        }
        let start = symbol.st_name(endian);
        let length = strings
            .get(start as usize..)
            .and_then(|rest| CStr::from_bytes_until_nul(rest).ok())
            .map(CStr::count_bytes)
            .ok_or_else(|| anyhow!("symbol {index} has its name outside of the string table"))?;
        let place = match (symbol.is_undefined(endian), symbol.is_weak()) {
            (false, _) => Definedness::Defined,
            (true, false) => Definedness::Undefined,
            (true, true) => Definedness::UndefinedWeak,
        };
        entries.push(Entry { name: (start, u32::try_from(length)?), place });
    }
    Ok(ObjectSymbols { strings, entries, modinfo, machine })
}

/// An error for a file that does not fit. The object crate's message names the part; the cause is nearly always a
/// truncated file.
fn truncated(error: object::read::Error, data: &Data) -> anyhow::Error {
    let length = data.len().unwrap_or(0);
    anyhow!("{error} (the file has {length} bytes: truncated or corrupt; delete it and build again)")
}

fn not_elf(data: &Data) -> anyhow::Error {
    let inner = || -> Result<()> {
        let length = data.len().map_err(|()| anyhow!("cannot tell its size"))?;
        ensure!(length > 0, "the file is empty: delete it and build again");
        let start =
            data.read_bytes_at(0, length.min(4)).map_err(|()| anyhow!("cannot read its first bytes"))?;
        match start {
            [b'B', b'C', 0xc0, 0xde] => bail!(
                "it is LLVM bitcode: this kernel makes native module objects only inside of modpost \
                 (Clang LTO, 5.12 to 5.14); build without CONFIG_LTO_CLANG"
            ),
            [0x7f, b'E', b'L', b'F'] => bail!("its ELF header is cut short or of an unknown class"),
            b"!<ar" | b"!<th" => bail!("it is an archive, not an object file"),
            _ => bail!("not an ELF file"),
        }
    };
    inner().err().unwrap_or_else(|| anyhow!("not an ELF file"))
}
