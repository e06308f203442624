// SPDX-License-Identifier: GPL-2.0-only
//! How functions and variables that have a symbol are declared, and into which other functions one was inlined.
//!
//! All entries of file scope are passed over once, for all names together; then only the entries with these names are
//! read, and for copies only the units that may refer to one of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Result;
use gimli::{AttributeValue, Expression, Operation};
use rayon::prelude::*;

use super::entries::DwarfEntry;
use super::fate::{is_symbol, of_file_scope, refers_to_others, uses};
use super::{Sections, Unit, Units};
use crate::debuginfo::prototype::Declaration;

/// A function or variable to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DwarfQuery {
    /// Its name in C.
    pub name: Vec<u8>,
    /// Its address.
    pub address: u64,
    /// Whether to find the functions into which it was inlined.
    pub with_copies: bool,
}

/// A function into which another one was inlined.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// The function's name in C.
    pub into: String,
    /// Its address; none if it lies in several pieces.
    pub address: Option<u64>,
}

/// Where a function or variable is defined in C.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefinedAt {
    /// The source file: relative to the directory that the compiler ran in, unless it lies elsewhere.
    pub file: String,
    /// The line with its name, from 1; 0 if that is not known.
    pub line: u64,
    /// The directory that the compiler ran in, as the debug information gives it; empty if it does not.
    pub directory: String,
    /// The source file that was compiled, which differs from `file` for a definition in a header; empty if it is not
    /// known.
    pub unit: String,
}

/// What the debug information says of a function or variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// Its declaration; none if the debug information does not know it at that address.
    pub declaration: Option<Declaration>,
    /// Where it is defined, if that is known.
    pub defined: Option<DefinedAt>,
    /// The functions with code into which it was inlined, if they were asked for and are known.
    pub copies: Option<BTreeSet<Copy>>,
}

/// An object's declaration of something that another object defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternDeclaration {
    /// The name of its symbol, raw.
    pub symbol: Vec<u8>,
    /// Its name in C.
    pub name: String,
    /// How it is declared.
    pub declaration: Declaration,
    /// The source file, relative to the directory that the compiler ran in unless it lies elsewhere.
    pub file: String,
    /// The line, from 1; 0 if that is not known.
    pub line: u64,
}

/// A definition: its entry, and the entry that has its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Definition {
    own: usize,
    named: usize,
}

/// The hits in one unit: entries with the names, and entries that refer to other entries.
#[derive(Default)]
struct Hits<'a> {
    named: Vec<(usize, &'a [u8])>,
    references: Vec<Definition>,
}

/// Looks up each of `wanted`, and returns the results in that order. `section` and `little` are as for
/// [`super::fates()`].
///
/// # Errors
/// No unit of `.debug_info` can be read.
pub fn survey(
    section: &dyn Fn(&str) -> Option<Vec<u8>>,
    little: bool,
    wanted: &[DwarfQuery],
) -> Result<Vec<Surveyed>> {
    let nothing = || wanted.iter().map(|_| Surveyed::default()).collect();
    let Some(sections) = Sections::load(section, little).filter(|_| !wanted.is_empty()) else {
        return Ok(nothing());
    };
    let units = sections.units()?;
    let mut names: HashMap<&[u8], Vec<Definition>> =
        wanted.iter().map(|wanted| (wanted.name.as_slice(), Vec::new())).collect();
    let hits: Vec<Hits> = units.list.par_iter().map(|unit| hits(&units, unit, &names)).collect();
    let mut by_entry: HashMap<usize, &[u8]> = HashMap::new();
    by_entry.extend(hits.iter().flat_map(|hits| &hits.named).copied());
    let all = hits.iter().flat_map(|hits| {
        let itself = hits.named.iter().map(|(number, _)| Definition { own: *number, named: *number });
        itself.chain(hits.references.iter().cloned())
    });
    for definition in all {
        let name = by_entry.get(&definition.named);
        if let Some(list) = name.and_then(|name| names.get_mut(*name)) {
            list.push(definition);
        }
    }
    let one = |wanted: &DwarfQuery| {
        let list = names.get(wanted.name.as_slice()).map(Vec::as_slice).unwrap_or_default();
        units.surveyed(wanted, list)
    };
    Ok(wanted.par_iter().map(one).collect())
}

/// The entries of file scope in `unit` that have one of `names`, and those that refer to another entry.
fn hits<'a>(units: &Units<'a>, unit: &Unit<'a>, names: &HashMap<&[u8], Vec<Definition>>) -> Hits<'a> {
    let mut found = Hits::default();
    if unit.is_assembly {
        return found;
    }
    of_file_scope(unit, is_identity, |offset, value| {
        let own = unit.number(offset);
        let reference = match value {
            AttributeValue::UnitRef(to) => unit.number(to),
            AttributeValue::DebugInfoRef(to) => Some(to.0),
            _ => None,
        };
        let name = units.sections.string(unit, value).filter(|name| names.contains_key(name));
        found.named.extend(own.zip(name));
        found.references.extend(own.zip(reference).map(|(own, named)| Definition { own, named }));
    });
    // Most references lead to entries that were not asked for.
    let own: BTreeSet<usize> = found.named.iter().map(|(number, _)| *number).collect();
    let is_elsewhere = |number: usize| {
        number.checked_sub(unit.offset).is_none_or(|offset| offset >= unit.header.length_including_self())
    };
    found.references.retain(|definition| own.contains(&definition.named) || is_elsewhere(definition.named));
    found
}

fn is_identity(name: gimli::DwAt) -> bool {
    matches!(name, gimli::DW_AT_name | gimli::DW_AT_abstract_origin | gimli::DW_AT_specification)
}

impl<'a> Units<'a> {
    fn surveyed(&self, wanted: &DwarfQuery, definitions: &[Definition]) -> Surveyed {
        let is_it = |definition: &&Definition| {
            let entry = self.entry(definition.own);
            entry.is_some_and(|(unit, entry)| self.address(unit, &entry) == Some(wanted.address))
        };
        let Some(definition) = definitions.iter().find(is_it) else { return Surveyed::default() };
        let copies = wanted.with_copies.then(|| self.copies(definition, definitions));
        Surveyed {
            declaration: self.declaration(definition.own, definition.named),
            defined: self.defined(definition),
            copies,
        }
    }

    /// File and line of `definition`: its own, or those of the entry that it is an instance of.
    fn defined(&self, definition: &Definition) -> Option<DefinedAt> {
        let has_line = |number: &usize| {
            self.entry(*number).is_some_and(|(_, entry)| entry.has_attr(gimli::DW_AT_decl_line))
        };
        let number = [definition.own, definition.named].into_iter().find(has_line)?;
        let (file, line) = self.place(number)?;
        let (unit, _) = self.entry(number)?;
        let directory = String::from_utf8_lossy(unit.directory.unwrap_or_default()).into_owned();
        let (compiled, _) = self.entry(definition.own)?;
        let compiled = compiled.source().unwrap_or_default();
        Some(DefinedAt { file, line, directory, unit: compiled })
    }

    /// The address of a function's code, or of a variable.
    fn address(&self, unit: &Unit<'a>, entry: &DwarfEntry<'a>) -> Option<u64> {
        let begin = match entry.attr_value(gimli::DW_AT_low_pc) {
            Some(AttributeValue::Addr(address)) => Some(address),
            Some(AttributeValue::DebugAddrIndex(index)) => self.sections.address(unit, index),
            _ => None,
        };
        let Some(AttributeValue::Exprloc(Expression(location))) = entry.attr_value(gimli::DW_AT_location)
        else {
            return begin;
        };
        let mut operations = Expression(location).operations(unit.header.encoding());
        let first = operations.next().ok()??;
        let is_all = operations.next().ok()?.is_none();
        match first {
            Operation::Address { address } if is_all => Some(address),
            Operation::AddressIndex { index } if is_all => self.sections.address(unit, index),
            _ => None,
        }
    }

    fn declaration(&self, own: usize, named: usize) -> Option<Declaration> {
        let (unit, entry) = self.entry(own)?;
        if entry.tag() == gimli::DW_TAG_subprogram {
            return self.prototype(named, 0).map(Declaration::Function);
        }
        // A definition has the size of an array that its declaration in a header leaves open.
        let (unit, entry) =
            if entry.has_attr(gimli::DW_AT_type) { (unit, entry) } else { self.entry(named)? };
        entry.has_attr(gimli::DW_AT_type).then(|| self.type_of(unit, &entry, 0))?.map(Declaration::Variable)
    }

    /// The functions with code into which `definition` is inlined. A function of a header has a definition in each
    /// unit.
    fn copies(&self, definition: &Definition, all: &[Definition]) -> BTreeSet<Copy> {
        let place = self.place(definition.named);
        let is_same = |other: &&Definition| {
            other.named == definition.named || place.is_some() && self.place(other.named) == place
        };
        let mut targets: Vec<usize> = all.iter().filter(is_same).map(|other| other.named).collect();
        targets.sort_unstable();
        targets.dedup();
        let units = self.list.par_iter();
        let callers = units
            .filter(|unit| unit.has_any(&targets) || refers_to_others(&unit.abbreviations))
            .flat_map_iter(|unit| uses(unit, &targets))
            .filter_map(|found| found.caller())
            .filter_map(|(_, into)| self.copy(into, &targets));
        callers.collect()
    }

    /// The function with the number `into`, if it has code and is not itself one of `targets`.
    fn copy(&self, into: usize, targets: &[usize]) -> Option<Copy> {
        let (unit, entry) = self.entry(into)?;
        let is_itself = [Some(into), unit.origin(&entry)]
            .into_iter()
            .flatten()
            .any(|number| targets.binary_search(&number).is_ok());
        let address = self.address(unit, &entry);
        let has_code = address.is_some() || entry.has_attr(gimli::DW_AT_ranges);
        let is_gone =
            address.is_some_and(|address| address == 0 || unit.header.is_tombstone_address(address));
        (has_code && !is_itself && !is_gone).then(|| self.name(into))?.map(|into| Copy { into, address })
    }
}

/// An object's declarations of symbols that it does not define, for symbols for which `is_wanted` is true. `section`
/// and `little` are as for [`super::fates()`].
///
/// # Errors
/// No unit of `.debug_info` can be read.
pub fn declared(
    section: &dyn Fn(&str) -> Option<Vec<u8>>,
    little: bool,
    is_wanted: &(dyn Fn(&[u8]) -> bool + Sync),
) -> Result<Vec<ExternDeclaration>> {
    let Some(sections) = Sections::load(section, little) else { return Ok(Vec::new()) };
    let units = sections.units()?;
    let mut found: Vec<ExternDeclaration> =
        units.list.par_iter().flat_map_iter(|unit| units.declared_in(unit, is_wanted)).collect();
    // Several source files include the same header.
    let mut seen = HashSet::new();
    found.retain(|one| seen.insert((one.symbol.clone(), one.file.clone(), one.line)));
    Ok(found)
}

impl<'a> Units<'a> {
    fn declared_in(
        &self,
        unit: &Unit<'a>,
        is_wanted: &(dyn Fn(&[u8]) -> bool + Sync),
    ) -> Vec<ExternDeclaration> {
        let mut found = Vec::new();
        let mut search = || -> gimli::Result<()> {
            let mut entries = unit.entries()?;
            let mut entry = DwarfEntry::null();
            while !entries.is_empty() {
                if entries.read_entry(&mut entry)?
                    && is_symbol(entry.tag())
                    && entry.has_attr(gimli::DW_AT_declaration)
                {
                    found.extend(self.declared_by(unit, &entry, is_wanted));
                }
            }
            Ok(())
        };
        // Entries before an error are valid.
        let _ = search();
        found
    }

    fn declared_by(
        &self,
        unit: &Unit<'a>,
        entry: &DwarfEntry<'a>,
        is_wanted: &(dyn Fn(&[u8]) -> bool + Sync),
    ) -> Option<ExternDeclaration> {
        let string = |at| entry.attr_value(at).and_then(|value| self.sections.string(unit, value));
        let name = string(gimli::DW_AT_name)?;
        // The compiler's own declaration of a function that it may call by itself (`__builtin_memcpy`) has no types.
        if name.starts_with(b"__builtin_") {
            return None;
        }
        let symbol = string(gimli::DW_AT_linkage_name).unwrap_or(name);
        let number = unit.number(entry.offset()).filter(|_| is_wanted(symbol))?;
        let declaration = self.declaration(number, number)?;
        let (file, line) = self.place(number).unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        Some(ExternDeclaration { symbol: symbol.to_vec(), name, declaration, file, line })
    }
}
