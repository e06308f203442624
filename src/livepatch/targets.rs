// SPDX-License-Identifier: GPL-2.0-only
//! What a klp_func names in the kernel's objects, and why the kernel cannot replace that (S7).

use anyhow::Result;

use crate::elf::Kind;
use crate::kernel::sources::{Found, Known, Sources, Unusable};
use crate::kernel::suggestions;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::trace::{KnownSites, Sites};
use crate::livepatch::patch::{Function, Patch};
use crate::livepatch::rules::Rule;
use crate::livepatch::rules::Rule::{R2, R9, S1, S3, S5, S8};

/// A klp_func that the kernel refuses.
#[derive(Debug)]
pub struct Refused {
    /// The klp_func.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Whether the function, or its object, is not among what is at hand. There may be another build of it.
    pub is_absent: bool,
}

/// A klp_func by what it names, as in `klp_func vmlinux:cmdline_proc_show,0`.
pub fn shown(object: &str, function: &Function) -> String {
    format!("klp_func {object}:{},{}", String::from_utf8_lossy(&function.old_name), function.old_sympos)
}

/// The definition with a position (S1), or the rule that is broken and how.
///
/// # Errors
/// There is none.
pub fn meant(found: &Found, object: &str, name: &[u8], sympos: u64) -> Result<Known, (Rule, String)> {
    if !found.objects.contains(object) {
        return Err((R2, format!("there is no object {object}")));
    }
    let own: Vec<&Known> = found.of(name).iter().filter(|known| known.object == object).collect();
    let Some(first) = own.first() else { return Err((S1, format!("{object} does not define it"))) };
    let at = |is_it: &dyn Fn(&&&Known) -> bool| own.iter().find(is_it).map_or(*first, |known| *known).clone();
    match sympos {
        0 if first.total > 1 => {
            Err((S1, format!("position 0 means the only one, but {object} has {} of this name", first.total)))
        }
        0 => Ok(at(&|known| known.position.is_some())),
        _ if sympos > first.total => {
            Err((S1, format!("position {sympos} is beyond the {} of this name in {object}", first.total)))
        }
        _ => Ok(at(&|known| known.position == Some(sympos))),
    }
}

/// Why a definition cannot be used: the rule, and what it is.
pub fn unusable(known: &Known) -> Option<(Rule, &'static str)> {
    Some(match known.unusable()? {
        Unusable::Init => (R9, "it is __init: its memory is freed when its object has come up"),
        Unusable::Split => {
            (S5, "its name is both in an init section and elsewhere: which one is found changes")
        }
        Unusable::Dropped => (S3, "kallsyms leaves it out"),
        Unusable::AtZero => (S8, "it is at address 0, which the kernel takes for not found"),
    })
}

/// S7: the functions of `patch` that are not there, not at their position, or cannot be traced.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn refused(patch: &Patch, sources: &Sources, found: &Found) -> Result<Vec<Refused>> {
    let mut sites = KnownSites::of(&sources.objects);
    let mut all = Vec::new();
    for object in &patch.objects {
        for function in &object.functions {
            let known = match meant(found, &object.name, &function.old_name, function.old_sympos) {
                Ok(known) => known,
                Err((_, message)) => {
                    all.push(missing(&object.name, function, message, sources, found));
                    continue;
                }
            };
            if let Some((message, advice)) = fault(&known, sites.in_object(&object.name)?) {
                let (place, advice) = (shown(&object.name, function), advice.to_owned());
                all.push(Refused { place, message, advice, is_absent: false });
            }
        }
    }
    Ok(all)
}

/// A function that is not where it is said to be: not in the object at all, or at none or another position.
fn missing(object: &str, function: &Function, message: String, sources: &Sources, found: &Found) -> Refused {
    let name = String::from_utf8_lossy(&function.old_name);
    let is_nowhere = found.of(&function.old_name).is_empty();
    let hint =
        if is_nowhere { suggestions::hint(&name, sources, &[object.to_owned()]) } else { String::new() };
    let is_absent = found.at(object, &function.old_name, 0).is_none();
    let absent = || {
        let fate = suggestions::fate(
            &name,
            &sources.objects.told_by(object).map(|f| (object.to_owned(), f)).into_iter().collect::<Vec<_>>(),
        );
        format!("{}{fate}", suggestions::absent(object, &name, found))
    };
    Refused {
        place: shown(object, function),
        message: if is_absent { absent() } else { message },
        advice: format!("ask klpbuild lookup for the name and position{hint}"),
        is_absent,
    }
}

/// Why a definition cannot be replaced, and what to do. `sites` are those of its object, if they are known.
fn fault(known: &Known, sites: Option<&Sites>) -> Option<(String, &'static str)> {
    if let Some((_, message)) = unusable(known) {
        return Some((message.to_owned(), "patch another function"));
    }
    let definition = known.definition.as_ref()?;
    if let Some(kind) = definition.kind.filter(|kind| *kind != Kind::Function) {
        return Some((
            format!("it is no function ({})", kind.shown()),
            "ask klpbuild lookup for the position",
        ));
    }
    let is_traced = sites.is_none_or(|sites| sites.has(definition, known.object == VMLINUX));
    (!is_traced).then(|| {
        let what = "ftrace cannot step in there: it does not begin with a call of __fentry__ (notrace, or made without \
                    -pg)";
        (what.to_owned(), "patch the functions that call it")
    })
}
