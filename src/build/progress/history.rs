// SPDX-License-Identifier: GPL-2.0-only
//! The size of the last successful runs in an object tree, one that built everything and one that built only changes:
//! the number of steps of each, and its time.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

/// By what factor a run may be faster or slower than an earlier one and still be like it.
const LIKE: f64 = 3.0;
/// The least number of steps after which a run has a pace.
const ENOUGH: u64 = 5;
/// The fraction of an earlier run's steps, one in this many, that have to be done before a run can be like it.
const BEGUN: u64 = 50;

/// A run's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSize {
    /// Steps that kbuild printed.
    pub steps: u64,
    /// Time it took.
    pub time: Duration,
}

impl RunSize {
    fn parse(line: &str) -> Option<RunSize> {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (steps, milliseconds) = (numbers.next()??, numbers.next()??);
        (steps > 0).then_some(RunSize { steps, time: Duration::from_millis(milliseconds) })
    }

    /// By what factor a run that has done `done` steps in `elapsed` time is slower than this run.
    fn slower(&self, done: u64, elapsed: Duration) -> f64 {
        let expected = self.time.as_secs_f64() * done as f64 / self.steps as f64;
        elapsed.as_secs_f64() / expected.max(f64::MIN_POSITIVE)
    }

    /// The time left after `done` steps and `elapsed` time: at first by this run's pace, later more and more by the
    /// current one. None if the current run has more steps than this one had.
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

/// The last runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// The last run that built everything.
    pub full: Option<RunSize>,
    /// The last run that had less than half as many steps as that.
    pub part: Option<RunSize>,
}

impl History {
    /// The runs noted at `path`; none if there is no usable note.
    pub fn read(path: &Path) -> History {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut runs = text.lines().map(RunSize::parse);
        History { full: runs.next().flatten(), part: runs.next().flatten() }
    }

    /// The history with one more run.
    pub fn with(self, run: RunSize) -> History {
        match self.full {
            _ if run.steps == 0 => self,
            Some(full) if run.steps.saturating_mul(2) < full.steps => History { part: Some(run), ..self },
            _ => History { full: Some(run), ..self },
        }
    }

    /// Writes the runs to `path`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let line = |run: &RunSize| format!("{} {}\n", run.steps, run.time.as_millis());
        let lines = [self.full, self.part].iter().flatten().map(line).collect::<String>();
        Ok(fs::write(path, lines)?)
    }

    /// The earlier run that is like one which has done `done` steps in `elapsed` time: the one with the nearest pace,
    /// if any is near. A run that builds two files for minutes is not like one that builds thousands.
    pub fn like(&self, done: u64, elapsed: Duration) -> Option<RunSize> {
        let distance = |run: &RunSize| run.slower(done, elapsed).ln().abs();
        let enough = |run: &RunSize| (run.steps / BEGUN).max(ENOUGH.min(run.steps / 2));
        (self.full.into_iter().chain(self.part))
            .filter(|run| done >= enough(run) && done <= run.steps && distance(run) <= LIKE.ln())
            .min_by(|one, other| distance(one).total_cmp(&distance(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps: u64, seconds: u64) -> RunSize {
        RunSize { steps, time: Duration::from_secs(seconds) }
    }

    #[test]
    fn time_left_goes_from_the_last_runs_pace_to_this_ones() {
        let last = run(100, 100);
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
    fn a_run_of_everything_and_one_of_a_part_are_kept_apart() {
        let first = History::default().with(run(10_000, 2000));
        assert_eq!(first, History { full: Some(run(10_000, 2000)), part: None });
        let both = first.with(run(4999, 30)).with(run(40, 20));
        assert_eq!(both, History { full: Some(run(10_000, 2000)), part: Some(run(40, 20)) });
        assert_eq!(both.with(run(5000, 900)).full, Some(run(5000, 900)));
        assert_eq!(both.with(run(0, 1)), both);
        // One of everything does not end what is known of parts.
        assert_eq!(both.with(run(12_000, 3000)).part, Some(run(40, 20)));
    }

    #[test]
    fn no_end_is_told_before_the_pace_is_that_of_an_earlier_run() {
        let both = History { full: Some(run(10_000, 2000)), part: Some(run(40, 20)) };
        let like =
            |done, elapsed: f64| both.like(done, Duration::from_secs_f64(elapsed)).map(|run| run.steps);
        // Two objects in twenty seconds: no pace yet, and neither's.
        assert_eq!((like(0, 1.0), like(2, 20.0)), (None, None));
        assert_eq!((like(10, 20.0), like(10, 5.0), like(10, 1.6)), (None, Some(40), None));
        // It goes on where the last part had ended: for a while it is like none.
        assert_eq!((like(40, 20.0), like(41, 20.0), like(199, 40.0)), (Some(40), None, None));
        assert_eq!((like(200, 40.0), like(200, 130.0)), (Some(10_000), None));
        assert_eq!((like(10_000, 2000.0), like(10_001, 2000.0)), (Some(10_000), None));
        assert_eq!((like(5000, 100.0), like(5000, 3100.0)), (None, None));
        assert_eq!(History::default().like(10, Duration::from_secs(1)), None);
        // The smallest of parts has a pace after half of it.
        let small = History { full: None, part: Some(run(4, 4)) };
        assert_eq!(small.like(1, Duration::from_secs(1)), None);
        assert_eq!(small.like(2, Duration::from_secs(2)), Some(run(4, 4)));
    }

    #[test]
    fn survives_a_damaged_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last-run");
        assert_eq!(History::read(&path), History::default());
        for text in ["", "7", "x y", "0 5", "\n\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(History::read(&path), History::default(), "{text}");
        }
        // As it was written before parts were noted.
        fs::write(&path, "3 1500\n").unwrap();
        let one = History { full: Some(RunSize { steps: 3, time: Duration::from_millis(1500) }), part: None };
        assert_eq!(History::read(&path), one);
        let both = one.with(run(1, 1));
        assert!(both.part.is_some());
        both.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3 1500\n1 1000\n");
        assert_eq!(History::read(&path), both);
    }
}
