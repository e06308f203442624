// SPDX-License-Identifier: GPL-2.0-only
//! The names by which the kernel recognises livepatch sections and symbols, and the names of annotations
//! (Documentation/livepatch/module-elf-format.rst).

use std::fmt;

use anyhow::{Result, ensure};

use crate::livepatch::rules::Rule;
use crate::livepatch::rules::Rule::{R1, R2};

/// How the name of a livepatch relocation section begins (R1).
pub const SECTION_PREFIX: &[u8] = b".klp.rela.";
/// How the name of a livepatch symbol begins (R3).
pub const SYMBOL_PREFIX: &[u8] = b".klp.sym.";
/// How the name of an annotated symbol begins.
pub const ANNOTATED_PREFIX: &[u8] = b".klp.sym.rela.";
/// How the name of a section with annotations begins.
pub const ANNOTATIONS_PREFIX: &[u8] = b".klp.module_relocs.";
/// The longest name of an object, in bytes (`%55[^.]` in kernel/livepatch/core.c; R1).
pub const OBJECT_LIMIT: usize = 55;

/// The parts of a livepatch symbol's name (R3): `.klp.sym.<object>.<name>,<sympos>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KlpSymbol {
    /// The object that defines the symbol.
    pub object: String,
    /// The symbol's name, raw.
    pub name: Vec<u8>,
    /// The position among those of this name in the object, from 1; 0 if there is only one (S1).
    pub sympos: u64,
}

impl KlpSymbol {
    /// Reads a name; none if it is not a livepatch symbol's.
    pub fn parse(name: &[u8]) -> Option<KlpSymbol> {
        KlpSymbol::parse_rest(name.strip_prefix(SYMBOL_PREFIX)?)
    }

    fn parse_rest(rest: &[u8]) -> Option<KlpSymbol> {
        let (object, rest) = split_once(rest, b'.')?;
        let (name, sympos) = split_once(rest, b',')?;
        let is_number = !sympos.is_empty() && sympos.iter().all(u8::is_ascii_digit);
        let sympos = std::str::from_utf8(sympos).ok().filter(|_| is_number)?.parse().ok()?;
        let object = std::str::from_utf8(object).ok().filter(|object| !object.is_empty())?.to_owned();
        (!name.is_empty()).then(|| KlpSymbol { object, name: name.to_vec(), sympos })
    }

    /// The name for the string table.
    pub fn to_name(&self) -> Vec<u8> {
        let mut name = SYMBOL_PREFIX.to_vec();
        name.extend_from_slice(self.object.as_bytes());
        name.push(b'.');
        name.extend_from_slice(&self.name);
        name.extend_from_slice(format!(",{}", self.sympos).as_bytes());
        name
    }
}

/// For messages: `vmlinux's name,1`.
impl fmt::Display for KlpSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{},{}", self.object, String::from_utf8_lossy(&self.name), self.sympos)
    }
}

/// The parts of an annotated declaration's assembler name: `.klp.sym.rela.<section object>.<symbol
/// object>.<name>,<sympos>`. With clang, the quotes that GNU's assembler needs for the comma may become part of the
/// symbol's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotatedName {
    /// The object at whose loading the relocation is written (R2). In the name it may be empty: conversion tells it from
    /// the code that uses the symbol.
    pub section_object: Option<String>,
    /// The symbol.
    pub symbol: KlpSymbol,
}

impl AnnotatedName {
    /// Reads a name; none if it is not an annotated one's.
    pub fn parse(name: &[u8]) -> Option<AnnotatedName> {
        let unquoted = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
        let name = unquoted.unwrap_or(name);
        let (object, rest) = split_once(name.strip_prefix(ANNOTATED_PREFIX)?, b'.')?;
        let object = std::str::from_utf8(object).ok()?;
        let section_object = (!object.is_empty()).then(|| object.to_owned());
        Some(AnnotatedName { section_object, symbol: KlpSymbol::parse_rest(rest)? })
    }

    /// The name for assembler text, where the comma needs quotes.
    pub fn to_text(&self) -> String {
        let KlpSymbol { object, name, sympos } = &self.symbol;
        let name = String::from_utf8_lossy(name);
        let section_object = self.section_object.as_deref().unwrap_or_default();
        format!("\".klp.sym.rela.{section_object}.{object}.{name},{sympos}\"")
    }
}

/// The name of the livepatch relocation section for the code of `object` in the section `target` (R1).
pub fn section_name(object: &str, target: &[u8]) -> Vec<u8> {
    [SECTION_PREFIX, object.as_bytes(), b".", target].concat()
}

/// The object and the target section in the name of a livepatch relocation section; none if it is not such a name.
pub fn parse_section_name(name: &[u8]) -> Option<(&str, &[u8])> {
    let (object, target) = split_once(name.strip_prefix(SECTION_PREFIX)?, b'.')?;
    Some((std::str::from_utf8(object).ok().filter(|object| !object.is_empty())?, target))
}

/// Checks that a livepatch can have this name, as a module and as a file.
///
/// # Errors
/// It cannot.
pub fn check_module(name: &str) -> Result<()> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= OBJECT_LIMIT;
    ensure!(
        is_name,
        "{name}: a livepatch is named with letters, digits, - and _, at most {OBJECT_LIMIT} of them, and a letter first"
    );
    Ok(())
}

/// Why the name of an object cannot be part of a livepatch name.
pub fn fault_of_object(object: &str) -> Option<String> {
    rule_of_object(object).map(|(rule, fault)| format!("{fault} ({rule})"))
}

/// The rule that the name of an object breaks, and how, for messages that show the rule separately.
pub fn rule_of_object(object: &str) -> Option<(Rule, String)> {
    if object.len() > OBJECT_LIMIT {
        let length = object.len();
        let fault =
            format!("the object name {object} has {length} characters: the kernel reads {OBJECT_LIMIT}");
        return Some((R1, fault));
    }
    if object.is_empty() {
        return Some((R2, "an empty name is no object's: write NULL for vmlinux".to_owned()));
    }
    if object.contains(['-', ',', '.']) {
        let name = object.replace(['-', ','], "_");
        let fault = format!("{object} is no object's run-time name: write {}", name.trim_end_matches(".ko"));
        return Some((R2, fault));
    }
    None
}

/// The message about a symbol's name that is longer than `limit`, which is what the kernel reads (R3), in bytes.
pub fn too_long(name: &[u8], limit: usize) -> Option<String> {
    let length = name.len();
    (length > limit).then(|| format!("the name has {length} characters, of which this kernel reads {limit}"))
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotated_name_in_a_text_is_read_back() {
        let symbol = KlpSymbol { object: "tun".to_owned(), name: b"a.0".to_vec(), sympos: 2 };
        for (object, text) in
            [(Some("vfat"), "\".klp.sym.rela.vfat.tun.a.0,2\""), (None, "\".klp.sym.rela..tun.a.0,2\"")]
        {
            let annotated =
                AnnotatedName { section_object: object.map(str::to_owned), symbol: symbol.clone() };
            assert_eq!(annotated.to_text(), text);
            assert_eq!(AnnotatedName::parse(text.as_bytes()), Some(annotated));
        }
    }

    #[test]
    fn symbol_names_are_read_and_written() {
        let symbol = KlpSymbol::parse(b".klp.sym.vmlinux.do_work.isra.0,12").unwrap();
        assert_eq!(
            (symbol.object.as_str(), symbol.name.as_slice(), symbol.sympos),
            ("vmlinux", &b"do_work.isra.0"[..], 12)
        );
        assert_eq!(symbol.to_name(), b".klp.sym.vmlinux.do_work.isra.0,12");
        for bad in [
            ".klp.sym.vmlinux",
            ".klp.sym..a,0",
            ".klp.sym.v.a",
            ".klp.sym.v.a,",
            ".klp.sym.v.a,-1",
            ".klp.sym.v.,0",
            "v.a,0",
            ".klp.sym.v.a,+1",
        ] {
            assert_eq!(KlpSymbol::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn annotated_names_have_two_objects() {
        let annotated = AnnotatedName::parse(b".klp.sym.rela.kvm_intel.vmlinux.f.x,1").unwrap();
        assert_eq!(annotated.section_object.as_deref(), Some("kvm_intel"));
        assert_eq!(annotated.symbol.to_name(), b".klp.sym.vmlinux.f.x,1");
        assert_eq!(AnnotatedName::parse(b".klp.sym.rela.vmlinux.f,1"), None);
        assert_eq!(AnnotatedName::parse(b"\".klp.sym.rela.kvm_intel.vmlinux.f.x,1\""), Some(annotated));
        assert_eq!(AnnotatedName::parse(b"\".klp.sym.rela.kvm_intel.vmlinux.f.x,1"), None);
        assert_eq!(AnnotatedName::parse(b"\""), None);
    }

    #[test]
    fn section_names() {
        assert_eq!(section_name("m", b".text.unlikely"), b".klp.rela.m..text.unlikely");
        assert_eq!(parse_section_name(b".klp.rela.m..text.unlikely"), Some(("m", &b".text.unlikely"[..])));
        assert_eq!(parse_section_name(b".klp.rela.m"), None);
        assert!(fault_of_object("kvm-intel").unwrap().contains("write kvm_intel"));
        assert!(fault_of_object(&"x".repeat(56)).unwrap().contains("56 characters"));
        assert_eq!(fault_of_object(&"x".repeat(55)), None);
    }
}
