// SPDX-License-Identifier: GPL-2.0-only
//! The terminal; with [`crate::build::progress`]'s bar, the only place that prints.
//!
//! If the reader of the output goes away (`klpbuild modules | head`), or a write fails, the build goes on. But if the
//! requested output could not be written, as on a full disk, that is an error at the end ([`finish`]).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _, stderr, stdout};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::paint::{self, Hue};
use crate::host::several;
use crate::host::words;

/// What the standard streams are, as far as that decides how to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalStreams {
    /// Whether standard output is a terminal.
    pub stdout: bool,
    /// Whether standard error is a terminal.
    pub stderr: bool,
    /// Whether a line can be redrawn there: TERM is set and not `dumb`, no CI runs klpbuild, and klpbuild is in the
    /// terminal's foreground.
    pub capable: bool,
}

impl TerminalStreams {
    /// Reads the state of this process's standard streams, TERM and CI.
    pub fn look() -> TerminalStreams {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        TerminalStreams {
            stdout: stdout().is_terminal(),
            stderr: stderr().is_terminal(),
            capable: set("TERM") && !dumb && !set("CI") && is_foreground(),
        }
    }

    /// Whether the user can be asked questions.
    pub fn is_interactive() -> bool {
        io::stdin().is_terminal()
    }
}

/// Whether this process is in the foreground of the terminal at standard error.
fn is_foreground() -> bool {
    tcgetpgrp(stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// While this lives, the terminal does not echo `^C`, which would move the cursor away from a line that is redrawn.
#[derive(Debug)]
pub struct NoControlEcho(Option<Termios>);

impl NoControlEcho {
    /// Switches the echo off on the terminal at standard error; without one, and in the background, this does
    /// nothing.
    pub fn begin() -> NoControlEcho {
        let before = if is_foreground() { tcgetattr(stderr()).ok() } else { None };
        if let Some(before) = &before {
            let mut now = before.clone();
            now.local_modes.remove(LocalModes::ECHOCTL);
            let _ = tcsetattr(stderr(), OptionalActions::Now, &now);
        }
        NoControlEcho(before)
    }
}

impl Drop for NoControlEcho {
    fn drop(&mut self) {
        // In the background, this would stop the process.
        if let Some(before) = self.0.take().filter(|_| is_foreground()) {
            let _ = tcsetattr(stderr(), OptionalActions::Now, &before);
        }
    }
}

/// The width of the terminal in columns; 80 if it is unknown.
pub fn columns() -> usize {
    match tcgetwinsize(stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// The width of the terminal at standard output; none if there is no terminal, or its width is unknown.
pub fn width_of_output() -> Option<usize> {
    let size = if stdout().is_terminal() { tcgetwinsize(stdout()).ok()? } else { return None };
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// The room that [`say`] leaves in a line of the terminal at standard error; none if there is no terminal, or its
/// width is unknown.
pub fn width_of_errors() -> Option<usize> {
    let size = if stderr().is_terminal() { tcgetwinsize(stderr()).ok()? } else { return None };
    (size.ws_col > 0).then_some(usize::from(size.ws_col).saturating_sub(NAME.len()))
}

/// The first error of writing to standard output, which [`finish`] returns.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// The status line, while it is on the terminal at standard error.
static STATUS: Mutex<Option<String>> = Mutex::new(None);

/// The status line; nobody else draws it while this is held.
fn held_status() -> MutexGuard<'static, Option<String>> {
    STATUS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the status line, so that something can be printed there while the lock is held.
fn without_status() -> MutexGuard<'static, Option<String>> {
    let mut status = held_status();
    if status.take().is_some() {
        let _ = stderr().lock().write_all(b"\r\x1b[2K");
    }
    status
}

/// Whether a status line can be shown: only on a terminal that can redraw a line.
pub fn has_status() -> bool {
    let around = TerminalStreams::look();
    around.stderr && around.capable
}

/// Draws the status line, with as much of `text` as there is room for, and without characters that move the cursor.
/// It disappears when something is printed. Call this only if [`has_status`] is true.
pub fn status(text: &str) {
    let mut status = held_status();
    // The last column stays free: some terminals wrap the line when it is written.
    let shown: String = text.chars().filter(|c| !c.is_control()).take(columns().saturating_sub(1)).collect();
    if status.as_ref() != Some(&shown) {
        let _ = stderr().lock().write_all(format!("\r\x1b[2K{shown}").as_bytes());
        *status = Some(shown);
    }
}

/// Removes the status line.
pub fn end_status() {
    drop(without_status());
}

fn write_out(text: &[u8]) -> io::Result<()> {
    let _status = without_status();
    let mut stdout = stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush())
}

/// Writes the output of a command to standard output, unchanged.
pub fn out(text: impl AsRef<[u8]>) {
    note_failure(write_out(text.as_ref()));
}

/// Writes progress to standard output, where a failure to write does not matter.
pub fn progress(text: impl AsRef<[u8]>) {
    let _ = write_out(text.as_ref());
}

/// Records an error of writing to standard output for [`finish`].
pub fn note_failure(written: io::Result<()>) {
    if let (Err(error), Ok(mut failed)) = (written, FAILED.lock())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        failed.get_or_insert(error);
    }
}

/// Checks that everything written to standard output has arrived, as far as can be told; if the reader went away, it
/// has read what it wanted.
///
/// # Errors
/// Some of it could not be written.
pub fn finish() -> Result<()> {
    match FAILED.lock().ok().and_then(|mut failed| failed.take()) {
        Some(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
        None => Ok(()),
    }
}

/// A value as JSON.
///
/// # Errors
/// It cannot be written as JSON.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Reads a value from JSON.
///
/// # Errors
/// The text is not JSON of this form.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    Ok(serde_json::from_str(text)?)
}

/// Writes to standard error, unchanged.
pub fn err(text: impl AsRef<[u8]>) {
    let _status = without_status();
    let _ = stderr().lock().write_all(text.as_ref());
}

/// The beginning of klpbuild's own lines.
const NAME: &str = "klpbuild: ";

/// Prints a message of klpbuild itself to standard error; each line of it begins with klpbuild's name.
pub fn say(message: impl Display) {
    for line in message.to_string().lines() {
        err_line(format!("{NAME}{line}").as_bytes());
    }
}

/// Prints the result of a command to standard output, as a message of klpbuild itself; each line of it begins with
/// klpbuild's name.
pub fn tell(message: impl Display) {
    for line in message.to_string().lines() {
        let room = width_of_output().map(|columns| columns.saturating_sub(NAME.len()));
        out(fitted_to(&format!("{NAME}{line}"), room).into_owned() + "\n");
    }
}

/// A line, made to fit the terminal at standard error, if there is one: prose is broken at blanks, and its further
/// lines are indented. A line that begins with a blank is a row of a table or a line to paste, and stays whole.
pub fn fitted(line: &str) -> Cow<'_, str> {
    fitted_to(line, width_of_errors())
}

fn fitted_to(line: &str, room: Option<usize>) -> Cow<'_, str> {
    let prose = line.strip_prefix(NAME).filter(|prose| !prose.starts_with(' '));
    match (prose, room) {
        (Some(prose), Some(room)) if words::columns(prose) > room => {
            let text = words::fitting(prose, Some(room));
            let lines: Vec<String> = text.lines().map(|line| format!("{NAME}{line}")).collect();
            Cow::Owned(lines.join("\n"))
        }
        _ => Cow::Borrowed(line),
    }
}

/// Writes a line to standard error, unchanged except for colours of files and severities, if colours are used.
pub fn err_line(line: &[u8]) {
    let painted = match std::str::from_utf8(line) {
        Ok(text) if has_colours(Stream::Error) => paint::diagnostic(&fitted(text)).into_bytes(),
        Ok(text) => fitted(text).into_owned().into_bytes(),
        Err(_) => line.to_vec(),
    };
    err([painted.as_slice(), b"\n"].concat());
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Whether a stream gets colours.
pub fn has_colours(stream: Stream) -> bool {
    paint::is_wanted(match stream {
        Stream::Output => stdout().is_terminal(),
        Stream::Error => stderr().is_terminal(),
    })
}

/// `text` in a colour, if the stream gets colours.
pub fn painted(stream: Stream, hue: Hue, text: &str) -> String {
    if has_colours(stream) { hue.on(text) } else { text.to_owned() }
}

/// For what can be told to be `quiet`: it is.
pub const QUIET: bool = true;

/// For what can be told to be `quiet`: it is not.
pub const ALOUD: bool = false;

/// A word from klpbuild itself that is said once in a process: more than one step may come across its reason.
pub fn say_once(message: impl Display) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let message = message.to_string();
    let is_new = SAID.lock().map_or(true, |mut said| said.insert(message.clone()));
    if is_new {
        say(message);
    }
}

/// Prints an error to standard error; if it consists of several, each of them.
pub fn error(error: &anyhow::Error) {
    several::each(error).iter().for_each(|error| say(format_args!("error: {error}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_broken_and_what_is_pasted_is_not() {
        let line = "klpbuild: error: one two three four five six";
        assert_eq!(fitted_to(line, Some(24)), "klpbuild: error: one two three\nklpbuild:   four five six");
        assert_eq!(fitted_to(line, Some(34)), line);
        assert_eq!(fitted_to(line, None), line);
        for line in ["klpbuild:   one two three four five six", "a.c:1: error: one two three four five six"] {
            assert_eq!(fitted_to(line, Some(24)), line);
        }
    }
}
