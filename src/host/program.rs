// SPDX-License-Identifier: GPL-2.0-only
//! A program to run: a value that prints itself as a shell command, and runs; the only place that names duct.

use std::fmt;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context as _, Result, ensure};
use duct::unix::HandleExt as _;

use crate::host::exit::Exit;

/// The program that runs a virtual machine.
pub const QEMU: &str = "qemu-system-x86_64";

/// A program with its arguments and environment.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    directory: PathBuf,
    arguments: Vec<String>,
    /// Variables set (`Some`) and removed (`None`) for the program, in order.
    environment: Vec<(String, Option<String>)>,
    /// The hint for the case that it cannot be started.
    hint: &'static str,
    is_tied: bool,
}

/// The output of a short-lived program.
#[derive(Debug)]
pub struct Captured {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether it ended with status 0.
    pub success: bool,
}

/// A running program. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Running {
    handle: duct::Handle,
}

impl Program {
    /// A program that is found in PATH and runs in `directory`. Its messages are in the C locale, because klpbuild
    /// reads them. `hint` is printed if it cannot be started.
    pub fn new(name: &str, directory: &Path, hint: &'static str) -> Program {
        let mut program = Program {
            name: name.to_owned(),
            directory: directory.to_path_buf(),
            arguments: Vec::new(),
            environment: Vec::new(),
            hint,
            is_tied: false,
        };
        program.env("LC_ALL", "C");
        program
    }

    /// Adds one argument.
    pub fn arg(&mut self, argument: impl Into<String>) -> &mut Program {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> &mut Program {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: &str, value: impl Into<String>) -> &mut Program {
        self.environment.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(&mut self, name: &str) -> &mut Program {
        self.environment.push((name.to_owned(), None));
        self
    }

    /// Has the program end together with klpbuild, even if SIGKILL gives klpbuild no time to end it: it is started
    /// through [`crate::host::processes::become_tied`].
    pub fn tie(&mut self) -> &mut Program {
        self.is_tied = true;
        self
    }

    /// The environment without variables that were set or removed again later.
    fn effective(&self) -> impl Iterator<Item = &(String, Option<String>)> {
        let is_last = |(index, (name, _)): &(usize, &(String, Option<String>))| {
            !self.environment.iter().skip(index + 1).any(|(later, _)| later == name)
        };
        self.environment.iter().enumerate().filter(is_last).map(|(_, variable)| variable)
    }

    fn expression(&self) -> duct::Expression {
        let command = if self.is_tied {
            // The program file of this process, even if another file has replaced it on disk.
            let parent = std::process::id().to_string();
            let tied = ["tied", &parent, "--", &self.name];
            let arguments = tied.into_iter().chain(self.arguments.iter().map(String::as_str));
            duct::cmd("/proc/self/exe", arguments)
        } else {
            duct::cmd(&self.name, &self.arguments)
        };
        let mut expression = command.dir(&self.directory).unchecked();
        for (name, value) in self.effective() {
            expression = match value {
                Some(value) => expression.env(name, value),
                None => expression.env_remove(name),
            };
        }
        expression
    }

    fn described<T>(&self, result: std::io::Result<T>) -> Result<T> {
        result.with_context(|| format!("cannot run {self}: {}", self.hint))
    }

    /// Starts the program without input, and returns it with the output of it and its children, as one stream.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&self) -> Result<(Running, PipeReader)> {
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        // The expression holds a copy of the pipe's writing end, which must be closed before reading begins.
        let handle = self.expression().stdin_null().stderr_to_stdout().stdout_file(writer).start();
        Ok((Running { handle: self.described(handle)? }, reader))
    }

    /// Starts the program as [`Program::start`] does, but with an input.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_with_input(&self) -> Result<(Running, PipeReader, PipeWriter)> {
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        let (input, words) = std::io::pipe().context("cannot make a pipe")?;
        let expression = self.expression().stdin_file(input).stderr_to_stdout().stdout_file(writer);
        Ok((Running { handle: self.described(expression.start())? }, reader, words))
    }

    /// Runs the program with the terminal as it is.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn interact(&self) -> Result<Exit> {
        Ok(self.described(self.expression().run())?.status.into())
    }

    /// Runs a short program that reads `input`, and collects its output.
    ///
    /// # Errors
    /// The program cannot be started, or its output is too long.
    pub fn capture(&self, input: &str) -> Result<Captured> {
        let pipe = || std::io::pipe().context("cannot make a pipe");
        let ((mut stdout, out), (mut stderr, err)) = (pipe()?, pipe()?);
        // As in `start`, the expression and its copies of the writing ends must be closed before reading begins.
        let handle = self.expression().stdin_bytes(input).stdout_file(out).stderr_file(err).start();
        let running = Running { handle: self.described(handle)? };
        let read = |pipe: &mut PipeReader| -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            pipe.take(MOST_CAPTURED + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > MOST_CAPTURED {
                running.kill();
            }
            Ok(bytes)
        };
        let (stdout, stderr) = std::thread::scope(|scope| {
            let stderr = scope.spawn(|| read(&mut stderr));
            (read(&mut stdout), stderr.join())
        });
        let (stdout, stderr) = (stdout?, stderr.unwrap_or_else(|_| Ok(Vec::new()))?);
        let longest = stdout.len().max(stderr.len()) as u64;
        ensure!(longest <= MOST_CAPTURED, "{self} prints more than {} MiB: stopped", MOST_CAPTURED >> 20);
        Ok(Captured { stdout, stderr, success: running.wait()? == Exit::Done })
    }
}

/// The command line of this process, for pasting, but with another kernel: `option` and its value replace all words
/// that name one. If make started this process, the command line is make's.
pub fn again_with(option: &str, value: &str) -> String {
    let is_of_make = std::env::var_os("MAKELEVEL").is_some_and(|level| level != "0" && !level.is_empty());
    if is_of_make {
        return format!("make KDIR={}", quoted(value));
    }
    let words = std::env::args().skip(1);
    again(words, option, value)
}

fn again(words: impl Iterator<Item = String>, option: &str, value: &str) -> String {
    let mut command = "klpbuild".to_owned();
    let mut own = Vec::new();
    let mut behind = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            behind = std::iter::once(word).chain(words.by_ref()).collect();
        } else if ["--release", "--objtree"].contains(&word.as_str()) {
            words.next();
        } else if !["--release=", "--objtree=", "KDIR=", "O="].iter().any(|name| word.starts_with(name)) {
            own.push(word);
        }
    }
    own.extend([option.to_owned(), value.to_owned()]);
    for word in own.iter().chain(&behind) {
        command.push(' ');
        command.push_str(&quoted(word));
    }
    command
}

/// A word, quoted for a shell.
pub fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| format!("{word:?}"), |text| text.into_owned())
}

/// The words of a command as a shell would split them; none if a quote is not closed.
pub fn words(text: &str) -> Option<Vec<String>> {
    shlex::split(text)
}

/// Writes the command for pasting into a shell.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.effective().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            (name != "LC_ALL" && name != "LC_MESSAGES")
                .then(|| format!("{name}={} ", if value.is_empty() { String::new() } else { quoted(value) }))
        });
        for variable in variables {
            f.write_str(&variable)?;
        }
        f.write_str(&quoted(&self.name))?;
        for argument in &self.arguments {
            // In `NAME=value`, the name must not be quoted.
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
    /// How the program ended; none if it is still running.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn try_wait(&self) -> Result<Option<Exit>> {
        Ok(self.handle.try_wait()?.map(|output| output.status.into()))
    }

    /// The number of the program's process.
    pub fn pid(&self) -> Option<u32> {
        self.handle.pids().first().copied()
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn wait(&self) -> Result<Exit> {
        Ok(self.handle.wait()?.status.into())
    }

    /// Asks the program to end. make then stops its children, removes half-made targets, and ends.
    pub fn terminate(&self) {
        let _ = self.handle.send_signal(signal_hook::consts::SIGTERM);
    }

    /// Ends the program at once.
    pub fn kill(&self) {
        let _ = self.handle.kill();
        let _ = self.handle.wait();
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

/// The path of a program of this name, by PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let runs = |file: &PathBuf| file.metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0);
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(runs)
}

/// The longest line that is read as a whole, in bytes. A linker's command line with all objects of a directory is
/// shorter.
pub const LONGEST_LINE: usize = 1 << 18;
/// How many lines may wait to be read.
const WAITING: usize = 256;
/// The most bytes that a short program may print, to each of its outputs.
const MOST_CAPTURED: u64 = 64 << 20;

/// The lines of a pipe, without line breaks. A thread reads them, and ends with the pipe. A line of more than
/// [`LONGEST_LINE`] bytes comes in pieces.
pub fn lines_of(pipe: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::spawn(move || {
        let mut pipe = BufReader::with_capacity(1 << 16, pipe);
        loop {
            let mut line = Vec::new();
            match Read::by_ref(&mut pipe).take(LONGEST_LINE as u64).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                line.pop();
            }
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_said_again_for_another_kernel() {
        let again = |words: &str| again(words.split(' ').map(str::to_owned), "--release", "6.1");
        assert_eq!(again("lookup a* KDIR=/x --release 6.0"), "klpbuild lookup 'a*' --release 6.1");
        assert_eq!(
            again("modules O=b -j8 -- -d KDIR=x"),
            "klpbuild modules -j8 --release 6.1 -- -d 'KDIR=x'"
        );
    }

    #[test]
    fn prints_itself_for_a_shell() {
        let mut program = Program::new("make", Path::new("/"), "");
        program.args(["-C", "/a b", "KCFLAGS=-g -Wall", "V=", "modules"]).env("MAKEFILES", "/x/hook.mk");
        assert_eq!(program.to_string(), "MAKEFILES=/x/hook.mk make -C '/a b' KCFLAGS='-g -Wall' V= modules");
    }

    #[test]
    fn what_is_said_last_of_a_variable_counts() {
        let mut program = Program::new("sh", Path::new("/"), "");
        program
            .args(["-c", "echo $A $B"])
            .env("A", "1")
            .env_remove("A")
            .env("A", "2")
            .env("B", "3")
            .env_remove("B");
        assert_eq!(program.capture("").unwrap().stdout, b"2\n");
        assert_eq!(program.to_string(), "A=2 sh -c 'echo $A $B'");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_to_do() {
        let error = Program::new("no-such", Path::new("/"), "is it installed?").capture("").unwrap_err();
        assert_eq!(error.to_string(), "cannot run no-such: is it installed?");
    }

    #[test]
    fn programs_are_found_where_path_says() {
        assert!(find("sh").is_some_and(|path| path.is_absolute() && path.ends_with("sh")));
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces() {
        let mut program = Program::new("sh", Path::new("/"), "");
        let script = "head -c 1000000 /dev/zero; echo; printf 'short\\r\\nlast'";
        let (_running, pipe) = program.args(["-c", script]).start().unwrap();
        let lines: Vec<Vec<u8>> = lines_of(pipe).iter().collect();
        let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
        let rest = 1_000_000 - 3 * LONGEST_LINE;
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE, LONGEST_LINE, rest, 5, 4]);
        assert_eq!(lines[4..], [b"short".to_vec(), b"last".to_vec()]);
    }

    #[test]
    fn a_program_without_an_end_is_stopped() {
        for stream in ["1", "2"] {
            let mut program = Program::new("sh", Path::new("/"), "");
            program.args(["-c", &format!("exec cat /dev/zero >&{stream}")]);
            let error = program.capture("").unwrap_err().to_string();
            assert!(error.contains("prints more than 64 MiB"), "{error}");
        }
        let mut program = Program::new("sh", Path::new("/"), "");
        let captured = program.args(["-c", "cat; echo err >&2; exit 3"]).capture("in").unwrap();
        assert_eq!(
            (captured.stdout, captured.stderr, captured.success),
            (b"in".to_vec(), b"err\n".to_vec(), false)
        );
    }

    #[test]
    fn a_program_that_heeds_no_signal_can_be_killed() {
        let mut program = Program::new("sh", Path::new("/"), "");
        let (running, pipe) = program.args(["-c", "trap '' TERM; echo up; exec sleep 60"]).start().unwrap();
        let lines = lines_of(pipe);
        assert_eq!(lines.recv().unwrap(), b"up");
        running.terminate();
        assert!(running.try_wait().unwrap().is_none());
        running.kill();
        assert_eq!(running.try_wait().unwrap(), Some(Exit::Signal(9)));
    }
}
