// SPDX-License-Identifier: GPL-2.0-only
//! The result of a build, for programs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::build::plan::Plan;
use crate::build::report::MapReport;
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::words;

/// The result of a build.
#[derive(Debug, Serialize)]
struct Built<'a> {
    /// The object tree, or the external modules' directory.
    directory: &'a Path,
    /// Whether these are external modules.
    external: bool,
    succeeded: bool,
    /// The number of modules in the map; the next is the number of names. Null if there is no map.
    modules: Option<usize>,
    names: Option<usize>,
    /// The livepatches, by paths relative to the directory.
    livepatches: Vec<String>,
    log: &'a Path,
    seconds: f64,
}

/// Prints the result.
///
/// # Errors
/// The list of livepatches cannot be read.
pub(super) fn print(plan: &Plan, exit: Exit, time: Duration) -> Result<Exit> {
    let directory = plan.external.as_ref().map_or(&plan.tree.objtree, |external| &external.output);
    // If this build failed or makes no map, the map that is there is an earlier build's.
    let is_mapped = exit == Exit::Done && directory.join("Symbols.list").is_file();
    let report = MapReport::read(&plan.state).filter(|_| is_mapped);
    let report = if is_mapped && report.is_none() { MapReport::of_lists(directory).ok() } else { report };
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
