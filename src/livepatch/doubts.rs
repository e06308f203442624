// SPDX-License-Identifier: GPL-2.0-only
//! Where a livepatch and the kernel mean different things by one name, though every name is there: types that do not
//! agree, code of the old function that stays, pointers that must not be called through.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Result;

use crate::debuginfo::prototype::Declaration;
use crate::elf::Kind;
use crate::elf::image::{Home, Image};
use crate::elf::lines::{Lines, Target, Told};
use crate::kernel::sources::{Found, Known, Sources};
use crate::livepatch::code::Use;
use crate::livepatch::copies;
use crate::livepatch::copies::Elsewhere;
use crate::livepatch::endbr::Sealed;
use crate::livepatch::loops;
use crate::livepatch::names::{Annotated, KlpSymbol};
use crate::livepatch::patch::{Function, Patch};
use crate::livepatch::registered;
use crate::livepatch::rules::Rule;
use crate::livepatch::rules::Rule::{R15, S7, S9, S10, S11};
use crate::livepatch::targets;
use crate::livepatch::testimony;
use crate::livepatch::testimony::Asked;
use crate::livepatch::usage;
use crate::livepatch::usage::Usage;

/// Something that is likely to go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The rule, as in `S9`.
    pub rule: Rule,
    /// Whether it cannot go well.
    pub is_error: bool,
    /// The symbol or klp_func.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// A symbol of the kernel that a livepatch refers to.
struct Referred<'a> {
    /// Its index in the livepatch's symbol table.
    index: usize,
    symbol: KlpSymbol,
    known: &'a Known,
}

/// A function of the kernel that a livepatch replaces.
struct Replaced<'a> {
    object: &'a str,
    function: &'a Function,
    known: &'a Known,
}

/// One livepatch, with what of the kernel it names.
struct Subject<'a> {
    image: &'a Image,
    referred: Vec<Referred<'a>>,
    replaced: Vec<Replaced<'a>>,
}

/// The names that [`of()`] has to be given what is known of.
pub fn names(image: &Image, patch: Option<&Patch>) -> HashSet<Vec<u8>> {
    let functions = patch.iter().flat_map(|patch| &patch.objects).flat_map(|object| &object.functions);
    symbols(image).map(|(_, symbol)| symbol.name).chain(functions.map(|f| f.old_name.clone())).collect()
}

/// The livepatch symbols of a converted livepatch.
fn symbols(image: &Image) -> impl Iterator<Item = (usize, KlpSymbol)> {
    let all = image.symbols.iter().enumerate().filter(|(_, symbol)| symbol.home == Home::Livepatch);
    all.filter(|(_, symbol)| Annotated::parse(&symbol.name).is_none())
        .filter_map(|(index, symbol)| Some((index, KlpSymbol::parse(&symbol.name)?)))
}

/// What is doubtful in each of some converted livepatches, in their order.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn of(
    livepatches: &[(&Image, Option<&Patch>)],
    sources: &Sources,
    found: &Found,
) -> Result<Vec<Vec<Doubt>>> {
    let subjects: Vec<Subject> =
        livepatches.iter().map(|(image, patch)| Subject::of(image, *patch, found)).collect();
    let replaced = || subjects.iter().flat_map(|subject| &subject.replaced);
    let referred = || subjects.iter().flat_map(|subject| &subject.referred);
    let asked: Vec<Asked> = (replaced().map(|one| Asked { known: one.known, with_copies: true }))
        .chain(referred().map(|one| Asked { known: one.known, with_copies: false }))
        .collect();
    let told = testimony::of(sources, &asked);
    let (of_replaced, of_referred) = told.split_at(replaced().count());
    let functions: Vec<&Known> = replaced().map(|one| one.known).collect();
    let elsewhere = copies::elsewhere(sources, &functions, of_replaced)?;
    let sealed = Sealed::read(sources, referred().map(|one| one.known.object.as_str()));
    let (mut of_replaced, mut of_referred) = (of_replaced, of_referred);
    let mut elsewhere = elsewhere.as_slice();
    let mut all = Vec::new();
    for (subject, (image, patch)) in subjects.iter().zip(livepatches) {
        let mut doubts = Vec::new();
        if let Some(patch) = patch {
            doubts.extend(of_patch(image, patch, sources, found)?);
        }
        let own = take(&mut of_replaced, subject.replaced.len());
        subject.copies(take(&mut elsewhere, subject.replaced.len()), &mut doubts);
        subject.signatures(own, &mut doubts);
        subject.declarations(take(&mut of_referred, subject.referred.len()), &mut doubts);
        subject.uses(&sealed, sources.has_cfi, &mut doubts);
        all.push(doubts);
    }
    Ok(all)
}

/// S7: what the kernel would not replace; R15: what is forgotten, and what would come back to itself.
fn of_patch(image: &Image, patch: &Patch, sources: &Sources, found: &Found) -> Result<Vec<Doubt>> {
    let refused = targets::refused(patch, sources, found)?.into_iter().map(|refused| Doubt {
        rule: S7,
        is_error: !refused.is_absent,
        place: refused.place,
        message: refused.message,
        advice: refused.advice,
    });
    let lines = LazyCell::new(|| image.lines());
    let loops = loops::of(image, patch, sources).into_iter().map(|found| Doubt {
        rule: R15,
        is_error: false,
        message: format!(
            "the new function calls {}the one that it replaces, in {}: ftrace leads that call to the new function again, \
             and so on until one does not call",
            found.through.iter().map(|name| format!("{name}, which calls ")).collect::<String>(),
            place(image, &found.call, lines.as_ref())
        ),
        place: found.place,
        advice: "copy what the old function does into the new one".to_owned(),
    });
    let forgotten = registered::forgotten(image, patch).into_iter().map(|name| Doubt {
        rule: R15,
        is_error: false,
        place: format!("klp_patch {name}").trim_end().to_owned(),
        message: "no code that runs by itself passes it to klp_enable_patch: the livepatch loads, and nothing of this is applied"
            .to_owned(),
        advice: format!("call klp_enable_patch(&{}) in the init function", if name.is_empty() { "patch" } else { &name }),
    });
    let warnings =
        patch.faults(image, usize::MAX).into_iter().filter(|fault| fault.is_warning).map(|fault| Doubt {
            rule: fault.rule,
            is_error: false,
            place: fault.place,
            message: fault.message,
            advice: "change the source".to_owned(),
        });
    Ok(refused.chain(warnings).chain(forgotten).chain(loops).collect())
}

fn take<'a, T>(rest: &mut &'a [T], count: usize) -> &'a [T] {
    let (first, after) = rest.split_at(count.min(rest.len()));
    *rest = after;
    first
}

impl<'a> Subject<'a> {
    fn of(image: &'a Image, patch: Option<&'a Patch>, found: &'a Found) -> Subject<'a> {
        let referred = symbols(image).filter_map(|(index, symbol)| {
            let known = found.at(&symbol.object, &symbol.name, symbol.sympos)?;
            Some(Referred { index, symbol, known })
        });
        let replaced = patch.iter().flat_map(|patch| &patch.objects).flat_map(|object| {
            object.functions.iter().filter_map(|function| {
                let known = found.at(&object.name, &function.old_name, function.old_sympos)?;
                Some(Replaced { object: &object.name, function, known })
            })
        });
        Subject { image, referred: referred.collect(), replaced: replaced.collect() }
    }

    /// S10: what is left of an old function.
    fn copies(&self, elsewhere: &[Elsewhere], doubts: &mut Vec<Doubt>) {
        for (replaced, elsewhere) in self.replaced.iter().zip(elsewhere) {
            let is_replaced = |name: &str| {
                let mut own = self.replaced.iter().filter(|other| other.object == replaced.object);
                own.any(|other| other.function.old_name == name.as_bytes())
            };
            if let Some((message, advice)) = elsewhere.without(is_replaced).told() {
                doubts.push(Doubt {
                    rule: S10,
                    is_error: false,
                    place: replaced.place(),
                    message: format!("not all of its code is replaced: {message}"),
                    advice,
                });
            }
        }
    }

    /// S9: a new function takes and returns what the old one does.
    fn signatures(&self, told: &[Told], doubts: &mut Vec<Doubt>) {
        let news: Vec<(String, Target)> =
            self.replaced.iter().map(|replaced| new_function(self.image, replaced.function)).collect();
        if told.iter().all(|told| told.declaration.is_none()) {
            return;
        }
        let targets: Vec<Target> = news.iter().map(|(_, target)| target.clone()).collect();
        let own = self.image.tell(&targets);
        for (((replaced, told), own), (name, _)) in self.replaced.iter().zip(told).zip(own).zip(news) {
            let (Some(new), Some(old)) = (own.declaration, &told.declaration) else { continue };
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

    /// S9: what is declared is what the kernel has.
    fn declarations(&self, told: &[Told], doubts: &mut Vec<Doubt>) {
        let by_symbol: BTreeMap<String, (&Referred, &Declaration)> = (self.referred.iter().zip(told))
            .filter_map(|(one, told)| Some((one, told.declaration.as_ref()?)))
            .map(|(one, declaration)| (one.symbol.to_string(), (one, declaration)))
            .collect();
        if by_symbol.is_empty() {
            return;
        }
        let names: HashSet<&[u8]> = self.referred.iter().map(|one| one.symbol.name.as_slice()).collect();
        let is_wanted = |symbol: &[u8]| names.contains(meant(symbol).as_slice());
        let usages = self.usages();
        let lines = LazyCell::new(|| self.image.lines());
        for own in self.image.declared(&is_wanted) {
            let annotated = Annotated::parse(&own.symbol).map(|annotated| annotated.symbol.to_string());
            let name = meant(&own.symbol);
            let said = by_symbol.iter().filter(|(shown, (one, _))| match &annotated {
                Some(annotated) => annotated == *shown,
                None => one.symbol.name == name,
            });
            for (shown, (one, kernels)) in
                said.filter(|(_, (_, kernels))| !own.declaration.agrees_with(kernels))
            {
                let misuse = usages.get(&one.index).and_then(|usages| misuse(one.known, usages));
                let misused =
                    misuse.map(|(usage, what)| format!("; {what}, in {}", self.place(usage, lines.as_ref())));
                doubts.push(Doubt {
                    rule: S9,
                    is_error: misused.is_some(),
                    place: shown.clone(),
                    message: format!(
                        "it is declared as `{}` ({}:{}), but {} has `{}`{}",
                        own.declaration.shown(&own.name),
                        own.file,
                        own.line,
                        one.symbol.object,
                        kernels.shown(&String::from_utf8_lossy(&one.symbol.name)),
                        misused.unwrap_or_default()
                    ),
                    advice: "declare it as it is".to_owned(),
                });
            }
        }
    }

    fn usages(&self) -> BTreeMap<usize, Vec<Usage>> {
        let indices: BTreeSet<usize> = self.referred.iter().map(|one| one.index).collect();
        usage::usages(self.image, |symbol| indices.contains(&symbol))
    }

    /// S9: functions are called and variables read; S11: no pointer leads to what is only called directly.
    fn uses(&self, sealed: &Sealed, has_cfi: bool, doubts: &mut Vec<Doubt>) {
        let usages = self.usages();
        let lines = LazyCell::new(|| self.image.lines());
        for one in &self.referred {
            let usages = usages.get(&one.index).map(Vec::as_slice).unwrap_or_default();
            let Some(definition) = &one.known.definition else { continue };
            let shown = one.symbol.to_string();
            let is_told = doubts.iter().any(|doubt| doubt.is_error && doubt.place == shown);
            if let Some((usage, what)) = misuse(one.known, usages).filter(|_| !is_told) {
                doubts.push(Doubt {
                    rule: S9,
                    is_error: true,
                    place: shown.clone(),
                    message: format!("{what}, in {}", self.place(usage, lines.as_ref())),
                    advice: "declare it as what it is".to_owned(),
                });
            }
            let taken = usages.iter().find(|usage| usage.what == Use::Taken);
            if let Some(usage) = taken.filter(|_| sealed.has(&one.known.object, definition)) {
                doubts.push(Doubt {
                    rule: S11,
                    is_error: has_cfi,
                    place: shown,
                    message: format!(
                        "its address is taken in {}, but {} only calls it directly, and has sealed it \
                         (.ibt_endbr_seal): {}",
                        self.place(usage, lines.as_ref()),
                        one.symbol.object,
                        if has_cfi {
                            "this kernel checks calls through pointers, and dies of one (CONFIG_CFI)"
                        } else {
                            "a call through a pointer faults where the processor has IBT"
                        }
                    ),
                    advice: "call it directly: let a function of the livepatch stand for it, that calls it"
                        .to_owned(),
                });
            }
        }
    }

    fn place(&self, usage: &Usage, lines: Option<&Lines>) -> String {
        place(self.image, usage, lines)
    }
}

/// The place of a reference, as in `.text+0x1c, foo.c:12`.
pub fn place(image: &Image, usage: &Usage, lines: Option<&Lines>) -> String {
    let section = image.sections.get(usage.section).map(|section| section.shown()).unwrap_or_default();
    let offset = usage.relocation.offset;
    let line = lines.and_then(|lines| lines.at(usage.section, offset));
    format!("{section}+{offset:#x}{}", line.map(|line| format!(" ({line})")).unwrap_or_default())
}

impl Replaced<'_> {
    fn place(&self) -> String {
        targets::shown(self.object, self.function)
    }
}

/// The first reference that does with a symbol what cannot be done with it, and what that is.
pub fn misuse<'a>(known: &Known, usages: &'a [Usage]) -> Option<(&'a Usage, &'static str)> {
    let definition = known.definition.as_ref()?;
    let is_per_cpu = definition.section.as_deref().is_some_and(|name| name.starts_with(".data..percpu"));
    let (is_wrong, what): (fn(&Use) -> bool, _) = match definition.kind? {
        Kind::Function => (
            |what| matches!(what, Use::Accessed { .. }),
            "it is a function, but read or written as a variable",
        ),
        Kind::Object if is_per_cpu => (
            |what| matches!(what, Use::Called | Use::Accessed { is_relative: false }),
            "it is per-CPU data, but used like a variable that is there once",
        ),
        Kind::Object => (|what| *what == Use::Called, "it is a variable, but called as a function"),
        _ => return None,
    };
    usages.iter().find(|usage| is_wrong(&usage.what)).map(|usage| (usage, what))
}

/// The name of the symbol that a declaration's symbol means: an annotation may be wrapped around it.
fn meant(symbol: &[u8]) -> Vec<u8> {
    Annotated::parse(symbol).map_or_else(|| symbol.to_vec(), |annotated| annotated.symbol.name)
}

/// The name of a new function, and where it is.
fn new_function(image: &Image, function: &Function) -> (String, Target) {
    let is_it = |symbol: &&crate::elf::image::Symbol| {
        symbol.home == Home::Section(function.new.section)
            && symbol.value() == function.new.offset
            && symbol.kind() == Kind::Function
    };
    let name = image.symbols.iter().find(is_it).map(|symbol| symbol.name.clone()).unwrap_or_default();
    let section = image.sections.get(function.new.section).map(|section| section.shown());
    let shown = String::from_utf8_lossy(&name).into_owned();
    (shown, Target { name, section, value: function.new.offset, with_copies: false })
}
