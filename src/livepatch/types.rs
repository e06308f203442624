// SPDX-License-Identifier: GPL-2.0-only
//! Whether a livepatch's declarations agree with the kernel (S9): by the debugging information of both, by their BTF,
//! and if there is neither, by the type of a symbol and how it is used.

use std::collections::{BTreeMap, HashSet};

use crate::debuginfo::btf::Types;
use crate::debuginfo::prototype::Declaration;
use crate::elf::SymbolKind;
use crate::elf::debugging::{DebugFacts, DebugQuery};
use crate::elf::image::{Home, Image};
use crate::kernel::sources::{KernelDefinition, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::code::Use;
use crate::livepatch::names::AnnotatedName;
use crate::livepatch::patch::PatchedFunction;
use crate::livepatch::record;
use crate::livepatch::rules::Rule::S9;
use crate::livepatch::subject::{Doubt, Referred, Subject};
use crate::livepatch::testimony;
use crate::livepatch::usage::Usage;

/// A declaration in the livepatch.
struct Own {
    /// Its symbol, raw.
    symbol: Vec<u8>,
    /// Its name in C.
    name: String,
    declaration: Declaration,
    /// File and line, in parentheses; empty if nothing tells.
    place: String,
}

/// Checks that a new function takes and returns what the old one does: `told` is what the kernel says of each
/// replaced function.
pub fn signatures(subject: &Subject<'_>, sources: &Sources, told: &[DebugFacts], doubts: &mut Vec<Doubt>) {
    if told.iter().all(|told| told.declaration.is_none()) {
        return;
    }
    let news: Vec<(String, DebugQuery)> =
        subject.replaced.iter().map(|replaced| new_function(subject.image, replaced.function)).collect();
    let targets: Vec<DebugQuery> = news.iter().map(|(_, target)| target.clone()).collect();
    let own = subject.image.debug_facts(&targets).into_iter().map(|told| told.declaration);
    let mut own: Vec<Option<Declaration>> = own.collect();
    // If there is more than BTF, and it says nothing of them, they are written in assembler.
    let names = [&b".debug_info"[..], b".zdebug_info"];
    let has_more = names.iter().any(|name| subject.image.section_named(name).is_some())
        && subject.image.fault_of_packing().is_none();
    if own.iter().all(Option::is_none)
        && !has_more
        && let Some(types) = types_of(subject.image, sources)
    {
        let defined = |name: &str| types.defined(name).ok()?.filter(testimony::is_told);
        own = news.iter().map(|(name, _)| defined(name)).collect();
    }
    for (((replaced, told), own), (name, _)) in subject.replaced.iter().zip(told).zip(own).zip(news) {
        let (Some(new), Some(old)) = (own, &told.declaration) else { continue };
        if !new.agrees_with(old) {
            let old_name = String::from_utf8_lossy(&replaced.function.old_name).into_owned();
            doubts.push(Doubt {
                rule: S9,
                is_error: false,
                place: replaced.place(),
                message: format!(
                    "the new function is `{}`, the old one `{}`",
                    new.shown(&name),
                    old.shown(&old_name)
                ),
                advice: "let the new function take and return what the old one does".to_owned(),
            });
        }
    }
}

/// Reports debugging information that cannot be read, so that nothing is compared.
pub fn unreadable(subject: &Subject<'_>, doubts: &mut Vec<Doubt>) {
    let fault = subject.image.fault_of_packing();
    doubts.extend(fault.map(|(section, fault)| Doubt {
        rule: S9,
        is_error: false,
        place: format!("section {section}"),
        message: format!("it cannot be unpacked: {fault}; what it tells of types and lines is not known"),
        advice: "build the livepatch again".to_owned(),
    }));
}

/// Checks that declarations agree with the kernel: `told` is what the kernel says of each symbol referred to.
pub fn declarations(subject: &Subject<'_>, sources: &Sources, told: &[DebugFacts], doubts: &mut Vec<Doubt>) {
    let by_symbol: BTreeMap<&str, (&Referred, &Declaration)> = (subject.referred.iter().zip(told))
        .filter_map(|(one, told)| Some((one, told.declaration.as_ref()?)))
        .map(|(one, declaration)| (one.shown.as_str(), (one, declaration)))
        .collect();
    if by_symbol.is_empty() {
        return;
    }
    for own in declared(subject, sources) {
        let annotated = AnnotatedName::parse(&own.symbol).map(|annotated| annotated.symbol.to_string());
        let name = meant(&own.symbol);
        let said = by_symbol.iter().filter(|(shown, (one, _))| match &annotated {
            Some(annotated) => annotated == *shown,
            None => one.name == name,
        });
        for (shown, (one, kernels)) in said.filter(|(_, (_, kernels))| !own.declaration.agrees_with(kernels))
        {
            let misused = misuse(one.known, subject.usages(one.index));
            let misused = misused.map(|(usage, what)| format!("; {what}, in {}", subject.place(usage)));
            doubts.push(Doubt {
                rule: S9,
                is_error: misused.is_some(),
                place: (*shown).to_owned(),
                message: format!(
                    "it is declared as `{}`{}, but {} has `{}`{}",
                    own.declaration.shown(&own.name),
                    own.place,
                    one.known.object,
                    kernels.shown(&String::from_utf8_lossy(&one.name)),
                    misused.unwrap_or_default()
                ),
                advice: "declare it as it is".to_owned(),
            });
        }
    }
}

/// Checks that functions are called and variables read, whatever they are declared as.
pub fn uses(subject: &Subject<'_>, doubts: &mut Vec<Doubt>) {
    for one in &subject.referred {
        let is_told = doubts.iter().any(|doubt| doubt.is_error && doubt.place == one.shown);
        if let Some((usage, what)) = misuse(one.known, subject.usages(one.index)).filter(|_| !is_told) {
            doubts.push(Doubt {
                rule: S9,
                is_error: true,
                place: one.shown.clone(),
                message: format!("{what}, in {}", subject.place(usage)),
                advice: "declare it as what it is".to_owned(),
            });
        }
    }
}

/// The first reference that uses a symbol in a way that its type does not allow, and what it does.
pub fn misuse<'a>(known: &KernelDefinition, usages: &'a [Usage]) -> Option<(&'a Usage, &'static str)> {
    let definition = known.definition.as_ref()?;
    let is_per_cpu = definition.section.as_deref().is_some_and(|name| name.starts_with(".data..percpu"));
    let (is_wrong, what): (fn(&Use) -> bool, _) = match definition.kind? {
        SymbolKind::Function => (
            |what| matches!(what, Use::Accessed { .. }),
            "it is a function, but read or written as a variable",
        ),
        SymbolKind::Object if is_per_cpu => (
            |what| matches!(what, Use::Called | Use::Accessed { is_relative: false }),
            "it is per-CPU data, but used like a variable that is there once",
        ),
        SymbolKind::Object => (|what| *what == Use::Called, "it is a variable, but called as a function"),
        _ => return None,
    };
    usages.iter().find(|usage| is_wrong(&usage.what)).map(|usage| (usage, what))
}

/// The livepatch's declarations of the symbols that it refers to.
fn declared(subject: &Subject<'_>, sources: &Sources) -> Vec<Own> {
    let names: HashSet<&[u8]> = subject.referred.iter().map(|one| one.name.as_slice()).collect();
    let is_wanted = |symbol: &[u8]| names.contains(meant(symbol).as_slice());
    let found = subject.image.declared(&is_wanted);
    if !found.is_empty() {
        let own = found.into_iter().map(|own| Own {
            place: format!(" ({}:{})", own.file, own.line),
            symbol: own.symbol,
            name: own.name,
            declaration: own.declaration,
        });
        return own.collect();
    }
    let Some(types) = types_of(subject.image, sources) else { return Vec::new() };
    let own = names.into_iter().filter_map(|symbol| {
        let name = std::str::from_utf8(symbol).ok()?.to_owned();
        let declaration = types.declared(&name).ok()??;
        Some(Own { symbol: symbol.to_vec(), name, declaration, place: String::new() })
    });
    own.collect()
}

/// The BTF of a livepatch; none if it belongs to another vmlinux than the one at hand: with this one, its type
/// numbers would mean other types.
fn types_of(image: &Image, sources: &Sources) -> Option<Types> {
    let is_other = || {
        let differences = record::differences(image, &sources.objects).unwrap_or_default();
        differences.iter().any(|difference| difference.object == VMLINUX && difference.found.is_some())
    };
    image.types(sources.btf.as_deref().filter(|_| !is_other()))
}

/// The name of the symbol that a declaration's symbol means: an annotation may be wrapped around it.
fn meant(symbol: &[u8]) -> Vec<u8> {
    AnnotatedName::parse(symbol).map_or_else(|| symbol.to_vec(), |annotated| annotated.symbol.name)
}

/// The name of a new function, and its section offset.
fn new_function(image: &Image, function: &PatchedFunction) -> (String, DebugQuery) {
    let is_it = |symbol: &&crate::elf::image::Symbol| {
        symbol.home == Home::Section(function.new.section)
            && symbol.value() == function.new.offset
            && symbol.kind() == SymbolKind::Function
    };
    let name = image.symbols.iter().find(is_it).map(|symbol| symbol.name.clone()).unwrap_or_default();
    let section = image.sections.get(function.new.section).map(|section| section.shown());
    let shown = String::from_utf8_lossy(&name).into_owned();
    (shown, DebugQuery { name, section, value: function.new.offset, with_copies: false })
}
