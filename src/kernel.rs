// SPDX-License-Identifier: GPL-2.0-only
//! The kernel at hand: its trees, its symbols, and the files that tell of both.
//!
//! - [`tree`]: a source and object tree: which kbuild it has, how it is configured, what it can do
//! - [`installed`]: a kernel that someone else built
//! - [`external`]: external modules, built with M=
//! - [`state`]: klpbuild's own directory in an object tree
//! - [`origin`]: which files tell of one kernel
//! - [`symbols`]: Symbols.list: the modules, their objects, and the map made of them
//! - [`kallsyms`]: how the kernel counts symbols of one name
//! - [`sources`]: where given symbols are defined, and at which position
//! - [`structures`]: the sizes of `struct klp_func` and `struct klp_object`
//! - [`trace`]: where ftrace can step in
//! - [`suggestions`]: names that are like one that is not there, and what became of it

pub mod external;
pub mod installed;
pub mod kallsyms;
pub mod origin;
pub mod sources;
pub mod state;
pub mod structures;
pub mod suggestions;
pub mod symbols;
pub mod trace;
pub mod tree;
