// SPDX-License-Identifier: GPL-2.0-only
//! How a livepatch uses the symbols it refers to: it calls them, reads and writes them, or takes their address.

use std::collections::{BTreeMap, HashMap};

use crate::elf::image::{Home, Image, Relocation, Section, SectionIndex, SymbolIndex};
use crate::elf::{Machine, SymbolKind};
use crate::livepatch::code;
use crate::livepatch::code::Use;
use crate::livepatch::special;

/// x86-64's relocation types through a table of addresses: R_X86_64_GOTPCREL, GOTPCRELX, REX_GOTPCRELX.
const GOT_TYPES: [u32; 3] = [9, 41, 42];

/// One reference to a symbol.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The section it is in.
    pub section: SectionIndex,
    /// The relocation.
    pub relocation: Relocation,
    /// What the code does there. If that cannot be told, it counts as taking the address.
    pub what: Use,
}

/// The references in sections that are loaded, by the index of their symbol, for symbols for which `is_wanted` is
/// true.
pub fn usages(image: &Image, is_wanted: impl Fn(SymbolIndex) -> bool) -> BTreeMap<SymbolIndex, Vec<Usage>> {
    let mut found: BTreeMap<SymbolIndex, Vec<Usage>> = BTreeMap::new();
    let mut fields: HashMap<SectionIndex, HashMap<u64, Use>> = HashMap::new();
    for (_, entries, target) in image.relocated() {
        let Some(section) = image.sections.get(target).filter(|section| section.is_alloc()) else { continue };
        if special::is_metadata(&section.name) {
            continue;
        }
        for relocation in entries.relocations.iter().filter(|relocation| is_wanted(relocation.symbol)) {
            let what = match (section.is_code(), image.machine()) {
                (false, _) => Use::Taken,
                (true, Machine::X86_64) => {
                    let fields = fields.entry(target).or_insert_with(|| read(image, target, section));
                    let what =
                        fields.get(&relocation.offset).filter(|_| !GOT_TYPES.contains(&relocation.kind));
                    what.copied().unwrap_or(Use::Taken)
                }
                (true, machine) => by_type(machine, section, relocation),
            };
            found.entry(relocation.symbol).or_default().push(Usage {
                section: target,
                relocation: *relocation,
                what,
            });
        }
    }
    found
}

/// The fields of the functions in a section of x86-64, or of the whole section if it has none (as the code of
/// alternatives).
fn read(image: &Image, index: SectionIndex, section: &Section) -> HashMap<u64, Use> {
    let mut functions: Vec<(u64, u64)> = image
        .symbols
        .iter()
        .filter(|symbol| symbol.home == Home::Section(index) && symbol.kind() == SymbolKind::Function)
        .map(|symbol| (symbol.value(), symbol.value().saturating_add(symbol.size())))
        .filter(|(start, end)| start < end)
        .collect();
    functions.sort_unstable();
    functions.dedup();
    if functions.is_empty() {
        functions.push((0, section.data.len() as u64));
    }
    let mut fields = HashMap::new();
    let mut done = 0;
    for (start, end) in functions {
        let start = start.max(done);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        if let Some(code) = range.and_then(|(start, end)| section.data.get(start..end)) {
            fields.extend(code::uses(code, start));
            done = end;
        }
    }
    fields
}

/// What the relocation's type shows, or on s390x the instruction around it.
fn by_type(machine: Machine, section: &Section, relocation: &Relocation) -> Use {
    let plain = Use::Accessed { is_relative: false };
    match (machine, relocation.kind) {
        // R_AARCH64_JUMP26 and CALL26; R_PPC64_REL24 and R_PPC_REL24; R_PPC64_REL24_NOTOC
        (Machine::AARCH64, 282 | 283) | (Machine::PPC64 | Machine::PPC, 10) | (Machine::PPC64, 116) => {
            Use::Called
        }
        // R_AARCH64_LDST8_ABS_LO12_NC, and those for 16, 32, 64 and 128 bits
        (Machine::AARCH64, 278 | 284 | 285 | 286 | 299) => plain,
        // R_390_PC32DBL and PLT32DBL; others go through a table of addresses.
        (Machine::S390, 19 | 20) => {
            let before = usize::try_from(relocation.offset).ok().and_then(|offset| offset.checked_sub(2));
            match before.and_then(|from| section.data.get(from..from + 2)) {
                // BRASL and BRCL
                Some([0xc0, second]) if matches!(second & 0x0f, 4 | 5) => Use::Called,
                // Loads and stores relative to themselves (LRL, STRL, ...)
                Some([0xc4, _]) => plain,
                _ => Use::Taken,
            }
        }
        _ => Use::Taken,
    }
}
