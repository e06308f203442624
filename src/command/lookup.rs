// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild lookup`: where symbols are defined, at which position, and what to write in a livepatch.

use anyhow::{Context as _, Result, ensure};
use regex::bytes::Regex;
use serde::Serialize;

use crate::build::plan::Named;
use crate::cli::{Format, LookupArgs, Options};
use crate::command::asked;
use crate::elf::Kind;
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::make::variable::{self, Variable};
use crate::host::terminal;
use crate::host::words;
use crate::kernel::sources::{Found, Known, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::Wanted;
use crate::kernel::trace::KnownSites;
use crate::kernel::{sources, suggestions};
use crate::livepatch::candidates;
use crate::livepatch::copies;
use crate::livepatch::definition;
use crate::livepatch::definition::Fault;

/// A definition as `--format json` prints it. What is not known is null.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    object: &'a str,
    file: Option<&'a str>,
    r#type: Option<&'static str>,
    binding: Option<&'static str>,
    section: Option<&'a str>,
    size: Option<u64>,
    /// An address in vmlinux, an offset into the section in a module.
    address: Option<String>,
    /// The position from 1; null if kallsyms leaves the symbol out.
    position: Option<u64>,
    /// How many there are of this name in the object.
    count: u64,
    /// What to write as position in KLP_SYMPOS, and as old_sympos in a klp_func.
    sympos: Option<u64>,
    exported: Option<bool>,
    init: Option<bool>,
    /// The annotation to paste.
    klp_sympos: Option<String>,
    /// What a klp_func has that replaces it; null if it is no function, or cannot be replaced.
    klp_func: Option<String>,
    /// Why no livepatch can use or replace it.
    refused: Option<String>,
}

/// What programs get.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    definitions: Vec<Row<'a>>,
    /// Names and patterns without a definition.
    missing: &'a [&'a String],
}

/// The names among the words of a command line, and the others, which are for make.
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
    let named = Named::in_words(&start, &variables, &places);
    let mut asked = asked::sources(&arguments.sources, &named.start);
    asked::add_kernel(&mut asked, named.kernel)?;
    let sources = sources::named(&asked, None)?;
    let wanted = wanted(&names, arguments.regex)?;
    let found = sources.find(&wanted)?;
    let missing: Vec<&String> = match &wanted {
        Wanted::Names(_) | Wanted::All => {
            names.iter().filter(|name| found.of(name.as_bytes()).is_empty()).collect()
        }
        Wanted::Patterns(patterns) => {
            let none = |pattern: &Regex| !found.names.keys().any(|name| pattern.is_match(name));
            names.iter().zip(patterns).filter(|(_, pattern)| none(pattern)).map(|(name, _)| name).collect()
        }
    };
    match arguments.format {
        Format::Json => {
            let definitions = rows(&found, &sources)?;
            document::print("lookup", &Answer { definitions, missing: &missing })?;
        }
        Format::Text => print(&found, &wanted, &sources)?,
    }
    let promoted = promoted(&wanted, &missing, &sources)?;
    if let (Format::Text, Some(promoted)) = (arguments.format, &promoted) {
        print(promoted, &wanted, &sources)?;
    }
    for name in &missing {
        let is_pattern = matches!(wanted, Wanted::Patterns(_)) && is_glob(name) || arguments.regex;
        let is_promoted = |other: &[u8]| other.starts_with(format!("{name}{PROMOTED}").as_bytes());
        if is_pattern {
            terminal::say(format_args!("no symbol matches {name}"));
        } else if let Some(other) = promoted.iter().flat_map(|f| f.names.keys()).find(|n| is_promoted(n)) {
            terminal::say(format_args!(
                "there is no symbol {name}: clang's LTO has made {} of it: a livepatch refers to it by that name",
                String::from_utf8_lossy(other)
            ));
        } else {
            terminal::say(suggestions::missing(name, &sources, &[]));
        }
    }
    if arguments.format == Format::Text && sources.objects.vmlinux.is_none() {
        terminal::say(
            "only Symbols.list is at hand: whether a line is a definition, its source file, type, size, address \
             and position are not known; name the object tree for these (--objtree DIR)",
        );
    }
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Problem })
}

/// What clang's ThinLTO puts between a static symbol's name and a number, where it uses the symbol in another file
/// (`ModuleSummaryIndex::getGlobalNameForLocal` in LLVM).
const PROMOTED: &str = ".llvm.";

/// The definitions of names that are missing, under the names that clang's LTO has given them; nothing for patterns.
fn promoted(wanted: &Wanted, missing: &[&String], sources: &Sources) -> Result<Option<Found>> {
    let expression = |name: &&String| Regex::new(&format!(r"^{}\.llvm\.[0-9]+$", regex::escape(name)));
    let patterns = match wanted {
        Wanted::Names(_) => missing.iter().map(expression).collect::<Result<Vec<_>, _>>()?,
        Wanted::Patterns(_) | Wanted::All => Vec::new(),
    };
    if patterns.is_empty() { Ok(None) } else { sources.find(&Wanted::Patterns(patterns)).map(Some) }
}

/// Whether a name is a pattern, as shells have them.
fn is_glob(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

fn wanted(names: &[String], are_expressions: bool) -> Result<Wanted> {
    if !are_expressions && !names.iter().any(|name| is_glob(name)) {
        return Ok(Wanted::names(names.iter().map(|name| name.clone().into_bytes())));
    }
    let pattern = |name: &String| {
        let expression = if are_expressions {
            name.clone()
        } else {
            globset::Glob::new(name).with_context(|| format!("{name}: not a pattern"))?.regex().to_owned()
        };
        Regex::new(&expression).with_context(|| format!("{name}: not a regular expression"))
    };
    Ok(Wanted::Patterns(names.iter().map(pattern).collect::<Result<_>>()?))
}

fn rows<'a>(found: &'a Found, sources: &Sources) -> Result<Vec<Row<'a>>> {
    let mut sites = KnownSites::of(&sources.objects);
    let limit = found.kernel.name_limit;
    let mut rows = Vec::new();
    for (name, known) in &found.names {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        for known in known {
            let definition = known.definition.as_ref();
            let replaceable = definition::replaceable(known, sites.in_object(&known.object)?);
            let usable = definition::nameable(&known.object, name.as_bytes(), limit)
                .and_then(|()| definition::usable(known));
            let klp_sympos = candidates::paste(name, known, limit);
            let is_named = usable.is_ok() && klp_sympos.is_some();
            let klp_func = (is_named && replaceable.is_ok()).then(|| klp_func(name, known));
            let refused = match (usable, replaceable) {
                (Err(fault), _) => Some(format!("no livepatch can use it: {}", fault.with_rule())),
                (Ok(()), Ok(()) | Err(Fault::NoFunction(_))) => None,
                (Ok(()), Err(fault)) => Some(unreplaceable(&fault)),
            };
            rows.push(Row {
                name,
                object: &known.object,
                file: definition.and_then(|d| d.file.as_deref()),
                r#type: definition.and_then(|d| d.kind).map(Kind::shown),
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
    }
    Ok(rows)
}

/// What a klp_func has that replaces a function.
fn klp_func(name: &str, known: &Known) -> String {
    format!(".old_name = \"{name}\", .old_sympos = {}", known.sympos().unwrap_or(0))
}

/// Why a function cannot be replaced.
fn unreplaceable(fault: &Fault) -> String {
    format!("no livepatch can replace it: {}; {}", fault.with_rule(), fault.advice())
}

fn print(found: &Found, wanted: &Wanted, sources: &Sources) -> Result<()> {
    let mut sites = KnownSites::of(&sources.objects);
    for (number, (name, known)) in found.names.iter().enumerate() {
        let name = String::from_utf8_lossy(name);
        let mut text = if number > 0 { "\n".to_owned() } else { String::new() };
        text.push_str(&format!("{name}: {}\n", words::count(known.len(), "definition")));
        text.push_str(&candidates::render(known, sources, terminal::width_of_output()));
        for known in known {
            let replaceable = definition::replaceable(known, sites.in_object(&known.object)?);
            text.push_str(&advice(&name, known, sources, found.kernel.name_limit, &replaceable));
            // For a pattern, that would be a look at all debugging information for each name.
            if matches!(wanted, Wanted::Names(_)) && replaceable.is_ok() {
                text.push_str(&elsewhere(known, sources)?);
            }
        }
        terminal::out(text);
    }
    Ok(())
}

/// What else the compiler has made of a function, a line, or nothing.
fn elsewhere(known: &Known, sources: &Sources) -> Result<String> {
    let told = copies::of_function(sources, known)?.told();
    let object = &known.object;
    Ok(told
        .map(|(what, advice)| format!("{object}: to replace it is not enough: {what}; {advice}\n"))
        .unwrap_or_default())
}

/// What to write for a definition, or why nothing helps: never a line that the other verbs refuse. `limit` is the longest
/// name that the kernel reads.
fn advice(
    name: &str,
    known: &Known,
    sources: &Sources,
    limit: usize,
    replaceable: &Result<(), Fault>,
) -> String {
    let object = &known.object;
    let usable = definition::nameable(object, name.as_bytes(), limit);
    if let Err(fault) = usable.and_then(|()| definition::usable(known)) {
        return format!("{object}: no livepatch can use it: {}\n", fault.with_rule());
    }
    let Some(line) = candidates::paste(name, known, limit) else {
        return format!("{object}: there are {} lines for it: positions are not known\n", known.total);
    };
    let exported = match sources.is_exported(name.as_bytes(), known) {
        Some(true) if known.object == VMLINUX => "exported: needs no annotation; ",
        _ => "",
    };
    let function = match replaceable {
        Ok(()) => format!("in a klp_func: {}\n", klp_func(name, known)),
        // Nobody asks that of data.
        Err(Fault::NoFunction(_)) => String::new(),
        Err(fault) => format!("{object}: {}\n", unreplaceable(fault)),
    };
    format!("{exported}{line}\n{function}")
}
