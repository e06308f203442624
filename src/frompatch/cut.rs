// SPDX-License-Identifier: GPL-2.0-only
//! Handles one unit: checks it against the kernel's code, and cuts out what the patches change, with all references
//! resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::elf::image::Image;
use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::callers::replaced_by_callers;
use crate::frompatch::assembler::compare::{Changes, compare};
use crate::frompatch::assembler::extract::{Entry, Extract};
use crate::frompatch::compile::Compiled;
use crate::frompatch::module::{self, ReplacedFunction, UnexportedSymbol, UnitText};
use crate::frompatch::read::Read;
use crate::frompatch::reasons::Reasons;
use crate::frompatch::report::{self, Changed, NewSymbol, UnexportedReference};
use crate::frompatch::run_pre::{self, FunctionFate, KernelImage, KernelSymbol, Matched};
use crate::frompatch::shared::{KernelNames, SharedNames, Spelling, is_visible};
use crate::frompatch::target::TargetKernel;
use crate::frompatch::units::Unit;
use crate::host::terminal;
use crate::kernel::sources::KernelDefinition;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::NameQuery;
use crate::kernel::trace::FtraceSites;
use crate::livepatch::candidates::{Candidates, SourcePlaces};
use crate::livepatch::definition::{self, SymbolFault};
use crate::livepatch::names as klp_names;
use crate::livepatch::names::KlpSymbol;

/// What is cut out of a unit.
#[derive(Debug, Default)]
pub struct Cut {
    /// The assembler text.
    pub part: UnitText,
    /// The functions that it replaces.
    pub replaced: Vec<ReplacedFunction>,
    /// The callbacks of the unit's object.
    pub callbacks: Vec<module::ModuleCallback>,
    /// The kernel's symbols that it refers to and that are not exported.
    pub annotated: Vec<UnexportedSymbol>,
    /// The functions that are replaced, for the report.
    pub changed: Vec<Changed>,
    /// New functions and data, for the report.
    pub new: Vec<NewSymbol>,
    /// The references to symbols that are not exported, for the report.
    pub references: Vec<UnexportedReference>,
    /// The exported symbols that it refers to.
    pub plain: BTreeSet<String>,
    /// The number of the unit's functions whose code is equal to the kernel's.
    pub equal: usize,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Changes in code that no livepatch can replace, or that nothing uses.
    pub without_effect: Vec<String>,
}

impl Cut {
    /// The names of the kernel's symbols that it refers to.
    pub fn kernel_names(&self) -> KernelNames<'_> {
        KernelNames { unexported: &self.annotated, plain: &self.plain }
    }
}

/// The difference between two files of assembler text.
///
/// # Errors
/// A file cannot be read.
pub fn difference(one: &Path, other: &Path) -> Result<Changes> {
    let (one, other) = (fs::read_to_string(one)?, fs::read_to_string(other)?);
    Ok(compare(&Listing::parse(&one), &Listing::parse(&other)))
}

/// Whether the patches change a function or data of a unit.
///
/// # Errors
/// A file cannot be read.
pub fn changes(compiled: &Compiled) -> Result<bool> {
    Ok(!difference(&compiled.original, &compiled.patched)?.names().is_empty())
}

/// The kernel's object that a unit is a part of.
#[derive(Debug)]
pub struct Against<'a> {
    /// Its code and symbols.
    pub kernel: &'a KernelImage,
    /// Where ftrace can step in, if that is known.
    pub sites: Option<&'a FtraceSites>,
}

/// Cuts the changes out of a unit. `reasons` tell why functions changed, `prefix` is put in front of local symbols,
/// and `shared` are the names that the livepatch's units have for each other.
///
/// # Errors
/// The unit is not what the kernel has, or a change cannot be carried over.
pub fn cut(
    compiled: &Compiled,
    read: &Read,
    target: &TargetKernel,
    against: &Against<'_>,
    reasons: &Reasons<'_>,
    prefix: &str,
    shared: &SharedNames,
) -> Result<Cut> {
    let path = &compiled.unit.path;
    let kernel = against.kernel;
    if let [first, ..] = read.changes.refused.as_slice() {
        bail!("{path}: {first}");
    }
    let entry = if target.config.has("X86_KERNEL_IBT") { Entry::Endbr } else { Entry::Any };
    let mut extract = Extract::plan(&read.old, &read.new, &read.changes, entry);
    extract.resolve();
    if let [first, ..] = extract.refused.as_slice() {
        bail!("{path}: {first}");
    }
    let mut cut = Cut {
        notes: read.changes.notes.iter().map(|note| format!("{path}: {note}")).collect(),
        without_effect: extract.all_without_effect(kernel.object != VMLINUX),
        ..Cut::default()
    };
    if extract.is_empty() {
        return Ok(cut);
    }
    let image = Image::read(&compiled.object)?;
    let matched = run_pre::prove(path, &image, kernel)?;
    let through = through_callers(read, &matched, against);
    if let Some(changes) = &through {
        extract = Extract::plan(&read.old, &read.new, changes, entry);
        extract.resolve();
        if let [first, ..] = extract.refused.as_slice() {
            bail!("{path}: {first}");
        }
        cut.without_effect = extract.all_without_effect(kernel.object != VMLINUX);
    }
    let late = written_late(&extract, target, kernel);
    extract.ask_keys(&|name| late.contains(name)).map_err(|fault| anyhow::anyhow!("{path}: {fault}"))?;
    cut.equal =
        matched.functions.iter().filter(|function| matches!(function.fate, FunctionFate::Equal(_))).count();
    let why = |name: &str| {
        let changes = through.as_ref().unwrap_or(&read.changes);
        let told = changes.changed.get(name).map(String::as_str).unwrap_or_default();
        reasons.of(name, told, &read.new)
    };
    cut.notes.extend(extract.notes.iter().map(|note| format!("{path}: {note}")));
    replaced(&mut cut, &extract, against, &matched, path, why, prefix)?;
    let names = references(&mut cut, &extract, target, kernel, &matched, &compiled.unit, shared)?;
    // A renamed symbol must not get the name of one of the kernel's (such as klp_copy_process).
    let used = names.values().chain(extract.references.keys());
    if let Some(name) = used.into_iter().find(|name| name.starts_with(prefix)) {
        bail!(
            "{path}: {name} of the kernel begins with {prefix}, as the names of the livepatch's own functions do"
        );
    }
    cut.new = extract
        .new_functions
        .iter()
        .map(|name| ("function", name))
        .chain(extract.new_data.iter().map(|name| ("data", name)))
        .map(|(kind, name)| NewSymbol { name: name.clone(), kind, file: path.clone() })
        .collect();
    cut.callbacks = extract
        .callbacks(prefix)
        .map(|(callback, label)| {
            let (object, file) = (kernel.object.clone(), path.clone());
            let told = report::ReportedCallback {
                object,
                moment: callback.moment,
                name: callback.function.clone(),
                file,
            };
            module::ModuleCallback { told, label }
        })
        .collect();
    let mut text = extract.text(prefix, |name| names.get(name).cloned().unwrap_or_else(|| name.to_owned()));
    // modpost has no room for the long names, and asks for no version of what is weak.
    let long = cut.annotated.iter().filter(|symbol| symbol.is_long()).map(|symbol| &symbol.name);
    for name in names.values().filter(|name| name.starts_with('"')).chain(long) {
        text.push_str(&format!("\t.weak\t{name}\n"));
    }
    cut.part = UnitText { path: path.clone(), text };
    Ok(cut)
}

/// The changes with the callers of those changed functions in which ftrace cannot step in, as far as these callers
/// can be replaced instead; none if there are no such functions.
fn through_callers(read: &Read, matched: &Matched, against: &Against<'_>) -> Option<Changes> {
    let is_untraced = |name: &str| match matched.function(name.as_bytes()).map(|function| &function.fate) {
        Some(FunctionFate::Equal(located)) => {
            definition::replaceable(&located.known, against.sites) == Err(SymbolFault::NotTraced)
        }
        _ => false,
    };
    let mut through: Option<Changes> = None;
    let mut left = BTreeSet::new();
    loop {
        let changes = through.as_ref().unwrap_or(&read.changes);
        let next = changes.changed.keys().find(|name| is_untraced(name) && !left.contains(*name)).cloned();
        let Some(name) = next else { return through };
        match replaced_by_callers(&name, &read.old, &read.new, changes) {
            Some(changes) => through = Some(changes),
            None => drop(left.insert(name)),
        }
    }
}

/// The references that the kernel writes when the module `kernel` is loaded, which is after it has looked at the
/// static keys of the livepatch.
fn written_late(extract: &Extract<'_>, target: &TargetKernel, kernel: &KernelImage) -> BTreeSet<String> {
    let is_exported =
        |symbol: &KernelSymbol| target.sources.is_exported(&symbol.name, &symbol.known) == Some(true);
    let is_late = |name: &&String| kernel.named(name.as_bytes()).any(|symbol| !is_exported(symbol));
    let names = extract.references.keys().filter(|_| kernel.object != VMLINUX);
    names.filter(is_late).cloned().collect()
}

fn replaced(
    cut: &mut Cut,
    extract: &Extract<'_>,
    against: &Against<'_>,
    matched: &Matched,
    path: &str,
    why: impl Fn(&str) -> String,
    prefix: &str,
) -> Result<()> {
    for name in &extract.replaced {
        let function = matched.function(name.as_bytes());
        let function = function.with_context(|| format!("{path}: {name} is not in the kernel's code"))?;
        let located = match &function.fate {
            FunctionFate::Equal(located) => located,
            FunctionFate::Overridden(_) => bail!(
                "{path}: {name} is weak, and the kernel uses another function of that name: patch that one"
            ),
            FunctionFate::Ambiguous(all) => bail!(
                "{path}: {name}: {} functions of the kernel are equal to it, and nothing tells which it is",
                all.len()
            ),
        };
        let fault = definition::replaceable(&located.known, against.sites);
        if let Err(fault) = fault {
            bail!("{path}: {name} cannot be replaced: {}; {}", fault.with_rule(), fault.advice());
        }
        let sympos = position(&located.known, name, path)?;
        let kernel_name = String::from_utf8_lossy(&located.name).into_owned();
        cut.changed.push(Changed {
            object: located.object.clone(),
            name: kernel_name.clone(),
            sympos,
            file: path.to_owned(),
            why: why(name),
        });
        cut.replaced.push(ReplacedFunction {
            object: located.object.clone(),
            name: kernel_name,
            sympos,
            label: Extract::label(prefix, name),
        });
    }
    Ok(())
}

/// The position to write for a symbol that the kernel finds by its name.
fn position(known: &KernelDefinition, name: &str, path: &str) -> Result<u64> {
    if let Err(fault) = definition::usable(known) {
        bail!("{path}: {name} of {}: {}", known.object, fault.with_rule());
    }
    known.sympos().with_context(|| {
        format!(
            "{path}: {name}: {} has {} of this name, and nothing tells which is meant",
            known.object, known.total
        )
    })
}

/// Resolves the names that stay in the kernel: adds the reference for each, with its name there.
fn references(
    cut: &mut Cut,
    extract: &Extract<'_>,
    target: &TargetKernel,
    kernel: &KernelImage,
    matched: &Matched,
    unit: &Unit,
    shared: &SharedNames,
) -> Result<BTreeMap<String, String>> {
    let (object, path) = (kernel.object.as_str(), unit.path.as_str());
    let mut names = BTreeMap::new();
    let mut unknown: Vec<&String> = Vec::new();
    for (name, old) in &extract.references {
        // Every module has one of its own, and so does the livepatch: annotated even if the unpatched code does not
        // refer to it.
        if name == THIS_MODULE {
            let symbol = KlpSymbol { object: object.to_owned(), name: name.clone().into_bytes(), sympos: 0 };
            let meant = klp_names::AnnotatedName { section_object: Some(object.to_owned()), symbol };
            names.insert(name.clone(), meant.to_text());
            let (object, name, file) = (object.to_owned(), name.clone(), path.to_owned());
            cut.references.push(UnexportedReference { object, name, sympos: 0, file });
            continue;
        }
        if let Some(located) = matched.position(old.as_bytes()) {
            let kernel_name = String::from_utf8_lossy(&located.name).into_owned();
            if target.sources.is_exported(&located.name, &located.known) == Some(true) {
                cut.plain.insert(kernel_name.clone());
                names.insert(name.clone(), kernel_name);
            } else {
                let sympos = position(&located.known, name, path)?;
                let spelling = shared.spelling(&kernel_name, &located.known, &unit.recipe);
                let symbol = UnexportedSymbol { object: located.object.clone(), name: kernel_name, sympos };
                names.insert(name.clone(), annotate(cut, symbol, spelling, path));
            }
            continue;
        }
        let vague: Vec<KernelDefinition> =
            matched.candidates(old.as_bytes()).iter().map(|located| located.known.clone()).collect();
        ensure!(
            vague.is_empty(),
            "{path}: nothing in the kernel's code tells which of {} symbols {name} is{}",
            vague.len(),
            choices(name, &vague, target, path)
        );
        unknown.push(name);
    }
    let is_open = |name: &&&String| {
        target.sources.exporter(name.as_bytes()).is_none()
            && !shared.new.contains(name.as_str())
            && !is_common(name)
    };
    cut.plain.extend(unknown.iter().filter(|name| !is_open(name)).map(|name| (*name).clone()));
    let wanted: Vec<&String> = unknown.iter().filter(is_open).copied().collect();
    if wanted.is_empty() {
        return Ok(names);
    }
    let found = target.sources.find(&NameQuery::names(wanted.iter().map(|name| name.as_bytes().to_vec())))?;
    for name in wanted {
        let all = found.of(name.as_bytes());
        let seen: Vec<KernelDefinition> = all.iter().filter(|known| is_visible(known)).cloned().collect();
        let meant = match seen.as_slice() {
            [] => Ok(shared.opened(name, all)),
            [known] => Ok(Some(known)),
            seen => definition::only(seen),
        };
        let known = match meant {
            Ok(Some(known)) => known,
            Ok(None) if all.is_empty() => {
                bail!("{path}: the patched code refers to {name}, which the kernel does not have")
            }
            Ok(None) => bail!(
                "{path}: the patched code refers to {name}, which the kernel has for one file only (static): the file that has it \
                 is to be patched as well, so that others may use it"
            ),
            Err(fault) => bail!(
                "{path}: the patched code refers to {name}: {}{}",
                fault.with_rule(),
                choices(name, &seen, target, path)
            ),
        };
        let sympos = position(known, name, path)?;
        let spelling = shared.spelling(name, known, &unit.recipe);
        let symbol = UnexportedSymbol { object: known.object.clone(), name: name.clone(), sympos };
        names.insert(name.clone(), annotate(cut, symbol, spelling, path));
    }
    Ok(names)
}

/// A table of the definitions that `name` may mean, to choose one by.
fn choices(name: &str, known: &[KernelDefinition], target: &TargetKernel, path: &str) -> String {
    let places = SourcePlaces::of(&target.sources, known);
    let candidates = Candidates::new(name, known, &target.sources, &places).beside_file(path);
    format!("\n{}", candidates.table(terminal::width_of_errors()).trim_end())
}

/// The `struct module` of a module. The livepatch has one of its own by that name: only a full livepatch symbol name
/// means the kernel module's (S6).
const THIS_MODULE: &str = "__this_module";

/// Symbols of the assembler and the loader, which no object defines.
fn is_common(name: &str) -> bool {
    matches!(name, "__fentry__" | "_GLOBAL_OFFSET_TABLE_" | "PLT" | "GOTPCREL" | "function" | "object")
}

/// Adds a symbol of the kernel that is not exported, and returns the name for it in the assembler text.
fn annotate(cut: &mut Cut, symbol: UnexportedSymbol, spelling: Spelling, path: &str) -> String {
    let UnexportedSymbol { object, name, sympos } = symbol.clone();
    cut.references.push(UnexportedReference { object, name, sympos, file: path.to_owned() });
    match spelling {
        Spelling::Plain => {
            let name = symbol.name.clone();
            cut.annotated.push(symbol);
            name
        }
        Spelling::Full => {
            let UnexportedSymbol { object, name, sympos } = symbol;
            let symbol = KlpSymbol { object, name: name.into_bytes(), sympos };
            klp_names::AnnotatedName { section_object: None, symbol }.to_text()
        }
    }
}
