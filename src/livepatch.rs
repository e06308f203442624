// SPDX-License-Identifier: GPL-2.0-only
//! What a livepatch module is made of, apart from its being an ELF object.
//!
//! - [`rules`]: the rules of a correct livepatch
//! - [`names`]: the names of livepatch sections and symbols
//! - [`account`]: what it replaces and refers to, and where that is in the source
//! - [`annotations`]: what the source says of symbols (KLP_MODULE_RELOC)
//! - [`patch`]: which functions of which objects it replaces (`struct klp_patch`)
//! - [`reach`]: which of those objects a relocation is there for; [`code`]: calls that need no relocation
//! - [`order`]: which modules have to be there before it, or before each other
//! - [`registered`]: whether it gives its patch to the kernel
//! - [`record`]: which builds of vmlinux and modules it was converted for
//! - [`special`]: sections and relocation types that the kernel treats in a way of their own
//! - [`versions`]: the versions of what it refers to (CONFIG_MODVERSIONS)
//! - [`usage`]: what it does with a symbol: calls it, reads it, takes its address
//! - [`definition`]: which definition an object, a name and a position mean, and why a livepatch cannot use or replace it
//! - [`targets`]: its klp_funcs that the kernel would refuse; [`loops`]: new functions that come back
//!   to themselves, by [`calls`] (which functions of a module call which)
//! - [`doubts`]: where it and the kernel mean different things by one name, though all names are there; from
//!   [`subject`] (what of the kernel it names), [`types`] (whether it declares that as the kernel does), [`testimony`]
//!   (what type information says of the kernel's functions), [`copies`] (what else the compiler made of a function),
//!   [`callers`] (who calls that) and [`endbr`] (which functions must not be called through a pointer)

pub mod account;
pub mod annotations;
pub mod callers;
pub mod calls;
pub mod candidates;
pub mod code;
pub mod convert;
pub mod copies;
pub mod definition;
pub mod doubts;
pub mod endbr;
pub mod header;
pub mod loops;
pub mod names;
pub mod order;
pub mod patch;
pub mod reach;
pub mod record;
pub mod registered;
pub mod rules;
pub mod special;
pub mod subject;
pub mod targets;
pub mod testimony;
pub mod types;
pub mod usage;
pub mod verify;
pub mod versions;
