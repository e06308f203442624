// SPDX-License-Identifier: GPL-2.0-only
//! Turns the guest's events into a report: each stage is shown when it ends, with the kernel's log. The outcome of
//! the whole trial is in [`verdict`](crate::command::trial::verdict).

use std::time::{Duration, Instant};

use crate::command::trial::account::{self, How, TrialAccount};
use crate::command::trial::alarm::is_alarm;
use crate::command::trial::applied::AppliedObjects;
use crate::command::trial::closing::{CommandOutput, comparison};
use crate::command::trial::console::Console;
use crate::command::trial::module::ModuleFile;
use crate::command::trial::patience::Patience;
use crate::command::trial::protocol::{Event, Stage, StageVerdict};
use crate::command::trial::qemu::Accel;
use crate::command::trial::refusal;
use crate::command::trial::request::TrialRequest;
use crate::elf::notes;
use crate::host::paint::Hue;
use crate::host::status;
use crate::host::terminal::{self, Stream};
use crate::host::words::{clock, hex, seconds};

/// If a stage takes longer than this, its time is shown.
const LONG: Duration = Duration::from_millis(500);
/// The report of one guest.
#[derive(Debug)]
pub struct TrialReport<'a> {
    pub(super) request: &'a TrialRequest,
    accel: Accel,
    pub(super) quiet: bool,
    pub(super) begin: Instant,
    /// The current stage; the next two are when it began, and how many began before it.
    pub(super) stage: Stage,
    since: Instant,
    pub(super) number: usize,
    /// The output and log of the current stage.
    pub(super) lines: Vec<String>,
    /// The last line that the guest has printed.
    last: String,
    alarm: bool,
    pub(super) printed: Vec<CommandOutput>,
    /// The account of each stage so far.
    told: Vec<account::StageResult>,
    release: Option<String>,
    /// The stages that have ended.
    pub(super) ended: Vec<Stage>,
    pub(super) applied: AppliedObjects,
    pub(super) console: Console,
    notes: Vec<u8>,
    up: bool,
    done: Option<Instant>,
    /// The first failure: where, and what it is.
    pub(super) failure: Option<String>,
    /// Whether the livepatches cannot be tried: another kernel runs, or a module is not there.
    pub(super) is_unfit: bool,
}

impl<'a> TrialReport<'a> {
    /// The report of a guest that is about to start.
    pub fn new(request: &'a TrialRequest, accel: Accel, quiet: bool) -> TrialReport<'a> {
        TrialReport {
            request,
            accel,
            quiet,
            begin: Instant::now(),
            stage: Stage::Boot,
            since: Instant::now(),
            number: 0,
            lines: Vec::new(),
            last: String::new(),
            alarm: false,
            printed: Vec::new(),
            told: Vec::new(),
            release: None,
            ended: Vec::new(),
            applied: AppliedObjects::default(),
            console: Console::default(),
            notes: Vec::new(),
            up: false,
            done: None,
            failure: None,
            is_unfit: false,
        }
    }

    /// The time limit of the whole trial.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.request.timeout)
    }

    /// Whether the guest has started its first program.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether the guest has printed nothing.
    pub fn is_silent(&self) -> bool {
        !self.up && self.console.first().is_none()
    }

    /// The first line of a guest that never started its first program.
    pub fn first_word(&self) -> Option<&str> {
        self.console.first()
    }

    /// The time since which the guest has had nothing more to print.
    pub fn done(&self) -> Option<Instant> {
        self.done
    }

    /// Whether nothing that may still come can change the outcome.
    pub fn is_decided(&self) -> bool {
        self.is_unfit
    }

    /// The message about time that the guest has to get, after `all` of its time.
    pub fn overdue(&self, patience: &mut Patience, all: Duration) -> Option<String> {
        self.up.then(|| patience.words(&self.stage, self.number, self.since.elapsed(), all)).flatten()
    }

    /// The status line, if the stage takes long: its name, its seconds, and the guest's last line.
    pub fn status(&self) -> Option<String> {
        let elapsed = self.since.elapsed();
        let is_shown = !self.quiet && !self.is_decided() && elapsed >= status::LONG;
        is_shown.then(|| status_line(&self.stage, elapsed, &self.last))
    }

    /// Handles an event in the guest.
    pub fn take(&mut self, event: Event) {
        if let Event::Console(line) | Event::Output(line) | Event::Kernel(_, line) = &event {
            line.trim().clone_into(&mut self.last);
        }
        match event {
            Event::Console(line) => {
                if !self.up && is_alarm(None, &line) {
                    self.lines.push(format!("    {line}"));
                }
                self.console.push(line);
            }
            Event::Notes(notes) => self.notes = notes,
            Event::Hello(release) => {
                self.up = true;
                self.booted(&release);
                self.release = Some(release);
                // The lines from here on are those of a kernel in trouble.
                self.console = Console::default();
            }
            Event::Begin(stage) => self.begins(stage),
            Event::Output(line) => {
                if let (Stage::Command(_), Some((_, lines, _))) = (&self.stage, self.printed.last_mut()) {
                    lines.push(line.clone());
                }
                self.lines.push(format!("  | {line}"));
            }
            Event::Kernel(priority, line) => {
                self.alarm |= is_alarm(priority, &line);
                self.lines.push(format!("    {line}"));
            }
            Event::Object(livepatch, object, is_patched) => self.applied.take(livepatch, object, is_patched),
            Event::End(verdict, why) => self.ends(verdict, &why),
            Event::Done => self.done = Some(Instant::now()),
        }
    }

    fn begins(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
        self.number += 1;
        self.lines.clear();
        self.last.clear();
        self.alarm = false;
        if let Stage::Command(when) = self.stage {
            self.printed.push((when, Vec::new(), String::new()));
        }
    }

    fn ends(&mut self, verdict: StageVerdict, why: &str) {
        if let (Stage::Command(_), Some((_, _, status))) = (&self.stage, self.printed.last_mut()) {
            why.clone_into(status);
        }
        match verdict {
            StageVerdict::Ok if self.alarm => self.fail("the kernel gave a warning"),
            StageVerdict::Failed => {
                let reason = self.module().and_then(|module| refusal::reason(&self.lines, module));
                let mut reason = reason.map(|reason| format!("{why}: {reason}"));
                if self.is_before_livepatches() {
                    self.is_unfit = true;
                    reason = Some(format!(
                        "{}, and no livepatch was loaded yet",
                        reason.as_deref().unwrap_or(why)
                    ));
                }
                self.fail(reason.as_deref().unwrap_or(why));
            }
            StageVerdict::Ok => self.show(How::Ok, why),
            StageVerdict::Skipped if self.alarm => self.fail("the kernel gave a warning"),
            StageVerdict::Skipped => self.show(How::Skipped, why),
        }
        self.ended.push(self.stage.clone());
    }

    /// Whether the module being loaded is one that livepatches are tried on.
    fn is_before_livepatches(&self) -> bool {
        let is_among = |modules: &[ModuleFile], stage: &Stage| {
            modules.iter().any(|module| matches!(stage, Stage::Load(file) if *file == module.file))
        };
        is_among(&self.request.before, &self.stage)
            && !self.ended.iter().any(|stage| is_among(&self.request.livepatches, stage))
    }

    /// The module that the stage is about.
    fn module(&self) -> Option<&'a ModuleFile> {
        let (Stage::Load(file) | Stage::Reload(file)) = &self.stage else { return None };
        let request = self.request;
        let mut all = request.before.iter().chain(&request.livepatches).chain(&request.after);
        all.find(|module| module.file == *file)
    }

    /// The kernel is up: checks that it is the right one. Its warnings while it booted are no livepatch's fault.
    fn booted(&mut self, release: &str) {
        let running = notes::build_id_in_notes(&self.notes);
        match (&self.request.build_id, running) {
            (Some(built), Some(running)) if *built != running => {
                self.is_unfit = true;
                self.lines = vec![
                    format!("    vmlinux has build ID {}", hex(built)),
                    format!("    the guest has build ID {}", hex(&running)),
                ];
                self.fail("the kernel that booted is not this vmlinux: build the image again");
            }
            _ => self.show(How::Ok, &format!("{release}, {}", self.accel)),
        }
    }

    fn show(&mut self, how: How, why: &str) {
        self.tell(how, why);
        if !self.quiet && (self.stage != Stage::End || !self.lines.is_empty()) {
            let (how, hue) = if how == How::Ok { ("ok", Hue::Good) } else { ("skipped", Hue::Warning) };
            terminal::out(self.block(&terminal::painted(Stream::Output, hue, how), why));
        }
    }

    /// Reports that the current stage failed.
    pub(super) fn fail(&mut self, why: &str) {
        self.tell(How::Failed, why);
        terminal::err(self.block(&terminal::painted(Stream::Error, Hue::Error, "failed"), why));
        self.failure.get_or_insert_with(|| format!("{}: {why}", self.stage));
    }

    /// Adds the current stage to the account.
    fn tell(&mut self, verdict: How, why: &str) {
        let (output, log) = account::parted(&self.lines);
        self.told.push(account::StageResult {
            stage: self.stage.to_string(),
            verdict,
            why: why.to_owned(),
            begin: seconds(self.since.duration_since(self.begin)),
            seconds: seconds(self.since.elapsed()),
            output,
            log,
        });
    }

    /// The account of the whole trial, with `verdict`.
    pub(super) fn account(&self, verdict: account::TrialVerdict) -> TrialAccount {
        TrialAccount {
            verdict,
            reason: self.failure.clone(),
            release: self.release.clone(),
            accelerator: Some(self.accel.to_string()),
            seconds: seconds(self.begin.elapsed()),
            livepatches: self.request.livepatches.iter().map(|module| module.file.clone()).collect(),
            comparison: comparison(&self.printed),
            stages: self.told.clone(),
        }
    }

    fn block(&self, how: &str, why: &str) -> String {
        let mut block = format!("{}: {how}", self.stage);
        if !why.is_empty() {
            block += &format!(", {why}");
        }
        if self.since.elapsed() >= LONG {
            block += &format!(", {}", clock(self.since.elapsed()));
        }
        for line in &self.lines {
            block += format!("\n{line}").trim_end_matches(' ');
        }
        block + "\n"
    }
}

/// The text of the status line. It has whole seconds, so that it is redrawn only when it changes.
fn status_line(stage: &Stage, elapsed: Duration, last: &str) -> String {
    let text = format!("{stage}: {} s", elapsed.as_secs());
    if last.is_empty() { text } else { format!("{text}  {last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_takes_long_tells_its_seconds_and_the_last_line() {
        let stage = Stage::Transition("lp".to_owned());
        let line = |last| status_line(&stage, Duration::from_millis(12_900), last);
        assert_eq!(line(""), "transition to lp: 12 s");
        assert_eq!(line("[ 1.0] x: y"), "transition to lp: 12 s  [ 1.0] x: y");
    }
}
