// SPDX-License-Identifier: GPL-2.0-only
//! From a patch of the kernel's source to a livepatch, in the order of what happens:
//!
//! - [`target`]: the kernel; [`source`]: finds its source; [`compiler`]: finds its compiler; [`prepare`]: an object
//!   tree in which an installed kernel's files can be compiled
//! - [`apply`]: applies the patches, in a directory of only the touched files; [`overlay`]: that directory, before
//!   the source tree; [`helpers`]: headers for it beyond the kernel's
//! - `read`: a unit's assembler text, unpatched and patched
//! - [`units`]: which files are to be compiled; [`includers`]: which may be, with a header; [`presence`]: which of them an
//!   installed kernel was made of; [`descent`]: how kbuild comes to each; [`recipe`]: how it compiles each; [`compile`]:
//!   both ways; [`beyond`]: those that no livepatch reaches; [`twins`]: those that are compiled several times; [`layout`]:
//!   whether types stay, and [`packing`]: what pragmas say of them; [`variables`]: whether variables keep theirs
//! - [`assembler`]: what is different, and that, cut out
//! - [`run_pre`]: the unit as it was, compiled again, against the kernel's own bytes
//! - [`cut`]: one unit, all of these together; [`account`]: what became of each change, with [`outline`]
//! - `stale`: whether an own tree's headers are those that it was built with
//! - [`shared`]: names by which the units, and the kernel, know what each other has
//! - [`tokens`]: C as words and signs; [`system_call`]: what SYSCALL_DEFINE makes
//! - [`module`]: what was cut out, with its tables and annotations, as an external module; [`build`]: that, built
//! - [`make`]: all of it, in order
//! - [`takeover`]: functions of the source, for a livepatch that is written by hand
//! - [`report`]: what was changed, and why; [`reasons`]: why; [`steps`]: what is shown meanwhile

mod account;
pub(crate) mod apply;
pub mod assembler;
mod beyond;
mod build;
mod compile;
pub mod compiler;
mod cut;
mod descent;
mod helpers;
mod includers;
mod layout;
pub(crate) mod make;
mod module;
mod outline;
mod overlay;
mod packing;
pub(crate) mod prepare;
mod presence;
mod read;
mod reasons;
mod recipe;
pub mod report;
pub mod run_pre;
mod shared;
mod source;
mod stale;
pub(crate) mod steps;
mod system_call;
pub(crate) mod takeover;
pub(crate) mod target;
mod tokens;
mod twins;
mod units;
mod variables;
