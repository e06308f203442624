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

/// Directories from which no code of the running kernel comes.
pub const BESIDE: [&str; 6] = ["Documentation", "tools", "samples", "scripts", "usr", "LICENSES"];
/// Files in the vdso's directory that are part of the kernel itself.
const OF_THE_KERNEL: [&str; 3] = ["vma.c", "extable.c", "vdso32-setup.c"];

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
        if BESIDE.contains(&top) || is_text(name) {
            return Scope::Elsewhere("no part of the kernel".to_owned());
        }
        if let Some(why) = apart(path, name) {
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
            _ => "it is no C file",
        };
        Scope::Refused(refused.to_owned())
    }
}

/// Why code is not a part of the running kernel; none if it is.
fn apart(path: &str, name: &str) -> Option<&'static str> {
    if path.split('/').any(|part| part.contains("vdso"))
        && !OF_THE_KERNEL.contains(&name)
        && !name.ends_with(".h")
    {
        return Some("it is mapped into processes, where a livepatch does not reach");
    }
    let within = path.strip_prefix("arch/")?.split_once('/')?.1;
    match within {
        _ if within.starts_with("boot/") => Some("it runs before the kernel, and is gone"),
        _ if within.starts_with("realmode/rm/") => {
            Some("it is copied away at boot, and a livepatch does not reach the copy")
        }
        _ if within.starts_with("purgatory/") => Some("it runs between two kernels (kexec)"),
        _ => None,
    }
}

fn is_text(name: &str) -> bool {
    const NAMES: [&str; 5] = ["MAINTAINERS", "CREDITS", "COPYING", "README", ".gitignore"];
    NAMES.contains(&name) || [".rst", ".txt", ".yaml", ".md"].iter().any(|suffix| name.ends_with(suffix))
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
        ] {
            assert_eq!(Scope::of(path, "x86"), Scope::Code, "{path}");
        }
        for path in [
            "Documentation/a.rst",
            "tools/perf/a.c",
            "MAINTAINERS",
            "arch/arm64/kernel/a.c",
            "arch/arm64/kernel/a.S",
            "arch/arm64/Kconfig",
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
            ("fs/Kconfig", "configured and built"),
            ("fs/fat/Makefile", "configured and built"),
            ("arch/x86/kernel/vmlinux.lds", "linked"),
            ("drivers/a.rs", "Rust"),
            ("arch/Kconfig", "configured"),
        ] {
            let Scope::Refused(told) = Scope::of(path, "x86") else { panic!("{path}") };
            assert!(told.contains(why), "{path}: {told}");
        }
    }
}
