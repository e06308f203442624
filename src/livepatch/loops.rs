//! New functions that come back to themselves: a call of the function that is replaced is led to the new one (R15).

use std::collections::BTreeMap;

use crate::elf::image::{Home, Image, Symbol};
use crate::elf::{Kind, Machine};
use crate::kernel::sources::Sources;
use crate::livepatch::code::Use;
use crate::livepatch::names::KlpSymbol;
use crate::livepatch::patch::{Function, Patch};
use crate::livepatch::targets;
use crate::livepatch::usage;
use crate::livepatch::usage::Usage;

/// For each klp_func whose new function calls the old one: the klp_func, and the first such call. What the new function
/// calls in its turn is not looked at.
pub fn of(image: &Image, patch: &Patch, sources: &Sources) -> Vec<(String, Usage)> {
    let mut found = Vec::new();
    for object in &patch.objects {
        let is_named =
            |name: &[u8]| object.functions.iter().any(|function| function.old_name.as_slice() == name);
        let symbols: BTreeMap<usize, (Vec<u8>, u64)> = (image.symbols.iter().enumerate())
            .filter_map(|(index, symbol)| Some((index, referred(symbol, &object.name, sources)?)))
            .filter(|(_, (name, _))| is_named(name))
            .collect();
        if symbols.is_empty() {
            continue;
        }
        let usages = usage::usages(image, |symbol| symbols.contains_key(&symbol));
        for function in &object.functions {
            let size = size(image, function);
            let is_inside = |usage: &&Usage| {
                let offset = usage.relocation.offset.checked_sub(function.new.offset);
                usage.section == function.new.section && offset.is_some_and(|offset| offset < size)
            };
            let is_it = |index: &usize| {
                symbols.get(index).is_some_and(|(name, sympos)| {
                    *name == function.old_name && (*sympos).max(1) == function.old_sympos.max(1)
                })
            };
            let calls = usages.iter().filter(|(index, _)| is_it(index)).flat_map(|(_, usages)| usages);
            let is_call = |usage: &&Usage| usage.what == Use::Called && is_to_its_beginning(image, usage);
            if let Some(call) = calls.filter(is_call).find(is_inside) {
                found.push((targets::shown(&object.name, function), *call));
            }
        }
    }
    found
}

/// What a symbol refers to in `object`, with its position: as a livepatch symbol, or as an export.
fn referred(symbol: &Symbol, object: &str, sources: &Sources) -> Option<(Vec<u8>, u64)> {
    match symbol.home {
        Home::Livepatch => {
            let symbol = KlpSymbol::parse(&symbol.name).filter(|symbol| symbol.object == object)?;
            Some((symbol.name, symbol.sympos))
        }
        Home::Undefined => (sources.exporter(&symbol.name) == Some(object)).then(|| (symbol.name.clone(), 0)),
        _ => None,
    }
}

/// Whether a call goes to the beginning of its symbol: behind ftrace's place, it comes to the old function itself.
fn is_to_its_beginning(image: &Image, usage: &Usage) -> bool {
    // From the end of the field on x86-64, from the instruction on s390x.
    let addend = match image.machine() {
        Machine::X86_64 => -4,
        Machine::S390 => 2,
        _ => 0,
    };
    usage.relocation.addend == addend
}

/// The size of a new function, in bytes.
fn size(image: &Image, function: &Function) -> u64 {
    let is_it = |symbol: &&Symbol| {
        symbol.home == Home::Section(function.new.section)
            && symbol.value() == function.new.offset
            && symbol.kind() == Kind::Function
    };
    image.symbols.iter().find(is_it).map_or(0, Symbol::size)
}
