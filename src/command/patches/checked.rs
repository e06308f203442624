// SPDX-License-Identifier: GPL-2.0-only
//! The result of `klpbuild patches check`, for programs.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::command::patches::change::SeriesState;
use crate::command::patches::series::Series;
use crate::host::document;
use crate::host::exit::Exit;

/// The series for a tree, and its state.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    tree: &'a Path,
    /// The name of the series; null if none fits.
    series: Option<&'static str>,
    /// The kernels that it is for.
    range: Option<&'static str>,
    /// `fits`, `applied`, `half-applied` or `none`.
    state: &'static str,
    /// The files that have the series, or that it would change.
    files: Vec<String>,
    /// The files that lack a half-applied series.
    without: Vec<String>,
    /// Why no series fits.
    reasons: Vec<String>,
}

/// A series with its state, or why there is none.
type FoundSeries = std::result::Result<(&'static Series, SeriesState), Vec<String>>;

/// Prints what `find` finds in `tree`. The exit status is the one that people get for it.
///
/// # Errors
/// The tree cannot be read.
pub(super) fn print(tree: &Path, find: impl FnOnce(&Path) -> Result<FoundSeries>) -> Result<Exit> {
    let (series, state, files, without, reasons) = match find(tree)? {
        Err(reasons) => (None, "none", Vec::new(), Vec::new(), reasons),
        Ok((series, state)) => {
            let (state, files, without, reasons) = match state {
                SeriesState::Fits(change) => ("fits", change.paths(), Vec::new(), Vec::new()),
                SeriesState::Applied(change) => ("applied", change.paths(), Vec::new(), Vec::new()),
                SeriesState::Half { forth, back } => {
                    ("half-applied", back.paths(), forth.paths(), Vec::new())
                }
                SeriesState::Neither(why) => ("none", Vec::new(), Vec::new(), vec![why]),
            };
            (Some(series), state, files, without, reasons)
        }
    };
    let (name, range) = (series.map(|series| series.name), series.map(|series| series.range));
    let checked = Checked { tree, series: name, range, state, files, without, reasons };
    document::print("patches check", &checked)?;
    Ok(if matches!(state, "fits" | "applied") { Exit::Done } else { Exit::Problem })
}
