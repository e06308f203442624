// SPDX-License-Identifier: GPL-2.0-only
//! How the kernel counts symbols of one name (sympos; rules S1 to S8): which of vmlinux's symbols kallsyms
//! keeps, in which order, and under which name.
//!
//! - [`filter`]: what scripts/kallsyms.c leaves out

pub mod filter;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use regex::bytes::{Regex, RegexBuilder};

pub use filter::Filter;

use crate::elf::Binding;
use crate::elf::definitions::Definition;
use crate::host::words::count;
use crate::kernel::tree::config::Config;

/// How the kernel changes a name of vmlinux before it compares it (`cleanup_symbol_name` in kernel/kallsyms.c; S6).
/// Names of modules are never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// The name stays as it is.
    Exact,
    /// With CONFIG_LTO_CLANG, 6.2 to 6.4: cut at the first dot.
    UpToDot,
    /// With CONFIG_LTO_CLANG, 6.5 to 6.10: cut at `.llvm.`.
    UpToLlvm,
}

impl Spelling {
    /// How the kernel with the configuration `config` spells names. Its source tells; without one, its release.
    pub fn detect(config: &Config, srctree: Option<&Path>, release: Option<(u32, u32)>) -> Spelling {
        if !config.has("LTO_CLANG") {
            return Spelling::Exact;
        }
        let source = srctree.and_then(|srctree| fs::read_to_string(srctree.join("kernel/kallsyms.c")).ok());
        match (source, release) {
            (Some(text), _) if !text.contains("kallsyms_on_each_match_symbol") => Spelling::Exact,
            (Some(text), _) if !text.contains("cleanup_symbol_name") => Spelling::Exact,
            (Some(text), _) if text.contains("\".llvm.\"") => Spelling::UpToLlvm,
            (Some(_), _) => Spelling::UpToDot,
            (None, Some((6, 2..=4))) => Spelling::UpToDot,
            (None, Some((6, 5..=10))) => Spelling::UpToLlvm,
            (None, _) => Spelling::Exact,
        }
    }

    /// The name as the kernel compares it.
    pub fn of(self, name: &[u8]) -> &[u8] {
        let end = match self {
            Spelling::Exact => None,
            Spelling::UpToDot => memchr::memchr(b'.', name),
            Spelling::UpToLlvm => memchr::memmem::find(name, b".llvm."),
        };
        end.and_then(|end| name.get(..end)).unwrap_or(name)
    }
}

/// The lines of a System.map for given names. kallsyms was made of this file, which makes it the best witness (S3).
#[derive(Debug)]
pub struct SystemMap {
    /// Address and name, raw.
    entries: HashSet<(u64, Vec<u8>)>,
}

/// An x86 kernel's kallsyms up to 6.14 has per-CPU symbols as absolute ones (`make_percpus_absolute` in
/// scripts/kallsyms.c); in System.map, this one is data.
const PER_CPU_START: &[u8] = b"__per_cpu_start";

impl SystemMap {
    /// Reads the lines of the file at `path` whose names are `wanted` and which `filter` keeps; none if there is no
    /// such file. A /proc/kallsyms has only lines that were kept.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path, wanted: impl Fn(&[u8]) -> bool, filter: &Filter) -> Result<Option<SystemMap>> {
        if !path.is_file() {
            return Ok(None);
        }
        let mut entries = HashSet::new();
        let mut others = HashSet::new();
        let mut is_kallsyms = false;
        each_line(
            path,
            |name| name == PER_CPU_START || wanted(name),
            |address, kind, name| {
                is_kallsyms |= name == PER_CPU_START && kind == b'A';
                let entries = if filter.keeps(kind, name) { &mut entries } else { &mut others };
                entries.insert((address, name.to_vec()));
            },
        )?;
        if is_kallsyms {
            entries.extend(others);
        }
        entries.retain(|(_, name)| wanted(name));
        Ok(Some(SystemMap { entries }))
    }

    /// Whether kallsyms has this definition: address and name.
    fn has(&self, definition: &Definition) -> bool {
        self.entries.contains(&(definition.value, definition.name.clone()))
    }

    /// Whether the System.map was made of the vmlinux with these definitions: each of its lines is one of them,
    /// except for symbols that are taken out of vmlinux after System.map is made.
    pub fn fits(&self, definitions: &[Definition]) -> bool {
        let defined: HashSet<(u64, &[u8])> =
            definitions.iter().map(|definition| (definition.value, definition.name.as_slice())).collect();
        self.entries
            .iter()
            .all(|(address, name)| defined.contains(&(*address, name)) || name.starts_with(TAKEN_OUT))
    }
}

/// How those names in vmlinux's `.modinfo` begin that scripts/Makefile.vmlinux takes out from 6.18 on.
const TAKEN_OUT: &[u8] = b"__UNIQUE_ID_modinfo";

/// The longest line in a System.map or /proc/kallsyms, in bytes. No symbol name comes near it.
const LONGEST_LINE: u64 = 1 << 13;

/// Goes through the lines of a list like System.map and /proc/kallsyms, `ffffffff81000000 T name`: address, type as
/// nm has it, and name. Symbols of modules, with `[module]` after them, are left out.
fn each_line(
    path: &Path,
    wanted: impl Fn(&[u8]) -> bool,
    mut take: impl FnMut(u64, u8, &[u8]),
) -> Result<()> {
    // Line by line, in a buffer that is used again and again.
    let mut reader = BufReader::with_capacity(1 << 18, fs::File::open(path)?);
    let mut line = Vec::new();
    while Read::by_ref(&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
        ensure!(
            (line.len() as u64) < LONGEST_LINE,
            "{}: a line is longer than {LONGEST_LINE} bytes: this is no list of symbols",
            path.display()
        );
        if let Some((address, kind, name)) = entry(line.trim_ascii_end())
            && wanted(name)
            && let Some(address) =
                std::str::from_utf8(address).ok().and_then(|a| u64::from_str_radix(a, 16).ok())
        {
            take(address, kind, name);
        }
        line.clear();
    }
    Ok(())
}

/// Whether this could be a line of a System.map or /proc/kallsyms.
pub fn is_line(line: &[u8]) -> bool {
    entry(line.trim_ascii_end()).is_some_and(|(address, kind, name)| {
        (8..=16).contains(&address.len())
            && address.iter().all(u8::is_ascii_hexdigit)
            && kind.is_ascii_alphabetic()
            && !name.contains(&b' ')
    })
}

fn entry(line: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let space = memchr::memchr(b' ', line)?;
    let name = line.get(space + 3..).filter(|name| !name.is_empty() && !name.contains(&b'\t'))?;
    Some((line.get(..space)?, *line.get(space + 1)?, name))
}

/// The definitions of symbols whose names are `wanted`, as a System.map or /proc/kallsyms alone tells them, in its
/// order, which is the kernel's.
///
/// # Errors
/// The list cannot be read.
pub fn definitions_in(path: &Path, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<Definition>> {
    let mut found = Vec::new();
    each_line(path, wanted, |address, kind, name| {
        found.push(Definition {
            name: name.to_vec(),
            value: address,
            size: None,
            kind: None,
            binding: match kind {
                b'w' | b'v' | b'W' | b'V' => Binding::Weak,
                _ if kind.is_ascii_lowercase() => Binding::Local,
                _ => Binding::Global,
            },
            section: None,
            is_data: matches!(kind.to_ascii_lowercase(), b'd' | b'b' | b'r'),
            is_init: false,
            file: None,
        });
    })?;
    Ok(found)
}

/// The definitions in vmlinux that the kernel counts, in the order in which it counts them: by ascending address
/// (S2), functions and data together. With `map`, these are the definitions that stand in it; without, those that
/// kallsyms would keep.
pub fn counted<'a>(
    definitions: &'a [Definition],
    map: Option<&SystemMap>,
    filter: &Filter,
) -> Vec<&'a Definition> {
    let kept = |definition: &&Definition| match map {
        Some(map) => map.has(definition),
        None => filter.keeps_definition(definition),
    };
    let mut counted: Vec<&Definition> = definitions.iter().filter(kept).collect();
    counted.sort_by_key(|definition| definition.value);
    counted
}

/// What a compiler puts behind the name of a function when it makes another one of it.
const COPIES: [&str; 3] = ["isra", "constprop", "part"];
/// What else it puts behind names: of a function's seldom run part, and of statics under LTO.
const PARTS: [&str; 4] = ["cold", "llvm", "lto_priv", "__uniq"];

/// Whether `candidate` is what a compiler made of the function or variable `name`: `.isra.0`, `.constprop.0`, `.part.0`,
/// `.cold`, `.llvm.123`, and several of them.
pub fn is_variant(name: &str, candidate: &str) -> bool {
    let Some(behind) = candidate.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut words = behind.split('.').peekable();
    while let Some(word) = words.next() {
        if !COPIES.contains(&word) && !PARTS.contains(&word) {
            return false;
        }
        words.next_if(is_number);
    }
    true
}

/// The names that a compiler gives to other functions that it made of any of `names`, to be searched for among raw names.
///
/// # Errors
/// They are too many for one expression.
pub fn copies_of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Regex> {
    const LARGEST: usize = 1 << 30;
    let escaped: Vec<String> = names.into_iter().map(regex::escape).collect();
    let pattern = format!(r"^({})(\.({})(\.[0-9]+)?)+$", escaped.join("|"), COPIES.join("|"));
    let regex = RegexBuilder::new(&pattern).size_limit(LARGEST).build();
    regex.with_context(|| {
        format!(
            "{} are too many to search for the compiler's variants of them",
            count(escaped.len(), "function")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Binding;

    /// Of what is in the map and not in vmlinux, only what its makefile takes out is no sign of another build.
    #[test]
    fn a_map_fits_a_vmlinux_without_its_modinfo() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("System.map");
        let fits = |line: &str| {
            fs::write(&path, format!("ffffffff81000010 t twin\n{line}\n")).unwrap();
            let map = SystemMap::read(&path, |_| true, &Filter::common()).unwrap().unwrap();
            let twin = Definition {
                name: b"twin".to_vec(),
                value: 0xffff_ffff_8100_0010,
                size: None,
                kind: None,
                binding: Binding::Local,
                section: None,
                is_data: false,
                is_init: false,
                file: None,
            };
            map.fits(&[twin])
        };
        assert!(fits("ffffffff82018000 r __UNIQUE_ID_modinfo_402"));
        assert!(!fits("ffffffff82018000 r __UNIQUE_ID_other_402"));
        assert!(!fits("ffffffff81000020 t twin"));
    }

    #[test]
    fn what_a_compiler_made_of_a_function_is_known_by_its_name() {
        let copies = copies_of(["f", "g.h"]).unwrap();
        for (name, is_one, is_copy) in [
            ("f.isra.0", true, true),
            ("f.part.12.isra.0", true, true),
            ("f.constprop", true, true),
            ("f.cold", true, false),
            ("f.isra.0.cold", true, false),
            ("f.llvm.123", true, false),
            ("f", false, false),
            ("f.", false, false),
            ("f.0", false, false),
            ("f.isra.0.1", false, false),
            ("f.isra.", false, false),
            ("ff.isra.0", false, false),
        ] {
            assert_eq!(
                (is_variant("f", name), copies.is_match(name.as_bytes())),
                (is_one, is_copy),
                "{name}"
            );
        }
        assert!(copies.is_match(b"g.h.isra.0") && !copies.is_match(b"gxh.isra.0"));
    }
}
