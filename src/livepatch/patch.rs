//! Which functions of which objects a livepatch replaces, read from its static `struct klp_patch`.
//!
//! The structures of include/linux/livepatch.h differ in size between kernels, but they all begin alike:
//! `klp_patch { mod, objs }`, `klp_object { name, funcs, four callbacks }`,
//! `klp_func { old_name, new_func, old_sympos }`. What is a pointer has a relocation, so that the shape shows
//! without debugging information. A patch that is put together at run time cannot be seen.
//!
//! - `layout`: pointers and arrays in the data of a module, and how far apart the entries of an array are
//! - `walk`: the arrays as the kernel goes through them
//! - `faults`: what the kernel refuses, or would fall over

mod faults;
mod layout;
mod walk;

use crate::elf::image::{Home, Image, Relocation};
use crate::kernel::symbols::VMLINUX;

/// What is wrong with a `new_func` that is too late.
pub const TOO_LATE: &str = "it is the new_func of a klp_func, which is not written yet when the kernel looks at it and \
                            refuses the whole patch";
/// What to do about that.
pub const TOO_LATE_ADVICE: &str = "replace the function by one of the livepatch, which calls it";

pub use faults::Fault;

/// A place in a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The section, by index.
    pub section: usize,
    /// Bytes from its start.
    pub offset: u64,
}

/// A function that is replaced (`struct klp_func`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name of the old function, raw.
    pub old_name: Vec<u8>,
    /// Its position (S7).
    pub old_sympos: u64,
    /// The new function.
    pub new: Place,
}

/// An object that is patched (`struct klp_object`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its run-time name; `vmlinux` for a name that is NULL.
    pub name: String,
    /// The functions.
    pub functions: Vec<Function>,
    /// The callbacks' functions.
    pub callbacks: Vec<Place>,
    /// Whether the name is written out. For vmlinux it must not be: the kernel would wait for a module of that
    /// name.
    pub is_named: bool,
}

/// What a livepatch replaces.
#[derive(Debug, Default)]
pub struct Patch {
    /// The objects, in the order of the patch.
    pub objects: Vec<Object>,
    /// Where its structures lie: references from there are no calls.
    pub structures: Vec<Place>,
    /// Where a `new_func` lies that is no function of this module.
    pub foreign: Vec<Place>,
    /// What is wrong with the structures.
    faults: Vec<Fault>,
}

impl Patch {
    /// Finds the patches that are laid out in `image`; none if there is no static one.
    pub fn read(image: &Image) -> Option<Patch> {
        walk::read(image)
    }

    /// What is wrong with the patch itself (R15, and R2 and R9 for names and functions). `name_limit` is the longest
    /// name of a symbol that the kernel knows, in bytes.
    pub fn faults(&self, image: &Image, name_limit: usize) -> Vec<Fault> {
        let mut found = self.faults.clone();
        faults::of_objects(image, &self.objects, name_limit, &mut found);
        found
    }

    /// Whether the reference at `place` is a `new_func` that is written with `object`, and so too late: `klp_init_func`
    /// in kernel/livepatch/core.c refuses one that is still NULL, before references to modules are written (R15).
    pub fn is_too_late(&self, place: Place, object: &str, applies_early: bool) -> bool {
        (object != VMLINUX || !applies_early) && self.foreign.contains(&place)
    }

    /// Whether `object` is patched.
    pub fn has(&self, object: &str) -> bool {
        self.objects.iter().any(|other| other.name == object)
    }
}

/// Where a pointer with this relocation points to, if that is in this module.
pub fn target(image: &Image, relocation: &Relocation) -> Option<Place> {
    let symbol = image.symbols.get(relocation.symbol)?;
    let Home::Section(section) = symbol.home else { return None };
    Some(Place { section, offset: symbol.value().checked_add_signed(relocation.addend)? })
}
