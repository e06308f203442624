// SPDX-License-Identifier: GPL-2.0-only
//! The table of a symbol's definitions.

use crate::host::table;
use crate::kernel::sources::{Known, Sources};
use crate::livepatch::definition;

const HEADINGS: [&str; 9] =
    ["object", "source file", "type", "binding", "size", "address", "sympos", "exported", ""];

/// The definitions, a line each under a line of headings, or a block each where a terminal of `columns` is too narrow.
/// `-` stands for what is not known.
pub fn render(known: &[Known], sources: &Sources, columns: Option<usize>) -> String {
    let rows: Vec<[String; 9]> = known.iter().map(|known| row(known, sources)).collect();
    table::render(&HEADINGS, &rows, columns)
}

fn row(known: &Known, sources: &Sources) -> [String; 9] {
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

/// The line that says in C which one is meant; none if no line could. `limit` is the longest name that the kernel reads.
pub fn paste(name: &str, known: &Known, limit: usize) -> Option<String> {
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
    // A compiler's name cannot be declared: the declaration gets it as assembler name.
    let plain: String = name
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '_' })
        .collect();
    Some(format!("extern <type> {plain} KLP_RELOC_SYMBOL_POS(<patched object>, {object}, {name}, {sympos});"))
}
