// SPDX-License-Identifier: GPL-2.0-only
//! A line at the bottom of the terminal about an action that takes long. It disappears when something else is
//! printed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::host::terminal;

/// An action takes long from this time on.
pub const LONG: Duration = Duration::from_secs(1);
/// The time between two drawings of the line.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs `act`, which counts the parts of `total` that are done, and shows the count from a second on: `1200/4000
/// modules`. With `quiet`, nothing is shown.
pub fn counted<T>(what: &str, total: usize, quiet: bool, act: impl FnOnce(&AtomicUsize) -> T) -> T {
    let done = AtomicUsize::new(0);
    if quiet || !terminal::has_status() {
        return act(&done);
    }
    let draw = || terminal::status(&count(done.load(Ordering::Relaxed), total, what));
    let result = watched(LONG, draw, || act(&done));
    terminal::end_status();
    result
}

/// Runs `act`, and shows `what` it does from a second on. With `quiet`, nothing is shown.
pub fn shown<T>(what: &str, quiet: bool, act: impl FnOnce() -> T) -> T {
    if quiet || !terminal::has_status() {
        return act();
    }
    let result = watched(LONG, || terminal::status(what), act);
    terminal::end_status();
    result
}

/// Runs `act`, and calls `draw` again and again if that takes longer than `long`.
fn watched<T>(long: Duration, draw: impl Fn() + Sync, act: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                std::thread::park_timeout(PAUSE);
                if begin.elapsed() >= long && !is_over.load(Ordering::Acquire) {
                    draw();
                }
            }
        });
        // The watcher is told even if `act` panics: the scope waits for its threads.
        let _end = End { is_over: &is_over, watcher: watcher.thread().clone() };
        act()
    })
}

/// Tells the watcher, when dropped, that the action is over.
struct End<'a> {
    is_over: &'a AtomicBool,
    watcher: Thread,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.watcher.unpark();
    }
}

fn count(done: usize, total: usize, what: &str) -> String {
    format!("{done}/{total} {what}")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_takes_long_is_drawn_until_it_is_done() {
        let done = AtomicUsize::new(0);
        let drawn = Mutex::new(Vec::new());
        let draw = || drawn.lock().unwrap().push(count(done.load(Ordering::Relaxed), 2, "modules"));
        let wait = |so_many: usize| {
            let begin = Instant::now();
            while drawn.lock().unwrap().len() < so_many {
                assert!(begin.elapsed() < Duration::from_secs(60), "it was drawn too seldom");
                std::thread::sleep(PAUSE / 10);
            }
        };
        let result = watched(Duration::ZERO, draw, || {
            wait(1);
            done.store(2, Ordering::Relaxed);
            wait(3);
            "result"
        });
        let drawn = drawn.into_inner().unwrap();
        assert_eq!(result, "result");
        assert_eq!((drawn[0].as_str(), drawn[2].as_str()), ("0/2 modules", "2/2 modules"));
    }

    #[test]
    fn what_is_done_soon_is_not_drawn() {
        watched(LONG * 3600, || panic!("drawn"), || std::thread::sleep(PAUSE * 2));
    }

    #[test]
    fn a_panic_ends_the_watcher() {
        let act = || watched(LONG, || (), || panic!("here"));
        assert!(std::panic::catch_unwind(act).is_err());
    }
}
