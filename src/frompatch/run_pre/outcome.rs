// SPDX-License-Identifier: GPL-2.0-only
//! The result of the comparison: where the unit's symbols lie in the kernel, or what differs from it.

use std::collections::BTreeMap;
use std::fmt;

use crate::elf::image::{Symbol, SymbolIndex};
use crate::frompatch::run_pre::kernel::Spot;
use crate::kernel::sources::KernelDefinition;

/// The width of the left side of a difference, in characters.
const WIDTH: usize = 48;

/// Where a symbol of the unit is in the kernel.
#[derive(Debug, Clone)]
pub struct Located {
    /// The object's run-time name.
    pub object: String,
    /// The raw name that the kernel has for it.
    pub name: Vec<u8>,
    /// Where it lies.
    pub spot: Spot,
    /// What the object's symbol table says of it, and its position.
    pub known: KernelDefinition,
}

impl Located {
    /// The position to write into a symbol's name: 0 if only one symbol has that name (S1); none if kallsyms leaves
    /// it out (S3).
    pub fn sympos(&self) -> Option<u64> {
        self.known.sympos()
    }

    /// The address in vmlinux, or the offset in the module's section.
    pub fn address(&self) -> u64 {
        self.spot.address
    }
}

/// What became of a function of the unit in the kernel.
#[derive(Debug, Clone)]
pub enum FunctionFate {
    /// It is there, with equal code.
    Equal(Located),
    /// It is weak, and the kernel uses another function of that name: patching this one has no effect.
    Overridden(Located),
    /// Several functions are equal, and nothing tells which of them it is.
    Ambiguous(Vec<Located>),
}

/// A function of the unit.
#[derive(Debug, Clone)]
pub struct ComparedFunction {
    /// Its raw name.
    pub name: Vec<u8>,
    /// Its symbol in the unit, by index.
    pub symbol: SymbolIndex,
    /// What became of it.
    pub fate: FunctionFate,
}

/// A unit that was found in the kernel, function by function.
#[derive(Debug, Clone, Default)]
pub struct Matched {
    /// All functions of the unit, in the order of its sections.
    pub functions: Vec<ComparedFunction>,
    pub(super) located: BTreeMap<SymbolIndex, Located>,
    pub(super) by_name: BTreeMap<Vec<u8>, Option<SymbolIndex>>,
    pub(super) vague: BTreeMap<Vec<u8>, Vec<Located>>,
}

impl Matched {
    /// Where the symbol `name` of the unit lies, whether the unit defines it or refers to it; none if the kernel's
    /// code does not tell, or if it is not in this object.
    pub fn position(&self, name: &[u8]) -> Option<&Located> {
        self.position_of((*self.by_name.get(name)?)?)
    }

    /// Where a symbol of the unit lies, by its index.
    pub fn position_of(&self, symbol: SymbolIndex) -> Option<&Located> {
        self.located.get(&symbol)
    }

    /// The symbols of the kernel that `name` may mean if nothing tells which; empty if it means one or none.
    pub fn candidates(&self, name: &[u8]) -> &[Located] {
        self.vague.get(name).map_or(&[], Vec::as_slice)
    }

    /// The function `name` of the unit.
    pub fn function(&self, name: &[u8]) -> Option<&ComparedFunction> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The symbols of the unit that were found, by their indices, with their symbols in the kernel.
    pub fn all(&self) -> impl Iterator<Item = (SymbolIndex, &Located)> {
        self.located.iter().map(|(symbol, located)| (*symbol, located))
    }
}

/// A difference between the unit and the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The function or variable of the unit.
    pub name: String,
    /// The offset of the difference from the beginning of the function or variable, in bytes.
    pub offset: u64,
    /// What differs.
    pub what: String,
    /// Assembler around the difference, the unit's and the kernel's; the first different line of each is marked.
    pub lines: Vec<(String, String)>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}: {}", self.name, self.offset, self.what)?;
        if !self.lines.is_empty() {
            write!(f, "\n      {:<WIDTH$} the kernel has", "compiled again")?;
        }
        for (our, their) in &self.lines {
            write!(f, "\n    {:<width$} {}", our, their, width = WIDTH + 2)?;
        }
        Ok(())
    }
}

/// A symbol's name without a number at its end that keeps it apart from others: `foo` of `foo.12`.
pub(super) fn base(name: &[u8]) -> &[u8] {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = name.get(..name.len() - digits).unwrap_or(name);
    match rest {
        [base @ .., b'.'] if digits > 0 && !base.is_empty() => base,
        _ => name,
    }
}

/// A symbol's name for messages.
pub(super) fn name_of(symbol: Option<&Symbol>) -> String {
    symbol.map_or_else(|| "?".to_owned(), Symbol::shown)
}
