// SPDX-License-Identifier: GPL-2.0-only
//! How the last successful run of an object tree went: its number of steps and its time.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

/// A run's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Steps that kbuild printed.
    pub steps: u64,
    /// Time it took.
    pub time: Duration,
}

impl Run {
    /// What is noted at `path`; none if nothing (usable) is.
    pub fn read(path: &Path) -> Option<Run> {
        let text = fs::read_to_string(path).ok()?;
        let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (steps, milliseconds) = (numbers.next()??, numbers.next()??);
        (steps > 0).then_some(Run { steps, time: Duration::from_millis(milliseconds) })
    }

    /// Notes the run at `path`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, format!("{} {}\n", self.steps, self.time.as_millis()))?)
    }

    /// The time left after `done` steps and `elapsed` time: as the last run went at first, and more and more
    /// as this one goes. None when this run has come further than the last one ever did.
    pub fn left(&self, done: u64, elapsed: Duration) -> Option<Duration> {
        if done == 0 || done >= self.steps {
            return None;
        }
        let part = done as f64 / self.steps as f64;
        let rest = 1.0 - part;
        let as_before = self.time.as_secs_f64() * rest;
        let at_this_pace = elapsed.as_secs_f64() / part * rest;
        Duration::try_from_secs_f64(rest * as_before + part * at_this_pace).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_goes_from_the_last_runs_pace_to_this_ones() {
        let last = Run { steps: 100, time: Duration::from_secs(100) };
        let left = |done, elapsed| last.left(done, Duration::from_secs(elapsed)).map(|left| left.as_secs());
        assert_eq!(left(0, 5), None);
        // A slow start does not mean hours.
        assert_eq!(left(1, 20), Some(117));
        assert_eq!(left(50, 100), Some(75));
        assert_eq!(left(99, 198), Some(1));
        assert_eq!(left(100, 10), None);
        assert_eq!(left(101, 10), None);
    }

    #[test]
    fn survives_a_damaged_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last-run");
        assert_eq!(Run::read(&path), None);
        for text in ["", "7", "x y", "0 5"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Run::read(&path), None, "{text}");
        }
        let run = Run { steps: 3, time: Duration::from_millis(1500) };
        run.write(&path).unwrap();
        assert_eq!(Run::read(&path), Some(run));
    }
}
