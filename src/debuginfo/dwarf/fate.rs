// SPDX-License-Identifier: GPL-2.0-only
//! What became of a function or variable that is in the source and not in the symbol table.
//!
//! All entries are passed over once to find those with the name; then only units that may refer to one of them are
//! read closely.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use gimli::{Abbreviations, AttributeValue, DwTag, Expression, Operation, UnitOffset};
use rayon::prelude::*;

use super::entries::{DwarfEntry, skip};
use super::{Sections, Unit, Units, Value};

/// How many callers a message names.
const CALLERS: usize = 3;
/// How many definitions of one name are told apart by file and line.
const DEFINITIONS: usize = 256;

/// Why a function or variable has no symbol. `file` is a path, relative to the directory that the compiler
/// ran in unless it lies elsewhere; `line` is from 1, or 0 if the debug information does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSymbolReason {
    /// A function that was inlined wherever it is called.
    Inlined {
        /// The source file of its definition.
        file: String,
        /// The line of its definition.
        line: u64,
        /// Up to three functions into which it is inlined, in the order of the debug information.
        callers: Vec<String>,
    },
    /// A variable or function that was removed: unused, or replaced by its value.
    OptimizedAway {
        /// The source file of its definition.
        file: String,
        /// The line of its definition.
        line: u64,
    },
}

/// An entry that defines the name, or refers to one that does, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundEntry {
    /// The function or variable of this entry has code or storage.
    Exists(usize),
    /// The definition of an inlined function, with this entry.
    Inlined(usize),
    /// A definition without code or storage, with this entry.
    Gone(usize),
    /// The function of entry `target` is inlined into the function `into`.
    Caller { target: usize, into: usize },
}

impl FoundEntry {
    fn target(&self) -> usize {
        match self {
            FoundEntry::Exists(target) | FoundEntry::Inlined(target) | FoundEntry::Gone(target) => *target,
            FoundEntry::Caller { target, .. } => *target,
        }
    }

    pub(super) fn caller(&self) -> Option<(usize, usize)> {
        match self {
            FoundEntry::Caller { target, into } => Some((*target, *into)),
            _ => None,
        }
    }
}

/// What the debug information says of each of `names`, in that order: functions or variables of file scope that are
/// in no symbol table. None if it does not know one, if the compiler has given it another symbol (`name.isra.0`), or
/// if there is no debug information. It is passed over once for all names.
///
/// `section` gives the bytes of a section, decompressed and with relocations applied; `little` is the byte order.
///
/// # Errors
/// No unit of `.debug_info` can be read.
pub fn fates(
    section: &dyn Fn(&str) -> Option<Vec<u8>>,
    little: bool,
    names: &[&[u8]],
) -> Result<Vec<Option<NoSymbolReason>>> {
    let nothing = || names.iter().map(|_| None).collect();
    let Some(sections) = Sections::load(section, little).filter(|_| !names.is_empty()) else {
        return Ok(nothing());
    };
    let units = sections.units()?;
    let wanted: HashSet<&[u8]> = names.iter().copied().collect();
    let entries: Vec<(usize, &[u8])> =
        units.list.par_iter().flat_map_iter(|unit| named(&units, unit, &wanted)).collect();
    if entries.is_empty() {
        return Ok(nothing());
    }
    // Units and their entries come in the order of their numbers.
    let targets: Vec<usize> = entries.iter().map(|(number, _)| *number).collect();
    let found: Vec<FoundEntry> = units
        .list
        .par_iter()
        .filter(|unit| unit.has_any(&targets) || refers_to_others(&unit.abbreviations))
        .flat_map_iter(|unit| uses(unit, &targets))
        .collect();
    let mut by_name: HashMap<&[u8], Vec<FoundEntry>> = HashMap::new();
    for found in found {
        let index = entries.partition_point(|(number, _)| *number < found.target());
        if let Some((_, name)) = entries.get(index) {
            by_name.entry(name).or_default().push(found);
        }
    }
    Ok(names.iter().map(|name| of_one(&units, by_name.get(name)?)).collect())
}

/// The fate of one function or variable, by all entries `found` for it.
fn of_one(units: &Units, found: &[FoundEntry]) -> Option<NoSymbolReason> {
    if found.iter().any(|found| matches!(found, FoundEntry::Exists(_))) {
        return None;
    }
    inlined(units, found).or_else(|| {
        let gone = found.iter().find_map(|found| match found {
            FoundEntry::Gone(entry) => Some(*entry),
            _ => None,
        })?;
        let (file, line) = units.place(gone)?;
        Some(NoSymbolReason::OptimizedAway { file, line })
    })
}

/// The first definition that was inlined, with the callers of all definitions at the same file and line: a function
/// of a header has a definition in each unit.
fn inlined(units: &Units, found: &[FoundEntry]) -> Option<NoSymbolReason> {
    let mut place = None;
    let mut callers: Vec<String> = Vec::new();
    let mut targets: Vec<usize> =
        found.iter().filter_map(FoundEntry::caller).map(|(target, _)| target).collect();
    targets.sort_unstable();
    let definitions = found.iter().filter_map(|found| match found {
        FoundEntry::Inlined(entry) => Some(*entry),
        // gcc's LTO does not mark a function as inlined.
        FoundEntry::Gone(entry) => targets.binary_search(entry).is_ok().then_some(*entry),
        _ => None,
    });
    for definition in definitions.take(DEFINITIONS) {
        let own = units.place(definition);
        if place.is_none() {
            place = own;
        } else if place != own {
            continue;
        }
        let callers_of_all = found.iter().filter_map(FoundEntry::caller);
        for (_, into) in callers_of_all.filter(|&(target, _)| target == definition) {
            if callers.len() == CALLERS {
                break;
            }
            if let Some(name) = units.name(into).filter(|name| !callers.contains(name)) {
                callers.push(name);
            }
        }
    }
    place.map(|(file, line)| NoSymbolReason::Inlined { file, line, callers })
}

/// The entries of functions and variables of file scope in `unit` that have one of `names`, each with its name.
pub(super) fn named<'a>(
    units: &Units<'a>,
    unit: &Unit<'a>,
    names: &HashSet<&[u8]>,
) -> Vec<(usize, &'a [u8])> {
    let mut found = Vec::new();
    of_file_scope(
        unit,
        |attribute| attribute == gimli::DW_AT_name,
        |offset, value| {
            let name = units.sections.string(unit, value).filter(|name| names.contains(name));
            found.extend(unit.number(offset).zip(name));
        },
    );
    found
}

/// Goes through the functions and variables of file scope in `unit`, as far as it can be read: `tell` gets the first
/// attribute of each that is `wanted`, with the entry's offset in its unit.
pub(super) fn of_file_scope<'a>(
    unit: &Unit<'a>,
    wanted: impl Fn(gimli::DwAt) -> bool,
    mut tell: impl FnMut(UnitOffset, Value<'a>),
) {
    let mut search = || -> gimli::Result<()> {
        let mut entries = unit.entries()?;
        while !entries.is_empty() {
            let (depth, offset) = (entries.next_depth(), entries.next_offset());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let mut attributes = abbreviation.attributes();
            if depth == 1
                && is_symbol(abbreviation.tag())
                && let Some(index) = attributes.iter().position(|attribute| wanted(attribute.name()))
                && let Some((before, [at, after @ ..])) = attributes.split_at_checked(index)
            {
                skip(&mut entries, before)?;
                tell(offset, entries.read_attribute(*at)?.value());
                attributes = after;
            }
            skip(&mut entries, attributes)?;
        }
        Ok(())
    };
    // Entries before an error are valid.
    let _ = search();
}

/// The uses in `unit` of the entries `targets`, which are sorted.
pub(super) fn uses(unit: &Unit, targets: &[usize]) -> Vec<FoundEntry> {
    let mut found: Vec<FoundEntry> = Vec::new();
    let mut search = || -> gimli::Result<()> {
        let mut entries = unit.entries()?;
        let mut entry = DwarfEntry::null();
        // The functions around the current entry: their depth and number.
        let mut around: Vec<(isize, usize)> = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let mut ahead = entries.clone();
            let Some(abbreviation) = ahead.read_abbreviation()? else {
                entries = ahead;
                continue;
            };
            let tag = abbreviation.tag();
            if !(is_symbol(tag) || tag == gimli::DW_TAG_inlined_subroutine) {
                skip(&mut ahead, abbreviation.attributes())?;
                entries = ahead;
                continue;
            }
            entries.read_entry(&mut entry)?;
            while around.last().is_some_and(|&(outer, _)| outer >= depth) {
                around.pop();
            }
            let Some(own) = unit.number(entry.offset()) else { continue };
            let target = [Some(own), unit.origin(&entry)]
                .into_iter()
                .flatten()
                .find(|number| targets.binary_search(number).is_ok());
            if tag == gimli::DW_TAG_subprogram {
                around.push((depth, own));
            }
            let Some(target) = target else { continue };
            if tag == gimli::DW_TAG_inlined_subroutine {
                let into = around.last().map(|&(_, into)| FoundEntry::Caller { target, into });
                if into != found.last().copied() {
                    found.extend(into);
                }
            } else if tag == gimli::DW_TAG_subprogram || depth == 1 {
                found.extend(unit.definition(&entry, target));
            }
        }
        Ok(())
    };
    // Entries before an error are valid.
    let _ = search();
    found
}

impl<'a> Unit<'a> {
    /// Whether one of the entries `targets`, which are sorted, is in this unit.
    pub(super) fn has_any(&self, targets: &[usize]) -> bool {
        let next = targets.get(targets.partition_point(|&target| target < self.offset));
        next.is_some_and(|target| target - self.offset < self.header.length_including_self())
    }

    /// What an entry says of the function or variable `target`; none if it is only a declaration.
    fn definition(&self, entry: &DwarfEntry<'a>, target: usize) -> Option<FoundEntry> {
        if self.exists(entry) {
            return Some(FoundEntry::Exists(target));
        }
        if entry.has_attr(gimli::DW_AT_declaration) {
            return None;
        }
        match entry.attr_value(gimli::DW_AT_inline) {
            Some(AttributeValue::Inline(gimli::DW_INL_inlined | gimli::DW_INL_declared_inlined)) => {
                Some(FoundEntry::Inlined(target))
            }
            // Instances within other functions' instances have neither code nor a file and line of their own.
            _ if entry.has_attr(gimli::DW_AT_abstract_origin) => None,
            _ => Some(FoundEntry::Gone(target)),
        }
    }

    /// Whether the function or variable of an entry has code or storage. Code at address 0, or at one of the highest
    /// addresses, was removed by the linker.
    fn exists(&self, entry: &DwarfEntry<'a>) -> bool {
        let code = match entry.attr_value(gimli::DW_AT_low_pc) {
            Some(AttributeValue::Addr(address)) => address != 0 && !self.header.is_tombstone_address(address),
            other => other.is_some() || entry.has_attr(gimli::DW_AT_ranges),
        };
        code || entry.attr_value(gimli::DW_AT_location).is_some_and(|value| self.is_storage(value))
    }

    /// Whether a location is in memory, and not only a value.
    fn is_storage(&self, location: Value<'a>) -> bool {
        let AttributeValue::Exprloc(Expression(bytes)) = location else { return true };
        let mut operations = Expression(bytes).operations(self.header.encoding());
        loop {
            match operations.next() {
                Ok(Some(Operation::StackValue | Operation::ImplicitValue { .. })) | Ok(None) => return false,
                Ok(Some(Operation::Address { .. } | Operation::AddressIndex { .. })) | Err(_) => return true,
                Ok(Some(_)) => {}
            }
        }
    }
}

pub(super) fn is_symbol(tag: DwTag) -> bool {
    matches!(tag, gimli::DW_TAG_subprogram | gimli::DW_TAG_variable)
}

/// Whether entries with these abbreviations may be instances of other units' entries.
pub(super) fn refers_to_others(abbreviations: &Abbreviations) -> bool {
    let mut all = (1..).map_while(|code| abbreviations.get(code));
    all.any(|abbreviation| {
        abbreviation.attributes().iter().any(|attribute| {
            attribute.form() == gimli::DW_FORM_ref_addr
                && matches!(attribute.name(), gimli::DW_AT_abstract_origin | gimli::DW_AT_specification)
        })
    })
}
