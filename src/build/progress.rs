//! What the user sees of a running make.
//!
//! - [`bar`]: one line on a terminal that is drawn again and again
//! - [`history`]: how long the last run was, from which a bar knows its end

pub mod bar;
pub mod history;

use crate::cli::ProgressKind;
use crate::host::terminal;
use crate::host::terminal::Surroundings;

/// A view of a running make. Lines come in the order make printed them.
pub trait Progress {
    /// A step of kbuild; `line` is as make printed it.
    fn step(&mut self, tag: &str, path: &str, line: &[u8]);
    /// A line that must be seen whole: what compilers, scripts and make have to say.
    fn text(&mut self, line: &[u8]);
    /// Time has passed. `running` finds out which step is running; that takes some milliseconds.
    fn tick(&mut self, _running: &mut dyn FnMut() -> Option<(String, String)>) {}
    /// The run is over: the screen is left as other programs expect it.
    fn close(&mut self) {}
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
    /// Decides, from what was asked for and what the outside is like.
    pub fn choose(kind: ProgressKind, quiet: bool, around: Surroundings) -> View {
        match kind {
            _ if quiet => View::Problems,
            ProgressKind::None => View::Problems,
            ProgressKind::Auto if around.stdout && around.stderr && around.capable => View::Bar,
            ProgressKind::Bar if around.stderr => View::Bar,
            ProgressKind::Auto | ProgressKind::Bar | ProgressKind::Plain => View::Steps,
        }
    }

    /// Makes the view, for a run that is like `last`.
    pub fn open(self, last: Option<history::Run>) -> Box<dyn Progress> {
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
        terminal::err([line, b"\n"].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_for_terminals() {
        let around = |stdout, stderr, capable| Surroundings { stdout, stderr, capable };
        let auto = |around| View::choose(ProgressKind::Auto, false, around);
        assert_eq!(auto(around(true, true, true)), View::Bar);
        assert_eq!(auto(around(true, true, false)), View::Steps);
        assert_eq!(auto(around(false, true, true)), View::Steps);
        assert_eq!(auto(around(true, false, true)), View::Steps);
        assert_eq!(View::choose(ProgressKind::Bar, false, around(false, true, false)), View::Bar);
        assert_eq!(View::choose(ProgressKind::Bar, false, around(true, false, true)), View::Steps);
        assert_eq!(View::choose(ProgressKind::Bar, true, around(true, true, true)), View::Problems);
        assert_eq!(View::choose(ProgressKind::None, false, around(true, true, true)), View::Problems);
    }
}
