// SPDX-License-Identifier: GPL-2.0-only
//! What is typed for `klpbuild livepatch`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::arguments::KernelArgs;
use crate::cli::format::Format;

/// Arguments of `klpbuild livepatch`.
#[derive(Debug, Clone, Default, Args)]
pub struct LivepatchArgs {
    /// The patches, in order: unified diffs or what git format-patch writes; `-` is standard input. KDIR=DIR names the
    /// kernel
    #[arg(value_name = "PATCH|KDIR=DIR", required = true)]
    pub words: Vec<String>,
    /// The livepatch's name [default: that of the last patch]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write the livepatch to FILE [default: NAME.ko in the current directory]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The kernel's source [default: that of the object tree, or where distributions put it]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Take N directories off the paths in the patches
    #[arg(short = 'p', long, value_name = "N", default_value_t = 1)]
    pub strip: usize,
    /// Have it take the place of all livepatches that are loaded, when it is: what they changed, and this one does not, is
    /// taken back (klp_patch.replace, from Linux 5.1 on)
    #[arg(long)]
    pub replace: bool,
    /// Leave in DIR what the livepatch is built from, to be read, changed, and built again with make
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Boot the kernel with the livepatch, as klpbuild try does
    #[arg(long = "try")]
    pub is_tried: bool,
    /// For --try: run COMMAND before, while and after the livepatch is enabled
    #[arg(long, value_name = "COMMAND", requires = "is_tried")]
    pub run: Option<String>,
    /// Take a patch that changes the layout of structures: memory that is there keeps the old one
    #[arg(long)]
    pub allow_layout: bool,
    /// The object tree, or the headers of an installed kernel
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    pub objtree: Option<PathBuf>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Where an installed kernel has its symbols.
    #[command(flatten)]
    pub kernel: KernelArgs,
}
