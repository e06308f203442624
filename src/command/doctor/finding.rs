// SPDX-License-Identifier: GPL-2.0-only
//! The result of a check.

use serde::Serialize;

/// How well a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckLevel {
    /// All is there.
    #[serde(rename = "ok")]
    Fine,
    /// Something works less well, or not at all, but livepatches can be built.
    Note,
    /// Livepatches cannot be built, or cannot be loaded.
    Missing,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// What was checked.
    pub subject: &'static str,
    /// How well it went.
    pub level: CheckLevel,
    /// The result, in words.
    pub what: String,
    /// What to do, one line each.
    pub remedies: Vec<String>,
}

impl CheckResult {
    /// A check that went well.
    pub fn fine(subject: &'static str, what: impl Into<String>) -> CheckResult {
        CheckResult { subject, level: CheckLevel::Fine, what: what.into(), remedies: Vec::new() }
    }

    /// A check that did not go well.
    pub fn not(
        level: CheckLevel,
        subject: &'static str,
        what: impl Into<String>,
        remedies: Vec<String>,
    ) -> CheckResult {
        CheckResult { subject, level, what: what.into(), remedies }
    }
}
