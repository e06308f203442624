// SPDX-License-Identifier: GPL-2.0-only
//! Which functions of a module call which others, by relocations, and by branches that the assembler has resolved.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use crate::elf::image::{Home, Image, Offset, Relocation, Section, SectionIndex, Symbol, SymbolIndex};
use crate::elf::{Machine, SymbolKind};
use crate::livepatch::code;
use crate::livepatch::code::Use;
use crate::livepatch::usage;

/// Which functions of a module call which of its other functions.
#[derive(Debug, Default)]
pub struct Calls {
    /// Where functions begin, with their ends and symbols.
    functions: BTreeMap<Offset, (u64, SymbolIndex)>,
    /// By function: the functions that it calls.
    from: BTreeMap<Offset, BTreeSet<Offset>>,
}

impl Calls {
    /// Finds all calls in `image`, except for calls through pointers.
    pub fn read(image: &Image) -> Calls {
        let mut calls = Calls::default();
        for (index, symbol) in image.symbols.enumerate() {
            if let (Home::Section(section), SymbolKind::Function) = (symbol.home, symbol.kind()) {
                let end = symbol.value().saturating_add(symbol.size());
                calls.functions.entry(Offset { section, offset: symbol.value() }).or_insert((end, index));
            }
        }
        let is_code = |section: SectionIndex| image.sections.get(section).is_some_and(Section::is_code);
        let own = |symbol: SymbolIndex| match image.symbols.get(symbol).map(|symbol| symbol.home) {
            Some(Home::Section(section)) => is_code(section),
            _ => false,
        };
        let mut found: Vec<(Offset, Offset)> = Vec::new();
        for usage in usage::usages(image, own).into_values().flatten() {
            let relocation = Relocation {
                addend: usage.relocation.addend.saturating_sub(addend_of_calls(image.machine())),
                ..usage.relocation
            };
            if let (Use::Called, Some(to)) = (usage.what, image.target(&relocation)) {
                found.push((Offset { section: usage.section, offset: relocation.offset }, to));
            }
        }
        calls.within_sections(image, &mut found);
        for (from, to) in found {
            if let (Some(from), Some(to)) = (calls.function_at(from), calls.function_at(to)) {
                calls.from.entry(from).or_default().insert(to);
            }
        }
        calls
    }

    /// Adds calls that the assembler has resolved: no relocation shows them.
    fn within_sections(&self, image: &Image, found: &mut Vec<(Offset, Offset)>) {
        let relocated: HashSet<Offset> = (image.relocated())
            .flat_map(|(_, entries, section)| entries.relocations.iter().map(move |r| (section, r.offset)))
            .map(|(section, offset)| Offset { section, offset })
            .collect();
        for (start, (end, _)) in &self.functions {
            let range = usize::try_from(start.offset).ok().zip(usize::try_from(*end).ok());
            let section = image.sections.get(start.section).filter(|section| section.is_code());
            let code = section.zip(range).and_then(|(section, (from, to))| section.data.get(from..to));
            for (offset, target) in code::branches(
                image.machine(),
                image.is_little_endian(),
                code.unwrap_or_default(),
                start.offset,
            ) {
                let at = |offset: u64| Offset { offset, ..*start };
                if !relocated.contains(&at(offset)) {
                    found.push((at(offset), at(target)));
                }
            }
        }
    }

    /// The function that covers a section offset.
    pub fn function_at(&self, place: Offset) -> Option<Offset> {
        let (start, (end, _)) = self.functions.range(..=place).next_back()?;
        (start.section == place.section && (place.offset < *end || place == *start)).then_some(*start)
    }

    /// The shortest chain of calls from a function to one for which `is_there` is true, including both.
    pub fn way(&self, from: Offset, is_there: impl Fn(Offset) -> bool) -> Option<Vec<Offset>> {
        let mut callers: BTreeMap<Offset, Option<Offset>> = BTreeMap::from([(from, None)]);
        let mut queue = VecDeque::from([from]);
        while let Some(function) = queue.pop_front() {
            if is_there(function) {
                let mut way = vec![function];
                while let Some(Some(caller)) = way.last().and_then(|last| callers.get(last)) {
                    way.push(*caller);
                }
                way.reverse();
                return Some(way);
            }
            for &to in self.from.get(&function).into_iter().flatten() {
                callers.entry(to).or_insert_with(|| {
                    queue.push_back(to);
                    Some(function)
                });
            }
        }
        None
    }

    /// The functions that call the one at `place`.
    pub fn of(&self, place: Offset) -> impl Iterator<Item = Offset> {
        self.from.iter().filter(move |(_, to)| to.contains(&place)).map(|(from, _)| *from)
    }

    /// The name of a function.
    pub fn name(&self, image: &Image, function: Offset) -> String {
        let symbol = self.functions.get(&function).and_then(|(_, symbol)| image.symbols.get(*symbol));
        symbol.map(Symbol::shown).unwrap_or_default()
    }
}

/// The addend of a call to the beginning of a symbol: the distance counts from the end of the field on x86-64, and
/// from the instruction on s390x.
pub fn addend_of_calls(machine: Machine) -> i64 {
    match machine {
        Machine::X86_64 => -4,
        Machine::S390 => 2,
        _ => 0,
    }
}
