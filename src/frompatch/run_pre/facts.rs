// SPDX-License-Identifier: GPL-2.0-only
//! What the unit's references say: each leads to a symbol in the unit, and the kernel's reference to a spot in the
//! kernel. If the candidate is right, the symbol lies at that spot.

use crate::elf::Binding;
use crate::elf::image::{Home, Section, SectionIndex, SymbolIndex};
use crate::frompatch::run_pre::kernel::{KernelImage, RelocationTarget, Spot};
use crate::frompatch::run_pre::outcome::{base, name_of};
use crate::frompatch::run_pre::shown;
use crate::frompatch::run_pre::unit::{Referent, UnitObject};
use crate::frompatch::run_pre::walk::{CodeDifference, ComparedReference};

/// What is located in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    /// A definition of the unit: section and offset.
    Own(SectionIndex, u64),
    /// A symbol, by its index, that is or may be defined elsewhere.
    Other(SymbolIndex),
}

/// What one reference says: this symbol lies at that spot.
pub(super) struct Fact {
    /// What lies where.
    pub(super) key: Key,
    pub(super) spot: Spot,
    /// The offsets of the reference in the unit and in the kernel, for a message if the fact is wrong.
    pub(super) difference: CodeDifference,
}

/// The key of a symbol: a weak symbol may be defined elsewhere although the unit defines it.
pub(super) fn key_of(unit: &UnitObject<'_>, index: SymbolIndex) -> Key {
    match unit.symbol(index).map(|symbol| (symbol.home, symbol.binding(), symbol.value())) {
        Some((Home::Section(section), Binding::Local | Binding::Global, value)) => Key::Own(section, value),
        _ => Key::Other(index),
    }
}

/// The unit and the kernel, side by side.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a, 'b> {
    pub(super) unit: &'a UnitObject<'b>,
    pub(super) kernel: &'a KernelImage,
}

impl Sides<'_, '_> {
    /// What references say, if they can be right: at each spot that the kernel's lead to, there is a symbol of that
    /// name.
    pub(super) fn facts_of(&self, references: &[ComparedReference]) -> Result<Vec<Fact>, CodeDifference> {
        let mut facts = Vec::new();
        for reference in references {
            match self.fact_of(reference) {
                Ok(Some((key, spot))) => {
                    let (at, kernel_at) = (reference.at, reference.kernel_at);
                    let difference =
                        CodeDifference { at, kernel_at, what: String::new(), equal: references.len() };
                    facts.push(Fact { key, spot, difference });
                }
                Ok(None) => {}
                Err(what) => {
                    return Err(CodeDifference {
                        at: reference.at,
                        kernel_at: reference.kernel_at,
                        what,
                        equal: references.len(),
                    });
                }
            }
        }
        Ok(facts)
    }

    fn fact_of(&self, reference: &ComparedReference) -> Result<Option<(Key, Spot)>, String> {
        match reference.to {
            Referent::Symbol(index) => self.fact_of_symbol(index, &reference.kernel_to),
            Referent::Inside { section, offset } => {
                let RelocationTarget::Here(spot) = reference.kernel_to else {
                    return Err(self.elsewhere(reference));
                };
                if self.unit.section(section).is_some_and(Section::is_merged) {
                    return if self.is_same_constant(section, offset, spot) {
                        Ok(None)
                    } else {
                        Err(self.other_constant(section, offset, spot))
                    };
                }
                let Some((index, further)) = self.unit.symbol_around(section, offset) else {
                    return Ok(Some((Key::Own(section, offset as u64), spot)));
                };
                let spot = spot.plus(-further);
                let start = offset.wrapping_sub(further) as u64;
                if self.has_name_of(index, spot) {
                    Ok(Some((Key::Own(section, start), spot)))
                } else {
                    Err(self.elsewhere(reference))
                }
            }
        }
    }

    fn fact_of_symbol(
        &self,
        index: SymbolIndex,
        kernel_to: &RelocationTarget,
    ) -> Result<Option<(Key, Spot)>, String> {
        let symbol = self.unit.symbol(index);
        let name = symbol.map(|symbol| symbol.name.as_slice()).unwrap_or_default();
        let is_missing = || symbol.is_some_and(|s| s.home == Home::Undefined && s.binding() == Binding::Weak);
        match kernel_to {
            RelocationTarget::Out(other, 0) if other == name => Ok(None),
            RelocationTarget::Here(spot) if self.kernel.at(*spot).any(|other| other.name == name) => {
                Ok(Some((key_of(self.unit, index), *spot)))
            }
            RelocationTarget::Here(spot) if spot.address == 0 && self.kernel.is_linked() && is_missing() => {
                Ok(None)
            }
            _ => Err(format!(
                "it refers to {}, and the kernel's to {}",
                name_of(symbol),
                self.shown_target(kernel_to)
            )),
        }
    }

    fn elsewhere(&self, reference: &ComparedReference) -> String {
        let ours = shown::shown(self.unit, reference.to, 0);
        format!("it refers to {ours}, and the kernel's to {}", self.shown_target(&reference.kernel_to))
    }

    fn shown_target(&self, kernel_to: &RelocationTarget) -> String {
        match kernel_to {
            RelocationTarget::Here(spot) => {
                self.kernel.shown(*spot).unwrap_or_else(|| format!("{:#x}", spot.address))
            }
            RelocationTarget::Out(name, _) => String::from_utf8_lossy(name).into_owned(),
        }
    }

    /// Whether the kernel has a symbol at `spot` with the name of this symbol of the unit, or of one at the same
    /// offset; a number at the end of a name does not count.
    pub(super) fn has_name_of(&self, index: SymbolIndex, spot: Spot) -> bool {
        let Some(symbol) = self.unit.symbol(index) else { return false };
        self.kernel.at(spot).any(|other| base(&other.name) == base(&symbol.name))
            || self
                .unit
                .aliases(index)
                .any(|alias| self.kernel.at(spot).any(|other| other.name == alias.name))
    }

    /// The message about a constant that differs from the kernel's: both of them.
    fn other_constant(&self, section: SectionIndex, offset: i64, spot: Spot) -> String {
        let own = self.unit.section(section);
        let has_strings = own.is_some_and(Section::has_strings);
        let size = own.map_or(0, |own| own.entsize() as usize);
        let shown = |bytes: &[u8]| {
            if has_strings {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                format!("{:?}", String::from_utf8_lossy(text))
            } else {
                format!("{:02x?}", bytes.get(..size).unwrap_or(bytes))
            }
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let ours = own.and_then(|own| own.data.get(from..)).unwrap_or_default();
        let theirs =
            self.kernel.bytes(spot).map_or_else(|| self.shown_target(&RelocationTarget::Here(spot)), shown);
        format!("it refers to the constant {}, and the kernel's to {theirs}", shown(ours))
    }

    /// Whether the constant at `offset` in a section that the linker merges is equal to the one at `spot`: a string
    /// up to its end, or one entry. If a loop refers to the end of an entry, the entry before it counts.
    fn is_same_constant(&self, section: SectionIndex, offset: i64, spot: Spot) -> bool {
        let Some(own) = self.unit.section(section) else { return false };
        let Ok(offset) = usize::try_from(offset) else { return false };
        let is_same = |from: usize| {
            let theirs = self.kernel.bytes(spot.plus(-((offset - from) as i64)));
            let (Some(ours), Some(theirs)) = (own.data.get(from..), theirs) else { return false };
            let length = if own.has_strings() {
                memchr::memchr(0, ours).map_or(ours.len(), |end| end + 1)
            } else {
                (own.entsize() as usize).min(ours.len())
            };
            length > 0 && ours.get(..length) == theirs.get(..length)
        };
        let before = own.data.get(..offset).unwrap_or_default();
        let start = if own.has_strings() {
            let text = before.strip_suffix(&[0]);
            text.map(|text| memchr::memrchr(0, text).map_or(0, |end| end + 1))
        } else {
            offset.checked_sub(own.entsize() as usize)
        };
        is_same(offset) || start.is_some_and(is_same)
    }
}
