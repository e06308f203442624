// SPDX-License-Identifier: GPL-2.0-only
//! Whether a livepatch gives its patch to the kernel (R15): only a patch for which it calls `klp_enable_patch`
//! (kernel/livepatch/core.c) patches anything, and a livepatch that forgets it is loaded without an error.

use crate::elf::image::{Home, Image, Offset, Relocation, Symbol};
use crate::livepatch::names::KlpSymbol;
use crate::livepatch::patch;
use crate::livepatch::patch::{Patch, REGISTERING};
use crate::livepatch::reach::Reach;
use crate::livepatch::special;

/// The patches that no code which runs by itself gives to the kernel, by the names of their variables.
pub fn forgotten(image: &Image, patch: &Patch) -> Vec<String> {
    let sites = Sites::read(image, patch);
    let is_early = |at: &Offset| {
        image.sections.get(at.section).is_some_and(|section| special::is_early_root(&section.name))
    };
    // What reaches which code is computed only if the init section does not show it.
    let is_plain =
        sites.calls.iter().any(is_early) && sites.patches.iter().all(|sites| sites.iter().any(is_early));
    if is_plain {
        return Vec::new();
    }
    let reach = Reach::follow(image, patch);
    let runs = |at: &Offset| {
        let reached = reach.at(*at);
        reached.by_init || reached.by_itself
    };
    let is_called = sites.calls.iter().any(runs);
    let forgotten = patch.patches.iter().filter(|at| !is_called || !runs(at));
    forgotten.map(|at| patch::variable_at(image, *at).unwrap_or_default()).collect()
}

/// Where functions are called that take a patch, and where each patch is referred to.
struct Sites {
    calls: Vec<Offset>,
    patches: Vec<Vec<Offset>>,
}

impl Sites {
    fn read(image: &Image, patch: &Patch) -> Sites {
        let mut sites = Sites { calls: Vec::new(), patches: vec![Vec::new(); patch.patches.len()] };
        for (_, entries, section) in image.relocated() {
            let Some(from) = image.sections.get(section).filter(|section| section.is_alloc()) else {
                continue;
            };
            if special::is_metadata(&from.name) {
                continue;
            }
            for relocation in &entries.relocations {
                let here = Offset { section, offset: relocation.offset };
                let Some(symbol) = image.symbols.get(relocation.symbol) else { continue };
                if registers(symbol) {
                    sites.calls.push(here);
                }
                for (place, found) in patch.patches.iter().zip(&mut sites.patches) {
                    if symbol.home == Home::Section(place.section) && leads_to(image, relocation, *place) {
                        found.push(here);
                    }
                }
            }
        }
        sites
    }
}

/// Whether a symbol is a function that takes a patch. If a livepatch was converted without knowledge of exports, it
/// is a livepatch symbol.
fn registers(symbol: &Symbol) -> bool {
    let is_it = |name: &[u8]| REGISTERING.contains(&name);
    match symbol.home {
        Home::Undefined => is_it(&symbol.name),
        Home::Livepatch => KlpSymbol::parse(&symbol.name).is_some_and(|symbol| is_it(&symbol.name)),
        _ => false,
    }
}

fn leads_to(image: &Image, relocation: &Relocation, place: Offset) -> bool {
    let further = special::distances(image.machine(), relocation.kind).iter().chain(&[0]);
    further.into_iter().any(|bytes| {
        let meant = Relocation { addend: relocation.addend.saturating_add(*bytes), ..*relocation };
        image.target(&meant) == Some(place)
    })
}
