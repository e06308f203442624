//! Verification: whether a finished livepatch keeps the rules, and fits the kernel it is for.
//!
//! - [`form`]: what the file itself shows (R1 to R15)
//! - [`meaning`]: what the kernel's objects say of the symbols and functions it names (S1 to S11)
//! - [`findings`]: what is collected there

pub mod findings;
pub mod form;
pub mod meaning;

use anyhow::Result;

use crate::elf::image::Image;
use crate::kernel::sources::Sources;
use crate::kernel::tree::facts::Kernel;
use crate::livepatch::patch::Patch;
use crate::livepatch::verify::findings::{Finding, Findings, Level};

/// Checks the livepatch `image` against the rules and against the kernel that `sources` have.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn verify(image: &Image, sources: &Sources) -> Result<Vec<Finding>> {
    let mut findings = Findings::default();
    let patch = Patch::read(image);
    let kernel = meaning::check(image, sources, patch.as_ref(), &mut findings)?;
    form::check(image, patch.as_ref(), &kernel, &mut findings);
    let mut findings = findings.0;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    Ok(findings)
}

/// What the file itself shows to be wrong with a finished livepatch (the errors of [`form`]), in words.
pub fn faults_of_form(image: &Image, kernel: &Kernel) -> Vec<String> {
    let mut findings = Findings::default();
    form::check(image, Patch::read(image).as_ref(), kernel, &mut findings);
    let errors = findings.0.iter().filter(|finding| finding.level == Level::Error);
    errors.map(|finding| format!("{}: {} ({})", finding.place, finding.message, finding.rule)).collect()
}
