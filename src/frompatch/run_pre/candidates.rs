// SPDX-License-Identifier: GPL-2.0-only
//! Which functions of the kernel each function of the unit may be: those with its name and its bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::elf::image::{SectionIndex, SymbolIndex};
use crate::elf::{Binding, SymbolKind};
use crate::frompatch::run_pre::facts::{Fact, Key, Sides, key_of};
use crate::frompatch::run_pre::kernel::{KernelImage, KernelSymbol, Spot};
use crate::frompatch::run_pre::outcome::Mismatch;
use crate::frompatch::run_pre::walk::CodeDifference;
use crate::frompatch::run_pre::{shown, walk};

/// A function of the kernel that a function of the unit may be, with what it refers to.
pub(super) struct Candidate {
    pub(super) spot: Spot,
    pub(super) file: Option<String>,
    /// What the function's references say of other symbols.
    pub(super) facts: Vec<Fact>,
}

/// A function of the unit.
pub(super) struct UnitFunction {
    pub(super) symbol: SymbolIndex,
    pub(super) section: SectionIndex,
    pub(super) key: Key,
    /// The functions of the kernel whose bytes are equal.
    pub(super) candidates: Vec<Candidate>,
    /// The global symbol that the kernel uses instead of this weak function.
    pub(super) overridden: Option<Spot>,
    pub(super) is_settled: bool,
}

/// The search for the candidates of all functions of a unit.
pub(super) struct Search<'a, 'b> {
    pub(super) sides: Sides<'a, 'b>,
    entries: Vec<UnitFunction>,
    mismatches: Vec<Mismatch>,
}

impl<'a, 'b> Search<'a, 'b> {
    pub(super) fn new(sides: Sides<'a, 'b>) -> Search<'a, 'b> {
        Search { sides, entries: Vec::new(), mismatches: Vec::new() }
    }

    /// Compares each function with all of the kernel's functions that have its name.
    pub(super) fn all(mut self) -> (Vec<UnitFunction>, Vec<Mismatch>) {
        let functions = self.sides.unit.functions();
        let bases = self.bases_by_name(&functions);
        for (symbol, section) in functions {
            let Some(known) = self.sides.unit.symbol(symbol) else { continue };
            let guess = bases.get(&section).map(|base| base.plus(known.value() as i64));
            let key = key_of(self.sides.unit, symbol);
            let mut entry = UnitFunction {
                symbol,
                section,
                key,
                candidates: Vec::new(),
                overridden: None,
                is_settled: false,
            };
            let is_weak = known.binding() == Binding::Weak;
            let named = self.named(symbol);
            entry.overridden =
                named.iter().find(|other| is_weak && binding(other) == Some(Binding::Global)).map(|o| o.spot);
            let places: Vec<(Spot, Option<u64>, Option<String>)> = match (entry.overridden, guess) {
                (Some(_), Some(guess)) => vec![(guess, None, None)],
                (Some(_), None) => Vec::new(),
                (None, _) => named.iter().map(|symbol| place(symbol)).collect(),
            };
            if places.is_empty() && entry.overridden.is_none() {
                self.mismatches.push(absent(&known.shown(), self.sides.kernel));
                continue;
            }
            let other = named.first().map(|other| other.spot).filter(|_| is_weak);
            let count = self.mismatches.len();
            self.try_all(&mut entry, &places, guess);
            let is_else = entry.candidates.is_empty() && entry.overridden.is_none();
            // If several units have weak functions of that name, the kernel uses the first, which may be another
            // unit's.
            if let Some(other) = other.filter(|_| is_else) {
                let copy = self.unnamed_copy(&entry, other);
                if copy.is_some() || self.is_apart(other, &bases) {
                    self.mismatches.truncate(count);
                    entry.overridden = Some(other);
                    if let Some(at) = copy.or(guess.filter(|guess| *guess != other)) {
                        self.try_all(&mut entry, &[(at, None, None)], Some(at));
                    }
                }
            }
            self.entries.push(entry);
        }
        (self.entries, self.mismatches)
    }

    /// Where the kernel has the code of a weak function without its name, which is at `other`: the linker leaves it among
    /// the unit's other functions.
    fn unnamed_copy(&self, entry: &UnitFunction, other: Spot) -> Option<Spot> {
        const LONGEST: u64 = 1 << 16;
        let Sides { unit, kernel } = self.sides;
        let weak = unit.symbol(entry.symbol)?;
        let functions = unit.functions();
        let own: HashSet<&[u8]> =
            functions.iter().filter_map(|(index, _)| Some(unit.symbol(*index)?.name.as_slice())).collect();
        let is_own = |symbol: &KernelSymbol| {
            // objtool makes such a symbol for the bytes before a function (CONFIG_PREFIX_SYMBOLS), and it stays.
            let name = symbol.name.strip_prefix(b"__pfx_").unwrap_or(&symbol.name);
            symbol.spot != other && own.contains(name)
        };
        let is_among_own = kernel.beside(other).iter().all(|symbol| symbol.is_some_and(is_own));
        let places = functions.iter().filter(|_| !is_among_own).filter_map(|(index, _)| {
            let is_weak = unit.symbol(*index)?.binding() == Binding::Weak;
            if let ([only], false) = (self.named(*index).as_slice(), is_weak) {
                Some(only.spot)
            } else {
                None
            }
        });
        let gaps = places.flat_map(|place| kernel.gaps(place, is_own));
        let short = gaps.filter(|[from, to]| to.address - from.address <= LONGEST);
        // A function begins at a multiple of 16, or right behind another one.
        let mut spots = short.flat_map(|[from, to]| {
            let starts = (from.address..to.address).filter(move |at| *at == from.address || at % 16 == 0);
            starts.map(move |address| Spot { address, ..from })
        });
        spots.find(|spot| {
            let compared = walk::function(unit, kernel, entry.section, weak, *spot, None);
            compared.is_ok_and(|references| self.sides.facts_of(&references).is_ok())
        })
    }

    /// Whether a spot is further from all code of the unit than that code is long: then another unit's code lies
    /// there.
    fn is_apart(&self, spot: Spot, bases: &HashMap<SectionIndex, Spot>) -> bool {
        const PADDING: u64 = 64;
        let functions = self.sides.unit.functions();
        let sizes = functions.iter().filter_map(|(symbol, _)| self.sides.unit.symbol(*symbol));
        let reach: u64 = sizes.map(|symbol| symbol.size().saturating_add(PADDING)).sum();
        let is_near =
            |base: &Spot| base.section == spot.section && base.address.abs_diff(spot.address) <= reach;
        !bases.is_empty() && !bases.values().any(is_near)
    }

    /// The functions of the kernel that have the name of a function of the unit. If some of them are local exactly as
    /// it is local, or as it is not, only these.
    fn named(&self, symbol: SymbolIndex) -> Vec<&KernelSymbol> {
        let Some(own) = self.sides.unit.symbol(symbol) else { return Vec::new() };
        let is_function = |other: &&KernelSymbol| kind(other) == Some(SymbolKind::Function);
        let all: Vec<&KernelSymbol> = self.sides.kernel.named(&own.name).filter(is_function).collect();
        let is_local = own.binding() == Binding::Local;
        let is_alike = |other: &&&KernelSymbol| (binding(other) == Some(Binding::Local)) == is_local;
        let alike: Vec<&KernelSymbol> = all.iter().filter(is_alike).copied().collect();
        if alike.is_empty() { all } else { alike }
    }

    fn try_all(
        &mut self,
        entry: &mut UnitFunction,
        places: &[(Spot, Option<u64>, Option<String>)],
        guess: Option<Spot>,
    ) {
        let Some(symbol) = self.sides.unit.symbol(entry.symbol) else { return };
        let mut worst: Option<(Spot, CodeDifference)> = None;
        for (spot, size, file) in places {
            let compared =
                walk::function(self.sides.unit, self.sides.kernel, entry.section, symbol, *spot, *size);
            let facts = compared.and_then(|references| self.sides.facts_of(&references));
            match facts {
                Ok(facts) => {
                    entry.candidates.push(Candidate { spot: *spot, file: file.clone(), facts });
                }
                Err(difference) => {
                    let rank =
                        |spot: Spot, difference: &CodeDifference| (Some(spot) == guess, difference.equal);
                    let is_nearer =
                        worst.as_ref().is_none_or(|(at, other)| rank(*spot, &difference) > rank(*at, other));
                    if is_nearer {
                        worst = Some((*spot, difference));
                    }
                }
            }
        }
        if let (true, Some((spot, difference))) = (entry.candidates.is_empty(), worst) {
            let mismatch =
                shown::function(self.sides.unit, self.sides.kernel, entry.section, symbol, spot, &difference);
            self.mismatches.push(mismatch);
        }
    }

    /// The spot in the kernel at which each section of code begins, if most of its functions with unique names agree.
    fn bases_by_name(&self, functions: &[(SymbolIndex, SectionIndex)]) -> HashMap<SectionIndex, Spot> {
        let mut votes: HashMap<SectionIndex, BTreeMap<Spot, usize>> = HashMap::new();
        for (symbol, section) in functions {
            let Some(own) = self.sides.unit.symbol(*symbol).filter(|own| own.binding() != Binding::Weak)
            else {
                continue;
            };
            if let [only] = self.named(*symbol).as_slice() {
                let base = only.spot.plus(-(own.value() as i64));
                *votes.entry(*section).or_default().entry(base).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .filter_map(|(section, votes)| Some((section, votes.into_iter().max_by_key(|(_, n)| *n)?.0)))
            .collect()
    }
}

fn kind(symbol: &KernelSymbol) -> Option<SymbolKind> {
    symbol.known.definition.as_ref()?.kind
}

pub(super) fn binding(symbol: &KernelSymbol) -> Option<Binding> {
    symbol.known.definition.as_ref().map(|definition| definition.binding)
}

/// The spot of a symbol, its size in bytes, and its source file.
fn place(symbol: &KernelSymbol) -> (Spot, Option<u64>, Option<String>) {
    let definition = symbol.known.definition.as_ref();
    let size = definition.and_then(|definition| definition.size).filter(|size| *size > 0);
    (symbol.spot, size, definition.and_then(|definition| definition.file.clone()))
}

fn absent(name: &str, kernel: &KernelImage) -> Mismatch {
    let what = format!("{} has no function of this name", kernel.object);
    Mismatch { name: name.to_owned(), offset: 0, what, lines: Vec::new() }
}
