// SPDX-License-Identifier: GPL-2.0-only
//! Converts the livepatches of an object tree, or of external modules, in place.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use rayon::prelude::*;

use crate::elf::image::Image;
use crate::host::several::{self, Several};
use crate::host::{output, terminal};
use crate::kernel::external::context::Conversion;
use crate::kernel::origin::Origin;
use crate::kernel::sources::Sources;
use crate::kernel::symbols::list::NameQuery;
use crate::livepatch::convert::{Choices, ConvertOutcome, convert, is_converted};
use crate::livepatch::doubts;
use crate::livepatch::patch::Patch;
use crate::livepatch::subject::Doubt;

/// Converts as many livepatches of an object tree, or of external modules, as possible, in place: `modules` are paths
/// of `.ko` files relative to `root`.
///
/// # Errors
/// Some cannot be converted: the message has the reasons for each. Their files are removed: make would take them for
/// finished, and links them again if they are missing.
pub fn convert_tree(
    root: &Path,
    modules: &[String],
    kernel: &Origin,
    conversion: Conversion,
    quiet: bool,
) -> Result<()> {
    if modules.is_empty() {
        return Ok(());
    }
    let sources = Sources::open(kernel, None)?;
    let choices = Choices { keep_module_exports: conversion.keep_module_exports, is_marked: true };
    let outcomes: Vec<Result<(ConvertOutcome, Option<Image>)>> = modules
        .par_iter()
        .map(|module| {
            let image = Image::read(&root.join(module))?;
            let was_finished = is_converted(&image);
            let outcome = convert(image.clone(), &sources, choices)?;
            let finished = match &outcome {
                ConvertOutcome::Converted { bytes, .. } => Some(Image::parse(bytes)?),
                ConvertOutcome::Unchanged => Some(image).filter(|_| !was_finished),
            };
            Ok((outcome, finished))
        })
        .collect();
    let finished: Vec<&Image> =
        outcomes.iter().flatten().filter_map(|(_, finished)| finished.as_ref()).collect();
    let mut doubts = doubts_of(&finished, &sources)?.into_iter();
    let mut failures = Vec::new();
    for (module, outcome) in modules.iter().zip(outcomes) {
        let path = root.join(module);
        let end = || {
            let (outcome, finished) = outcome?;
            warn(module, &finished.and_then(|_| doubts.next()).unwrap_or_default())?;
            if let ConvertOutcome::Converted { bytes, .. } = &outcome {
                replace(&path, &path, bytes)?;
            }
            Ok::<_, anyhow::Error>(outcome)
        };
        match end() {
            Ok(outcome) => {
                if let ConvertOutcome::Converted { notes, .. } = outcome
                    && !quiet
                {
                    terminal::progress(format!("  KLP [M] {module}\n"));
                    notes.iter().for_each(|note| terminal::say(format_args!("{module}: {note}")));
                }
            }
            Err(error) => {
                let each = several::each(&error).into_iter();
                failures.extend(each.map(|error| format!("cannot convert {module}: {error}")));
                match fs::remove_file(root.join(module)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        failures.push(format!("{error}: remove it, for it is not converted"));
                    }
                    _ => {}
                }
            }
        }
    }
    Several::unless_empty(failures)
}

/// The doubts about each of some converted livepatches.
pub fn doubts_of(images: &[&Image], sources: &Sources) -> Result<Vec<Vec<Doubt>>> {
    let patches: Vec<Option<Patch>> =
        images.iter().map(|image| Patch::read_for(image, sources.sizes())).collect();
    let livepatches: Vec<(&Image, Option<&Patch>)> =
        images.iter().copied().zip(patches.iter().map(Option::as_ref)).collect();
    let names: HashSet<(Vec<u8>, Option<String>)> =
        livepatches.iter().flat_map(|(image, patch)| doubts::names(image, *patch)).collect();
    if images.is_empty() {
        return Ok(Vec::new());
    }
    doubts::of(&livepatches, sources, &sources.find(&NameQuery::meant(names))?)
}

/// Prints the doubts about the livepatch `shown` that are warnings.
///
/// # Errors
/// Some doubts are errors: the message has all of these.
pub fn warn(shown: &str, doubts: &[Doubt]) -> Result<()> {
    let text =
        |doubt: &Doubt| format!("{}: {}; {} ({})", doubt.place, doubt.message, doubt.advice, doubt.rule);
    for doubt in doubts.iter().filter(|doubt| !doubt.is_error) {
        terminal::say(format_args!("{shown}: warning: {}", text(doubt)));
    }
    let errors: Vec<String> = doubts.iter().filter(|doubt| doubt.is_error).map(text).collect();
    Several::unless_empty(errors)
}

/// Replaces `output` by a file with `bytes` in one step; it gets the permissions of `input`.
pub fn replace(input: &Path, output: &Path, bytes: &[u8]) -> Result<()> {
    let mode = fs::metadata(input)?.permissions().mode();
    output::write_named(output, &[bytes], Some(mode))
}
