// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild try`: the object tree's kernel in QEMU, with livepatches loaded and unloaded again.
//!
//! - [`request`]: what is tried, and whether it can be; [`module`]: its modules
//! - [`loading`]: which modules are loaded, and in which order; [`soft`]: those that modprobe would load as well
//! - [`initramfs`]: the guest's files (cpio), with `init.sh`, which runs the stages
//! - [`qemu`]: the machine
//! - [`protocol`]: what the guest prints, line by line
//! - [`patience`]: how long the guest may take for each stage
//! - [`report`]: the stages as they are shown; [`alarm`]: which lines of the kernel's log are alarms, [`refusal`]:
//!   why a module was refused
//! - [`verdict`]: the outcome; [`expected`]: the stages that have to be there, [`applied`]: which objects were
//!   patched, [`account`]: all that for programs, with [`ktap`] and [`junit`], and `told`; [`closing`]: the closing
//!   line if all went well, [`console`]: the last lines of a kernel that crashed

mod account;
mod alarm;
mod applied;
mod closing;
mod console;
mod expected;
mod initramfs;
mod junit;
mod ktap;
mod loading;
pub mod module;
mod patience;
pub mod protocol;
mod qemu;
mod refusal;
mod report;
mod request;
mod soft;
mod told;
mod verdict;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cli::{Options, TryArgs, TryFormat};
use crate::command::trial::account::{TrialAccount, TrialVerdict};
use crate::command::trial::initramfs::GuestFiles;
use crate::command::trial::patience::Patience;
use crate::command::trial::protocol::Protocol;
use crate::command::trial::qemu::{Accel, RunningGuest, Word};
use crate::command::trial::report::TrialReport;
use crate::command::trial::request::TrialRequest;
use crate::command::trial::verdict::GuestEnd;
use crate::host::exit::Exit;
use crate::host::signal;
use crate::host::signal::Watch;
use crate::host::terminal;

/// The time between two looks at the clock and at signals.
const TICK: Duration = Duration::from_millis(100);
/// If the kernel prints nothing for this long, KVM does not run the guest.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the guest may take to shut down.
const LINGER: Duration = Duration::from_secs(10);
/// The outcome of a guest.
enum Outcome {
    /// It was tried, or stopped.
    Over(Exit),
    /// It never started its first program, for this reason.
    NeverUp(String),
}

/// Boots the kernel, tries the livepatches in it, and reports. If something is missing, or does not fit the kernel,
/// prints why and returns [`Exit::Unchecked`].
///
/// # Errors
/// This machine fails: it has no temporary directory, or cannot start QEMU.
pub fn run(options: &Options, arguments: &TryArgs) -> Result<Exit> {
    let request = match TrialRequest::resolve(options, arguments) {
        Ok(request) => request,
        Err(error) => {
            terminal::error(&error);
            told::print(&TrialAccount::untried(format!("{error:#}")), arguments.format)?;
            return Ok(Exit::Unchecked);
        }
    };
    let choices = Accel::choices(request.accel);
    if options.dry_run {
        for accel in choices.iter().take(1) {
            terminal::out(format!(
                "{}\n",
                qemu::command(&request.guest, *accel, Path::new("initramfs.cpio"))
            ));
        }
        return Ok(Exit::Done);
    }
    // A file without a name disappears with this process, even if it is killed; QEMU ends with it.
    let initramfs = tempfile::tempfile().context("cannot make a temporary file (TMPDIR names the place)")?;
    boot(&request, options, arguments.format, choices, &initramfs)
}

/// Boots on the first of the `choices` that runs the guest.
fn boot(
    request: &TrialRequest,
    options: &Options,
    format: TryFormat,
    choices: &[Accel],
    initramfs: &File,
) -> Result<Exit> {
    let quiet = options.quiet || format != TryFormat::Text;
    let mut watch = Watch::begin()?;
    let protocol = Protocol::new();
    content(request, &protocol).write(initramfs)?;
    let initramfs = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), initramfs.as_raw_fd()));
    for (index, &accel) in choices.iter().enumerate() {
        let command = qemu::command(&request.guest, accel, &initramfs);
        if options.verbose && format == TryFormat::Text {
            terminal::out(format!("{command}\n"));
        }
        let machine = RunningGuest::start(&command, request.log.as_deref())?;
        let report = TrialReport::new(request, accel, quiet);
        let has_next = index + 1 < choices.len();
        let guest = Guest { machine, protocol: &protocol, report, has_next, format };
        match guest.watch(&mut watch)? {
            Outcome::Over(exit) => return Ok(exit),
            Outcome::NeverUp(_) if options.quiet => {}
            Outcome::NeverUp(why) => terminal::say(format_args!(
                "{accel} is there but does not run the guest ({why}): using TCG, which is slower"
            )),
        }
    }
    Ok(Exit::Unchecked)
}

fn content<'a>(request: &'a TrialRequest, protocol: &'a Protocol) -> GuestFiles<'a> {
    GuestFiles {
        busybox: &request.busybox,
        token: protocol.token(),
        mark: protocol.mark(),
        command: request.command.as_deref(),
        no_reload: request.no_reload.as_deref(),
        no_unload: request.no_unload.as_deref(),
        before: &request.before,
        livepatches: &request.livepatches,
        after: &request.after,
    }
}

/// A guest that runs.
struct Guest<'a> {
    machine: RunningGuest,
    protocol: &'a Protocol,
    report: TrialReport<'a>,
    /// Whether another accelerator is tried if this one never starts the guest.
    has_next: bool,
    format: TryFormat,
}

impl Guest<'_> {
    /// Listens to the guest until the end. If KVM fails to run the guest, the next accelerator is tried.
    fn watch(mut self, watch: &mut Watch) -> Result<Outcome> {
        let mut patience = Patience::new(self.report.limit());
        let has_status = terminal::has_status();
        let mut drawn = Instant::now();
        loop {
            let word = self.machine.listen(TICK)?;
            if let Some(signal) = watch.received() {
                let why = format!("stopped by {}", signal::name(signal));
                terminal::say(&why);
                self.report.failure.get_or_insert(why);
                told::print(&self.report.account(TrialVerdict::Untried), self.format)?;
                return Ok(Outcome::Over(Exit::Signal(signal)));
            }
            if let Word::Line(line) = &word {
                self.protocol.events(line).into_iter().for_each(|event| self.report.take(event));
            }
            if has_status && drawn.elapsed() >= TICK {
                drawn = Instant::now();
                self.report.status().iter().for_each(|line| terminal::status(line));
            }
            if let Some(why) = self.why_never_up(&word) {
                terminal::end_status();
                return Ok(Outcome::NeverUp(why));
            }
            if let Some(end) = self.end(&word) {
                terminal::end_status();
                return Ok(Outcome::Over(verdict::close(self.report, end, self.format)?));
            }
            if let Some(words) = self.report.overdue(&mut patience, self.machine.begin.elapsed()) {
                self.machine.send_line(&words);
            }
        }
    }

    fn why_never_up(&self, word: &Word) -> Option<String> {
        if !self.has_next || self.report.is_up() {
            return None;
        }
        if matches!(word, Word::Ended(_)) {
            return Some(self.report.first_word().unwrap_or("QEMU ends at once").to_owned());
        }
        let is_silent = self.report.is_silent() && self.machine.begin.elapsed() > SILENCE;
        is_silent.then(|| format!("no word within {} s", SILENCE.as_secs()))
    }

    fn end(&self, word: &Word) -> Option<GuestEnd> {
        if let Word::Ended(exit) = word {
            return Some(GuestEnd::Ended(*exit));
        }
        if self.report.is_decided() || self.report.done().is_some_and(|since| since.elapsed() > LINGER) {
            return Some(GuestEnd::Over);
        }
        (self.machine.begin.elapsed() > self.report.limit()).then_some(GuestEnd::Hung)
    }
}
