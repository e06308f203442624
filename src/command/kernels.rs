// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild kernels`: the kernels that are installed, and which files of each are there.

use anyhow::Result;
use serde::Serialize;

use crate::cli::{Format, KernelsArgs, Options};
use crate::command::asked;
use crate::host::exit::Exit;
use crate::host::{document, table, terminal};
use crate::kernel::installed::inventory::{self, ListedKernel};
use crate::kernel::installed::places::Places;

const HEADINGS: [&str; 6] = ["release", "headers", "symbols", "modules", "source", "livepatches"];

/// The list for programs.
#[derive(Debug, Serialize)]
struct Inventory<'a> {
    kernels: &'a [ListedKernel],
}

/// Lists the installed kernels.
///
/// # Errors
/// A directory cannot be read.
pub fn kernels(options: &Options, arguments: &KernelsArgs) -> Result<Exit> {
    let start = asked::start(options)?;
    let sysroot = arguments.sysroot.as_ref().map(|sysroot| start.join(sysroot));
    let entries = inventory::entries(&Places::below(sysroot.as_deref()))?;
    if arguments.format == Format::Json {
        document::print("kernels", &Inventory { kernels: &entries })?;
        return Ok(Exit::Done);
    }
    let rows: Vec<[String; 6]> = entries.iter().map(row).collect();
    terminal::out(table::render(&HEADINGS, &rows, terminal::width_of_output()));
    if !options.quiet {
        terminal::tell(closing(&entries));
    }
    Ok(Exit::Done)
}

fn row(entry: &ListedKernel) -> [String; 6] {
    let there = |is_there: bool| if is_there { "yes" } else { "no" }.to_owned();
    let livepatches = match &entry.options_missing {
        Some(missing) if missing.is_empty() => "yes".to_owned(),
        Some(missing) => format!("no, CONFIG_{} is not set", missing.first().unwrap_or(&"LIVEPATCH")),
        None => "not known".to_owned(),
    };
    let source = match &entry.source {
        Some(source) if source.is_dir() => "tree",
        Some(_) => "archive",
        None => "no",
    };
    [
        format!("{}{}", entry.release, if entry.running { " (running)" } else { "" }),
        there(entry.headers.is_some()),
        entry.symbol_kind.map_or("no", |kind| kind.shown()).to_owned(),
        entry.modules.map_or("no".to_owned(), |modules| modules.to_string()),
        source.to_owned(),
        livepatches,
    ]
}

/// The lines below the list: how to use one of the kernels, and what to do about missing files.
fn closing(entries: &[ListedKernel]) -> String {
    let is_whole = |entry: &&ListedKernel| {
        entry.headers.is_some()
            && entry.symbols.is_some()
            && entry.options_missing.as_ref().is_some_and(Vec::is_empty)
    };
    match (entries.iter().rev().find(is_whole), entries.last()) {
        (Some(entry), _) => format!(
            "--release {} has any command take that kernel, as KDIR={} does",
            entry.release, entry.release
        ),
        (None, Some(entry)) => format!(
            "none of them has all that livepatches need: klpbuild doctor --release {} says what is missing",
            entry.release
        ),
        (None, None) => "no kernel is installed here".to_owned(),
    }
}
