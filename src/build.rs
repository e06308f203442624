// SPDX-License-Identifier: GPL-2.0-only
//! Driving make: a kernel build that stops for the map between compilation and modpost.
//!
//! - [`plan`]: what the command line, the environment and an outer make ask for
//! - [`prepare`]: what is written down before make runs
//! - [`session`]: one make, watched: its output logged, understood and shown, signals heeded
//! - [`kbuild`]: what kbuild prints, line by line
//! - [`progress`]: what is shown of a run
//! - [`timings`]: where the time of a build goes, if that is asked for
//! - [`fragment`]: the makefile fragment (`hook.mk`), which stops make between compilation and modpost
//! - [`hook`]: the step that it has make run there
//! - [`report`]: what that step has found
//! - [`external_map`]: the map of a kernel with external modules
//! - [`modpost`]: which undefined symbols of livepatches modpost has to accept, and how it is told
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
