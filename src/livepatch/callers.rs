// SPDX-License-Identifier: GPL-2.0-only
//! Which functions of vmlinux or of a module call given functions of it. A livepatch that would have to replace a
//! compiler's clone replaces the clone's callers instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::elf::SymbolKind;
use crate::elf::definitions;
use crate::elf::definitions::Definition;
use crate::elf::image::{Image, Offset};
use crate::elf::memory;
use crate::kernel::sources::Sources;
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::calls::Calls;
use crate::livepatch::code;

/// The longest jump on x86-64 whose distance has one byte.
const SHORT: u64 = 128;

/// The names of the functions of `object` that call each of `functions`, by the names of these. Callers that are
/// freed after initialisation are left out. A function without a known call is not in the result: it may be called
/// through a pointer.
pub fn of(sources: &Sources, object: &str, functions: &[&Definition]) -> BTreeMap<String, BTreeSet<String>> {
    let found = if object == VMLINUX {
        sources.objects.with_debug_info(VMLINUX).and_then(|vmlinux| in_linked(&vmlinux, functions))
    } else {
        sources.objects.file(object).and_then(|file| in_module(&file, functions))
    };
    let mut by_name: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (callee, caller) in found.unwrap_or_default() {
        // The cold part of a function counts as the function.
        let caller = caller.split(".cold").next().unwrap_or_default().to_owned();
        if caller != callee {
            by_name.entry(callee).or_default().insert(caller);
        }
    }
    by_name
}

/// Callees with their callers, in the code of vmlinux that is not freed.
fn in_linked(vmlinux: &Path, functions: &[&Definition]) -> Option<Vec<(String, String)>> {
    let (start, text) = memory::section_at(vmlinux, ".text").ok()??;
    let all = definitions::find(vmlinux, |_| true).ok()?;
    let by_address: BTreeMap<u64, &Definition> = (functions.iter()).map(|one| (one.value, *one)).collect();
    let targets: BTreeSet<u64> = by_address.keys().copied().collect();
    let callers: BTreeMap<u64, &Definition> = (all.definitions.iter())
        .filter(|one| one.kind == Some(SymbolKind::Function) && one.section.as_deref() == Some(".text"))
        .map(|one| (one.value, one))
        .collect();
    let pair = |(at, target): (u64, u64)| {
        let (_, caller) = callers.range(..=at).next_back()?;
        let is_inside = at < caller.value.saturating_add(caller.size.unwrap_or_default());
        is_inside.then(|| Some((shown(&by_address.get(&target)?.name), shown(&caller.name))))?
    };
    let mut calls = code::calls_to(all.machine, all.is_little_endian(), &text, start, &targets);
    // A short jump has a distance of one byte, which can be recognised only when the whole function is decoded.
    for target in &targets {
        let near = callers.range(..=target.saturating_add(SHORT)).rev().map(|(_, caller)| *caller);
        let end = |caller: &Definition| caller.value.saturating_add(caller.size.unwrap_or_default());
        for caller in near.take_while(|caller| end(caller).saturating_add(SHORT) >= *target) {
            let offset = |address: u64| usize::try_from(address.checked_sub(start)?).ok();
            let range = offset(caller.value).zip(offset(end(caller)));
            let code = range.and_then(|(from, to)| text.get(from..to)).unwrap_or_default();
            let branches = code::branches(all.machine, all.is_little_endian(), code, caller.value);
            calls.extend(branches.into_iter().filter(|(_, to)| to == target));
        }
    }
    Some(calls.into_iter().filter_map(pair).collect())
}

/// Callees with their callers, in a module.
fn in_module(file: &Path, functions: &[&Definition]) -> Option<Vec<(String, String)>> {
    let image = Image::read(file).ok()?;
    let calls = Calls::read(&image);
    let mut found = Vec::new();
    for function in functions {
        let section = function.section.as_deref().and_then(|name| image.section_named(name.as_bytes()));
        let Some((section, _)) = section else { continue };
        let is_init = |caller: &Offset| {
            image.sections.get(caller.section).is_some_and(|section| section.name.starts_with(b".init"))
        };
        let callers = calls.of(Offset { section, offset: function.value }).filter(|caller| !is_init(caller));
        found.extend(callers.map(|caller| (shown(&function.name), calls.name(&image, caller))));
    }
    Some(found)
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
