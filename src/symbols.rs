//! Symbols.list: the names of the symbols of vmlinux and of every module that is no livepatch.
//!
//! - [`modules`]: which modules an object tree has, and where their objects lie
//! - [`flags`]: which of them a kbuild makefile marks as livepatches
//! - [`map`]: reads the objects, sorts out the livepatches, and makes the two lists
//! - [`origin`]: whose symbols; [`objects`]: the files they are in
//! - [`list`]: searches a Symbols.list; [`exports`]: reads Module.symvers
//! - [`sources`]: where given symbols are defined, and at which position
//! - [`output`]: writes a list so that it is never half there, and not at all if it has not changed
//! - [`seal`]: whether a list is still what was written

pub mod exports;
pub mod flags;
pub mod list;
pub mod map;
pub mod modules;
pub mod objects;
pub mod origin;
pub mod output;
pub mod seal;
pub mod sources;
