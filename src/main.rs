// SPDX-License-Identifier: GPL-2.0-only
//! The program: parses the command line, runs, and ends as [`klpbuild::host::exit`] says.

use std::process::ExitCode;

use klpbuild::command::completions;
use klpbuild::host::exit::Exit;
use klpbuild::host::{signal, terminal};
use klpbuild::{cli, run};

fn main() -> ExitCode {
    signal::outlive_file_limits();
    let problem = |error| {
        terminal::error(&error);
        Exit::Problem
    };
    match completions::answer() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => return ExitCode::from(problem(error).code()),
    }
    let exit = match cli::parse() {
        Ok(cli) => run(&cli).unwrap_or_else(problem),
        Err(printed) if printed.is_usage_error => Exit::Usage,
        Err(printed) => {
            terminal::note_failure(printed.written);
            Exit::Done
        }
    };
    let exit = match terminal::finish().map_err(problem) {
        Err(problem) if exit == Exit::Done => problem,
        _ => exit,
    };
    if let Exit::Signal(signal) = exit {
        signal::die_by(signal);
    }
    ExitCode::from(exit.code())
}
