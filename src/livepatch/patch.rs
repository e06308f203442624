// SPDX-License-Identifier: GPL-2.0-only
//! Which functions of which objects a livepatch replaces, read from its static `struct klp_patch`.
//!
//! The structures of include/linux/livepatch.h differ in size between kernels, but they all begin alike: `klp_patch {
//! mod, objs }`, `klp_object { name, funcs, four callbacks }`, `klp_func { old_name, new_func, old_sympos }`. Each
//! pointer has a relocation, so the structures can be recognised without debugging information; their sizes follow
//! from the relocations or from the kernel's BTF. A patch that is put together at run time cannot be seen.
//!
//! - `layout`: pointers and arrays in the data of a module, and the distance between the entries of an array
//! - `parts`: the parts of a patch
//! - `walk`: reads the arrays as the kernel does
//! - `faults`: what the kernel refuses, or what makes it crash

mod faults;
mod layout;
mod parts;
mod walk;

use crate::elf::image::Image;
use crate::kernel::structures::Sizes;

/// The message about a `new_func` that is written too late.
pub const TOO_LATE: &str = "it is the new_func of a klp_func, which is not written yet when the kernel looks at it and \
                            refuses the whole patch";
/// The advice for that.
pub const TOO_LATE_ADVICE: &str = "replace the function by one of the livepatch, which calls it";

pub use parts::{Patch, PatchFault, PatchedFunction, REGISTERING, variable_at};

impl Patch {
    /// Finds the static patches in `image`; none if there are none. The sizes of their structures come from the image
    /// alone.
    pub fn read(image: &Image) -> Option<Patch> {
        Patch::read_for(image, Sizes::default())
    }

    /// Finds the patches as a kernel would read them whose structures have the sizes `kernel`.
    pub fn read_for(image: &Image, kernel: Sizes) -> Option<Patch> {
        walk::read(image, kernel)
    }

    /// What is wrong with the patch itself (R15, and R2 and R9 for names and functions). `name_limit` is the longest
    /// name of a symbol that the kernel knows, in bytes.
    pub fn faults(&self, image: &Image, name_limit: usize) -> Vec<PatchFault> {
        let mut found = self.faults.clone();
        faults::of_objects(image, &self.objects, name_limit, &mut found);
        found
    }
}
