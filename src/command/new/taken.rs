// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's own text of the functions, if its source is at hand.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::build::progress::Shown;
use crate::cli::{Options, ProgressKind};
use crate::command::asked;
use crate::command::new::target::ReplaceableFunction;
use crate::frompatch::prepare::Made;
use crate::frompatch::takeover::{self, NewFile};
use crate::frompatch::target::TargetKernel;
use crate::host::exit::Exit;
use crate::host::signal::Watch;
use crate::host::terminal;
use crate::kernel::installed::Choice;
use crate::kernel::origin::Origin;
use crate::kernel::tree::config::Config;

/// The outcome of taking functions over.
#[derive(Debug)]
pub enum Takeover {
    /// The new files, and the source tree that their text comes from.
    Taken(PathBuf, Vec<NewFile>),
    /// Nothing was taken over, for this reason.
    Not(String),
    /// The run was stopped.
    Over(Exit),
}

/// Takes the functions over; `source` is the source tree, if the user names it.
///
/// # Errors
/// The named source is not the kernel's.
pub fn take(
    options: &Options,
    origin: Origin,
    source: Option<&Path>,
    targets: &[ReplaceableFunction],
) -> Result<Takeover> {
    if let Some(why) = origin.config().and_then(why_not_supported) {
        ensure!(source.is_none(), "--source: {why}");
        return Ok(Takeover::Not(why.to_owned()));
    }
    match own_text(options, origin, source, targets) {
        Ok(outcome) => Ok(outcome),
        Err(error) if source.is_some() => Err(error),
        Err(error) => Ok(Takeover::Not(format!("{error:#}"))),
    }
}

/// Why nothing is taken over from kernels with such a configuration; none if something is.
fn why_not_supported(config: &Config) -> Option<&'static str> {
    match () {
        () if !config.has("X86_64") => Some("that is done for x86-64 only, not yet for other machines"),
        () if config.has("LTO_CLANG") => {
            Some("that is not done yet for kernels with link-time optimization (CONFIG_LTO_CLANG)")
        }
        () if config.has("CC_IS_CLANG") => Some("that is not done yet for kernels that clang has built"),
        () => None,
    }
}

fn own_text(
    options: &Options,
    origin: Origin,
    source: Option<&Path>,
    targets: &[ReplaceableFunction],
) -> Result<Takeover> {
    let kernel = TargetKernel::of(origin, source, options.quiet)?;
    let mut watch = Watch::begin()?;
    let order = || {
        let mut order = asked::order(options, &[], None, &Choice::default().places())?;
        if options.progress == ProgressKind::Auto && !terminal::TerminalStreams::look().capable {
            order.shown = Shown::None;
        }
        Ok(order)
    };
    let workshop = match kernel.workshop(order, || watch.received())? {
        Made::Done(workshop) => workshop,
        Made::Over(exit) => return Ok(Takeover::Over(exit)),
    };
    let functions: Vec<_> =
        targets.iter().map(|target| (target.name.clone(), target.known.clone())).collect();
    Ok(match takeover::take(&kernel, &workshop, &functions)? {
        Made::Done(files) => Takeover::Taken(kernel.source.clone(), files),
        Made::Over(exit) => Takeover::Over(exit),
    })
}
