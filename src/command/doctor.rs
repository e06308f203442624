// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild doctor`: what is there, and what is missing, to build livepatches for a kernel.
//!
//! - [`checks`]: the checks
//! - [`compiler`]: whether the kernel's compiler is there, and how kbuild can use it
//! - [`patient`]: the kernel that is checked; [`finding`]: the result of a check

mod checks;
mod compiler;
mod finding;
mod patient;

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::cli::{DoctorArgs, Format, Options};
use crate::command::doctor::finding::{CheckLevel, CheckResult};
use crate::command::doctor::patient::Patient;
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::paint::Hue;
use crate::host::terminal::{self, Stream};
use crate::host::words;

/// The width of the column that names the check.
const SUBJECT: usize = 13;
/// The column at which the result of a check begins.
const INDENT: usize = 2 + 7 + 2 + SUBJECT + 2;

/// The results of all checks, for programs.
#[derive(Debug, Serialize)]
struct Examination<'a> {
    release: &'a str,
    running: bool,
    objtree: Option<&'a Path>,
    /// Whether nothing that livepatches need is missing.
    ready: bool,
    findings: &'a [CheckResult],
}

/// Checks a kernel, and prints the results.
///
/// # Errors
/// There is no such kernel, or something cannot be read.
pub fn doctor(options: &Options, arguments: &DoctorArgs) -> Result<Exit> {
    let patient = Patient::find(options, arguments)?;
    let findings = checks::all(&patient)?;
    let missing = findings.iter().filter(|finding| finding.level == CheckLevel::Missing).count();
    if arguments.format == Format::Json {
        let is_ready = missing == 0;
        document::print(
            "doctor",
            &Examination {
                release: &patient.release,
                running: patient.is_running,
                objtree: patient.objtree.as_deref(),
                ready: is_ready,
                findings: &findings,
            },
        )?;
        return Ok(if is_ready { Exit::Done } else { Exit::Problem });
    }
    if !options.quiet {
        let place = match &patient.objtree {
            Some(objtree) => format!(", {}", objtree.display()),
            None => String::new(),
        };
        let running = if patient.is_running { " (running)" } else { "" };
        let head = format!("{}{running}{place}", patient.release);
        terminal::out(words::fitting(&head, terminal::width_of_output()) + "\n");
    }
    for finding in findings.iter().filter(|finding| !options.quiet || finding.level == CheckLevel::Missing) {
        print(finding);
    }
    if missing > 0 {
        let what = words::count(missing, "thing");
        terminal::say(format_args!(
            "{what} that livepatches need {} missing",
            if missing == 1 { "is" } else { "are" }
        ));
        return Ok(Exit::Problem);
    }
    if !options.quiet {
        terminal::tell(match (patient.is_built, &patient.objtree) {
            (false, Some(objtree)) => {
                format!("a kernel for livepatches can be built in {}", objtree.display())
            }
            _ => format!("livepatches can be built for {}", patient.release),
        });
    }
    Ok(Exit::Done)
}

fn print(finding: &CheckResult) {
    let (level, hue) = match finding.level {
        CheckLevel::Fine => ("ok", Hue::Good),
        CheckLevel::Note => ("note", Hue::Note),
        CheckLevel::Missing => ("MISSING", Hue::Error),
    };
    let level = terminal::painted(Stream::Output, hue, &format!("{level:7}"));
    let room = terminal::width_of_output().map(|columns| columns.saturating_sub(INDENT));
    let wrapped = |text: &str| words::hanging(text, room, INDENT);
    let mut text = format!("  {level}  {:SUBJECT$}  {}\n", finding.subject, wrapped(&finding.what));
    for remedy in &finding.remedies {
        text.push_str(&format!("  {:7}  {:SUBJECT$}  {}\n", "", "", wrapped(remedy)));
    }
    terminal::out(text);
}
