//! klpbuild drives a Linux kernel build so that Symbols.list, the map of all symbols that livepatches are
//! resolved with, is made at the one right moment: when vmlinux and all modules are compiled, and before
//! modpost looks at them.
//!
//! # What happens, in order
//! 1. [`cli`]: the command line as typed (clap)
//! 2. [`plan`]: what it means, with the environment and an outer make: trees, variables, goals, jobs
//! 3. [`tree`]: where the kernel's sources and objects are, which kbuild it has, how it is configured
//! 4. [`build`]: `klpbuild modules`: config goals, then the main run, then what follows it
//!    - [`session`]: one make, watched: its output logged, understood and shown, signals heeded
//!    - inside of that make, [`hook`]: the fragment (`hook.mk`) has `klpbuild hook` run between compilation
//!      and modpost
//! 5. [`symbols`]: the map: modules found, livepatches left out, names sorted, lists written; and, for what
//!    follows, where a symbol is defined
//! 6. [`modpost`]: which undefined symbols of livepatches modpost has to accept, and how it is told
//! 7. [`mod@convert`]: references of the linked livepatches become livepatch relocations
//!
//! External modules (M=) go the same way: [`external`] is what is different for them. Their kernel may be one
//! that someone else built: [`installed`] finds its symbols where distributions put them.
//!
//! Beside the build: [`clean`] (`clean`, `mrproper`, `distclean`, `klpclean`), [`standalone`] (`symbols`),
//! [`lookup`] (where a symbol is, and what to write in a livepatch), [`header`] (the macros for that, and
//! Makefile.snippet), [`skeleton`] (`new`: a livepatch to begin with), [`mod@doctor`] (what is missing),
//! [`mod@patches`] (the series of `kbuild-patches`, with which a kernel's makefiles do it themselves: diffy),
//! [`mod@verify`] (whether a finished livepatch keeps the rules), and [`trial`] (`try`: what was built, booted).
//!
//! # What these stand on
//! - [`elf`]: object files: their symbols, and modules as a whole (object)
//! - [`livepatch`]: what a livepatch is made of: names, annotations, structures, what code is for which object
//! - [`kallsyms`]: how the kernel counts symbols of one name
//! - [`compressed`]: files that may be packed (liblzma, zstd, flate2)
//! - [`dwarf`]: their debug information (gimli); [`btf`]: the kernel's own type information (btf_rs);
//!   [`prototype`]: functions as C declares them, read from either
//! - [`program`]: a program to be run, as a value (duct); [`make`]: the make among them
//! - hashes of what has to be the same again: [`mod@digest`] (sha2)
//! - [`kbuild`]: what kbuild prints, line by line (regex)
//! - [`progress`]: what is shown of a run (indicatif); [`terminal`]: everything else that is printed
//! - [`state`]: klpbuild's own directory in the object tree, with its lock
//! - [`signal`]: Ctrl-C, SIGTERM, SIGHUP; [`processes`]: what runs below make; [`exit`]: the exit statuses
//!
//! Each phase borrows what the ones before have found. A line above is a file of that name in `src`.

pub mod btf;
pub mod build;
pub mod clean;
pub mod cli;
pub mod compressed;
pub mod convert;
pub mod digest;
pub mod doctor;
pub mod dwarf;
pub mod elf;
pub mod exit;
pub mod external;
pub mod header;
pub mod hook;
pub mod installed;
pub mod kallsyms;
pub mod kbuild;
pub mod livepatch;
pub mod lookup;
pub mod make;
pub mod modpost;
pub mod patches;
pub mod plan;
pub mod processes;
pub mod program;
pub mod progress;
pub mod prototype;
pub mod session;
pub mod signal;
pub mod skeleton;
pub mod standalone;
pub mod state;
pub mod symbols;
pub mod terminal;
pub mod tree;
pub mod trial;
pub mod verify;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::plan::{Conversion, Plan};

/// Does what the command line asks for.
///
/// # Errors
/// klpbuild found a problem; nothing is left half done.
pub fn run(cli: &Cli) -> Result<Exit> {
    let options = &cli.options;
    let plan = |words: &[String]| Plan::resolve(options, words, &[], None);
    match &cli.command {
        Command::Modules(args) => {
            let mut plan = Plan::resolve(options, &args.words, &args.make_options, Some(&args.kernel))?;
            plan.conversion =
                Conversion { is_off: args.no_convert, keep_module_exports: args.keep_module_exports };
            build::modules(&plan)
        }
        Command::Clean(args) => clean::clean(&plan(&args.words)?, Some("clean")),
        Command::Mrproper(args) => clean::clean(&plan(&args.words)?, Some("mrproper")),
        Command::Distclean(args) => clean::clean(&plan(&args.words)?, Some("distclean")),
        Command::Klpclean(args) if args.cache => clean::cache(options),
        Command::Klpclean(args) if args.words.is_empty() && clean::is_ours(options)? => clean::here(options),
        Command::Klpclean(args) => clean::clean(&plan(&args.words)?, None),
        Command::Symbols(args) => standalone::symbols(options, args),
        Command::Convert(args) => convert::command(options, args),
        Command::Lookup(args) => lookup::lookup(options, args),
        Command::Verify(args) => verify::command(options, args),
        Command::Header(args) => header::print(options, args, header::TEXT),
        Command::New(args) => skeleton::new(options, args),
        Command::Snippet(args) => header::print(options, args, header::SNIPPET),
        Command::Try(args) => trial::run(options, args),
        Command::Doctor(args) => doctor::doctor(options, args),
        Command::Patches { command } => patches::patches(options, command),
        Command::Hook => hook::run().map(|()| Exit::Done),
        Command::Tied { parent, command } => processes::become_tied(*parent, command).map(|()| Exit::Done),
    }
}
