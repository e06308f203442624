// SPDX-License-Identifier: GPL-2.0-only
//! Where a build's time goes: when each step began and ended, as the processes of its recipe tell. The build itself is
//! what it is without: nothing is put between make and its recipes, they are only looked at.
//!
//! A recipe's shell has the step's line in its command line, and the system knows when the shell was started. make says
//! of each step that it is done, but not what waited for what: a critical path cannot be told.
//!
//! - `step`: the whole, a part of it, and a step
//! - `chart`: how busy the processors were, and which steps ran alone
//! - `report`: the page

mod chart;
mod report;
mod step;

pub use report::page;
pub use step::{Phase, Step, Told};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::build::kbuild;
use crate::build::kbuild::{Line, classify};
use crate::build::timings::step::INTERVAL;

/// What a step is known by: what is done, and to what.
type Name = (String, String);

/// What is recorded of a build.
#[derive(Debug, Default)]
struct Records {
    /// What was seen, by the shell's number and when it was started.
    seen: BTreeMap<(u32, u64), (Name, Duration, Duration)>,
    /// What make said, in its order.
    said: Vec<(Name, Duration)>,
    phases: Vec<Phase>,
    /// Why it did not end well.
    trouble: Option<String>,
}

/// Records a build's times.
#[derive(Debug, Clone)]
pub struct Timings {
    origin: Instant,
    records: Arc<Mutex<Records>>,
}

/// Looks at the processes for as long as it lives.
#[derive(Debug)]
pub struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Timings {
    /// Begins to count.
    pub fn begin() -> Timings {
        Timings { origin: Instant::now(), records: Arc::default() }
    }

    /// The time that has passed.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Notes a part of the whole that has just ended.
    pub fn phase(&self, name: &str, begin: Duration) {
        let phase = Phase { name: name.to_owned(), begin, end: self.elapsed() };
        self.with(|records| records.phases.push(phase));
    }

    /// Notes why the build did not end well: the first reason counts.
    pub fn trouble(&self, what: &str) {
        self.with(|records| {
            records.trouble.get_or_insert_with(|| what.to_owned());
        });
    }

    /// Takes in a line of make's output.
    pub fn line(&self, line: &[u8]) {
        if let Line::Step { tag, path } = classify(line) {
            let said = ((tag.to_owned(), path.to_owned()), self.elapsed());
            self.with(|records| records.said.push(said));
        }
    }

    /// Begins to look at the processes.
    pub fn sample(&self) -> Sampler {
        let is_over = Arc::new(AtomicBool::new(false));
        let (timings, flag) = (self.clone(), Arc::clone(&is_over));
        let thread = std::thread::Builder::new().name("timings".to_owned()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                timings.look();
                std::thread::sleep(INTERVAL);
            }
        });
        // Without it, steps are known by their ends alone.
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

    /// What the page is made of.
    pub fn told(&self) -> Told {
        let told = |records: &Records| Told {
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

/// Puts together what was seen and what make said: make prints a step's line when its target is done, or, if its output
/// is not kept together, when it begins.
fn steps(records: &Records) -> Vec<Step> {
    let mut waiting: BTreeMap<&Name, Vec<Duration>> = BTreeMap::new();
    for (name, at) in records.said.iter().rev() {
        waiting.entry(name).or_default().push(*at);
    }
    let mut all = Vec::new();
    for ((tag, path), begin, last) in records.seen.values() {
        // The line of this very run of the step is the next one.
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
