// SPDX-License-Identifier: GPL-2.0-only
//! Signals that end a build.
//!
//! Ctrl-C reaches make by itself, for klpbuild stays in the terminal's process group; SIGTERM and SIGHUP may
//! come to klpbuild alone and are handed on as SIGTERM, upon which make stops its children.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// How long make may take to end by itself after Ctrl-C before it is told to.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long make may take to end once it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// Has a write beyond the limit on the size of files (RLIMIT_FSIZE, setrlimit(2)) fail in place of ending the process:
/// whoever writes says what could not be written, and leaves nothing half done. What this process starts is not
/// concerned.
pub fn outlive_file_limits() {
    // Without the handler, the system ends the process: there is nothing to report.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Watches for SIGINT, SIGTERM and SIGHUP. Those that were ignored when klpbuild was started (nohup, a
/// script's background job) stay ignored.
#[derive(Debug)]
pub struct Watch {
    signals: Signals,
    first: Option<(i32, Instant)>,
    /// Make does not get the signal by itself, or the user has lost patience.
    urgent: bool,
    told: Option<Instant>,
}

/// What is to be done about make now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    GoOn,
    /// Tell make to end.
    Terminate,
    /// Make was told and has not ended: end it with all that is below it.
    EndAll,
}

impl Watch {
    /// Begins to watch; from here on these signals end nothing by themselves.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn begin() -> Result<Watch> {
        let ignored = ignored_signals();
        let wanted =
            [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let signals = Signals::new(wanted).context("cannot watch for signals")?;
        Ok(Watch { signals, first: None, urgent: false, told: None })
    }

    /// The first signal that came, if any has.
    pub fn received(&mut self) -> Option<i32> {
        for signal in self.signals.pending() {
            self.urgent |= signal != SIGINT || self.first.is_some();
            self.first.get_or_insert((signal, Instant::now()));
        }
        self.first.map(|(signal, _)| signal)
    }

    /// What is to be done about a make that has not ended yet; each step is advised once.
    pub fn advise(&mut self) -> Advice {
        self.received();
        match (self.first, self.told) {
            (Some((_, since)), None) if self.urgent || since.elapsed() > PATIENCE => {
                self.told = Some(Instant::now());
                Advice::Terminate
            }
            (_, Some(told)) if told.elapsed() > GRACE => {
                self.told = Some(Instant::now());
                Advice::EndAll
            }
            _ => Advice::GoOn,
        }
    }
}

/// The name of a signal, as kill(1) has it.
pub fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

/// Ends this process the way `signal` would have.
pub fn die_by(signal: i32) {
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// The mask of ignored signals (proc(5), SigIgn in /proc/PID/status).
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asking whether a signal came must not use up the advice to act on it.
    #[test]
    fn advice_outlives_questions() {
        let mut watch = Watch::begin().unwrap();
        assert_eq!((watch.received(), watch.advise()), (None, Advice::GoOn));
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(watch.received(), Some(SIGTERM));
        assert_eq!(watch.received(), Some(SIGTERM));
        assert_eq!(watch.advise(), Advice::Terminate);
        assert_eq!(watch.advise(), Advice::GoOn);
    }
}
