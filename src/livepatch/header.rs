// SPDX-License-Identifier: GPL-2.0-only
//! The files that a livepatch carries in its own directory.

/// The name of the header in livepatches.
pub const NAME: &str = "klp_relocs.h";

/// The C header with the macros for annotations.
pub const HEADER: &str = include_str!("header/klp_relocs.h");

/// The makefile that a module's Makefile includes.
pub const SNIPPET: &str = include_str!("../../Makefile.snippet");
