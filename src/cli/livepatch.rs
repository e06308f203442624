// SPDX-License-Identifier: GPL-2.0-only
//! The arguments of `klpbuild livepatch`.

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
    /// The livepatch's name [default: the name of the last patch]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write the livepatch to FILE [default: NAME.ko in the current directory]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The kernel's source [default: that of the object tree, or where distributions put it]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Strip N directories from the paths in the patches
    #[arg(short = 'p', long, value_name = "N", default_value_t = 1)]
    pub strip: usize,
    /// Replace all loaded livepatches when this one is loaded: what they changed and this one does not is reverted
    /// (klp_patch.replace, from Linux 5.1 on)
    #[arg(long)]
    pub replace: bool,
    /// Keep in DIR the files that the livepatch is built from, to read, change and build again with make
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Boot the kernel with the livepatch, as klpbuild try does
    #[arg(long = "try")]
    pub is_tried: bool,
    /// For --try: run COMMAND before, while and after the livepatch is enabled
    #[arg(long, value_name = "COMMAND", requires = "is_tried")]
    pub run: Option<String>,
    /// Accept a patch that changes the layout of structures: data already in memory keeps the old layout
    #[arg(long)]
    pub allow_layout: bool,
    /// The object tree, or the headers of an installed kernel
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    pub objtree: Option<PathBuf>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The files that have the symbols of an installed kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
}
