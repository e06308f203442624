// SPDX-License-Identifier: GPL-2.0-only
//! A unit's functions and data as text that can be compared: without the numbers that the compiler gives to names,
//! and with the contents of nameless pieces in the lines that use them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::frompatch::assembler::line::{Directive, rewrite, without_comment};
use crate::frompatch::assembler::{Listing, Piece, base};

/// How to write the text of one unit.
#[derive(Debug)]
pub(super) struct Canon<'a> {
    listing: &'a Listing,
    /// For the patched unit: the unpatched one, and by the name of a variable or constant its name there.
    pairs: Option<(&'a Listing, &'a BTreeMap<String, String>)>,
}

/// One text that is being written.
struct Text<'a> {
    canon: &'a Canon<'a>,
    /// The pieces whose text it is.
    own: Vec<usize>,
    labels: BTreeMap<String, usize>,
    /// The nameless pieces that it contains, with their order.
    unnamed: BTreeMap<usize, usize>,
    text: String,
}

impl<'a> Canon<'a> {
    pub(super) fn of(
        listing: &'a Listing,
        pairs: Option<(&'a Listing, &'a BTreeMap<String, String>)>,
    ) -> Canon<'a> {
        Canon { listing, pairs }
    }

    /// The text of a function, with its seldom run part.
    pub(super) fn function(&self, name: &str) -> String {
        self.text(self.listing.pieces_of(name))
    }

    /// The text of a variable or constant, with its size.
    pub(super) fn data(&self, name: &str) -> String {
        self.listing.piece_of(name).map(|piece| self.text(vec![piece])).unwrap_or_default()
    }

    fn text(&self, own: Vec<usize>) -> String {
        let mut text = Text {
            canon: self,
            own: own.clone(),
            labels: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            text: String::new(),
        };
        for piece in own.into_iter().filter_map(|piece| self.listing.pieces.get(piece)) {
            let _ = writeln!(text.text, "{}", base(&piece.section));
            for line in &piece.lines {
                let line = text.line(line);
                let _ = writeln!(text.text, "{line}");
            }
        }
        text.text
    }

    fn counterpart(&self, name: &str) -> String {
        match self.pairs {
            None => name.to_owned(),
            Some((_, pairs)) => pairs.get(name).cloned().unwrap_or_else(|| format!("{{new {name}}}")),
        }
    }
}

impl Text<'_> {
    fn line(&mut self, line: &str) -> String {
        rewrite(without_comment(line).trim(), |name| Some(self.name(name)))
    }

    fn name(&mut self, name: &str) -> String {
        let listing = self.canon.listing;
        let index = listing.piece_of(name);
        if let Some(index) = index.filter(|index| name.starts_with(".L") && !self.own.contains(index)) {
            let is_code = listing.pieces.get(index).is_some_and(Piece::is_code);
            return if is_code { self.label(name) } else { self.unnamed(index, ".L") };
        }
        if name.starts_with(".L") {
            return self.label(name);
        }
        let Some(index) = index else {
            let is_numbered = name.starts_with("__UNIQUE_ID");
            return if is_numbered {
                name.replace(|c: char| c.is_ascii_digit(), "")
            } else {
                name.to_owned()
            };
        };
        if listing.is_own(name) {
            let word = base(name).trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            return if self.own.contains(&index) { word } else { self.unnamed(index, &word) };
        }
        if listing.pieces.get(index).is_some_and(Piece::is_code) {
            // If the function came from another unit before, the code is equal, but the call leads elsewhere.
            let is_new = self.canon.pairs.is_some_and(|(old, _)| old.piece_of(name).is_none());
            if is_new && !self.own.contains(&index) {
                return format!("{{new {name}}}");
            }
            return name.to_owned();
        }
        self.canon.counterpart(name)
    }

    /// A label as its number, in the order in which labels are met.
    fn label(&mut self, name: &str) -> String {
        let next = self.labels.len();
        format!(".L{}", self.labels.entry(name.to_owned()).or_insert(next))
    }

    /// The contents of a nameless piece, written out where it is met first. Its labels are numbered with those of the
    /// whole text, so that a table shows where it leads.
    fn unnamed(&mut self, index: usize, word: &str) -> String {
        if let Some(number) = self.unnamed.get(&index) {
            return format!("{{{word}#{number}}}");
        }
        let number = self.unnamed.len();
        self.unnamed.insert(index, number);
        let mut content = Vec::new();
        let lines =
            self.canon.listing.pieces.get(index).map(|piece| piece.lines.as_slice()).unwrap_or_default();
        for line in lines {
            let is_frame = matches!(Directive::of(line), Directive::Type { .. } | Directive::Align)
                || without_comment(line).trim_end().ends_with(':')
                || line.trim_start().starts_with(".size");
            if !is_frame {
                content.push(self.line(line));
            }
        }
        format!("{{{word}#{number}:{}}}", content.join(";"))
    }
}
