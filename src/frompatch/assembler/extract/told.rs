// SPDX-License-Identifier: GPL-2.0-only
//! What of the changes is not taken along, and why.

use crate::frompatch::assembler::Piece;
use crate::frompatch::assembler::extract::{Extract, source_name};
use crate::frompatch::assembler::line::names;

impl Extract<'_> {
    /// All changes that have no effect, with the reason; in a unit of a module, or of vmlinux.
    pub fn all_without_effect(&self, of_module: bool) -> Vec<String> {
        let [beginning, end] = if of_module {
            [
                "__init: no livepatch replaces it, and what a module that is loaded later runs is the old one",
                "__exit: no livepatch can replace it, and what runs when its module goes is the old one",
            ]
        } else {
            [
                "__init: it ran when the kernel began, and is gone",
                "__exit: vmlinux does not keep what only a module that goes runs",
            ]
        };
        let functions = self.beginning.iter().map(|name| (name, beginning));
        let functions = functions.chain(self.end.iter().map(|name| (name, end)));
        let functions = functions.map(|(name, what)| format!("{name} is {what}"));
        functions.chain(self.without_effect.iter().cloned()).collect()
    }

    /// Reports new functions and data that no replaced function uses, and refuses constants of such a kind: something else
    /// has to use them.
    pub(super) fn tell_unreached(&mut self) {
        let changes = self.changes;
        // Of a constant that the compiler writes into the code, only debugging information has the name.
        let is_debug = |section: &str| section.starts_with(".debug");
        let has = |piece: &Piece, name: &str| {
            !is_debug(&piece.section) && piece.symbol.as_deref() != Some(name) && piece.has_name(name)
        };
        let is_named = |name: &str| {
            let mut outside = self.listing.all_outside().filter(|(section, _)| !is_debug(section));
            self.listing.pieces.iter().any(|piece| has(piece, name))
                || outside.any(|(_, line)| names(line).iter().any(|other| other == name))
        };
        let lost = changes.constants.iter().filter(|name| !self.new_data.contains(name) && is_named(name));
        self.refused.extend(lost.map(|name| {
            format!(
                "the constant {} gets another content, and nothing that is replaced uses it: what does use it keeps the old \
                 one; change the functions that read it",
                source_name(name)
            )
        }));
        for (kind, names, taken) in [
            ("function", &changes.new_functions, &self.new_functions),
            ("variable or constant", &changes.new_data, &self.new_data),
        ] {
            let left = names.iter().filter(|name| !taken.contains(name));
            self.without_effect.extend(left.map(|name| {
                format!("the new {kind} {}: nothing that is replaced uses it", source_name(name))
            }));
        }
    }
}
