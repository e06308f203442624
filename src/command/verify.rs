// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild verify`: whether finished livepatches keep the rules, and fit their kernel.
//!
//! - `sarif`: the findings for code review

mod sarif;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cli::{Options, VerifyArgs, VerifyFormat};
use crate::command::asked;
use crate::elf::image::Image;
use crate::elf::notes;
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::paint::{self, Hue};
use crate::host::terminal::{self, Stream};
use crate::host::words;
use crate::host::words::{count, hex};
use crate::kernel::sources;
use crate::kernel::symbols::objects::Vmlinux;
use crate::livepatch::account::VerifyVerdict;
use crate::livepatch::patch::Patch;
use crate::livepatch::rules::Rule;
use crate::livepatch::verify;
use crate::livepatch::verify::findings::{Finding, Severity};
use crate::livepatch::verify::form;

/// How many livepatches are read at once, and checked in one pass over the kernel's objects.
const TOGETHER: usize = 256;

/// The findings in one livepatch.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a Path,
    /// The number of relocations that the kernel resolves for it.
    relocations: usize,
    /// The number of functions it replaces; null if they cannot be seen.
    functions: Option<usize>,
    /// The build ID of the vmlinux it was checked against.
    vmlinux_build_id: Option<&'a str>,
    findings: Vec<Finding>,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    verdict: VerifyVerdict,
    livepatches: &'a [Report<'a>],
    /// What could not be checked, and why.
    unchecked: &'a [String],
}

/// Checks files, and prints the findings.
///
/// # Errors
/// There is no kernel to check them against, or nothing can be printed.
pub fn verify(options: &Options, arguments: &VerifyArgs) -> Result<Exit> {
    if let Some(rule) = &arguments.explain {
        return explain(rule);
    }
    let start = asked::start(options)?;
    let named = asked::files(&arguments.words, &start, &arguments.sources.kernel);
    let listed = if named.files.is_empty() { asked::listed(&start, &named, "verify")? } else { Vec::new() };
    let all: Vec<&PathBuf> = named.files.iter().copied().chain(&listed).collect();
    let mut asked = asked::sources(&arguments.sources, &named.start);
    asked::add_kernel(&mut asked, named.kernel)?;
    let first = all.first().map(|file| start.join(file));
    let sources = sources::named(&asked, first.as_deref());
    let sources = match sources.and_then(|sources| verify::complete(&sources).map(|()| sources)) {
        Ok(sources) => sources,
        Err(error) => {
            terminal::error(&error);
            tell(arguments.format, &start, &[], &[format!("{error:#}")], Exit::Unchecked)?;
            return Ok(Exit::Unchecked);
        }
    };
    let image = sources.objects.vmlinux.as_ref().and_then(Vmlinux::image);
    let build_id = image.and_then(|vmlinux| notes::build_id(vmlinux).ok().flatten());
    let build_id = build_id.map(|id| hex(&id));
    let mut exit = Exit::Done;
    let mut reports = Vec::new();
    let mut unchecked = Vec::new();
    for files in all.chunks(TOGETHER) {
        let mut read = Vec::new();
        let mut images = Vec::new();
        for file in files {
            match Image::read(&start.join(file)) {
                Ok(image) => {
                    read.push(file);
                    images.push(image);
                }
                Err(error) => {
                    terminal::error(&error);
                    unchecked.push(format!("{error:#}"));
                    exit = Exit::Unchecked;
                }
            }
        }
        let all = verify::verify_all(&images, &sources).with_context(|| {
            format!(
                "cannot check {}",
                read.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
            )
        });
        let all = match all {
            Ok(all) => all,
            Err(error) => {
                terminal::error(&error);
                unchecked.push(format!("{error:#}"));
                exit = Exit::Unchecked;
                continue;
            }
        };
        for ((file, image), findings) in read.into_iter().zip(&images).zip(all) {
            let report = Report {
                file,
                relocations: form::relocations(image),
                functions: Patch::read(image)
                    .map(|patch| patch.objects.iter().map(|o| o.functions.len()).sum()),
                vmlinux_build_id: build_id.as_deref(),
                findings,
            };
            let is_bad = report.findings.iter().any(|finding| finding.level == Severity::Error);
            exit = if is_bad && exit == Exit::Done { Exit::Problem } else { exit };
            if arguments.format == VerifyFormat::Text {
                print(&report, options.quiet);
            }
            reports.push(report);
        }
    }
    tell(arguments.format, &start, &reports, &unchecked, exit)?;
    Ok(exit)
}

/// Prints all findings for programs.
fn tell(
    format: VerifyFormat,
    start: &Path,
    reports: &[Report<'_>],
    unchecked: &[String],
    exit: Exit,
) -> Result<()> {
    match format {
        VerifyFormat::Text => Ok(()),
        VerifyFormat::Json => {
            let verdict = match exit {
                Exit::Done => VerifyVerdict::Correct,
                Exit::Unchecked => VerifyVerdict::Unchecked,
                _ => VerifyVerdict::Errors,
            };
            document::print("verify", &Answer { verdict, livepatches: reports, unchecked })
        }
        VerifyFormat::Sarif => {
            let files: Vec<_> = reports.iter().map(|report| (report.file, &report.findings[..])).collect();
            terminal::out(terminal::to_json(&sarif::log(start, &files, unchecked, exit))?);
            Ok(())
        }
    }
}

fn print(report: &Report<'_>, quiet: bool) {
    let file = report.file.display();
    for finding in &report.findings {
        let line = format!("{file}: {finding}");
        let line = if terminal::has_colours(Stream::Output) { paint::diagnostic(&line) } else { line };
        terminal::out(words::fitting(&line, terminal::width_of_output()) + "\n");
    }
    let found = |level: Severity| report.findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (found(Severity::Error), found(Severity::Warning));
    if quiet {
        return;
    }
    let relocations = count(report.relocations, "livepatch relocation");
    let functions = match report.functions {
        Some(number) => count(number, "function"),
        None => "no static klp_patch to be seen".to_owned(),
    };
    let against = report.vmlinux_build_id.map(|id| format!("; vmlinux {id}")).unwrap_or_default();
    let verdict = match (errors, warnings) {
        (0, 0) => "correct".to_owned(),
        (0, _) => format!("correct, {}", count(warnings, "warning")),
        (_, 0) => count(errors, "error"),
        _ => {
            format!("{}, {}", count(errors, "error"), count(warnings, "warning"))
        }
    };
    let hue = match (errors, warnings) {
        (0, 0) => Hue::Good,
        (0, _) => Hue::Warning,
        _ => Hue::Error,
    };
    let verdict = terminal::painted(Stream::Output, hue, &verdict);
    terminal::tell(format_args!("{file}: {verdict} ({relocations}; {functions}{against})"));
}

/// Prints one rule, or all, one line each.
fn explain(name: &str) -> Result<Exit> {
    if name == "all" {
        Rule::ALL.iter().for_each(|rule| terminal::out(format!("{rule:4} {}\n", rule.title())));
        return Ok(Exit::Done);
    }
    let rule: Rule = name.parse()?;
    let text = words::wrapped(rule.text(), 80);
    terminal::out(format!("{rule}: {}\n\n{text}\n\nKernel: {}\n", rule.title(), rule.source()));
    Ok(Exit::Done)
}
