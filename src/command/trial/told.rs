// SPDX-License-Identifier: GPL-2.0-only
//! Prints the account of a trial in the format that was asked for.

use anyhow::Result;

use crate::cli::TryFormat;
use crate::command::trial::account::TrialAccount;
use crate::command::trial::{junit, ktap};
use crate::host::document;
use crate::host::terminal;

/// Prints the account; for people, the stages were printed one by one already.
///
/// # Errors
/// The account cannot be written in that format.
pub(super) fn print(account: &TrialAccount, format: TryFormat) -> Result<()> {
    match format {
        TryFormat::Text => {}
        TryFormat::Json => document::print("try", account)?,
        TryFormat::Ktap => terminal::out(ktap::of(account)),
        TryFormat::Junit => terminal::out(junit::of(account)),
    }
    Ok(())
}
