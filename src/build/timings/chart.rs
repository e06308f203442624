// SPDX-License-Identifier: GPL-2.0-only
//! How busy a build was: how many steps ran at a time, and how long each ran alone.

use std::time::Duration;

use crate::build::timings::step::Step;

/// A time, and how many steps ran from then on.
pub(super) type StepCount = (Duration, usize);

/// How many steps ran at each time: each level holds until the next one.
pub(super) fn levels(steps: &[Step]) -> Vec<StepCount> {
    let mut events: Vec<(Duration, isize)> = steps
        .iter()
        .filter(|step| step.end > step.begin)
        .flat_map(|step| [(step.begin, 1), (step.end, -1)])
        .collect();
    events.sort_unstable();
    let mut levels: Vec<StepCount> = Vec::new();
    let mut running: isize = 0;
    for (at, change) in events {
        running += change;
        let level = running.unsigned_abs();
        match levels.last_mut() {
            Some(last) if last.0 == at => last.1 = level,
            _ => levels.push((at, level)),
        }
    }
    levels
}

/// For how long each of `steps` (sorted by their beginning) was the only one that ran.
pub(super) fn alone(steps: &[Step]) -> Vec<Duration> {
    let mut found = vec![Duration::ZERO; steps.len()];
    let levels = levels(steps);
    let ends = levels.iter().skip(1).map(|(at, _)| *at);
    for ((begin, _), end) in levels.iter().zip(ends).filter(|((_, level), _)| *level == 1) {
        let before = steps.partition_point(|step| step.begin <= *begin);
        let candidates = steps.iter().zip(&mut found).take(before);
        if let Some((_, time)) = candidates.rev().find(|(step, _)| step.end >= end) {
            *time += end - *begin;
        }
    }
    found
}

/// The row in which each of `steps` (sorted by their beginning) is drawn: the first one that is free.
pub(super) fn rows(steps: &[Step]) -> Vec<usize> {
    let mut free: Vec<Duration> = Vec::new();
    let row = |step: &Step| match free.iter_mut().enumerate().find(|(_, until)| **until <= step.begin) {
        Some((row, until)) => {
            *until = step.end;
            row
        }
        None => {
            free.push(step.end);
            free.len() - 1
        }
    };
    steps.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(begin: u64, end: u64) -> Step {
        let at = Duration::from_secs;
        let (tag, path) = ("CC".to_owned(), format!("{begin}.o"));
        Step { tag, path, begin: at(begin), end: at(end), is_seen: true }
    }

    #[test]
    fn what_runs_at_a_time_is_counted() {
        let steps = [step(0, 10), step(2, 4), step(3, 5), step(10, 12)];
        let at = Duration::from_secs;
        let expected = [(0, 1), (2, 2), (3, 3), (4, 2), (5, 1), (10, 1), (12, 0)];
        assert_eq!(levels(&steps), expected.map(|(time, level)| (at(time), level)));
        assert_eq!(alone(&steps), [at(7), at(0), at(0), at(2)]);
        assert_eq!(rows(&steps), [0, 1, 2, 0]);
        assert_eq!(levels(&[]), []);
        assert_eq!(alone(&[step(1, 1)]), [Duration::ZERO]);
    }
}
