// SPDX-License-Identifier: GPL-2.0-only
//! Changes the object: adds livepatch symbols and their relocation sections, and removes annotations.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::elf::Machine;
use crate::elf::image::{Home, Image, Relocation, SHF_ALLOC, SHF_RELA_LIVEPATCH, SectionIndex, SymbolIndex};
use crate::livepatch::convert::assign::Assigned;
use crate::livepatch::convert::resolve::Resolved;
use crate::livepatch::rules::Rule::R6;
use crate::livepatch::{names, special, versions};

/// Applies what was resolved to `image`. With `add_mark`, it gets `livepatch=Y` (R6).
///
/// # Errors
/// Something refers to an annotation, or there is no `.modinfo`.
pub fn rewrite(image: &mut Image, resolved: &Resolved, placed: Assigned, add_mark: bool) -> Result<()> {
    let mut gone: BTreeSet<SectionIndex> = resolved.annotations.sections.clone();
    take_out(image, resolved, &mut gone);
    for ((target, object), relocations) in &placed.sections {
        if image.machine() == Machine::X86_64 {
            relocations.iter().for_each(|relocation| clear(image, *target, relocation));
        }
        let name = image.sections.get(*target).map(|section| section.name.clone()).unwrap_or_default();
        let name = names::section_name(object, &name);
        image.add_relocations(name, SHF_ALLOC | SHF_RELA_LIVEPATCH, *target, relocations.clone());
    }
    let mut converted = BTreeSet::new();
    for (&index, decision) in &resolved.symbols {
        if let Some(symbol) = image.symbols.get_mut(index) {
            converted.insert(special::cut(&symbol.name).to_vec());
            symbol.become_livepatch(decision.symbol.to_name());
        }
    }
    // modpost took them for exported symbols (R10).
    converted.retain({
        let undefined = versions::undefined(image);
        move |name| !undefined.contains(name)
    });
    versions::remove(image, &converted);
    let in_annotations = |home: Home| matches!(home, Home::Section(section) if gone.contains(&section));
    let symbols: BTreeSet<SymbolIndex> = (image.symbols.enumerate())
        .filter(|(_, symbol)| in_annotations(symbol.home))
        .map(|(index, _)| index)
        .collect();
    update_modinfo(image, resolved, &placed, add_mark)?;
    image.remove(&gone, &symbols)
}

/// Removes the references that were assigned from the plain relocation sections; a section that becomes empty is
/// removed, too (R7).
fn take_out(image: &mut Image, resolved: &Resolved, gone: &mut BTreeSet<SectionIndex>) {
    let loaded: BTreeSet<SectionIndex> =
        image.enumerate().filter(|(_, section)| section.is_alloc()).map(|(index, _)| index).collect();
    for (index, section) in image.sections.enumerate_mut() {
        if !section.is_rela() || section.relocations.is_empty() || !loaded.contains(&section.target()) {
            continue;
        }
        section.relocations.retain(|relocation| !resolved.symbols.contains_key(&relocation.symbol));
        if section.relocations.is_empty() {
            gone.insert(index);
        }
    }
}

/// On x86 the bytes that a relocation is written to have to be zero (R8).
fn clear(image: &mut Image, target: SectionIndex, relocation: &Relocation) {
    let size = special::size_of_type(image.machine(), relocation.kind);
    let start = usize::try_from(relocation.offset).unwrap_or(usize::MAX);
    let section = image.sections.get_mut(target);
    if let Some(bytes) = section.and_then(|section| section.data.get_mut(start..start.checked_add(size)?)) {
        bytes.fill(0);
    }
}

/// Adds `livepatch=Y` if it is missing, and removes from `depends=` the modules whose exports are reached only by
/// livepatch relocations (R10), unless they have to be loaded first. Other strings in `.modinfo` keep their offsets.
fn update_modinfo(image: &mut Image, resolved: &Resolved, placed: &Assigned, add_mark: bool) -> Result<()> {
    let freed: BTreeSet<&str> = resolved
        .symbols
        .values()
        .flat_map(|decision| {
            let owner = decision.is_exported.then_some(decision.symbol.object.as_str());
            owner.into_iter().chain(decision.mistaken_for.as_deref())
        })
        .filter(|object| !placed.needed.contains(*object) && !resolved.kept.contains(*object))
        .collect();
    let has_modinfo = image.section_named(b".modinfo").is_some();
    ensure!(has_modinfo || !add_mark, "it has no .modinfo to say that it is a livepatch ({R6})");
    image.shorten_modinfo("depends", |value| {
        let is_kept = |name: &&[u8]| {
            std::str::from_utf8(name).map_or(true, |name| !freed.contains(name.replace('-', "_").as_str()))
        };
        value.split(|&byte| byte == b',').filter(is_kept).collect::<Vec<_>>().join(&b',')
    });
    if add_mark {
        image.add_modinfo("livepatch=Y");
    }
    Ok(())
}
