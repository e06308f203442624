// SPDX-License-Identifier: GPL-2.0-only
//! Which functions of which objects a livepatch replaces, read from its static `struct klp_patch`.
//!
//! The structures of include/linux/livepatch.h differ in size between kernels, but they all begin alike:
//! `klp_patch { mod, objs }`, `klp_object { name, funcs, four callbacks }`,
//! `klp_func { old_name, new_func, old_sympos }`. What is a pointer has a relocation, so that the shape shows
//! without debugging information; that, or the kernel's BTF, tells how large they are. A patch that is put together at run time cannot be seen.
//!
//! - `layout`: pointers and arrays in the data of a module, and how far apart the entries of an array are
//! - `parts`: what the patch is made of
//! - `walk`: the arrays as the kernel goes through them
//! - `faults`: what the kernel refuses, or would fall over

mod faults;
mod layout;
mod parts;
mod walk;

use crate::elf::image::Image;
use crate::kernel::structures::Sizes;

/// What is wrong with a `new_func` that is too late.
pub const TOO_LATE: &str = "it is the new_func of a klp_func, which is not written yet when the kernel looks at it and \
                            refuses the whole patch";
/// What to do about that.
pub const TOO_LATE_ADVICE: &str = "replace the function by one of the livepatch, which calls it";

pub use parts::{Fault, Function, Patch, REGISTERING, variable_at};

impl Patch {
    /// Finds the patches that are laid out in `image`; none if there is no static one. How large their structures are is
    /// told by the image alone.
    pub fn read(image: &Image) -> Option<Patch> {
        Patch::read_for(image, Sizes::default())
    }

    /// Finds the patches, as a kernel goes through them whose structures have these sizes.
    pub fn read_for(image: &Image, kernel: Sizes) -> Option<Patch> {
        walk::read(image, kernel)
    }

    /// What is wrong with the patch itself (R15, and R2 and R9 for names and functions). `name_limit` is the longest
    /// name of a symbol that the kernel knows, in bytes.
    pub fn faults(&self, image: &Image, name_limit: usize) -> Vec<Fault> {
        let mut found = self.faults.clone();
        faults::of_objects(image, &self.objects, name_limit, &mut found);
        found
    }
}
