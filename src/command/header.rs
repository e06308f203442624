//! `klpbuild header` and `klpbuild snippet`: files that a livepatch carries in its own directory.

use anyhow::Result;

use crate::build::plan;
use crate::cli::{HeaderArgs, Options};
use crate::host::exit::Exit;
use crate::host::output;
use crate::host::terminal;

/// The C header with the macros for annotations.
pub const TEXT: &str = include_str!("header/klp_relocs.h");

/// What a module's Makefile includes.
pub const SNIPPET: &str = include_str!("../../Makefile.snippet");

/// Prints one of them, or writes it to a file.
///
/// # Errors
/// The file cannot be written.
pub fn print(options: &Options, arguments: &HeaderArgs, text: &str) -> Result<Exit> {
    let start = plan::start(options)?;
    match &arguments.output {
        Some(path) if path.as_os_str() != "-" => {
            output::write_named(&start.join(path), &[text], None)?;
        }
        _ => terminal::out(text),
    }
    Ok(Exit::Done)
}
