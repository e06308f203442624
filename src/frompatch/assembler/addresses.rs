// SPDX-License-Identifier: GPL-2.0-only
//! What becomes of a constant's address: it may say what something is (`if (file->f_op == &eventpoll_fops)`), or be kept. A
//! copy in the livepatch has another address, and what the kernel has made before keeps the old one.
//!
//! The address is followed through registers and the stack, along all ways through a function, and into the functions of the
//! unit that get it as an argument. Memory elsewhere is not followed.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::callers::callers;
use crate::frompatch::assembler::line::{PREFIXES, label};

/// What a unit does with the address of a constant.
#[derive(Debug, Default)]
pub(super) struct Address<'a> {
    /// A function that compares a pointer with an address in the constant, or counts from there. An address behind its end is
    /// that of a loop.
    pub(super) comparer: Option<&'a str>,
    /// The functions elsewhere that get it as an argument, each with one that gives it.
    pub(super) given: BTreeMap<&'a str, &'a str>,
    /// Whether it is put into memory, or returned.
    pub(super) is_stored: bool,
}

/// Follows the address of the constant `name`, which has `size` bytes.
pub(super) fn address<'a>(listing: &'a Listing, name: &str, size: u64) -> Address<'a> {
    let mut search =
        Search { listing, name: name.to_owned(), size, seen: BTreeSet::new(), found: Address::default() };
    for function in callers(listing, name) {
        search.function(function, BTreeSet::new());
    }
    search.found
}

/// The registers of arguments, and what a called function may change beside them (System V ABI, x86-64).
const ARGUMENTS: [&str; 6] = ["%rdi", "%rsi", "%rdx", "%rcx", "%r8", "%r9"];
const SCRATCH: [&str; 3] = ["%rax", "%r10", "%r11"];

/// Where the address may be: registers, and words of the stack as the assembler writes them.
type Holders = BTreeSet<String>;

struct Search<'a> {
    listing: &'a Listing,
    name: String,
    size: u64,
    /// Functions that have been looked at, with what held the address at their beginning.
    seen: BTreeSet<(&'a str, Holders)>,
    found: Address<'a>,
}

/// Where an instruction leads.
struct Next<'a> {
    /// Whether to the next line.
    is_behind: bool,
    /// To a label, which may be another function's.
    label: Option<&'a str>,
    /// Whether to any label of the function.
    is_anywhere: bool,
}

impl<'a> Search<'a> {
    /// Looks at `function`, and at those of the unit that it gives the address. `begin` holds it when `function` is called.
    fn function(&mut self, function: &'a str, begin: Holders) {
        if !self.seen.insert((function, begin.clone())) {
            return;
        }
        let pieces = self.listing.parts_of(function).filter(|piece| piece.is_code());
        let lines = pieces.flat_map(|piece| &piece.lines);
        let lines: Vec<&'a str> = lines.map(|line| line.trim()).collect();
        let marks = lines.iter().enumerate().filter_map(|(index, line)| Some((label(line)?, index)));
        let labels: BTreeMap<&str, usize> = marks.collect();
        let mut known: BTreeMap<usize, Holders> = BTreeMap::new();
        let mut waiting: Vec<(usize, Holders)> =
            labels.get(function).map(|&first| (first, begin)).into_iter().collect();
        while let Some((index, mut holders)) = waiting.pop() {
            let Some(line) = lines.get(index) else { continue };
            if known.get(&index).is_some_and(|known| holders.is_subset(known)) {
                continue;
            }
            let all = known.entry(index).or_default();
            all.append(&mut holders);
            let mut holders = all.clone();
            let instruction = Instruction::read(line);
            if self.compares(&instruction, &holders) {
                self.found.comparer.get_or_insert(function);
            }
            self.moves(&instruction, &mut holders);
            let next = instruction.next();
            if !next.is_behind && next.label.is_none_or(|to| !labels.contains_key(to)) {
                self.found.is_stored |= holders.contains("%rax");
            }
            if let Some(callee) = next.label.filter(|to| !labels.contains_key(to)) {
                self.called(function, callee, &mut holders);
            }
            let label = next.label.and_then(|to| labels.get(to)).copied();
            let anywhere = labels.values().copied().filter(|_| next.is_anywhere);
            let behind = next.is_behind.then_some(index + 1);
            waiting.extend(label.into_iter().chain(anywhere).chain(behind).map(|to| (to, holders.clone())));
        }
    }

    /// Follows a call. What holds the address afterwards is left in `holders`: a function of the unit may be known to change
    /// few registers.
    fn called(&mut self, function: &'a str, callee: &'a str, holders: &mut Holders) {
        let is_argument = |holder: &&String| ARGUMENTS.contains(&holder.as_str());
        let given: Holders = holders.iter().filter(is_argument).cloned().collect();
        let own = self.listing.functions().find(|function| *function == callee);
        match own {
            Some(own) if !given.is_empty() => self.function(own, given),
            Some(_) => {}
            None => {
                if !given.is_empty() && callee != "__fentry__" {
                    self.found.given.entry(callee).or_insert(function);
                }
                holders.retain(|holder| !is_argument(&holder) && !SCRATCH.contains(&holder.as_str()));
            }
        }
    }

    /// Whether an operand is the address of a byte of the constant.
    fn is_address(&self, word: &str, operand: &str) -> bool {
        let text = match operand.strip_suffix("(%rip)") {
            Some(text) if word.starts_with("lea") => Some(text),
            _ => operand.strip_prefix('$'),
        };
        let Some(rest) = text.and_then(|text| text.strip_prefix(self.name.as_str())) else { return false };
        match rest.strip_prefix('+') {
            Some(offset) => offset.parse::<u64>().is_ok_and(|offset| offset < self.size),
            None => rest.is_empty(),
        }
    }

    /// Whether an instruction compares something with the address, or counts from it.
    fn compares(&self, instruction: &Instruction<'_>, holders: &Holders) -> bool {
        let Instruction { word, operands } = instruction;
        let is_held = |operand: &&str| self.is_address(word, operand) || holders.contains(&place(operand));
        match (*word, operands.as_slice()) {
            // `%rdi` with itself: a test for 0, or a 0.
            ("cmpq" | "subq" | "xorq", [left, right]) if left == right => false,
            // Behind the end of it: a loop over its entries.
            ("cmpq", [end, _]) if end.strip_prefix('$').is_some_and(|end| end.starts_with(&self.name)) => {
                self.is_address(word, end)
            }
            ("cmpq" | "xorq", operands) => operands.iter().any(is_held),
            ("subq", [taken, _]) => is_held(taken),
            ("cmpxchgq", _) => holders.contains("%rax"),
            _ => false,
        }
    }

    /// What an instruction puts the address into, and what it puts something else into.
    fn moves(&mut self, instruction: &Instruction<'_>, holders: &mut Holders) {
        let Instruction { word, operands } = instruction;
        let Some(to) = operands.last().map(|to| place(to)) else { return };
        if ["cmp", "test", "push", "j", "call", "bt", "nop"].iter().any(|start| word.starts_with(start)) {
            return;
        }
        let is_move = ["mov", "lea", "cmov"].iter().any(|start| word.starts_with(start));
        let from = operands.first().filter(|_| is_move && operands.len() == 2);
        let is_held = from.is_some_and(|from| self.is_address(word, from) || holders.contains(&place(from)));
        let is_followed = to.starts_with('%') || to.ends_with("(%rsp)") || to.ends_with("(%rbp)");
        self.found.is_stored |= is_held && !is_followed;
        if is_held && is_followed {
            holders.insert(to);
        } else if !word.starts_with("cmov") {
            holders.remove(&to);
        }
    }
}

/// An instruction in parts; a line that is none has no word.
struct Instruction<'a> {
    word: &'a str,
    operands: Vec<&'a str>,
}

impl<'a> Instruction<'a> {
    fn read(line: &'a str) -> Instruction<'a> {
        // `1:` may stand before an instruction.
        let number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let mut rest = number.strip_prefix(':').unwrap_or(line).trim_start();
        let mut word = "";
        while !rest.is_empty() && (word.is_empty() || PREFIXES.contains(&word)) {
            (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            rest = rest.trim_start();
        }
        if word.starts_with('.') || word.ends_with(':') {
            return Instruction { word: "", operands: Vec::new() };
        }
        let mut depth = 0;
        let operands = rest.split(|letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            letter == ',' && depth == 0
        });
        Instruction { word, operands: operands.map(str::trim).collect() }
    }

    fn next(&self) -> Next<'a> {
        let to = self.operands.first().copied().unwrap_or_default();
        let is_jump = self.word.starts_with('j');
        let is_unknown = to.starts_with('*')
            || to.contains("indirect_thunk")
            || to.starts_with(|to: char| to.is_ascii_digit());
        Next {
            is_behind: !["jmp", "ret"].contains(&self.word),
            label: (is_jump || self.word.starts_with("call")).then_some(to),
            is_anywhere: is_jump && is_unknown,
        }
    }
}

/// An operand as it is kept among the holders: a register by the name of all its 64 bits.
fn place(operand: &str) -> String {
    let Some(name) = operand.strip_prefix('%') else { return operand.to_owned() };
    let numbered = name.strip_prefix('r').map(|name| name.trim_end_matches(['d', 'w', 'b']));
    if let Some(number) = numbered.filter(|number| number.starts_with(|first: char| first.is_ascii_digit())) {
        return format!("%r{number}");
    }
    let core = name.trim_start_matches(['r', 'e']);
    let of_letter = ["a", "b", "c", "d"]
        .into_iter()
        .find(|letter| core.strip_prefix(letter).is_some_and(|part| ["x", "l", "h"].contains(&part)));
    match of_letter {
        Some(letter) => format!("%r{letter}x"),
        None => format!("%r{}", core.trim_end_matches('l')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The function that compares with `table`, 24 bytes, among functions of these bodies.
    fn found(functions: &[(&str, &str)]) -> Option<String> {
        let texts = functions.iter().map(|(name, body)| {
            format!("\t.section\t.text.{name},\"ax\",@progbits\n\t.type\t{name}, @function\n{name}:\n{body}\t.size\t{name}, .-{name}\n")
        });
        let listing = Listing::parse(&texts.collect::<String>());
        address(&listing, "table", 24).comparer.map(str::to_owned)
    }

    fn one(body: &str) -> bool {
        found(&[("f", body)]).is_some()
    }

    #[test]
    fn operands_that_are_the_address() {
        for compares in ["cmpq\t$table, 8(%rdi)", "cmpq\t$table+23, %rax", "subq\t$table, %rax"] {
            assert!(one(&format!("\t{compares}\n\tret\n")), "{compares}");
        }
        for compares in
            ["cmpq\t$table+24, %rax", "cmpq\t$tables, %rax", "cmpq\ttable(%rip), %rax", "cmpq\t$4, %rax"]
        {
            assert!(!one(&format!("\t{compares}\n\tmovq\t$table, %rdi\n\tret\n")), "{compares}");
        }
    }

    #[test]
    fn the_address_is_followed_through_registers_and_the_stack() {
        // What gcc makes of `file->ops == (which ? &table : &other)`.
        assert!(one(
            "\tmovq\t$table, %rdx\n\tmovq\t$other, %rax\n\tcmovne\t%rdx, %rax\n\tcmpq\t%rax, 8(%rdi)\n\tret\n"
        ));
        assert!(one(
            "\tleaq\ttable(%rip), %r8\n\tmovq\t%r8, 16(%rsp)\n\tcall\tg\n\tmovq\t16(%rsp), %rax\n\tcmpq\t%rbx, %rax\n\tret\n"
        ));
        assert!(one("\tmovq\t$table, %rax\n\tlock cmpxchgq\t%rdx, 8(%rdi)\n\tret\n"));
        // Its content, another value in the same register, and one that a call has left there.
        assert!(!one("\tmovq\ttable(%rip), %rax\n\tcmpq\t%rax, 8(%rdi)\n\tmovq\t$table, %rdi\n\tret\n"));
        assert!(!one("\tmovq\t$table, %rax\n\txorl\t%eax, %eax\n\tcmpq\t%rax, 8(%rdi)\n\tret\n"));
        assert!(!one("\tmovq\t$table, %rdi\n\tcall\tg\n\tcmpq\t%rdi, %rax\n\tret\n"));
        assert!(!one(
            "\tmovq\t$table, %rbx\n.L2:\n\tcall\tg\n\taddq\t$8, %rbx\n\tcmpq\t$table+24, %rbx\n\tjne\t.L2\n\tret\n"
        ));
    }

    #[test]
    fn all_ways_through_a_function_count() {
        let body = |jump: &str| {
            format!("\tmovq\t$table, %rbx\n\t{jump}\n\tmovq\t$0, %rbx\n.L2:\n\tcmpq\t%rbx, 8(%rdi)\n\tret\n")
        };
        assert!(one(&body("je\t.L2")) && one(&body("jmp\t*.L5(,%rax,8)")) && one(&body("jmp\t1f")));
        assert!(!one(&body("nop")));
        assert!(!one("\tmovq\t$table, %rbx\n\tret\n.L2:\n\tcmpq\t%rbx, 8(%rdi)\n\tret\n"));
    }

    #[test]
    fn functions_of_the_unit_get_it_as_an_argument() {
        let is = ("is", "\tcmpq\t%rsi, 8(%rdi)\n\tsete\t%al\n\tret\n");
        let with = |body| found(&[("f", body), is]);
        assert_eq!(with("\tmovq\t$table, %rsi\n\tcall\tis\n\tret\n").as_deref(), Some("is"));
        assert_eq!(with("1:\tmovq\t$table+8, %rsi\n\tjmp\tis\n").as_deref(), Some("is"));
        assert_eq!(with("\tmovq\t$table, %rdx\n\tcall\tis\n\tret\n"), None);
        assert_eq!(found(&[("f", "\tmovq\t$table, %rdi\n\tcall\tf\n\tret\n")]), None);
    }

    #[test]
    fn what_is_given_away_is_seen() {
        let of = |body: &str| {
            let text = format!(
                "\t.section\t.text.f,\"ax\",@progbits\n\t.type\tf, @function\nf:\n\tcall\t__fentry__\n{body}"
            );
            let listing = Listing::parse(&text);
            let found = address(&listing, "table", 24);
            (found.given.keys().map(|&name| name.to_owned()).collect::<Vec<_>>(), found.is_stored)
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(
            of("\tmovq\t$table, %rsi\n\tcall\tkeep\n\tjmp\tother\n"),
            (vec!["keep".to_owned()], false)
        );
        assert_eq!(of("\tmovq\t$table, %rdi\n\tjmp\tkeep\n"), (vec!["keep".to_owned()], false));
        assert_eq!(of("\tmovq\t$table, 40(%rdi)\n\tret\n"), (none.clone(), true));
        assert_eq!(of("\tmovq\t$table, %rax\n\tret\n"), (none.clone(), true));
        assert_eq!(of("\tmovq\ttable(,%rax,8), %rax\n\tcall\t*%rax\n\tret\n"), (none.clone(), false));
        assert_eq!(
            of("\tmovq\t$table, %rbx\n\tmovq\t%rbx, 8(%rsp)\n\txorl\t%eax, %eax\n\tret\n"),
            (none, false)
        );
    }

    #[test]
    fn registers_have_one_name() {
        for (operand, whole) in
            [("%eax", "%rax"), ("%dil", "%rdi"), ("%r8d", "%r8"), ("%r10b", "%r10"), ("%dh", "%rdx")]
        {
            assert_eq!(place(operand), whole);
        }
        assert_eq!(
            (place("%rbp"), place("%esp"), place("8(%rsp)")),
            ("%rbp".into(), "%rsp".into(), "8(%rsp)".into())
        );
    }
}
