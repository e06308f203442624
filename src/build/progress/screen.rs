// SPDX-License-Identifier: GPL-2.0-only
//! What each view of a running make does.

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
