// SPDX-License-Identifier: GPL-2.0-only
//! The forms that things are printed in.

use clap::ValueEnum;

/// How something is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// How what `klpbuild verify` finds is printed.
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

/// How what `klpbuild try` sees is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TryFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// As the kernel's own tests say it (KTAP)
    Ktap,
    /// For CI, as JUnit's XML
    Junit,
}
