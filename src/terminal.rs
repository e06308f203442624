//! The terminal; with [`crate::progress`]'s bar, the only place that prints.
//!
//! A reader that went away (`klpbuild modules | head`) is no reason to stop a build: errors of writing are
//! ignored.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

/// What the outside is like, as far as it decides how to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// Standard output is a terminal.
    pub stdout: bool,
    /// Standard error is a terminal.
    pub stderr: bool,
    /// It can move its cursor: TERM is set and not `dumb`, and no CI runs this.
    pub capable: bool,
}

impl Surroundings {
    /// Looks at this process's standard streams, TERM and CI.
    pub fn look() -> Surroundings {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Surroundings {
            stdout: std::io::stdout().is_terminal(),
            stderr: std::io::stderr().is_terminal(),
            capable: set("TERM") && !dumb && !set("CI"),
        }
    }

    /// Whether questions can be asked.
    pub fn is_interactive() -> bool {
        std::io::stdin().is_terminal()
    }
}

/// The width of the terminal in columns; 80 if it does not tell.
pub fn columns() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// Writes to standard output, as it is.
pub fn out(text: impl AsRef<[u8]>) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_ref()).and_then(|()| stdout.flush());
}

/// Writes to standard error, as it is.
pub fn err(text: impl AsRef<[u8]>) {
    let _ = std::io::stderr().lock().write_all(text.as_ref());
}

/// A word from klpbuild itself, on standard error; each line of it with klpbuild's name.
pub fn say(message: impl Display) {
    for line in message.to_string().lines() {
        err(format!("klpbuild: {line}\n"));
    }
}

/// An error, on standard error.
pub fn error(error: &anyhow::Error) {
    say(format_args!("error: {error:#}"));
}
