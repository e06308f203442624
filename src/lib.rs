// SPDX-License-Identifier: GPL-2.0-only
//! klpbuild drives a Linux kernel build so that Symbols.list, the map of all symbols that livepatches are resolved
//! with, is made at the only right moment: when vmlinux and all modules are compiled, and before modpost looks at
//! them. With that map it turns livepatches' references into livepatch relocations.
//!
//! # The house, from the top
//! Each floor uses those below it, and none above.
//!
//! | floor | what lives there |
//! |---|---|
//! | [`run`] | one match, which reads as the table of contents |
//! | [`command`] | the verbs, a file or folder each: what was typed gets its meaning, and the outcome is printed |
//! | [`frompatch`] | from a source patch to a livepatch: what it changes, and where that is in the kernel |
//! | [`build`] | driving make: its plan, its fragment, one run watched, modpost told, what comes after |
//! | [`livepatch`] | what a livepatch is made of, its conversion and its verification |
//! | [`kernel`] | the kernel at hand: its trees, its symbols, the files that tell of both |
//! | [`elf`] | ELF objects, read and written |
//! | [`debuginfo`], [`host`] | DWARF and BTF; this machine's programs, processes, terminal and files |
//!
//! # The way of a livepatch through it
//! 1. [`cli`]: `klpbuild modules` is typed, and [`build::plan`] tells what it means
//! 2. [`build::session`] runs make, with the fragment `hook.mk`
//! 3. make has compiled everything: the fragment runs `klpbuild hook`, [`build::hook`]
//! 4. [`kernel::symbols`] makes the map, without the livepatches
//! 5. [`build::modpost`] tells which undefined symbols modpost has to accept of them
//! 6. make goes on: modpost, and the final link
//! 7. [`livepatch::convert`] finds each symbol's definition ([`kernel::sources`]), and rewrites the module
//! 8. [`livepatch::verify`] checks the result, and [`command::trial`] (`klpbuild try`) boots it
//!
//! A line above is a file or folder of that name in `src`.

pub mod build;
pub mod cli;
pub mod command;
pub mod debuginfo;
pub mod elf;
pub mod frompatch;
pub mod host;
pub mod kernel;
pub mod livepatch;

use anyhow::Result;

use crate::build::hook;
use crate::cli::{Cli, ColorKind, Command};
use crate::command::{
    clean, completions, convert, doctor, header, kernels, lookup, man, modules, new, patches, show, symbols,
    trial, verify,
};
use crate::host::exit::Exit;
use crate::host::paint::{self, ColorWhen};
use crate::host::processes;

/// Runs the verb of the command line.
///
/// # Errors
/// klpbuild found a problem; nothing is left half done.
pub fn run(cli: &Cli) -> Result<Exit> {
    let options = &cli.options;
    paint::choose(match options.color {
        ColorKind::Auto => ColorWhen::Auto,
        ColorKind::Always => ColorWhen::Always,
        ColorKind::Never => ColorWhen::Never,
    });
    match &cli.command {
        Command::Modules(args) => modules::modules(options, args),
        Command::Clean(args) => clean::clean(options, args, "clean"),
        Command::Mrproper(args) => clean::clean(options, args, "mrproper"),
        Command::Distclean(args) => clean::clean(options, args, "distclean"),
        Command::Klpclean(args) => clean::klpclean(options, args),
        Command::Symbols(args) => symbols::symbols(options, args),
        Command::Convert(args) => convert::convert(options, args),
        Command::Lookup(args) => lookup::lookup(options, args),
        Command::Verify(args) => verify::verify(options, args),
        Command::Show(args) => show::show(options, args),
        Command::Header(args) => header::header(options, args),
        Command::Livepatch(args) => command::livepatch::livepatch(options, args),
        Command::New(args) => new::new(options, args),
        Command::Snippet(args) => header::snippet(options, args),
        Command::Try(args) => trial::run(options, args),
        Command::Kernels(args) => kernels::kernels(options, args),
        Command::Doctor(args) => doctor::doctor(options, args),
        Command::Completions(args) => completions::completions(args),
        Command::Man(args) => man::man(options, args),
        Command::Patches { command } => patches::patches(options, command),
        Command::Hook => hook::run().map(|()| Exit::Done),
        Command::Tied { parent, command } => processes::become_tied(*parent, command).map(|()| Exit::Done),
    }
}
