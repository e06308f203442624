// SPDX-License-Identifier: GPL-2.0-only
//! The compiler's other versions of a function: clones that it calls instead, and copies inlined into other
//! functions. A livepatch that replaces only the function leaves them unpatched.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::elf::debugging::DebugFacts;
use crate::elf::definitions::Definition;
use crate::kernel::kallsyms;
use crate::kernel::sources::{KernelDefinition, Sources};
use crate::kernel::symbols::list::NameQuery;
use crate::livepatch::callers;
use crate::livepatch::testimony;
use crate::livepatch::testimony::DebugQuestion;

/// How many functions a message names.
const NAMED: usize = 8;

/// The other versions of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Symbols of clones (`name.isra.0`, `name.constprop.0`), each with its callers, if any were found.
    pub clones: BTreeMap<String, BTreeSet<String>>,
    /// Symbols of parts that were split off so that the rest could be inlined (`name.part.0`), each with its callers,
    /// if any were found.
    pub parts: BTreeMap<String, BTreeSet<String>>,
    /// Functions into which it is inlined; none if no debugging information tells.
    pub inlined: Option<BTreeSet<String>>,
}

impl Elsewhere {
    /// The versions that stay in use if the functions for which `patched` is true are patched as well: code that only
    /// these call does not run any more.
    pub fn without(&self, patched: impl Fn(&str) -> bool) -> Elsewhere {
        let rest = |names: &BTreeSet<String>| -> BTreeSet<String> {
            names.iter().filter(|name| !patched(name)).cloned().collect()
        };
        let called = |clones: &BTreeMap<String, BTreeSet<String>>| {
            let left = clones.iter().filter(|(name, _)| !patched(name));
            let left = left.map(|(name, callers)| (name.clone(), callers.is_empty(), rest(callers)));
            let left = left.filter(|(_, is_unknown, callers)| *is_unknown || !callers.is_empty());
            left.map(|(name, _, callers)| (name, callers)).collect()
        };
        Elsewhere {
            clones: called(&self.clones),
            parts: called(&self.parts),
            inlined: self.inlined.as_ref().map(rest),
        }
    }

    /// What a livepatch of the function alone would leave unpatched, and what to do; none if it would leave nothing.
    pub fn left_unpatched(&self) -> Option<(String, String)> {
        let mut left = Vec::new();
        let mut advice = Vec::new();
        let inlined = self.inlined.iter().flatten();
        let names = shown(inlined);
        if !names.is_empty() {
            left.push(format!("it was inlined into {names}"));
            advice.push(format!("patch {names} as well"));
        }
        if !self.clones.is_empty() {
            let names = shown(self.clones.keys());
            let callers = callers(&self.clones);
            let others = callers.as_deref().unwrap_or("others");
            left.push(format!("the compiler made {names} of it, which {others} call in its place"));
            advice.push(match &callers {
                Some(callers) => format!("patch {callers} as well"),
                None => format!("patch the functions that call {names} as well"),
            });
        }
        // If the copies are known, the rest of the function is among them.
        if self.inlined.is_none() && !self.parts.is_empty() {
            let names = shown(self.parts.keys());
            left.push(format!("{names} was split off from it, and the rest may be inlined elsewhere"));
            advice.push(match callers(&self.parts) {
                Some(callers) => format!("patch {callers}, which call that, as well"),
                None => format!("patch the functions that call {names} as well"),
            });
        }
        if left.is_empty() {
            return None;
        }
        Some((left.join("; "), advice.join(", and ")))
    }
}

/// The functions that call some clones, if the callers of each clone are known.
fn callers(clones: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let all: BTreeSet<&String> =
        clones.values().flatten().filter(|name| !clones.contains_key(*name)).collect();
    (!all.is_empty() && clones.values().all(|callers| !callers.is_empty())).then(|| shown(all))
}

fn shown<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED);
    let first = names.get(..names.len() - more).unwrap_or_default().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

/// The other versions of each of `functions`, in that order; `told` is what type information says of each.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn elsewhere(
    sources: &Sources,
    functions: &[&KernelDefinition],
    told: &[DebugFacts],
) -> Result<Vec<Elsewhere>> {
    let names: BTreeSet<&str> = functions.iter().filter_map(|known| name_of(known)).collect();
    if names.is_empty() {
        return Ok(functions.iter().map(|_| Elsewhere::default()).collect());
    }
    let patterns = NameQuery::Patterns(vec![kallsyms::copies_of(names)?]);
    let found = sources.find(&patterns)?;
    let all: Vec<&KernelDefinition> = found.names.values().flatten().collect();
    let mut by_object: BTreeMap<&str, Vec<&KernelDefinition>> = BTreeMap::new();
    for known in all {
        by_object.entry(&known.object).or_default().push(known);
    }
    let empty = DebugFacts::default();
    let told = told.iter().chain(std::iter::repeat(&empty));
    let one = |(known, told): (&&KernelDefinition, &DebugFacts)| {
        let variants = by_object.get(known.object.as_str()).map(Vec::as_slice).unwrap_or_default();
        let mut elsewhere = Elsewhere { inlined: told.copies.clone(), ..Elsewhere::default() };
        for variant in variants.iter().filter(|variant| is_variant(variant, known)) {
            elsewhere.add(variant);
        }
        elsewhere
    };
    let mut all: Vec<Elsewhere> = functions.iter().zip(told).map(one).collect();
    name_callers(sources, functions, &by_object, &mut all);
    Ok(all)
}

/// Adds the callers of the clones of each of `functions`. Each object is searched once, and only if it has clones.
fn name_callers(
    sources: &Sources,
    functions: &[&KernelDefinition],
    variants: &BTreeMap<&str, Vec<&KernelDefinition>>,
    all: &mut [Elsewhere],
) {
    for (object, variants) in variants {
        let own = || functions.iter().enumerate().filter(|(_, known)| known.object == *object);
        let is_told = |variant: &Definition| {
            let name = String::from_utf8_lossy(&variant.name);
            let has = |elsewhere: &Elsewhere| {
                elsewhere.clones.contains_key(&*name) || elsewhere.parts.contains_key(&*name)
            };
            own().any(|(index, _)| all.get(index).is_some_and(has))
        };
        let definitions = variants.iter().filter_map(|variant| variant.definition.as_ref());
        let definitions: Vec<&Definition> = definitions.filter(|variant| is_told(variant)).collect();
        if definitions.is_empty() {
            continue;
        }
        let callers = callers::of(sources, object, &definitions);
        let indices: Vec<(usize, Vec<u8>)> = own()
            .filter_map(|(index, known)| Some((index, known.definition.as_ref()?.name.clone())))
            .collect();
        for (index, of) in indices {
            let Some(elsewhere) = all.get_mut(index) else { continue };
            for clones in [&mut elsewhere.clones, &mut elsewhere.parts] {
                // Code that only the function calls does not run any more once the function is replaced.
                let is_left = |name: &String, found: &mut BTreeSet<String>| {
                    let Some(all) = callers.get(name) else { return true };
                    found.extend(all.iter().filter(|caller| caller.as_bytes() != of).cloned());
                    !found.is_empty()
                };
                clones.retain(is_left);
            }
        }
    }
}

/// The other versions of one function.
///
/// # Errors
/// The errors of [`elsewhere()`].
pub fn of_function(sources: &Sources, known: &KernelDefinition) -> Result<Elsewhere> {
    let told = testimony::of(sources, &[DebugQuestion { known, with_copies: true }]);
    Ok(elsewhere(sources, &[known], &told)?.pop().unwrap_or_default())
}

fn name_of(known: &KernelDefinition) -> Option<&str> {
    std::str::from_utf8(&known.definition.as_ref()?.name).ok()
}

/// Whether a symbol is a version of this very function: for a static function, one of its own source file.
fn is_variant(variant: &KernelDefinition, of: &KernelDefinition) -> bool {
    let (Some(variant), Some(of)) = (&variant.definition, &of.definition) else { return false };
    let is_one_file = variant.file.is_none() || of.file.is_none() || variant.file == of.file;
    variant.name.strip_prefix(of.name.as_slice()).is_some_and(|rest| rest.starts_with(b".")) && is_one_file
}

impl Elsewhere {
    fn add(&mut self, variant: &KernelDefinition) {
        let Some(name) = name_of(variant).filter(|_| !variant.is_init()) else { return };
        // Only the function itself jumps to its cold part, and the linker's suffixes name the function itself.
        let has = |word: &str| name.split('.').skip(1).any(|part| part == word);
        if has("cold") {
            return;
        }
        // A version of a part, as in `name.part.0.isra.0`, counts as that part.
        let first = name.split('.').skip(1).find(|part| ["isra", "constprop", "part"].contains(part));
        match first {
            Some("part") => drop(self.parts.insert(name.to_owned(), BTreeSet::new())),
            Some(_) => drop(self.clones.insert(name.to_owned(), BTreeSet::new())),
            None => {}
        }
    }
}
