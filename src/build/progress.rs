// SPDX-License-Identifier: GPL-2.0-only
//! What the user sees while make runs.
//!
//! - [`bar`]: one line on a terminal that is redrawn again and again
//! - [`screen`]: what each view has to do
//! - [`history`]: how long the last runs took, from which a bar knows its end

mod bar;
pub mod history;
pub(crate) mod screen;

use crate::build::progress::screen::Progress;
use crate::host::terminal;
use crate::host::terminal::TerminalStreams;

/// How to show progress, as the user asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shown {
    /// A bar on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// A bar, whatever the output is.
    Bar,
    /// One line for each step.
    Plain,
    /// No steps.
    None,
}

/// How progress is shown, once decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// [`bar::Bar`]
    Bar,
    /// Plain lines, with steps
    Steps,
    /// Plain lines, without steps
    Problems,
}

impl View {
    /// Decides from what the user asks for and from what the output is.
    pub fn choose(kind: Shown, quiet: bool, around: TerminalStreams) -> View {
        match kind {
            _ if quiet => View::Problems,
            Shown::None => View::Problems,
            Shown::Auto if around.stdout && around.stderr && around.capable => View::Bar,
            Shown::Bar if around.stderr => View::Bar,
            Shown::Auto | Shown::Bar | Shown::Plain => View::Steps,
        }
    }

    /// Opens the view, for a run that may be like one of `last`.
    pub fn open(self, last: history::History) -> Box<dyn Progress> {
        match self {
            View::Bar => Box::new(bar::Bar::new(last)),
            View::Steps => Box::new(Lines { steps: true }),
            View::Problems => Box::new(Lines { steps: false }),
        }
    }
}

/// Plain lines: steps on standard output, everything else on standard error.
#[derive(Debug)]
struct Lines {
    steps: bool,
}

impl Progress for Lines {
    fn step(&mut self, _tag: &str, _path: &str, line: &[u8]) {
        if self.steps {
            terminal::progress([line, b"\n"].concat());
        }
    }

    fn text(&mut self, line: &[u8]) {
        terminal::err_line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_for_terminals() {
        let around = |stdout, stderr, capable| TerminalStreams { stdout, stderr, capable };
        let auto = |around| View::choose(Shown::Auto, false, around);
        assert_eq!(auto(around(true, true, true)), View::Bar);
        assert_eq!(auto(around(true, true, false)), View::Steps);
        assert_eq!(auto(around(false, true, true)), View::Steps);
        assert_eq!(auto(around(true, false, true)), View::Steps);
        assert_eq!(View::choose(Shown::Bar, false, around(false, true, false)), View::Bar);
        assert_eq!(View::choose(Shown::Bar, false, around(true, false, true)), View::Steps);
        assert_eq!(View::choose(Shown::Bar, true, around(true, true, true)), View::Problems);
        assert_eq!(View::choose(Shown::None, false, around(true, true, true)), View::Problems);
    }
}
