// SPDX-License-Identifier: GPL-2.0-only
//! What a check has found.

use serde::Serialize;

/// What became of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is there.
    #[serde(rename = "ok")]
    Fine,
    /// Something works less well, or does not work at all, but livepatches can be built.
    Note,
    /// Livepatches cannot be built, or not loaded.
    Missing,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// What became of it.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do, a line each.
    pub remedies: Vec<String>,
}

impl Finding {
    /// Something is as it should be.
    pub fn fine(subject: &'static str, what: impl Into<String>) -> Finding {
        Finding { subject, level: Level::Fine, what: what.into(), remedies: Vec::new() }
    }

    /// Something is not.
    pub fn not(
        level: Level,
        subject: &'static str,
        what: impl Into<String>,
        remedies: Vec<String>,
    ) -> Finding {
        Finding { subject, level, what: what.into(), remedies }
    }
}
