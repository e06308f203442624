// SPDX-License-Identifier: GPL-2.0-only
//! Verification: whether a finished livepatch keeps the rules, and fits its kernel.
//!
//! - [`form`]: what the file itself shows (R1 to R15)
//! - [`meaning`]: what the kernel's objects show of the symbols and functions that it names (S1 to S11)
//! - [`findings`]: the findings of both

pub(crate) mod findings;
pub(crate) mod form;
mod meaning;

use anyhow::{Result, ensure};

use crate::elf::image::Image;
use crate::kernel::sources::Sources;
use crate::kernel::symbols::exports;
use crate::kernel::tree::facts::LivepatchCore;
use crate::livepatch::patch::Patch;
use crate::livepatch::verify::findings::{Finding, Findings, Severity};

/// Checks that `sources` have enough to tell whether a livepatch is correct.
///
/// # Errors
/// They do not.
pub fn complete(sources: &Sources) -> Result<()> {
    let place = &sources.looked_in;
    ensure!(
        sources.objects.vmlinux.is_some(),
        "there is no vmlinux {place}: positions cannot be checked against a list alone (--objtree DIR)"
    );
    ensure!(sources.exports.is_some(), "{}", exports::not_known(place));
    Ok(())
}

/// Checks livepatches against the rules and against the kernel of `sources`: the findings in each, in their order.
/// The kernel's objects are read once for all of them.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn verify_all(images: &[Image], sources: &Sources) -> Result<Vec<Vec<Finding>>> {
    let patches: Vec<Option<Patch>> =
        images.iter().map(|image| Patch::read_for(image, sources.sizes())).collect();
    let livepatches: Vec<(&Image, Option<&Patch>)> =
        images.iter().zip(patches.iter().map(Option::as_ref)).collect();
    let mut all: Vec<Findings> = images.iter().map(|_| Findings::default()).collect();
    let kernel = meaning::check(&livepatches, sources, &mut all)?;
    for ((image, patch), findings) in livepatches.iter().zip(&mut all) {
        form::check(image, *patch, &kernel, Some(&sources.objects), findings);
        findings.0.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    }
    Ok(all.into_iter().map(|findings| findings.0).collect())
}

/// Checks one livepatch ([`verify_all`]).
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn verify(image: &Image, sources: &Sources) -> Result<Vec<Finding>> {
    Ok(verify_all(std::slice::from_ref(image), sources)?.pop().unwrap_or_default())
}

/// What the file itself shows to be wrong with a finished livepatch (the errors of [`form`]), as messages.
pub fn faults_of_form(image: &Image, kernel: &LivepatchCore) -> Vec<String> {
    let mut findings = Findings::default();
    form::check(image, Patch::read(image).as_ref(), kernel, None, &mut findings);
    let errors = findings.0.iter().filter(|finding| finding.level == Severity::Error);
    errors.map(|finding| format!("{}: {} ({})", finding.place, finding.message, finding.rule)).collect()
}
