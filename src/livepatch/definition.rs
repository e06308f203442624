// SPDX-License-Identifier: GPL-2.0-only
//! Which definition of the kernel's an object, a name and a position mean, and why a livepatch cannot use or replace
//! it. convert, verify, lookup, new and livepatch get the same answer here, in the same words.

use std::collections::BTreeSet;
use std::fmt;

use crate::elf::SymbolKind;
use crate::host::words;
use crate::kernel::sources::{KernelDefinition, KernelDefinitions, Unusable};
use crate::kernel::suggestions;
use crate::kernel::trace::FtraceSites;
use crate::livepatch::names;
use crate::livepatch::rules::Rule;
use crate::livepatch::rules::Rule::{R2, R3, R9, S1, S3, S5, S7, S8};

/// Why a livepatch cannot use or replace what it names. The text refers to the symbol as `it`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SymbolFault {
    /// The kernel has no such object; `near` is a sentence about similar ones.
    NoObject {
        /// The object.
        object: String,
        /// The object's run-time name, or similar names: a sentence that follows another, or nothing.
        near: String,
    },
    /// The object has no symbol of the name.
    NotDefined(String),
    /// Position 0 stands for the only symbol of its name, and there are more.
    NotOnly {
        /// The object.
        object: String,
        /// How many it has of the name.
        total: u64,
    },
    /// The position is larger than the number of symbols of that name.
    NoPosition {
        /// The object.
        object: String,
        /// The position.
        sympos: u64,
        /// How many it has of the name.
        total: u64,
    },
    /// No object is named, and the name does not tell which definition is meant.
    Ambiguous {
        /// How many definitions there are.
        count: usize,
        /// In how many objects.
        objects: usize,
    },
    /// The name of the object or the symbol cannot be part of a livepatch symbol's name.
    Name(Rule, String),
    /// The kernel does not find it, or frees it.
    Unusable(String, Unusable),
    /// It is something else than a function, as far as its type is known.
    NoFunction(Option<SymbolKind>),
    /// ftrace cannot step in at its beginning.
    NotTraced,
}

impl SymbolFault {
    /// The rule that is broken.
    pub fn rule(&self) -> Rule {
        match self {
            SymbolFault::NoObject { .. } => R2,
            SymbolFault::NotDefined(_)
            | SymbolFault::NotOnly { .. }
            | SymbolFault::NoPosition { .. }
            | SymbolFault::Ambiguous { .. } => S1,
            SymbolFault::Name(rule, _) => *rule,
            SymbolFault::Unusable(_, Unusable::Init) => R9,
            SymbolFault::Unusable(_, Unusable::Split) => S5,
            SymbolFault::Unusable(_, Unusable::Dropped) => S3,
            SymbolFault::Unusable(_, Unusable::AtZero) => S8,
            SymbolFault::NoFunction(_) | SymbolFault::NotTraced => S7,
        }
    }

    /// What to do if the livepatch should have replaced the function.
    pub fn advice(&self) -> &'static str {
        match self {
            SymbolFault::NoObject { .. }
            | SymbolFault::NotDefined(_)
            | SymbolFault::NotOnly { .. }
            | SymbolFault::NoPosition { .. }
            | SymbolFault::Ambiguous { .. } => "ask klpbuild lookup for the name and position",
            SymbolFault::Name(..) | SymbolFault::Unusable(..) => "patch another function",
            SymbolFault::NoFunction(_) => "ask klpbuild lookup for the position",
            SymbolFault::NotTraced => "patch the functions that call it",
        }
    }

    /// Whether the object, or the symbol in it, is missing in the files at hand.
    pub fn is_absence(&self) -> bool {
        matches!(self, SymbolFault::NoObject { .. } | SymbolFault::NotDefined(_))
    }

    /// The text, followed by the rule.
    pub fn with_rule(&self) -> String {
        format!("{self} ({})", self.rule())
    }
}

impl fmt::Display for SymbolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SymbolFault::NoObject { object, near } => write!(f, "there is no object {object}{near}"),
            SymbolFault::NotDefined(object) => write!(f, "{object} does not define it"),
            SymbolFault::NotOnly { object, total } => {
                write!(f, "position 0 means the only one, but {object} has {total} of this name")
            }
            SymbolFault::NoPosition { object, sympos, total } => {
                write!(f, "there is no position {sympos}: {object} has {total} of this name, counted from 1")
            }
            SymbolFault::Ambiguous { count, objects } => {
                write!(f, "it is ambiguous, defined {count} times in {}", words::count(*objects, "object"))
            }
            SymbolFault::Name(_, what) => f.write_str(what),
            SymbolFault::Unusable(object, Unusable::Init) => write!(
                f,
                "it is __init: its memory is freed when {object} has come up, long before a livepatch could use it"
            ),
            SymbolFault::Unusable(object, Unusable::Split) => write!(
                f,
                "it is there both in an init section of {object} and elsewhere: which one the kernel finds changes while \
                 {object} is loaded"
            ),
            SymbolFault::Unusable(_, Unusable::Dropped) => {
                f.write_str("kallsyms leaves it out, so that the kernel cannot find it")
            }
            SymbolFault::Unusable(_, Unusable::AtZero) => {
                f.write_str("it is at address 0, which the kernel takes for not found")
            }
            SymbolFault::NoFunction(Some(kind)) => write!(f, "it is no function ({})", kind.shown()),
            SymbolFault::NoFunction(None) => f.write_str("it is no function: it lies among data"),
            SymbolFault::NotTraced => f.write_str(
                "ftrace cannot step in there: it does not begin with a call of __fentry__ (notrace, or made without -pg)",
            ),
        }
    }
}

/// The definition of `name` in `object` with the position `sympos` (S1).
///
/// # Errors
/// There is none.
pub fn meant<'a>(
    found: &'a KernelDefinitions,
    object: &str,
    name: &[u8],
    sympos: u64,
) -> Result<&'a KernelDefinition, SymbolFault> {
    if !found.objects.contains(object) {
        let near = suggestions::like_object(object, &found.objects);
        return Err(SymbolFault::NoObject { object: object.to_owned(), near });
    }
    let own: Vec<&KernelDefinition> = found.of(name).iter().filter(|known| known.object == object).collect();
    let Some(first) = own.first() else { return Err(SymbolFault::NotDefined(object.to_owned())) };
    let (object, total) = (object.to_owned(), first.total);
    let position = match sympos {
        0 if total > 1 => return Err(SymbolFault::NotOnly { object, total }),
        // If the kernel counts none of them, the first one's fault is reported.
        _ if total > 0 && sympos > total => return Err(SymbolFault::NoPosition { object, sympos, total }),
        _ => sympos.max(1),
    };
    Ok(own.iter().find(|known| known.position == Some(position)).unwrap_or(first))
}

/// The only definition among `known`, if nothing but the name tells which is meant; none if there is none.
///
/// # Errors
/// There are several that can be told apart.
pub fn only(known: &[KernelDefinition]) -> Result<Option<&KernelDefinition>, SymbolFault> {
    let objects: BTreeSet<&str> = known.iter().map(|known| known.object.as_str()).collect();
    let Some(first) = known.first() else { return Ok(None) };
    match (objects.len(), first) {
        // The kernel may see only one of several definitions.
        (1, first) if first.total <= 1 => {
            Ok(known.iter().find(|known| known.position.is_some()).or(Some(first)))
        }
        // No position can tell these apart: the fault is reported for the one that is not freed (S5).
        (1, first) if first.is_split => Ok(known.iter().find(|known| !known.is_init()).or(Some(first))),
        (objects, _) => {
            let total = known.iter().map(|known| known.total).max().unwrap_or(0);
            let count = known.len().max(usize::try_from(total).unwrap_or(usize::MAX));
            Err(SymbolFault::Ambiguous { count, objects })
        }
    }
}

/// Checks that a livepatch symbol or a klp_func can name `name` of `object` (R1 to R3); `limit` is the longest name
/// that the kernel reads, in bytes.
///
/// # Errors
/// It cannot.
pub fn nameable(object: &str, name: &[u8], limit: usize) -> Result<(), SymbolFault> {
    if let Some((rule, what)) = names::rule_of_object(object) {
        return Err(SymbolFault::Name(rule, what));
    }
    if let Some(what) = names::too_long(name, limit) {
        return Err(SymbolFault::Name(R3, what));
    }
    if name.contains(&b',') {
        return Err(SymbolFault::Name(
            R3,
            "the kernel cannot find a symbol with a comma in its name".to_owned(),
        ));
    }
    Ok(())
}

/// Checks that the kernel finds a definition at any time, and does not free it (R9, S3, S5, S8).
///
/// # Errors
/// It does not.
pub fn usable(known: &KernelDefinition) -> Result<(), SymbolFault> {
    known.unusable().map_or(Ok(()), |why| Err(SymbolFault::Unusable(known.object.clone(), why)))
}

/// Checks that a definition is a function, as far as its type is known.
///
/// # Errors
/// It is something else.
pub fn is_function(known: &KernelDefinition) -> Result<(), SymbolFault> {
    let Some(definition) = &known.definition else { return Ok(()) };
    match definition.kind {
        Some(kind) if kind != SymbolKind::Function => Err(SymbolFault::NoFunction(Some(kind))),
        None if definition.is_data => Err(SymbolFault::NoFunction(None)),
        _ => Ok(()),
    }
}

/// Checks that a livepatch can replace a definition (S7). `sites` are the ftrace sites in its object, if they are
/// known.
///
/// # Errors
/// It cannot.
pub fn replaceable(known: &KernelDefinition, sites: Option<&FtraceSites>) -> Result<(), SymbolFault> {
    usable(known)?;
    is_function(known)?;
    let is_untraced = known.definition.is_some() && sites.is_some_and(|sites| sites.of(known).is_none());
    if is_untraced { Err(SymbolFault::NotTraced) } else { Ok(()) }
}
