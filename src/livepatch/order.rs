// SPDX-License-Identifier: GPL-2.0-only
//! Which modules have to be loaded before a livepatch, or before another module: those whose symbols it refers to.
//!
//! The kernel writes a relocation section as soon as both the livepatch and the section's object are loaded. By then,
//! each owner of a symbol in it has to be loaded, or the kernel refuses to load the later of the two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::elf::image::{Image, Relocation};
use crate::elf::memory;
use crate::elf::modinfo::Modinfo;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Objects;
use crate::livepatch::names::{KlpSymbol, parse_section_name};

/// A module that has to be loaded before something else, and must stay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadBefore {
    /// The module before the livepatch.
    First(String),
    /// The first module before the second one.
    Before(String, String),
    /// Several modules before the livepatch, because they form a circle: the new code for each uses symbols of the
    /// next, so the module that is loaded last could not be loaded.
    Together(Vec<String>),
}

impl LoadBefore {
    /// The modules that have to be loaded first.
    pub fn owners(&self) -> &[String] {
        match self {
            LoadBefore::First(owner) | LoadBefore::Before(owner, _) => std::slice::from_ref(owner),
            LoadBefore::Together(owners) => owners,
        }
    }

    /// Whether they have to be loaded before the livepatch.
    pub fn is_first(&self) -> bool {
        !matches!(self, LoadBefore::Before(..))
    }
}

/// The sentence for it.
impl fmt::Display for LoadBefore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STAY: &str = "nothing keeps it from being unloaded";
        match self {
            LoadBefore::First(owner) => {
                write!(
                    f,
                    "{owner} has to be loaded before this livepatch, which uses its symbols, and has to stay: {STAY}"
                )
            }
            LoadBefore::Before(owner, object) => write!(
                f,
                "{owner} has to be loaded before {object}, whose new code uses its symbols, and has to stay: {STAY}"
            ),
            LoadBefore::Together(owners) => write!(
                f,
                "{} have to be loaded before this livepatch, whose new code for each uses symbols of another one, and \
                 have to stay: nothing keeps them from being unloaded",
                owners.join(" and ")
            ),
        }
    }
}

/// The needs of a converted livepatch.
pub fn of(image: &Image) -> BTreeSet<LoadBefore> {
    let sections = image.relocated().filter(|(_, section, _)| section.is_livepatch_rela());
    let uses = sections.filter_map(|(_, section, _)| Some((parse_section_name(&section.name)?.0, section)));
    let owner = |entry: &Relocation| Some(KlpSymbol::parse(&image.symbols.get(entry.symbol)?.name)?.object);
    needs(
        &uses
            .flat_map(|(object, section)| section.relocations.iter().map(move |entry| (object, entry)))
            .filter_map(|(object, entry)| Some((owner(entry)?, object.to_owned())))
            .collect(),
        None,
    )
}

/// The needs that follow from `uses`: pairs of a symbol's owner and the object for which it is used (vmlinux's
/// sections are written when the livepatch is loaded). vmlinux, and the object itself, need not be loaded first, nor what
/// an object depends on by itself, as its file in `objects` says: the kernel keeps that as long as the object is there.
pub fn needs(uses: &BTreeSet<(String, String)>, objects: Option<&Objects>) -> BTreeSet<LoadBefore> {
    let uses: BTreeSet<(&str, &str)> = (uses.iter())
        .map(|(owner, object)| (owner.as_str(), object.as_str()))
        .filter(|(owner, object)| *owner != VMLINUX && owner != object)
        .filter(|(owner, object)| !objects.is_some_and(|objects| depends(objects, object, owner)))
        .collect();
    let circles = circles(&uses);
    let mut first: BTreeSet<&str> = circles.iter().flatten().copied().collect();
    first.extend(uses.iter().filter(|(_, object)| *object == VMLINUX).map(|(owner, _)| *owner));
    // The owners of symbols in the new code for these modules have to be loaded by then, too.
    loop {
        let more: BTreeSet<&str> =
            uses.iter().filter(|(_, object)| first.contains(object)).map(|(owner, _)| *owner).collect();
        if more.is_subset(&first) {
            break;
        }
        first.extend(more);
    }
    let in_circle = |owner: &str| circles.iter().any(|circle| circle.contains(owner));
    let mut found: BTreeSet<LoadBefore> = first
        .iter()
        .filter(|owner| !in_circle(owner))
        .map(|owner| LoadBefore::First((*owner).to_owned()))
        .collect();
    found.extend(circles.iter().map(|c| LoadBefore::Together(c.iter().map(|o| (*o).to_owned()).collect())));
    let later = uses.iter().filter(|(owner, _)| !first.contains(owner));
    found.extend(later.map(|(owner, object)| LoadBefore::Before((*owner).to_owned(), (*object).to_owned())));
    found
}

/// Whether the module `object` depends on `owner`, directly or through others (`depends=`, which modpost writes).
fn depends(objects: &Objects, object: &str, owner: &str) -> bool {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut waiting = vec![object.to_owned()];
    while let Some(module) = waiting.pop() {
        let section =
            objects.file(&module).and_then(|file| memory::section(&file, ".modinfo").ok().flatten());
        for name in section.map(|section| Modinfo::of(&section).depends()).unwrap_or_default() {
            if name == owner {
                return true;
            }
            if seen.insert(name.clone()) {
                waiting.push(name);
            }
        }
    }
    false
}

/// The sets of modules that use each other's symbols.
fn circles<'a>(uses: &BTreeSet<(&'a str, &'a str)>) -> BTreeSet<BTreeSet<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.iter().map(|(owner, _)| (*owner, reached_from(owner, uses))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|reached| reached.contains(to));
    let in_circles = reached.keys().filter(|owner| reaches(owner, owner));
    in_circles
        .map(|owner| {
            reached.keys().copied().filter(|other| reaches(owner, other) && reaches(other, owner)).collect()
        })
        .collect()
}

fn reached_from<'a>(start: &str, uses: &BTreeSet<(&'a str, &'a str)>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut queue = vec![start];
    while let Some(owner) = queue.pop() {
        for (_, object) in uses.iter().filter(|(other, _)| *other == owner) {
            if found.insert(*object) {
                queue.push(object);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows from uses that are written `owner>object`.
    fn of(uses: &[&str]) -> Vec<LoadBefore> {
        let pair = |text: &&str| text.split_once('>').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        needs(&uses.iter().map(pair).collect(), None).into_iter().collect()
    }

    fn before(owner: &str, object: &str) -> LoadBefore {
        LoadBefore::Before(owner.to_owned(), object.to_owned())
    }

    fn first(owner: &str) -> LoadBefore {
        LoadBefore::First(owner.to_owned())
    }

    #[test]
    fn what_is_used_comes_before_what_uses_it() {
        assert_eq!(of(&["vmlinux>a", "a>a", "vmlinux>vmlinux"]), []);
        assert_eq!(of(&["b>a", "c>a"]), [before("b", "a"), before("c", "a")]);
        assert_eq!(of(&["b>vmlinux", "b>a"]), [first("b")], "it is there before a in any case");
        assert_eq!(
            of(&["b>vmlinux", "c>b"]),
            [first("b"), first("c")],
            "b is patched as soon as the livepatch is there"
        );
    }

    #[test]
    fn what_uses_each_other_has_to_be_there_first() {
        let together =
            |owners: &[&str]| LoadBefore::Together(owners.iter().map(|o| (*o).to_owned()).collect());
        assert_eq!(of(&["a>b", "b>a"]), [together(&["a", "b"])]);
        assert_eq!(
            of(&["a>b", "b>c", "c>a", "d>e", "e>d"]),
            [together(&["a", "b", "c"]), together(&["d", "e"])]
        );
        assert_eq!(of(&["a>b", "b>a", "c>a", "a>d"]), [first("c"), together(&["a", "b"])]);
    }
}
