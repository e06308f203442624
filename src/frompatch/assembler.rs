// SPDX-License-Identifier: GPL-2.0-only
//! A unit as the compiler wrote it for the assembler (`-S -ffunction-sections -fdata-sections`), in pieces: one for
//! each function, variable and constant. Lines that inline assembler writes into other sections (`__bug_table`,
//! `.altinstructions`, `__jump_table`, ...) stand within the text of its function, and stay with it.
//!
//! x86-64, as gcc and clang write it.
//!
//! - [`mod@line`]: one line: statements, directives, names
//! - [`compare`]: what is different between two units; [`extract`]: that, cut out
//! - [`callers`]: those that are replaced in place of a function that cannot be
//! - [`callbacks`]: what the kernel is to call around the livepatch
//! - `early`: static keys of modules, which are asked each time
//! - `parse`: how a text is taken apart
//! - `canon`: the text that is compared; `pairs`: which variable is which; `own`: what goes with its function
//! - `addresses`: what becomes of the addresses of constants
//! - `lasting`: what the kernel has done before, and keeps afterwards
//! - `identity`: names that mean another thing than in the kernel
//! - `sections`: what the names of sections say; `statics`: variables that hold a state

mod addresses;
pub(crate) mod callbacks;
pub(crate) mod callers;
mod canon;
pub mod compare;
mod early;
pub mod extract;
mod identity;
mod lasting;
mod line;
mod own;
pub(crate) mod pairs;
mod parse;
mod sections;
mod statics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// A part of a unit that can be taken on its own: a function, a variable or a constant.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    /// The section's name.
    pub section: String,
    /// The rest of the section's directive, after the name.
    pub flags: String,
    /// The lines, without the directive of the section.
    pub lines: Vec<String>,
    /// The labels that it defines.
    pub labels: Vec<String>,
    /// The name of the function or variable: its first label that is a symbol.
    pub symbol: Option<String>,
}

/// A unit's assembler text, in pieces.
#[derive(Debug, Default)]
pub struct Listing {
    /// All pieces, in their order.
    pub pieces: Vec<Piece>,
    /// By label: the piece that defines it.
    by_label: BTreeMap<String, usize>,
    functions: BTreeSet<String>,
    /// Names that other units see.
    globals: BTreeSet<String>,
    weak: BTreeSet<String>,
    /// Other names of symbols that are defined here (`.set`): by the alias, its target.
    pub aliases: BTreeMap<String, String>,
    /// Lines that the source writes to the assembler outside of functions.
    pub outside: Vec<String>,
    /// The names of data that belongs to one function; computed when it is first asked for.
    own: OnceLock<BTreeSet<String>>,
}

impl Piece {
    /// Whether it lies in memory that the kernel frees after initialisation.
    pub fn is_init(&self) -> bool {
        [".init", ".exit", ".ref"]
            .iter()
            .any(|start| self.section.strip_prefix(start).is_some_and(|rest| rest.starts_with('.')))
            && !self.section.starts_with(".ref.")
    }

    /// Whether nobody may write to it.
    pub fn is_constant(&self) -> bool {
        [".rodata", ".data.rel.ro"].iter().any(|start| self.section.starts_with(start))
    }

    /// Whether it is code that the kernel copies over other code, depending on the machine it runs on.
    pub fn is_replacement(&self) -> bool {
        self.section.starts_with(".altinstr_")
    }

    /// Whether a name is an operand or a label in the piece.
    pub fn has_name(&self, name: &str) -> bool {
        // The names in a line are read for few lines only.
        let mut lines = self.lines.iter().filter(|line| line.contains(name));
        lines.any(|line| line::names(line).iter().any(|other| other == name))
    }

    /// Whether the piece is code.
    pub fn is_code(&self) -> bool {
        self.flags.contains('x') || self.section.starts_with(".text")
    }
}

impl Listing {
    /// The index of the piece that defines a label.
    pub fn piece_of(&self, label: &str) -> Option<usize> {
        self.by_label.get(label).copied()
    }

    /// The piece that defines a label.
    pub fn piece(&self, label: &str) -> Option<&Piece> {
        self.pieces.get(self.piece_of(label)?)
    }

    /// Whether a name is a function that is defined here.
    pub fn is_function(&self, name: &str) -> bool {
        self.functions.contains(name) && self.by_label.contains_key(name)
    }

    /// The functions, without their seldom run parts (`.cold`).
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        let own = self.functions.iter().filter(|name| self.by_label.contains_key(*name));
        own.map(String::as_str).filter(|name| parent(name).is_none())
    }

    /// The variables and constants with a name.
    pub fn data(&self) -> impl Iterator<Item = (&str, &Piece)> {
        self.pieces.iter().filter(|piece| !piece.is_code()).filter_map(|piece| {
            let name = piece.symbol.as_deref()?;
            Some((name, piece))
        })
    }

    /// Whether other units see a name.
    pub fn is_global(&self, name: &str) -> bool {
        self.globals.contains(name)
    }

    /// Whether a symbol is weak: a global one of another unit is used instead of it.
    pub fn is_weak(&self, name: &str) -> bool {
        self.weak.contains(name)
    }

    /// Whether a name is defined here, as a label or as another name of one.
    pub fn defines(&self, name: &str) -> bool {
        self.by_label.contains_key(name) || self.aliases.contains_key(name)
    }

    /// What a function is made of: the [`Listing::pieces_of`] it.
    pub fn parts_of(&self, function: &str) -> impl Iterator<Item = &Piece> {
        self.pieces_of(function).into_iter().filter_map(|piece| self.pieces.get(piece))
    }

    /// The pieces of a function: its own, and those of its seldom run part.
    pub fn pieces_of(&self, function: &str) -> Vec<usize> {
        let cold = self.functions.iter().filter(|name| parent(name) == Some(function));
        let names = std::iter::once(function).chain(cold.map(String::as_str));
        let mut pieces: Vec<usize> = names.filter_map(|name| self.piece_of(name)).collect();
        // If the compiler returns to a section of the function's own, the lines there belong to the function.
        let is_own = |piece: &Piece| {
            let rest = [".text.unlikely.", ".text.hot.", ".text."]
                .iter()
                .find_map(|start| piece.section.strip_prefix(start));
            rest == Some(function)
        };
        pieces.extend(
            self.pieces.iter().enumerate().filter(|(_, piece)| is_own(piece)).map(|(index, _)| index),
        );
        self.add_notes(&mut pieces);
        pieces.sort_unstable();
        pieces.dedup();
        pieces
    }
}

/// The function whose seldom run part has the name `name`; none if the name is no such part's.
pub fn parent(name: &str) -> Option<&str> {
    let (parent, rest) = name.rsplit_once(".cold")?;
    (rest.is_empty() || rest.strip_prefix('.').is_some_and(is_number)).then_some(parent)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name without the number that the compiler appended to keep it apart from others.
pub fn base(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((base, number)) if is_number(number) && !base.is_empty() => base,
        _ => name,
    }
}
