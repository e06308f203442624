// SPDX-License-Identifier: GPL-2.0-only
//! The end of the main run.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::build::commands;
use crate::build::plan::Plan;
use crate::build::progress::history::History;
use crate::build::report::MapReport;
use crate::build::session::{MakeOutcome, Session};
use crate::elf::image::Image;
use crate::host::exit::Exit;
use crate::host::signal::Watch;
use crate::host::terminal;
use crate::host::words::{clock, count};
use crate::kernel::external::context::Context;
use crate::kernel::origin::Origin;
use crate::kernel::tree::built::BuiltTree;
use crate::kernel::tree::era::{Kbuild, Method};
use crate::livepatch::convert;

/// Ends the main run: livepatches are converted, and what was built is told. `kbuild` is none for a kernel without
/// livepatching.
///
/// # Errors
/// A livepatch cannot be converted; no unconverted one is left.
pub(super) fn finish(
    plan: &Plan,
    session: &Session<'_>,
    outcome: &MakeOutcome,
    report: Option<MapReport>,
    kbuild: Option<&Kbuild>,
) -> Result<Exit> {
    session.sum_up(outcome);
    if let (Some(external), Some(MapReport { livepatches: 1.., .. })) = (&plan.external, report) {
        commands::write(external, &plan.state)?;
    }
    if outcome.exit != Exit::Done && !plan.conversion.is_off {
        remove_unconverted(plan, outcome.run.time)?;
    }
    match outcome.exit {
        Exit::Done => {}
        Exit::Make(_) if report.is_some_and(|report| report.failed) => return Ok(Exit::Problem),
        exit => return Ok(exit),
    }
    if report.is_some_and(|report| report.livepatches > 0)
        && !plan.conversion.is_off
        && let Some(kbuild) = kbuild.filter(|kbuild| kbuild.method != Method::Patched)
    {
        let exit = session.part("conversion of the livepatches", || convert(plan, kbuild))?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    if let (Some(external), Some(MapReport { modules: 0, livepatches: 0, .. })) = (&plan.external, report) {
        terminal::say(format_args!(
            "{} has no module to build: what is to be one has to be in obj-m (obj-y is for what becomes a part of the \
             kernel)",
            external.source.display()
        ));
    }
    // With V=1 and -s no steps are printed: that says nothing about the next run.
    if outcome.run.steps > 0 {
        let last = plan.state.last_run();
        History::read(&last).with(outcome.run).write(&last)?;
    }
    if !plan.quiet {
        let time = clock(outcome.run.time);
        terminal::tell(match report {
            Some(MapReport { modules, livepatches: 0, .. }) if plan.external.is_some() => {
                format!("{}, no livepatch; {time}", count(modules, "module"))
            }
            Some(MapReport { modules, livepatches, names, .. }) => format!(
                "{}, {}; {names} names in Symbols.list; {time}",
                count(modules, "module"),
                count(livepatches, "livepatch"),
            ),
            None => format!("make is done; {time}"),
        });
    }
    Ok(Exit::Done)
}

/// Removes livepatches that a make which failed or was stopped has linked in its last `time`: they are not converted,
/// and make and `modules_install` would take them for finished.
fn remove_unconverted(plan: &Plan, time: Duration) -> Result<()> {
    let root = plan.external.as_ref().map_or(&plan.tree.objtree, |external| &external.output);
    // Time stamps may be coarse.
    let begin = SystemTime::now().checked_sub(time + Duration::from_secs(2));
    for module in plan.state.livepatches()? {
        let path = root.join(module);
        let is_new = fs::metadata(&path).and_then(|meta| meta.modified()).is_ok_and(|at| Some(at) >= begin);
        if is_new && Image::read(&path).map_or(true, |image| !convert::is_converted(&image)) {
            fs::remove_file(&path).context("cannot remove a livepatch that is not converted")?;
        }
    }
    Ok(())
}

/// Converts the livepatches that the map step found.
fn convert(plan: &Plan, kbuild: &Kbuild) -> Result<Exit> {
    let root = plan.external.as_ref().map_or(&plan.tree.objtree, |external| &external.output);
    // With goals of its own, make may not have linked all of them.
    let modules = plan.state.livepatches()?;
    let modules: Vec<String> = modules.into_iter().filter(|module| root.join(module).is_file()).collect();
    let mut watch = Watch::begin()?;
    // Each is converted or removed: a signal waits until all are.
    let context = plan.state.context()?.filter(|_| plan.external.is_some());
    let origin = match &context {
        Some(context @ Context { external: Some(external), .. }) => {
            Origin::of_external(context, external, kbuild, plan.quiet)?
        }
        _ => Origin::of_built(BuiltTree::known(&plan.tree.srctree, root, kbuild))?,
    };
    convert::tree::convert_tree(root, &modules, &origin, plan.conversion, plan.quiet)?;
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}
