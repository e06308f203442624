// SPDX-License-Identifier: GPL-2.0-only
//! The changes that a series makes in a tree.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The text of a file at a path of a tree; none if there is no file.
pub type FileText = Option<String>;

/// The changes that a series makes in a tree.
#[derive(Debug)]
pub struct Change {
    /// By path: the file before, and the file after.
    pub files: BTreeMap<PathBuf, (FileText, FileText)>,
}

/// Whether a series fits a tree, or is applied to it.
#[derive(Debug)]
pub enum SeriesState {
    /// It can be applied.
    Fits(Change),
    /// It is applied, and can be reverted.
    Applied(Change),
    /// A klpbuild that was killed has left some files with the series, others without.
    Half {
        /// The changes that complete it.
        forth: Change,
        /// The changes that revert it.
        back: Change,
    },
    /// It neither fits nor is applied, for this reason.
    Neither(String),
}

/// Which way a tree is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The series that fits is applied.
    Forth,
    /// The series that is applied is reverted.
    Back,
}
