// SPDX-License-Identifier: GPL-2.0-only
//! Which symbols of vmlinux kallsyms leaves out (S3): scripts/mksysmap removes some, for System.map as well, and
//! scripts/kallsyms.c more. The kernel's own scripts/kallsyms.c is read for that; its form is the same from 4.4 to
//! 7.1: lists of strings, and a comparison for absolute symbols.

use std::path::Path;

use fs_err as fs;

use crate::elf::Binding;
use crate::elf::definitions::Definition;

/// The absolute symbols that kallsyms keeps, in every kernel up to 7.1.
const KEPT_ABSOLUTE: [&str; 4] =
    ["__kernel_syscall_via_break", "__kernel_syscall_via_epc", "__kernel_sigtramp", "__gp"];

/// What scripts/kallsyms.c of a kernel leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    names: Vec<String>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
    parts: Vec<String>,
    kept_absolute: Vec<String>,
    /// Whether the kernel is not known, so that only the common part of all filters is here.
    is_common: bool,
    /// The length of a name, in bytes, that is too long (KSYM_NAME_LEN).
    too_long: usize,
}

impl Filter {
    /// The filter of the kernel with this source tree; without one, the part that all kernels have in common.
    pub fn detect(srctree: Option<&Path>) -> Filter {
        let source = srctree.and_then(|srctree| fs::read_to_string(srctree.join("scripts/kallsyms.c")).ok());
        source.and_then(|text| Filter::parse(&text)).unwrap_or_else(Filter::common)
    }

    /// The filter for an unknown kernel: what all kernels leave out, and also names that only some compiler or
    /// architecture makes.
    pub fn common() -> Filter {
        Filter {
            names: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            parts: Vec::new(),
            kept_absolute: KEPT_ABSOLUTE.map(str::to_owned).to_vec(),
            is_common: true,
            too_long: 512,
        }
    }

    /// Reads the source of scripts/kallsyms.c; none if it looks like no known one.
    fn parse(text: &str) -> Option<Filter> {
        let text = without_comments(text);
        let mut filter = Filter { kept_absolute: Vec::new(), is_common: false, ..Filter::common() };
        // `static const char * const ignored_prefixes[] = { "$", NULL };`, up to 5.5 `special_prefixes`.
        for (head, rest) in text.split("[] = {").zip(text.split("[] = {").skip(1)) {
            let name = head.rsplit([' ', '*', '\n']).next().unwrap_or_default();
            let strings = || strings(rest.split('}').next().unwrap_or_default());
            match name.rsplit('_').next().unwrap_or_default() {
                "symbols" => filter.names.extend(strings()),
                "prefixes" => filter.prefixes.extend(strings()),
                "suffixes" => filter.suffixes.extend(strings()),
                "matches" => filter.parts.extend(strings()),
                _ => {}
            }
        }
        let (_, absolute) = text.split_once("== 'A'")?;
        let compared = absolute.split("return").next()?;
        filter.kept_absolute.extend(strings(compared));
        let length = text.lines().find_map(|line| line.strip_prefix("#define KSYM_NAME_LEN"));
        filter.too_long = length.and_then(|length| length.trim().parse().ok()).unwrap_or(filter.too_long);
        Some(filter)
    }

    /// Whether kallsyms has a symbol of System.map with this type, as nm has it, and this name.
    pub fn keeps(&self, kind: u8, name: &[u8]) -> bool {
        let is_absolute = kind.eq_ignore_ascii_case(&b'A');
        let is_kept = || self.kept_absolute.iter().any(|kept| kept.as_bytes() == name);
        !matches!(kind, b'U' | b'u' | b'N' | b'n') && (!is_absolute || is_kept()) && self.keeps_name(name)
    }

    /// Whether kallsyms would have this definition from vmlinux's symbol table, if there is no System.map. nm shows a
    /// weak symbol as weak, whatever its section.
    pub fn keeps_definition(&self, definition: &Definition) -> bool {
        let kind = match (&definition.section, definition.binding) {
            (None, Binding::Local) => return false,
            (None, Binding::Global) => b'A',
            _ => b'T',
        };
        !is_dropped(&definition.name) && self.keeps(kind, &definition.name)
    }

    fn keeps_name(&self, name: &[u8]) -> bool {
        // Mapping symbols and MIPS's local symbols; each kernel version filters them in its own way.
        let is_left_out = name.starts_with(b"$")
            || name.len() >= self.too_long
            || (self.is_common && is_dropped(name))
            || self.names.iter().any(|other| other.as_bytes() == name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
            || self.suffixes.iter().any(|suffix| name.ends_with(suffix.as_bytes()))
            || self.parts.iter().any(|part| memchr::memmem::find(name, part.as_bytes()).is_some());
        !is_left_out
    }
}

/// Whether some kernel leaves out a symbol of vmlinux because of its name (scripts/mksysmap, and
/// `is_ignored_symbol` in scripts/kallsyms.c up to 6.3).
fn is_dropped(name: &[u8]) -> bool {
    const EXACT: [&[u8]; 3] = [b"L0", b"_SDA_BASE_", b"_SDA2_BASE_"];
    const PREFIXES: [&[u8]; 13] = [
        b"$",
        b".L",
        b"__efistub_",
        b"__pi_$",
        b"__pi_.L",
        b"__pi___kcfi_typeid_",
        b"__kvm_nvhe_$",
        b"__kvm_nvhe_.L",
        b"__kvm_nvhe___kcfi_typeid_",
        b"__kcfi_typeid_",
        b"__crc_",
        b"__kstrtab_",
        b"__kstrtabns_",
    ];
    const SUFFIXES: [&[u8]; 3] = [b"_from_arm", b"_from_thumb", b"_veneer"];
    const PARTS: [&[u8]; 2] = [b".long_branch.", b".plt_branch."];
    let is_thunk = || {
        let rest = name.strip_prefix(b"__").unwrap_or_default();
        let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        rest.get(..word).is_some_and(|word| word.ends_with(b"Thunk")) && rest.get(word) == Some(&b'_')
    };
    EXACT.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || PARTS.iter().any(|part| memchr::memmem::find(name, part).is_some())
        || is_thunk()
}

/// Source text without its `/* */` comments.
fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |code, part| code + part.split_once("*/").map_or("", |(_, rest)| rest))
}

/// The strings in a piece of C.
fn strings(code: &str) -> impl Iterator<Item = String> {
    code.split('"').skip(1).step_by(2).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: &str = r#"
        #define KSYM_NAME_LEN		64
        static bool left_out(const char *name, char type)
        {
            static const char * const ignored_symbols[] = {
                /* "in_a_comment" */
                "own_table",	/* "another" */
                NULL
            };
            static char *special_prefixes[] = { "$", "__tagged_", NULL };
            static const char *const ignored_suffixes[] = { "_glue", NULL };
            static const char * const ignored_matches[] = { ".far.", NULL };
            static struct range text_ranges[] = { { "_stext", "_etext" } };
            if (toupper(type) == 'A') {
                /* "nor this" */
                if (strcmp(name, "kept_one") && strcmp(name, "kept_two"))
                    return true;
            }
            if (!strcmp(name, "far_below"))
                return true;
            return false;
        }
    "#;

    #[test]
    fn a_trees_own_lists_count() {
        let filter = Filter::parse(&LISTS.replace("        #define", "#define")).unwrap();
        let kept = |kind: u8, name: &str| filter.keeps(kind, name.as_bytes());
        for name in ["own_table", "$x", "__tagged_a", "arm_glue", "a.far.b", &"x".repeat(64)] {
            assert!(!kept(b'T', name), "{name}");
        }
        for name in ["own_tables", "a$x", "glue", "_stext", "in_a_comment", "far_below", &"x".repeat(63)] {
            assert!(kept(b'D', name), "{name}");
        }
        assert!(kept(b'A', "kept_one") && kept(b'a', "kept_two") && !kept(b'A', "__gp"));
        assert!(!kept(b'A', "in_a_comment") && !kept(b'n', "a") && !kept(b'U', "a") && kept(b'W', "a"));
    }

    #[test]
    fn without_a_tree_absolute_ones_are_dropped() {
        let filter = Filter::detect(None);
        assert!(!filter.keeps(b'A', b"text_size") && filter.keeps(b'A', b"__gp"));
        assert!(filter.keeps(b'D', b"init_task") && !filter.keeps(b'r', b"__crc_init_task"));
        assert_eq!(Filter::parse("int main(void) { return 0; }"), None);
    }
}
