// SPDX-License-Identifier: GPL-2.0-only
//! The account of a trial, in the form that was asked for.

use anyhow::Result;

use crate::cli::TryFormat;
use crate::command::trial::account::Account;
use crate::command::trial::{junit, ktap};
use crate::host::document;
use crate::host::terminal;

/// Prints it; for people, that has been done stage by stage.
///
/// # Errors
/// It has no such form.
pub(super) fn print(account: &Account, format: TryFormat) -> Result<()> {
    match format {
        TryFormat::Text => {}
        TryFormat::Json => document::print("try", account)?,
        TryFormat::Ktap => terminal::out(ktap::of(account)),
        TryFormat::Junit => terminal::out(junit::of(account)),
    }
    Ok(())
}
