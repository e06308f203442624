// SPDX-License-Identifier: GPL-2.0-only
//! A relocatable object (`.o`, `.ko`) as a whole, to be read and changed: each section, symbol and relocation.
//! [`super::write`] makes a file of it again.
//!
//! - `parts`: the parts of an object
//! - `read`: reads it from a file
//! - `change`: adds and removes parts
//! - `index`: the numbers of sections and of symbols
//!
//! An object whose parts do not fit together is refused when it is read ([`super::consistent`]). Later code can rely
//! on that: each relocation's symbol and offset, each section's link and each symbol's section exists.

mod change;
mod index;
mod parts;
mod read;

pub use index::{SectionIndex, SymbolIndex, Table, TableIndex};
pub(in crate::elf) use parts::SHN_LIVEPATCH;
pub use parts::{Home, Image, Offset, Relocation, SHF_ALLOC, SHF_RELA_LIVEPATCH, Section, Symbol};
