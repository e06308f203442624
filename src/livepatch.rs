// SPDX-License-Identifier: GPL-2.0-only
//! What a livepatch module is made of, apart from its being an ELF object.
//!
//! - [`rules`]: the rules of a correct livepatch
//! - [`convert`]: turns its references to symbols that are not exported into livepatch relocations; [`candidates`]:
//!   the table of the definitions that a symbol may mean
//! - [`verify`]: checks whether a finished one keeps the rules, and fits its kernel
//! - [`header`]: the files that it carries in its own directory
//! - [`names`]: the names of livepatch sections and symbols
//! - [`account`]: what it replaces and refers to, with files and lines
//! - [`annotations`]: the positions that its source gives to symbols (KLP_MODULE_RELOC)
//! - [`patch`]: which functions of which objects it replaces (`struct klp_patch`)
//! - [`reach`]: on behalf of which of those objects a reference is used; [`code`]: references without relocations
//! - [`order`]: which modules have to be loaded before it, or before each other
//! - [`registered`]: whether it gives its patch to the kernel
//! - [`record`]: which builds of vmlinux and modules it was converted for
//! - [`sections`]: whether the kernel writes the relocations for an object at all, and in time
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
mod annotations;
mod callers;
mod calls;
pub mod candidates;
pub(crate) mod code;
pub mod convert;
pub(crate) mod copies;
pub(crate) mod definition;
mod doubts;
mod endbr;
pub(crate) mod header;
mod loops;
pub mod names;
pub(crate) mod order;
pub(crate) mod patch;
mod reach;
pub(crate) mod record;
mod registered;
pub mod rules;
pub(crate) mod sections;
pub(crate) mod special;
pub(crate) mod subject;
mod targets;
pub(crate) mod testimony;
mod types;
mod usage;
pub mod verify;
mod versions;
