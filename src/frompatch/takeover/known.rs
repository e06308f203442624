// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel's code tells of a unit that was compiled again: which of its functions and variables can be named.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::{Listing, base};
use crate::frompatch::run_pre::{Fate, Located, Matched};
use crate::frompatch::takeover::needed::Known;
use crate::frompatch::takeover::rewritten::Variable;
use crate::livepatch::definition;

/// What is known of a unit of `object`, of which `functions` are taken over.
pub(super) fn of(listing: &Listing, matched: &Matched, object: &str, functions: &[&str]) -> Known {
    let mut known = Known::default();
    for function in &matched.functions {
        let is_named = match &function.fate {
            Fate::Equal(located) => can_be_named(located),
            Fate::Overridden(_) => true,
            Fate::Ambiguous(_) => false,
        };
        if is_named {
            known.functions.insert(String::from_utf8_lossy(&function.name).into_owned());
        }
    }
    for (name, _) in listing.data().filter(|(name, _)| base(name) == *name) {
        let located = matched.position(name.as_bytes()).filter(|located| can_be_named(located));
        if let Some(located) = located.filter(|located| located.name == name.as_bytes()) {
            known.data.insert(name.to_owned(), Variable { size: size(located), annotation: None });
        }
    }
    let own: BTreeSet<String> = functions.iter().flat_map(|function| listing.data_of(function)).collect();
    let all: BTreeSet<String> = listing.data().map(|(name, _)| name.to_owned()).collect();
    let (own, mut by_base) = (by_base(&own), by_base(&all));
    // What the functions themselves use counts more than what others of the unit do.
    by_base.extend(own);
    for (short, names) in by_base {
        let [name] = names.as_slice() else { continue };
        if let Some(located) = matched.position(name.as_bytes()).filter(|located| can_be_named(located)) {
            let annotation = annotation(object, located);
            known
                .locals
                .insert(short.to_owned(), Variable { size: size(located), annotation: Some(annotation) });
        }
    }
    known
}

/// Statics of functions, by the names that they have in C.
fn by_base(names: &BTreeSet<String>) -> BTreeMap<&str, Vec<&str>> {
    let mut by_base: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let short = base(name);
        let short = short.rsplit_once('.').map_or(short, |(_, last)| last);
        if short != name {
            by_base.entry(short).or_default().push(name);
        }
    }
    by_base
}

fn can_be_named(located: &Located) -> bool {
    definition::usable(&located.known).is_ok() && located.sympos().is_some()
}

fn size(located: &Located) -> Option<u64> {
    located.known.definition.as_ref().and_then(|definition| definition.size).filter(|size| *size > 0)
}

/// What a declaration says of a symbol that C has no name for (KLP_RELOC_SYMBOL of klp_relocs.h).
fn annotation(object: &str, located: &Located) -> String {
    let name = String::from_utf8_lossy(&located.name);
    let owner = &located.object;
    match located.sympos() {
        Some(sympos) if sympos > 0 => format!("KLP_RELOC_SYMBOL_POS({object}, {owner}, {name}, {sympos})"),
        _ => format!("KLP_RELOC_SYMBOL({object}, {owner}, {name})"),
    }
}
