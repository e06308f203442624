// SPDX-License-Identifier: GPL-2.0-only
//! The verbs: a file or folder for each, named as the verb is typed. A verb turns what was typed into what it means,
//! has the floors below do it, and prints the outcome. No verb uses another one.
//!
//! - [`asked`]: what was typed, as the floors below take it
//! - [`modules`]: build, in place of `make modules`
//! - [`clean`]: `clean`, `mrproper`, `distclean` and `klpclean`
//! - [`symbols`]: Symbols.list for a tree that is built already
//! - [`convert`]: one livepatch, or all that a tree lists
//! - [`verify`]: whether finished livepatches are right
//! - [`show`]: what a livepatch replaces and refers to, for people who review it
//! - [`lookup`]: where a symbol is, and what to write in a livepatch
//! - [`header`]: the macros for that; and `snippet`, for a module's Makefile
//! - [`livepatch`]: a livepatch made of patches of the kernel's source
//! - [`new`]: the skeleton of a livepatch
//! - [`trial`] (`try`): what was built, booted
//! - [`kernels`]: the kernels that are installed
//! - [`doctor`]: what is missing
//! - [`completions`]: for shells; [`man`]: the manual pages
//! - [`patches`]: the series of `kbuild-patches`, with which a kernel's makefiles do it themselves

mod asked;
pub(crate) mod clean;
pub mod completions;
pub(crate) mod convert;
pub(crate) mod doctor;
pub(crate) mod header;
pub(crate) mod kernels;
pub(crate) mod livepatch;
pub(crate) mod lookup;
pub(crate) mod man;
pub(crate) mod modules;
pub mod new;
pub(crate) mod patches;
pub(crate) mod show;
pub(crate) mod symbols;
pub mod trial;
pub(crate) mod verify;
