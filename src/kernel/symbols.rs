// SPDX-License-Identifier: GPL-2.0-only
//! Symbols.list: the names of the symbols of vmlinux and of every module that is no livepatch.
//!
//! - [`modules`]: which modules an object tree has, and where their objects lie
//! - [`flags`]: which of them a kbuild makefile marks as livepatches
//! - [`map`]: reads the objects, sorts out the livepatches, and makes the two lists
//! - [`objects`]: the files that have the symbols; [`compiled`]: the source files that they were compiled from
//! - [`list`]: searches a Symbols.list; [`exports`]: reads Module.symvers
//! - [`mod@reference`]: a list that names another one in place of its names
//! - [`seal`]: whether a list is still what was written

pub(crate) mod compiled;
pub mod exports;
pub(crate) mod flags;
pub mod list;
pub mod map;
pub mod modules;
pub mod objects;
pub(crate) mod reference;
pub(crate) mod seal;

/// The name of the object that is no module, in Symbols.list and in livepatch symbols.
pub const VMLINUX: &str = "vmlinux";
