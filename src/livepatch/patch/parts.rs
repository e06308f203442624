// SPDX-License-Identifier: GPL-2.0-only
//! The parts of a livepatch's patch: its objects and functions.

use crate::elf::image::{Home, Image, Offset, Symbol};
use crate::livepatch::rules::Rule;

/// The functions that give a patch to the kernel: the first one, and up to 5.0 both.
pub const REGISTERING: [&[u8]; 2] = [b"klp_enable_patch", b"klp_register_patch"];

/// A fault of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchFault {
    /// The rule.
    pub rule: Rule,
    /// The structure, as in `klp_func vmlinux:cmdline_proc_show`.
    pub place: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// The advice for a fault with which the livepatch may work; none if the fault is an error.
    pub warns_to: Option<&'static str>,
}

/// A function that is replaced (`struct klp_func`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchedFunction {
    /// The name of the old function, raw.
    pub old_name: Vec<u8>,
    /// Its position (S7).
    pub old_sympos: u64,
    /// The new function.
    pub new: Offset,
}

/// An object that is patched (`struct klp_object`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchedObject {
    /// Its run-time name; `vmlinux` for a name that is NULL.
    pub name: String,
    /// The functions.
    pub functions: Vec<PatchedFunction>,
    /// The callbacks' functions.
    pub callbacks: Vec<Offset>,
    /// Whether its name is written out. vmlinux's must not be: the kernel would wait for a module of that name.
    pub is_named: bool,
}

/// The objects and functions that a livepatch replaces.
#[derive(Debug, Default)]
pub struct Patch {
    /// The objects, in the order of the patch.
    pub objects: Vec<PatchedObject>,
    /// The offsets of each `struct klp_patch`.
    pub patches: Vec<Offset>,
    /// The offsets of its structures: references from there are no calls.
    pub structures: Vec<Offset>,
    /// The offsets of `new_func` pointers to something that is no function of this module.
    pub foreign: Vec<Offset>,
    /// The structures whose entries have another distance than the kernel expects: their names, their sizes in the
    /// kernel, and their distance here, if that is certain.
    pub other_sizes: Vec<(&'static str, u64, Option<u64>)>,
    /// The faults of the structures.
    pub(super) faults: Vec<PatchFault>,
}

impl Patch {
    /// Whether `object` is patched.
    pub fn has(&self, object: &str) -> bool {
        self.objects.iter().any(|other| other.name == object)
    }
}

/// The name of the variable that begins at a section offset.
pub fn variable_at(image: &Image, place: Offset) -> Option<String> {
    let is_it = |symbol: &&Symbol| {
        symbol.home == Home::Section(place.section) && symbol.value() == place.offset && symbol.size() > 0
    };
    image.symbols.iter().find(is_it).map(Symbol::shown)
}
