// SPDX-License-Identifier: GPL-2.0-only
//! The types of functions.

use std::collections::HashSet;

use anyhow::Result;
use gimli::{AttributeValue, UnitOffset};
use rayon::prelude::*;

use super::entries::DwarfEntry;
use super::fate::named;
use super::{Sections, Unit, Units};
use crate::debuginfo::prototype::{DEEPEST, Prototype, Scalar, Type, depth_within};

/// The prototype of the function of file scope with the name `name`; of several with code, the one at `address`. None
/// if the debug information does not have it.
///
/// `section` and `little` are as for [`super::fates()`].
///
/// # Errors
/// No unit of `.debug_info` can be read.
pub fn prototype(
    section: &dyn Fn(&str) -> Option<Vec<u8>>,
    little: bool,
    name: &[u8],
    address: u64,
) -> Result<Option<Prototype>> {
    let Some(sections) = Sections::load(section, little) else { return Ok(None) };
    let units = sections.units()?;
    let names = HashSet::from([name]);
    let all = units.list.par_iter().flat_map_iter(|unit| named(&units, unit, &names));
    let all: Vec<usize> = all.map(|(number, _)| number).collect();
    let is_function = |number: &usize| {
        units
            .entry(*number)
            .is_some_and(|(_, entry)| entry.tag() == gimli::DW_TAG_subprogram && has_code(&entry))
    };
    let functions: Vec<usize> = all.into_iter().filter(is_function).collect();
    let at =
        |number: &&usize| units.entry(**number).is_some_and(|(_, entry)| low_pc(&entry) == Some(address));
    let chosen = functions.iter().find(at).or(match functions.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    Ok(chosen.and_then(|number| units.prototype(*number, 0)))
}

fn low_pc(entry: &DwarfEntry<'_>) -> Option<u64> {
    match entry.attr_value(gimli::DW_AT_low_pc)? {
        AttributeValue::Addr(address) => Some(address),
        _ => None,
    }
}

fn has_code(entry: &DwarfEntry<'_>) -> bool {
    !entry.has_attr(gimli::DW_AT_declaration)
        && (entry.has_attr(gimli::DW_AT_low_pc) || entry.has_attr(gimli::DW_AT_ranges))
}

/// How many entries of a function are read for its parameters, which come first.
const MOST_ENTRIES: usize = 4096;

/// The entries of the parameters of the function at `start`, and whether more may follow.
fn parameters<'a>(unit: &Unit<'a>, start: UnitOffset) -> Option<(Vec<DwarfEntry<'a>>, bool)> {
    let (mut found, mut is_variadic) = (Vec::new(), false);
    let mut entries = unit.header.entries_raw(&unit.abbreviations, Some(start)).ok()?;
    let mut child = DwarfEntry::null();
    for _ in 0..MOST_ENTRIES {
        if entries.is_empty() {
            break;
        }
        let level = entries.next_depth();
        if !entries.read_entry(&mut child).ok()? {
            // This ends the children of an inner entry.
            if level <= 1 {
                break;
            }
            continue;
        }
        match (level, child.tag()) {
            (0, _) if child.offset() != start => break,
            (1, gimli::DW_TAG_formal_parameter) => found.push(child.clone()),
            (1, gimli::DW_TAG_unspecified_parameters) => is_variadic = true,
            _ => {}
        }
        if level == 0 && !child.has_children() {
            break;
        }
    }
    Some((found, is_variadic))
}

impl<'a> Units<'a> {
    pub(super) fn prototype(&self, number: usize, depth: usize) -> Option<Prototype> {
        let (unit, entry) = self.entry(number)?;
        let (children, is_variadic) = parameters(unit, UnitOffset(number - unit.offset))?;
        let depth = depth_within(depth, children.len())?;
        let one = |child: &DwarfEntry<'a>| {
            let name =
                child.attr_value(gimli::DW_AT_name).and_then(|value| self.sections.string(unit, value));
            let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
            Some((self.type_of(unit, child, depth)?, name))
        };
        Some(Prototype {
            result: self.type_of(unit, &entry, depth)?,
            parameters: children.iter().map(one).collect::<Option<_>>()?,
            is_variadic,
        })
    }

    /// The number of elements of an array, dimension by dimension, as far as they are given.
    fn counts(&self, unit: &Unit<'a>, array: UnitOffset) -> Vec<Option<u64>> {
        let mut counts = Vec::new();
        let mut read = || -> gimli::Result<()> {
            let mut entries = unit.header.entries_raw(&unit.abbreviations, Some(array))?;
            let mut child = DwarfEntry::null();
            while !entries.is_empty() && counts.len() < DEEPEST {
                let level = entries.next_depth();
                if !entries.read_entry(&mut child)? || level == 0 && !child.has_children() {
                    break;
                }
                let number = |at| child.attr(at).and_then(gimli::Attribute::udata_value);
                if child.tag() == gimli::DW_TAG_subrange_type {
                    let last = || number(gimli::DW_AT_upper_bound)?.checked_add(1);
                    counts.push(number(gimli::DW_AT_count).or_else(last));
                }
            }
            Ok(())
        };
        // Entries before an error are valid.
        let _ = read();
        if counts.is_empty() {
            counts.push(None);
        }
        counts
    }

    /// The type that an entry names; none stands for void.
    pub(super) fn type_of(&self, unit: &Unit<'a>, entry: &DwarfEntry<'a>, depth: usize) -> Option<Type> {
        let number = match entry.attr_value(gimli::DW_AT_type) {
            None => return Some(Type::Void),
            Some(AttributeValue::UnitRef(offset)) => unit.number(offset)?,
            Some(AttributeValue::DebugInfoRef(offset)) => offset.0,
            Some(_) => return None,
        };
        if depth > DEEPEST {
            return Some(Type::Aggregate("struct", None, None));
        }
        let (unit, entry) = self.entry(number)?;
        let name = entry.attr_value(gimli::DW_AT_name).and_then(|value| self.sections.string(unit, value));
        let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
        let size = entry.attr(gimli::DW_AT_byte_size).and_then(gimli::Attribute::udata_value);
        let target = || self.type_of(unit, &entry, depth + 1).map(Box::new);
        Some(match entry.tag() {
            gimli::DW_TAG_base_type => {
                let is_float = entry.attr_value(gimli::DW_AT_encoding)
                    == Some(AttributeValue::Encoding(gimli::DW_ATE_float));
                Type::Base(Scalar { name: name?, size: size.unwrap_or(0), is_float })
            }
            gimli::DW_TAG_pointer_type => Type::Pointer(target()?),
            gimli::DW_TAG_array_type => {
                let counts = self.counts(unit, entry.offset());
                let of = |inner, count: &Option<u64>| Type::Array(Box::new(inner), *count);
                counts.iter().rev().fold(*target()?, of)
            }
            gimli::DW_TAG_structure_type => Type::Aggregate("struct", name, size),
            gimli::DW_TAG_union_type => Type::Aggregate("union", name, size),
            gimli::DW_TAG_enumeration_type => {
                let encoding = match entry.attr_value(gimli::DW_AT_encoding) {
                    Some(AttributeValue::Encoding(encoding)) => encoding,
                    _ => gimli::DW_ATE_unsigned,
                };
                Type::Enum(name, encoding == gimli::DW_ATE_signed)
            }
            gimli::DW_TAG_typedef => Type::Typedef(name?, target()?),
            gimli::DW_TAG_const_type => Type::Qualified("const", target()?),
            gimli::DW_TAG_volatile_type => Type::Qualified("volatile", target()?),
            gimli::DW_TAG_restrict_type | gimli::DW_TAG_atomic_type => *target()?,
            gimli::DW_TAG_subroutine_type => Type::Function(Box::new(self.prototype(number, depth + 1)?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DWARF 4 of a function `f`, whose result and parameters are of a type of functions with the same number of
    /// parameters, which are all of that type again.
    fn sections(parameters: usize) -> impl Fn(&str) -> Option<Vec<u8>> {
        let abbreviations = [
            &[1, 0x11, 1, 0, 0][..],
            &[2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x49, 0x13, 0, 0],
            &[3, 0x05, 0, 0x49, 0x13, 0, 0],
            &[4, 0x15, 1, 0x49, 0x13, 0, 0, 0],
        ]
        .concat();
        let kind = (27 + 5 * parameters as u32 + 1).to_le_bytes();
        let all = |number: u8| [&[number][..], &kind].concat();
        let children = [all(3).repeat(parameters), vec![0]].concat();
        let function = [&[2, b'f', 0][..], &[0; 8], &kind, &children].concat();
        let unit = [&[4, 0, 0, 0, 0, 0, 8, 1][..], &function, &all(4), &children, &[0]].concat();
        let info = [&(unit.len() as u32).to_le_bytes()[..], &unit].concat();
        move |name| match name {
            ".debug_info" => Some(info.clone()),
            ".debug_abbrev" => Some(abbreviations.clone()),
            ".debug_line" => Some(vec![0]),
            _ => None,
        }
    }

    #[test]
    fn a_function_that_has_itself_as_parameters_has_an_end() {
        for parameters in [0, 1, 2, 3, 4, 16, 127] {
            let found = prototype(&sections(parameters), true, b"f", 0).unwrap().unwrap();
            assert_eq!(found.parameters.len(), parameters);
            assert!((20..500_000).contains(&found.count()), "{parameters}: {}", found.count());
        }
        assert_eq!(prototype(&sections(128), true, b"f", 0).unwrap(), None);
        assert_eq!(prototype(&sections(5000), true, b"f", 0).unwrap(), None);
    }
}
