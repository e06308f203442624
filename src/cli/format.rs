// SPDX-License-Identifier: GPL-2.0-only
//! The output formats.

use clap::ValueEnum;

/// A format for people or programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// The formats of `klpbuild verify`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum VerifyFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For code review, as SARIF 2.1.0
    Sarif,
}

/// The formats of `klpbuild try`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TryFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// Like the kernel's own tests (KTAP)
    Ktap,
    /// For CI systems (JUnit's XML)
    Junit,
}
