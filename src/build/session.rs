// SPDX-License-Identifier: GPL-2.0-only
//! One run of make as the user sees it: its output is logged, interpreted and shown, signals are handled, and a
//! failure is summed up.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::build::fragment;
use crate::build::kbuild;
use crate::build::kbuild::{KbuildLine, classify};
use crate::build::plan::Plan;
use crate::build::progress::history::{History, RunSize};
use crate::build::progress::screen::Progress;
use crate::build::timings::Timings;
use crate::host::exit::Exit;
use crate::host::processes;
use crate::host::program::{Program, Running, lines_of};
use crate::host::signal;
use crate::host::signal::{Advice, Watch};
use crate::host::terminal;

/// The time between two looks at the clock and at signals.
const TICK: Duration = Duration::from_millis(100);
/// How long to wait for output after make has ended, if another process still holds the pipe open.
const LINGER: Duration = Duration::from_secs(2);
/// How many lines of a failing command are kept to be shown again.
const KEPT: usize = 200;

/// The makes of one klpbuild, one after the other, with one log.
#[derive(Debug)]
pub struct Session<'a> {
    plan: &'a Plan,
    log: Log,
    watch: Watch,
    timings: Option<Timings>,
}

/// The outcome of one make.
#[derive(Debug)]
pub struct MakeOutcome {
    /// How it ended. A signal that klpbuild received takes precedence over make's exit status.
    pub exit: Exit,
    /// The number of steps that kbuild printed, and the time.
    pub run: RunSize,
    failure: Failure,
}

impl MakeOutcome {
    /// Why it failed, in a few words; none if it did not.
    fn trouble(&self) -> Option<String> {
        match (self.exit, self.failure.what.as_deref()) {
            (Exit::Done, _) => None,
            (Exit::Signal(signal), _) => Some(format!("stopped by {}", signal::name(signal))),
            (_, Some("")) => Some(format!("failed: the map of symbols{}", self.failure.first_words())),
            (_, Some(what)) => Some(format!("failed: {what}")),
            (exit, None) => Some(format!("failed: make ended with status {}", exit.code())),
        }
    }
}

impl<'a> Session<'a> {
    /// Opens the log and begins to watch for signals.
    ///
    /// # Errors
    /// The log cannot be made.
    pub fn begin(plan: &'a Plan) -> Result<Session<'a>> {
        let watch = Watch::begin()?;
        processes::adopt_orphans();
        if let Some(problem) = plan.jobserver_problem() {
            terminal::say(problem);
        }
        Ok(Session { plan, log: Log::create(&plan.log)?, watch, timings: None })
    }

    /// Records the times of everything that runs from now on.
    pub fn record(&mut self, timings: &Timings) {
        self.timings = Some(timings.clone());
    }

    /// Runs `act` as a part of the build, and records its time if times are recorded.
    pub fn part<T>(&self, name: &str, act: impl FnOnce() -> T) -> T {
        let begin = self.timings.as_ref().map(Timings::elapsed);
        let done = act();
        if let Some((timings, begin)) = self.timings.as_ref().zip(begin) {
            timings.phase(name, begin);
        }
        done
    }

    /// Runs `command` and shows its progress; `last` is the history of such runs.
    ///
    /// # Errors
    /// make cannot be run.
    pub fn run(&mut self, command: &Program, last: History) -> Result<MakeOutcome> {
        self.announce(command);
        let begin = Instant::now();
        let recorded = self.timings.clone().map(|timings| (timings.elapsed(), timings.sample(), timings));
        let (running, pipe) = command.start()?;
        if let Some(pid) = running.pid() {
            self.plan.state.note_make(pid)?;
        }
        let mut view = self.plan.view.open(last);
        let mut reading = Reading::default();
        let lines = lines_of(pipe);
        let mut looked = begin;
        let mut ended: Option<Instant> = None;
        loop {
            let idle = match lines.recv_timeout(TICK) {
                Ok(line) => {
                    self.log.write(&line);
                    recorded.iter().for_each(|(.., timings)| timings.line(&line));
                    reading.take(&line, view.as_mut(), self.watch.received().is_none());
                    false
                }
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                view.tick(&mut kbuild::running_step);
                self.log.flush();
                heed(self.watch.advise(), &running);
            }
            if idle
                && running.try_wait()?.is_some()
                && ended.get_or_insert_with(Instant::now).elapsed() > LINGER
            {
                break;
            }
        }
        view.close();
        let exit = self.end(&running)?;
        self.log.flush();
        if let Some((begin, sampler, timings)) = recorded {
            drop(sampler);
            timings.phase("make", begin);
        }
        let run = RunSize { steps: reading.steps, time: begin.elapsed() };
        let outcome = MakeOutcome { exit, run, failure: reading.failure };
        if let (Some(timings), Some(trouble)) = (&self.timings, outcome.trouble()) {
            timings.trouble(&trouble);
        }
        Ok(outcome)
    }

    /// Runs a make that talks to the user itself, and so is not logged.
    ///
    /// # Errors
    /// make cannot be run.
    pub fn interact(&mut self, command: &Program) -> Result<Exit> {
        self.announce(command);
        let exit = command.interact()?;
        Ok(self.watch.received().map_or(exit, Exit::Signal))
    }

    /// Sums up a failed make: the output of the failing command (again, if other output came after it), what failed,
    /// and where the log is.
    pub fn sum_up(&self, outcome: &MakeOutcome) {
        let log = self.plan.log.display();
        match outcome.exit {
            Exit::Done => {}
            Exit::Signal(signal) => {
                let name = signal::name(signal);
                terminal::say(format_args!(
                    "stopped by {name}; the same command goes on from here; log: {log}"
                ));
            }
            _ => {
                outcome.failure.show_again();
                if let Some(what) = outcome.failure.what.as_ref().filter(|what| !what.is_empty()) {
                    terminal::say(format_args!("failed: {what}"));
                }
                terminal::say(format_args!("the full output is in {log}"));
            }
        }
    }

    fn announce(&mut self, command: &Program) {
        self.log.write(format!("$ {command}").as_bytes());
        if self.plan.verbose {
            terminal::out(format!("{command}\n"));
        }
    }

    /// Waits for make to end; after a signal, also ends the processes that make has left behind.
    fn end(&mut self, running: &Running) -> Result<Exit> {
        let exit = loop {
            if let Some(exit) = running.try_wait()? {
                break exit;
            }
            heed(self.watch.advise(), running);
            std::thread::sleep(TICK / 10);
        };
        self.plan.state.forget_make();
        let Some(signal) = self.watch.received() else { return Ok(exit) };
        processes::end_descendants();
        processes::reap();
        self.plan.state.sweep();
        Ok(Exit::Signal(signal))
    }
}

fn heed(advice: Advice, running: &Running) {
    match advice {
        Advice::GoOn => {}
        Advice::Terminate => running.terminate(),
        Advice::EndAll => processes::end_descendants(),
    }
}

/// What was found in make's output so far.
#[derive(Debug, Default)]
struct Reading {
    steps: u64,
    failure: Failure,
}

/// The first failure of a make.
#[derive(Debug, Default)]
struct Failure {
    /// Lines since the last step: they are the failing command's own when make reports that a target failed.
    block: Vec<Vec<u8>>,
    /// What failed; none before a failure, and empty if no more need be said.
    what: Option<String>,
    /// The output of the failing command.
    output: Vec<Vec<u8>>,
    /// Whether other output was shown after it.
    buried: bool,
}

impl Reading {
    fn take(&mut self, line: &[u8], view: &mut dyn Progress, show: bool) {
        match classify(line) {
            KbuildLine::Step { tag, path } => {
                self.steps += 1;
                self.failure.block.clear();
                if show {
                    view.step(tag, path, line);
                }
            }
            KbuildLine::Text => {
                self.failure.text(line);
                if show {
                    view.text(line);
                }
            }
            // The map step has printed its own error.
            KbuildLine::Failed { target, .. } if target == fragment::TARGET => {
                self.failure.output = std::mem::take(&mut self.failure.block);
                self.failure.what.get_or_insert_default();
            }
            KbuildLine::Failed { target, why } => {
                if self.failure.failed(format!("{target} ({why})"), line) && show {
                    view.text(line);
                }
            }
            KbuildLine::Stopped(what) => {
                if self.failure.failed(what, line) && show {
                    view.text(line);
                }
            }
            KbuildLine::Noise => {}
        }
    }
}

impl Failure {
    fn text(&mut self, line: &[u8]) {
        self.buried |= self.what.is_some();
        if self.block.len() == KEPT {
            self.block.remove(0);
        }
        self.block.push(line.to_vec());
    }

    /// Notes a failure. False if only an outer make reports a directory that failed because of a failure that is
    /// noted already.
    fn failed(&mut self, what: String, line: &[u8]) -> bool {
        let mut output = std::mem::take(&mut self.block);
        if self.what.is_some() {
            self.buried |= !output.is_empty();
            return !output.is_empty();
        }
        output.push(line.to_vec());
        self.what = Some(what);
        self.output = output;
        true
    }

    /// The first lines of the failing command's output, to follow other text.
    fn first_words(&self) -> String {
        let first =
            self.output.iter().map(|line| String::from_utf8_lossy(line)).find(|line| !line.trim().is_empty());
        first.map(|line| format!(": {}", line.trim_start_matches("klpbuild: error: "))).unwrap_or_default()
    }

    fn show_again(&self) {
        if self.buried {
            for line in &self.output {
                terminal::err_line(line);
            }
        }
    }
}

/// The log of everything make prints. If it cannot be written any more, the build goes on without it.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<BufWriter<fs::File>>,
}

impl Log {
    fn create(path: &Path) -> Result<Log> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).context("cannot make a directory for the log")?;
        }
        let file =
            fs::File::create(path).context("cannot make the log: name another place with --log FILE")?;
        Ok(Log { path: path.to_path_buf(), file: Some(BufWriter::new(file)) })
    }

    fn write(&mut self, line: &[u8]) {
        self.attempt(|file| file.write_all(line).and_then(|()| file.write_all(b"\n")));
    }

    fn flush(&mut self) {
        self.attempt(BufWriter::flush);
    }

    fn attempt(&mut self, work: impl FnOnce(&mut BufWriter<fs::File>) -> std::io::Result<()>) {
        if let Some(file) = &mut self.file
            && let Err(error) = work(file)
        {
            terminal::say(format_args!("cannot write the log {} any more: {error}", self.path.display()));
            // Writing the buffer would fail again when the file is dropped.
            if let Some(file) = self.file.take() {
                let _ = file.into_parts();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A view that notes what it is given.
    #[derive(Default)]
    struct Noted(Vec<String>);

    impl Progress for Noted {
        fn step(&mut self, tag: &str, path: &str, _line: &[u8]) {
            self.0.push(format!("{tag}:{path}"));
        }

        fn text(&mut self, line: &[u8]) {
            self.0.push(String::from_utf8_lossy(line).into_owned());
        }
    }

    fn read(lines: &[&str]) -> (Reading, Vec<String>) {
        let (mut reading, mut noted) = (Reading::default(), Noted::default());
        for line in lines {
            reading.take(line.as_bytes(), &mut noted, true);
        }
        (reading, noted.0)
    }

    const FAILING: [&str; 7] = [
        "  CC      a.o",
        "a.c:1: warning: w",
        "  CC      b.o",
        "b.c:1: error: e",
        "make[2]: *** [scripts/Makefile.build:1: b.o] Error 1",
        "make[1]: *** [Makefile:2: dir] Error 2",
        "make: *** [Makefile:3: __sub-make] Error 2",
    ];

    #[test]
    fn the_first_failure_is_told_with_its_own_output_only() {
        let (reading, shown) = read(&FAILING);
        assert_eq!(reading.steps, 2);
        assert_eq!(reading.failure.what.as_deref(), Some("b.o (Error 1)"));
        let output: Vec<_> =
            reading.failure.output.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(output, ["b.c:1: error: e", FAILING[4]]);
        assert!(!reading.failure.buried);
        // Outer makes giving up for the same reason are left to the log.
        assert_eq!(shown, ["CC:a.o", FAILING[1], "CC:b.o", FAILING[3], FAILING[4]]);
    }

    #[test]
    fn a_failure_is_shown_again_if_other_output_followed() {
        let (reading, shown) = read(&[&FAILING[..5], &["  CC      c.o", "c.c:1: warning: w"]].concat());
        assert!(reading.failure.buried);
        assert_eq!(shown.last().map(String::as_str), Some("c.c:1: warning: w"));
        let (reading, shown) =
            read(&[&FAILING[..5], &["  CC      c.o", "c.c:1: error: e", FAILING[4]]].concat());
        assert!(reading.failure.buried);
        assert_eq!(shown.last().map(String::as_str), Some(FAILING[4]));
    }
}
