// SPDX-License-Identifier: GPL-2.0-only
//! Where functions and variables are: in the kernel's objects, and in the source by debugging information.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::debuginfo::dwarf::DefinedAt;
use crate::elf::SymbolKind;
use crate::elf::debugging::{DebugFacts, DebugQuery, ObjectLines};
use crate::elf::image::{Home, Image, Offset, Symbol};
use crate::kernel::sources::{KernelDefinition, KernelDefinitions, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::account::parts::{Defined, LivepatchAccount, LivepatchFunction, SourcePlace};
use crate::livepatch::account::text;
use crate::livepatch::account::text::Roots;
use crate::livepatch::definition;
use crate::livepatch::testimony;
use crate::livepatch::testimony::DebugQuestion;

/// The kernel at hand, and the livepatch with its debugging information.
pub(super) struct Whereabouts<'a> {
    image: &'a Image,
    sources: Option<&'a Sources>,
    found: Option<&'a KernelDefinitions>,
    /// The directories in which source files are looked for.
    roots: &'a Roots,
    lines: OnceCell<Option<ObjectLines>>,
    /// All definitions of the names that were looked up, each with what debugging information says of it.
    told: Vec<(&'a KernelDefinition, DebugFacts)>,
}

impl<'a> Whereabouts<'a> {
    /// Looks up the `wanted` names, each in its object: debugging information of other objects is not read.
    pub(super) fn new(
        image: &'a Image,
        sources: Option<&'a Sources>,
        found: Option<&'a KernelDefinitions>,
        wanted: &[(String, Vec<u8>)],
        roots: &'a Roots,
    ) -> Whereabouts<'a> {
        let wanted: BTreeSet<(&str, &[u8])> =
            wanted.iter().map(|(object, name)| (object.as_str(), name.as_slice())).collect();
        let named = found.iter().flat_map(|found| &found.names);
        let known: Vec<&KernelDefinition> = named
            .flat_map(|(name, all)| {
                all.iter().filter(|known| wanted.contains(&(known.object.as_str(), name.as_slice())))
            })
            .collect();
        let told = match sources {
            Some(sources) => {
                let asked: Vec<DebugQuestion<'_>> =
                    known.iter().map(|known| DebugQuestion { known, with_copies: false }).collect();
                testimony::by_dwarf(sources, &asked)
            }
            None => Vec::new(),
        };
        let told = known.into_iter().zip(told).collect();
        Whereabouts { image, sources, found, roots, lines: OnceCell::new(), told }
    }

    /// File and line of a section offset in the livepatch.
    pub(super) fn line(&self, at: Offset) -> Option<String> {
        let lines = self.lines.get_or_init(|| self.image.lines()).as_ref()?;
        let line = lines.at(at.section, at.offset)?;
        Some(self.shortened(&line))
    }

    /// The object that exports a symbol.
    pub(super) fn exporter(&self, name: &[u8]) -> Option<&'a str> {
        self.sources.and_then(|sources| sources.exporter(name))
    }

    /// Whether it is known what the kernel exports.
    pub(super) fn knows_exports(&self) -> bool {
        self.sources.is_some_and(|sources| sources.exports.is_some())
    }

    /// The definition that a livepatch names by object, name and position.
    pub(super) fn meant(&self, object: &str, name: &[u8], sympos: u64) -> Option<Defined> {
        let known = definition::meant(self.found?, object, name, sympos).ok()?;
        let (known, told) = self.told.iter().find(|(other, _)| other.is_same(known))?;
        known.definition.as_ref()?;
        Some(self.defined(known, told))
    }

    /// The definition of an exported symbol.
    pub(super) fn exported(&self, owner: &str, name: &[u8]) -> Option<Defined> {
        let sources = self.sources?;
        let is_it = |known: &KernelDefinition| {
            known.object == owner && known.definition.as_ref().is_some_and(|own| own.name == name)
        };
        let mut all = self.told.iter().filter(|(known, _)| is_it(known));
        let (known, told) = all.find(|(known, _)| sources.is_exported(name, known) == Some(true))?;
        Some(self.defined(known, told))
    }

    /// All definitions of a name in an object, if there are several.
    pub(super) fn namesakes(&self, object: &str, name: &[u8], sympos: u64) -> Vec<Defined> {
        let Some(found) = self.found else { return Vec::new() };
        let all = found.of(name).iter().filter(|known| known.object == object && known.definition.is_some());
        let meant = definition::meant(found, object, name, sympos).ok();
        let all: Vec<Defined> = all
            .filter_map(|known| self.told.iter().find(|(other, _)| other.is_same(known)))
            .map(|(known, told)| {
                let is_meant = meant.is_some_and(|meant| meant.is_same(known));
                Defined { is_meant, ..self.defined(known, told) }
            })
            .collect();
        if all.len() > 1 { all } else { Vec::new() }
    }

    /// Why a position is the right one, or what is wrong with it.
    pub(super) fn reason(&self, object: &str, name: &[u8], sympos: u64) -> String {
        let Some(found) = self.found else {
            return match sympos {
                0 => format!("position 0: said to be the only one of this name in {object}"),
                _ => format!("said to be number {sympos} of this name in {object}"),
            };
        };
        match definition::meant(found, object, name, sympos) {
            Err(fault) => fault.with_rule(),
            Ok(known) if known.total <= 1 => format!("the only one of this name in {object}"),
            Ok(known) if object == VMLINUX => {
                format!("{sympos} of {} of this name in vmlinux, by ascending address", known.total)
            }
            Ok(known) => {
                format!(
                    "{sympos} of {} of this name in {object}, in the order of its symbol table",
                    known.total
                )
            }
        }
    }

    /// The function of the livepatch that begins at a section offset.
    pub(super) fn new_function(&self, at: Offset) -> LivepatchFunction {
        let is_it = |symbol: &&Symbol| {
            symbol.home == Home::Section(at.section)
                && symbol.value() == at.offset
                && symbol.kind() == SymbolKind::Function
        };
        let symbol = self.image.symbols.iter().find(is_it);
        LivepatchFunction {
            symbol: symbol.map(Symbol::shown).unwrap_or_default(),
            section: self.image.sections.get(at.section).map(|section| section.shown()).unwrap_or_default(),
            offset: format!("{:#x}", at.offset),
            size: symbol.map(Symbol::size).filter(|size| *size > 0),
            source: None,
        }
    }

    /// Adds the new functions' files and lines: all are looked up at once.
    pub(super) fn locate(&self, account: &mut LivepatchAccount) {
        let objects = account.objects.iter_mut();
        let mut all: Vec<&mut LivepatchFunction> = objects
            .flat_map(|object| {
                let functions = object.functions.iter_mut().map(|function| &mut function.new);
                functions.chain(&mut object.callbacks)
            })
            .collect();
        let target = |new: &LivepatchFunction| DebugQuery {
            name: new.symbol.clone().into_bytes(),
            section: Some(new.section.clone()),
            value: new
                .offset
                .strip_prefix("0x")
                .map_or(u64::MAX, |digits| u64::from_str_radix(digits, 16).unwrap_or(u64::MAX)),
            with_copies: false,
        };
        let targets: Vec<DebugQuery> = all.iter().map(|new| target(new)).collect();
        for (new, told) in all.iter_mut().zip(self.image.debug_facts(&targets)) {
            let [own, kernel] = [&self.roots.own, &self.roots.kernel].map(Vec::as_slice);
            new.source =
                told.defined.map(|defined| self.place(&defined, &new.symbol, &[own, kernel].concat(), own));
        }
    }

    /// A definition as the account has it, marked as the one that is meant.
    fn defined(&self, known: &KernelDefinition, told: &DebugFacts) -> Defined {
        let definition = known.definition.as_ref();
        let name = definition.map(|definition| String::from_utf8_lossy(&definition.name)).unwrap_or_default();
        let named = definition.and_then(|definition| definition.file.clone());
        let named = named.map(|file| SourcePlace { file, ..SourcePlace::default() });
        Defined {
            object: known.object.clone(),
            position: known.position,
            total: known.total,
            address: definition.map(|definition| format!("{:#x}", definition.value)),
            section: definition.and_then(|definition| definition.section.clone()),
            size: definition.and_then(|definition| definition.size),
            kind: definition.and_then(|definition| definition.kind).map(|kind| kind.shown().to_owned()),
            is_meant: true,
            source: told
                .defined
                .as_ref()
                .map(|own| self.place(own, &name, &self.roots.kernel, &[]))
                .or(named),
        }
    }

    /// File and line with the text, if the file is in one of `roots`, or a file of its name is in one of `moved`.
    fn place(&self, defined: &DefinedAt, name: &str, roots: &[PathBuf], moved: &[PathBuf]) -> SourcePlace {
        let line = Some(defined.line).filter(|line| *line > 0);
        let text = text::of_function(defined, name, roots, moved);
        SourcePlace { file: self.shortened(&defined.file), line, text }
    }

    /// A path without the directory of the kernel's sources.
    fn shortened(&self, path: &str) -> String {
        let trees = self.sources.iter().filter_map(|sources| sources.srctree.as_deref());
        let roots = self.roots.kernel.iter().chain(&self.roots.own).map(PathBuf::as_path);
        let mut trees = trees.chain(roots).filter_map(Path::to_str);
        let short = trees.find_map(|tree| path.strip_prefix(tree)?.strip_prefix('/'));
        short.unwrap_or(path).to_owned()
    }
}
