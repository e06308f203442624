// SPDX-License-Identifier: GPL-2.0-only
//! What type information says of functions and variables of the kernel: the DWARF of vmlinux and of modules, or their
//! BTF if there is no DWARF.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::debuginfo::prototype::Declaration;
use crate::elf::debugging;
use crate::elf::debugging::{DebugFacts, DebugQuery};
use crate::elf::definitions;
use crate::elf::definitions::Definition;
use crate::elf::types;
use crate::kernel::sources::{KernelDefinition, Sources};
use crate::kernel::symbols::VMLINUX;

/// A question about a function or variable of the kernel.
#[derive(Debug, Clone)]
pub struct DebugQuestion<'a> {
    /// What the symbol tables say of it.
    pub known: &'a KernelDefinition,
    /// Whether to find out into which functions it was inlined.
    pub with_copies: bool,
}

/// The answer for each of `asked`, in that order. Each object's debugging information is read once.
pub fn of(sources: &Sources, asked: &[DebugQuestion<'_>]) -> Vec<DebugFacts> {
    of_each(asked, |object, own| in_object(sources, object, own))
}

/// The answer of DWARF alone for each of `asked`, in that order: BTF has no files and lines.
pub fn by_dwarf(sources: &Sources, asked: &[DebugQuestion<'_>]) -> Vec<DebugFacts> {
    of_each(asked, |object, own| in_dwarf(sources, object, own))
}

/// Calls `tell` with all questions about each object, and puts the answers into the order of `asked`.
fn of_each(
    asked: &[DebugQuestion<'_>],
    tell: impl Fn(&str, &[&DebugQuestion<'_>]) -> Vec<DebugFacts> + Sync,
) -> Vec<DebugFacts> {
    let mut by_object: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, asked) in asked.iter().enumerate() {
        by_object.entry(&asked.known.object).or_default().push(index);
    }
    let found: Vec<Vec<(usize, DebugFacts)>> = by_object
        .into_par_iter()
        .map(|(object, indices)| {
            let own: Vec<&DebugQuestion> = indices.iter().filter_map(|&index| asked.get(index)).collect();
            indices.into_iter().zip(tell(object, &own)).collect()
        })
        .collect();
    let mut told: Vec<DebugFacts> = asked.iter().map(|_| DebugFacts::default()).collect();
    for (index, one) in found.into_iter().flatten() {
        if let Some(place) = told.get_mut(index) {
            *place = one;
        }
    }
    told
}

fn in_dwarf(sources: &Sources, object: &str, asked: &[&DebugQuestion<'_>]) -> Vec<DebugFacts> {
    let targets: Vec<DebugQuery> = asked.iter().map(|asked| target(asked)).collect();
    let mut told = match sources.objects.with_debug_info(object) {
        Some(file) => {
            let with_copies = object == VMLINUX && targets.iter().any(|target| target.with_copies);
            debugging::debug_facts(&file, &targets, &if with_copies { init_memory(&file) } else { 0..0 })
        }
        None => Vec::new(),
    };
    told.resize_with(asked.len(), DebugFacts::default);
    told
}

fn in_object(sources: &Sources, object: &str, asked: &[&DebugQuestion<'_>]) -> Vec<DebugFacts> {
    let mut told = in_dwarf(sources, object, asked);
    let open: Vec<(usize, &str)> = (asked.iter().zip(&told).enumerate())
        .filter(|(_, (asked, told))| told.declaration.is_none() && asked.known.total <= 1)
        .filter_map(|(index, (asked, _))| {
            Some((index, asked.known.definition.as_ref()?.name.as_slice(), asked))
        })
        .filter_map(|(index, name, _)| Some((index, std::str::from_utf8(name).ok()?)))
        .collect();
    let names: Vec<&str> = open.iter().map(|(_, name)| *name).collect();
    for ((index, _), declaration) in open.iter().zip(in_btf(sources, object, &names)) {
        if let Some(told) = told.get_mut(*index) {
            told.declaration = declaration;
        }
    }
    told
}

fn target(asked: &DebugQuestion<'_>) -> DebugQuery {
    let definition = asked.known.definition.as_ref();
    let name = definition.map(|definition| definition.name.as_slice()).unwrap_or_default();
    // The linker's name for a local symbol that another source file uses.
    let end = memchr::memmem::find(name, b".llvm.").unwrap_or(name.len());
    DebugQuery {
        name: name.get(..end).unwrap_or_default().to_vec(),
        section: definition.and_then(|definition| definition.section.clone()),
        value: definition.map_or(u64::MAX, |definition| definition.value),
        with_copies: asked.with_copies,
    }
}

/// The memory that vmlinux frees after boot.
fn init_memory(vmlinux: &Path) -> Range<u64> {
    let ends: [&[u8]; 2] = [b"__init_begin", b"__init_end"];
    let found = definitions::find(vmlinux, |name| ends.contains(&name)).map(|found| found.definitions);
    let found: Vec<Definition> = found.unwrap_or_default();
    let value = |name: &[u8]| found.iter().find(|d| d.name == name).map_or(0, |d| d.value);
    value(b"__init_begin")..value(b"__init_end")
}

/// The declarations of functions and variables of an object in its BTF, which has them only by name.
fn in_btf(sources: &Sources, object: &str, names: &[&str]) -> Vec<Option<Declaration>> {
    let vmlinux = sources.btf.as_deref();
    let file =
        || if object == VMLINUX { vmlinux.map(Path::to_path_buf) } else { sources.objects.file(object) };
    let types = (!names.is_empty()).then(|| types::of_file(&file()?, vmlinux)).flatten();
    let one = |name: &&str| types.as_ref()?.defined(name).ok()?.filter(is_told);
    names.iter().map(one).collect()
}

/// Whether BTF can be believed: it has functions that are written in assembler as `void f(void)`, whatever they take
/// and return.
pub fn is_told(declaration: &Declaration) -> bool {
    match declaration {
        Declaration::Function(prototype) => !(prototype.result.is_void() && prototype.parameters.is_empty()),
        Declaration::Variable(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debuginfo::prototype::{Prototype, Scalar, Type};

    #[test]
    fn what_btf_says_of_assembler_is_nothing() {
        let int = || Type::Base(Scalar { name: "int".to_owned(), size: 4, is_float: false });
        let of = |result, parameters: Vec<Type>| {
            let parameters = parameters.into_iter().map(|parameter| (parameter, None)).collect();
            Declaration::Function(Prototype { result, parameters, is_variadic: false })
        };
        assert!(!is_told(&of(Type::Void, vec![])));
        assert!(is_told(&of(int(), vec![])));
        assert!(is_told(&of(Type::Void, vec![int()])));
    }
}
