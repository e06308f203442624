// SPDX-License-Identifier: GPL-2.0-only
//! The unit that was compiled again: its functions, the contents of its sections, and the instructions that the
//! kernel patches at run time and that therefore may differ.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::elf::image::{Home, Image, Relocation, Section, SectionIndex, Symbol, SymbolIndex};
use crate::elf::{Binding, SymbolKind};
use crate::frompatch::run_pre::kernel;

/// A unit as an object file.
#[derive(Debug)]
pub(super) struct UnitObject<'a> {
    pub(super) image: &'a Image,
    relocations: HashMap<SectionIndex, BTreeMap<u64, Relocation>>,
    /// By section: the named symbols with their values, by ascending value.
    symbols: HashMap<SectionIndex, Vec<(u64, SymbolIndex)>>,
    /// The jump labels: section and offset of the instruction.
    labels: HashSet<(SectionIndex, u64)>,
    /// Its source file's name (STT_FILE).
    pub(super) file: Option<String>,
}

/// The target of a reference in the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Referent {
    /// A symbol that another unit may define: global, weak, or not defined here.
    Symbol(SymbolIndex),
    /// An offset in one of the unit's own sections; it may lie before the section or behind it.
    Inside { section: SectionIndex, offset: i64 },
}

impl<'a> UnitObject<'a> {
    pub(super) fn of(image: &'a Image) -> UnitObject<'a> {
        let mut symbols: HashMap<SectionIndex, Vec<(u64, SymbolIndex)>> = HashMap::new();
        for (index, symbol) in image.symbols.enumerate() {
            if let (Home::Section(section), false) = (symbol.home, symbol.name.is_empty())
                && !matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File)
            {
                symbols.entry(section).or_default().push((symbol.value(), index));
            }
        }
        for symbols in symbols.values_mut() {
            symbols.sort_unstable();
        }
        let file = image.symbols.iter().find(|symbol| symbol.kind() == SymbolKind::File).map(Symbol::shown);
        UnitObject { image, relocations: kernel::relocations(image), symbols, labels: labels(image), file }
    }

    /// The functions with their sections: symbols of code that have a size.
    pub(super) fn functions(&self) -> Vec<(SymbolIndex, SectionIndex)> {
        let mut all: Vec<(SectionIndex, SymbolIndex)> = self
            .defined()
            .filter(|(_, section, symbol)| {
                symbol.kind() == SymbolKind::Function
                    && symbol.size() > 0
                    && self.section(*section).is_some_and(Section::is_code)
            })
            .map(|(index, section, _)| (section, index))
            .collect();
        all.sort_by_key(|(section, index)| (*section, self.symbol(*index).map(Symbol::value), *index));
        all.into_iter().map(|(section, index)| (index, section)).collect()
    }

    /// The symbols that are defined in sections which take up memory, with their sections.
    pub(super) fn defined(&self) -> impl Iterator<Item = (SymbolIndex, SectionIndex, &'a Symbol)> {
        let image = self.image;
        image.symbols.enumerate().filter_map(|(index, symbol)| match symbol.home {
            Home::Section(section)
                if !symbol.name.is_empty()
                    && !matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File)
                    && image.sections.get(section).is_some_and(Section::is_alloc) =>
            {
                Some((index, section, symbol))
            }
            _ => None,
        })
    }

    pub(super) fn symbol(&self, index: SymbolIndex) -> Option<&'a Symbol> {
        self.image.symbols.get(index)
    }

    pub(super) fn section(&self, index: SectionIndex) -> Option<&'a Section> {
        self.image.sections.get(index)
    }

    /// The symbol that `offset` in a section belongs to, with the distance from its value; of several with one value,
    /// the first that has a size.
    pub(super) fn symbol_around(&self, section: SectionIndex, offset: i64) -> Option<(SymbolIndex, i64)> {
        let offset = u64::try_from(offset).ok()?;
        let symbols = self.symbols.get(&section)?;
        let next = symbols.partition_point(|(value, _)| *value <= offset);
        let holds = |(value, index): &&(u64, SymbolIndex)| {
            let size = self.symbol(*index).map_or(0, Symbol::size);
            offset == *value || offset - value < size
        };
        let before = symbols.get(..next)?;
        let (start, _) = before.iter().rev().take(8).find(holds)?;
        let of_value = before.iter().rev().take(8).filter(|(value, _)| value == start);
        let best = of_value.max_by_key(|(_, index)| self.symbol(*index).map_or(0, Symbol::size))?;
        Some((best.1, (offset - best.0) as i64))
    }

    /// The symbols at the same offset as another one, including itself.
    pub(super) fn aliases(&self, index: SymbolIndex) -> impl Iterator<Item = &'a Symbol> {
        let own = self.symbol(index);
        let place = own.and_then(|symbol| match symbol.home {
            Home::Section(section) => Some((section, symbol.value())),
            _ => None,
        });
        let all = place.and_then(|(section, value)| {
            let symbols = self.symbols.get(&section)?;
            let from = symbols.partition_point(|(other, _)| *other < value);
            let to = symbols.partition_point(|(other, _)| *other <= value);
            symbols.get(from..to)
        });
        all.into_iter().flatten().filter_map(|(_, index)| self.image.symbols.get(*index))
    }

    /// The relocations for the bytes `from..to` of a section.
    pub(super) fn relocations(
        &self,
        section: SectionIndex,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = &Relocation> {
        let all = self.relocations.get(&section);
        all.into_iter().flat_map(move |all| all.range(from..to.max(from))).map(|(_, relocation)| relocation)
    }

    /// The target of a relocation, with the distance behind it in bytes; the field's value counts from `further`
    /// bytes behind the field.
    pub(super) fn referent(&self, relocation: &Relocation, further: i64) -> Option<(Referent, i64)> {
        let symbol = self.symbol(relocation.symbol)?;
        let behind = relocation.addend.wrapping_add(further);
        Some(match symbol.home {
            // The symbol's own string is meant, even if the sum lies in another string.
            Home::Section(section)
                if symbol.binding() == Binding::Local
                    && symbol.kind() != SymbolKind::Section
                    && !self.section(section).is_some_and(Section::is_code) =>
            {
                (Referent::Inside { section, offset: symbol.value() as i64 }, behind)
            }
            Home::Section(section) if symbol.binding() == Binding::Local => {
                let offset = (symbol.value() as i64).wrapping_add(behind);
                (Referent::Inside { section, offset }, 0)
            }
            _ => (Referent::Symbol(relocation.symbol), behind),
        })
    }

    /// Whether a jump label is at this offset: an instruction that the kernel switches between a jump and a
    /// no-operation.
    pub(super) fn is_label(&self, section: SectionIndex, offset: u64) -> bool {
        self.labels.contains(&(section, offset))
    }
}

/// The code fields of `struct jump_entry` (include/linux/jump_label.h): the first of each 16 bytes.
fn labels(image: &Image) -> HashSet<(SectionIndex, u64)> {
    let is_table = |index: SectionIndex| image.sections.get(index).is_some_and(|s| s.name == b"__jump_table");
    let tables = image.relocated().filter(|(_, _, target)| is_table(*target));
    tables
        .flat_map(|(_, entries, _)| &entries.relocations)
        .filter(|relocation| relocation.offset % 16 == 0)
        .filter_map(|relocation| image.target(relocation))
        .map(|place| (place.section, place.offset))
        .collect()
}
