// SPDX-License-Identifier: GPL-2.0-only
//! The verbs: a file or folder for each, named as the user types it. A verb converts the command line to the floors'
//! types, calls the floors below, and prints the outcome. No verb uses another one.
//!
//! - [`asked`]: converts the command line to the types of the floors below
//! - [`modules`]: builds, in place of `make modules`
//! - [`clean`]: `clean`, `mrproper`, `distclean` and `klpclean`
//! - [`symbols`]: makes Symbols.list for a tree that is built already
//! - [`convert`]: converts one livepatch, or all that a tree lists
//! - [`verify`]: checks whether finished livepatches are right
//! - [`show`]: shows what a livepatch replaces and refers to, for reviewers
//! - [`lookup`]: finds a symbol, and prints what to write in a livepatch
//! - [`header`]: prints the header with the macros for that; and `snippet`, for a module's Makefile
//! - [`livepatch`]: makes a livepatch from patches of the kernel's source
//! - [`new`]: begins a livepatch that is written by hand
//! - [`trial`] (`try`): boots a kernel with livepatches
//! - [`kernels`]: lists the kernels that are installed
//! - [`doctor`]: says what is missing
//! - [`completions`]: for shells; [`man`]: the manual pages
//! - [`patches`]: the series of `kbuild-patches`, with which a kernel's makefiles do the work themselves

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
