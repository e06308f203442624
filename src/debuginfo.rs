// SPDX-License-Identifier: GPL-2.0-only
//! What compilers write down of types and lines.
//!
//! - [`mod@dwarf`]: what DWARF says, read with gimli
//! - [`btf`]: the kernel's own type information (btf_rs)
//! - [`prototype`]: functions as C declares them, read from either

pub mod btf;
pub mod dwarf;
pub(crate) mod prototype;
