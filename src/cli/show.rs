// SPDX-License-Identifier: GPL-2.0-only
//! The arguments of `klpbuild show`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::arguments::SourceArgs;
use crate::cli::format::Format;

/// Arguments of `klpbuild show`.
#[derive(Debug, Clone, Default, Args)]
pub struct ShowArgs {
    /// The livepatch; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "LIVEPATCH.ko|O=DIR", required = true)]
    pub words: Vec<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Write a page for a browser to FILE instead, with the source before and after [default: NAME.html, with the
    /// livepatch's name; `-` for standard output]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with = "format")]
    pub html: Option<Option<PathBuf>>,
    /// Add the report that `klpbuild try --format json` wrote to FILE: its stages as a time line on the page
    #[arg(long, value_name = "FILE", requires = "html")]
    pub try_report: Option<PathBuf>,
    /// Where symbols are looked up.
    #[command(flatten)]
    pub sources: SourceArgs,
}
