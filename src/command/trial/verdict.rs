// SPDX-License-Identifier: GPL-2.0-only
//! The outcome of a whole trial: the livepatches work, one of them fails, or they could not be tried.

use std::fmt;

use anyhow::Result;

use crate::cli::TryFormat;
use crate::command::trial::account::TrialVerdict;
use crate::command::trial::closing::{comparison, summary};
use crate::command::trial::expected;
use crate::command::trial::report::TrialReport;
use crate::command::trial::told;
use crate::host::exit::Exit;
use crate::host::terminal;
use crate::host::words::clock;

/// How the guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestEnd {
    /// QEMU ended, with this outcome.
    Ended(Exit),
    /// Nothing more that matters can come.
    Over,
    /// The time limit passed.
    Hung,
}

/// Why a trial did not go well.
enum Trouble {
    /// The livepatches, or what they did to the kernel, are at fault.
    Failed(String),
    /// The livepatches could not be tried.
    Untried(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trouble::Failed(why) | Trouble::Untried(why)) = self;
        f.write_str(why)
    }
}

/// Judges the whole trial, and prints the closing line.
///
/// # Errors
/// The account cannot be written in that format.
pub fn close(mut report: TrialReport<'_>, end: GuestEnd, format: TryFormat) -> Result<Exit> {
    let trouble = trouble_at_end(&report, end);
    let is_untried = report.is_unfit || matches!(trouble, Some(Trouble::Untried(_)));
    if let Some(trouble) = trouble {
        show_end(&mut report, &trouble.to_string());
    }
    if let Some(failure) = &report.failure {
        let how = if is_untried { "could not be tried" } else { "failed" };
        terminal::say(format_args!("{how}: {failure}"));
        let verdict = if is_untried { TrialVerdict::Untried } else { TrialVerdict::Fails };
        told::print(&report.account(verdict), format)?;
        return Ok(if is_untried { Exit::Unchecked } else { Exit::Problem });
    }
    if let Some(why) = report.applied.why_nothing(&report.request.livepatches) {
        terminal::say(format_args!("could not be tried: {why}"));
        report.failure = Some(why);
        told::print(&report.account(TrialVerdict::Untried), format)?;
        return Ok(Exit::Unchecked);
    }
    told::print(&report.account(TrialVerdict::Works), format)?;
    if !report.quiet {
        if let Some(line) = comparison(&report.printed) {
            terminal::tell(format_args!("{line}"));
        }
        let unloads = report.request.no_unload.is_none();
        let summary = summary(&report.request.livepatches, &report.applied, unloads);
        terminal::tell(format_args!("{summary}; {}", clock(report.begin.elapsed())));
    }
    Ok(Exit::Done)
}

/// What is wrong with the guest's end, or with the stages that it went through.
fn trouble_at_end(report: &TrialReport<'_>, end: GuestEnd) -> Option<Trouble> {
    let limit = report.request.timeout;
    let has_begun = report.number > 0;
    let judge = |why: String| if has_begun { Trouble::Failed(why) } else { Trouble::Untried(why) };
    if report.console.panicked() {
        return Some(judge("the kernel panicked".to_owned()));
    }
    match end {
        GuestEnd::Hung => Some(judge(format!("it hangs: not over after {limit} s (--timeout SECONDS)"))),
        _ if report.is_unfit => None,
        // A reset also ends QEMU with status 0 (-no-reboot).
        GuestEnd::Ended(Exit::Done) if report.done().is_none() && has_begun => {
            Some(Trouble::Failed("the machine was reset, and the kernel said nothing of it".to_owned()))
        }
        GuestEnd::Ended(exit) if report.done().is_none() => {
            Some(Trouble::Untried(format!("QEMU ended by itself, {}", shown(exit))))
        }
        _ if report.failure.is_some() => None,
        _ => expected::missing(report.request, &report.ended)
            .map(|stage| judge(format!("the guest left out a stage: {stage}"))),
    }
}

fn shown(exit: Exit) -> String {
    match exit {
        Exit::Signal(signal) => format!("by {}", crate::host::signal::name(signal)),
        exit => format!("with status {}", exit.code()),
    }
}

/// Shows where the trial ended, with the lines of the console.
fn show_end(report: &mut TrialReport<'_>, why: &str) {
    if report.done().is_some() {
        report.stage = crate::command::trial::protocol::Stage::End;
        report.lines.clear();
    }
    if report.console.first().is_some() {
        // If the guest did not start, all lines of the console are from the boot.
        if !report.is_up() {
            report.lines.clear();
        }
        report.lines.push("  the console's last lines:".to_owned());
        report.lines.extend(report.console.lines().map(|line| format!("    {line}")));
    }
    report.fail(why);
}
