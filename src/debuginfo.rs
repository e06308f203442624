// SPDX-License-Identifier: GPL-2.0-only
//! Types and source lines, as compilers record them.
//!
//! - [`mod@dwarf`]: reads DWARF, with gimli
//! - [`btf`]: the kernel's own type information (btf_rs)
//! - [`prototype`]: functions as C declares them, from either

pub mod btf;
pub mod dwarf;
pub(crate) mod prototype;
