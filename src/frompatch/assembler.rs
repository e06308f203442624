// SPDX-License-Identifier: GPL-2.0-only
//! A unit as the compiler wrote it for the assembler (`-S -ffunction-sections -fdata-sections`), in pieces: one for each
//! function, variable and constant. What inline assembler puts into other sections (`__bug_table`, `.altinstructions`,
//! `__jump_table`, ...) stands within the text of its function, and stays with it.
//!
//! x86-64, as gcc and clang write it.
//!
//! - [`mod@line`]: one line: statements, directives, names
//! - [`compare`]: what is different between two units; [`extract`]: that, cut out
//! - `canon`: the text that is compared; `pairs`: which variable is which; `own`: what goes with its function
//! - `sections`: what the names of sections say

mod canon;
pub mod compare;
pub mod extract;
pub mod line;
mod own;
mod pairs;
mod sections;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use crate::frompatch::assembler::line::{Directive, label, statements};

/// A part of a unit that stands for itself.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    /// The section's name.
    pub section: String,
    /// What follows the name in the directive.
    pub flags: String,
    /// The lines, without the directive of the section.
    pub lines: Vec<String>,
    /// The labels that it defines.
    pub labels: Vec<String>,
    /// The symbol that it is: the first label that is a symbol.
    pub symbol: Option<String>,
}

/// A unit.
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
    /// Other names of what is defined here (`.set`).
    pub aliases: BTreeMap<String, String>,
    /// What the source says to the assembler outside of functions, line by line.
    pub outside: Vec<String>,
    /// Data that goes with the function that uses it, once that was asked for.
    own: OnceLock<BTreeSet<String>>,
}

impl Piece {
    /// Whether it is kept in memory that the kernel frees when it has begun.
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

    /// Whether it is code that the kernel puts in place of other code, as it runs on this machine.
    pub fn is_replacement(&self) -> bool {
        self.section.starts_with(".altinstr_")
    }

    /// Whether it holds code.
    pub fn is_code(&self) -> bool {
        self.flags.contains('x') || self.section.starts_with(".text")
    }
}

impl Listing {
    /// Takes a unit apart.
    pub fn parse(text: &str) -> Listing {
        Parser::default().parse(&line::without_block_comments(text))
    }

    /// The piece that defines a label.
    pub fn piece_of(&self, label: &str) -> Option<usize> {
        self.by_label.get(label).copied()
    }

    /// Whether a name is a function that is defined here.
    pub fn is_function(&self, name: &str) -> bool {
        self.functions.contains(name) && self.by_label.contains_key(name)
    }

    /// The functions, without the parts of them that are seldom run (`.cold`).
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

    /// Whether a name gives way to one of another unit.
    pub fn is_weak(&self, name: &str) -> bool {
        self.weak.contains(name)
    }

    /// The pieces of a function: its own, and that of its seldom run part.
    pub fn pieces_of(&self, function: &str) -> Vec<usize> {
        let cold = self.functions.iter().filter(|name| parent(name) == Some(function));
        let names = std::iter::once(function).chain(cold.map(String::as_str));
        let mut pieces: Vec<usize> = names.filter_map(|name| self.piece_of(name)).collect();
        // Where the compiler comes back to a section of the function's own, it is still the function.
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

/// The function of which a name is the seldom run part.
pub fn parent(name: &str) -> Option<&str> {
    let (parent, rest) = name.rsplit_once(".cold")?;
    (rest.is_empty() || rest.strip_prefix('.').is_some_and(is_number)).then_some(parent)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name without the number that the compiler has put behind it to tell it from others.
pub fn base(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((base, number)) if is_number(number) && !base.is_empty() => base,
        _ => name,
    }
}

#[derive(Debug, Default)]
struct Parser {
    listing: Listing,
    /// The section at work, with its flags, and the piece at work.
    section: (String, String),
    piece: Option<usize>,
    flags: BTreeMap<String, String>,
    /// How many `.pushsection` are open.
    pushed: usize,
    /// Within a block that ends with `.previous`.
    nested: bool,
    /// Within a table of places for tracers that the padding needs no more.
    in_padding_table: bool,
    /// Of names whose label is still to come: the line with their type, which clang writes before the section's.
    types: BTreeMap<String, String>,
    /// The function that has begun and not ended: its piece and section.
    open: Option<(String, usize, (String, String))>,
}

impl Parser {
    fn parse(mut self, text: &str) -> Listing {
        let lines: Vec<&str> = text.lines().collect();
        self.section = (".text".to_owned(), String::new());
        for (index, line) in lines.iter().enumerate() {
            self.line(line, lines.get(index + 1..).unwrap_or_default());
        }
        let mut listing = self.listing;
        for (index, piece) in listing.pieces.iter_mut().enumerate() {
            piece.symbol = piece.labels.iter().find(|label| !label.starts_with(".L")).cloned();
            for label in &piece.labels {
                listing.by_label.entry(label.clone()).or_insert(index);
            }
        }
        listing
    }

    fn line(&mut self, line: &str, following: &[&str]) {
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            return;
        }
        if self.pushed == 0 && !self.nested {
            match Directive::of(line) {
                Directive::Section { name, flags } if !is_closed(line, following) => {
                    self.enter(name, flags);
                    return;
                }
                Directive::Attribute { what, names } => {
                    self.attribute(&what, &names);
                    return;
                }
                Directive::Alias { name, target } => {
                    self.listing.aliases.insert(name, target);
                    return;
                }
                Directive::Type { name, is_function } => {
                    self.begin();
                    if is_function {
                        self.listing.functions.insert(name.clone());
                    }
                    self.types.insert(name, line.to_owned());
                    return;
                }
                Directive::Common { name } => {
                    self.common(&name, line);
                    return;
                }
                Directive::Align => self.align(),
                Directive::Nothing => return,
                Directive::Section { .. } | Directive::Other => {}
            }
        }
        if self.in_padding_table || (self.pushed == 0 && !self.nested && self.size(line)) {
            return;
        }
        self.push(line);
        for statement in statements(line) {
            match statement.split_whitespace().next().unwrap_or_default() {
                ".pushsection" => self.pushed += 1,
                ".popsection" => self.pushed = self.pushed.saturating_sub(1),
                ".section" if self.pushed == 0 => self.nested = true,
                ".previous" if self.pushed == 0 => self.nested = false,
                _ => {}
            }
        }
    }

    /// A directive that goes over to another section for good.
    fn enter(&mut self, name: String, flags: String) {
        self.in_padding_table = name == "__patchable_function_entries";
        if self.in_padding_table {
            return;
        }
        if !flags.is_empty() {
            self.flags.entry(name.clone()).or_insert_with(|| flags.clone());
        }
        let flags = self.flags.get(&name).cloned().unwrap_or_default();
        // Back from constants, or from its seldom run part, the function goes on.
        if let Some((_, piece, section)) = self.open.clone().filter(|(_, _, section)| section.0 == name) {
            self.section = section;
            self.piece = Some(piece);
        } else if self.section.0 != name {
            self.section = (name, flags);
            self.piece = None;
        }
    }

    fn attribute(&mut self, what: &str, names: &[String]) {
        for name in names {
            match what {
                ".globl" | ".global" => drop(self.listing.globals.insert(name.clone())),
                ".weak" => drop(self.listing.weak.insert(name.clone())),
                _ => {}
            }
        }
    }

    /// `.type NAME`: data that follows is NAME's.
    fn begin(&mut self) {
        if self.current().is_some_and(|piece| !piece.is_code() && !piece.labels.is_empty()) {
            self.piece = None;
        }
    }

    fn common(&mut self, name: &str, line: &str) {
        let piece = Piece { section: ".bss".to_owned(), ..Piece::default() };
        self.listing.pieces.push(Piece {
            lines: vec![format!("\t.local\t{name}"), line.to_owned()],
            labels: vec![name.to_owned()],
            ..piece
        });
        self.piece = None;
    }

    /// Data that is aligned anew is the next.
    fn align(&mut self) {
        if self.current().is_some_and(|piece| !piece.is_code() && !piece.labels.is_empty()) {
            self.piece = None;
        }
    }

    /// `.size NAME, ...` ends a function; the one of a seldom run part may stand apart from it.
    fn size(&mut self, line: &str) -> bool {
        let Some(name) = size_of(line) else { return false };
        if !self.listing.functions.contains(name) {
            return false;
        }
        let defines = |piece: &&mut Piece| piece.labels.iter().any(|label| label == name);
        if let Some(piece) = self.listing.pieces.iter_mut().rev().find(defines) {
            piece.lines.push(line.to_owned());
        }
        if self.open.as_ref().is_some_and(|(open, _, _)| open == name) {
            self.open = None;
        }
        self.piece = None;
        true
    }

    fn current(&self) -> Option<&Piece> {
        self.listing.pieces.get(self.piece?)
    }

    fn push(&mut self, line: &str) {
        let label = if self.pushed == 0 && !self.nested { label(line) } else { None };
        let is_next_constant = label.is_some_and(|label| label.starts_with(".L"))
            && self.current().is_some_and(|piece| {
                !piece.is_code()
                    && piece.symbol.is_none()
                    && !piece.labels.is_empty()
                    && piece.lines.last().is_some_and(|last| line::label(last).is_none())
            });
        if is_next_constant {
            self.piece = None;
        }
        // Before the first function there is only what the source says to the assembler itself.
        if self.piece.is_none() && self.section.0 == ".text" && label.is_none() && !is_function_start(line) {
            self.listing.outside.push(line.to_owned());
            return;
        }
        let index = match self.piece {
            Some(index) => index,
            None => {
                let (section, flags) = self.section.clone();
                self.listing.pieces.push(Piece { section, flags, ..Piece::default() });
                self.listing.pieces.len() - 1
            }
        };
        self.piece = Some(index);
        if let Some(piece) = self.listing.pieces.get_mut(index) {
            piece.lines.extend(label.and_then(|label| self.types.remove(label)));
            piece.lines.push(line.to_owned());
            piece.labels.extend(label.map(str::to_owned));
        }
        let opens = |name: &&str| self.listing.functions.contains(*name) && parent(name).is_none();
        if let Some(name) = label.filter(opens) {
            self.open = Some((name.to_owned(), index, self.section.clone()));
        }
    }
}

/// The name of which a line gives the size, up to where the line stands.
fn size_of(line: &str) -> Option<&str> {
    let rest = line::without_comment(line).trim().strip_prefix(".size")?;
    let (name, size) = rest.split_once(',')?;
    size.contains('-').then(|| name.trim().trim_matches('"'))
}

fn is_function_start(line: &str) -> bool {
    [".p2align", ".type", ".align"].iter().any(|word| line.trim_start().starts_with(word))
}

/// Whether a `.section` is taken back with `.previous` before the next one.
fn is_closed(line: &str, following: &[&str]) -> bool {
    let mut depth = 0usize;
    let first = statements(line);
    let rest = following.iter().take(64).flat_map(|line| statements(line));
    for (index, statement) in first.into_iter().chain(rest).enumerate() {
        match statement.split_whitespace().next().unwrap_or_default() {
            ".pushsection" => depth += 1,
            ".popsection" => depth = depth.saturating_sub(1),
            ".previous" if depth == 0 => return true,
            ".section" | ".text" | ".data" | ".bss" if depth == 0 && index > 0 => return false,
            ".size" if depth == 0 => return false,
            _ => {}
        }
    }
    false
}
