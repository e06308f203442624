// SPDX-License-Identifier: GPL-2.0-only
//! Hints for make's users on what to write instead, and errors for options that would change nothing.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Error};

use crate::cli::help;

/// Adds a hint on what to write to an error.
pub(super) fn add(mut error: Error) -> Error {
    let told = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let argument = told(ContextKind::InvalidArg);
    let tip = match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if argument.starts_with("--jobs") => {
            "klpbuild runs one job per CPU by itself: leave -j out, or write -j N".to_owned()
        }
        ErrorKind::UnknownArgument if argument == "-B" || argument == "--always-make" => {
            "to build everything anew: klpbuild clean, then klpbuild modules".to_owned()
        }
        ErrorKind::UnknownArgument if is_of_make(&argument) => {
            format!("options for make stand behind --: klpbuild modules -- {argument}")
        }
        _ => return error,
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    error
}

/// Whether an argument is one of make's options that klpbuild does not have.
fn is_of_make(argument: &str) -> bool {
    const SHORT: &str = "bdeEfiIlLmoOpRrStwW";
    match argument.strip_prefix('-') {
        Some(rest) if rest.starts_with('-') => {
            ["--debug", "--trace", "--output-sync", "--silent"].iter().any(|own| argument.starts_with(own))
        }
        Some(letter) => letter.len() == 1 && SHORT.contains(letter),
        None => false,
    }
}

/// Refuses options that ask for something which the verb does not do.
pub(super) fn refuse_meaningless(command: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
    let Some((verb, typed)) = matches.subcommand() else { return Ok(()) };
    let is_typed = |id: &str| {
        typed.try_contains_id(id).is_ok() && typed.value_source(id) == Some(ValueSource::CommandLine)
    };
    let Some(option) = help::refused(verb).find(|id| is_typed(id)) else { return Ok(()) };
    let option = option.replace('_', "-");
    let text = format!("klpbuild {verb} does nothing that --{option} could change: leave it out");
    let verb = command.find_subcommand_mut(verb);
    Err(match verb {
        Some(verb) => verb.error(ErrorKind::ArgumentConflict, text),
        None => command.error(ErrorKind::ArgumentConflict, text),
    })
}
