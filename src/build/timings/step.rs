// SPDX-License-Identifier: GPL-2.0-only
//! A build and its parts and steps, with times.

use std::time::Duration;

/// The time between two looks at the processes.
pub(super) const INTERVAL: Duration = Duration::from_millis(40);

/// One step of a build; times count from the beginning of the build.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The kind of step, as in `CC`.
    pub tag: String,
    /// Its target.
    pub path: String,
    /// When it began.
    pub begin: Duration,
    /// When it was last seen running, or when make reported its end.
    pub end: Duration,
    /// Whether its processes were seen; of a very short step, only the end is known.
    pub is_seen: bool,
}

/// A part of the build: a make, or work of klpbuild itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// When it began.
    pub begin: Duration,
    /// When it ended.
    pub end: Duration,
}

/// A build, with its times.
#[derive(Debug, Default)]
pub struct BuildTimes {
    /// The total time.
    pub total: Duration,
    /// Why the build failed; none if it did not.
    pub trouble: Option<String>,
    /// The parts, by when they ended.
    pub phases: Vec<Phase>,
    /// The steps, by when they began.
    pub steps: Vec<Step>,
}
