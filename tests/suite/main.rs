// SPDX-License-Identifier: GPL-2.0-only
//! End-to-end tests on kbuild trees in miniature: real make, gcc, ld and nm, and the klpbuild program.
//!
//! - [`space`]: a tree to work in, and what was run there
//! - [`assembler`]: units as compilers write them, before and after a change
//! - [`build`]: what `klpbuild modules` builds, in every era; strictness; exit statuses
//! - [`start`]: where it can be started, how trees, variables and jobs are found, what is refused
//! - [`map`]: Symbols.list against real nm, of all classes and byte orders; broken objects
//! - [`screen`]: what is printed: on a terminal, in pipes, after failures
//! - [`stop`]: signals, locks, cleaning
//! - [`trial`]: `klpbuild try`, with a guest that plays recorded consoles
//! - [`objtree`]: an object tree assembled for one of five architectures, with a livepatch
//! - [`golden`]: converted livepatches, as readelf shows them
//! - [`configuration`]: where the configuration lies, and what it has to have
//! - [`convert`]: what `klpbuild convert` refuses and says; [`annotations`]: KLP_MODULE_RELOC, right and wrong;
//!   [`written`]: where its output goes
//! - [`definition`]: what a name and a position mean, and why not: all verbs agree
//! - [`doubts`]: types, copies and pointers: what is right in all names and wrong all the same
//! - [`compressed`]: debugging information that is compressed
//! - [`external`]: external modules (M=), in every era
//! - [`header`]: annotations in C, and what debugging information adds to messages
//! - [`lookup`]: what `klpbuild lookup` finds; [`namesakes`]: symbols of one name, told apart
//! - [`output`]: devices, pipes, full disks and readers that have gone away
//! - [`packages`]: installation and package goals
//! - [`patches`]: `klpbuild patches`, and trees that carry a series of kbuild-patches
//! - [`series`]: each series on every form of the files that it changes
//! - [`snippet`]: Makefile.snippet; [`skeleton`]: `klpbuild new`
//! - [`verify`]: what `klpbuild verify` finds in livepatches that are broken on purpose
//! - [`modpost`]: exceptions for livepatches where modpost comes after vmlinux
//! - [`record`]: what it was converted for; [`versions`]: what CONFIG_MODVERSIONS leaves in it
//! - [`mutations`]: damaged livepatches, objects and lists
//! - [`installed`]: kernels that someone else built
//! - [`timings`]: where the time of a build went
//! - [`show`]: what `klpbuild show` tells of a livepatch
//! - [`kallsyms`]: symbols that kallsyms leaves out
//! - [`kept`]: maps that are kept are believed only as they were written
//! - [`run_pre`]: units that were compiled again, against the kernel that they are of
//! - [`json`]: what programs are told, and its documentation; [`sarif`]: whether a log of findings is one
//! - [`layers`]: each third-party interface has one place

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that panics has failed, which is what it is for; it exports nothing"
)]

mod annotations;
mod assembler;
mod build;
mod compressed;
mod configuration;
mod convert;
mod damaged;
mod definition;
mod door;
mod doubts;
mod external;
mod frompatch;
mod golden;
mod header;
mod house;
mod installed;
mod json;
mod kallsyms;
mod kept;
mod layers;
mod lookup;
mod map;
mod modpost;
mod mutations;
mod namesakes;
mod objtree;
mod output;
mod packages;
mod patches;
mod record;
mod run_pre;
mod sarif;
mod screen;
mod series;
mod shapes;
mod show;
mod skeleton;
mod snippet;
mod space;
mod start;
mod stop;
mod takeover;
mod timings;
mod trial;
mod types;
mod verify;
mod versions;
mod written;
