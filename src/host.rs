// SPDX-License-Identifier: GPL-2.0-only
//! This machine: its programs, processes, terminal and files.
//!
//! - [`program`]: a program to be run, as a value (duct); [`make`]: the make among them
//! - [`processes`]: what runs below this process; [`signal`]: Ctrl-C, SIGTERM, SIGHUP; [`exit`]: exit statuses
//! - [`terminal`]: everything that is printed; [`status`]: a line for what takes long
//! - [`several`]: errors that are told one by one
//! - [`output`]: files that are written whole or not at all; [`text`]: texts that are read whole
//! - [`paths`]: paths as text
//! - [`document`]: JSON for programs; [`html`]: pages for a browser
//! - [`patch`]: patches, read and applied (diffy)
//! - [`paint`]: colours (anstyle); [`table`]: columns, or blocks where these do not fit
//! - [`words`]: numbers, times and bytes, as messages have them
//! - [`compressed`]: files that may be packed (liblzma, zstd, flate2); [`digest`]: hashes (sha2)

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
