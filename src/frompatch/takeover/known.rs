// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel's code tells of a unit that was compiled again: which of its functions and variables have a usable
//! name.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::extract::source_name;
use crate::frompatch::assembler::{Listing, base};
use crate::frompatch::run_pre::{FunctionFate, Located, Matched};
use crate::frompatch::takeover::needed::UnitInKernel;
use crate::frompatch::takeover::rewritten::KernelVariable;
use crate::livepatch::definition;

/// What is known of a unit of `object`.
pub(super) fn of(listing: &Listing, matched: &Matched, object: &str) -> UnitInKernel {
    let mut known = UnitInKernel::default();
    for function in &matched.functions {
        let is_named = match &function.fate {
            FunctionFate::Equal(located) => can_be_named(located),
            FunctionFate::Overridden(_) => true,
            FunctionFate::Ambiguous(_) => false,
        };
        if is_named {
            known.functions.insert(String::from_utf8_lossy(&function.name).into_owned());
        }
    }
    for (name, _) in listing.data().filter(|(name, _)| base(name) == *name) {
        let located = matched.position(name.as_bytes()).filter(|located| can_be_named(located));
        if let Some(located) = located.filter(|located| located.name == name.as_bytes()) {
            known.data.insert(name.to_owned(), KernelVariable { size: size(located), annotation: None });
        }
    }
    // The compiler's variants of a function count with it.
    let mut statics: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for function in listing.functions() {
        statics.entry(source_name(function)).or_default().extend(listing.data_of(function));
    }
    for (function, names) in statics {
        let mut own = BTreeMap::new();
        for (short, names) in by_base(&names) {
            let [name] = names.as_slice() else { continue };
            let located = matched.position(name.as_bytes()).filter(|located| can_be_named(located));
            own.extend(located.map(|located| {
                let annotation = Some(annotation(object, located));
                (short.to_owned(), KernelVariable { size: size(located), annotation })
            }));
        }
        known.locals.insert(function.to_owned(), own);
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

/// The annotation in a declaration for a symbol whose name is not valid in C (KLP_RELOC_SYMBOL of klp_relocs.h).
fn annotation(object: &str, located: &Located) -> String {
    let name = String::from_utf8_lossy(&located.name);
    let owner = &located.object;
    match located.sympos() {
        Some(sympos) if sympos > 0 => format!("KLP_RELOC_SYMBOL_POS({object}, {owner}, {name}, {sympos})"),
        _ => format!("KLP_RELOC_SYMBOL({object}, {owner}, {name})"),
    }
}
