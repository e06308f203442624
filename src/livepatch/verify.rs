//! `klpbuild verify`: whether a finished livepatch keeps the rules, and fits the kernel it is for.
//!
//! - [`form`]: what the file itself shows (R1 to R15)
//! - [`meaning`]: what the kernel's objects say of the symbols and functions it names (S1 to S8)

pub mod form;
pub mod meaning;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::build::plan;
use crate::cli::{Format, Options, VerifyArgs};
use crate::elf::image::Image;
use crate::host::exit::Exit;
use crate::host::terminal;
use crate::host::words;
use crate::host::words::hex;
use crate::kernel::sources;
use crate::kernel::sources::Sources;
use crate::kernel::symbols::exports;
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::tree::facts::Kernel;
use crate::livepatch::patch::Patch;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something could not be told.
    Note,
    /// It works, but not in every situation.
    Warning,
    /// The kernel refuses the livepatch, or something else happens than what is meant.
    Error,
}

/// Something that does not keep a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule, as in `R4`.
    pub rule: &'static str,
    /// How bad it is.
    pub level: Level,
    /// Where: a section, symbol, relocation or klp_func.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        write!(f, "{level} {}: {}: {}; {}", self.rule, self.place, self.message, self.advice)
    }
}

/// What was found in one livepatch.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a Path,
    /// The relocations that the kernel resolves for it.
    relocations: usize,
    /// The functions it replaces; null if they cannot be seen.
    functions: Option<usize>,
    /// The build ID of the vmlinux it was checked against.
    vmlinux_build_id: Option<&'a str>,
    findings: Vec<Finding>,
}

/// Collects findings.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds an error.
    pub fn error(
        &mut self,
        rule: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Level::Error, rule, place.into(), message.into(), advice.into());
    }

    /// Adds a warning.
    pub fn warning(
        &mut self,
        rule: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Level::Warning, rule, place.into(), message.into(), advice.into());
    }

    /// Adds a note.
    pub fn note(
        &mut self,
        rule: &'static str,
        place: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Level::Note, rule, place.into(), message.into(), advice.into());
    }

    fn add(&mut self, level: Level, rule: &'static str, place: String, message: String, advice: String) {
        let finding = Finding { rule, level, place, message, advice };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}

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

/// Sources that can tell whether a livepatch is correct.
fn complete(sources: Sources) -> Result<Sources> {
    let place = &sources.place;
    ensure!(
        sources.objects.vmlinux.is_some(),
        "there is no vmlinux {place}: positions cannot be checked against a list alone (--objtree DIR)"
    );
    ensure!(sources.exports.is_some(), "{}", exports::not_known(place));
    Ok(sources)
}

/// Checks files, and prints what is found.
///
/// # Errors
/// There is nothing to check them against, or nothing can be printed.
pub fn command(options: &Options, arguments: &VerifyArgs) -> Result<Exit> {
    let start = plan::start(options)?;
    let first = arguments.livepatches.first().map(|file| start.join(file));
    let sources = match sources::named(&start, &arguments.sources, first.as_deref()).and_then(complete) {
        Ok(sources) => sources,
        Err(error) => {
            terminal::error(&error);
            return Ok(Exit::Unchecked);
        }
    };
    let image = sources.objects.vmlinux.as_ref().and_then(Vmlinux::image);
    let build_id = image.and_then(|vmlinux| crate::elf::notes::build_id(vmlinux).ok().flatten());
    let build_id = build_id.map(|id| hex(&id));
    let mut exit = Exit::Done;
    let mut reports = Vec::new();
    for file in &arguments.livepatches {
        let one = || -> Result<Report<'_>> {
            let image = Image::read(&start.join(file))?;
            let findings =
                verify(&image, &sources).with_context(|| format!("cannot check {}", file.display()))?;
            Ok(Report {
                file,
                relocations: form::relocations(&image),
                functions: Patch::read(&image)
                    .map(|patch| patch.objects.iter().map(|o| o.functions.len()).sum()),
                vmlinux_build_id: build_id.as_deref(),
                findings,
            })
        };
        match one() {
            Ok(report) => {
                let is_bad = report.findings.iter().any(|finding| finding.level == Level::Error);
                exit = if is_bad && exit == Exit::Done { Exit::Problem } else { exit };
                if arguments.format == Format::Text {
                    print(&report, options.quiet);
                }
                reports.push(report);
            }
            Err(error) => {
                terminal::error(&error);
                exit = Exit::Unchecked;
            }
        }
    }
    if arguments.format == Format::Json {
        terminal::json(&reports)?;
    }
    Ok(exit)
}

fn print(report: &Report<'_>, quiet: bool) {
    let file = report.file.display();
    for finding in &report.findings {
        terminal::out(format!("{file}: {finding}\n"));
    }
    let count = |level: Level| report.findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    if quiet {
        return;
    }
    let relocations = words::count(report.relocations, "livepatch relocation");
    let functions = match report.functions {
        Some(count) => words::count(count, "function"),
        None => "no static klp_patch to be seen".to_owned(),
    };
    let against = report.vmlinux_build_id.map(|id| format!("; vmlinux {id}")).unwrap_or_default();
    let verdict = match (errors, warnings) {
        (0, 0) => "correct".to_owned(),
        (0, _) => format!("correct, {}", words::count(warnings, "warning")),
        (_, 0) => words::count(errors, "error"),
        _ => {
            format!("{}, {}", words::count(errors, "error"), words::count(warnings, "warning"))
        }
    };
    terminal::out(format!("klpbuild: {file}: {verdict} ({relocations}; {functions}{against})\n"));
}
