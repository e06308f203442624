//! `klpbuild header`: the C header for annotations, which a livepatch carries in its own directory.

use anyhow::Result;

use crate::cli::{HeaderArgs, Options};
use crate::exit::Exit;
use crate::plan;
use crate::symbols::output;
use crate::terminal;

/// The header.
pub const TEXT: &str = include_str!("header/klp_relocs.h");

/// Prints the header, or writes it to a file.
///
/// # Errors
/// The file cannot be written.
pub fn header(options: &Options, arguments: &HeaderArgs) -> Result<Exit> {
    let start = plan::start(options)?;
    match &arguments.output {
        Some(path) if path.as_os_str() != "-" => {
            let path = start.join(path);
            output::replace(&path, &output::beside(&path), &[TEXT])?;
        }
        _ => terminal::out(TEXT),
    }
    Ok(Exit::Done)
}
