// SPDX-License-Identifier: GPL-2.0-only
//! Reading debug information (DWARF 2 to 5); this and the files below it are the only ones that name the
//! gimli crate.
//!
//! - [`DwarfLines`] (`lines`): from an address to its source line
//! - [`prototype()`]: the type of a function
//! - [`fates()`] (`fate`): what became of functions or variables that have no symbol
//! - [`survey()`]: how functions and variables with a symbol are declared, and into which functions they were inlined
//! - [`declared()`]: an object's declarations of what other objects define
//! - [`sizes()`]: the sizes of structures
//! - [`compiled()`]: which source files an object was compiled from
//!
//! `entries` reads single entries for all of them.
//!
//! Sections come as bytes from the caller, decompressed and with their relocations applied. Nothing in them is
//! trusted: what does not fit is left out, and the work is linear in their size.

mod compiled;
mod entries;
mod fate;
mod lines;
mod prototype;
mod sizes;
mod survey;
#[cfg(test)]
mod tests;

pub use compiled::compiled;
pub use fate::{NoSymbolReason, fates};
pub use lines::{DwarfLines, SourceLine};
pub use prototype::prototype;
pub use sizes::sizes;
pub use survey::{Copy, DefinedAt, DwarfQuery, ExternDeclaration, Surveyed, declared, survey};

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use gimli::read::Section as _;
use gimli::{
    Abbreviations, AttributeValue, DebugAbbrev, DebugAddr, DebugAddrBase, DebugAddrIndex, DebugInfo,
    DebugInfoOffset, DebugLine, DebugLineOffset, DebugStrOffsets, DebugStrOffsetsBase, DwAt, EndianSlice,
    EntriesRaw, IncompleteLineProgram, LineProgramHeader, Reader as _, RunTimeEndian, UnitHeader,
};
use rayon::prelude::*;

/// The longest header of a line program that is read, in bytes: gimli reserves a multiple of that.
const LARGEST_HEADER: usize = 4 << 20;
/// The longest name or path that is read, in bytes (`PATH_MAX`, include/uapi/linux/limits.h).
const LONGEST: usize = 4096;

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
type Value<'a> = AttributeValue<Slice<'a>>;

/// The sections of one object that are read here; missing ones are empty.
struct Sections {
    endian: RunTimeEndian,
    info: Vec<u8>,
    abbreviations: Vec<u8>,
    lines: Vec<u8>,
    strings: Vec<u8>,
    line_strings: Vec<u8>,
    string_offsets: Vec<u8>,
    addresses: Vec<u8>,
}

/// One unit of `.debug_info`.
struct Unit<'a> {
    header: UnitHeader<Slice<'a>>,
    /// Where it starts in `.debug_info`.
    offset: usize,
    abbreviations: Arc<Abbreviations>,
    strings_base: DebugStrOffsetsBase<usize>,
    addresses_base: DebugAddrBase<usize>,
    /// Whether an assembler made it, which knows no types.
    is_assembly: bool,
    name: Option<&'a [u8]>,
    /// The directory that the compiler ran in.
    directory: Option<&'a [u8]>,
    /// Where its line program starts in `.debug_line`.
    program: Option<usize>,
}

/// The units that can be read, in the order of `.debug_info`.
struct Units<'a> {
    sections: &'a Sections,
    list: Vec<Unit<'a>>,
    /// Where line programs start in `.debug_line`: sorted, each once.
    programs: Vec<usize>,
}

impl Sections {
    /// The sections, or none if the object has no debug information.
    fn load(section: &dyn Fn(&str) -> Option<Vec<u8>>, little: bool) -> Option<Sections> {
        let filled = |name| section(name).filter(|bytes| !bytes.is_empty());
        Some(Sections {
            endian: if little { RunTimeEndian::Little } else { RunTimeEndian::Big },
            info: filled(".debug_info")?,
            abbreviations: filled(".debug_abbrev")?,
            lines: filled(".debug_line")?,
            strings: filled(".debug_str").unwrap_or_default(),
            line_strings: filled(".debug_line_str").unwrap_or_default(),
            string_offsets: filled(".debug_str_offsets").unwrap_or_default(),
            addresses: filled(".debug_addr").unwrap_or_default(),
        })
    }

    fn slice<'a>(&self, bytes: &'a [u8]) -> Slice<'a> {
        EndianSlice::new(bytes, self.endian)
    }

    /// Reads the start of each unit.
    ///
    /// # Errors
    /// No unit can be read.
    fn units(&self) -> Result<Units<'_>> {
        let (headers, problem) = self.headers();
        // A table of abbreviations ends where the next one starts: so none is read twice.
        let mut tables: BTreeMap<usize, Vec<UnitHeader<Slice>>> = BTreeMap::new();
        for header in headers {
            tables.entry(header.debug_abbrev_offset().0).or_default().push(header);
        }
        let ends: Vec<usize> = tables.keys().skip(1).copied().chain([self.abbreviations.len()]).collect();
        let tables: Vec<_> = tables.into_iter().zip(ends).collect();
        let mut list: Vec<Unit> = tables
            .into_par_iter()
            .flat_map_iter(|((start, headers), end)| {
                let bytes = self.abbreviations.get(start..end).unwrap_or_default();
                let table = DebugAbbrev::from(self.slice(bytes)).abbreviations(gimli::DebugAbbrevOffset(0));
                let table = table.ok().map(Arc::new);
                let unit = move |header| self.unit(header, Arc::clone(table.as_ref()?));
                headers.into_iter().filter_map(unit)
            })
            .collect();
        list.sort_unstable_by_key(|unit| unit.offset);
        if list.is_empty() {
            return Err(problem.unwrap_or(gimli::Error::MissingUnitDie))
                .context("the debug information cannot be read");
        }
        let mut programs: Vec<usize> = list.iter().filter_map(|unit| unit.program).collect();
        programs.sort_unstable();
        programs.dedup();
        Ok(Units { sections: self, list, programs })
    }

    /// The headers of all units, and the error of the last one that is left out.
    fn headers(&self) -> (Vec<UnitHeader<Slice<'_>>>, Option<gimli::Error>) {
        let info = DebugInfo::from(self.slice(&self.info));
        let mut headers = Vec::new();
        let mut problem = None;
        let mut rest = *info.reader();
        while !rest.is_empty() {
            match info.header_from_offset(DebugInfoOffset(self.info.len() - rest.len())) {
                Ok(header) => headers.push(header),
                Err(e) => problem = Some(e),
            }
            let Ok((length, _)) = rest.read_initial_length() else { break };
            if rest.skip(length).is_err() {
                break;
            }
        }
        (headers, problem)
    }

    /// Reads the first entry of a unit; none if it cannot be read.
    fn unit<'a>(&'a self, header: UnitHeader<Slice<'a>>, table: Arc<Abbreviations>) -> Option<Unit<'a>> {
        let root = header.entry(&table, header.root_offset()).ok()?;
        let strings_base = match root.attr_value(gimli::DW_AT_str_offsets_base) {
            Some(AttributeValue::DebugStrOffsetsBase(base)) => base,
            _ => DebugStrOffsetsBase(0),
        };
        let addresses_base = match root.attr_value(gimli::DW_AT_addr_base) {
            Some(AttributeValue::DebugAddrBase(base)) => base,
            _ => DebugAddrBase(0),
        };
        let program = match root.attr_value(gimli::DW_AT_stmt_list) {
            Some(AttributeValue::DebugLineRef(offset)) => Some(offset.0),
            _ => None,
        };
        let offset = header.debug_info_offset()?.0;
        let (name, directory) = (None, None);
        let abbreviations = table;
        let is_assembly = matches!(
            root.attr_value(gimli::DW_AT_language),
            Some(AttributeValue::Language(gimli::DW_LANG_Mips_Assembler))
        );
        let mut unit = Unit {
            header,
            offset,
            abbreviations,
            strings_base,
            addresses_base,
            is_assembly,
            name,
            directory,
            program,
        };
        let string = |at: DwAt| root.attr_value(at).and_then(|value| self.string(&unit, value));
        (unit.name, unit.directory) = (string(gimli::DW_AT_name), string(gimli::DW_AT_comp_dir));
        Some(unit)
    }

    /// The address with the number `index` in `unit`'s table of addresses.
    fn address(&self, unit: &Unit, index: DebugAddrIndex<usize>) -> Option<u64> {
        let table = DebugAddr::from(self.slice(&self.addresses));
        table.get_address(unit.header.address_size(), unit.addresses_base, index).ok()
    }

    /// The string of an attribute of `unit`.
    fn string<'a>(&'a self, unit: &Unit, value: Value<'a>) -> Option<&'a [u8]> {
        let (strings, offset) = match value {
            AttributeValue::String(string) => return Some(string.slice()).filter(|s| s.len() <= LONGEST),
            AttributeValue::DebugStrRef(offset) => (&self.strings, offset.0),
            AttributeValue::DebugLineStrRef(offset) => (&self.line_strings, offset.0),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let offsets = DebugStrOffsets::from(self.slice(&self.string_offsets));
                let format = unit.header.format();
                (&self.strings, offsets.get_str_offset(format, unit.strings_base, index).ok()?.0)
            }
            _ => return None,
        };
        let rest = strings.get(offset..)?;
        let length = rest.iter().take(LONGEST + 1).position(|&byte| byte == 0)?;
        rest.get(..length)
    }
}

impl<'a> Unit<'a> {
    /// All entries of the unit, beginning with its own.
    fn entries(&self) -> gimli::Result<EntriesRaw<'_, Slice<'a>>> {
        self.header.entries_raw(&self.abbreviations, None)
    }
}

impl<'a> Units<'a> {
    /// The line program of `unit`, with its table of files. It ends where the next one starts: so none is read twice.
    fn program(&self, unit: &Unit<'a>) -> Option<IncompleteLineProgram<Slice<'a>>> {
        let start = unit.program?;
        let next = self.programs.get(self.programs.partition_point(|&other| other <= start));
        let bytes = self.sections.lines.get(..next.copied().unwrap_or(self.sections.lines.len()))?;
        let mut start_of_header = self.sections.slice(bytes.get(start..)?);
        if header_length(&mut start_of_header).ok()? > LARGEST_HEADER {
            return None;
        }
        DebugLine::from(self.sections.slice(bytes))
            .program(DebugLineOffset(start), unit.header.address_size(), None, None)
            .ok()
    }

    /// The path of file number `index`: relative to the directory that the compiler ran in, if it lies below that.
    fn path(&self, unit: &Unit<'a>, header: &LineProgramHeader<Slice<'a>>, index: u64) -> Option<String> {
        let string = |value| self.sections.string(unit, value);
        let file = header.file(index)?;
        let name = string(file.path_name())?;
        // Number 0 is the compiler's directory. Before version 5 it is not in the table.
        let own = if header.version() >= 5 { header.directory(0).and_then(string) } else { unit.directory };
        let directory = match file.directory(header) {
            Some(value) => string(value)?,
            None if file.directory_index() == 0 => own.unwrap_or_default(),
            None => return None,
        };
        let mut path = Vec::new();
        if !name.starts_with(b"/") && !directory.is_empty() {
            path.extend_from_slice(directory);
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let own = own.unwrap_or_default();
        let mut short = match path.strip_prefix(own.strip_suffix(b"/").unwrap_or(own)) {
            Some([b'/', rest @ ..]) if !own.is_empty() => rest,
            _ => &path,
        };
        while let Some(rest) = short.strip_prefix(b"./") {
            short = rest;
        }
        Some(String::from_utf8_lossy(short).into_owned()).filter(|path| path.len() <= LONGEST)
    }
}

/// The length of the header of the line program that starts here, counted from after this field.
fn header_length(rest: &mut Slice) -> gimli::Result<usize> {
    let (_, format) = rest.read_initial_length()?;
    if rest.read_u16()? >= 5 {
        // Sizes of addresses and segment selectors.
        rest.skip(2)?;
    }
    rest.read_length(format)
}
