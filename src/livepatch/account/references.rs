// SPDX-License-Identifier: GPL-2.0-only
//! The symbols outside of a livepatch that it refers to: livepatch symbols and exported ones, by the function or
//! variable that refers to them.

use std::collections::{BTreeMap, HashMap};

use crate::elf::SymbolKind;
use crate::elf::image::{Home, Image, Offset, Symbol, SymbolIndex};
use crate::kernel::sources::Sources;
use crate::livepatch::account::parts::{OutsideReference, UsePlace};
use crate::livepatch::account::whereabouts::Whereabouts;
use crate::livepatch::code::Use;
use crate::livepatch::names::{self, KlpSymbol};
use crate::livepatch::special;
use crate::livepatch::usage;

/// All references, by the function or variable that they are in; by an empty name if no symbol covers them.
#[derive(Debug, Default)]
pub(super) struct OutsideReferences(BTreeMap<String, Vec<OutsideReference>>);

/// The symbols that are resolved like those of any module, with the object that exports each.
pub(super) fn exported<'a>(
    image: &'a Image,
    sources: &'a Sources,
) -> impl Iterator<Item = (&'a [u8], &'a str)> {
    let undefined = image.symbols.iter().filter(|symbol| symbol.home == Home::Undefined);
    undefined.filter_map(|symbol| Some((symbol.name.as_slice(), sources.exporter(&symbol.name)?)))
}

impl OutsideReferences {
    /// Collects the references from the relocations of sections that are loaded.
    pub(super) fn collect(image: &Image, whereabouts: &Whereabouts<'_>) -> OutsideReferences {
        let is_wanted = |index: SymbolIndex| {
            image.symbols.get(index).is_some_and(|symbol| match symbol.home {
                Home::Livepatch => true,
                Home::Undefined => {
                    !symbol.name.is_empty() && !special::is_left_alone(image.machine(), &symbol.name)
                }
                _ => false,
            })
        };
        let cover = Cover::of(image);
        let written_with = written_with(image);
        let mut all = OutsideReferences::default();
        for (index, usages) in usage::usages(image, is_wanted) {
            let Some(symbol) = image.symbols.get(index) else { continue };
            let mut by_user: BTreeMap<String, Vec<UsePlace>> = BTreeMap::new();
            for usage in usages {
                let at = Offset { section: usage.section, offset: usage.relocation.offset };
                let shown = image.sections.get(at.section).map(|section| section.shown()).unwrap_or_default();
                let section = format!("{shown}+{:#x}", at.offset);
                let (user, place) = match cover.at(at) {
                    Some((symbol, inside)) => (symbol.shown(), format!("{}+{inside:#x}", symbol.shown())),
                    None => (String::new(), section.clone()),
                };
                by_user.entry(user).or_default().push(UsePlace {
                    place,
                    section,
                    relocation: image.relocation_name(usage.relocation.kind),
                    how: match usage.what {
                        Use::Called => "calls it",
                        Use::Accessed { .. } => "reads or writes it",
                        Use::Taken => "takes its address",
                    },
                    written_with: written_with.get(&(at, index)).cloned(),
                    source: whereabouts.line(at),
                });
            }
            for (user, uses) in by_user {
                all.0.entry(user).or_default().push(reference(symbol, uses, whereabouts));
            }
        }
        all
    }

    /// Removes and returns the references of a function and of its seldom run part (`.cold`).
    pub(super) fn take(&mut self, function: &str) -> Vec<OutsideReference> {
        if function.is_empty() {
            return Vec::new();
        }
        let cold = format!("{function}.cold");
        let is_own = |user: &String| {
            user == function
                || user == &cold
                || user.strip_prefix(&cold).is_some_and(|rest| rest.starts_with('.'))
        };
        let own: Vec<String> = self.0.keys().filter(|user| is_own(user)).cloned().collect();
        let found = own.iter().filter_map(|user| self.0.remove(user)).flatten();
        sorted(found)
    }

    /// The references that are left.
    pub(super) fn rest(self) -> Vec<OutsideReference> {
        sorted(self.0.into_values().flatten())
    }
}

/// Merges references to the same symbol, and sorts them: livepatch relocations first.
fn sorted(references: impl Iterator<Item = OutsideReference>) -> Vec<OutsideReference> {
    let mut all: Vec<OutsideReference> = Vec::new();
    for reference in references {
        let is_same = |other: &&mut OutsideReference| {
            (other.kind, &other.name, &other.object, other.sympos)
                == (reference.kind, &reference.name, &reference.object, reference.sympos)
        };
        match all.iter_mut().find(is_same) {
            Some(other) => other.uses.extend(reference.uses),
            None => all.push(reference),
        }
    }
    let rank = |kind: &str| ["livepatch", "unresolved", "exported"].iter().position(|other| *other == kind);
    all.sort_by(|one, other| (rank(one.kind), &one.name).cmp(&(rank(other.kind), &other.name)));
    all
}

fn reference(symbol: &Symbol, uses: Vec<UsePlace>, whereabouts: &Whereabouts<'_>) -> OutsideReference {
    let shown = symbol.shown();
    let plain = |kind, object| OutsideReference {
        kind,
        name: shown.clone(),
        object,
        sympos: None,
        position: None,
        defined: None,
        namesakes: Vec::new(),
        uses: uses.clone(),
    };
    if symbol.home == Home::Livepatch {
        let Some(klp) = KlpSymbol::parse(&symbol.name) else { return plain("unresolved", None) };
        return OutsideReference {
            kind: "livepatch",
            name: String::from_utf8_lossy(&klp.name).into_owned(),
            sympos: Some(klp.sympos),
            position: Some(whereabouts.reason(&klp.object, &klp.name, klp.sympos)),
            defined: whereabouts.meant(&klp.object, &klp.name, klp.sympos),
            namesakes: whereabouts.namesakes(&klp.object, &klp.name, klp.sympos),
            object: Some(klp.object),
            uses,
        };
    }
    match whereabouts.exporter(&symbol.name) {
        Some(owner) => OutsideReference {
            defined: whereabouts.exported(owner, &symbol.name),
            ..plain("exported", Some(owner.to_owned()))
        },
        None if !whereabouts.knows_exports() => plain("exported", None),
        None => plain("unresolved", None),
    }
}

/// For each livepatch relocation, the object at whose loading the kernel writes it.
fn written_with(image: &Image) -> HashMap<(Offset, SymbolIndex), String> {
    let mut all = HashMap::new();
    for (_, entries, target) in image.relocated().filter(|(_, entries, _)| entries.is_livepatch_rela()) {
        let Some((object, _)) = names::parse_section_name(&entries.name) else { continue };
        for relocation in &entries.relocations {
            let at = Offset { section: target, offset: relocation.offset };
            all.insert((at, relocation.symbol), object.to_owned());
        }
    }
    all
}

/// The functions and variables of a livepatch by their section offsets.
struct Cover<'a>(BTreeMap<Offset, &'a Symbol>);

impl<'a> Cover<'a> {
    fn of(image: &'a Image) -> Cover<'a> {
        let mut all: BTreeMap<Offset, &Symbol> = BTreeMap::new();
        for symbol in image.symbols.iter().filter(|symbol| symbol.size() > 0) {
            let (Home::Section(section), SymbolKind::Function | SymbolKind::Object) =
                (symbol.home, symbol.kind())
            else {
                continue;
            };
            let here = all.entry(Offset { section, offset: symbol.value() }).or_insert(symbol);
            if here.size() < symbol.size() {
                *here = symbol;
            }
        }
        Cover(all)
    }

    /// The function or variable that covers a section offset, and the distance from its beginning.
    fn at(&self, place: Offset) -> Option<(&'a Symbol, u64)> {
        let (start, symbol) = self.0.range(..=place).next_back()?;
        let inside = place.offset.checked_sub(start.offset).filter(|inside| *inside < symbol.size())?;
        (start.section == place.section).then_some((*symbol, inside))
    }
}
