// SPDX-License-Identifier: GPL-2.0-only
//! What the livepatch core of a built kernel can do, as far as that decides what a livepatch has to look like.
//! Features decide, because stable and vendor kernels have backports; the release decides only if there are none to
//! look at.

use std::path::Path;

use fs_err as fs;

/// Functions of vmlinux whose presence shows what the livepatch core can do, and whether modules are unloaded.
pub const TELLTALES: [&str; 4] =
    ["klp_apply_section_relocs", "clear_relocate_add", "klp_enable_patch", "module_refcount"];

/// A kernel's livepatch core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivepatchCore {
    /// The release, as in `6.12.38-amd64` ([`release`]).
    pub release: Option<String>,
    /// `.klp.rela.vmlinux.*` is applied while the module is loaded, before jump tables and alternatives are
    /// looked at, and other sections must not name symbols of vmlinux (5.8 and later,
    /// `klp_apply_section_relocs` in kernel/livepatch/core.c).
    pub applies_early: bool,
    /// A patched module can be unloaded and loaded again: its relocations are cleared (x86: 6.3 and later,
    /// `clear_relocate_add` in arch/x86/kernel/module.c; other architectures need no such thing).
    pub clears: bool,
    /// Modules are never unloaded (CONFIG_MODULE_UNLOAD is off), and their exit code is freed with their init code
    /// (`module_init_layout_section` in kernel/module/main.c), or, by older kernels, not kept at all.
    pub frees_exit: bool,
    /// The longest name of a symbol, in bytes (KSYM_NAME_LEN - 1: 127, or 511 from 6.1 on; R3).
    pub name_limit: usize,
}

impl LivepatchCore {
    /// The facts, by which of the [`TELLTALES`] vmlinux has, and by the kernel's source if that is known.
    pub fn detect(
        release: Option<String>,
        srctree: Option<&Path>,
        has: impl Fn(&str) -> bool,
    ) -> LivepatchCore {
        let version = release.as_deref().and_then(version);
        let header = srctree.and_then(|tree| fs::read_to_string(tree.join("include/linux/kallsyms.h")).ok());
        let long = match &header {
            Some(text) => {
                text.lines().any(|line| line.split_whitespace().eq(["#define", "KSYM_NAME_LEN", "512"]))
            }
            None => version.is_some_and(|version| version >= (6, 1)),
        };
        // A map with none of them says nothing: then the release decides, and without one a new kernel is assumed.
        let known = TELLTALES.iter().any(|name| has(name));
        let since = |first: (u32, u32)| version.is_none_or(|version| version >= first);
        LivepatchCore {
            applies_early: if known { has("klp_apply_section_relocs") } else { since((5, 8)) },
            clears: if known { has("clear_relocate_add") } else { since((6, 3)) },
            frees_exit: has("klp_enable_patch") && !has("module_refcount"),
            name_limit: if long { 511 } else { 127 },
            release,
        }
    }
}

/// The release that the makefiles have made for the kernel in `objtree` (include/config/kernel.release): it begins with the
/// version of the source.
pub fn made_release(objtree: &Path) -> Option<String> {
    Some(fs::read_to_string(objtree.join("include/config/kernel.release")).ok()?.trim().to_owned())
}

/// The release of the kernel built in `objtree`: what it says of itself and of its modules
/// (include/generated/utsrelease.h). As a rule it is that of include/config/kernel.release, but the headers of Debian 12
/// have another there: it was built with KERNELRELEASE=6.1.0-50-amd64 on make's command line, and is a 6.1.176.
pub fn release(objtree: &Path) -> Option<String> {
    let compiled = fs::read_to_string(objtree.join("include/generated/utsrelease.h")).ok().and_then(|text| {
        let value = text.lines().find_map(|line| line.strip_prefix("#define UTS_RELEASE "))?;
        Some(value.trim().trim_matches('"').to_owned())
    });
    let release = compiled.filter(|release| !release.is_empty()).or_else(|| made_release(objtree))?;
    Some(release).filter(|release| !release.is_empty())
}

/// The first two numbers of a release.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_before_the_release() {
        let dir = tempfile::tempdir().unwrap();
        let objtree = dir.path();
        fs::create_dir_all(objtree.join("include/config")).unwrap();
        fs::create_dir_all(objtree.join("include/linux")).unwrap();
        fs::write(objtree.join("include/config/kernel.release"), "5.4.0-vendor\n").unwrap();
        let by_release = LivepatchCore::detect(release(objtree), None, |_| false);
        assert_eq!((by_release.applies_early, by_release.clears, by_release.name_limit), (false, false, 127));
        let backported = LivepatchCore::detect(release(objtree), None, |name| name != "clear_relocate_add");
        assert!(backported.applies_early && !backported.clears);
        fs::write(objtree.join("include/linux/kallsyms.h"), "#define KSYM_NAME_LEN\t512\n").unwrap();
        assert_eq!(LivepatchCore::detect(release(objtree), Some(objtree), |_| false).name_limit, 511);
        assert_eq!(version("6.12.38+deb13-amd64"), Some((6, 12)));
    }

    #[test]
    fn the_release_is_the_one_that_was_compiled_in() {
        let dir = tempfile::tempdir().unwrap();
        let objtree = dir.path();
        assert_eq!(release(objtree), None);
        for directory in ["include/config", "include/generated"] {
            fs::create_dir_all(objtree.join(directory)).unwrap();
        }
        fs::write(objtree.join("include/config/kernel.release"), "6.1.176\n").unwrap();
        assert_eq!(release(objtree).as_deref(), Some("6.1.176"));
        let header = objtree.join("include/generated/utsrelease.h");
        fs::write(&header, "#define UTS_RELEASE \"6.1.0-50-amd64\"\n").unwrap();
        assert_eq!(release(objtree).as_deref(), Some("6.1.0-50-amd64"));
        fs::write(&header, "\n").unwrap();
        assert_eq!(release(objtree).as_deref(), Some("6.1.176"));
    }
}
