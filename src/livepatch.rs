//! What a livepatch module is made of, apart from its being an ELF object.
//!
//! - [`names`]: the names of livepatch sections and symbols
//! - [`annotations`]: what the source says of symbols (KLP_MODULE_RELOC)
//! - [`patch`]: which functions of which objects it replaces (`struct klp_patch`)
//! - [`reach`]: which of those objects a relocation is there for; [`code`]: calls that need no relocation
//! - [`order`]: which modules have to be there before it, or before each other
//! - [`record`]: which builds of vmlinux and modules it was converted for
//! - [`special`]: sections and relocation types that the kernel treats in a way of their own
//! - [`versions`]: the versions of what it refers to (CONFIG_MODVERSIONS)

pub mod annotations;
pub mod code;
pub mod names;
pub mod order;
pub mod patch;
pub mod reach;
pub mod record;
pub mod special;
pub mod versions;
