// SPDX-License-Identifier: GPL-2.0-only
//! A unit as the compiler wrote it, unpatched and patched, with what is different.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use fs_err as fs;

use crate::frompatch::apply::Touched;
use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::compare::{Changes, compare};
use crate::frompatch::assembler::extract::Extract;
use crate::frompatch::assembler::pairs::reordered;
use crate::frompatch::compile::Compiled;
use crate::host::patch::Line;

/// A unit, read.
#[derive(Debug)]
pub struct Read {
    /// The unpatched one.
    pub old: Listing,
    /// The patched one.
    pub new: Listing,
    /// What is different.
    pub changes: Changes,
}

impl Read {
    /// Reads and compares; the patches change lines that declare the statics `declared`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(compiled: &Compiled, declared: &BTreeSet<String>) -> Result<Read> {
        let [old, new] = [&compiled.original, &compiled.patched].map(fs::read_to_string);
        let (old, new) = (Listing::parse(&old?), Listing::parse(&new?));
        let mut changes = compare(&old, &new);
        changes.refused.extend(reordered(&old, &new, declared));
        Ok(Read { old, new, changes })
    }

    /// The new functions and data that other units may use.
    pub fn new_names(&self) -> impl Iterator<Item = &String> {
        let all = self.changes.new_functions.iter().chain(&self.changes.new_data);
        all.filter(|name| self.new.is_global(name))
    }

    /// Whether the unpatched unit has a name, and the patched one has it no longer.
    pub fn gives_up(&self, name: &str) -> bool {
        self.old.piece_of(name).is_some() && self.new.piece_of(name).is_none()
    }

    /// Sees that a unit whose functions and data stay says the same to the assembler outside of them.
    ///
    /// # Errors
    /// It says something else.
    pub fn check_outside(&self, path: &str) -> Result<()> {
        let extract = Extract::plan(&self.old, &self.new, &self.changes);
        extract.refused.first().map_or(Ok(()), |why| bail!("{path}: {why}"))
    }
}

/// The words of the lines that the patches add or take away and that declare static variables.
pub fn declared(files: &[Touched]) -> BTreeSet<String> {
    let hunks = files.iter().flat_map(Touched::hunks);
    let changed = hunks.flat_map(|hunk| hunk.lines).filter_map(|line| match line {
        Line::Added(text) | Line::Removed(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        Line::Kept(_) => None,
    });
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|letter| !is_letter(letter)).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let declares =
        |words: &BTreeSet<String>| words.iter().any(|word| word == "static" || word.starts_with("DEFINE_"));
    changed.map(|line| words(&line)).filter(declares).flatten().collect()
}
