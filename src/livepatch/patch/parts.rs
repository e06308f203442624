// SPDX-License-Identifier: GPL-2.0-only
//! What a livepatch replaces: its patch, objects and functions.

use crate::elf::image::{Home, Image, Offset, Symbol};
use crate::livepatch::rules::Rule;

/// The functions that a patch is given to the kernel with: the first, and up to 5.0 both.
pub const REGISTERING: [&[u8]; 2] = [b"klp_enable_patch", b"klp_register_patch"];

/// What is wrong with a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// The structure, as in `klp_func vmlinux:cmdline_proc_show`.
    pub place: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// What to do, where there are cases in which it works all the same; none for what is an error.
    pub warns_to: Option<&'static str>,
}

/// A function that is replaced (`struct klp_func`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name of the old function, raw.
    pub old_name: Vec<u8>,
    /// Its position (S7).
    pub old_sympos: u64,
    /// The new function.
    pub new: Offset,
}

/// An object that is patched (`struct klp_object`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its run-time name; `vmlinux` for a name that is NULL.
    pub name: String,
    /// The functions.
    pub functions: Vec<Function>,
    /// The callbacks' functions.
    pub callbacks: Vec<Offset>,
    /// Whether the name is written out. For vmlinux it must not be: the kernel would wait for a module of that
    /// name.
    pub is_named: bool,
}

/// What a livepatch replaces.
#[derive(Debug, Default)]
pub struct Patch {
    /// The objects, in the order of the patch.
    pub objects: Vec<Object>,
    /// Where each `struct klp_patch` begins.
    pub patches: Vec<Offset>,
    /// Where its structures lie: references from there are no calls.
    pub structures: Vec<Offset>,
    /// Where a `new_func` lies that is no function of this module.
    pub foreign: Vec<Offset>,
    /// The structures whose entries do not lie as far apart as the kernel goes through them: their names, their sizes in the
    /// kernel, and how far apart they lie, if that is certain.
    pub other_sizes: Vec<(&'static str, u64, Option<u64>)>,
    /// What is wrong with the structures.
    pub(super) faults: Vec<Fault>,
}

impl Patch {
    /// Whether `object` is patched.
    pub fn has(&self, object: &str) -> bool {
        self.objects.iter().any(|other| other.name == object)
    }
}

/// The name of the variable that begins at a place.
pub fn variable_at(image: &Image, place: Offset) -> Option<String> {
    let is_it = |symbol: &&Symbol| {
        symbol.home == Home::Section(place.section) && symbol.value() == place.offset && symbol.size() > 0
    };
    image.symbols.iter().find(is_it).map(Symbol::shown)
}
