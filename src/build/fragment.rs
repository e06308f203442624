// SPDX-License-Identifier: GPL-2.0-only
//! The makefile fragment (`hook.mk`), by which make runs the map step, and the names that it shares with klpbuild.

use crate::kernel::state;

/// The environment variable that gives the fragment the path of the klpbuild program.
pub const PROGRAM: &str = "KLPBUILD";
/// The environment variable that tells the fragment the era, by [`crate::kernel::tree::era::Era::letter`].
pub const ERA: &str = "KLPBUILD_ERA";
/// The environment variable that is set if the first make is the one that builds.
pub const FINAL: &str = "KLPBUILD_FINAL";
/// The environment variable that gives the path of klpbuild's directory to the fragment, and to `klpbuild hook`,
/// which finds there what it works for ([`crate::kernel::external::context`]).
pub const STATE: &str = state::VARIABLE;
/// The environment variable that tells the fragment which target compiles external modules.
pub const COMPILED: &str = "KLPBUILD_COMPILED";

/// The environment variable that tells the fragment that make builds a package goal.
pub const PACKAGE: &str = "KLPBUILD_PACKAGE";
/// All of these variables except [`PROGRAM`], which users set as well.
pub const VARIABLES: [&str; 5] = [ERA, FINAL, STATE, COMPILED, PACKAGE];

/// The makefile fragment, to be read through the variable MAKEFILES.
pub const FRAGMENT: &str = include_str!("hook.mk");

/// The fragment's target whose recipe is the map step.
pub const TARGET: &str = "klpbuild-map";
