// SPDX-License-Identifier: GPL-2.0-only
//! Sections and relocation types that the kernel treats specially.

use crate::elf::Machine;
use crate::elf::image::Section;

/// x86-64's relocation types that livepatch relocations may have (`__write_relocate_add` in
/// arch/x86/kernel/module.c).
const X86_64_TYPES: [u32; 7] = [0, 1, 2, 4, 10, 11, 24];

/// What the kernel does with a special section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// The kernel looks at it once, while it loads the module: jump labels, static calls, alternatives, and the like.
    /// A value that is written later is never seen.
    AtLoad,
    /// Code and data that are freed after initialisation.
    Init,
    /// Per-CPU data: the loaded section is copied for each CPU, and has no SHF_ALLOC by the time relocations are
    /// applied (`rewrite_section_headers` and `percpu_modcopy` in kernel/module/main.c).
    PerCpu,
}

/// How the kernel treats the section of this name; none if like any other.
pub fn special(name: &[u8]) -> Option<Special> {
    const AT_LOAD: [&[u8]; 22] = [
        b"__param",
        b".ctors",
        b"__jump_table",
        b".static_call_sites",
        b".static_call_tramp_key",
        b".altinstructions",
        b".altinstr_replacement",
        b".altinstr_aux",
        b".parainstructions",
        b".smp_locks",
        b".retpoline_sites",
        b".return_sites",
        b".call_sites",
        b".ibt_endbr_seal",
        b".cfi_sites",
        b".kcfi_traps",
        b"__mcount_loc",
        b"__patchable_function_entries",
        b"__tracepoints_ptrs",
        b"_ftrace_events",
        b"__bug_table",
        b"__ex_table",
    ];
    if AT_LOAD.contains(&name) {
        return Some(Special::AtLoad);
    }
    if name.starts_with(b".data..percpu") {
        return Some(Special::PerCpu);
    }
    name.starts_with(b".init").then_some(Special::Init)
}

/// What is wrong with a section whose per-CPU variables the loader does not copy (R9): the code adds a processor's
/// offset to their address, and reaches memory of others.
pub const NOT_COPIED: &str =
    "the kernel makes per-CPU variables only of those in .data..percpu, and takes this for ordinary data";
/// What to do about [`NOT_COPIED`].
pub const NOT_COPIED_ADVICE: &str =
    "declare them with DEFINE_PER_CPU, and not with DEFINE_PER_CPU_READ_MOSTLY and the like";

/// Whether a section has per-CPU variables that the loader does not copy (`find_pcpusec` in kernel/module/main.c).
pub fn is_not_copied(section: &Section) -> bool {
    section.is_alloc() && section.name.starts_with(b".data..percpu.")
}

/// Whether a section only describes code in other sections: it calls nothing.
pub fn is_metadata(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 5] = [b".orc_", b".debug_", b".zdebug_", b".klp.", b".discard"];
    const CALLED: [&[u8]; 4] = [b".altinstr_replacement", b".altinstr_aux", b"__param", b".ctors"];
    (special(name) == Some(Special::AtLoad) && !CALLED.contains(&name))
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the kernel, or another module, reaches what such a section holds or refers to without calling a patched
/// function: init and exit functions, parameters, exports.
pub fn is_root(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 5] = [b".init", b".exit", b"__ksymtab", b"__param", b".ctors"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || name == b".gnu.linkonce.this_module"
}

/// Whether the kernel reaches such a root while it loads the livepatch.
pub fn is_early_root(name: &[u8]) -> bool {
    name.starts_with(b".init") || name.starts_with(b".ctors")
}

/// Why a livepatch relocation cannot have this type; none if it can.
pub fn fault_of_type(machine: Machine, kind: u32) -> Option<&'static str> {
    let is_refused = machine == Machine::X86_64 && !X86_64_TYPES.contains(&kind);
    is_refused.then_some(
        "the kernel's module loader does not know this type: compile without -fPIC and -fPIE, and declare the \
         symbol without attributes",
    )
}

/// How many bytes an x86-64 relocation of this type writes; for other machines, at least one.
pub fn size_of_type(machine: Machine, kind: u32) -> usize {
    match (machine, kind) {
        (_, 0) => 0,
        (Machine::X86_64, 1 | 24) => 8,
        (Machine::X86_64, _) => 4,
        _ => 1,
    }
}

/// By how many bytes the target of such a relocation can lie further than its addend says, because the distance does
/// not count from the field: on x86-64 from the end of the instruction (4 bytes, and maybe an immediate value), on
/// s390x from its start.
pub fn distances(machine: Machine, kind: u32) -> &'static [i64] {
    match (machine, kind) {
        // R_X86_64_PC32, R_X86_64_PLT32, R_X86_64_PC64
        (Machine::X86_64, 2 | 4 | 24) => &[4, 5, 6, 8],
        // R_390_PC16DBL, R_390_PLT16DBL, R_390_PC32DBL, R_390_PLT32DBL, R_390_GOTENT
        (Machine::S390, 17..=20 | 26) => &[-2],
        _ => &[0],
    }
}

/// Whether a name is the toolchain's own, or one that modpost ignores: it stays a normal symbol, whoever defines it.
pub fn is_left_alone(machine: Machine, name: &[u8]) -> bool {
    is_toolchains(machine, name) || is_resolved_by_modpost(machine, name)
}

/// Whether modpost of a kernel for `machine` accepts this name without an export (`ignore_undef_symbol` in
/// scripts/mod/modpost.c): the final link, or the kernel's module loader, provides it.
pub fn is_resolved_by_modpost(machine: Machine, name: &[u8]) -> bool {
    const PPC: [&[u8]; 6] =
        [b"_restgpr_", b"_savegpr_", b"_rest32gpr_", b"_save32gpr_", b"_restvr_", b"_savevr_"];
    const PPC64: [&[u8]; 8] = [
        b"_restgpr0_",
        b"_savegpr0_",
        b"_restgpr1_",
        b"_savegpr1_",
        b"_restfpr_",
        b"_savefpr_",
        b"_restvr_",
        b"_savevr_",
    ];
    let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match machine {
        _ if name == b"__this_module" || name == b"_GLOBAL_OFFSET_TABLE_" => true,
        Machine::PPC => begins(&PPC),
        Machine::PPC64 => name == b".TOC." || begins(&PPC64),
        Machine::S390 => begins(&[b"__s390_indirect_jump_r"]),
        _ => false,
    }
}

/// The name by which modpost looks a symbol up: it cuts a name that the compiler has numbered (`name.12`, and
/// `name.12.isra.0`) at its first dot (`remove_dot` in scripts/mod/modpost.c), and removes a dot at the beginning
/// (`sym_find_with_module`). So it may find another symbol.
pub fn asked(name: &[u8]) -> &[u8] {
    let name = cut(name);
    name.strip_prefix(b".").unwrap_or(name)
}

/// The longest name, in characters, for which modpost of a kernel with CONFIG_MODVERSIONS can write down a version
/// (`MODULE_NAME_LEN` in include/linux/moduleparam.h, `add_versions` in scripts/mod/modpost.c), unless the kernel has
/// CONFIG_EXTENDED_MODVERSIONS. A weak symbol that no object exports gets no version.
pub const VERSIONED_NAME_LIMIT: usize = 55;

/// A symbol's name as modpost reads it (`remove_dot` in scripts/mod/modpost.c).
pub fn cut(name: &[u8]) -> &[u8] {
    let dot = memchr::memchr(b'.', name).filter(|dot| *dot > 0);
    let Some((start, rest)) = dot.and_then(|dot| Some((name.get(..dot)?, name.get(dot + 1..)?))) else {
        return name;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && matches!(rest.get(digits), None | Some(b'.')) { start } else { name }
}

fn is_toolchains(machine: Machine, name: &[u8]) -> bool {
    match machine {
        Machine::PPC64 => name == b".TOC.",
        Machine::S390 => name.starts_with(b"__s390_indirect_jump_r"),
        _ => name == b"_GLOBAL_OFFSET_TABLE_",
    }
}

/// ppc64le's relocation type of a call to another module (R_PPC64_REL24), which goes through a stub.
pub const R_PPC64_REL24: u32 = 10;
/// ppc64le's no-operation, which has to follow such a call: the kernel puts the reload of the TOC there.
pub const PPC64_NOP: u64 = 0x6000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_some_machines_resolve() {
        for (machine, own, others) in [
            (Machine::PPC, "_restgpr_14_x", "_savegpr0_14"),
            (Machine::PPC64, "_savegpr0_14", "_save32gpr_14"),
            (Machine::PPC64, ".TOC.", "TOC"),
            (Machine::S390, "__s390_indirect_jump_r14", "_restvr_20"),
        ] {
            assert!(is_resolved_by_modpost(machine, own.as_bytes()), "{own}");
            assert!(!is_resolved_by_modpost(machine, others.as_bytes()), "{others}");
            assert!(!is_resolved_by_modpost(Machine::X86_64, own.as_bytes()), "{own}");
            assert!(!is_resolved_by_modpost(Machine::AARCH64, own.as_bytes()), "{own}");
        }
        assert!(is_resolved_by_modpost(Machine::X86_64, b"__this_module"));
        assert!(!is_resolved_by_modpost(Machine::X86_64, b"__this_module_"));
    }

    #[test]
    fn names_are_cut_as_modpost_cuts_them() {
        for (name, expected) in [
            ("plain", "plain"),
            ("anon_aops.0", "anon_aops"),
            ("klp_string.12345", "klp_string"),
            ("a.1.isra.2", "a"),
            ("a.isra.0", "a.isra.0"),
            ("a.12b", "a.12b"),
            ("a.", "a."),
            (".12", "12"),
            (".klp.sym.rela.vmlinux.vmlinux.a.0,1", "klp.sym.rela.vmlinux.vmlinux.a.0,1"),
            ("", ""),
        ] {
            assert_eq!(asked(name.as_bytes()), expected.as_bytes(), "{name}");
        }
    }
}
