// SPDX-License-Identifier: GPL-2.0-only
//! Which source files an object was compiled from: the names of its units.

use anyhow::Result;

use super::Sections;

/// The paths of the source files that the compiler was given, in C or in assembler: relative to the directory that it
/// ran in, unless they lie elsewhere. Files that were only included are left out. Empty without debug information;
/// `section` and `little` are as for [`super::fates()`].
///
/// # Errors
/// No unit of `.debug_info` can be read.
pub fn compiled(section: &dyn Fn(&str) -> Option<Vec<u8>>, little: bool) -> Result<Vec<String>> {
    let Some(sections) = Sections::load(section, little) else { return Ok(Vec::new()) };
    let units = sections.units()?;
    Ok(units.list.iter().filter_map(super::Unit::source).collect())
}
