// SPDX-License-Identifier: GPL-2.0-only
//! Single entries of `.debug_info`: their references, their names, and where they are defined.
//!
//! The number of an entry is the offset at which it starts in `.debug_info`.

use gimli::{AttributeSpecification, AttributeValue, DebuggingInformationEntry, EntriesRaw, UnitOffset};

use super::{Slice, Unit, Units};

/// An entry with its attributes.
pub(super) type DwarfEntry<'a> = DebuggingInformationEntry<Slice<'a>>;

impl<'a> Unit<'a> {
    /// The source file that the compiler was given: relative to the directory that it ran in, unless it lies elsewhere.
    pub(super) fn source(&self) -> Option<String> {
        let name = String::from_utf8_lossy(self.name?);
        let directory = String::from_utf8_lossy(self.directory.unwrap_or_default());
        let inside =
            name.strip_prefix(directory.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        let inside = inside.filter(|_| !directory.is_empty()).unwrap_or(&name);
        Some(inside.trim_start_matches("./").to_owned())
    }

    /// The number of the entry at `offset`.
    pub(super) fn number(&self, offset: UnitOffset) -> Option<usize> {
        self.offset.checked_add(offset.0)
    }

    /// The number of the entry of which this one is an instance or the definition.
    pub(super) fn origin(&self, entry: &DwarfEntry<'a>) -> Option<usize> {
        let origin = entry.attr_value(gimli::DW_AT_abstract_origin);
        match origin.or_else(|| entry.attr_value(gimli::DW_AT_specification))? {
            AttributeValue::UnitRef(offset) => self.number(offset),
            AttributeValue::DebugInfoRef(offset) => Some(offset.0),
            _ => None,
        }
    }
}

impl<'a> Units<'a> {
    /// The unit that has the entry with this number.
    fn of(&self, number: usize) -> Option<&Unit<'a>> {
        let after = self.list.partition_point(|unit| unit.offset <= number);
        self.list.get(after.checked_sub(1)?)
    }

    /// The entry with this number.
    pub(super) fn entry(&self, number: usize) -> Option<(&Unit<'a>, DwarfEntry<'a>)> {
        let unit = self.of(number)?;
        let entry = unit.header.entry(&unit.abbreviations, UnitOffset(number - unit.offset)).ok()?;
        Some((unit, entry))
    }

    /// The name of the function with this number; it may stand in the entry of which this one is an instance.
    pub(super) fn name(&self, mut number: usize) -> Option<String> {
        for _ in 0..4 {
            let (unit, entry) = self.entry(number)?;
            if let Some(value) = entry.attr_value(gimli::DW_AT_name) {
                let name = self.sections.string(unit, value)?;
                return Some(String::from_utf8_lossy(name).into_owned());
            }
            number = unit.origin(&entry)?;
        }
        None
    }

    /// File and line at which the function or variable with this number is defined.
    pub(super) fn place(&self, number: usize) -> Option<(String, u64)> {
        let (unit, entry) = self.entry(number)?;
        let number = |at| entry.attr(at).and_then(gimli::Attribute::udata_value);
        let path = || self.path(unit, self.program(unit)?.header(), number(gimli::DW_AT_decl_file)?);
        let own = || unit.name.map(|name| String::from_utf8_lossy(name).into_owned());
        Some((path().or_else(own)?, number(gimli::DW_AT_decl_line).unwrap_or(0)))
    }
}

/// Passes over attributes. gimli adds the sizes up until it has to look at an attribute, so a huge block has to be
/// the last one that it gets.
pub(super) fn skip(
    entries: &mut EntriesRaw<Slice>,
    attributes: &[AttributeSpecification],
) -> gimli::Result<()> {
    let may_be_huge = |attribute: &AttributeSpecification| {
        matches!(attribute.form(), gimli::DW_FORM_block | gimli::DW_FORM_exprloc | gimli::DW_FORM_indirect)
    };
    attributes.split_inclusive(may_be_huge).try_for_each(|some| entries.skip_attributes(some))
}
