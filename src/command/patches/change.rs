// SPDX-License-Identifier: GPL-2.0-only
//! What a series makes of a tree.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What lies at a path of a tree: its content, or nothing.
pub type Content = Option<String>;

/// What a series makes of a tree.
#[derive(Debug)]
pub struct Change {
    /// By path: what is there, and what is to be there.
    pub files: BTreeMap<PathBuf, (Content, Content)>,
}

/// How a series stands to a tree.
#[derive(Debug)]
pub enum State {
    /// It can be applied.
    Fits(Change),
    /// It is applied, and can be reverted.
    Applied(Change),
    /// A klpbuild that was killed has left some files as they are with it, others as they are without.
    Half {
        /// What is missing of it.
        forth: Change,
        /// What there is of it.
        back: Change,
    },
    /// Neither, for this reason.
    Neither(String),
}

/// Which way a tree is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The series that fits is applied.
    Forth,
    /// The series that is applied is taken back.
    Back,
}
