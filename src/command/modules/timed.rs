// SPDX-License-Identifier: GPL-2.0-only
//! The page with the times of a build.

use std::path::Path;

use anyhow::Result;

use crate::build::plan::Plan;
use crate::build::timings;
use crate::build::timings::Timings;
use crate::host::output;
use crate::host::terminal;

/// Writes the page: to `page`, or else into klpbuild's own directory.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(plan: &Plan, page: Option<&Path>, timings: &Timings) -> Result<()> {
    let told = timings.times();
    if told.phases.is_empty() {
        // No make was run: the page of an earlier build stays.
        return Ok(());
    }
    let built = match &plan.external {
        Some(external) => external.source.display().to_string(),
        None => plan.tree.objtree.display().to_string(),
    };
    let text = timings::page(&format!("klpbuild modules in {built}"), &told);
    let path = page.map_or_else(|| plan.state.timings(), Path::to_path_buf);
    output::write_named(&path, &[text], None)?;
    if !plan.quiet {
        terminal::tell(format_args!("timings: {}", path.display()));
    }
    Ok(())
}
