// SPDX-License-Identifier: GPL-2.0-only
//! Which of several candidates each function and variable of the unit is. If the bytes of more than one are equal,
//! the references decide: all of them have to agree.

use std::collections::{HashMap, HashSet};

use crate::elf::image::{Section, SectionIndex, Symbol, SymbolIndex};
use crate::elf::{Binding, SymbolKind};
use crate::frompatch::run_pre::candidates::{Candidate, Search, UnitFunction, binding};
use crate::frompatch::run_pre::facts::{Fact, Key, Sides, key_of};
use crate::frompatch::run_pre::kernel::{KernelImage, Spot};
use crate::frompatch::run_pre::outcome::{ComparedFunction, FunctionFate, Located, Matched, Mismatch, base};
use crate::frompatch::run_pre::unit::UnitObject;
use crate::frompatch::run_pre::walk::CodeDifference;
use crate::frompatch::run_pre::{data, shown};

/// What is known so far of the unit's symbols.
struct Agreement<'a, 'b> {
    sides: Sides<'a, 'b>,
    entries: Vec<UnitFunction>,
    facts: HashMap<Key, Spot>,
    mismatches: Vec<Mismatch>,
}

/// Does the work of [`crate::frompatch::run_pre::compare`].
pub(super) fn compare(unit: &UnitObject<'_>, kernel: &KernelImage) -> Result<Matched, Vec<Mismatch>> {
    let sides = Sides { unit, kernel };
    let (entries, mismatches) = Search::new(sides).all();
    let mut agreement = Agreement { sides, entries, facts: HashMap::new(), mismatches };
    if agreement.mismatches.is_empty() {
        agreement.settle();
        agreement.follow_data();
    }
    if agreement.mismatches.is_empty() { Ok(agreement.matched()) } else { Err(agreement.mismatches) }
}

impl Agreement<'_, '_> {
    /// Settles the functions one by one: first those with one candidate, whose references then tell more.
    fn settle(&mut self) {
        loop {
            let mut is_changed = false;
            for index in 0..self.entries.len() {
                is_changed |= self.settle_one(index, None);
            }
            if is_changed {
                continue;
            }
            let bases = self.bases();
            if (0..self.entries.len()).any(|index| self.settle_one(index, Some(&bases))) {
                continue;
            }
            if !(0..self.entries.len()).any(|index| self.settle_by_file(index)) {
                break;
            }
        }
    }

    /// Settles the function `index` if one candidate is left that agrees with all that is known, and with `bases` if
    /// these are given.
    fn settle_one(&mut self, index: usize, bases: Option<&HashMap<SectionIndex, Spot>>) -> bool {
        let Some(entry) = self.entries.get(index).filter(|entry| !entry.is_settled) else { return false };
        let value = self.sides.unit.symbol(entry.symbol).map_or(0, |symbol| symbol.value());
        let expected = bases.and_then(|bases| bases.get(&entry.section)).map(|b| b.plus(value as i64));
        let agrees = |candidate: &&Candidate| {
            let of_itself = self.facts.get(&entry.key).is_none_or(|spot| *spot == candidate.spot);
            (of_itself || entry.overridden.is_some())
                && candidate.facts.iter().all(|f| self.facts.get(&f.key).is_none_or(|spot| *spot == f.spot))
        };
        let left: Vec<usize> = entry
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| bases.is_none() || expected == Some(candidate.spot))
            .filter(|(_, candidate)| agrees(candidate))
            .map(|(index, _)| index)
            .collect();
        match left.as_slice() {
            [only] => self.choose(index, *only),
            [] if bases.is_none() && !entry.candidates.is_empty() => {
                self.contradict(index);
                true
            }
            _ => false,
        }
    }

    /// Settles the function `index` if only one of its candidates lies in a source file of the unit's name.
    fn settle_by_file(&mut self, index: usize) -> bool {
        let Some(entry) = self.entries.get(index).filter(|entry| !entry.is_settled) else { return false };
        let is_of_file = |(_, candidate): &(usize, &Candidate)| candidate.file == self.sides.unit.file;
        let of_file: Vec<usize> =
            entry.candidates.iter().enumerate().filter(is_of_file).map(|(index, _)| index).collect();
        match of_file.as_slice() {
            [only] => self.choose(index, *only),
            _ => false,
        }
    }

    fn choose(&mut self, index: usize, candidate: usize) -> bool {
        let Some(entry) = self.entries.get_mut(index) else { return false };
        let chosen = entry.candidates.swap_remove(candidate);
        entry.is_settled = true;
        let (key, spot, is_weak) = (entry.key, chosen.spot, entry.overridden.is_some());
        for fact in &chosen.facts {
            self.facts.entry(fact.key).or_insert(fact.spot);
        }
        if !is_weak {
            self.facts.entry(key).or_insert(spot);
        }
        entry.candidates = vec![chosen];
        true
    }

    /// Reports that no candidate agrees with what other references say.
    fn contradict(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.is_settled = true;
        let Some(symbol) = self.sides.unit.symbol(entry.symbol) else { return };
        let Some(candidate) = entry.candidates.first() else { return };
        let fact = candidate.facts.iter().find(|f| self.facts.get(&f.key).is_some_and(|s| *s != f.spot));
        let shown = |spot: Spot| format!("{:#x}", spot.address);
        let (difference, what) = match fact.and_then(|fact| Some((fact, self.facts.get(&fact.key)?))) {
            Some((fact, other)) => {
                let what = format!(
                    "the kernel's refers to {} at {}, and other code of the unit to the one at {}",
                    self.sides.kernel.shown(fact.spot).unwrap_or_default(),
                    shown(fact.spot),
                    shown(*other)
                );
                (fact.difference.clone(), what)
            }
            None => {
                let other = self.facts.get(&entry.key).copied().unwrap_or(candidate.spot);
                let what = format!(
                    "it is at {}, and other code of the unit refers to {}",
                    shown(candidate.spot),
                    shown(other)
                );
                let difference = CodeDifference {
                    at: symbol.value(),
                    kernel_at: candidate.spot,
                    what: String::new(),
                    equal: 0,
                };
                (difference, what)
            }
        };
        let difference = CodeDifference { what, ..difference };
        let spot = candidate.spot;
        let mismatch =
            shown::function(self.sides.unit, self.sides.kernel, entry.section, symbol, spot, &difference);
        self.mismatches.push(mismatch);
    }

    /// The spot in the kernel at which each section begins, if all known symbols in it agree.
    fn bases(&self) -> HashMap<SectionIndex, Spot> {
        let mut bases: HashMap<SectionIndex, Option<Spot>> = HashMap::new();
        for (key, spot) in &self.facts {
            let Key::Own(section, value) = key else { continue };
            let base = spot.plus((*value as i64).wrapping_neg());
            let known = bases.entry(*section).or_insert(Some(base));
            if *known != Some(base) {
                *known = None;
            }
        }
        bases.into_iter().filter_map(|(section, base)| Some((section, base?))).collect()
    }

    /// Compares the variables whose spots are known, and finds those that they refer to.
    fn follow_data(&mut self) {
        let mut done: HashSet<SymbolIndex> = HashSet::new();
        loop {
            self.place_by_bases();
            let new: Vec<(SymbolIndex, SectionIndex, Spot)> = self
                .sides
                .unit
                .defined()
                .filter(|(index, _, symbol)| {
                    symbol.kind() == SymbolKind::Object && symbol.size() > 0 && !done.contains(index)
                })
                .filter_map(|(index, section, _)| {
                    Some((index, section, *self.facts.get(&key_of(self.sides.unit, index))?))
                })
                .collect();
            if new.is_empty() {
                break;
            }
            for (index, section, spot) in new {
                done.insert(index);
                self.compare_variable(index, section, spot);
            }
        }
    }

    fn compare_variable(&mut self, index: SymbolIndex, section: SectionIndex, spot: Spot) {
        let Some(symbol) = self.sides.unit.symbol(index) else { return };
        if self.is_overridden(symbol, spot) {
            return;
        }
        let facts = data::variable(self.sides.unit, self.sides.kernel, section, symbol, spot)
            .and_then(|references| self.sides.facts_of(&references));
        let conflict = |fact: &Fact| {
            let other = self.facts.get(&fact.key).filter(|other| **other != fact.spot)?;
            Some(format!(
                "it refers to {:#x}, and other code of the unit to {:#x}",
                fact.spot.address, other.address
            ))
        };
        let (at, what) = match &facts {
            Ok(facts) => match facts.iter().find_map(|f| Some((f.difference.at, conflict(f)?))) {
                Some(conflict) => conflict,
                None => {
                    for fact in facts {
                        self.facts.entry(fact.key).or_insert(fact.spot);
                    }
                    return;
                }
            },
            Err(difference) => (difference.at, difference.what.clone()),
        };
        let offset = at.saturating_sub(symbol.value());
        self.mismatches.push(Mismatch { name: symbol.shown(), offset, what, lines: Vec::new() });
    }

    /// Whether a variable is weak, and the kernel uses a global one of its name instead.
    fn is_overridden(&self, symbol: &Symbol, spot: Spot) -> bool {
        let mut there = self.sides.kernel.at(spot).filter(|other| other.name == symbol.name);
        symbol.binding() == Binding::Weak && there.any(|other| binding(other) == Some(Binding::Global))
    }

    /// Locates symbols that nothing refers to by their offset in their section, if the kernel has a symbol of that
    /// name there.
    fn place_by_bases(&mut self) {
        let bases = self.bases();
        for (index, section, symbol) in self.sides.unit.defined() {
            let key = key_of(self.sides.unit, index);
            let spot = bases.get(&section).map(|base| base.plus(symbol.value() as i64));
            if let (Key::Own(..), Some(spot), false) = (key, spot, self.facts.contains_key(&key))
                && !self.sides.unit.section(section).is_some_and(Section::is_merged)
                && !self.entries.iter().any(|entry| entry.key == key)
                && self.sides.has_name_of(index, spot)
            {
                self.facts.insert(key, spot);
            }
        }
    }

    fn located(&self, name: &[u8], spot: Spot) -> Option<Located> {
        let exact = self.sides.kernel.at(spot).find(|other| other.name == name);
        let other =
            exact.or_else(|| self.sides.kernel.at(spot).find(|other| base(&other.name) == base(name)))?;
        Some(Located {
            object: self.sides.kernel.object.clone(),
            name: other.name.clone(),
            spot,
            known: other.known.clone(),
        })
    }

    fn matched(self) -> Matched {
        let mut matched = Matched::default();
        for (index, symbol) in self.sides.unit.image.symbols.enumerate() {
            let spot = self.facts.get(&key_of(self.sides.unit, index));
            let is_named =
                !symbol.name.is_empty() && !matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File);
            if let Some(located) =
                spot.filter(|_| is_named).and_then(|spot| self.located(&symbol.name, *spot))
            {
                matched.located.insert(index, located);
                matched.by_name.entry(symbol.name.clone()).and_modify(|i| *i = None).or_insert(Some(index));
            }
        }
        for entry in &self.entries {
            let Some(symbol) = self.sides.unit.symbol(entry.symbol) else { continue };
            let mut places: Vec<Located> =
                entry.candidates.iter().filter_map(|c| self.located(&symbol.name, c.spot)).collect();
            let fate =
                match (entry.overridden.and_then(|spot| self.located(&symbol.name, spot)), places.pop()) {
                    (Some(other), _) => FunctionFate::Overridden(other),
                    (None, Some(only)) if places.is_empty() => FunctionFate::Equal(only),
                    (None, last) => {
                        places.extend(last);
                        matched.vague.insert(symbol.name.clone(), places.clone());
                        FunctionFate::Ambiguous(places)
                    }
                };
            matched.functions.push(ComparedFunction {
                name: symbol.name.clone(),
                symbol: entry.symbol,
                fate,
            });
        }
        matched
    }
}
