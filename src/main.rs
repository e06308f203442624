//! The program: parses the command line, runs, and ends as [`klpbuild::exit`] says.

use std::process::ExitCode;

use klpbuild::exit::Exit;
use klpbuild::{cli, run, signal, terminal};

fn main() -> ExitCode {
    let exit = run(&cli::parse()).unwrap_or_else(|error| {
        terminal::error(&error);
        Exit::Problem
    });
    if let Exit::Signal(signal) = exit {
        signal::die_by(signal);
    }
    ExitCode::from(exit.code())
}
