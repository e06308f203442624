// SPDX-License-Identifier: GPL-2.0-only
//! Data that belongs to one function: a livepatch that takes the function takes a copy of it. It must not hold a
//! state that has to survive; data of which that is not certain is a variable like any other, and stays the kernel's.

use crate::frompatch::assembler::line::names;
use crate::frompatch::assembler::{Listing, Piece, base};

/// Statics that macros or the compiler make. A variable in the source may have such a name, too: these count only if
/// they are constants, or in a section of their own.
const MADE: [&str; 13] = [
    "__already_done",
    "__func__",
    "__FUNCTION__",
    "__PRETTY_FUNCTION__",
    "__warned",
    "__print_once",
    "_entry",
    "_entry_ptr",
    "descriptor",
    "__msg",
    "__flags",
    "__branch",
    "______f",
];

/// Statics of macros that are plain variables: lock classes, and the states of rate limits.
const PLAIN: [&str; 2] = ["__key", "_rs"];

impl Listing {
    /// Whether `name` is data that belongs to one function, and is copied with it.
    pub(super) fn is_own(&self, name: &str) -> bool {
        let all = || {
            let own = self.data().filter(|(name, piece)| is_own(self, name, piece));
            own.map(|(name, _)| name.to_owned()).collect()
        };
        self.own.get_or_init(all).contains(name)
    }

    /// The lines that the source writes to the assembler outside of functions, each with the section that it names,
    /// if it names one. clang writes them section by section, so that they lie in pieces without names.
    pub(super) fn all_outside(&self) -> impl Iterator<Item = (&str, &String)> {
        let is_left = |piece: &&Piece| {
            let is_unnamed = piece.labels.iter().all(|label| label.starts_with(".Ltmp"));
            let is_function = piece.is_code() && piece.section != ".text";
            is_unnamed && !is_function
        };
        let is_about_code = |run: &&[Piece]| run.iter().any(|piece| leads_into_code(self, piece));
        let left = self.runs().filter(move |run| !is_about_code(run)).flatten().filter(is_left);
        let left = left.flat_map(|piece| piece.lines.iter().map(|line| (piece.section.as_str(), line)));
        let mut section = "";
        let outside = self.outside.iter().map(move |line| {
            if let Some(name) = named_section(line) {
                section = name;
            }
            let own = (section, line);
            if matches!(line.trim(), ".previous" | ".popsection") {
                section = "";
            }
            own
        });
        outside.chain(left)
    }

    /// The pieces in their order; those of one entry about code, each with a label of its own, in one group.
    fn runs(&self) -> impl Iterator<Item = &[Piece]> {
        self.pieces.chunk_by(|one, next| one.section == next.section && is_note(one) && is_note(next))
    }

    /// Adds the entries about these pieces of code in other sections (`__ex_table`, `__bug_table`, `.altinstructions`
    /// and the code that these lead to). gcc leaves them within the function's text; clang writes them as sections of
    /// their own, which refer to the function and to which nothing refers.
    pub(super) fn add_notes(&self, pieces: &mut Vec<usize>) {
        let places = |piece: &Piece| -> Vec<usize> {
            let names = piece.lines.iter().flat_map(|line| names(line));
            names.filter(|name| name.starts_with(".L")).filter_map(|name| self.piece_of(&name)).collect()
        };
        let mut found = Vec::new();
        let mut first = 0;
        for run in self.runs() {
            let all = first..first + run.len();
            first = all.end;
            if run.first().is_some_and(is_note) {
                let places: Vec<usize> = run.iter().flat_map(places).collect();
                if places.iter().any(|place| pieces.contains(place)) {
                    found.extend(all);
                    found.extend(
                        places
                            .into_iter()
                            .filter(|&place| self.pieces.get(place).is_some_and(Piece::is_replacement)),
                    );
                }
            }
        }
        pieces.extend(found);
    }
}

/// Whether a piece may be an entry about code elsewhere.
fn is_note(piece: &Piece) -> bool {
    piece.symbol.is_none() && !piece.is_code() && !piece.is_constant()
}

/// The section that a line switches to.
fn named_section(line: &str) -> Option<&str> {
    let (word, rest) = line.trim().split_once(char::is_whitespace)?;
    let name = rest.split(',').next().unwrap_or(rest).trim().trim_matches('"');
    matches!(word, ".section" | ".pushsection").then_some(name)
}

fn is_own(listing: &Listing, name: &str, piece: &Piece) -> bool {
    let base = base(name);
    let is_numbered = base != name;
    let word = base.split('.').next_back().unwrap_or(base);
    let is_made = name.starts_with("CSWTCH")
        || is_numbered && (PLAIN.contains(&word) || MADE.contains(&word) && is_set_apart(name, piece))
        || is_numbered && base.starts_with("switch.table")
        || name.starts_with("switch.table.");
    name.starts_with("__UNIQUE_ID") || is_made || leads_into_code(listing, piece)
}

/// Whether a piece lies in a section in which the compiler puts no variable.
fn is_set_apart(name: &str, piece: &Piece) -> bool {
    let kept = [".data", ".bss"].iter().find_map(|start| piece.section.strip_prefix(start));
    !kept.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.') == Some(name))
}

/// Whether a piece holds addresses of labels within a function (`&&label`): in another version of the function they
/// differ.
fn leads_into_code(listing: &Listing, piece: &Piece) -> bool {
    let is_place = |name: &String| name.starts_with(".L") && listing.piece(name).is_some_and(Piece::is_code);
    !piece.is_code() && piece.lines.iter().any(|line| names(line).iter().any(is_place))
}
