// SPDX-License-Identifier: GPL-2.0-only
//! What is typed for `klpbuild show`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::arguments::{Format, SourceArgs};

/// Arguments of `klpbuild show`.
#[derive(Debug, Clone, Default, Args)]
pub struct ShowArgs {
    /// The livepatch; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "LIVEPATCH.ko|O=DIR", required = true)]
    pub words: Vec<PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// What symbols are looked up in.
    #[command(flatten)]
    pub sources: SourceArgs,
}
