// SPDX-License-Identifier: GPL-2.0-only
//! Which files of a kernel a livepatch can change: C that is compiled into the kernel or its modules.

/// What a change of a file means for a livepatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// It may change code.
    Code,
    /// It is not part of this kernel, for this reason, so its changes have no effect.
    Elsewhere(String),
    /// No livepatch can change it, for this reason.
    Refused(String),
}

/// Directories from which no code of the running kernel comes, except for [`BORROWED`].
pub const BESIDE: [&str; 6] = ["Documentation", "tools", "samples", "scripts", "usr", "LICENSES"];
/// Files in these directories that files of the kernel include: kernel/bpf/relo_core.c, lib/fdt.c, lib/test_printf.c
/// and those like them.
const BORROWED: [&str; 3] =
    ["tools/lib/bpf/", "scripts/dtc/libfdt/", "tools/testing/selftests/kselftest_module.h"];
/// Tables in files of text that the kernel's build makes code of.
const TABLES: [&str; 1] = ["arch/x86/lib/x86-opcode-map.txt"];
/// Files in the vDSO's directories that are part of the kernel itself.
const OF_THE_KERNEL: [&str; 4] = ["vma.c", "extable.c", "vdso32-setup.c", "datastore.c"];

impl Scope {
    /// What a change of the file at `path` means, in a kernel whose architecture has the directory `arch`.
    pub fn of(path: &str, arch: &str) -> Scope {
        let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
        let top = path.split('/').next().unwrap_or_default();
        if let Some((other, _)) = path.strip_prefix("arch/").and_then(|rest| rest.split_once('/'))
            && other != arch
        {
            return Scope::Elsewhere(format!("another architecture ({other})"));
        }
        let is_beside = BESIDE.contains(&top) && !is_borrowed(path);
        if is_beside || is_text(name) && !TABLES.contains(&path) {
            return Scope::Elsewhere("no part of the kernel".to_owned());
        }
        if let Some(why) = why_not_in_kernel(path) {
            return Scope::Refused(format!("{why}; leave this file out of the patch"));
        }
        if name.starts_with("Kconfig") || name.starts_with("Makefile") || name == "Kbuild" {
            return Scope::Refused(
                "a livepatch cannot change how the kernel is configured and built; leave this file out of the patch, and \
                 put the code of new files into one that is there"
                    .to_owned(),
            );
        }
        let refused = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
            Some("c" | "h") => return Scope::Code,
            Some("S" | "s") => {
                "functions written in assembler cannot be replaced; patch the C functions that call them"
            }
            Some("lds") => "the kernel is linked already",
            Some("rs") => "Rust is not livepatched yet",
            Some("sh") => "the kernel's build makes files with it; leave this file out of the patch",
            Some("txt") => "the kernel's build makes code of it; patch the functions that use that code",
            _ => "it is no C file",
        };
        Scope::Refused(refused.to_owned())
    }
}

/// Why the code of the file at `path` is no part of the running kernel, though its build compiles it; none if it is.
pub fn why_not_in_kernel(path: &str) -> Option<&'static str> {
    if is_vdso(path) {
        return Some("it is mapped into processes, where a livepatch does not reach");
    }
    if path.starts_with("drivers/firmware/efi/libstub/") && !path.ends_with(".h") {
        return Some(BOOTS);
    }
    let within = path.strip_prefix("arch/")?.split_once('/')?.1;
    match within {
        _ if within.starts_with("boot/") => Some(BOOTS),
        _ if within.starts_with("realmode/rm/") => {
            Some("it is copied away at boot, and a livepatch does not reach the copy")
        }
        _ if within.starts_with("purgatory/") => Some("it runs between two kernels (kexec)"),
        _ => None,
    }
}

const BOOTS: &str = "it runs before the kernel, and is gone";

/// Whether the file at `path` is code of the vDSO, which processes run themselves.
pub fn is_vdso(path: &str) -> bool {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    directory.split('/').any(|part| part.contains("vdso"))
        && !OF_THE_KERNEL.contains(&name)
        && !name.ends_with(".h")
}

/// Whether files of the kernel may include the file at `path`, though it lies beside the kernel.
pub fn is_borrowed(path: &str) -> bool {
    BORROWED.iter().any(|begin| path.starts_with(begin)) && (path.ends_with(".c") || path.ends_with(".h"))
}

/// The directories beside the kernel with files that files of the kernel include.
pub fn borrowed() -> impl Iterator<Item = &'static str> {
    BORROWED.iter().filter_map(|begin| begin.strip_suffix('/'))
}

/// Whether nothing in the kernel comes from a file of this name: texts, configurations to begin with, and what only tools
/// beside the build read.
fn is_text(name: &str) -> bool {
    const NAMES: [&str; 4] = ["MAINTAINERS", "CREDITS", "COPYING", "README"];
    const ENDS: [&str; 8] = [".rst", ".txt", ".yaml", ".yml", ".md", ".json", ".config", "_defconfig"];
    let is_kconfig = name.starts_with("Kconfig");
    // arch/x86/kernel/cpu/mkcapflags.sh and kernel/gen_kheaders.sh make files that are compiled.
    let is_script =
        name.ends_with(".sh") && !["mk", "gen", "syscall"].iter().any(|begin| name.starts_with(begin));
    NAMES.contains(&name)
        || name.starts_with('.')
        || name == "defconfig"
        || is_script
        || !is_kconfig && ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_compiled_for_this_architecture() {
        for path in [
            "fs/proc/cmdline.c",
            "include/linux/fs.h",
            "arch/x86/kernel/cpu/bugs.c",
            "arch/x86/entry/vdso/vma.c",
            "a.c",
            "arch/x86/kernel/vdso.c",
            "lib/vdso/datastore.c",
            "include/vdso/helpers.h",
            "tools/lib/bpf/relo_core.c",
            "scripts/dtc/libfdt/libfdt.h",
        ] {
            assert_eq!(Scope::of(path, "x86"), Scope::Code, "{path}");
        }
        for path in [
            "Documentation/a.rst",
            "tools/perf/a.c",
            "tools/lib/bpf/Makefile",
            "scripts/dtc/dtc.c",
            "MAINTAINERS",
            "arch/arm64/kernel/a.c",
            "arch/arm64/kernel/a.S",
            "arch/arm64/Kconfig",
            "arch/x86/configs/x86_64_defconfig",
            "kernel/configs/tiny.config",
            "lib/kunit/.kunitconfig",
            "fs/.gitattributes",
            ".mailmap",
            ".clang-format",
            "drivers/gpu/drm/ci/build.yml",
            "drivers/gpu/drm/ci/build.sh",
            "arch/x86/boot/install.sh",
        ] {
            assert!(matches!(Scope::of(path, "x86"), Scope::Elsewhere(_)), "{path}");
        }
    }

    #[test]
    fn what_no_livepatch_reaches_is_refused_with_the_reason() {
        for (path, why) in [
            ("arch/x86/lib/memcpy_64.S", "assembler"),
            ("arch/x86/boot/compressed/misc.c", "before the kernel"),
            ("arch/x86/realmode/rm/wakemain.c", "copied away"),
            ("arch/x86/entry/vdso/vclock_gettime.c", "mapped into processes"),
            ("lib/vdso/gettimeofday.c", "mapped into processes"),
            ("arch/x86/purgatory/purgatory.c", "kexec"),
            ("drivers/firmware/efi/libstub/x86-stub.c", "before the kernel"),
            ("arch/x86/lib/x86-opcode-map.txt", "makes code of it"),
            ("fs/Kconfig", "configured and built"),
            ("fs/fat/Makefile", "configured and built"),
            ("arch/x86/kernel/vmlinux.lds", "linked"),
            ("drivers/a.rs", "Rust"),
            ("arch/Kconfig", "configured"),
            ("drivers/a/Kconfig.config", "configured"),
            ("arch/x86/kernel/cpu/mkcapflags.sh", "makes files with it"),
            ("kernel/gen_kheaders.sh", "makes files with it"),
        ] {
            let Scope::Refused(told) = Scope::of(path, "x86") else { panic!("{path}") };
            assert!(told.contains(why), "{path}: {told}");
        }
    }
}
