// SPDX-License-Identifier: GPL-2.0-only
//! The symbols that an object refers to and does not define: which of them are exported, and where the others lie.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::elf::Binding;
use crate::elf::image::{Home, Image};
use crate::frompatch::run_pre::Matched;
use crate::frompatch::target::TargetKernel;
use crate::kernel::sources::KernelDefinition;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::NameQuery;
use crate::livepatch::definition;

/// The references of an object to the kernel.
#[derive(Debug, Default)]
pub(super) struct KernelReferences {
    /// By object: the symbols that are not exported, each with its position there.
    pub(super) annotated: BTreeMap<String, BTreeMap<String, u64>>,
    /// The namespaces of the exported symbols.
    pub(super) namespaces: BTreeSet<String>,
    /// The symbols that were not found, and why.
    pub(super) unknown: BTreeMap<String, String>,
    /// Whether it refers to the `struct module` of the module that it becomes a part of.
    pub(super) uses_this_module: bool,
    /// Static keys that the kernel looks at while it loads the livepatch, which is too early for keys of modules.
    keys: BTreeSet<String>,
}

impl KernelReferences {
    /// The references of an object to the kernel; `matched` is the kernel's unit from which it was taken.
    ///
    /// # Errors
    /// The kernel's symbols cannot be read.
    pub(super) fn of(image: &Image, target: &TargetKernel, matched: &Matched) -> Result<KernelReferences> {
        let mut found = KernelReferences { keys: keys(image), ..KernelReferences::default() };
        let undefined = image.symbols.iter().filter(|symbol| symbol.home == Home::Undefined);
        let names: BTreeSet<&[u8]> = undefined.map(|symbol| symbol.name.as_slice()).collect();
        let mut open: Vec<&[u8]> = Vec::new();
        for name in names.into_iter().filter(|name| !is_common(name)) {
            let located = matched.position(name).filter(|located| located.name == name);
            let is_exported =
                located.is_none_or(|located| target.sources.is_exported(name, &located.known) == Some(true));
            if name == b"__this_module" {
                found.uses_this_module = true;
            } else if target.sources.exporter(name).is_some() && is_exported {
                let exports = target.sources.exports.as_ref();
                found.namespaces.extend(exports.and_then(|all| all.namespace(name)).map(str::to_owned));
            } else if let Some(located) = located {
                found.add(name, &located.known);
            } else {
                open.push(name);
            }
        }
        if open.is_empty() {
            return Ok(found);
        }
        let all = target.sources.find(&NameQuery::names(open.iter().map(|name| name.to_vec())))?;
        for name in open {
            let seen: Vec<KernelDefinition> =
                all.of(name).iter().filter(|known| is_visible(known)).cloned().collect();
            match definition::only(&seen) {
                Ok(Some(known)) => found.add(name, known),
                Ok(None) => found.leave(name, "the kernel does not have it".to_owned()),
                Err(fault) => found.leave(name, fault.with_rule()),
            }
        }
        Ok(found)
    }

    fn add(&mut self, name: &[u8], known: &KernelDefinition) {
        if known.object != VMLINUX && self.keys.contains(String::from_utf8_lossy(name).as_ref()) {
            let why = "this static key of a module is looked at while the livepatch is loaded, before the reference to it is \
                       written: test it with static_key_enabled(), or leave out what depends on it";
            self.leave(name, why.to_owned());
            return;
        }
        match (definition::usable(known), known.sympos()) {
            (Ok(()), Some(sympos)) => {
                let of_object = self.annotated.entry(known.object.clone()).or_default();
                of_object.insert(String::from_utf8_lossy(name).into_owned(), sympos);
            }
            (Err(fault), _) => self.leave(name, fault.with_rule()),
            (Ok(()), None) => self.leave(name, "nothing tells which of several it is".to_owned()),
        }
    }

    fn leave(&mut self, name: &[u8], why: String) {
        self.unknown.insert(String::from_utf8_lossy(name).into_owned(), why);
    }
}

/// The static keys of an object's jump labels.
fn keys(image: &Image) -> BTreeSet<String> {
    let is_table = |index| image.sections.get(index).is_some_and(|section| section.name == b"__jump_table");
    let entries = image.relocated().filter(|(_, _, target)| is_table(*target));
    let relocations = entries.flat_map(|(_, section, _)| &section.relocations);
    let names = relocations.filter_map(|relocation| image.symbols.get(relocation.symbol));
    names.map(|symbol| String::from_utf8_lossy(&symbol.name).into_owned()).collect()
}

/// Whether a symbol is the assembler's, or is found by its name alone.
fn is_common(name: &[u8]) -> bool {
    name.is_empty()
        || name == b"__fentry__"
        || name == b"_GLOBAL_OFFSET_TABLE_"
        || name.starts_with(b".klp.sym.")
}

fn is_visible(known: &KernelDefinition) -> bool {
    known.definition.as_ref().is_none_or(|definition| definition.binding != Binding::Local)
}
