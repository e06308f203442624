//! Debugging information of objects: the bytes that [`crate::dwarf`] reads.

use std::path::Path;

use object::elf;
use object::read::elf::{FileHeader, SectionHeader as _};
use object::{Endianness, FileKind};

use crate::dwarf;
use crate::elf::image::{Home, Image};
use crate::elf::{Data, Machine, open};

/// The lines of C of a relocatable object.
#[derive(Debug)]
pub struct Lines {
    lines: dwarf::Lines,
    /// The address that each section was given, so that all are apart.
    bases: Vec<u64>,
}

impl Lines {
    /// The line of what is `offset` bytes into the section with this index, as in `fs/foo.c:12`.
    pub fn at(&self, section: usize, offset: u64) -> Option<String> {
        let place = self.lines.at(self.bases.get(section)?.checked_add(offset)?)?;
        Some(format!("{}:{}", place.file.escape_debug(), place.line))
    }
}

impl Image {
    /// The lines; none without debugging information that can be read.
    pub fn lines(&self) -> Option<Lines> {
        let bases = self.bases();
        let section = |name: &str| self.relocated_bytes(name, &bases);
        let lines = dwarf::Lines::read(&section, self.is_little_endian()).ok()??;
        Some(Lines { lines, bases })
    }

    /// An address for each section, none of them 0.
    fn bases(&self) -> Vec<u64> {
        let mut next: u64 = 0x1000;
        let place = |section: &super::image::Section| {
            let base = next;
            let size = section.size().min(1 << 40);
            next = next.saturating_add(size.next_multiple_of(0x1000)).saturating_add(0x1000);
            base
        };
        self.sections.iter().map(place).collect()
    }

    /// The bytes of a section with its relocations applied.
    fn relocated_bytes(&self, name: &str, bases: &[u64]) -> Option<Vec<u8>> {
        let (index, section) = self.section_named(name.as_bytes())?;
        if section.is_compressed() {
            return None;
        }
        let mut bytes = section.data.clone();
        for (_, entries, _) in self.relocated().filter(|(_, _, target)| *target == index) {
            for relocation in &entries.relocations {
                let size = absolute_size(self.machine(), relocation.kind).unwrap_or(0);
                let Some(symbol) = self.symbols.get(relocation.symbol) else { continue };
                let base = match symbol.home {
                    Home::Section(section) if self.sections.get(section)?.is_alloc() => {
                        *bases.get(section)?
                    }
                    _ => 0,
                };
                let value = base.wrapping_add(symbol.value()).wrapping_add_signed(relocation.addend);
                let start = usize::try_from(relocation.offset).ok()?;
                if let Some(place) = bytes.get_mut(start..start.checked_add(size)?) {
                    let number = value.to_le_bytes();
                    place.copy_from_slice(number.get(..size)?);
                    if !self.is_little_endian() {
                        place.reverse();
                    }
                }
            }
        }
        Some(bytes)
    }
}

/// The size in bytes of what a relocation writes, if it is a plain address: what debugging information has.
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

/// What became of a function or variable that the linked object at `path` has no symbol for, if its debugging
/// information tells.
pub fn fate(path: &Path, name: &str) -> Option<dwarf::Fate> {
    let data = open(path).ok()?;
    match FileKind::parse(&data) {
        Ok(FileKind::Elf32) => fate_in::<elf::FileHeader32<Endianness>>(&data, name),
        Ok(FileKind::Elf64) => fate_in::<elf::FileHeader64<Endianness>>(&data, name),
        _ => None,
    }
}

fn fate_in<E>(data: &Data, name: &str) -> Option<dwarf::Fate>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let section = |wanted: &str| {
        let (_, section) = sections.section_by_name(endian, wanted.as_bytes())?;
        let is_compressed = section.sh_flags(endian).0 & elf::SHF_COMPRESSED.0 != 0;
        if is_compressed { None } else { section.data(endian, data).ok().map(<[u8]>::to_vec) }
    };
    dwarf::fate(&section, endian == Endianness::Little, name.as_bytes()).ok()?
}
