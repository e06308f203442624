// SPDX-License-Identifier: GPL-2.0-only
//! Whether the kernel writes the livepatch relocations of an object at all, and in time (R2, R9, R11, R15).

use crate::elf::image::Offset;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::tree::facts::LivepatchCore;
use crate::livepatch::patch::Patch;
use crate::livepatch::special;
use crate::livepatch::special::Special;

/// Livepatch relocations of one object, as a kernel meets them.
#[derive(Debug, Clone, Copy)]
pub struct ObjectRelocations<'a> {
    /// The object at whose loading they are written.
    pub object: &'a str,
    /// What the livepatch replaces; none if that cannot be seen.
    pub patch: Option<&'a Patch>,
    /// The kernel that writes them.
    pub kernel: &'a LivepatchCore,
}

impl ObjectRelocations<'_> {
    /// Whether they are written before the kernel looks at the rest of the livepatch, as vmlinux's are from 5.8 on
    /// (`klp_apply_section_relocs` in kernel/livepatch/core.c).
    fn is_early(self) -> bool {
        self.object == VMLINUX && self.kernel.applies_early
    }

    /// Whether they are ever written (R11).
    pub fn is_applied(self) -> bool {
        self.is_early() || self.patch.is_none_or(|patch| patch.has(self.object))
    }

    /// Whether they may have a symbol of `owner`: from 5.8 on, none of vmlinux where the object is a module (R2;
    /// `klp_resolve_symbols` in kernel/livepatch/core.c).
    pub fn may_name(self, owner: &str) -> bool {
        !self.kernel.applies_early || self.object == VMLINUX || owner != VMLINUX
    }

    /// What makes them come too late for the section of this name (R9).
    pub fn too_late_for(self, section: &[u8]) -> Option<Special> {
        let is_freed_exit = self.kernel.frees_exit && section.starts_with(b".exit");
        let special = special::special(section).or(is_freed_exit.then_some(Special::Init));
        special.filter(|special| *special == Special::PerCpu || !self.is_early())
    }

    /// Whether the one at `place` is a `new_func` that is still NULL when the kernel refuses such (R15; `klp_init_func` in
    /// kernel/livepatch/core.c).
    pub fn is_late_function(self, place: Offset) -> bool {
        !self.is_early() && self.patch.is_some_and(|patch| patch.foreign.contains(&place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_is_freed_where_modules_stay() {
        let kernel =
            |has: &[&str]| LivepatchCore::detect(Some("6.12.0".to_owned()), None, |name| has.contains(&name));
        let late = |kernel: &LivepatchCore, object| {
            ObjectRelocations { object, patch: None, kernel }.too_late_for(b".exit.text")
        };
        let staying = kernel(&["klp_enable_patch", "klp_apply_section_relocs"]);
        assert_eq!((late(&staying, "vfat"), late(&staying, VMLINUX)), (Some(Special::Init), None));
        assert_eq!(
            late(&kernel(&["klp_enable_patch", "klp_apply_section_relocs", "module_refcount"]), "vfat"),
            None
        );
        // Nothing is known of it.
        assert_eq!(late(&kernel(&[]), "vfat"), None);
    }
}
