// SPDX-License-Identifier: GPL-2.0-only
//! This machine: its programs, processes, terminal and files.
//!
//! - [`program`]: a program to run, as a value (duct); [`make`]: make, which is one
//! - [`processes`]: the processes below this one; [`signal`]: Ctrl-C, SIGTERM, SIGHUP; [`exit`]: exit statuses
//! - [`terminal`]: everything that is printed; [`status`]: a line about an action that takes long
//! - [`several`]: several errors that end a run together
//! - [`output`]: writes files, complete or not at all; [`text`]: reads text files
//! - [`paths`]: paths as text
//! - [`document`]: JSON for programs; [`html`]: pages for a browser
//! - [`patch`]: patches, read and applied (diffy)
//! - [`paint`]: colours (anstyle); [`table`]: columns, or blocks if these do not fit
//! - [`words`]: numbers, times and bytes, as messages show them
//! - [`compressed`]: files that may be compressed (liblzma, zstd, flate2); [`digest`]: hashes (sha2)

pub mod compressed;
pub(crate) mod digest;
pub mod document;
pub mod exit;
pub(crate) mod html;
pub mod make;
pub(crate) mod output;
pub(crate) mod paint;
pub(crate) mod patch;
pub(crate) mod paths;
pub(crate) mod processes;
pub mod program;
pub(crate) mod several;
pub mod signal;
pub(crate) mod status;
pub(crate) mod table;
pub mod terminal;
pub(crate) mod text;
pub(crate) mod words;
