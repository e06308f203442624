//! What the guest's words come to: each stage is shown when it ends, with what the kernel logged in it, and the
//! whole is judged.

use std::time::{Duration, Instant};

use crate::build::clock;
use crate::elf::notes;
use crate::exit::Exit;
use crate::terminal;
use crate::trial::closing::{Printed, comparison, summary};
use crate::trial::console::{Console, is_alarm};
use crate::trial::protocol::{Event, Stage, Verdict};
use crate::trial::qemu::Accel;
use crate::trial::request::Request;

/// From how long on it is said how long a stage took.
const LONG: Duration = Duration::from_millis(500);
/// How the guest came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, or because no more is to be heard.
    Ended,
    /// Not within the time it had.
    Hung,
}

/// The report of one guest.
#[derive(Debug)]
pub struct Report<'a> {
    request: &'a Request,
    accel: Accel,
    quiet: bool,
    begin: Instant,
    /// The stage at hand, and when it began.
    stage: Stage,
    since: Instant,
    /// What was printed and logged in it.
    lines: Vec<String>,
    alarm: bool,
    printed: Vec<Printed>,
    /// How many livepatches came to their end.
    disabled: usize,
    console: Console,
    notes: Vec<u8>,
    up: bool,
    done: Option<Instant>,
    /// The first failure: where, and what it is.
    failure: Option<String>,
    /// The kernel that runs is not the one to be tried.
    is_other: bool,
}

impl<'a> Report<'a> {
    /// The report of a guest that is being started.
    pub fn new(request: &'a Request, accel: Accel, quiet: bool) -> Report<'a> {
        Report {
            request,
            accel,
            quiet,
            begin: Instant::now(),
            stage: Stage::Boot,
            since: Instant::now(),
            lines: Vec::new(),
            alarm: false,
            printed: Vec::new(),
            disabled: 0,
            console: Console::default(),
            notes: Vec::new(),
            up: false,
            done: None,
            failure: None,
            is_other: false,
        }
    }

    /// How long all may take.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.request.timeout)
    }

    /// Whether the guest has come to its first program.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether nothing has been heard of the guest.
    pub fn is_silent(&self) -> bool {
        !self.up && self.console.first().is_none()
    }

    /// What was heard first of a guest that never came up.
    pub fn first_word(&self) -> Option<&str> {
        self.console.first()
    }

    /// Since when the guest has had no more to say.
    pub fn done(&self) -> Option<Instant> {
        self.done
    }

    /// Whether nothing that can still come matters.
    pub fn is_decided(&self) -> bool {
        self.is_other
    }

    /// Takes in what the guest says.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Console(line) => {
                if !self.up && is_alarm(&line) {
                    self.lines.push(format!("    {line}"));
                }
                self.console.push(line);
            }
            Event::Notes(notes) => self.notes = notes,
            Event::Hello(release) => {
                self.up = true;
                self.booted(&release);
                // What comes now is of a kernel in trouble.
                self.console = Console::default();
            }
            Event::Begin(stage) => {
                self.stage = stage;
                self.since = Instant::now();
                self.lines.clear();
                self.alarm = false;
                if let Stage::Command(when) = self.stage {
                    self.printed.push((when, Vec::new(), String::new()));
                }
            }
            Event::Output(line) => {
                if let (Stage::Command(_), Some((_, lines, _))) = (&self.stage, self.printed.last_mut()) {
                    lines.push(line.clone());
                }
                self.lines.push(format!("  | {line}"));
            }
            Event::Kernel(line) => {
                self.alarm |= is_alarm(&line);
                self.lines.push(format!("    {line}"));
            }
            Event::End(verdict, why) => {
                if let (Stage::Command(_), Some((_, _, status))) = (&self.stage, self.printed.last_mut()) {
                    status.clone_from(&why);
                }
                self.disabled += usize::from(matches!(self.stage, Stage::Disable(_)));
                match verdict {
                    Verdict::Ok if self.alarm => self.fail("the kernel gave a warning"),
                    Verdict::Failed => self.fail(&why),
                    Verdict::Ok => self.show("ok", &why),
                    Verdict::Skipped => self.show("skipped", &why),
                }
            }
            Event::Done => self.done = Some(Instant::now()),
        }
    }

    /// The kernel is up: is it the right one? What it warned of while it booted is no livepatch's fault.
    fn booted(&mut self, release: &str) {
        let running = notes::build_id_in_notes(&self.notes);
        match (&self.request.build_id, running) {
            (Some(built), Some(running)) if *built != running => {
                self.is_other = true;
                self.lines = vec![
                    format!("    vmlinux has build ID {}", hex(built)),
                    format!("    the guest has build ID {}", hex(&running)),
                ];
                self.fail("the kernel that booted is not this vmlinux: build the image again");
            }
            _ => self.show("ok", &format!("{release}, {}", self.accel)),
        }
    }

    fn show(&self, how: &str, why: &str) {
        if !self.quiet && (self.stage != Stage::End || !self.lines.is_empty()) {
            terminal::out(self.block(how, why));
        }
    }

    fn fail(&mut self, why: &str) {
        terminal::err(self.block("failed", why));
        self.failure.get_or_insert_with(|| format!("{}: {why}", self.stage));
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

    /// Judges the whole, with the closing line.
    pub fn close(mut self, end: End) -> Exit {
        let limit = self.request.timeout;
        let broken = match end {
            _ if self.console.panicked() => Some("the kernel panicked".to_owned()),
            End::Hung => Some(format!("it hangs: not over after {limit} s (--timeout SECONDS)")),
            End::Ended if self.done.is_none() && !self.is_other => Some("QEMU ended too early".to_owned()),
            End::Ended if self.failure.is_none() && self.disabled < self.request.livepatches.len() => {
                Some("the guest left stages out".to_owned())
            }
            End::Ended => None,
        };
        if let Some(why) = broken {
            if self.done.is_some() {
                self.stage = Stage::End;
                self.lines.clear();
            }
            if self.console.first().is_some() {
                // What the console has of the boot is all it has.
                if !self.up {
                    self.lines.clear();
                }
                self.lines.push("  the console's last lines:".to_owned());
                self.lines.extend(self.console.lines().map(|line| format!("    {line}")));
            }
            self.fail(&why);
        }
        if let Some(failure) = self.failure {
            terminal::say(format_args!("failed: {failure}"));
            return Exit::Problem;
        }
        if !self.quiet {
            if let Some(line) = comparison(&self.printed) {
                terminal::out(format!("klpbuild: {line}\n"));
            }
            let summary = summary(&self.request.livepatches, self.request.no_unload.is_none());
            terminal::out(format!("klpbuild: {summary}; {}\n", clock(self.begin.elapsed())));
        }
        Exit::Done
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
