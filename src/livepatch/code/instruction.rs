// SPDX-License-Identifier: GPL-2.0-only
//! Instructions of x86-64 one by one: where each ends, its operand relative to its own end, and its text.

use iced_x86::{
    Decoder, DecoderOptions, Formatter as _, GasFormatter, Mnemonic, OpKind, SymbolResolver, SymbolResult,
};

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Its length in bytes.
    pub length: usize,
    /// Its operand relative to its own end.
    pub relative: Option<Relative>,
    /// Whether it does nothing.
    pub is_nop: bool,
    /// Whether it calls something.
    pub is_call: bool,
    /// The kind of branch, whatever the size of its distance.
    branch: Option<Mnemonic>,
}

/// The field of an instruction that holds a distance from the instruction's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relative {
    /// The field's offset, in bytes from the start of the instruction.
    pub offset: usize,
    /// The field's size in bytes.
    pub size: usize,
    /// The address that it leads to.
    pub target: u64,
}

impl Instruction {
    /// The first instruction of `code`, which lies at `address`; none if there is no valid one.
    pub fn decode(code: &[u8], address: u64) -> Option<Instruction> {
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let decoded = decoder.decode();
        if decoded.is_invalid() {
            return None;
        }
        let offsets = decoder.get_constant_offsets(&decoded);
        let is_near = decoded.op_kinds().any(|kind| kind == OpKind::NearBranch64);
        let relative = if is_near {
            let target = decoded.near_branch64();
            Some(Relative { offset: offsets.immediate_offset(), size: offsets.immediate_size(), target })
        } else if decoded.is_ip_rel_memory_operand() {
            let target = decoded.ip_rel_memory_address();
            Some(Relative {
                offset: offsets.displacement_offset(),
                size: offsets.displacement_size(),
                target,
            })
        } else {
            None
        };
        Some(Instruction {
            length: decoded.len(),
            relative,
            is_nop: matches!(decoded.mnemonic(), Mnemonic::Nop),
            is_call: is_near && decoded.mnemonic() == Mnemonic::Call,
            branch: is_near.then(|| decoded.mnemonic()),
        })
    }

    /// Whether it jumps, with or without a condition.
    pub fn is_jump(&self) -> bool {
        self.branch.is_some() && !self.is_call
    }

    /// Whether it jumps unconditionally.
    pub fn is_plain_jump(&self) -> bool {
        self.branch == Some(Mnemonic::Jmp)
    }

    /// Whether both jump under the same condition: the linker and the assembler choose how many bytes the distance
    /// has.
    pub fn jumps_as(&self, other: &Instruction) -> bool {
        self.is_jump() && self.branch == other.branch
    }
}

/// The text of the first instruction of `code`, which lies at `address`, as objdump writes it; `name` gives the name
/// of an address in it.
pub fn text(code: &[u8], address: u64, name: &dyn Fn(u64) -> Option<String>) -> String {
    let decoded = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
    if decoded.is_invalid() {
        return code.first().map_or_else(String::new, |byte| format!(".byte {byte:#04x}"));
    }
    // Formatter wants an owner for the names that lives as long as it does.
    let mut names: Vec<(u64, String)> = Vec::new();
    let immediates = [decoded.near_branch_target(), decoded.memory_displacement64()]
        .into_iter()
        .chain((0..decoded.op_count()).filter_map(|operand| decoded.try_immediate(operand).ok()));
    for address in immediates {
        names.extend(name(address).map(|name| (address, name)));
    }
    let mut formatter = GasFormatter::with_options(Some(Box::new(Names(names))), None);
    let options = formatter.options_mut();
    options.set_first_operand_char_index(8);
    options.set_uppercase_hex(false);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_small_hex_numbers_in_decimal(false);
    options.set_rip_relative_addresses(true);
    options.set_show_branch_size(false);
    let mut text = String::new();
    formatter.format(&decoded, &mut text);
    text
}

/// Names of the addresses in one instruction.
struct Names(Vec<(u64, String)>);

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        _: &iced_x86::Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let (_, name) = self.0.iter().find(|(at, _)| *at == address)?;
        Some(SymbolResult::with_str(address, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_told_from_calls_whatever_their_size() {
        let decode = |code: &[u8]| Instruction::decode(code, 0x100).unwrap();
        let (short, near) = (decode(&[0x74, 0x10]), decode(&[0x0f, 0x84, 0x10, 0, 0, 0]));
        assert_eq!((short.length, short.relative.unwrap().target), (2, 0x112));
        assert_eq!(near.relative, Some(Relative { offset: 2, size: 4, target: 0x116 }));
        assert!(short.jumps_as(&near) && !short.jumps_as(&decode(&[0x75, 0x10])));
        let call = decode(&[0xe8, 0, 0, 0, 0]);
        assert!(call.is_call && !call.is_jump() && !call.jumps_as(&call));
        assert!(decode(&[0x0f, 0x1f, 0x44, 0, 0]).is_nop && decode(&[0x66, 0x90]).is_nop);
        assert_eq!(Instruction::decode(&[0x06], 0), None);
    }

    #[test]
    fn text_is_what_objdump_writes() {
        let name = |address| (address == 0x115).then(|| "printk".to_owned());
        assert_eq!(text(&[0xe8, 0x10, 0, 0, 0], 0x100, &name), "call    printk");
        assert_eq!(text(&[0x83, 0xf8, 5], 0, &|_| None), "cmp     $0x5,%eax");
        assert_eq!(text(&[0x8b, 0x47, 0x10], 0, &|_| None), "mov     0x10(%rdi),%eax");
        assert_eq!(text(&[0x06], 0, &|_| None), ".byte 0x06");
    }
}
