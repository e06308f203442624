// SPDX-License-Identifier: GPL-2.0-only
//! The rules of a correct livepatch: R for the form that the kernel's loader and livepatch core expect of the module
//! (Documentation/livepatch/module-elf-format.rst), S for the symbols: which one is meant, and whether it is used as
//! what it is.
//!
//! Each rule that a message, a finding or a comment cites is defined here, once: the text is the doc comment of its
//! variant, and what `klpbuild verify --explain` prints. docs/livepatch-format.md tells them in their connection.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! rules {
    ($($name:ident $title:literal: $text:literal [$source:literal];)+) => {
        /// A rule of a correct livepatch.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $text] #[doc = ""] #[doc = concat!("Kernel: ", $source)] $name,)+
        }

        impl Rule {
            /// All rules, in their order.
            pub const ALL: &[Rule] = &[$(Rule::$name),+];

            /// The rule in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Rule::$name => $title,)+ }
            }

            /// What it demands, and why.
            pub fn text(self) -> &'static str {
                match self { $(Rule::$name => $text,)+ }
            }

            /// The files of the kernel that it comes from.
            pub fn source(self) -> &'static str {
                match self { $(Rule::$name => $source,)+ }
            }

            fn name(self) -> &'static str {
                match self { $(Rule::$name => stringify!($name),)+ }
            }
        }
    };
}

rules! {
    R1 "relocation sections":
        "A livepatch relocation section is called .klp.rela.OBJECT.SECTION. It is of type SHT_RELA, has the flags \
         SHF_ALLOC and SHF_RELA_LIVEPATCH (0x00100000), applies to the section that its name ends in, which takes up \
         memory, and is linked to the symbol table. Its relocations are of types that the machine's loader can write, and \
         lie within that section. The kernel reads at most 55 characters of the object's name, up to the first dot."
        ["kernel/livepatch/core.c, klp_apply_section_relocs; include/uapi/linux/elf.h"];
    R2 "the object of a section":
        "OBJECT in the section's name is vmlinux or the run-time name of a module (with _ for -). It is the object at whose \
         loading the relocations are written: the one that the code is there for, and not the one that has the symbol. Code \
         that no replacement of one object alone comes to has no such object: it must not use what may not be there yet."
        ["kernel/livepatch/core.c, klp_init_object_loaded, klp_write_object_relocs"];
    R3 "symbol names":
        "A symbol that the kernel resolves is called .klp.sym.OBJECT.NAME,POSITION. NAME may have dots, but no comma. The \
         whole has at most 127 characters up to Linux 6.0, and 511 later (KSYM_NAME_LEN)."
        ["kernel/livepatch/core.c, klp_resolve_symbols; include/linux/kallsyms.h"];
    R4 "the section index of symbols":
        "Each symbol that a livepatch relocation refers to has the section index SHN_LIVEPATCH (0xff20), and keeps its \
         binding. The loader takes an undefined one for an ordinary reference, and refuses the module."
        ["kernel/module/main.c, simplify_symbols; kernel/livepatch/core.c, klp_resolve_symbols"];
    R5 "the symbol table's order":
        "The kernel keeps the symbol table and reads it again whenever a patched module is loaded. Every index of a symbol \
         stays right, and local symbols come first, as many as the table's sh_info says."
        ["kernel/module/livepatch.c, copy_module_elf"];
    R6 "the mark":
        ".modinfo has livepatch=Y (MODULE_INFO(livepatch, \"Y\")). Without it the loader keeps nothing of what a livepatch \
         needs, and refuses its symbols."
        ["kernel/module/main.c, check_modinfo_livepatch"];
    R7 "one place for a relocation":
        "A relocation that became one of a livepatch has left the section it came from, and that section is gone when it is \
         empty. What stands in both is written twice, or is refused as an unknown symbol."
        ["kernel/module/main.c, apply_relocations"];
    R8 "bytes that are zero":
        "On x86-64 the bytes that a relocation is written to are zero before. The loader refuses anything else: it would \
         be written a second time."
        ["arch/x86/kernel/module.c, __write_relocate_add"];
    R9 "memory that is there":
        "No livepatch relocation is for a section that is freed, has run, or was copied before it could be written: not for \
         .init.*, not for per-CPU data, not for what takes up no memory; and with a module as object not for sections that \
         the loader looks at once (alternatives, static calls, jump labels). None refers to an __init symbol. The sites of \
         static calls of a module are taken out when a livepatch is converted: such a call goes through its trampoline. The \
         per-CPU variables of a livepatch are all in .data..percpu: the loader copies no other section."
        ["kernel/module/main.c, do_init_module, post_relocation, find_pcpusec; include/asm-generic/vmlinux.lds.h"];
    R10 "exports":
        "What vmlinux exports stays an ordinary reference. What a module exports becomes a livepatch relocation unless the \
         livepatch is to depend on that module: depends= and the symbols' versions then name that module, and it is loaded \
         before, and pinned."
        ["kernel/module/main.c, resolve_symbol; scripts/mod/modpost.c"];
    R11 "a klp_object for each section":
        "The object of each livepatch relocation section has a klp_object in the patch, if only with an empty list of \
         functions. The sections of any other object are never written."
        ["kernel/livepatch/core.c, klp_init_object_loaded, klp_module_coming"];
    R12 "the order of steps":
        "The order is: link, BTF, convert, sign, compress. Conversion makes a signature invalid, and strip, objcopy and \
         ld -r do not know SHN_LIVEPATCH (GNU strip --strip-debug leaves it right)."
        ["scripts/Makefile.modfinal; scripts/Makefile.modinst"];
    R13 "the number of sections":
        "A livepatch has fewer than 65,280 sections: from there on, a symbol's section stands elsewhere, and the index of \
         SHN_LIVEPATCH could not be told from a real one."
        ["include/uapi/linux/elf.h, SHN_LORESERVE"];
    R14 "conversion once":
        "A livepatch that is converted stays as it is when it is converted again."
        ["klpbuild's own"];
    R15 "the patch as the kernel walks it":
        "The lists of a klp_patch end with an empty entry. Each klp_func has a name and a new function of this module, no \
         object and no function stands there twice, and mod is this module. Structures, names and callbacks lie in memory \
         that stays and, where the kernel writes, that can be written. The patch is given to klp_enable_patch. A new \
         function does not call the one that it replaces: it would come back to itself for ever."
        ["kernel/livepatch/core.c, klp_init_patch, klp_for_each_object_static, klp_init_func"];
    S1 "positions":
        "Position 0 means that exactly one symbol of this name is in the object; the kernel refuses it where there are \
         several. Position n means the n-th."
        ["kernel/livepatch/core.c, klp_find_object_symbol"];
    S2 "positions in vmlinux":
        "In vmlinux, symbols of one name are counted by ascending address, functions and data together. That is the order \
         of kallsyms, and neither that of the symbol table nor that of nm."
        ["scripts/kallsyms.c; kernel/kallsyms.c, kallsyms_on_each_match_symbol"];
    S3 "what kallsyms keeps":
        "Only what kallsyms keeps is found and counted: no undefined and, but for a few, no absolute symbols, and none of \
         the names that the tree's scripts/mksysmap and scripts/kallsyms.c leave out."
        ["scripts/kallsyms.c; scripts/mksysmap"];
    S4 "the kernel that runs":
        "A livepatch fits the build of vmlinux and of the modules that it was made for: positions, layouts and code of \
         another build of the same release differ. It says for which builds it was converted, and they are compared."
        ["kernel/module/version.c; klpbuild's own klpbuild_for= in .modinfo"];
    S5 "positions in modules":
        "In a module, symbols of one name are counted in the order of its symbol table. A name that is there both in an init \
         section and elsewhere cannot be used: which one is found changes when the init section is freed."
        ["kernel/module/kallsyms.c, module_kallsyms_on_each_symbol"];
    S6 "names under LTO":
        "With Clang's LTO, vmlinux's symbols are looked up by their exact names up to Linux 6.1 and from 6.11 on; cut at the \
         first dot in 6.2 to 6.4; and cut at .llvm. in 6.5 to 6.10."
        ["kernel/kallsyms.c, cleanup_symbol_name"];
    S7 "replaced functions":
        "old_name and old_sympos of a klp_func name a function of that object by the rules S1 to S6, which is not __init, \
         and which ftrace can step in at its beginning."
        ["kernel/livepatch/core.c, klp_init_object_loaded; kernel/livepatch/patch.c, klp_patch_func"];
    S8 "address 0":
        "A symbol at address 0, as the first one of per-CPU data on some x86-64 kernels, cannot be used: the kernel takes \
         the address for not found."
        ["kernel/livepatch/core.c, klp_find_object_symbol"];
    S9 "declarations":
        "A declaration in the livepatch is what the kernel has: functions are called, variables are read and written, \
         per-CPU data is reached as such. A new function has the type of the one that it replaces."
        ["klpbuild's own, from DWARF or BTF; no check of the kernel's would tell"];
    S10 "all code of a function":
        "Where the compiler has inlined a function, or made clones of it (.isra, .constprop, .part), a replacement of the \
         function alone changes nothing there: the functions that have the copies are patched as well."
        ["Documentation/livepatch/livepatch.rst; klpbuild's own, from DWARF and symbol tables"];
    S11 "sealed functions":
        "No pointer leads to a function that never had an ENDBR, or whose ENDBR the boot has removed (.ibt_endbr_seal): with \
         IBT the call through the pointer faults, and with CFI it panics."
        ["arch/x86/kernel/alternative.c, apply_seal_endbr"];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    /// Reads a rule's name, in capital or small letters.
    fn from_str(text: &str) -> Result<Rule, UnknownRule> {
        let is_it = |rule: &&Rule| rule.name().eq_ignore_ascii_case(text);
        Rule::ALL.iter().find(is_it).copied().ok_or_else(|| UnknownRule(text.to_owned()))
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rule, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// There is no rule of this name.
#[derive(Debug)]
pub struct UnknownRule(String);

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last =
            |kind: &str| Rule::ALL.iter().rev().map(|rule| rule.name()).find(|name| name.starts_with(kind));
        let (form, symbols) = (last("R").unwrap_or_default(), last("S").unwrap_or_default());
        write!(
            f,
            "there is no rule {}: they are R1 to {form} and S1 to {symbols} (klpbuild verify --explain)",
            self.0
        )
    }
}

impl std::error::Error for UnknownRule {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for &rule in Rule::ALL {
            assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
            assert_eq!(rule.to_string().to_lowercase().parse::<Rule>().unwrap(), rule);
        }
        assert_eq!(format!("{:4}|", Rule::R7), "R7  |");
        let error = "R16".parse::<Rule>().unwrap_err().to_string();
        assert!(error.starts_with("there is no rule R16: they are R1 to R15 and S1 to S11"), "{error}");
        assert_eq!(
            (Rule::ALL.first(), Rule::ALL.last(), Rule::ALL.len()),
            (Some(&Rule::R1), Some(&Rule::S11), 26)
        );
    }
}
