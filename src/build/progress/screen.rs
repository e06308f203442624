// SPDX-License-Identifier: GPL-2.0-only
//! What each view of a running make has to do.

/// A view of a running make. Lines come in the order make printed them.
pub trait Progress {
    /// Shows a step of kbuild; `line` is as make printed it.
    fn step(&mut self, tag: &str, path: &str, line: &[u8]);
    /// Shows a whole line: output of compilers, scripts and make.
    fn text(&mut self, line: &[u8]);
    /// Some time has passed. `running` finds out which step is running; that takes some milliseconds.
    fn tick(&mut self, _running: &mut dyn FnMut() -> Option<(String, String)>) {}
    /// The run is over: leaves the screen as other programs expect it.
    fn close(&mut self) {}
}
