//! `klpbuild try`: the object tree's kernel in QEMU, with livepatches loaded and unloaded again.
//!
//! - [`request`]: what is to be tried, and that it can be; [`module`]: the modules of it
//! - [`initramfs`]: the guest's files (cpio), with `init.sh`, which goes through the stages
//! - [`qemu`]: the machine
//! - [`protocol`]: what the guest says, line by line
//! - [`report`]: what is made of that, and shown; [`closing`]: what is said if all went well, [`console`]: the
//!   last words of a kernel that went down

pub mod closing;
pub mod console;
pub mod initramfs;
pub mod module;
pub mod protocol;
pub mod qemu;
pub mod report;
pub mod request;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::{Options, TryArgs};
use crate::exit::Exit;
use crate::signal::{self, Watch};
use crate::terminal;
use crate::trial::initramfs::Content;
use crate::trial::protocol::Protocol;
use crate::trial::qemu::{Accel, Machine, Word};
use crate::trial::report::{End, Report};
use crate::trial::request::Request;

/// How often time-dependent things are looked after.
const TICK: Duration = Duration::from_millis(100);
/// After how long without a word from the kernel KVM does not run the guest.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the guest may take to shut down.
const LINGER: Duration = Duration::from_secs(10);
/// After how many seconds a transition is stuck, unless there is less time for all. The kernel itself pushes those who hold it up every 15 s
/// (`SIGNALS_TIMEOUT` in kernel/livepatch/transition.c).
const PATIENCE: u64 = 60;

/// What became of a guest.
enum Outcome {
    /// It has been tried, or stopped.
    Over(Exit),
    /// It never came to its first program, for this reason.
    NeverUp(String),
}

/// Boots the kernel, tries the livepatches in it, and reports.
///
/// # Errors
/// It cannot be tried: something is missing, or does not fit the kernel.
pub fn run(options: &Options, arguments: &TryArgs) -> Result<Exit> {
    let request = Request::resolve(options, arguments)?;
    let choices = Accel::choices(request.accel);
    if options.dry_run {
        for accel in choices.iter().take(1) {
            terminal::out(format!("{}\n", qemu::command(&request, *accel, Path::new("initramfs.cpio"))));
        }
        return Ok(Exit::Done);
    }
    let mut watch = Watch::begin()?;
    let directory = tempfile::Builder::new().prefix("klpbuild-").tempdir();
    let directory = directory.context("cannot make a temporary directory (TMPDIR names the place)")?;
    let initramfs = directory.path().join("initramfs.cpio");
    let protocol = Protocol::new();
    content(&request, protocol.token()).write(&initramfs)?;
    for (index, &accel) in choices.iter().enumerate() {
        let command = qemu::command(&request, accel, &initramfs);
        if options.verbose {
            terminal::out(format!("{command}\n"));
        }
        let mut machine = Machine::start(&command, request.log.as_deref())?;
        let report = Report::new(&request, accel, options.quiet);
        let has_next = index + 1 < choices.len();
        match watch_guest(&mut machine, &protocol, report, &mut watch, has_next)? {
            Outcome::Over(exit) => return Ok(exit),
            Outcome::NeverUp(_) if options.quiet => {}
            Outcome::NeverUp(why) => terminal::say(format_args!(
                "{accel} is there but does not run the guest ({why}): using TCG, which is slower"
            )),
        }
    }
    Ok(Exit::Problem)
}

fn content<'a>(request: &'a Request, token: &'a str) -> Content<'a> {
    Content {
        busybox: &request.busybox,
        token,
        limit: request.timeout,
        patience: PATIENCE.min(request.timeout / 2),
        command: request.command.as_deref(),
        no_reload: request.no_reload.as_deref(),
        no_unload: request.no_unload.as_deref(),
        before: &request.before,
        livepatches: &request.livepatches,
        after: &request.after,
    }
}

/// Listens to a guest until its end. If it is KVM's fault that there is none, something else `has_next` turn.
fn watch_guest(
    machine: &mut Machine,
    protocol: &Protocol,
    mut report: Report<'_>,
    watch: &mut Watch,
    has_next: bool,
) -> Result<Outcome> {
    let limit = report.limit();
    let end = loop {
        let word = machine.listen(TICK)?;
        if let Some(signal) = watch.received() {
            terminal::say(format_args!("stopped by {}", signal::name(signal)));
            return Ok(Outcome::Over(Exit::Signal(signal)));
        }
        match word {
            Word::Line(line) => {
                for event in protocol.events(&line) {
                    report.take(event);
                }
            }
            Word::Nothing => {}
            Word::Ended if has_next && !report.is_up() => {
                let why = report.first_word().unwrap_or("QEMU ends at once");
                return Ok(Outcome::NeverUp(why.to_owned()));
            }
            Word::Ended => break End::Ended,
        }
        if has_next && report.is_silent() && machine.begin.elapsed() > SILENCE {
            return Ok(Outcome::NeverUp(format!("no word within {} s", SILENCE.as_secs())));
        }
        if report.is_decided() || report.done().is_some_and(|since| since.elapsed() > LINGER) {
            break End::Ended;
        }
        if machine.begin.elapsed() > limit {
            break End::Hung;
        }
    };
    Ok(Outcome::Over(report.close(end)))
}
