// SPDX-License-Identifier: GPL-2.0-only
//! References of code relative to its own address. Within one section the assembler resolves them, and no relocation
//! shows them. A field with a relocation is not filled in yet, so its contents mean nothing.
//!
//! - [`instruction`]: x86-64's instructions one by one, and as assembler text

pub(crate) mod instruction;

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};

use crate::elf::Machine;

/// A field of an instruction that holds a distance or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The field's offset in its section, which a relocation for it would name.
    pub offset: u64,
    /// The distance counts from this many bytes behind the field; none for an address to which an index is added.
    pub distance: Option<i64>,
    /// The offset in the section that it leads to, if it has no relocation; none for an address.
    pub target: Option<u64>,
}

/// The fields of `code`, which begins `start` bytes into its section: those of branches, and on x86-64 also those of
/// memory operands.
///
/// Empty for machines other than x86-64, arm64, ppc64, ppc32 and s390x: their assemblers leave relocations.
pub fn fields(machine: Machine, little: bool, code: &[u8], start: u64) -> Vec<Field> {
    match machine {
        Machine::X86_64 => x86_64(code, start),
        Machine::AARCH64 => words(code, start, little, |word| {
            // B and BL: imm26, in words
            (word & 0x7c00_0000 == 0x1400_0000).then(|| i64::from((word << 6) as i32 >> 6) * 4)
        }),
        Machine::PPC64 | Machine::PPC => words(code, start, little, |word| {
            // b and bl: LI, with AA clear
            (word >> 26 == 18 && word & 2 == 0).then(|| i64::from(((word & 0x03ff_fffc) << 6) as i32 >> 6))
        }),
        Machine::S390 => s390(code, start),
        _ => Vec::new(),
    }
}

/// The branches of `code` that lead to an offset in their section, with that offset: [`fields()`] without memory
/// operands.
pub fn branches(machine: Machine, little: bool, code: &[u8], start: u64) -> Vec<(u64, u64)> {
    let all = fields(machine, little, code, start).into_iter();
    let all = all.filter_map(|field| Some((field.offset, field.target?)));
    match machine {
        Machine::X86_64 => {
            let calls: BTreeSet<u64> = uses(code, start)
                .into_iter()
                .filter(|(_, what)| *what == Use::Called)
                .map(|(at, _)| at)
                .collect();
            all.filter(|(offset, _)| calls.contains(offset)).collect()
        }
        Machine::S390 => {
            // The opcode precedes the field; LARL has a 0 in it.
            let opcode =
                |offset: u64| code.get(usize::try_from(offset.checked_sub(start)?.checked_sub(1)?).ok()?);
            all.filter(|(offset, _)| opcode(*offset).is_some_and(|byte| byte & 0x0f != 0)).collect()
        }
        _ => all.collect(),
    }
}

/// Where `code`, in a linked object, calls or jumps to one of `targets`, with the target. On x86-64, each byte is
/// tried as the end of an opcode (call, jmp, jcc): the probability that a distance fits by chance is 1 in 2^32.
pub fn calls_to(
    machine: Machine,
    little: bool,
    code: &[u8],
    start: u64,
    targets: &BTreeSet<u64>,
) -> Vec<(u64, u64)> {
    if machine != Machine::X86_64 {
        let all = branches(machine, little, code, start);
        return all.into_iter().filter(|(_, target)| targets.contains(target)).collect();
    }
    let windows = code.windows(6).zip(start..);
    let call = |(window, at): (&[u8], u64)| {
        let [before, opcode, distance @ ..] = window else { return None };
        let is_branch = matches!(opcode, 0xe8 | 0xe9) || *before == 0x0f && opcode & 0xf0 == 0x80;
        let distance = is_branch.then(|| <[u8; 4]>::try_from(distance).ok().map(i32::from_le_bytes))??;
        let target = at.wrapping_add(6).wrapping_add_signed(distance.into());
        targets.contains(&target).then_some((at.wrapping_add(2), target))
    };
    windows.filter_map(call).collect()
}

fn x86_64(code: &[u8], start: u64) -> Vec<Field> {
    let mut found = Vec::new();
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let offsets = decoder.get_constant_offsets(&instruction);
        let relative = |offset: usize, target: u64| {
            relative(instruction.ip(), offset as u64, (instruction.len() - offset) as i64, target)
        };
        if instruction.is_ip_rel_memory_operand() {
            found.push(relative(offsets.displacement_offset(), instruction.ip_rel_memory_address()));
        } else if instruction.op_kinds().any(|kind| kind == OpKind::NearBranch64) {
            found.push(relative(offsets.immediate_offset(), instruction.near_branch64()));
        } else if offsets.has_displacement() && instruction.memory_index() != Register::None {
            let offset = instruction.ip() + offsets.displacement_offset() as u64;
            found.push(Field { offset, distance: None, target: None });
        }
    }
    found
}

/// What an instruction does with the address in one of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It calls or jumps to it.
    Called,
    /// It reads or writes the memory there.
    Accessed {
        /// Whether it accesses each CPU's own copy, or adds something to the address.
        is_relative: bool,
    },
    /// It takes the address.
    Taken,
}

/// The fields of x86-64 code that may hold an address, by their offset in the section.
pub fn uses(code: &[u8], start: u64) -> Vec<(u64, Use)> {
    let mut found = Vec::new();
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let offsets = decoder.get_constant_offsets(&instruction);
        let at = |offset: usize| instruction.ip() + offset as u64;
        if offsets.has_displacement() {
            let is_access = !matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop);
            let is_plain = instruction.is_ip_rel_memory_operand()
                || instruction.memory_base() == Register::None
                    && instruction.memory_index() == Register::None;
            let is_relative = !is_plain || instruction.has_segment_prefix();
            let what = if is_access { Use::Accessed { is_relative } } else { Use::Taken };
            found.push((at(offsets.displacement_offset()), what));
        }
        if offsets.has_immediate() {
            let is_branch = instruction.op_kinds().any(|kind| kind == OpKind::NearBranch64);
            found.push((at(offsets.immediate_offset()), if is_branch { Use::Called } else { Use::Taken }));
        }
    }
    found
}

/// A field that lies `offset` bytes into the instruction at `start`.
fn relative(start: u64, offset: u64, distance: i64, target: u64) -> Field {
    Field { offset: start.saturating_add(offset), distance: Some(distance), target: Some(target) }
}

/// Branches that are one word each, with a distance that counts from the word's own offset.
fn words(code: &[u8], start: u64, little: bool, distance: impl Fn(u32) -> Option<i64>) -> Vec<Field> {
    let word = |bytes: &[u8]| {
        let bytes = <[u8; 4]>::try_from(bytes).ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let field = |(index, bytes): (usize, &[u8])| {
        let offset = start.checked_add(index as u64 * 4)?;
        Some(relative(offset, 0, 0, offset.checked_add_signed(distance(word(bytes)?)?)?))
    };
    code.chunks_exact(4).enumerate().filter_map(field).collect()
}

/// BRASL, BRCL and LARL: opcode c0 with 5, 4 and 0 in its second nibble; the distance is in halfwords.
fn s390(code: &[u8], start: u64) -> Vec<Field> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&first) = code.get(at) {
        if let (0xc0, Some([second, distance @ ..])) = (first, code.get(at + 1..at + 6))
            && matches!(second & 0x0f, 0 | 4 | 5)
            && let Ok(distance) = <[u8; 4]>::try_from(distance)
            && let Some(here) = start.checked_add(at as u64)
        {
            let target = here.checked_add_signed(i64::from(i32::from_be_bytes(distance)) * 2);
            found.extend(target.map(|target| relative(here, 2, -2, target)));
        }
        // The first two bits give the length (z/Architecture, "Instruction Formats").
        at += match first >> 6 {
            0 => 2,
            1 | 2 => 4,
            _ => 6,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that counts from `distance` bytes behind it.
    fn field(offset: u64, distance: i64, target: u64) -> Field {
        Field { offset, distance: Some(distance), target: Some(target) }
    }

    #[test]
    fn an_address_is_called_read_or_taken() {
        // call 0; jne 0; mov 0(%rip),%eax; lea 0(%rip),%rax; mov $0,%rax; call *0(%rip)
        let code = [
            0xe8, 0, 0, 0, 0, 0x0f, 0x85, 0, 0, 0, 0, 0x8b, 0x05, 0, 0, 0, 0, 0x48, 0x8d, 0x05, 0, 0, 0, 0,
            0x48, 0xc7, 0xc0, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0,
        ];
        let plain = Use::Accessed { is_relative: false };
        let expected = [
            (0x101, Use::Called),
            (0x107, Use::Called),
            (0x10d, plain),
            (0x114, Use::Taken),
            (0x11b, Use::Taken),
            (0x121, plain),
        ];
        assert_eq!(uses(&code, 0x100), expected);
        // mov %gs:0(%rip),%eax; mov 0(%rax),%eax; movl $0,0(%rip)
        let code = [0x65, 0x8b, 0x05, 0, 0, 0, 0, 0x8b, 0x80, 0, 0, 0, 0, 0xc7, 0x05, 0, 0, 0, 0, 0, 0, 0, 0];
        let relative = Use::Accessed { is_relative: true };
        assert_eq!(uses(&code, 0), [(3, relative), (9, relative), (15, plain), (19, Use::Taken)]);
    }

    #[test]
    fn fields_of_x86_64() {
        let fields = |code: &[u8]| fields(Machine::X86_64, true, code, 0x100);
        // nop; call +0x10 from its end; jmp short -2 (itself); lea 0x8(%rip),%rax
        let code = [0x90, 0xe8, 0x10, 0, 0, 0, 0xeb, 0xfe, 0x48, 0x8d, 0x05, 8, 0, 0, 0];
        assert_eq!(fields(&code), [field(0x102, 4, 0x116), field(0x107, 1, 0x106), field(0x10b, 4, 0x117)]);
        // movq $0, 0(%rip) has its distance at 3 and ends at 11; call at 11 has it at 12.
        let code = [0x48, 0xc7, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0];
        assert_eq!(fields(&code), [field(0x103, 8, 0x10b), field(0x10c, 4, 0x110)]);
        // je +0: the one with two bytes of opcode
        assert_eq!(fields(&[0x0f, 0x84, 0, 0, 0, 0]), [field(0x102, 4, 0x106)]);
        // mov -8(,%rax,8),%rax: the address of an array, with an index
        let code = [0x48, 0x8b, 0x04, 0xc5, 0xf8, 0xff, 0xff, 0xff];
        assert_eq!(fields(&code), [Field { offset: 0x104, distance: None, target: None }]);
    }

    #[test]
    fn fields_of_other_machines() {
        // nop; bl +8; b -4
        let code: Vec<u8> =
            [0xd503_201f_u32, 0x9400_0002, 0x17ff_ffff].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(fields(Machine::AARCH64, true, &code, 0), [field(4, 0, 12), field(8, 0, 4)]);
        // nop; bl +8; b -8; bctrl
        let code: Vec<u8> = [0x6000_0000_u32, 0x4800_0009, 0x4bff_fff8, 0x4e80_0421]
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect();
        assert_eq!(fields(Machine::PPC64, true, &code, 0), [field(4, 0, 12), field(8, 0, 0)]);
        let code: Vec<u8> = code.chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
        assert_eq!(fields(Machine::PPC, false, &code, 0), [field(4, 0, 12), field(8, 0, 0)]);
        // nopr; brasl %r14,.+8; br %r14
        let code = [0x07, 0x00, 0xc0, 0xe5, 0, 0, 0, 4, 0x07, 0xfe];
        assert_eq!(fields(Machine::S390, false, &code, 0x40), [field(0x44, -2, 0x4a)]);
    }
}
