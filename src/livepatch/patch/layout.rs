// SPDX-License-Identifier: GPL-2.0-only
//! Pointers and arrays in the data of a module, and the distance between the entries of an array.

use std::collections::BTreeMap;

use crate::elf::image::Offset;
use crate::elf::image::{Home, Image, Relocation, Section};

/// How many symbols are tried to find the one that covers an offset: those that begin nearest before it, which others
/// may enclose.
const NESTED: usize = 8;

/// The data of a module, in which each pointer has a relocation.
pub(super) struct Layout<'a> {
    pub(super) image: &'a Image,
    pointers: BTreeMap<Offset, Relocation>,
    /// The offsets at which symbols with a size begin, with their ends: of several that begin at one offset, the
    /// longest one.
    sized: BTreeMap<Offset, u64>,
}

/// An array of structures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Array {
    pub(super) at: Offset,
    /// The offset of its end in its section; the section's end if no symbol tells.
    pub(super) end: u64,
    /// Whether a symbol tells where it ends.
    pub(super) is_sized: bool,
}

impl<'a> Layout<'a> {
    pub(super) fn of(image: &'a Image) -> Layout<'a> {
        let mut pointers = BTreeMap::new();
        for (_, entries, target) in image.relocated() {
            if image.sections.get(target).is_some_and(is_data) {
                let place = |relocation: &Relocation| Offset { section: target, offset: relocation.offset };
                pointers
                    .extend(entries.relocations.iter().map(|relocation| (place(relocation), *relocation)));
            }
        }
        let mut sized = BTreeMap::new();
        for symbol in image.symbols.iter().filter(|symbol| symbol.size() > 0) {
            if let Home::Section(section) = symbol.home {
                let end = sized.entry(Offset { section, offset: symbol.value() }).or_default();
                *end = symbol.value().saturating_add(symbol.size()).max(*end);
            }
        }
        Layout { image, pointers, sized }
    }

    /// The offsets of all pointers.
    pub(super) fn all(&self) -> impl Iterator<Item = Offset> {
        self.pointers.keys().copied()
    }

    /// The offsets of the pointers in an array, from `from` on.
    pub(super) fn within(&self, array: Array) -> impl Iterator<Item = Offset> {
        let last = Offset { offset: array.end, ..array.at };
        self.pointers.range(array.at..last.max(array.at)).map(|(place, _)| *place)
    }

    /// The offset `words` addresses further.
    pub(super) fn after(&self, place: Offset, words: u64) -> Offset {
        Offset { offset: place.offset.saturating_add(words * self.word()), ..place }
    }

    /// The size of an address in bytes.
    pub(super) fn word(&self) -> u64 {
        self.image.address_size() as u64
    }

    pub(super) fn is_pointer(&self, place: Offset) -> bool {
        self.pointers.contains_key(&place)
    }

    /// Whether the pointer at `place` is the module's own THIS_MODULE.
    pub(super) fn is_this_module(&self, place: Offset) -> bool {
        let symbol =
            self.pointers.get(&place).and_then(|relocation| self.image.symbols.get(relocation.symbol));
        symbol.is_some_and(|symbol| symbol.name == b"__this_module")
    }

    /// The target of the pointer at `place`, if that is in this module.
    pub(super) fn target(&self, place: Offset) -> Option<Offset> {
        self.image.target(self.pointers.get(&place)?)
    }

    /// The target of the pointer at `place`, if that is code.
    pub(super) fn code(&self, place: Offset) -> Option<Offset> {
        self.target(place).filter(|target| self.section(*target).is_some_and(Section::is_code))
    }

    /// The string that the pointer at `place` points to.
    pub(super) fn string(&self, place: Offset) -> Option<&'a [u8]> {
        let target = self.target(place).filter(|target| self.section(*target).is_some_and(is_data))?;
        self.image.string_at(target.section, target.offset)
    }

    pub(super) fn section(&self, place: Offset) -> Option<&'a Section> {
        self.image.sections.get(place.section)
    }

    /// The number at `place`, as large as an address; 0 if the section has no bytes in the file.
    pub(super) fn number(&self, place: Offset) -> u64 {
        let bytes = usize::try_from(place.offset).ok().and_then(|from| {
            self.section(place)?.data.get(from..from.checked_add(self.image.address_size())?)
        });
        bytes.map_or(0, |bytes| self.image.number(bytes))
    }

    /// Whether the first words of a structure hold anything but zero.
    pub(super) fn is_set(&self, place: Offset, words: u64) -> bool {
        (0..words).map(|word| self.after(place, word)).any(|at| self.is_pointer(at) || self.number(at) != 0)
    }

    /// The array at `at`, up to the end of the symbol that covers it.
    pub(super) fn array(&self, at: Offset) -> Option<Array> {
        let section = self.section(at).filter(|section| is_data(section))?;
        let before = self.sized.range(..=at).rev().take_while(|(start, _)| start.section == at.section);
        let end = before.take(NESTED).map(|(_, end)| *end).find(|end| at.offset < *end);
        let is_sized = end.is_some();
        Some(Array { at, end: end.unwrap_or(section.size()), is_sized })
    }
}

fn is_data(section: &Section) -> bool {
    section.is_alloc() && !section.is_code()
}

/// The distance in bytes between the entries of arrays of one structure, if it is certain. Each array comes with the
/// offsets at which entries were seen. `known` are the sizes that the structure has had, the smallest one first. A
/// common distance of less than twice the smallest is the size of one structure; a larger one is several structures,
/// if only one of the sizes divides it.
pub(super) fn stride(arrays: &[(Array, &[u64])], known: &[u64]) -> Option<u64> {
    let distances = arrays.iter().flat_map(|(_, starts)| starts.windows(2)).filter_map(|pair| match pair {
        [first, second] => second.checked_sub(*first),
        _ => None,
    });
    let sizes = arrays.iter().filter(|(array, _)| array.is_sized);
    let sizes = sizes.filter_map(|(array, _)| array.end.checked_sub(array.at.offset));
    let least = *known.first()?;
    let is_one = |size: &u64| (least..least.saturating_mul(2)).contains(size);
    let apart = distances.clone().fold(0, greatest_common_divisor);
    let common = sizes.fold(apart, greatest_common_divisor);
    [apart, common].into_iter().find(is_one).or_else(|| {
        let mut fits = known.iter().filter(|size| common > 0 && common.is_multiple_of(**size));
        fits.next().copied().filter(|_| fits.next().is_none())
    })
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::image::{SectionIndex, TableIndex as _};

    fn array(start: u64, end: u64) -> Array {
        Array { at: Offset { section: SectionIndex::new(1), offset: start }, end, is_sized: true }
    }

    #[test]
    fn distances_and_sizes_tell_the_size_of_a_structure() {
        let of = |arrays: &[(Array, &[u64])]| stride(arrays, &[120, 152, 240]);
        assert_eq!(of(&[(array(0, 456), &[0, 152])]), Some(152), "two, and an empty one");
        assert_eq!(of(&[(array(0, 152), &[0])]), Some(152), "one alone");
        assert_eq!(of(&[(array(0, 168), &[0])]), Some(168), "one of a size that is not known");
        assert_eq!(of(&[(array(0, 304), &[0])]), Some(152), "two of the only size that fits");
        assert_eq!(of(&[(array(0, 608), &[0, 304])]), Some(152), "an empty one between them");
        assert_eq!(of(&[(array(0, 336), &[0])]), None, "one or two of no known size");
        assert_eq!(of(&[(array(0, 336), &[0]), (array(512, 1016), &[512, 680])]), Some(168));
        assert_eq!(of(&[(array(0, 480), &[0, 240])]), None, "240 bytes, or twice 120");
        assert_eq!(of(&[(array(0, 64), &[0, 32])]), None, "too small");
        assert_eq!(of(&[]), None);
    }
}
