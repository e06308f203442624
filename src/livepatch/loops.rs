// SPDX-License-Identifier: GPL-2.0-only
//! New functions that call themselves by way of the old one: ftrace leads a call of the replaced function to the new
//! one (R15).

use std::collections::{BTreeMap, HashSet};

use crate::elf::image::{Home, Image, Offset, Symbol, SymbolIndex};
use crate::kernel::sources::Sources;
use crate::livepatch::calls::{Calls, addend_of_calls};
use crate::livepatch::code::Use;
use crate::livepatch::names::KlpSymbol;
use crate::livepatch::patch::Patch;
use crate::livepatch::targets;
use crate::livepatch::usage;
use crate::livepatch::usage::Usage;

/// A new function that calls the function it replaces.
#[derive(Debug)]
pub struct Loop {
    /// The klp_func.
    pub place: String,
    /// The functions of the livepatch that the new one calls on the way there, in that order.
    pub through: Vec<String>,
    /// The call of the old function.
    pub call: Usage,
}

/// The new functions that call the old one, or call functions of the livepatch that do; for each, the shortest chain
/// of calls. Calls through pointers are not followed.
pub fn of(image: &Image, patch: &Patch, sources: &Sources) -> Vec<Loop> {
    let mut found = Vec::new();
    let mut graph = None;
    let mut by_object: BTreeMap<String, BTreeMap<SymbolIndex, (Vec<u8>, u64)>> = BTreeMap::new();
    for (index, symbol) in image.symbols.enumerate() {
        if let Some((object, name, sympos)) = referred(symbol, sources) {
            by_object.entry(object).or_default().insert(index, (name, sympos));
        }
    }
    for object in &patch.objects {
        let names: HashSet<&[u8]> = object.functions.iter().map(|f| f.old_name.as_slice()).collect();
        let mut symbols = by_object.remove(&object.name).unwrap_or_default();
        symbols.retain(|_, (name, _)| names.contains(name.as_slice()));
        if symbols.is_empty() {
            continue;
        }
        let graph = graph.get_or_insert_with(|| Calls::read(image));
        let mut by_function: BTreeMap<(&[u8], u64), BTreeMap<Offset, Usage>> = BTreeMap::new();
        for (index, usages) in usage::usages(image, |symbol| symbols.contains_key(&symbol)) {
            let Some((name, sympos)) = symbols.get(&index) else { continue };
            let is_call = |usage: &&Usage| usage.what == Use::Called && is_to_its_beginning(image, usage);
            for call in usages.iter().filter(is_call) {
                let at = Offset { section: call.section, offset: call.relocation.offset };
                if let Some(caller) = graph.function_at(at) {
                    let calls = by_function.entry((name.as_slice(), (*sympos).max(1))).or_default();
                    calls.entry(caller).or_insert(*call);
                }
            }
        }
        for function in &object.functions {
            let calls = by_function.get(&(function.old_name.as_slice(), function.old_sympos.max(1)));
            let way =
                calls.and_then(|calls| Some((calls, graph.way(function.new, |at| calls.contains_key(&at))?)));
            if let Some((calls, way)) = way
                && let Some(call) = way.last().and_then(|last| calls.get(last))
            {
                let through = way.iter().skip(1).map(|at| graph.name(image, *at)).collect();
                found.push(Loop { place: targets::shown(&object.name, function), through, call: *call });
            }
        }
    }
    found
}

/// The symbol of the kernel that a livepatch symbol or an exported symbol refers to: object, name and position.
fn referred(symbol: &Symbol, sources: &Sources) -> Option<(String, Vec<u8>, u64)> {
    match symbol.home {
        Home::Livepatch => {
            let symbol = KlpSymbol::parse(&symbol.name)?;
            Some((symbol.object, symbol.name, symbol.sympos))
        }
        Home::Undefined => Some((sources.exporter(&symbol.name)?.to_owned(), symbol.name.clone(), 0)),
        _ => None,
    }
}

/// Whether a call goes to the beginning of its symbol: a call to an address behind the ftrace site runs the old
/// function itself.
fn is_to_its_beginning(image: &Image, usage: &Usage) -> bool {
    usage.relocation.addend == addend_of_calls(image.machine())
}
