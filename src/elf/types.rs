// SPDX-License-Identifier: GPL-2.0-only
//! The BTF of objects. A module's BTF refers to that of its vmlinux, or, if the module was built outside of the
//! kernel's tree, to the part of it in `.BTF.base` (`--btf_features=distilled_base` in scripts/Makefile.btf, 6.11 and
//! later).

use std::path::Path;

use crate::debuginfo::btf::Types;
use crate::elf::image::Image;
use crate::elf::memory;

/// The BTF of the file at `path`; `vmlinux` is the file that has vmlinux's. None if there is no BTF, or it is
/// damaged.
pub fn of_file(path: &Path, vmlinux: Option<&Path>) -> Option<Types> {
    let section = |path: &Path, name: &str| memory::section(path, name).ok().flatten();
    let own = section(path, ".BTF")?;
    let base = section(path, ".BTF.base").or_else(|| section(vmlinux?, ".BTF"));
    Types::read(&own, base.as_deref()).ok()
}

impl Image {
    /// The object's BTF; `vmlinux` is the file that has vmlinux's. None if there is no BTF, or it is damaged.
    pub fn types(&self, vmlinux: Option<&Path>) -> Option<Types> {
        let section =
            |name: &str| self.section_named(name.as_bytes()).map(|(_, section)| section.data.as_slice());
        let own = section(".BTF").filter(|own| !own.is_empty())?;
        let of_vmlinux = || memory::section(vmlinux?, ".BTF").ok().flatten();
        match section(".BTF.base").filter(|base| !base.is_empty()) {
            Some(base) => Types::read(own, Some(base)).ok(),
            None if crate::debuginfo::btf::stands_alone(own) => Types::read(own, None).ok(),
            None => Types::read(own, Some(&of_vmlinux()?)).ok(),
        }
    }
}
