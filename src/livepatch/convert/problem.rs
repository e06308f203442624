// SPDX-License-Identifier: GPL-2.0-only
//! Why a conversion is not possible, in words: the symbol, its uses, the reason, and what to do.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fmt::Write as _;

use crate::elf::debugging::ObjectLines;
use crate::elf::image::{Image, Relocation, SectionIndex, SymbolIndex};
use crate::host::several::Several;
use crate::host::{terminal, words};
use crate::kernel::sources::{KernelDefinition, KernelDefinitions, Sources};
use crate::kernel::symbols::list::NameQuery;
use crate::livepatch::candidates::{Candidates, SourcePlaces};
use crate::livepatch::definition;
use crate::livepatch::patch::{Patch, PatchedFunction};

/// How many uses are printed for one symbol.
const USES: usize = 3;

/// Collects what is wrong, symbol by symbol.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<String>,
    known: HashSet<String>,
}

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, problem: String) {
        if self.known.insert(problem.clone()) {
            self.list.push(problem);
        }
    }

    /// The number of problems.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Succeeds if there are no problems.
    ///
    /// # Errors
    /// There are some: the message has all of them.
    pub fn end(self) -> anyhow::Result<()> {
        Several::unless_empty(self.list)
    }
}

/// Where a relocation lies, as in `.text+0x1c (R_X86_64_PC32), foo.c:12`.
pub fn location(
    image: &Image,
    target: SectionIndex,
    relocation: &Relocation,
    line: Option<String>,
) -> String {
    let section = image.sections.get(target).map(|section| section.shown()).unwrap_or_default();
    let kind = image.relocation_name(relocation.kind);
    let line = line.map(|line| format!(", {line}")).unwrap_or_default();
    format!("{section}+{:#x} ({kind}){line}", relocation.offset)
}

/// The first few uses of a symbol, a line each.
pub fn uses(image: &Image, symbol: SymbolIndex, lines: Option<&ObjectLines>) -> String {
    let mut text = String::new();
    let mut more = 0;
    for (_, entries, target) in image.relocated() {
        let is_shown = image.sections.get(target).is_some_and(|section| section.is_alloc());
        let is_annotation = image
            .sections
            .get(target)
            .is_some_and(|section| section.name.starts_with(crate::livepatch::names::ANNOTATIONS_PREFIX));
        for relocation in
            entries.relocations.iter().filter(|r| r.symbol == symbol && is_shown && !is_annotation)
        {
            if text.lines().count() < USES {
                let line = lines.and_then(|lines| lines.at(target, relocation.offset));
                let _ = write!(text, "\n  used in {}", location(image, target, relocation, line));
            } else {
                more += 1;
            }
        }
    }
    if more > 0 {
        let _ = write!(text, "\n  and in {}", words::count(more, "more place"));
    }
    text
}

/// The source files and lines for the messages about ambiguous names: those of the definitions, and of the functions
/// that the livepatch replaces. The first such message has them looked up, for all of them at once.
pub struct AmbiguityPlaces<'a> {
    /// The files in which the kernel's symbols are looked up.
    pub sources: &'a Sources,
    /// The definitions of the symbols that the livepatch refers to.
    pub found: &'a KernelDefinitions,
    /// The functions that it replaces.
    pub patch: Option<&'a Patch>,
    /// Files and lines of the definitions, and the functions that are replaced.
    pub told: OnceCell<(SourcePlaces, Vec<(String, KernelDefinition)>)>,
}

impl AmbiguityPlaces<'_> {
    fn looked_up(&self) -> &(SourcePlaces, Vec<(String, KernelDefinition)>) {
        self.told.get_or_init(|| {
            let patched = self.patched();
            let several = self.found.names.values().filter(|known| known.len() > 1).flatten();
            let places =
                SourcePlaces::of(self.sources, several.chain(patched.iter().map(|(_, known)| known)));
            (places, patched)
        })
    }

    /// The functions that are replaced, as far as the kernel has them.
    fn patched(&self) -> Vec<(String, KernelDefinition)> {
        let objects = self.patch.iter().flat_map(|patch| &patch.objects);
        let all: Vec<(&str, &PatchedFunction)> = objects
            .flat_map(|object| object.functions.iter().map(|function| (object.name.as_str(), function)))
            .collect();
        let wanted = all.iter().map(|(object, own)| (own.old_name.clone(), Some((*object).to_owned())));
        let Ok(found) = self.sources.find(&NameQuery::meant(wanted)) else { return Vec::new() };
        let one = |(object, function): &(&str, &PatchedFunction)| {
            let known = definition::meant(&found, object, &function.old_name, function.old_sympos).ok()?;
            Some((String::from_utf8_lossy(&function.old_name).into_owned(), known.clone()))
        };
        all.iter().filter_map(one).collect()
    }

    /// The table of the definitions `known` of `name`, and the line to paste for each that can be meant; the
    /// definition in the source file of a patched function comes first.
    pub fn choices(&self, name: &str, known: &[KernelDefinition]) -> String {
        let (places, patched) = self.looked_up();
        let candidates = Candidates::new(name, known, self.sources, places).beside_functions(patched);
        let mut text = format!("\nValid KLP_SYMPOS for symbol {name}:\n");
        text.push_str(&candidates.table(terminal::width_of_errors()));
        text.push_str(&candidates.advice(self.found.kernel.name_limit));
        if known.iter().any(|known| known.definition.is_none() && known.total > 1) {
            text.push_str(
                "positions are not told by the map alone: name the object tree that it was made of (--objtree DIR)",
            );
        }
        text.trim_end().to_owned()
    }
}
