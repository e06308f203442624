// SPDX-License-Identifier: GPL-2.0-only
//! A build and what it is made of, with times.

use std::time::Duration;

/// How often the processes are looked at.
pub(super) const INTERVAL: Duration = Duration::from_millis(40);

/// One step of a build; times count from the beginning of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done, as `CC`.
    pub tag: String,
    /// What it is done to.
    pub path: String,
    /// When it began.
    pub begin: Duration,
    /// When it was last seen at work, or when make said that it is done.
    pub end: Duration,
    /// Whether it was seen: one that was too short is known by its end alone.
    pub is_seen: bool,
}

/// A part of the whole: a make, or what klpbuild does itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// What it is.
    pub name: String,
    /// When it began.
    pub begin: Duration,
    /// When it ended.
    pub end: Duration,
}

/// A build, with its times.
#[derive(Debug, Default)]
pub struct Told {
    /// The time of the whole.
    pub total: Duration,
    /// Why it did not end well; none if it did.
    pub trouble: Option<String>,
    /// The parts of the whole, by when they ended.
    pub phases: Vec<Phase>,
    /// The steps, by when they began.
    pub steps: Vec<Step>,
}
