// SPDX-License-Identifier: GPL-2.0-only
//! Functions that the kernel itself only calls directly. At boot it removes from them the instruction at which a call
//! through a pointer has to arrive (`.ibt_endbr_seal`, `apply_seal_endbr` in arch/x86/kernel/alternative.c): on
//! hardware that checks for it, such a call faults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::elf::definitions::Definition;
use crate::elf::image::{Image, SectionIndex};
use crate::elf::memory;
use crate::kernel::sources::Sources;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Vmlinux;

const SECTION: &str = ".ibt_endbr_seal";

/// The functions of some objects that must not be called through a pointer.
#[derive(Debug, Default)]
pub struct Sealed {
    /// By object: section (empty in vmlinux) and address, or offset into that section.
    places: BTreeMap<String, BTreeSet<(String, u64)>>,
}

impl Sealed {
    /// Reads the sealed functions of the named objects. An object that is missing, or that has no such section, has
    /// none.
    pub fn read<'a>(sources: &Sources, objects: impl IntoIterator<Item = &'a str>) -> Sealed {
        let objects: BTreeSet<&str> = objects.into_iter().collect();
        let places = objects.into_iter().map(|object| {
            let vmlinux = || sources.objects.vmlinux.as_ref().and_then(Vmlinux::image);
            let places = match object {
                VMLINUX => vmlinux().map(in_vmlinux),
                _ => sources
                    .objects
                    .file(object)
                    .and_then(|file| Image::read(&file).ok())
                    .map(|i| in_module(&i)),
            };
            (object.to_owned(), places.unwrap_or_default())
        });
        Sealed { places: places.collect() }
    }

    /// Whether a function is sealed.
    pub fn has(&self, object: &str, function: &Definition) -> bool {
        let section = match object {
            VMLINUX => String::new(),
            _ => function.section.clone().unwrap_or_default(),
        };
        self.places.get(object).is_some_and(|places| places.contains(&(section, function.value)))
    }
}

/// Each entry is the distance to its function, in four bytes.
fn in_vmlinux(file: &Path) -> BTreeSet<(String, u64)> {
    let Some((address, bytes)) = memory::section_at(file, SECTION).ok().flatten() else {
        return BTreeSet::new();
    };
    // Only x86-64 has such functions.
    let place = |(index, entry): (usize, &[u8])| {
        let distance = i32::from_le_bytes(entry.try_into().ok()?);
        let from = address.checked_add(index as u64 * 4)?;
        Some((String::new(), from.checked_add_signed(distance.into())?))
    };
    bytes.chunks_exact(4).enumerate().filter_map(place).collect()
}

fn in_module(image: &Image) -> BTreeSet<(String, u64)> {
    let is_list =
        |target: SectionIndex| image.sections.get(target).is_some_and(|s| s.name == SECTION.as_bytes());
    let entries = image.relocated().filter(|(_, _, target)| is_list(*target));
    entries
        .flat_map(|(_, section, _)| &section.relocations)
        .filter_map(|relocation| image.target(relocation))
        .filter_map(|place| Some((image.sections.get(place.section)?.shown(), place.offset)))
        .collect()
}
