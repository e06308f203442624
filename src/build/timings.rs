// SPDX-License-Identifier: GPL-2.0-only
//! Where a build's time goes: when each step began and ended, judging by the processes of its recipe. This does not
//! change the build: nothing is put between make and its recipes, their processes are only observed.
//!
//! A recipe's shell has the step's line in its command line, and the system knows when the shell started. make
//! reports the end of each step, but not which step waited for which: the critical path remains unknown.
//!
//! - `step`: the build, a part of it, and a step
//! - `chart`: how busy the processors were, and which steps ran alone
//! - `report`: the page

mod chart;
mod report;
mod step;

pub use report::page;
pub use step::{BuildTimes, Phase, Step};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::build::kbuild;
use crate::build::kbuild::{KbuildLine, classify};
use crate::build::timings::step::INTERVAL;

/// The name of a step: its kind and its target.
type Name = (String, String);

/// The records of a build.
#[derive(Debug, Default)]
struct Records {
    /// Observed steps, by the shell's process number and start time: the name, and when it was first and last seen.
    seen: BTreeMap<(u32, u64), (Name, Duration, Duration)>,
    /// Steps that make printed, in its order.
    said: Vec<(Name, Duration)>,
    phases: Vec<Phase>,
    /// Why the build failed.
    trouble: Option<String>,
}

/// Records a build's times.
#[derive(Debug, Clone)]
pub struct Timings {
    origin: Instant,
    records: Arc<Mutex<Records>>,
}

/// Observes the processes for as long as it lives.
#[derive(Debug)]
pub struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Timings {
    /// Starts the clock.
    pub fn begin() -> Timings {
        Timings { origin: Instant::now(), records: Arc::default() }
    }

    /// The time that has passed.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Records a part of the build that has just ended.
    pub fn phase(&self, name: &str, begin: Duration) {
        let phase = Phase { name: name.to_owned(), begin, end: self.elapsed() };
        self.with(|records| records.phases.push(phase));
    }

    /// Records why the build failed: the first reason counts.
    pub fn trouble(&self, what: &str) {
        self.with(|records| {
            records.trouble.get_or_insert_with(|| what.to_owned());
        });
    }

    /// Records a line of make's output.
    pub fn line(&self, line: &[u8]) {
        if let KbuildLine::Step { tag, path } = classify(line) {
            let said = ((tag.to_owned(), path.to_owned()), self.elapsed());
            self.with(|records| records.said.push(said));
        }
    }

    /// Begins to observe the processes.
    pub fn sample(&self) -> Sampler {
        let is_over = Arc::new(AtomicBool::new(false));
        let (timings, flag) = (self.clone(), Arc::clone(&is_over));
        let thread = std::thread::Builder::new().name("timings".to_owned()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                timings.look();
                std::thread::sleep(INTERVAL);
            }
        });
        // Without the thread, only the ends of steps are known.
        Sampler { is_over, thread: thread.ok() }
    }

    fn look(&self) {
        let running = kbuild::running_steps();
        let now = self.elapsed();
        self.with(|records| {
            for step in running {
                let begin = now.saturating_sub(step.age);
                let name = (step.tag, step.path);
                records.seen.entry(step.process).or_insert((name, begin, now)).2 = now;
            }
        });
    }

    fn with(&self, act: impl FnOnce(&mut Records)) {
        if let Ok(mut records) = self.records.lock() {
            act(&mut records);
        }
    }

    /// The contents of the page.
    pub fn times(&self) -> BuildTimes {
        let told = |records: &Records| BuildTimes {
            total: self.elapsed(),
            trouble: records.trouble.clone(),
            phases: records.phases.clone(),
            steps: steps(records),
        };
        self.records.lock().map(|records| told(&records)).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Combines observed steps with those that make printed: make prints a step's line when its target is done, or, if it
/// does not keep output together, when it begins.
fn steps(records: &Records) -> Vec<Step> {
    let mut waiting: BTreeMap<&Name, Vec<Duration>> = BTreeMap::new();
    for (name, at) in records.said.iter().rev() {
        waiting.entry(name).or_default().push(*at);
    }
    let mut all = Vec::new();
    for ((tag, path), begin, last) in records.seen.values() {
        // The next line of that name belongs to this run of the step.
        if let Some(times) = waiting.get_mut(&(tag.clone(), path.clone())) {
            times.pop();
        }
        let end = *last + INTERVAL / 2;
        all.push(Step { tag: tag.clone(), path: path.clone(), begin: *begin, end, is_seen: true });
    }
    for ((tag, path), times) in waiting {
        let short =
            |at: Duration| Step { tag: tag.clone(), path: path.clone(), begin: at, end: at, is_seen: false };
        all.extend(times.into_iter().map(short));
    }
    all.sort_by(|one, other| (one.begin, one.end, &one.path).cmp(&(other.begin, other.end, &other.path)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_and_what_make_said_are_one_step() {
        let name = |path: &str| ("CC".to_owned(), path.to_owned());
        let at = Duration::from_millis;
        let mut records = Records::default();
        records.seen.insert((7, 1), (name("long.o"), at(100), at(900)));
        records.seen.insert((8, 2), (name("long.o"), at(2000), at(2100)));
        records.said = vec![(name("short.o"), at(50)), (name("long.o"), at(910)), (name("long.o"), at(2110))];
        let told: Vec<_> = steps(&records).into_iter().map(|s| (s.path, s.begin, s.end, s.is_seen)).collect();
        let expected = [
            ("short.o".to_owned(), at(50), at(50), false),
            ("long.o".to_owned(), at(100), at(920), true),
            ("long.o".to_owned(), at(2000), at(2120), true),
        ];
        assert_eq!(told, expected);
    }
}
