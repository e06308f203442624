// SPDX-License-Identifier: GPL-2.0-only
//! What was built, for programs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::build::plan::Plan;
use crate::build::report::Report;
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::words;

/// What a build came to.
#[derive(Debug, Serialize)]
struct Built<'a> {
    /// Where it was built.
    directory: &'a Path,
    /// Whether these are external modules.
    external: bool,
    succeeded: bool,
    /// How many modules are in the map, and names; null if there is none.
    modules: Option<usize>,
    names: Option<usize>,
    /// The livepatches, relative to the directory.
    livepatches: Vec<String>,
    log: &'a Path,
    seconds: f64,
}

/// Prints it.
///
/// # Errors
/// The list of livepatches cannot be read.
pub(super) fn print(plan: &Plan, exit: Exit, time: Duration) -> Result<Exit> {
    let directory = plan.external.as_ref().map_or(&plan.tree.objtree, |external| &external.output);
    // What is there is of an earlier build, if this one has failed or makes no map.
    let is_mapped = exit == Exit::Done && directory.join("Symbols.list").is_file();
    let report = Report::read(&plan.state).filter(|_| is_mapped);
    let report = if is_mapped && report.is_none() { Report::of_lists(directory).ok() } else { report };
    let livepatches = if report.is_some() { plan.state.livepatches()? } else { Vec::new() };
    let built = Built {
        directory,
        external: plan.external.is_some(),
        succeeded: exit == Exit::Done,
        modules: report.map(|report| report.modules),
        names: report.map(|report| report.names),
        livepatches,
        log: &plan.log,
        seconds: words::seconds(time),
    };
    document::print("modules", &built)?;
    Ok(exit)
}
