// SPDX-License-Identifier: GPL-2.0-only
//! The sizes of the structures that a livepatch consists of (include/linux/livepatch.h). Only their first members are
//! the same in all kernels and configurations: only type information tells the sizes.

use std::path::Path;

use crate::debuginfo::btf::Types;
use crate::elf::image::Image;
use crate::elf::{debugging, types};

/// The names of the structures in C.
const NAMES: [&str; 2] = ["klp_func", "klp_object"];

/// The sizes of the structures in bytes; each is none if nothing tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The size of `struct klp_func`.
    pub function: Option<u64>,
    /// The size of `struct klp_object`.
    pub object: Option<u64>,
}

impl Sizes {
    /// The sizes that a livepatch was compiled with, from its own debugging information or BTF.
    pub fn of_image(image: &Image) -> Sizes {
        Sizes::of(image.sizes(NAMES)).or_of(|| image.types(None))
    }

    /// The sizes that a kernel was compiled with: `btf` is a file that has its BTF, `vmlinux` one that may have its
    /// debugging information, which takes longer to read.
    pub fn of_kernel(btf: Option<&Path>, vmlinux: Option<&Path>) -> Sizes {
        let told = Sizes::default().or_of(|| types::of_file(btf?, None));
        match vmlinux {
            Some(vmlinux) if told == Sizes::default() => Sizes::of(debugging::sizes(vmlinux, NAMES)),
            _ => told,
        }
    }

    fn of([function, object]: [Option<u64>; 2]) -> Sizes {
        Sizes { function, object }
    }

    fn or_of(self, types: impl FnOnce() -> Option<Types>) -> Sizes {
        if self != Sizes::default() {
            return self;
        }
        types().map_or(self, |types| Sizes::of(NAMES.map(|name| types.size_of_struct(name))))
    }
}
