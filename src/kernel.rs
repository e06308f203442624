// SPDX-License-Identifier: GPL-2.0-only
//! The kernel at hand: its trees, its symbols, and the files that tell of both.
//!
//! - [`tree`]: a source and object tree: which kbuild it has, how it is configured, what it can do
//! - [`installed`]: a kernel that someone else built
//! - [`external`]: external modules, built with M=
//! - [`state`]: klpbuild's own directory in an object tree
//! - [`recorded`]: the commands that kbuild has recorded
//! - [`origin`]: which files belong to a kernel
//! - [`symbols`]: Symbols.list: the modules, their objects, and the map made of them
//! - [`kallsyms`]: how the kernel counts symbols of one name
//! - [`sources`]: where given symbols are defined, and at which position
//! - [`structures`]: the sizes of `struct klp_func` and `struct klp_object`
//! - [`trace`]: the ftrace sites, at which ftrace can step in
//! - [`suggestions`]: names that are like a missing one, and what became of that
//!
//! # How its types are related
//! ```text
//!   what was typed                           what a build writes down for later
//!   origin::Asked                            external::context::Context
//!     choice: installed::Choice                external: External   where M= lies
//!       |                                      choice: Choice
//!       |   +-----------------------------------+
//!       v   v
//!   origin::Origin              which files tell of one kernel
//!     objects: Objects            vmlinux and the modules, as files
//!     installed: Option<Kernel>   if someone else built it (installed::Kernel)
//!       |                           Places    the root it is installed below
//!       |                           Identity  what a file has to fit
//!       | Sources::open
//!       v
//!   sources::Sources            those files, ready to be asked
//!       | find(names)
//!       v
//!   sources::Found              the definitions of names: Known, one by one
//!     kernel: facts::Kernel       what its livepatch core can do
//! ```
//! An `Origin` has only paths; `Sources` answers questions about symbols, and does not know what the user typed.

pub mod external;
pub mod installed;
pub mod kallsyms;
pub mod origin;
pub mod recorded;
pub mod sources;
pub(crate) mod state;
pub(crate) mod structures;
pub mod suggestions;
pub mod symbols;
pub mod trace;
pub mod tree;
