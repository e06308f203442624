// SPDX-License-Identifier: GPL-2.0-only
//! The sizes of structures.

use anyhow::Result;
use gimli::AttributeValue;
use rayon::prelude::*;

use super::entries::{DwarfEntry, skip};
use super::{Sections, Unit};

/// The sizes in bytes of the structures with these names, in the first unit that has all of them; each is none if
/// there is no such unit. `section` and `little` are as for [`super::fates()`].
///
/// # Errors
/// No unit of `.debug_info` can be read.
pub fn sizes<const N: usize>(
    section: &dyn Fn(&str) -> Option<Vec<u8>>,
    little: bool,
    names: [&str; N],
) -> Result<[Option<u64>; N]> {
    let Some(sections) = Sections::load(section, little) else { return Ok([None; N]) };
    let units = sections.units()?;
    let all =
        |unit: &Unit| Some(in_unit(&sections, unit, names)).filter(|sizes| sizes.iter().all(Option::is_some));
    Ok(units.list.par_iter().find_map_first(all).unwrap_or([None; N]))
}

fn in_unit<const N: usize>(sections: &Sections, unit: &Unit, names: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    let mut search = || -> gimli::Result<()> {
        let mut entries = unit.entries()?;
        let mut entry = DwarfEntry::null();
        while !entries.is_empty() && found.iter().any(Option::is_none) {
            let depth = entries.next_depth();
            let mut ahead = entries.clone();
            let Some(abbreviation) = ahead.read_abbreviation()? else {
                entries = ahead;
                continue;
            };
            if depth != 1 || abbreviation.tag() != gimli::DW_TAG_structure_type {
                skip(&mut ahead, abbreviation.attributes())?;
                entries = ahead;
                continue;
            }
            entries.read_entry(&mut entry)?;
            let name = entry.attr_value(gimli::DW_AT_name).and_then(|value| sections.string(unit, value));
            let size =
                entry.attr_value(gimli::DW_AT_byte_size).as_ref().and_then(AttributeValue::udata_value);
            for (wanted, found) in names.iter().zip(&mut found) {
                if name == Some(wanted.as_bytes()) && !entry.has_attr(gimli::DW_AT_declaration) {
                    *found = found.or(size);
                }
            }
        }
        Ok(())
    };
    // Entries before an error are valid.
    let _ = search();
    found
}
