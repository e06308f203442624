// SPDX-License-Identifier: GPL-2.0-only
//! Differences in what a livepatch and the kernel mean by one name, although every name exists: types that do not
//! agree, code of the old function that stays, pointers that must not be called through.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};

use anyhow::Result;

use crate::elf::image::Image;
use crate::kernel::sources::{KernelDefinition, KernelDefinitions, Sources};
use crate::livepatch::code::Use;
use crate::livepatch::copies;
use crate::livepatch::copies::Elsewhere;
use crate::livepatch::endbr::{Sealed, Why};
use crate::livepatch::loops;
use crate::livepatch::patch::Patch;
use crate::livepatch::registered;
use crate::livepatch::rules::Rule::{R15, S4, S7, S10, S11};
use crate::livepatch::subject::{Doubt, Subject, left_to_exports, place, symbols};
use crate::livepatch::targets;
use crate::livepatch::testimony;
use crate::livepatch::testimony::DebugQuestion;
use crate::livepatch::types;

/// The names, with their objects, whose definitions [`of()`] needs.
pub fn names(image: &Image, patch: Option<&Patch>) -> HashSet<(Vec<u8>, Option<String>)> {
    let objects = patch.iter().flat_map(|patch| &patch.objects);
    let functions = objects.flat_map(|object| {
        object.functions.iter().map(|function| (function.old_name.clone(), Some(object.name.clone())))
    });
    symbols(image).map(|(_, symbol)| (symbol.name, Some(symbol.object))).chain(functions).collect()
}

/// The doubts about each of some converted livepatches, in their order.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn of(
    livepatches: &[(&Image, Option<&Patch>)],
    sources: &Sources,
    found: &KernelDefinitions,
) -> Result<Vec<Vec<Doubt>>> {
    let exported: HashSet<&[u8]> =
        livepatches.iter().flat_map(|(image, _)| left_to_exports(image)).map(|(_, name)| name).collect();
    let exported: HashMap<Vec<u8>, KernelDefinition> = sources.exported(&exported)?;
    let subjects: Vec<Subject> =
        livepatches.iter().map(|(image, patch)| Subject::of(image, *patch, found, &exported)).collect();
    let replaced = || subjects.iter().flat_map(|subject| &subject.replaced);
    let referred = || subjects.iter().flat_map(|subject| &subject.referred);
    let asked: Vec<DebugQuestion> = (replaced()
        .map(|one| DebugQuestion { known: one.known, with_copies: true }))
    .chain(referred().map(|one| DebugQuestion { known: one.known, with_copies: false }))
    .collect();
    let told = testimony::of(sources, &asked);
    let (of_replaced, of_referred) = told.split_at(replaced().count());
    let functions: Vec<&KernelDefinition> = replaced().map(|one| one.known).collect();
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
        types::unreadable(subject, &mut doubts);
        let own = take(&mut of_replaced, subject.replaced.len());
        copies_left(subject, take(&mut elsewhere, subject.replaced.len()), &mut doubts);
        types::signatures(subject, sources, own, &mut doubts);
        let of_own = take(&mut of_referred, subject.referred.len());
        types::declarations(subject, sources, of_own, &mut doubts);
        types::uses(subject, &mut doubts);
        pointers(subject, &sealed, sources.has_cfi, &mut doubts);
        all.push(doubts);
    }
    Ok(all)
}

/// S7: functions that the kernel would not replace; R15: patches that are never enabled, and new functions that call
/// themselves.
fn of_patch(
    image: &Image,
    patch: &Patch,
    sources: &Sources,
    found: &KernelDefinitions,
) -> Result<Vec<Doubt>> {
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
    let warnings = patch.faults(image, usize::MAX).into_iter().filter_map(|fault| {
        Some(Doubt {
            rule: fault.rule,
            is_error: false,
            advice: fault.warns_to?.to_owned(),
            place: fault.place,
            message: fault.message,
        })
    });
    let sizes = patch.other_sizes.iter().map(|(name, kernel, own)| Doubt {
        rule: S4,
        is_error: true,
        place: format!("struct {name}"),
        message: match own {
            Some(own) => format!("it has {own} bytes in the livepatch, and {kernel} in this kernel"),
            None => format!("it has {kernel} bytes in this kernel, and another size in the livepatch"),
        },
        advice: "build it for this kernel: the configuration is another one".to_owned(),
    });
    Ok(refused.chain(sizes).chain(warnings).chain(forgotten).chain(loops).collect())
}

fn take<'a, T>(rest: &mut &'a [T], count: usize) -> &'a [T] {
    let (first, after) = rest.split_at(count.min(rest.len()));
    *rest = after;
    first
}

/// S10: versions of an old function that stay in use.
fn copies_left(subject: &Subject<'_>, elsewhere: &[Elsewhere], doubts: &mut Vec<Doubt>) {
    for (replaced, elsewhere) in subject.replaced.iter().zip(elsewhere) {
        let is_replaced = |name: &str| {
            let mut own = subject.replaced.iter().filter(|other| other.object == replaced.object);
            own.any(|other| other.function.old_name == name.as_bytes())
        };
        if let Some((message, advice)) = elsewhere.without(is_replaced).left_unpatched() {
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

/// S11: pointers to functions that must only be called directly.
fn pointers(subject: &Subject<'_>, sealed: &Sealed, has_cfi: bool, doubts: &mut Vec<Doubt>) {
    for one in &subject.referred {
        let Some(definition) = &one.known.definition else { continue };
        let taken = subject.usages(one.index).iter().find(|usage| usage.what == Use::Taken);
        let object = &one.known.object;
        if let Some((usage, why)) = taken.zip(sealed.why(object, definition)) {
            doubts.push(Doubt {
                rule: S11,
                is_error: has_cfi,
                place: one.shown.clone(),
                message: format!(
                    "its address is taken in {}, but {object} only calls it directly, and {}: {}",
                    subject.place(usage),
                    match why {
                        Why::Sealed => "has sealed it (.ibt_endbr_seal)",
                        Why::Without => "it does not begin with endbr64",
                    },
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
