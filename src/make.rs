//! The make to be run: a value that prints itself as a shell would take it, and runs; the only place that
//! names duct.
//!
//! - [`makeflags`]: what an outer make says in MAKEFLAGS

pub mod makeflags;

use std::fmt;
use std::io::PipeReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use duct::unix::HandleExt as _;

use crate::exit::Exit;

/// A make with its arguments and environment.
#[derive(Debug, Clone)]
pub struct Command {
    directory: PathBuf,
    arguments: Vec<String>,
    /// Variables set (`Some`) and removed (`None`) for make, in order.
    environment: Vec<(String, Option<String>)>,
}

/// What a short-lived make printed.
#[derive(Debug)]
pub struct Captured {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether it ended with status 0.
    pub success: bool,
}

/// A make at work. Dropped, it is stopped.
#[derive(Debug)]
pub struct Running {
    handle: duct::Handle,
}

impl Command {
    /// A `make` that runs in `directory`. Messages are in the C locale, for they are read again. The
    /// environment variable MAKE does not count: kbuild exports its own, with arguments.
    pub fn new(directory: &Path) -> Command {
        let directory = directory.to_path_buf();
        let mut command = Command { directory, arguments: Vec::new(), environment: Vec::new() };
        // The top Makefile unexports LC_ALL: what its sub-makes say goes by LC_MESSAGES.
        command.env("LC_ALL", "C").env("LC_MESSAGES", "C");
        command
    }

    /// Adds one argument.
    pub fn arg(&mut self, argument: impl Into<String>) -> &mut Command {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> &mut Command {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: &str, value: impl Into<String>) -> &mut Command {
        self.environment.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(&mut self, name: &str) -> &mut Command {
        self.environment.push((name.to_owned(), None));
        self
    }

    /// Makes this a make of its own, without the flags, the jobserver and the makefiles of an outer one.
    pub fn detach_from_outer_make(&mut self) -> &mut Command {
        for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEFILES", "MAKEOVERRIDES"] {
            self.env_remove(name);
        }
        self
    }

    fn expression(&self) -> duct::Expression {
        let mut expression = duct::cmd("make", &self.arguments).dir(&self.directory).unchecked();
        for (name, value) in &self.environment {
            expression = match value {
                Some(value) => expression.env(name, value),
                None => expression.env_remove(name),
            };
        }
        expression
    }

    fn described<T>(&self, result: std::io::Result<T>) -> Result<T> {
        result.with_context(|| format!("cannot run {self}: is GNU make installed?"))
    }

    /// Starts make without an input, and gives what it and its children print, in one stream.
    ///
    /// # Errors
    /// make cannot be started.
    pub fn start(&self) -> Result<(Running, PipeReader)> {
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        // The expression holds a copy of the pipe's writing end: it must be gone before reading begins.
        let handle = self.expression().stdin_null().stderr_to_stdout().stdout_file(writer).start();
        Ok((Running { handle: self.described(handle)? }, reader))
    }

    /// Runs make on the terminal as it is, for the config goals that ask questions.
    ///
    /// # Errors
    /// make cannot be started.
    pub fn interact(&self) -> Result<Exit> {
        Ok(self.described(self.expression().run())?.status.into())
    }

    /// Runs a short make that reads `input`, and collects what it prints.
    ///
    /// # Errors
    /// make cannot be started.
    pub fn capture(&self, input: &str) -> Result<Captured> {
        let output =
            self.described(self.expression().stdin_bytes(input).stdout_capture().stderr_capture().run())?;
        Ok(Captured { stdout: output.stdout, stderr: output.stderr, success: output.status.success() })
    }
}

/// As it can be pasted into a shell.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |word: &str| {
            shlex::try_quote(word).map_or_else(|_| format!("{word:?}"), |text| text.into_owned())
        };
        let variables = self.environment.iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            (name != "LC_ALL" && name != "LC_MESSAGES")
                .then(|| format!("{name}={} ", if value.is_empty() { String::new() } else { quoted(value) }))
        });
        for variable in variables {
            f.write_str(&variable)?;
        }
        f.write_str("make")?;
        for argument in &self.arguments {
            // `NAME=value` has to keep its name bare.
            match argument.split_once('=') {
                Some((name, value)) if shlex::try_quote(name).is_ok_and(|q| q == name) => {
                    write!(f, " {name}={}", if value.is_empty() { String::new() } else { quoted(value) })?;
                }
                _ => write!(f, " {}", quoted(argument))?,
            }
        }
        Ok(())
    }
}

impl Running {
    /// How make ended, if it has.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn try_wait(&self) -> Result<Option<Exit>> {
        Ok(self.handle.try_wait()?.map(|output| output.status.into()))
    }

    /// Waits until make has ended.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn wait(&self) -> Result<Exit> {
        Ok(self.handle.wait()?.status.into())
    }

    /// Asks make to end: it stops its children, removes targets that are half made, and ends.
    pub fn terminate(&self) {
        let _ = self.handle.send_signal(signal_hook::consts::SIGTERM);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.handle.try_wait(), Ok(Some(_))) {
            self.terminate();
            let _ = self.handle.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_itself_for_a_shell() {
        let mut command = Command::new(Path::new("/"));
        command.args(["-C", "/a b", "KCFLAGS=-g -Wall", "V=", "modules"]).env("MAKEFILES", "/x/hook.mk");
        assert_eq!(command.to_string(), "MAKEFILES=/x/hook.mk make -C '/a b' KCFLAGS='-g -Wall' V= modules");
    }
}
