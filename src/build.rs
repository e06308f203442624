// SPDX-License-Identifier: GPL-2.0-only
//! Drives make: a kernel build with the map step between compilation and modpost.
//!
//! - [`plan`]: what the command line, the environment and an outer make ask for
//! - [`prepare`]: writes files before make runs
//! - [`session`]: runs one make: logs, interprets and shows its output, and handles signals
//! - [`kbuild`]: kbuild's output, line by line
//! - [`progress`]: what the user sees of a run
//! - [`timings`]: where the time of a build goes, if that is asked for
//! - [`fragment`]: the makefile fragment (`hook.mk`), by which make runs the map step
//! - [`hook`]: the map step
//! - [`report`]: the results of the map step
//! - [`external_map`]: the map of a kernel with external modules
//! - [`modpost`]: which undefined symbols of livepatches modpost has to accept, and how it learns of them
//! - [`commands`]: compile_commands.json, for editors
//! - [`after`]: single files, packages and installation, after the main run

pub(crate) mod after;
pub(crate) mod commands;
mod external_map;
mod fragment;
pub(crate) mod hook;
pub mod kbuild;
pub(crate) mod modpost;
pub(crate) mod plan;
pub(crate) mod prepare;
pub mod progress;
pub(crate) mod report;
pub(crate) mod session;
pub(crate) mod timings;
