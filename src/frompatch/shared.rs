// SPDX-License-Identifier: GPL-2.0-only
//! Names by which the units of a livepatch, and the kernel, know each other's functions and data.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use crate::elf::Binding;
use crate::frompatch::compile::Compiled;
use crate::frompatch::module::UnexportedSymbol;
use crate::frompatch::read::Read;
use crate::frompatch::recipe::Recipe;
use crate::frompatch::target::TargetKernel;
use crate::host::paths;
use crate::kernel::sources::KernelDefinition;
use crate::kernel::symbols::list::NameQuery;

/// Names that the units of a livepatch have for each other.
#[derive(Debug, Default)]
pub struct SharedNames {
    /// Names of what the patches add.
    pub new: BTreeSet<String>,
    /// By name: the object and the path of the file that has it as static in the kernel, and is patched to let other files
    /// use it.
    opened: BTreeMap<String, (String, String)>,
    /// Names that mean different symbols in different units, of which at least one is not exported: only a full annotated
    /// name tells the linker of the livepatch which is meant.
    pub unclear: BTreeSet<String>,
}

/// The names of the kernel's symbols that a unit of the livepatch refers to.
#[derive(Debug, Clone, Copy)]
pub struct KernelNames<'a> {
    /// Those that are not exported.
    pub unexported: &'a [UnexportedSymbol],
    /// Those that are exported, and those of what the patches add.
    pub plain: &'a BTreeSet<String>,
}

/// How the livepatch spells the name of a symbol of the kernel that is not exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// As it is: a table tells object and position.
    Plain,
    /// With object and position, as the linker keeps it apart from others of the name.
    Full,
}

impl SharedNames {
    /// The spelling for the symbol `name` in a unit that `recipe` compiles. clang takes a static function's name in the
    /// livepatch's tables for an inline function of a header there.
    pub fn spelling(&self, name: &str, known: &KernelDefinition, recipe: &Recipe) -> Spelling {
        let is_mistaken = recipe.writes_objects() && !is_visible(known);
        if is_mistaken || self.unclear.contains(name) { Spelling::Full } else { Spelling::Plain }
    }

    /// The names that `compiled` units share.
    pub fn of(compiled: &[Compiled], reads: &[Read]) -> SharedNames {
        let mut shared = SharedNames::default();
        for (compiled, read) in compiled.iter().zip(reads) {
            shared.new.extend(read.changes.new_functions.iter().chain(&read.changes.new_data).cloned());
            let unit = &compiled.unit;
            let opened =
                read.opened().map(|name| (name.to_owned(), (unit.recipe.object.clone(), unit.path.clone())));
            shared.opened.extend(opened);
        }
        shared
    }

    /// The names of the kernel's symbols that mean something else in another unit, or what the patches add.
    pub fn unclear_in<'a>(&self, units: impl IntoIterator<Item = KernelNames<'a>>) -> BTreeSet<String> {
        let mut meanings: BTreeMap<&str, BTreeSet<Option<&UnexportedSymbol>>> = BTreeMap::new();
        for KernelNames { unexported, plain } in units {
            for symbol in unexported {
                meanings.entry(&symbol.name).or_default().insert(Some(symbol));
            }
            for name in plain {
                meanings.entry(name).or_default().insert(None);
            }
        }
        let is_unclear = |(name, all): &(&&str, &BTreeSet<Option<&UnexportedSymbol>>)| {
            all.iter().any(Option::is_some) && (all.len() > 1 || self.new.contains(**name))
        };
        meanings.iter().filter(is_unclear).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// The static symbol of the kernel that `name` means, as the patches let other files use it: the only one of `known` that is
    /// in its object, and in a source file of its file's name.
    pub fn opened<'k>(&self, name: &str, known: &'k [KernelDefinition]) -> Option<&'k KernelDefinition> {
        let (object, path) = self.opened.get(name)?;
        let mut all = known.iter().filter(|known| {
            let file = known.definition.as_ref().and_then(|definition| definition.file.as_deref());
            known.object == *object && file.is_some_and(|file| paths::last(file) == paths::last(path))
        });
        all.next().filter(|_| all.next().is_none())
    }
}

/// Checks that no definition which other units may use moves from one unit to another, or has the name of one that the kernel
/// has elsewhere (as one in place of a weak one has): the kernel's code goes on with the old one. What the kernel exports,
/// units of other objects may mean by its name.
///
/// # Errors
/// One does.
pub fn check_new_names(compiled: &[Compiled], reads: &[Read], target: &TargetKernel) -> Result<()> {
    for (unit, read) in compiled.iter().zip(reads) {
        let path = &unit.unit.path;
        for name in read.new_names() {
            let from = compiled.iter().zip(reads).find(|(_, other)| other.no_longer_defines(name));
            ensure!(
                from.is_none(),
                "{path}: {name} comes here from {}: the kernel's code goes on with the one that is there; leave it there",
                from.map(|(from, _)| from.unit.path.as_str()).unwrap_or_default()
            );
        }
        let new: Vec<&String> = read.new_names().collect();
        if new.is_empty() {
            continue;
        }
        let found =
            target.sources.find(&NameQuery::names(new.iter().map(|name| name.as_bytes().to_vec())))?;
        for name in new {
            if let Some(owner) = target.sources.exporter(name.as_bytes()).filter(|_| compiled.len() > 1) {
                bail!(
                    "{path}: {name} is new here, and has the name of what {owner} exports: give it another name"
                );
            }
            let mut all = found.of(name.as_bytes()).iter();
            if all.any(|known| known.object == unit.unit.recipe.object && is_visible(known)) {
                bail!(
                    "{path}: {name} is new here, and has the name of what {} has already: its code goes on with that one; \
                     change the one that is there, where it is",
                    unit.unit.recipe.object
                );
            }
        }
    }
    Ok(())
}

/// Whether other files may use a symbol of the kernel by its name.
pub fn is_visible(known: &KernelDefinition) -> bool {
    known.definition.as_ref().is_none_or(|definition| definition.binding != Binding::Local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_two_meanings_is_unclear() {
        let symbol = |object: &str, name: &str, sympos| UnexportedSymbol {
            object: object.to_owned(),
            name: name.to_owned(),
            sympos,
        };
        let shared = SharedNames { new: ["added".to_owned()].into(), ..SharedNames::default() };
        let one = [symbol("a", "here", 1), symbol("a", "static", 0), symbol("a", "same", 0)];
        let other = [symbol("a", "here", 2), symbol("a", "same", 0), symbol("b", "added", 0)];
        let [plain, more] =
            [["printk", "added"], ["static", "printk"]].map(|names| names.map(str::to_owned).into());
        let units = [
            KernelNames { unexported: &one, plain: &plain },
            KernelNames { unexported: &other, plain: &more },
        ];
        let unclear: Vec<String> = shared.unclear_in(units).into_iter().collect();
        assert_eq!(unclear, ["added", "here", "static"]);
    }
}
