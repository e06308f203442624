// SPDX-License-Identifier: GPL-2.0-only
//! Prototypes of functions, out of BTF: the input is that of vmlinux, or behind a length that of a module as well.
#![no_main]

use klpbuild::debuginfo::btf;
use klpbuild_fuzz::{names, told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let parts = data.split_at_checked(4).and_then(|(length, rest)| {
        let length = u32::from_le_bytes(length.try_into().ok()?);
        let (vmlinux, module) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        Some((vmlinux, Some(module)))
    });
    let (vmlinux, module) = parts.unwrap_or((data, None));
    let types = told(match module {
        Some(module) => btf::Types::read(module, Some(vmlinux)),
        None => btf::Types::read(vmlinux, None),
    });
    for name in names(data).take(6) {
        if let Some(types) = &types {
            let _ = (told(types.defined(name)), told(types.declared(name)), types.size_of_struct(name));
        }
        let _ = told(btf::size_of_struct(vmlinux, name));
        if let Some(prototype) = told(btf::prototype(vmlinux, module, name)).flatten() {
            let _ = (prototype.declaration(name), prototype.tags(), prototype.names());
        }
    }
});
