// SPDX-License-Identifier: GPL-2.0-only
//! The definitions that a symbol may mean: a table to choose from, which of them lies in a source file that is
//! patched, and the line of C for each.

use std::fmt::Write as _;
use std::path::Path;

use crate::debuginfo::dwarf::DefinedAt;
use crate::elf::debugging::DebugFacts;
use crate::host::table;
use crate::kernel::sources::{KernelDefinition, Sources};
use crate::livepatch::definition;
use crate::livepatch::header;
use crate::livepatch::testimony;
use crate::livepatch::testimony::DebugQuestion;

const HEADINGS: [&str; 9] =
    ["object", "source file", "type", "binding", "size", "address", "sympos", "exported", ""];

/// Files and lines of definitions, by debugging information.
#[derive(Debug, Default)]
pub struct SourcePlaces {
    list: Vec<(KernelDefinition, DefinedAt)>,
}

impl SourcePlaces {
    /// Files and lines of the definitions `known`. Each object's debugging information is read once.
    pub fn of<'a>(sources: &Sources, known: impl IntoIterator<Item = &'a KernelDefinition>) -> SourcePlaces {
        let known: Vec<&KernelDefinition> =
            known.into_iter().filter(|known| known.definition.is_some()).collect();
        let plain: Vec<KernelDefinition> = known.iter().map(|known| with_name_in_c(known)).collect();
        let asked: Vec<DebugQuestion<'_>> =
            plain.iter().map(|known| DebugQuestion { known, with_copies: false }).collect();
        let told = if asked.is_empty() { Vec::new() } else { testimony::by_dwarf(sources, &asked) };
        SourcePlaces::from_facts(known.into_iter().zip(&told))
    }

    /// Files and lines of definitions, from what debugging information said of each.
    pub fn from_facts<'a>(
        told: impl IntoIterator<Item = (&'a KernelDefinition, &'a DebugFacts)>,
    ) -> SourcePlaces {
        let told = told.into_iter();
        SourcePlaces {
            list: told.filter_map(|(known, told)| Some((known.clone(), told.defined.clone()?))).collect(),
        }
    }

    /// File and line of the definition `known`, if they are known.
    pub fn at(&self, known: &KernelDefinition) -> Option<&DefinedAt> {
        self.list.iter().find(|(other, _)| other.is_same(known)).map(|(_, defined)| defined)
    }
}

/// A definition with its name in C: debugging information has the compiler's variants of a function (`name.isra.0`)
/// under the function's name.
pub fn with_name_in_c(known: &KernelDefinition) -> KernelDefinition {
    let mut known = known.clone();
    if let Some(definition) = &mut known.definition
        && let Some(end) = memchr::memchr(b'.', &definition.name).filter(|end| *end > 0)
    {
        definition.name.truncate(end);
    }
    known
}

/// All definitions of one name.
#[derive(Debug)]
pub struct Candidates<'a> {
    name: &'a str,
    known: &'a [KernelDefinition],
    sources: &'a Sources,
    places: &'a SourcePlaces,
    /// The index of the definition that is likely meant, and why.
    likely: Option<(usize, String)>,
}

impl<'a> Candidates<'a> {
    /// The definitions `known` of `name`, with their files and lines as far as `places` has them.
    pub fn new(
        name: &'a str,
        known: &'a [KernelDefinition],
        sources: &'a Sources,
        places: &'a SourcePlaces,
    ) -> Candidates<'a> {
        Candidates { name, known, sources, places, likely: None }
    }

    /// Marks the definition in the source file of one of the functions that are `patched`, each with its name.
    pub fn beside_functions(mut self, patched: &[(String, KernelDefinition)]) -> Candidates<'a> {
        let beside =
            |known: &KernelDefinition| patched.iter().find(|(_, other)| self.is_beside(known, other));
        self.likely = only(self.known.iter().enumerate().filter_map(|(index, known)| {
            let (function, _) = beside(known)?;
            Some((index, format!("in the source file of {function}")))
        }));
        self
    }

    /// Marks the definition in the source file that is `patched`, a path below the source tree.
    pub fn beside_file(mut self, patched: &str) -> Candidates<'a> {
        let is_there =
            |known: &KernelDefinition| match self.places.at(known) {
                Some(place) => self.shortened(&place.unit) == patched,
                None => known.definition.as_ref().and_then(|own| own.file.as_deref()).is_some_and(|file| {
                    file == patched || Path::new(patched).file_name() == Some(file.as_ref())
                }),
            };
        let all = self.known.iter().enumerate().filter(|(_, known)| is_there(known));
        self.likely = only(all.map(|(index, _)| (index, "in the patched file".to_owned())));
        self
    }

    /// Whether two definitions are in the same source file.
    fn is_beside(&self, one: &KernelDefinition, other: &KernelDefinition) -> bool {
        let unit = |known| self.places.at(known).map(|place| &place.unit).filter(|unit| !unit.is_empty());
        one.object == other.object
            && match (unit(one), unit(other)) {
                (Some(one), Some(other)) => one == other,
                _ => {
                    let named =
                        |known: &KernelDefinition| known.definition.as_ref().and_then(|own| own.file.clone());
                    named(one).is_some_and(|file| named(other) == Some(file))
                }
            }
    }

    /// The definitions as a table: one line each below a line of headings, or one block each if a terminal of
    /// `columns` is too narrow. `-` stands for what is not known.
    pub fn table(&self, columns: Option<usize>) -> String {
        let row = |(index, known): (usize, &KernelDefinition)| {
            let mut row = row(known, self.sources);
            if let Some(place) = self.place(known) {
                row[1] = place;
            }
            if let Some((_, why)) = self.likely.as_ref().filter(|(likely, _)| *likely == index) {
                let remark = &mut row[8];
                *remark = if remark.is_empty() { why.clone() } else { format!("{remark}, {why}") };
            }
            row
        };
        let rows: Vec<[String; 9]> = self.known.iter().enumerate().map(row).collect();
        table::render(&HEADINGS, &rows, columns)
    }

    /// The line of C for each definition that can be meant, the likely one first; empty if there is none. `limit` is
    /// the longest name that the kernel reads, in bytes.
    pub fn advice(&self, limit: usize) -> String {
        let all = self.known.iter().enumerate();
        let lines = all.filter_map(|(index, known)| {
            let place = self.place(known).or_else(|| known.definition.as_ref()?.file.clone());
            // A path with `*/` in it would end the comment.
            let place = place.filter(|place| !place.contains("*/") && self.known.len() > 1);
            let place = place.map(|place| format!(" /* {place} */")).unwrap_or_default();
            Some((index, format!("  {}{place}\n", paste(self.name, known, limit)?)))
        });
        let is_likely = |index: usize| self.likely.as_ref().is_some_and(|(likely, _)| *likely == index);
        let (likely, others): (Vec<_>, Vec<_>) = lines.partition(|(index, _)| is_likely(*index));
        if likely.is_empty() && others.is_empty() {
            return String::new();
        }
        let others: String = others.into_iter().map(|(_, line)| line).collect();
        let include = format!("  #include \"{}\"\n", header::NAME);
        let mut text = format!("write the header with `klpbuild header -o {}`, and paste ", header::NAME);
        match (likely.first(), self.likely.as_ref()) {
            (Some((_, line)), Some((_, why))) => {
                let _ = write!(text, "the line of the one {why}:\n{include}{line}");
                if !others.is_empty() {
                    let _ = write!(text, "or else the line of the one that is meant:\n{others}");
                }
            }
            _ => {
                let _ = write!(text, "the line of the one that is meant:\n{include}{others}");
            }
        }
        text
    }

    /// File and line of a definition, as in `fs/proc/proc.c:12`; with the compiled file if the definition is in a
    /// header.
    fn place(&self, known: &KernelDefinition) -> Option<String> {
        place(self.places.at(known)?, self.sources)
    }

    /// A path without the directory of the kernel's sources.
    fn shortened<'b>(&self, path: &'b str) -> &'b str {
        shortened(path, self.sources)
    }
}

/// The only item of an iterator; none if there are several.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// File and line, as in `fs/proc/proc.c:12`; with the compiled file if the definition is in a header.
fn place(defined: &DefinedAt, sources: &Sources) -> Option<String> {
    let [file, unit] = [&defined.file, &defined.unit].map(|path| shortened(path, sources));
    let mut text = Some(file).filter(|file| !file.is_empty())?.to_owned();
    if defined.line > 0 {
        let _ = write!(text, ":{}", defined.line);
    }
    if !unit.is_empty() && unit != file {
        let _ = write!(text, " in {unit}");
    }
    Some(text)
}

/// A path without the directory of the kernel's sources.
pub fn shortened<'a>(path: &'a str, sources: &Sources) -> &'a str {
    let tree = sources.srctree.as_deref().and_then(Path::to_str);
    tree.and_then(|tree| path.strip_prefix(tree)?.strip_prefix('/')).unwrap_or(path)
}

fn row(known: &KernelDefinition, sources: &Sources) -> [String; 9] {
    let unknown = || "-".to_owned();
    let definition = known.definition.as_ref();
    let name = definition.map(|definition| definition.name.as_slice()).unwrap_or_default();
    let place = definition.map(|definition| match (&definition.section, known.object.as_str()) {
        (_, "vmlinux") => format!("{:016x}", definition.value),
        (Some(section), _) => format!("{section}+{:#x}", definition.value),
        (None, _) => format!("{:#x}", definition.value),
    });
    let sympos = match (known.position, known.total) {
        (Some(position), total) => format!("{position} of {total}"),
        (None, total) if definition.is_none() => format!("? of {total}"),
        _ => "none".to_owned(),
    };
    let exported = match sources.is_exported(name, known) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    [
        known.object.clone(),
        definition.and_then(|definition| definition.file.clone()).unwrap_or_else(unknown),
        definition.and_then(|d| d.kind).map_or_else(unknown, |kind| kind.shown().to_owned()),
        definition.map_or_else(unknown, |definition| definition.binding.shown().to_owned()),
        definition.and_then(|d| d.size).map_or_else(unknown, |size| size.to_string()),
        place.unwrap_or_else(unknown),
        sympos,
        exported.to_owned(),
        if known.is_init() { "__init".to_owned() } else { String::new() },
    ]
}

/// The line of C that says which definition is meant; none if no line can. `limit` is the longest name that the
/// kernel reads, in bytes.
pub fn paste(name: &str, known: &KernelDefinition, limit: usize) -> Option<String> {
    definition::nameable(&known.object, name.as_bytes(), limit).ok()?;
    definition::usable(known).ok()?;
    let sympos = match (&known.definition, known.position) {
        (Some(_), None) => return None,
        _ => known.sympos()?,
    };
    let object = &known.object;
    let is_identifier = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_identifier {
        let line =
            format!("static KLP_MODULE_RELOC({object}) {name}_reloc[] = {{ KLP_SYMPOS({name}, {sympos}) }};");
        return Some(line);
    }
    // C cannot declare a compiler's name: the declaration gets it as its assembler name.
    let plain: String = name
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '_' })
        .collect();
    Some(format!("extern <type> {plain} KLP_RELOC_SYMBOL_POS(<patched object>, {object}, {name}, {sympos});"))
}
