// SPDX-License-Identifier: GPL-2.0-only
//! Compares one function of the unit with the kernel's bytes, instruction by instruction.
//!
//! Two instructions are equal if their bytes are equal, except for the fields of relocations and the distances of
//! branches: their targets are collected, and judged when more functions are located. Three things may differ: a jump
//! of two bytes and the longer form; a jump label as a jump or as a no-operation; and the call of `__fentry__`, which
//! the kernel's build may have overwritten with a no-operation.

use std::collections::BTreeMap;

use crate::elf::image::{Relocation, SectionIndex, Symbol};
use crate::frompatch::run_pre::kernel::{KernelImage, RelocationTarget, Spot};
use crate::frompatch::run_pre::unit::{Referent, UnitObject};
use crate::livepatch::code::instruction::Instruction;

/// A reference of the unit, and the target of the same reference in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ComparedReference {
    /// The offset of the reference in its section of the unit.
    pub(super) at: u64,
    /// Where the kernel has the reference: the start of the instruction, or the pointer.
    pub(super) kernel_at: Spot,
    pub(super) to: Referent,
    pub(super) kernel_to: RelocationTarget,
}

/// The first difference between a function and the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodeDifference {
    /// The offset in the unit's section.
    pub(super) at: u64,
    /// Where it lies in the kernel.
    pub(super) kernel_at: Spot,
    /// What differs.
    pub(super) what: String,
    /// How many instructions before it are equal.
    pub(super) equal: usize,
}

/// The functions called at the beginning of a function that can be traced.
const TRACERS: [&[u8]; 2] = [b"__fentry__", b"mcount"];

/// The state of a walk through one function.
struct Walk<'a, 'b> {
    unit: &'a UnitObject<'b>,
    kernel: &'a KernelImage,
    section: SectionIndex,
    start: u64,
    end: u64,
    spot: Spot,
    code: &'a [u8],
    theirs: &'a [u8],
    /// By the offset of each instruction of the unit: the kernel's offset in the function.
    steps: BTreeMap<u64, u64>,
    references: Vec<ComparedReference>,
    /// Branches within the function: offset, target, and spot and target in the kernel.
    jumps: Vec<(u64, u64, Spot, RelocationTarget)>,
}

/// Compares the function `symbol` in `section` with the kernel's code at `spot`.
pub(super) fn function(
    unit: &UnitObject<'_>,
    kernel: &KernelImage,
    section: SectionIndex,
    symbol: &Symbol,
    spot: Spot,
    size: Option<u64>,
) -> Result<Vec<ComparedReference>, CodeDifference> {
    let start = symbol.value();
    let end = start.saturating_add(symbol.size());
    let code = unit.section(section).and_then(|s| s.data.get(..end as usize)?.get(start as usize..));
    let nothing = |what: &str| CodeDifference { at: start, kernel_at: spot, what: what.to_owned(), equal: 0 };
    let (Some(code), Some(theirs)) = (code, kernel.bytes(spot)) else {
        return Err(nothing("the kernel has no code there"));
    };
    let theirs = size.and_then(|size| theirs.get(..size as usize)).unwrap_or(theirs);
    let (steps, references, jumps) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut walk = Walk { unit, kernel, section, start, end, spot, code, theirs, steps, references, jumps };
    walk.all(size.is_some())?;
    walk.expect_jumps()?;
    Ok(walk.references)
}

impl Walk<'_, '_> {
    fn all(&mut self, is_sized: bool) -> Result<(), CodeDifference> {
        let (mut ours, mut theirs) = (0, 0);
        while ours < self.code.len() {
            self.steps.insert(ours as u64, theirs as u64);
            let (our, their) = self.step(ours, theirs)?;
            ours += our;
            theirs += their;
        }
        self.steps.insert(ours as u64, theirs as u64);
        let rest = self.theirs.get(theirs..).unwrap_or_default();
        if is_sized && !is_padding(rest) {
            return Err(self.difference(ours, theirs, "the kernel's function goes on".to_owned()));
        }
        Ok(())
    }

    /// Compares one instruction of each side, and returns the number of bytes of both.
    fn step(&mut self, ours: usize, theirs: usize) -> Result<(usize, usize), CodeDifference> {
        let at = self.start + ours as u64;
        let our_code = self.code.get(ours..).unwrap_or_default();
        let their_code = self.theirs.get(theirs..).unwrap_or_default();
        if their_code.is_empty() {
            return Err(self.difference(ours, theirs, "the kernel's function ends".to_owned()));
        }
        let here = self.spot.plus(theirs as i64);
        let (Some(our), Some(their)) =
            (Instruction::decode(our_code, at), Instruction::decode(their_code, here.address))
        else {
            // There is data between the instructions.
            return if our_code.first() == their_code.first() {
                Ok((1, 1))
            } else {
                Err(self.difference(ours, theirs, "the bytes differ".to_owned()))
            };
        };
        let relocations: Vec<Relocation> =
            self.unit.relocations(self.section, at, at + our.length as u64).copied().collect();
        let lengths = (our.length, their.length);
        if self.is_traced(&our, &relocations, &their, here) || self.is_label(at, &our, &their) {
            return Ok(lengths);
        }
        if our.jumps_as(&their) && our.length != their.length {
            self.branch(at, &our, relocations.first(), &their, here);
            return Ok(lengths);
        }
        // If jumps have another length, alignment has more or fewer bytes.
        if our.is_nop && their.is_nop && our.length != their.length {
            return Ok((run_of_nops(our_code), run_of_nops(their_code)));
        }
        if ours != theirs && our.is_nop != their.is_nop {
            return Ok(if our.is_nop { (run_of_nops(our_code), 0) } else { (0, run_of_nops(their_code)) });
        }
        let is_equal = our.length == their.length
            && our.relative.map(|r| (r.offset, r.size)) == their.relative.map(|r| (r.offset, r.size))
            && bytes_equal(our_code, their_code, &our, &relocations, at);
        if !is_equal {
            return Err(self.difference(ours, theirs, "the instructions differ".to_owned()));
        }
        self.refer(at, &our, &relocations, &their, here, ours, theirs)?;
        Ok(lengths)
    }

    /// Records the reference of an instruction.
    #[expect(clippy::too_many_arguments, reason = "both sides of one instruction")]
    fn refer(
        &mut self,
        at: u64,
        our: &Instruction,
        relocations: &[Relocation],
        their: &Instruction,
        here: Spot,
        ours: usize,
        theirs: usize,
    ) -> Result<(), CodeDifference> {
        let mut is_relative_done = false;
        for relocation in relocations {
            let offset = (relocation.offset - at) as usize;
            let is_relative = our.relative.is_some_and(|relative| relative.offset == offset);
            is_relative_done |= is_relative;
            if is_relative {
                self.branch(at, our, Some(relocation), their, here);
                continue;
            }
            let field = here.plus(offset as i64);
            let (Some((to, behind)), Some(kernel_to)) =
                (self.unit.referent(relocation, 0), absolute(self.kernel, field, relocation.kind))
            else {
                let what = format!(
                    "a relocation of type {} is nothing that is compared",
                    self.unit.image.relocation_name(relocation.kind)
                );
                return Err(self.difference(ours, theirs, what));
            };
            let kernel_to = before(kernel_to, behind);
            self.references.push(ComparedReference { at, kernel_at: here, to, kernel_to });
        }
        if our.relative.is_some() && !is_relative_done {
            self.branch(at, our, None, their, here);
        }
        Ok(())
    }

    /// Records the target of an instruction that is relative to the instruction's end.
    fn branch(
        &mut self,
        at: u64,
        our: &Instruction,
        relocation: Option<&Relocation>,
        their: &Instruction,
        here: Spot,
    ) {
        let (Some(ours), Some(theirs)) = (our.relative, their.relative) else { return };
        let kernel_to = relative(self.kernel, here, their.length, theirs.offset, theirs.target);
        let (to, behind) = match relocation {
            Some(relocation) => {
                let further = our.length as i64 - ours.offset as i64;
                match self.unit.referent(relocation, further) {
                    Some(referent) => referent,
                    None => return,
                }
            }
            None => (Referent::Inside { section: self.section, offset: ours.target as i64 }, 0),
        };
        match to {
            Referent::Inside { section, offset }
                if section == self.section && (self.start as i64..self.end as i64).contains(&offset) =>
            {
                self.jumps.push((at, offset as u64 - self.start, here, kernel_to));
            }
            _ => {
                self.references.push(ComparedReference {
                    at,
                    kernel_at: here,
                    to,
                    kernel_to: before(kernel_to, behind),
                });
            }
        }
    }

    /// Whether both instructions are the trace site at the beginning of a function: the call, or a no-operation.
    fn is_traced(
        &self,
        our: &Instruction,
        relocations: &[Relocation],
        their: &Instruction,
        here: Spot,
    ) -> bool {
        let symbol = |relocation: &Relocation| self.unit.symbol(relocation.symbol);
        let calls =
            relocations.first().and_then(symbol).is_some_and(|s| TRACERS.contains(&s.name.as_slice()));
        let kernel_to =
            || their.relative.map(|r| relative(self.kernel, here, their.length, r.offset, r.target));
        let is_tracer = |kernel_to: RelocationTarget| match kernel_to {
            RelocationTarget::Here(spot) => {
                self.kernel.at(spot).any(|symbol| TRACERS.contains(&symbol.name.as_slice()))
            }
            RelocationTarget::Out(name, _) => TRACERS.contains(&name.as_slice()),
        };
        let their_calls = || their.is_call && kernel_to().is_some_and(is_tracer);
        let is_call = our.is_call && calls;
        (is_call && (their.is_nop || their_calls()) || our.is_nop && their_calls())
            && our.length == their.length
    }

    /// Whether both instructions are the jump label there, as a jump or as a no-operation.
    fn is_label(&self, at: u64, our: &Instruction, their: &Instruction) -> bool {
        let is_one = |instruction: &Instruction| instruction.is_nop || instruction.is_plain_jump();
        self.unit.is_label(self.section, at)
            && is_one(our)
            && is_one(their)
            && our.is_nop != their.is_nop
            && our.length == their.length
    }

    /// Each branch within the function has to lead to the same instruction.
    fn expect_jumps(&self) -> Result<(), CodeDifference> {
        for (at, to, here, kernel_to) in &self.jumps {
            let expected =
                self.steps.get(to).map(|theirs| RelocationTarget::Here(self.spot.plus(*theirs as i64)));
            // A target in the middle of an instruction, as past a lock prefix: it has to be as far behind the start
            // in both.
            let inner = || {
                let (start, theirs) = self.steps.range(..=to).next_back()?;
                Some(RelocationTarget::Here(self.spot.plus((theirs + (to - start)) as i64)))
            };
            if expected.or_else(inner).as_ref() != Some(kernel_to) {
                let (ours, theirs) = (at - self.start, here.address - self.spot.address);
                return Err(self.difference(
                    ours as usize,
                    theirs as usize,
                    "the branches lead elsewhere".into(),
                ));
            }
        }
        Ok(())
    }

    fn difference(&self, ours: usize, theirs: usize, what: String) -> CodeDifference {
        CodeDifference {
            at: self.start + ours as u64,
            kernel_at: self.spot.plus(theirs as i64),
            what,
            equal: self.steps.len(),
        }
    }
}

/// The target of the kernel's instruction at `here`, whose relative distance lies at `offset` in it and leads to
/// `target`.
fn relative(kernel: &KernelImage, here: Spot, length: usize, offset: usize, target: u64) -> RelocationTarget {
    let field = here.plus(offset as i64);
    let further = length as i64 - offset as i64;
    let of_module =
        kernel.relocation(field).and_then(|relocation| kernel.relocation_target(relocation, further));
    of_module.unwrap_or(RelocationTarget::Here(Spot { address: target, ..here }))
}

/// The target of the address in the kernel's field, which a relocation of type `kind` would fill in (R_X86_64_64,
/// R_X86_64_32, R_X86_64_32S and the relative types in data); none for another type.
pub(super) fn absolute(kernel: &KernelImage, field: Spot, kind: u32) -> Option<RelocationTarget> {
    if let Some(relocation) = kernel.relocation(field) {
        return if relocation.kind == kind { kernel.relocation_target(relocation, 0) } else { None };
    }
    if !kernel.is_linked() {
        return None;
    }
    let bytes = kernel.bytes(field)?;
    let word = || Some(u32::from_le_bytes(*bytes.first_chunk()?));
    let long = || Some(u64::from_le_bytes(*bytes.first_chunk()?));
    let address = match kind {
        1 => long()?,
        10 => u64::from(word()?),
        11 => i64::from(word()? as i32) as u64,
        2 | 4 => field.address.wrapping_add_signed(i64::from(word()? as i32)),
        24 => field.address.wrapping_add(long()?),
        _ => return None,
    };
    Some(RelocationTarget::Here(Spot { address, ..field }))
}

/// The target `behind` bytes before `kernel_to`.
pub(super) fn before(kernel_to: RelocationTarget, behind: i64) -> RelocationTarget {
    match kernel_to {
        RelocationTarget::Here(spot) => RelocationTarget::Here(spot.plus(behind.wrapping_neg())),
        RelocationTarget::Out(name, further) => RelocationTarget::Out(name, further.wrapping_sub(behind)),
    }
}

/// Whether the bytes of both instructions are equal, except for fields that are filled in.
fn bytes_equal(ours: &[u8], theirs: &[u8], our: &Instruction, relocations: &[Relocation], at: u64) -> bool {
    let mut filled: Vec<(usize, usize)> = relocations
        .iter()
        .map(|relocation| ((relocation.offset - at) as usize, size_of(relocation.kind)))
        .collect();
    filled.extend(our.relative.map(|relative| (relative.offset, relative.size)));
    let is_filled = |index: usize| filled.iter().any(|(from, size)| (*from..from + size).contains(&index));
    let pairs = ours.iter().zip(theirs).take(our.length).enumerate();
    pairs.into_iter().all(|(index, (our, their))| our == their || is_filled(index))
}

/// How many bytes an x86-64 relocation of this type fills in.
pub(super) fn size_of(kind: u32) -> usize {
    crate::livepatch::special::size_of_type(crate::elf::Machine::X86_64, kind)
}

/// How many bytes of no-operations `code` begins with.
fn run_of_nops(code: &[u8]) -> usize {
    let mut length = 0;
    while let Some(rest) = code.get(length..)
        && let Some(instruction) = Instruction::decode(rest, 0)
        && instruction.is_nop
    {
        length += instruction.length;
    }
    length
}

/// Whether only padding between functions follows: no-operations or int3.
fn is_padding(rest: &[u8]) -> bool {
    let nops = run_of_nops(rest);
    rest.get(nops..).unwrap_or_default().iter().all(|&byte| byte == 0xcc)
}
