// SPDX-License-Identifier: GPL-2.0-only
//! A unit as the compiler wrote it, unpatched and patched, with what is different.

use anyhow::{Result, bail};
use fs_err as fs;

use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::compare::{Changes, compare};
use crate::frompatch::assembler::extract::Extract;
use crate::frompatch::compile::Compiled;

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
    /// Reads and compares.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(compiled: &Compiled) -> Result<Read> {
        let [old, new] = [&compiled.original, &compiled.patched].map(fs::read_to_string);
        let (old, new) = (Listing::parse(&old?), Listing::parse(&new?));
        let changes = compare(&old, &new);
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
