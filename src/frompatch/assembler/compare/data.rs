// SPDX-License-Identifier: GPL-2.0-only
//! Variables and constants: whether the livepatch can bring another content, or a new one.

use std::collections::BTreeMap;

use crate::frompatch::assembler::addresses::{self, Address};
use crate::frompatch::assembler::compare::{Changes, Sides};
use crate::frompatch::assembler::line::names;
use crate::frompatch::assembler::pairs::used;
use crate::frompatch::assembler::sections::{is_book_keeping, is_table};
use crate::frompatch::assembler::{Listing, Piece, base};

impl Sides<'_> {
    /// Compares one.
    pub(super) fn data(&self, name: &str, piece: &Piece, changes: &mut Changes) {
        let shown = base(name);
        if self.new.is_own(name) || is_book_keeping(&piece.section) && !is_table(&piece.section) {
            return;
        }
        if piece.is_init() || is_table(&piece.section) {
            let is_same =
                self.old.piece_of(name).is_some() && self.before.data(name) == self.after.data(name);
            if is_same || base(name) != name {
                return;
            }
            if piece.is_init() {
                changes.notes.push(format!(
                    "{shown} is __init data: no livepatch changes it, and what a module that is loaded later reads is the \
                     old one"
                ));
            } else {
                changes.refused.push(format!(
                    "{shown} in {} is new or changed: the kernel has read that table already; leave it out of the patch",
                    piece.section
                ));
            }
            return;
        }
        let Some(other) = self.pairs.get(name) else {
            self.warn_of_table(None, name, changes);
            changes.new_data.insert(name.to_owned());
            return;
        };
        let (before, after) = (self.before.data(other), self.after.data(name));
        if before != after {
            let other = other.clone();
            if let Some(section) = self.was_read_only(&other, piece) {
                changes.refused.push(format!(
                    "{shown} may be written to with the patch: in the kernel it is in {section}, which is read-only; put \
                     what changes into a variable of its own"
                ));
                return;
            }
            if self.is_moved(&other, name) && content(&before) == content(&after) {
                changes.notes.push(format!(
                    "{shown} goes to the section {}: in the kernel it stays where it is",
                    piece.section
                ));
                return;
            }
            match self.refusal(&other, name, piece) {
                Some(why) => changes.refused.push(why),
                None => {
                    self.warn_of_table(Some(&other), name, changes);
                    changes.constants.insert(name.to_owned());
                }
            }
        }
    }

    /// Adds notes about what the livepatch brings and the kernel may keep the address of: a table of functions, as
    /// debugfs_create_file() does, or a constant that code stores a pointer to. It may also keep that of the one, `other`,
    /// in whose place this comes.
    fn warn_of_table(&self, other: Option<&str>, name: &str, changes: &mut Changes) {
        let mut notes = Vec::new();
        let is_table = has_functions(self.new, name);
        let shown = base(name);
        let what = if is_table { "has pointers to functions" } else { "is pointed to" };
        if is_table || address(self.new, name).is_stored {
            notes.push(format!(
                "{shown} {what}, and is the livepatch's own: if the kernel keeps its address, the livepatch must not be unloaded \
                 before that is gone"
            ));
        }
        let before = other.map(|other| address(self.old, other)).unwrap_or_default();
        if before.is_stored || is_table && !before.given.is_empty() {
            notes.push(format!(
                "{shown} gets another content in the livepatch's copy only: what the kernel has made with the old one keeps that"
            ));
        }
        if !notes.is_empty() {
            changes.kept.insert(name.to_owned(), notes);
        }
    }

    /// The section that a variable is in and that is read-only once the kernel has begun, if it is not to be so any more.
    fn was_read_only(&self, other: &str, piece: &Piece) -> Option<&str> {
        let is_read_only =
            |piece: &Piece| piece.is_constant() || piece.section.starts_with(".data..ro_after_init");
        let before = self.old.piece(other)?;
        (is_read_only(before) && !is_read_only(piece)).then_some(before.section.as_str())
    }

    /// Whether a variable is in another section than before, and is used in the same way from there.
    fn is_moved(&self, other: &str, name: &str) -> bool {
        let section = |listing: &Listing, name: &str| {
            let piece = listing.piece(name)?;
            Some((piece.section.clone(), piece.section.contains("percpu")))
        };
        match (section(self.old, other), section(self.new, name)) {
            (Some((before, was_percpu)), Some((after, is_percpu))) => {
                before != after && was_percpu == is_percpu
            }
            _ => false,
        }
    }

    /// Why the contents of a variable or constant cannot be changed; none if they can.
    fn refusal(&self, other: &str, name: &str, piece: &Piece) -> Option<String> {
        let (old, new, shown) = (self.old, self.new, base(name));
        let is_visible = new.is_global(name) || is_pointed_to(new, name) || is_pointed_to(old, other);
        if piece.is_constant() && !is_visible {
            let (before, after) = (address(old, other), address(new, name));
            if let Some(user) = after.comparer.or(before.comparer) {
                return Some(format!(
                    "the constant {shown} gets another content, and {user} asks whether a pointer is its address: what \
                     the kernel has made keeps the old one; leave it as it is, and change the functions that it leads to \
                     or that read it"
                ));
            }
            // What is given to two functions is given to one, and taken back with the other.
            let given: BTreeMap<&str, &str> = before.given.into_iter().chain(after.given).collect();
            let mut given =
                given.into_iter().filter(|_| has_functions(new, name) || has_functions(old, other));
            if let (Some((first, user)), Some((second, other))) = (given.next(), given.next()) {
                return Some(format!(
                    "the constant {shown} gets another content, and is given to {first} (in {user}) and to {second} (in \
                     {other}): what got the old one keeps it, and does not know the new one by its address; leave it as it \
                     is, and change the functions that it leads to"
                ));
            }
            let user = init_user(new, name).or_else(|| init_user(old, other))?;
            return Some(format!(
                "the constant {shown} gets another content, and {user}, which is __init, has given the old one away when \
                 the kernel began; change the functions that read it"
            ));
        }
        Some(if size(old, other) != size(new, name) {
            format!(
                "the variable {shown} gets another size: what is there keeps the old one; keep its type, and put what is \
                 new into a variable of its own or a shadow variable (klp_shadow_alloc)"
            )
        } else if piece.is_constant() {
            format!(
                "the constant {shown} gets another content, and other data or files point to it: they would keep the old \
                 one; change the functions that read it"
            )
        } else {
            format!(
                "the initial value of {shown} is changed: it has been set long ago, and may have changed since; set it in \
                 a callback (KLP_PRE_PATCH_CALLBACK, linux/livepatch_helpers.h) or in the functions that read it"
            )
        })
    }
}

/// A text without the section's name.
fn content(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, content)| content)
}

/// Whether other data, or an entry of one of the kernel's tables, points to a name.
fn is_pointed_to(listing: &Listing, name: &str) -> bool {
    let is_content = |other: &str, piece: &Piece| {
        is_table(&piece.section) || !listing.is_own(other) && !is_book_keeping(&piece.section)
    };
    listing.data().any(|(other, piece)| other != name && is_content(other, piece) && piece.has_name(name))
}

/// A function in initialisation code that uses a name; none if there is none.
fn init_user<'a>(listing: &'a Listing, name: &str) -> Option<&'a str> {
    listing.functions().find(|function| {
        listing.parts_of(function).any(Piece::is_init)
            && used(listing, &listing.pieces_of(function)).iter().any(|word| word == name)
    })
}

/// Whether a constant has pointers to functions: what is no data of the unit is taken for one.
fn has_functions(listing: &Listing, name: &str) -> bool {
    let lines = listing.piece(name).into_iter().flat_map(|piece| &piece.lines);
    let pointers = lines.filter(|line| line.trim_start().starts_with(".quad"));
    let mut names = pointers.flat_map(|line| names(line)).filter(|name| !name.starts_with('.'));
    names.any(|name| listing.is_function(&name) || listing.piece_of(&name).is_none())
}

/// What the unit does with a constant's address.
fn address<'a>(listing: &'a Listing, name: &str) -> Address<'a> {
    let size = size(listing, name).and_then(|size| size.parse().ok()).unwrap_or(1);
    addresses::address(listing, name, size)
}

fn size(listing: &Listing, name: &str) -> Option<String> {
    let piece = listing.piece(name)?;
    let line = piece.lines.iter().find(|line| line.trim_start().starts_with(".size"))?;
    line.rsplit(',').next().map(|size| size.trim().to_owned())
}
