// SPDX-License-Identifier: GPL-2.0-only
//! A finished livepatch with the symbols of the kernel that it names, and doubts about them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::elf::debugging::ObjectLines;
use crate::elf::image::{Home, Image, SymbolIndex};
use crate::kernel::sources::{KernelDefinition, KernelDefinitions};
use crate::livepatch::names::{AnnotatedName, KlpSymbol};
use crate::livepatch::patch::{Patch, PatchedFunction};
use crate::livepatch::rules::Rule;
use crate::livepatch::targets;
use crate::livepatch::usage;
use crate::livepatch::usage::Usage;

/// A fault that is likely, or sure, to do harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// The rule, as in `S9`.
    pub rule: Rule,
    /// Whether it is sure to do harm.
    #[serde(skip)]
    pub is_error: bool,
    /// The symbol or klp_func.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// A symbol of the kernel that a livepatch refers to.
#[derive(Debug)]
pub struct Referred<'a> {
    /// Its index in the livepatch's symbol table.
    pub index: SymbolIndex,
    /// Its name.
    pub name: Vec<u8>,
    /// Its name in messages: `vmlinux:do_work,2`, or for an exported symbol only the name.
    pub shown: String,
    /// The definition that it means.
    pub known: &'a KernelDefinition,
}

/// A function of the kernel that a livepatch replaces.
#[derive(Debug)]
pub struct PatchTarget<'a> {
    /// The run-time name of its object.
    pub object: &'a str,
    /// Its klp_func.
    pub function: &'a PatchedFunction,
    /// The definition that it means.
    pub known: &'a KernelDefinition,
}

/// One livepatch, with the symbols of the kernel that it names.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The livepatch.
    pub image: &'a Image,
    /// The symbols that it refers to, as far as they are known.
    pub referred: Vec<Referred<'a>>,
    /// The functions that it replaces, as far as they are known.
    pub replaced: Vec<PatchTarget<'a>>,
    usages: OnceCell<BTreeMap<SymbolIndex, Vec<Usage>>>,
    lines: OnceCell<Option<ObjectLines>>,
}

/// The livepatch symbols of a converted livepatch, with their indices.
pub fn symbols(image: &Image) -> impl Iterator<Item = (SymbolIndex, KlpSymbol)> {
    let all = image.symbols.enumerate().filter(|(_, symbol)| symbol.home == Home::Livepatch);
    all.filter(|(_, symbol)| AnnotatedName::parse(&symbol.name).is_none())
        .filter_map(|(index, symbol)| Some((index, KlpSymbol::parse(&symbol.name)?)))
}

/// The undefined symbols that stay ordinary references to exports, with their indices.
pub fn left_to_exports(image: &Image) -> impl Iterator<Item = (SymbolIndex, &[u8])> {
    let all = image.symbols.enumerate();
    all.filter(|(_, symbol)| symbol.home == Home::Undefined)
        .map(|(index, symbol)| (index, symbol.name.as_slice()))
}

impl<'a> Subject<'a> {
    /// The symbols that a livepatch names: `found` has its livepatch symbols and functions, `exported` the kernel's
    /// exports.
    pub fn of(
        image: &'a Image,
        patch: Option<&'a Patch>,
        found: &'a KernelDefinitions,
        exported: &'a HashMap<Vec<u8>, KernelDefinition>,
    ) -> Subject<'a> {
        let converted = symbols(image).filter_map(|(index, symbol)| {
            let known = found.at(&symbol.object, &symbol.name, symbol.sympos)?;
            Some(Referred { index, shown: symbol.to_string(), name: symbol.name, known })
        });
        let ordinary = left_to_exports(image).filter_map(|(index, name)| {
            let shown = String::from_utf8_lossy(name).into_owned();
            Some(Referred { index, name: name.to_vec(), shown, known: exported.get(name)? })
        });
        let referred = converted.chain(ordinary).collect();
        let replaced = patch.iter().flat_map(|patch| &patch.objects).flat_map(|object| {
            object.functions.iter().filter_map(|function| {
                let known = found.at(&object.name, &function.old_name, function.old_sympos)?;
                Some(PatchTarget { object: &object.name, function, known })
            })
        });
        let replaced = replaced.collect();
        Subject { image, referred, replaced, usages: OnceCell::new(), lines: OnceCell::new() }
    }

    /// What the livepatch does with the symbol of this index.
    pub fn usages(&self, index: SymbolIndex) -> &[Usage] {
        let all = self.usages.get_or_init(|| {
            let indices: BTreeSet<SymbolIndex> = self.referred.iter().map(|one| one.index).collect();
            usage::usages(self.image, |symbol| indices.contains(&symbol))
        });
        all.get(&index).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where a reference lies, as in `.text+0x1c (foo.c:12)`.
    pub fn place(&self, usage: &Usage) -> String {
        place(self.image, usage, self.lines.get_or_init(|| self.image.lines()).as_ref())
    }
}

/// Where a reference lies, as in `.text+0x1c (foo.c:12)`.
pub fn place(image: &Image, usage: &Usage, lines: Option<&ObjectLines>) -> String {
    let section = image.sections.get(usage.section).map(|section| section.shown()).unwrap_or_default();
    let offset = usage.relocation.offset;
    let line = lines.and_then(|lines| lines.at(usage.section, offset));
    format!("{section}+{offset:#x}{}", line.map(|line| format!(" ({line})")).unwrap_or_default())
}

impl PatchTarget<'_> {
    /// The klp_func, for messages.
    pub fn place(&self) -> String {
        targets::shown(self.object, self.function)
    }
}
