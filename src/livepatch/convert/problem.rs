// SPDX-License-Identifier: GPL-2.0-only
//! What is in the way of a conversion, in words: the symbol, where it is used, the reason, and what to do.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::elf::image::{Image, Relocation, SectionIndex, SymbolIndex};
use crate::elf::lines::Lines;
use crate::host::{terminal, words};
use crate::kernel::sources::{Known, Sources};
use crate::livepatch::candidates;

/// How many places of use are printed for one symbol.
const USES: usize = 3;

/// Collects what is wrong, symbol by symbol.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<String>,
    known: HashSet<String>,
}

impl Problems {
    /// Adds one.
    pub fn add(&mut self, problem: String) {
        if self.known.insert(problem.clone()) {
            self.list.push(problem);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All of them as an error, if there are any.
    ///
    /// # Errors
    /// There are some.
    pub fn end(self) -> anyhow::Result<()> {
        if self.list.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{}", self.list.join("\n"))) }
    }
}

/// The place of a relocation, as in `.text+0x1c (R_X86_64_PC32), foo.c:12`.
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

/// Where a symbol is used, a line each; a few of them.
pub fn uses(image: &Image, symbol: SymbolIndex, lines: Option<&Lines>) -> String {
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

/// The definitions there are, and the line to paste for each that can be meant. `limit` is the longest name that the
/// kernel reads.
pub fn choices(name: &str, known: &[Known], sources: &Sources, limit: usize) -> String {
    let mut text = format!("\nValid KLP_SYMPOS for symbol {name}:\n");
    text.push_str(&candidates::render(known, sources, terminal::width_of_errors()));
    let lines: Vec<String> = known.iter().filter_map(|known| candidates::paste(name, known, limit)).collect();
    if !lines.is_empty() {
        text.push_str("paste the line of the one that is meant (klpbuild header prints the macros):\n");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    if known.iter().any(|known| known.definition.is_none() && known.total > 1) {
        text.push_str(
            "positions are not told by the map alone: name the object tree that it was made of (--objtree DIR)",
        );
    }
    text.trim_end().to_owned()
}
