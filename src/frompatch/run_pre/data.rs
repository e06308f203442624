// SPDX-License-Identifier: GPL-2.0-only
//! Compares the data of the unit with the kernel's.

use crate::elf::image::{Section, SectionIndex, Symbol};
use crate::frompatch::run_pre::kernel::{KernelImage, Spot};
use crate::frompatch::run_pre::unit::UnitObject;
use crate::frompatch::run_pre::walk;
use crate::frompatch::run_pre::walk::{CodeDifference, ComparedReference};
use crate::livepatch::special;

/// Compares the variable `symbol` in `section` with the kernel's bytes at `spot`, except for the fields that
/// relocations fill in; returns these references. A variable without bytes, as in `.bss`, counts as equal.
pub(super) fn variable(
    unit: &UnitObject<'_>,
    kernel: &KernelImage,
    section: SectionIndex,
    symbol: &Symbol,
    spot: Spot,
) -> Result<Vec<ComparedReference>, CodeDifference> {
    let (start, end) = (symbol.value(), symbol.value().saturating_add(symbol.size()));
    let is_witness = |section: &&Section| !is_written_later(&section.name, &symbol.name);
    let ours = unit.section(section).filter(is_witness);
    let Some(ours) = ours.and_then(|s| s.data.get(..end as usize)?.get(start as usize..)) else {
        return Ok(Vec::new());
    };
    let relocations: Vec<_> = unit.relocations(section, start, end).copied().collect();
    let Some(theirs) = kernel.bytes(spot) else {
        let is_zero = ours.iter().all(|byte| *byte == 0) && relocations.is_empty();
        let what = "the kernel has no bytes for it".to_owned();
        let difference = CodeDifference { at: start, kernel_at: spot, what, equal: 0 };
        return if is_zero { Ok(Vec::new()) } else { Err(difference) };
    };
    let mut is_filled = vec![false; ours.len()];
    let mut references = Vec::new();
    for relocation in relocations {
        let from = (relocation.offset - start) as usize;
        let to = from + walk::size_of(relocation.kind);
        if let Some(filled) = is_filled.get_mut(from..to.min(ours.len())) {
            filled.fill(true);
        }
        let field = spot.plus(from as i64);
        let (Some((referent, behind)), Some(kernel_to)) =
            (unit.referent(&relocation, 0), walk::absolute(kernel, field, relocation.kind))
        else {
            continue;
        };
        let kernel_to = walk::before(kernel_to, behind);
        references.push(ComparedReference {
            at: relocation.offset,
            kernel_at: field,
            to: referent,
            kernel_to,
        });
    }
    let pairs = ours.iter().zip(theirs).enumerate();
    let first = pairs
        .into_iter()
        .find(|(index, (our, their))| our != their && !is_filled.get(*index).copied().unwrap_or(false));
    match first {
        Some((index, (our, their))) => {
            let what = format!("its byte {index:#x} is {our:#04x}, the kernel has {their:#04x}");
            let (at, kernel_at) = (start + index as u64, spot.plus(index as i64));
            Err(CodeDifference { at, kernel_at, what, equal: 0 })
        }
        None => Ok(references),
    }
}

/// Whether the kernel's build writes into such a section or variable after linking, so that the unit's bytes prove
/// nothing (scripts/sorttable.h, tools/bpf/resolve_btfids).
fn is_written_later(section: &[u8], variable: &[u8]) -> bool {
    section == b".BTF_ids" || variable == b"main_extable_sort_needed" || special::is_metadata(section)
}
