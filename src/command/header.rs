// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild header` and `klpbuild snippet`: files that a livepatch carries in its own directory.

use anyhow::Result;

use crate::cli::{HeaderArgs, Options};
use crate::command::asked;
use crate::host::exit::Exit;
use crate::host::output;
use crate::host::terminal;
use crate::livepatch::header;

/// `klpbuild header`.
///
/// # Errors
/// The file cannot be written.
pub fn header(options: &Options, arguments: &HeaderArgs) -> Result<Exit> {
    print(options, arguments, header::HEADER)
}

/// `klpbuild snippet`.
///
/// # Errors
/// The file cannot be written.
pub fn snippet(options: &Options, arguments: &HeaderArgs) -> Result<Exit> {
    print(options, arguments, header::SNIPPET)
}

/// Prints one of the two files, or writes it to a file.
fn print(options: &Options, arguments: &HeaderArgs, text: &str) -> Result<Exit> {
    let start = asked::start(options)?;
    match &arguments.output {
        Some(path) if path.as_os_str() != "-" => {
            output::write_named(&start.join(path), &[text], None)?;
        }
        _ => terminal::out(text),
    }
    Ok(Exit::Done)
}
