// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild lookup`: where symbols are defined, at which position, and what to write in a livepatch.

use anyhow::{Context as _, Result, ensure};
use regex::bytes::Regex;
use serde::Serialize;

use crate::build::plan::TypedVariables;
use crate::cli::{Format, LookupArgs, Options};
use crate::command::asked;
use crate::elf::{SymbolKind, debugging};
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::make::variable::{self, Variable};
use crate::host::status;
use crate::host::terminal;
use crate::host::words;
use crate::kernel::sources::{KernelDefinition, KernelDefinitions, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::NameQuery;
use crate::kernel::trace::KnownSites;
use crate::kernel::{sources, suggestions};
use crate::livepatch::candidates;
use crate::livepatch::candidates::{Candidates, SourcePlaces};
use crate::livepatch::copies;
use crate::livepatch::copies::Elsewhere;
use crate::livepatch::definition;
use crate::livepatch::definition::SymbolFault;
use crate::livepatch::testimony;
use crate::livepatch::testimony::DebugQuestion;

/// A definition as `--format json` prints it; unknown values are null.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    object: &'a str,
    file: Option<&'a str>,
    /// The line in that file, from 1.
    line: Option<u64>,
    r#type: Option<&'static str>,
    binding: Option<&'static str>,
    section: Option<&'a str>,
    size: Option<u64>,
    /// An address in vmlinux, an offset into the section in a module.
    address: Option<String>,
    /// The position from 1; null if kallsyms leaves the symbol out.
    position: Option<u64>,
    /// How many symbols have this name in the object.
    count: u64,
    /// The position to write in KLP_SYMPOS, and as old_sympos in a klp_func.
    sympos: Option<u64>,
    exported: Option<bool>,
    init: Option<bool>,
    /// The annotation to paste.
    klp_sympos: Option<String>,
    /// The members of a klp_func that replaces it; null if it is no function, or cannot be replaced.
    klp_func: Option<String>,
    /// Why no livepatch can use or replace it.
    refused: Option<String>,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    definitions: Vec<Row<'a>>,
    /// Names and patterns without a definition.
    missing: &'a [&'a String],
}

/// The status line for the step that takes longest.
const READING: &str = "reading vmlinux's symbols and debugging information";

/// The names among the words of a command line, and the variables among them, which are for make.
fn names(arguments: &LookupArgs) -> Result<(Vec<String>, Vec<Variable>)> {
    let (variables, names) = variable::sort_out(&arguments.words);
    ensure!(
        !names.is_empty(),
        "no name to look up: klpbuild lookup {} NAME...",
        variables.iter().map(Variable::word).collect::<Vec<_>>().join(" ")
    );
    Ok((names, variables))
}

/// Prints the definitions of the names asked for.
///
/// # Errors
/// There is no map and no vmlinux, or something cannot be read.
pub fn lookup(options: &Options, arguments: &LookupArgs) -> Result<Exit> {
    let (names, variables) = names(arguments)?;
    let start = asked::start(options)?;
    let places = asked::choice(&arguments.sources.kernel, &start).places();
    let named = TypedVariables::in_words(&start, &variables, &places);
    let mut asked = asked::sources(&arguments.sources, &named.start);
    asked::add_kernel(&mut asked, named.kernel)?;
    let sources = sources::named(&asked, None)?;
    let wanted = wanted(&names, arguments.regex)?;
    let found = status::shown(READING, options.quiet, || sources.find(&wanted))?;
    let missing: Vec<&String> = match &wanted {
        NameQuery::Names(_) | NameQuery::All => {
            names.iter().filter(|name| found.of(name.as_bytes()).is_empty()).collect()
        }
        NameQuery::Patterns(patterns) => {
            let none = |pattern: &Regex| !found.names.keys().any(|name| pattern.is_match(name));
            names.iter().zip(patterns).filter(|(_, pattern)| none(pattern)).map(|(name, _)| name).collect()
        }
    };
    match arguments.format {
        Format::Json => {
            let told = tell(options, &found, &wanted, &sources, Format::Json)?;
            let definitions = rows(&found, &sources, &told);
            document::print("lookup", &Answer { definitions, missing: &missing })?;
        }
        Format::Text => print(&found, &sources, &tell(options, &found, &wanted, &sources, Format::Text)?),
    }
    let promoted = promoted(&wanted, &missing, &sources)?;
    if let (Format::Text, Some(promoted)) = (arguments.format, &promoted) {
        print(promoted, &sources, &tell(options, promoted, &wanted, &sources, Format::Text)?);
    }
    let is_pattern =
        |name: &str| matches!(wanted, NameQuery::Patterns(_)) && is_glob(name) || arguments.regex;
    say_missing(options, &missing, is_pattern, promoted.as_ref(), &sources);
    if arguments.format == Format::Text && sources.objects.vmlinux.is_none() {
        terminal::say(
            "only Symbols.list is at hand: whether a line is a definition, its source file, type, size, address \
             and position are not known; name the object tree for these (--objtree DIR)",
        );
    }
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Problem })
}

/// Prints for each name or pattern without a definition what there is instead; `promoted` are the names that clang's
/// LTO has made of some.
fn say_missing(
    options: &Options,
    missing: &[&String],
    is_pattern: impl Fn(&str) -> bool,
    promoted: Option<&KernelDefinitions>,
    sources: &Sources,
) {
    let mut nowhere: Vec<&str> = Vec::new();
    for name in missing {
        let is_promoted = |other: &[u8]| other.starts_with(format!("{name}{PROMOTED}").as_bytes());
        if is_pattern(name) {
            terminal::say(format_args!("no symbol matches {name}"));
        } else if let Some(other) =
            promoted.iter().flat_map(|found| found.names.keys()).find(|n| is_promoted(n))
        {
            terminal::say(format_args!(
                "there is no symbol {name}: clang's LTO has made {} of it: a livepatch refers to it by that name",
                String::from_utf8_lossy(other)
            ));
        } else {
            nowhere.push(name);
        }
    }
    let reading = || suggestions::all_missing(&nowhere, sources, &[]);
    status::shown(READING, options.quiet, reading).iter().for_each(terminal::say);
}

/// The text that clang's ThinLTO puts between a static symbol's name and a number, if it uses the symbol in another
/// file (`ModuleSummaryIndex::getGlobalNameForLocal` in LLVM).
const PROMOTED: &str = ".llvm.";

/// The definitions of missing names under the names that clang's LTO has given them; none for patterns.
fn promoted(wanted: &NameQuery, missing: &[&String], sources: &Sources) -> Result<Option<KernelDefinitions>> {
    let expression = |name: &&String| Regex::new(&format!(r"^{}\.llvm\.[0-9]+$", regex::escape(name)));
    let patterns = match wanted {
        NameQuery::Names(_) => missing.iter().map(expression).collect::<Result<Vec<_>, _>>()?,
        NameQuery::Patterns(_) | NameQuery::All => Vec::new(),
    };
    if patterns.is_empty() { Ok(None) } else { sources.find(&NameQuery::Patterns(patterns)).map(Some) }
}

/// Whether a name is a pattern as in a shell.
fn is_glob(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

fn wanted(names: &[String], are_expressions: bool) -> Result<NameQuery> {
    if !are_expressions && !names.iter().any(|name| is_glob(name)) {
        return Ok(NameQuery::names(names.iter().map(|name| name.clone().into_bytes())));
    }
    let pattern = |name: &String| {
        let expression = if are_expressions {
            name.clone()
        } else {
            globset::Glob::new(name).with_context(|| format!("{name}: not a pattern"))?.regex().to_owned()
        };
        Regex::new(&expression).with_context(|| format!("{name}: not a regular expression"))
    };
    Ok(NameQuery::Patterns(names.iter().map(pattern).collect::<Result<_>>()?))
}

/// A definition, with what is known of it beyond the symbol tables.
struct Entry<'a> {
    known: &'a KernelDefinition,
    replaceable: Result<(), SymbolFault>,
    /// The compiler's other versions of it, if they were asked for.
    elsewhere: Option<Elsewhere>,
}

/// All definitions that were found, in their order, with their files and lines.
struct FoundDefinitions<'a> {
    entries: Vec<Entry<'a>>,
    places: SourcePlaces,
}

/// Looks up more about all definitions, reading the debugging information of each object once. For patterns, which
/// may match thousands of names, only names with several definitions are looked up.
fn tell<'a>(
    options: &Options,
    found: &'a KernelDefinitions,
    wanted: &NameQuery,
    sources: &Sources,
    format: Format,
) -> Result<FoundDefinitions<'a>> {
    let mut sites = KnownSites::of(&sources.objects);
    let is_named = matches!(wanted, NameQuery::Names(_));
    let mut entries = Vec::new();
    let mut asked: Vec<(usize, KernelDefinition, bool)> = Vec::new();
    for (name, all) in &found.names {
        for known in all {
            let replaceable = definition::replaceable(known, sites.in_object(&known.object)?);
            let has_copies =
                is_named && format == Format::Text && replaceable.is_ok() && !name.contains(&b'.');
            if is_named || all.len() > 1 {
                asked.push((entries.len(), candidates::with_name_in_c(known), has_copies));
            }
            entries.push(Entry { known, replaceable, elsewhere: None });
        }
    }
    let asking =
        asked.iter().map(|(_, known, with_copies)| DebugQuestion { known, with_copies: *with_copies });
    let asking: Vec<DebugQuestion<'_>> = asking.collect();
    let told = status::shown(READING, options.quiet, || testimony::by_dwarf(sources, &asking));
    let entry_of = |index: &usize| entries.get(*index).map(|entry| entry.known);
    let places = asked.iter().zip(&told).filter_map(|((index, ..), told)| Some((entry_of(index)?, told)));
    let places = SourcePlaces::from_facts(places);
    let functions = asked.iter().zip(told).filter(|((.., with_copies), _)| *with_copies);
    let (functions, told): (Vec<(usize, &KernelDefinition)>, Vec<debugging::DebugFacts>) =
        functions.map(|((index, known, _), told)| ((*index, known), told)).unzip();
    let (indices, functions): (Vec<usize>, Vec<&KernelDefinition>) = functions.into_iter().unzip();
    for (index, elsewhere) in indices.into_iter().zip(copies::elsewhere(sources, &functions, &told)?) {
        if let Some(entry) = entries.get_mut(index) {
            entry.elsewhere = Some(elsewhere);
        }
    }
    Ok(FoundDefinitions { entries, places })
}

fn rows<'a>(found: &'a KernelDefinitions, sources: &Sources, told: &'a FoundDefinitions<'_>) -> Vec<Row<'a>> {
    let limit = found.kernel.name_limit;
    let names = found.names.iter().flat_map(|(name, all)| all.iter().map(move |_| name));
    let mut rows = Vec::new();
    for (name, entry) in names.zip(&told.entries) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let known = entry.known;
        let definition = known.definition.as_ref();
        let usable = definition::nameable(&known.object, name.as_bytes(), limit)
            .and_then(|()| definition::usable(known));
        let klp_sympos = candidates::paste(name, known, limit);
        let is_named = usable.is_ok() && klp_sympos.is_some();
        let klp_func = (is_named && entry.replaceable.is_ok()).then(|| klp_func(name, known));
        let refused = match (usable, &entry.replaceable) {
            (Err(fault), _) => Some(format!("no livepatch can use it: {}", fault.with_rule())),
            (Ok(()), Ok(()) | Err(SymbolFault::NoFunction(_))) => None,
            (Ok(()), Err(fault)) => Some(unreplaceable(fault)),
        };
        let place = told.places.at(known);
        rows.push(Row {
            name,
            object: &known.object,
            file: place
                .map(|place| candidates::shortened(&place.file, sources))
                .or_else(|| definition?.file.as_deref()),
            line: place.map(|place| place.line).filter(|line| *line > 0),
            r#type: definition.and_then(|d| d.kind).map(SymbolKind::shown),
            binding: definition.map(|d| d.binding.shown()),
            section: definition.and_then(|d| d.section.as_deref()),
            size: definition.and_then(|d| d.size),
            address: definition.map(|d| document::hexadecimal(d.value)),
            position: known.position,
            count: known.total,
            sympos: known.sympos(),
            exported: sources.is_exported(name.as_bytes(), known),
            init: definition.map(|d| d.is_init),
            klp_sympos,
            klp_func,
            refused,
        });
    }
    rows
}

/// The members of a klp_func that replaces a function.
fn klp_func(name: &str, known: &KernelDefinition) -> String {
    format!(".old_name = \"{name}\", .old_sympos = {}", known.sympos().unwrap_or(0))
}

/// Why a function cannot be replaced.
fn unreplaceable(fault: &SymbolFault) -> String {
    format!("no livepatch can replace it: {}; {}", fault.with_rule(), fault.advice())
}

fn print(found: &KernelDefinitions, sources: &Sources, told: &FoundDefinitions<'_>) {
    let mut entries = told.entries.iter();
    for (number, (name, known)) in found.names.iter().enumerate() {
        let name = String::from_utf8_lossy(name);
        let mut text = if number > 0 { "\n".to_owned() } else { String::new() };
        text.push_str(&format!("{name}: {}\n", words::count(known.len(), "definition")));
        let candidates = Candidates::new(&name, known, sources, &told.places);
        text.push_str(&candidates.table(terminal::width_of_output()));
        for entry in entries.by_ref().take(known.len()) {
            text.push_str(&advice(&name, entry, sources, found.kernel.name_limit));
            text.push_str(&elsewhere(entry));
        }
        terminal::out(text);
    }
}

/// A line of prose, broken to fit the terminal that it is printed on, if there is one. Lines to paste must not be
/// passed here.
fn prose(line: &str) -> String {
    words::fitting(line, terminal::width_of_output()) + "\n"
}

/// The compiler's other versions of a function, as a line, or nothing.
fn elsewhere(entry: &Entry<'_>) -> String {
    let told = entry.elsewhere.as_ref().and_then(Elsewhere::left_unpatched);
    let object = &entry.known.object;
    told.map(|(what, advice)| prose(&format!("{object}: to replace it is not enough: {what}; {advice}")))
        .unwrap_or_default()
}

/// What to write for a definition, or why nothing helps: never a line that the other verbs refuse. `limit` is the
/// longest name that the kernel reads, in bytes.
fn advice(name: &str, entry: &Entry<'_>, sources: &Sources, limit: usize) -> String {
    let Entry { known, replaceable, .. } = entry;
    let object = &known.object;
    let usable = definition::nameable(object, name.as_bytes(), limit);
    if let Err(fault) = usable.and_then(|()| definition::usable(known)) {
        return prose(&format!("{object}: no livepatch can use it: {}", fault.with_rule()));
    }
    let Some(line) = candidates::paste(name, known, limit) else {
        return prose(&format!("{object}: there are {} lines for it: positions are not known", known.total));
    };
    let exported = match sources.is_exported(name.as_bytes(), known) {
        Some(true) if known.object == VMLINUX => "exported: needs no annotation; ",
        _ => "",
    };
    let function = match replaceable {
        Ok(()) => format!("in a klp_func: {}\n", klp_func(name, known)),
        // Users do not try to replace data.
        Err(SymbolFault::NoFunction(_)) => String::new(),
        Err(fault) => prose(&format!("{object}: {}", unreplaceable(fault))),
    };
    format!("{exported}{line}\n{function}")
}
