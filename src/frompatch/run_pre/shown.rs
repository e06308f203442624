// SPDX-License-Identifier: GPL-2.0-only
//! Shows a difference as assembler: the unit's on the left, the kernel's on the right.

use crate::elf::image::{SectionIndex, Symbol};
use crate::frompatch::run_pre::kernel::{KernelImage, RelocationTarget, Spot};
use crate::frompatch::run_pre::outcome::{Mismatch, name_of};
use crate::frompatch::run_pre::unit::{Referent, UnitObject};
use crate::frompatch::run_pre::walk::CodeDifference;
use crate::livepatch::code::instruction;
use crate::livepatch::code::instruction::Instruction;

/// The number of instructions that are shown before the difference; the next is the number from the difference on.
const BEFORE: usize = 4;
const BEHIND: usize = 3;

/// The message about a difference in the function `symbol` in `section`, which the kernel has at `spot`.
pub(super) fn function(
    unit: &UnitObject<'_>,
    kernel: &KernelImage,
    section: SectionIndex,
    symbol: &Symbol,
    spot: Spot,
    difference: &CodeDifference,
) -> Mismatch {
    let start = symbol.value();
    let ours = ours(unit, section, symbol, difference.at);
    let theirs = theirs(kernel, spot, difference.kernel_at);
    let before = ours.0.len().max(theirs.0.len());
    let padded = |mut lines: (Vec<String>, Vec<String>)| {
        let mut all = vec![String::new(); before.saturating_sub(lines.0.len())];
        all.append(&mut lines.0);
        all.append(&mut lines.1);
        all.resize(before + BEHIND, String::new());
        all
    };
    let pairs = padded(ours).into_iter().zip(padded(theirs)).enumerate();
    let marked = |(index, (our, their)): (usize, (String, String))| {
        let mark = if index == before { "> " } else { "  " };
        (format!("{mark}{our}"), format!("{mark}{their}"))
    };
    let blank = |(our, their): &(String, String)| our.trim().is_empty() && their.trim().is_empty();
    Mismatch {
        name: symbol.shown(),
        offset: difference.at - start,
        what: difference.what.clone(),
        lines: pairs.map(marked).filter(|pair| !blank(pair)).collect(),
    }
}

/// The unit's instructions before `at`, and from there on.
fn ours(
    unit: &UnitObject<'_>,
    section: SectionIndex,
    symbol: &Symbol,
    at: u64,
) -> (Vec<String>, Vec<String>) {
    let (start, end) = (symbol.value(), symbol.value().saturating_add(symbol.size()));
    let code = unit.section(section).and_then(|s| s.data.get(..end as usize)?.get(start as usize..));
    lines(code.unwrap_or_default(), start, at, |code, address| {
        let length = Instruction::decode(code, address).map_or(1, |instruction| instruction.length);
        let relocations: Vec<_> =
            unit.relocations(section, address, address + length as u64).copied().collect();
        instruction::text(code, address, &|target| {
            let relocation = relocations.first();
            let further = |relocation: &crate::elf::image::Relocation| {
                (address + length as u64).wrapping_sub(relocation.offset) as i64
            };
            let is_relative = |kind| matches!(kind, 2 | 4 | 24);
            match relocation {
                Some(r) => {
                    let (to, behind) = unit.referent(r, if is_relative(r.kind) { further(r) } else { 0 })?;
                    let is_filled_in = target == 0
                        || Instruction::decode(code, address)?.relative.is_some_and(|r| r.target == target);
                    is_filled_in.then(|| shown(unit, to, behind))
                }
                None => {
                    let relative = Instruction::decode(code, address)?.relative?;
                    let to = Referent::Inside { section, offset: target as i64 };
                    (relative.target == target).then(|| shown(unit, to, 0))
                }
            }
        })
    })
}

/// The kernel's instructions of the function at `spot` before `at`, and from there on.
fn theirs(kernel: &KernelImage, spot: Spot, at: Spot) -> (Vec<String>, Vec<String>) {
    let code = kernel.bytes(spot).unwrap_or_default();
    lines(code, spot.address, at.address, |code, address| {
        let here = Spot { address, ..spot };
        let Some(decoded) = Instruction::decode(code, address) else {
            return instruction::text(code, address, &|_| None);
        };
        let outside = (0..decoded.length as i64).find_map(|offset| {
            let relocation = kernel.relocation(here.plus(offset))?;
            let is_relative = decoded.relative.is_some_and(|r| r.offset as i64 == offset);
            kernel.relocation_target(relocation, if is_relative { decoded.length as i64 - offset } else { 0 })
        });
        instruction::text(code, address, &|target| match &outside {
            Some(RelocationTarget::Out(name, behind)) => {
                Some(with_offset(&String::from_utf8_lossy(name), *behind))
            }
            Some(RelocationTarget::Here(spot)) => kernel.shown(*spot),
            None => {
                let is_relative = decoded.relative.is_some_and(|relative| relative.target == target);
                let is_high = kernel.is_linked() && target >> 31 == 0x1_ffff_ffff;
                if is_relative || is_high { kernel.shown(Spot { address: target, ..spot }) } else { None }
            }
        })
    })
}

/// The text of the instructions of `code`, which begins at `start`: the last ones before `at`, and the first from there
/// on.
fn lines(
    code: &[u8],
    start: u64,
    at: u64,
    text: impl Fn(&[u8], u64) -> String,
) -> (Vec<String>, Vec<String>) {
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    let mut offset = 0;
    while let Some(rest) = code.get(offset..).filter(|rest| !rest.is_empty())
        && behind.len() < BEHIND
    {
        let address = start.wrapping_add(offset as u64);
        let line = format!("+{offset:#x}: {}", text(rest, address));
        if address < at { &mut before } else { &mut behind }.push(line);
        if before.len() > BEFORE {
            before.remove(0);
        }
        offset += Instruction::decode(rest, address).map_or(1, |instruction| instruction.length);
    }
    (before, behind)
}

/// A name for the target of a reference.
pub(super) fn shown(unit: &UnitObject<'_>, to: Referent, behind: i64) -> String {
    match to {
        Referent::Symbol(index) => with_offset(&name_of(unit.symbol(index)), behind),
        Referent::Inside { section, offset } => match unit.symbol_around(section, offset) {
            Some((index, further)) => with_offset(&name_of(unit.symbol(index)), further + behind),
            None => {
                let name = unit.section(section).map_or_else(String::new, |section| section.shown());
                with_offset(&name, offset + behind)
            }
        },
    }
}

fn with_offset(name: &str, offset: i64) -> String {
    match offset {
        0 => name.to_owned(),
        1.. => format!("{name}+{offset:#x}"),
        _ => format!("{name}-{:#x}", offset.unsigned_abs()),
    }
}
