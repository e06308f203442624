// SPDX-License-Identifier: GPL-2.0-only
//! The steps from patches to a livepatch, each shown with its time when it is done. Signals are checked between them.

use std::time::Instant;

use anyhow::Result;

use crate::host::signal::Watch;
use crate::host::terminal;
use crate::host::words::clock;

/// The steps of one run.
#[derive(Debug)]
pub struct Steps {
    watch: Watch,
    begin: Instant,
    last: Instant,
    is_shown: bool,
}

impl Steps {
    /// Starts the clock, and watches for signals.
    ///
    /// # Errors
    /// Signals cannot be watched.
    pub fn begin(is_shown: bool) -> Result<Steps> {
        let now = Instant::now();
        Ok(Steps { watch: Watch::begin()?, begin: now, last: now, is_shown })
    }

    /// Ends a step. True if a signal came meanwhile: then no further step may begin.
    pub fn done(&mut self, what: &str) -> bool {
        if self.is_shown {
            terminal::progress(format!("  {:>7}  {what}\n", clock(self.last.elapsed())));
        }
        self.last = Instant::now();
        self.signal().is_some()
    }

    /// The signal that came, if any has.
    pub fn signal(&mut self) -> Option<i32> {
        self.watch.received()
    }

    /// The time since the beginning, in seconds.
    pub fn seconds(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }
}
