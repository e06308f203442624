// SPDX-License-Identifier: GPL-2.0-only
//! Splits a unit's text into pieces, line by line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::frompatch::assembler::line::{self, Directive, label, statements};
use crate::frompatch::assembler::{Listing, Piece, parent};

impl Listing {
    /// Splits a unit's text into pieces.
    pub fn parse(text: &str) -> Listing {
        Parser::default().parse(&line::without_block_comments(text))
    }
}

/// The state after the lines read so far.
#[derive(Debug, Default)]
struct Parser {
    listing: Listing,
    /// The current section with its flags; the current piece follows.
    section: (String, String),
    piece: Option<usize>,
    flags: BTreeMap<String, String>,
    /// How many `.pushsection` are open.
    pushed: usize,
    /// Within a block that ends with `.previous`.
    nested: bool,
    /// Whether the line is within a table of trace sites for padding that is left out.
    in_padding_table: bool,
    /// For names whose label is still to come: the line with their type, which clang writes before the section's.
    types: BTreeMap<String, String>,
    /// The function that has begun and not ended: its name, piece and section.
    open: Option<(String, usize, (String, String))>,
}

impl Parser {
    fn parse(mut self, text: &str) -> Listing {
        let lines: Vec<Cow<'_, str>> = text.lines().flat_map(line::split).collect();
        self.section = (".text".to_owned(), String::new());
        for (index, line) in lines.iter().enumerate() {
            self.line(line, lines.get(index + 1..).unwrap_or_default());
        }
        let mut listing = self.listing;
        resolve_parts(&mut listing);
        for (index, piece) in listing.pieces.iter_mut().enumerate() {
            piece.symbol = piece.labels.iter().find(|label| !label.starts_with(".L")).cloned();
            for label in &piece.labels {
                listing.by_label.entry(label.clone()).or_insert(index);
            }
        }
        listing
    }

    fn line(&mut self, line: &str, following: &[Cow<'_, str>]) {
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
                // Within a function, this is the source's own assembler, and belongs to the function.
                Directive::Alias { name, target } => {
                    self.alias(line, name, target);
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

    /// Handles a directive that switches to another section for good.
    fn enter(&mut self, name: String, flags: String) {
        self.in_padding_table = name == "__patchable_function_entries";
        if self.in_padding_table {
            return;
        }
        if !flags.is_empty() {
            self.flags.entry(name.clone()).or_insert_with(|| flags.clone());
        }
        let flags = self.flags.get(&name).cloned().unwrap_or_default();
        // After constants or its seldom run part, the function goes on.
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

    /// Handles `.set`, an alias; within a function it is the source's own assembler, and belongs to the function.
    fn alias(&mut self, line: &str, name: String, target: String) {
        let open = self.open.as_ref().map(|(_, piece, _)| *piece).filter(|piece| self.piece == Some(*piece));
        match open.and_then(|piece| self.listing.pieces.get_mut(piece)) {
            Some(piece) => {
                piece.lines.push(line.to_owned());
                piece.labels.push(name);
            }
            None => drop(self.listing.aliases.insert(name, target)),
        }
    }

    /// Handles `.type NAME`: the data that follows is NAME's.
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

    /// Handles an alignment: the data after it is a new piece.
    fn align(&mut self) {
        if self.current().is_some_and(|piece| !piece.is_code() && !piece.labels.is_empty()) {
            self.piece = None;
        }
    }

    /// Handles `.size NAME, ...`, which ends a function; the `.size` of a seldom run part may stand apart from it.
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
        // Before the first function there are only lines that the source writes to the assembler.
        let is_start = self.pushed == 0 && !self.nested && (label.is_some() || is_function_start(line));
        if self.piece.is_none() && self.section.0 == ".text" && !is_start {
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

/// Writes constants that lie within others (`.set .LC55,.LC108+4`, as gcc has for parts of vectors) as what they are,
/// where they are used.
fn resolve_parts(listing: &mut Listing) {
    let is_part = |(name, target): &(&String, &String)| name.starts_with(".L") && target.starts_with(".L");
    let parts: BTreeMap<String, String> = (listing.aliases.iter().filter(is_part))
        .map(|(name, target)| (name.clone(), target.clone()))
        .collect();
    listing.aliases.retain(|name, _| !parts.contains_key(name));
    let lines = listing.pieces.iter_mut().flat_map(|piece| &mut piece.lines);
    for line in lines.filter(|line| !parts.is_empty() && line.contains(".L")) {
        *line = line::rewrite(line, |name| parts.get(name).cloned());
    }
}

/// The name whose size a line gives as the distance up to that line.
fn size_of(line: &str) -> Option<&str> {
    let rest = line::without_comment(line).trim().strip_prefix(".size")?;
    let (name, size) = rest.split_once(',')?;
    size.contains('-').then(|| name.trim().trim_matches('"'))
}

fn is_function_start(line: &str) -> bool {
    [".p2align", ".type", ".align"].iter().any(|word| line.trim_start().starts_with(word))
}

/// Whether `.previous` takes a `.section` back before the next one.
fn is_closed(line: &str, following: &[Cow<'_, str>]) -> bool {
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
