// SPDX-License-Identifier: GPL-2.0-only
//! Removes sites of static calls (`.static_call_sites`, include/linux/static_call_types.h). The kernel looks at their
//! keys while it loads the livepatch, before references to a module are written (R9). A static call without a site
//! goes through its trampoline, which the kernel keeps up to date.

use std::collections::BTreeSet;

use crate::elf::image::{Image, Relocation};
use crate::livepatch::convert::resolve::Resolved;
use crate::livepatch::sections::ObjectRelocations;

const SECTION: &[u8] = b".static_call_sites";
/// `struct static_call_site`: two distances of four bytes each, to the call and to the key.
const SIZE: u64 = 8;

/// Removes the sites whose keys would be written too late.
pub fn take_out(image: &mut Image, resolved: &Resolved) {
    let is_late = |entry: &&Relocation| {
        !entry.offset.is_multiple_of(SIZE)
            && resolved.symbols.get(&entry.symbol).is_some_and(|decision| {
                let object = decision.symbol.object.as_str();
                let written = ObjectRelocations { object, patch: None, kernel: &resolved.kernel };
                !decision.is_exported && written.too_late_for(SECTION).is_some()
            })
    };
    let Some((section, _)) = image.section_named(SECTION) else { return };
    let entries = image.relocated().filter(|(_, _, target)| *target == section);
    let late = entries.flat_map(|(_, entries, _)| &entries.relocations).filter(is_late);
    let gone: BTreeSet<u64> = late.map(|entry| entry.offset / SIZE).collect();
    image.remove_records(section, SIZE, &gone);
}
