// SPDX-License-Identifier: GPL-2.0-only
//! Findings: what is wrong with a livepatch by the rules.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::livepatch::rules::Rule;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something could not be checked.
    Note,
    /// It works, but not in every situation.
    Warning,
    /// The kernel refuses the livepatch, or it does something else than what is meant.
    Error,
}

/// A rule that a livepatch breaks, or that could not be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule, as in `R4`.
    pub rule: Rule,
    /// How bad it is.
    pub level: Severity,
    /// Where it is: a section, symbol, relocation or klp_func.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{level} {}: {}: {}; {}", self.rule, self.place, self.message, self.advice)
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub struct Findings(pub(super) Vec<Finding>);

impl Findings {
    /// Adds an error.
    pub fn error(
        &mut self,
        rule: Rule,
        place: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Severity::Error, rule, place.into(), message.into(), advice.into());
    }

    /// Adds a warning.
    pub fn warning(
        &mut self,
        rule: Rule,
        place: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Severity::Warning, rule, place.into(), message.into(), advice.into());
    }

    /// Adds a note.
    pub fn note(
        &mut self,
        rule: Rule,
        place: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Severity::Note, rule, place.into(), message.into(), advice.into());
    }

    fn add(&mut self, level: Severity, rule: Rule, place: String, message: String, advice: String) {
        let finding = Finding { rule, level, place, message, advice };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}
