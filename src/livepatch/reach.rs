// SPDX-License-Identifier: GPL-2.0-only
//! On behalf of which patched object a reference is used (R2): the one whose new functions reach it.
//!
//! The module is split into functions and variables; bytes that no symbol covers (strings, jump tables) are split
//! where a reference leads to. From each object's new functions and callbacks, references are followed: relocations,
//! and branches inside of a section. Code that the livepatch runs by itself is kept apart: references of its init
//! function have to be written while it is loaded, while its exit function, and what its parameters and exports lead
//! to, may run when an object is not loaded yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::elf::SymbolKind;
use crate::elf::image::Offset;
use crate::elf::image::{Home, Image, Relocation, SectionIndex};
use crate::livepatch::code;
use crate::livepatch::code::Field;
use crate::livepatch::patch::Patch;
use crate::livepatch::special;

/// Where code begins that the livepatch runs by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// In its init function.
    Init,
    /// Anywhere else.
    Rest,
}

/// For each part of a module, the objects whose new functions reach it.
#[derive(Debug)]
pub struct Reach {
    /// The offsets at which parts begin, with what reaches each: the numbers of objects, then one number for the init
    /// function, and one for other code that the livepatch runs by itself.
    parts: BTreeMap<Offset, BTreeSet<usize>>,
    /// How many objects there are.
    count: usize,
}

/// From where some code or data of a livepatch is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// From new functions and callbacks of these objects, by their number in the patch.
    pub objects: BTreeSet<usize>,
    /// From the init function, which runs while the livepatch is loaded.
    pub by_init: bool,
    /// From other code that the livepatch runs by itself: its exit function, parameters' handlers, its exports.
    pub by_itself: bool,
}

impl Reach {
    /// Follows the references in `image` from the functions of `patch`.
    pub fn follow(image: &Image, patch: &Patch) -> Reach {
        let edges = Edges::collect(image);
        let mut parts: BTreeMap<Offset, BTreeSet<usize>> =
            edges.starts.iter().map(|place| (*place, BTreeSet::new())).collect();
        let structures: BTreeSet<Offset> =
            patch.structures.iter().filter_map(|place| edges.part_of(*place)).collect();
        let objects = patch.objects.iter().map(|object| {
            let functions = object.functions.iter().map(|function| function.new);
            functions.chain(object.callbacks.iter().copied()).collect()
        });
        let own = [Own::Init, Own::Rest].map(|own| edges.own_roots(image, own));
        for (number, roots) in objects.chain(own).enumerate() {
            let mut queue: Vec<Offset> = roots.into_iter().filter_map(|place| edges.part_of(place)).collect();
            while let Some(part) = queue.pop() {
                let is_new = parts.get_mut(&part).is_some_and(|reached| reached.insert(number));
                if is_new && !structures.contains(&part) {
                    queue.extend(edges.from.get(&part).into_iter().flatten().copied());
                }
            }
        }
        Reach { parts, count: patch.objects.len() }
    }

    /// From where the code or data at `place` is reached.
    pub fn at(&self, place: Offset) -> Reached {
        let part = self.parts.range(..=place).next_back().filter(|(start, _)| start.section == place.section);
        let numbers = part.map(|(_, numbers)| numbers.clone()).unwrap_or_default();
        Reached {
            by_init: numbers.contains(&self.count),
            by_itself: numbers.contains(&self.count.saturating_add(1)),
            objects: numbers.into_iter().filter(|number| *number < self.count).collect(),
        }
    }
}

struct Edges {
    /// The offsets at which parts begin.
    starts: BTreeSet<Offset>,
    /// By part: the parts that it refers to.
    from: BTreeMap<Offset, BTreeSet<Offset>>,
}

impl Edges {
    fn collect(image: &Image) -> Edges {
        let mut starts = BTreeSet::new();
        let mut covered: BTreeMap<Offset, u64> = BTreeMap::new();
        for (index, section) in image.enumerate() {
            if section.is_alloc() {
                starts.insert(Offset { section: index, offset: 0 });
            }
        }
        for symbol in image.symbols.iter() {
            let Home::Section(section) = symbol.home else { continue };
            let is_part = matches!(symbol.kind(), SymbolKind::Function | SymbolKind::Object);
            if is_part && symbol.size() > 0 {
                let start = Offset { section, offset: symbol.value() };
                let end = symbol.value().saturating_add(symbol.size());
                starts.extend([start, Offset { section, offset: end }]);
                let covers = covered.entry(start).or_default();
                *covers = (*covers).max(end);
            }
        }
        let references = references(image, &starts);
        // Between symbols, the target of a reference begins a part of its own.
        for (_, to) in &references {
            let inside = covered.range(..=*to).next_back();
            if !inside.is_some_and(|(start, end)| start.section == to.section && to.offset < *end) {
                starts.insert(*to);
            }
        }
        let mut edges = Edges { starts, from: BTreeMap::new() };
        for (from, to) in references {
            if let (Some(from), Some(to)) = (edges.part_of(from), edges.part_of(to)) {
                edges.from.entry(from).or_default().insert(to);
            }
        }
        edges
    }

    /// The parts of those sections that the kernel, or another module, reaches without calling a new function.
    fn own_roots(&self, image: &Image, own: Own) -> Vec<Offset> {
        let of_init = own == Own::Init;
        let is_own = |place: &&Offset| {
            let section = image.sections.get(place.section);
            section.is_some_and(|s| special::is_root(&s.name) && special::is_early_root(&s.name) == of_init)
        };
        let init = image.symbols.iter().filter(|symbol| of_init && symbol.name == b"init_module");
        let init = init.filter_map(|symbol| match symbol.home {
            Home::Section(section) => Some(Offset { section, offset: symbol.value() }),
            _ => None,
        });
        self.starts.iter().filter(is_own).copied().chain(init).collect()
    }

    fn part_of(&self, place: Offset) -> Option<Offset> {
        self.starts.range(..=place).next_back().filter(|start| start.section == place.section).copied()
    }
}

/// What decoding the code shows, beyond relocations.
#[derive(Default)]
struct Decoded {
    /// References, from offset to offset.
    references: Vec<(Offset, Offset)>,
    /// By relocated field: the distance from which its value counts.
    distances: BTreeMap<Offset, i64>,
    /// Fields that hold the address of an array, to which an index is added.
    indexed: BTreeSet<Offset>,
}

impl Decoded {
    /// Reads each byte of code once, function by function.
    fn read(image: &Image) -> Decoded {
        let mut functions: BTreeMap<SectionIndex, BTreeSet<(u64, u64)>> = BTreeMap::new();
        for symbol in image.symbols.iter().filter(|s| s.kind() == SymbolKind::Function && s.size() > 0) {
            if let Home::Section(section) = symbol.home {
                let end = symbol.value().saturating_add(symbol.size());
                functions.entry(section).or_default().insert((symbol.value(), end));
            }
        }
        let relocated: BTreeSet<Offset> = (image.relocated())
            .flat_map(|(_, entries, section)| entries.relocations.iter().map(move |r| (section, r.offset)))
            .map(|(section, offset)| Offset { section, offset })
            .collect();
        let mut decoded = Decoded::default();
        for (section, functions) in functions {
            let Some(bytes) = image.sections.get(section).filter(|s| s.is_alloc() && s.is_code()) else {
                continue;
            };
            let mut done = 0;
            for (start, end) in functions {
                let start = start.max(done);
                let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
                let Some(code) = range.and_then(|(start, end)| bytes.data.get(start..end)) else { continue };
                done = end;
                let from = Offset { section, offset: start };
                for field in code::fields(image.machine(), image.is_little_endian(), code, start) {
                    let is_relocated = relocated.contains(&Offset { section, offset: field.offset });
                    decoded.add(from, end, bytes.size(), field, is_relocated);
                }
            }
        }
        decoded
    }

    /// Adds a field of the function from `from` to `end`, in a section of `size` bytes. The contents of a relocated
    /// field are not its target: a call at the end of a function would seem to lead to the next function.
    fn add(&mut self, from: Offset, end: u64, size: u64, field: Field, is_relocated: bool) {
        let place = |offset: u64| Offset { offset, ..from };
        match field.distance {
            Some(distance) => drop(self.distances.insert(place(field.offset), distance)),
            None => drop(self.indexed.insert(place(field.offset))),
        }
        let outside = field.target.filter(|to| !(from.offset..end).contains(to) && *to < size);
        if let (Some(to), false) = (outside, is_relocated) {
            self.references.push((from, place(to)));
        }
    }
}

/// All references inside the module, from offset to offset.
fn references(image: &Image, starts: &BTreeSet<Offset>) -> Vec<(Offset, Offset)> {
    let Decoded { references: mut found, distances, indexed } = Decoded::read(image);
    for (_, entries, section) in image.relocated() {
        let Some(from) = image.sections.get(section).filter(|section| section.is_alloc()) else { continue };
        // Tables that describe code do not call it.
        if special::is_metadata(&from.name) {
            continue;
        }
        for relocation in &entries.relocations {
            let place = Offset { section, offset: relocation.offset };
            let exact = distances.get(&place).copied();
            if let Some(to) = destination(image, relocation, from.is_code(), exact, starts) {
                found.push((place, to));
                // An address to which an index is added may lie before its array: the part after it may be meant.
                let next = starts.range(to..).find(|next| **next > to && next.section == to.section);
                found.extend(next.filter(|_| indexed.contains(&place)).map(|next| (place, *next)));
            }
        }
    }
    found
}

/// The target of a relocation. If its symbol is a section, the addend of code is off by the distance that the
/// instruction adds: by `exact` bytes, if the instruction could be decoded; otherwise the target is a part that
/// begins at one of the possible offsets.
fn destination(
    image: &Image,
    relocation: &Relocation,
    in_code: bool,
    exact: Option<i64>,
    starts: &BTreeSet<Offset>,
) -> Option<Offset> {
    let symbol = image.symbols.get(relocation.symbol)?;
    let Home::Section(section) = symbol.home else { return None };
    if symbol.kind() != SymbolKind::Section {
        // The addend leads into the symbol, or is off by the instruction's distance.
        return Some(Offset { section, offset: symbol.value() });
    }
    if !in_code {
        return image.target(relocation);
    }
    let at = |bytes: i64| {
        let offset = symbol.value().saturating_add_signed(relocation.addend.checked_add(bytes)?);
        Some(Offset { section, offset })
    };
    let possible = special::distances(image.machine(), relocation.kind);
    match exact {
        Some(exact) if possible.len() > 1 => at(exact),
        _ => {
            let places = possible.iter().filter_map(|&bytes| at(bytes));
            places.into_iter().find(|place| starts.contains(place)).or_else(|| at(*possible.first()?))
        }
    }
}
