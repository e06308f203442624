// SPDX-License-Identifier: GPL-2.0-only
//! Signals that end a build.
//!
//! Ctrl-C reaches make directly, because klpbuild stays in the terminal's process group. SIGTERM and SIGHUP may reach
//! only klpbuild, which passes them on as SIGTERM: then make stops its children.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// How long make may take to end by itself after Ctrl-C before klpbuild ends it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long make may take to end after klpbuild has sent it SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Makes a write beyond the limit on the size of files (RLIMIT_FSIZE, setrlimit(2)) fail, in place of ending the
/// process: so the error says which file could not be written, and no file is left half written. Processes that this
/// one starts keep the default.
pub fn outlive_file_limits() {
    // Without the handler, the system would end the process; if it cannot be set, there is nothing to report.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Watches for SIGINT, SIGTERM and SIGHUP. Signals that were ignored when klpbuild was started (nohup, a script's
/// background job) stay ignored.
#[derive(Debug)]
pub struct Watch {
    signals: Signals,
    first: Option<(i32, Instant)>,
    /// Whether make does not get the signal by itself, or the user has lost patience.
    urgent: bool,
    told: Option<Instant>,
}

/// What to do with make now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    GoOn,
    /// Send make SIGTERM.
    Terminate,
    /// make got SIGTERM and has not ended: end it with all processes below it.
    EndAll,
}

impl Watch {
    /// Begins to watch; from here on, these signals do not end klpbuild by themselves.
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

    /// What to do with a make that has not ended yet; each step is advised once.
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

/// The name of a signal, as in kill(1).
pub fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

/// Ends this process by `signal`.
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
