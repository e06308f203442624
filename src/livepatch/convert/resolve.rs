// SPDX-License-Identifier: GPL-2.0-only
//! Which definition each undefined symbol of a livepatch means: the one that an annotation names, or the only one
//! there is. Exported symbols stay as they are.

use std::cell::{LazyCell, OnceCell};
use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Result, bail};

use crate::elf::Binding;
use crate::elf::image::{Home, Image, SymbolIndex};
use crate::kernel::sources::{KernelDefinition, Sources};
use crate::kernel::suggestions;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::NameQuery;
use crate::kernel::tree::facts::LivepatchCore;
use crate::livepatch::annotations::{Annotation, Annotations};
use crate::livepatch::convert::problem;
use crate::livepatch::convert::problem::{AmbiguityPlaces, Problems};
use crate::livepatch::definition;
use crate::livepatch::definition::SymbolFault;
use crate::livepatch::names::{AnnotatedName, KlpSymbol};
use crate::livepatch::patch::Patch;
use crate::livepatch::rules::Rule::S5;
use crate::livepatch::special;

/// Options of a conversion.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choices {
    /// Whether symbols that modules export stay normal ones, so that the livepatch depends on these modules (R10).
    pub keep_module_exports: bool,
    /// Whether its makefile says that the module is a livepatch, even if the module itself does not.
    pub is_marked: bool,
}

/// How many messages have similar names added: for each, the whole map is searched.
const HINTS: usize = 5;

/// What an undefined symbol becomes.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The livepatch symbol that it becomes.
    pub symbol: KlpSymbol,
    /// The object at whose loading references to it are written, if an annotation names it (R2).
    pub section_object: Option<String>,
    /// Whether it is exported by its object (R10).
    pub is_exported: bool,
    /// The object on which modpost makes the livepatch depend by mistake: it exports a symbol with the name that
    /// modpost looked up instead ([`special::asked`]).
    pub mistaken_for: Option<String>,
}

/// The decisions about all undefined symbols of an object.
#[derive(Debug)]
pub struct Resolved {
    /// What each symbol becomes, by its index.
    pub symbols: BTreeMap<SymbolIndex, Resolution>,
    /// The annotations that were read.
    pub annotations: Annotations,
    /// The kernel's livepatch core.
    pub kernel: LivepatchCore,
    /// The objects whose exports stay normal symbols.
    pub kept: HashSet<String>,
}

impl Resolved {
    /// Makes symbols stay normal ones after all.
    pub fn keep(&mut self, symbols: &BTreeSet<SymbolIndex>) {
        for decision in symbols.iter().filter_map(|symbol| self.symbols.remove(symbol)) {
            self.kept.insert(decision.symbol.object);
        }
    }

    /// Whether nothing has to be changed.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty() && self.annotations.sections.is_empty()
    }
}

/// An undefined symbol, and its annotation in the source.
struct Reference<'a> {
    index: SymbolIndex,
    /// The name of the symbol that is meant.
    name: Vec<u8>,
    annotated: Option<AnnotatedName>,
    annotation: Option<&'a Annotation>,
    is_weak: bool,
}

/// Decides on every undefined symbol of `image`.
///
/// # Errors
/// Some cannot be resolved: the message has a part for each, with where it is used and what to do.
pub fn resolve(image: &Image, sources: &Sources, choices: Choices) -> Result<Resolved> {
    let annotations = Annotations::read(image)?;
    let references = references(image, &annotations);
    // Without a Module.symvers, the markers of exports tell what is exported.
    let markers =
        |name: &[u8]| [&b"__ksymtab_"[..], b"__export_symbol_"].map(|prefix| [prefix, name].concat());
    let mut wanted: HashSet<(Vec<u8>, Option<String>)> = HashSet::new();
    for reference in &references {
        let is_plain = reference.annotation.is_none() && reference.annotated.is_none();
        if is_plain && sources.exporter(&reference.name) == Some(VMLINUX) {
            continue;
        }
        let annotated = reference.annotated.as_ref().map(|annotated| &annotated.symbol.object);
        let object = reference.annotation.map(|annotation| &annotation.object).or(annotated);
        wanted.insert((reference.name.clone(), object.cloned()));
        if sources.exports.is_none() {
            wanted.extend(markers(&reference.name).map(|marker| (marker, None)));
        }
    }
    let mut resolved = Resolved {
        symbols: BTreeMap::new(),
        kernel: LivepatchCore::detect(sources.release.clone(), sources.srctree.as_deref(), |_| false),
        annotations: Annotations::default(),
        kept: HashSet::new(),
    };
    if wanted.is_empty() {
        resolved.annotations = annotations;
        return Ok(resolved);
    }
    let found = sources.find(&NameQuery::meant(wanted))?;
    resolved.kernel = found.kernel.clone();
    if let Some(machine) = found.machine.filter(|machine| *machine != image.machine()) {
        bail!(
            "the livepatch is for another machine than vmlinux (ELF machine {} and {}): name its own object tree",
            image.machine().0,
            machine.0
        );
    }
    let mut problems = Problems::default();
    let patch = Patch::read_for(image, sources.sizes());
    let patched: Vec<String> =
        patch.iter().flat_map(|patch| &patch.objects).map(|object| object.name.clone()).collect();
    let surroundings =
        AmbiguityPlaces { sources, found: &found, patch: patch.as_ref(), told: OnceCell::new() };
    let lines = LazyCell::new(|| image.lines());
    for reference in &references {
        let exporter = match &sources.exports {
            Some(_) => sources.exporter(&reference.name),
            None => markers(&reference.name).iter().find_map(|m| Some(found.of(m).first()?.object.as_str())),
        };
        match one(&surroundings, reference, exporter, choices, &patched, problems.count() < HINTS) {
            Ok(Some(mut decision)) => {
                let name = image.symbols.get(reference.index).map(|symbol| symbol.name.as_slice());
                decision.mistaken_for = name.and_then(|name| mistaken_for(sources, name));
                resolved.symbols.insert(reference.index, decision);
            }
            Ok(None) => resolved.kept.extend(exporter.map(str::to_owned)),
            Err(message) => problems.add(message + &problem::uses(image, reference.index, lines.as_ref())),
        }
    }
    problems.end()?;
    resolved.annotations = annotations;
    Ok(resolved)
}

fn references<'a>(image: &Image, annotations: &'a Annotations) -> Vec<Reference<'a>> {
    let undefined = image.symbols.enumerate().filter(|(_, symbol)| symbol.home == Home::Undefined);
    undefined
        .filter(|(_, symbol)| {
            !symbol.name.is_empty() && !special::is_left_alone(image.machine(), &symbol.name)
        })
        .map(|(index, symbol)| {
            let annotated = AnnotatedName::parse(&symbol.name);
            Reference {
                index,
                name: annotated.as_ref().map_or_else(|| symbol.name.clone(), |a| a.symbol.name.clone()),
                annotated,
                annotation: annotations.symbols.get(&index),
                is_weak: symbol.binding() == Binding::Weak,
            }
        })
        .collect()
}

/// Decides on one symbol: what it becomes, none if it stays, or what is wrong with it.
fn one(
    surroundings: &AmbiguityPlaces<'_>,
    reference: &Reference<'_>,
    exporter: Option<&str>,
    choices: Choices,
    patched: &[String],
    with_hints: bool,
) -> Result<Option<Resolution>, String> {
    let AmbiguityPlaces { sources, found, .. } = surroundings;
    let name = String::from_utf8_lossy(&reference.name).into_owned();
    let known = found.of(&reference.name);
    let said = match (&reference.annotated, reference.annotation) {
        (Some(_), Some(_)) => {
            return Err(format!(
                "Conflicting KLP_SYMPOS definition: {name} is annotated by its assembler name and by \
                 KLP_MODULE_RELOC; leave one of them"
            ));
        }
        (Some(annotated), None) => Some((annotated.symbol.object.as_str(), annotated.symbol.sympos)),
        (None, Some(annotation)) => Some((annotation.object.as_str(), annotation.sympos)),
        (None, None) => None,
    };
    // Assemblers keep such names to themselves; where one is left, it means something of the same file.
    if name.starts_with(".L") && said.is_none() {
        return Err(format!(
            "{name} is a label of the compiler's, which the file that uses it does not define: the file is not whole"
        ));
    }
    let wrong = Wrong { surroundings, name: &name };
    let meant = match (said, exporter) {
        (None, Some(VMLINUX)) => return Ok(None),
        (None, Some(_)) if choices.keep_module_exports || reference.is_weak => return Ok(None),
        // Another livepatch exports it, or a module that is not built here: that has to be loaded first.
        (None, Some(owner)) if !found.objects.contains(owner) => return Ok(None),
        (Some((object, sympos)), _) => {
            let meant = definition::meant(found, object, &reference.name, sympos);
            meant.cloned().map_err(|fault| wrong.message(&fault, known, object))?
        }
        (None, Some(owner)) => {
            let own: Vec<KernelDefinition> =
                known.iter().filter(|known| known.object == owner).cloned().collect();
            let only = definition::only(&own).map_err(|fault| wrong.message(&fault, &own, owner))?.cloned();
            only.ok_or_else(|| {
                format!(
                    "Unable to find missing symbol: {name} is exported by {owner}, which is not in the map"
                )
            })?
        }
        (None, None) => {
            match definition::only(known).map_err(|fault| wrong.message(&fault, known, VMLINUX))? {
                Some(known) => known.clone(),
                None if reference.is_weak => return Ok(None),
                None if with_hints => return Err(suggestions::missing(&name, sources, patched)),
                None => return Err(format!("Unable to find missing symbol: {name}: nothing defines it")),
            }
        }
    };
    let is_local = meant.definition.as_ref().is_some_and(|definition| definition.binding == Binding::Local);
    let is_exported = !is_local && exporter == Some(meant.object.as_str());
    // R10: a symbol that vmlinux exports stays a normal one, even if an annotation gives its position.
    if is_exported && meant.object == VMLINUX && reference.annotated.is_none() {
        return Ok(None);
    }
    let sympos = said.map_or_else(|| meant.sympos().unwrap_or(0), |(_, sympos)| sympos);
    let symbol = KlpSymbol { object: meant.object.clone(), name: reference.name.clone(), sympos };
    let fault = definition::nameable(&symbol.object, &symbol.name, found.kernel.name_limit)
        .and_then(|()| definition::usable(&meant));
    fault.map_err(|fault| {
        let way_out = if fault.rule() == S5 { "; rename one of them" } else { "" };
        format!("{name}: {}{way_out}", fault.with_rule())
    })?;
    Ok(Some(Resolution {
        symbol,
        section_object: reference.annotated.as_ref().and_then(|annotated| annotated.section_object.clone()),
        is_exported,
        mistaken_for: None,
    }))
}

/// The object that exports the symbol for which modpost takes this one, if that is another symbol.
fn mistaken_for(sources: &Sources, name: &[u8]) -> Option<String> {
    let asked = Some(special::asked(name)).filter(|asked| *asked != name)?;
    sources.exporter(asked).map(str::to_owned)
}

/// A symbol without a definition, or without a clear one.
struct Wrong<'a> {
    surroundings: &'a AmbiguityPlaces<'a>,
    name: &'a str,
}

impl Wrong<'_> {
    /// The message about it, with the definitions that there are, or with similar names in `object`.
    fn message(&self, fault: &SymbolFault, known: &[KernelDefinition], object: &str) -> String {
        let what = match fault {
            SymbolFault::NotOnly { .. } | SymbolFault::Ambiguous { .. } => "Define KLP_SYMPOS for the symbol",
            _ => "Provided KLP_SYMPOS does not match a symbol",
        };
        let more = match fault {
            SymbolFault::NoObject { .. } => "; write vmlinux or the run-time name of a module".to_owned(),
            _ if known.is_empty() => {
                suggestions::hint(self.name, self.surroundings.sources, &[object.to_owned()])
            }
            _ => self.surroundings.choices(self.name, known),
        };
        format!("{what}: {}: {fault}{more}", self.name)
    }
}
