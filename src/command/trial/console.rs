// SPDX-License-Identifier: GPL-2.0-only
//! The last lines of a console, which are shown if the kernel crashes.

use std::collections::VecDeque;

use crate::command::trial::alarm::is_alarm;

/// How many lines are kept if nothing shows where the trouble began.
const LAST: usize = 30;
/// How many lines are kept from the beginning of the trouble, first and last ones together.
const MOST: usize = 100;
/// The last line that a kernel prints.
const PANIC: &str = "Kernel panic - not syncing";

/// Lines of a console.
#[derive(Debug, Default)]
pub struct Console {
    lines: VecDeque<String>,
    /// Whether the trouble begins at the first line.
    alarmed: bool,
    panicked: bool,
}

impl Console {
    /// Adds a line.
    pub fn push(&mut self, line: String) {
        self.panicked |= line.contains(PANIC);
        if !self.alarmed && is_alarm(None, &line) {
            self.alarmed = true;
            self.lines.clear();
        }
        if self.alarmed && self.lines.len() == MOST {
            self.lines.remove(MOST / 2);
        } else if !self.alarmed && self.lines.len() == LAST {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Whether the kernel has panicked.
    pub fn panicked(&self) -> bool {
        self.panicked
    }

    /// The first line that was kept.
    pub fn first(&self) -> Option<&str> {
        self.lines.front().map(String::as_str)
    }

    /// The lines that were kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(lines: impl IntoIterator<Item = String>) -> Console {
        let mut console = Console::default();
        lines.into_iter().for_each(|line| console.push(line));
        console
    }

    #[test]
    fn the_last_lines_are_kept() {
        let console = console((1..=40).map(|number| number.to_string()));
        assert_eq!((console.first(), console.lines().count()), (Some("11"), LAST));
        assert!(!console.panicked());
    }

    #[test]
    fn all_is_kept_from_where_the_trouble_begins() {
        let before = (1..=40).map(|number| number.to_string());
        let oops = ["BUG: kernel NULL pointer dereference", "Oops: 0002 [#1] PREEMPT SMP"].map(str::to_owned);
        let after = (1..=200).map(|number| number.to_string());
        let console = console(before.chain(oops).chain(after).chain([format!("{PANIC}: Fatal exception")]));
        let lines: Vec<&str> = console.lines().collect();
        assert_eq!(lines.len(), MOST);
        assert_eq!(&lines[..3], ["BUG: kernel NULL pointer dereference", "Oops: 0002 [#1] PREEMPT SMP", "1"]);
        assert_eq!(&lines[MOST - 2..], ["200", "Kernel panic - not syncing: Fatal exception"]);
        assert!(console.panicked());
    }
}
