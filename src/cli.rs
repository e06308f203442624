// SPDX-License-Identifier: GPL-2.0-only
//! The command line as it is typed; the only place that names clap. [`crate::build::plan`] turns it into what it
//! means.

mod arguments;
mod livepatch;
mod show;

pub use arguments::*;
pub use livepatch::LivepatchArgs;
pub use show::ShowArgs;

use std::io;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  klpbuild found a problem (its message says which, and what to do)
  2  usage error
  N  make's own status, if make failed (2 for a build error)
  A signal that stops klpbuild stops make as well, and then ends klpbuild by the same signal.

Files, all in the object tree:
  Symbols.list       the symbols of vmlinux and of every module that is not a livepatch
  modules.livepatch  the livepatch modules, one path a line
  .klpbuild/         klpbuild's state: the log of the last run (make.log), its lock, the make fragment";

/// Build Linux kernel modules and livepatches: runs make, and makes Symbols.list between compilation and
/// modpost.
#[derive(Debug, Parser)]
#[command(name = "klpbuild", version, after_help = AFTER_HELP, max_term_width = 100)]
#[expect(missing_docs, reason = "the fields' doc comments are the text of --help; these are the outermost")]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

/// What klpbuild is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build the modules, a complete vmlinux and Symbols.list, in place of `make modules`
    ///
    /// Goals beside `modules` are built in the same run (`klpbuild modules bzImage -j8`); config goals
    /// (olddefconfig, defconfig, ...) run first. VAR=VALUE goes to make unchanged.
    Modules(ModulesArgs),
    /// `make clean`, then remove what klpbuild made
    Clean(CleanArgs),
    /// `make mrproper`, then remove what klpbuild made
    Mrproper(CleanArgs),
    /// `make distclean`, then remove what klpbuild made
    Distclean(CleanArgs),
    /// Remove what klpbuild made, and nothing else
    ///
    /// With --cache, the maps of installed kernels' symbols (below XDG_CACHE_HOME), and nothing else.
    Klpclean(KlpcleanArgs),
    /// Make Symbols.list for an object tree that is built already, without running a build
    Symbols(SymbolsArgs),
    /// Convert one livepatch: references to symbols that are not exported become livepatch relocations
    ///
    /// `klpbuild modules` does this for the livepatches it builds.
    Convert(ConvertArgs),
    /// Print where symbols are defined, at which position, and what to write in a livepatch
    Lookup(LookupArgs),
    /// Check finished livepatches against the rules of the format and against the kernel they are for
    ///
    /// Exit status: 0 if all are correct, 1 if something was found, 2 if something could not be checked.
    Verify(VerifyArgs),
    /// Print what a livepatch replaces and refers to, with where that is in the kernel's source: what a reviewer signs
    ///
    /// The kernel is that of `verify`, or else the installed one that the livepatch was compiled for; without any, the file
    /// alone is told of. Exit status: 0 if it is correct, 1 if verify finds something, 2 if that could not be checked.
    Show(ShowArgs),
    /// Print the C header with the macros KLP_MODULE_RELOC, KLP_SYMPOS and KLP_RELOC_SYMBOL_POS
    Header(HeaderArgs),
    /// Boot the object tree's kernel in QEMU, and try livepatches in it
    ///
    /// The guest has busybox and the modules named, nothing else. Stage by stage: boot, load the modules, load
    /// each LIVEPATCH and wait for its transition, load the modules that come after it, unload the patched ones
    /// and load them again, disable and unload everything. COMMAND is run before, while and after the livepatches
    /// are enabled, and what it prints is compared.
    ///
    /// Each stage is shown with what the kernel logged in it. A panic, an oops, a warning, a hang, and a load
    /// that the kernel refuses are failures, with exit status 1. What could not be tried ends with status 2: the guest
    /// did not come up, QEMU ended by itself, or nothing that the livepatch patches was ever there. --log FILE keeps
    /// the guest's whole console.
    Try(TryArgs),
    /// Make a livepatch of patches of the kernel's source
    ///
    /// Compiles only what the patches touch, compares the unpatched code with the kernel's own bytes, replaces the functions
    /// that have changed, and builds, converts and checks the module. The kernel is that of the directory klpbuild is
    /// started in (-C DIR), of KDIR=DIR or --release, or the one that is running; no tree is written.
    Livepatch(LivepatchArgs),
    /// Write the skeleton of a livepatch that replaces one function: C file, Makefile and what they include
    ///
    /// It builds, converts and can be tried as it is: until its body is written, the new function goes on to the old
    /// one where that can be done, and does nothing elsewhere.
    New(NewArgs),
    /// Print Makefile.snippet, which has plain `make` build through klpbuild
    ///
    /// A module's Makefile includes it, as a file of its own or where it is installed.
    Snippet(HeaderArgs),
    /// List the installed kernels: their headers, symbols, modules and source, and whether they take livepatches
    ///
    /// Any other command takes one of them with --release RELEASE, or KDIR=RELEASE.
    Kernels(KernelsArgs),
    /// Print what is there and what is missing for building livepatches for a kernel
    ///
    /// Looks at the kernel's options, headers, compiler, symbols and at programs, and names the package or command that
    /// supplies what is missing. Exit status: 1 if something needed is missing.
    Doctor(DoctorArgs),
    /// Put all this into a kernel's own makefiles: a series of patches
    ///
    /// In a source tree (-C TREE): plain `make modules` then makes Symbols.list and converts livepatches by itself, with
    /// the klpbuild that KLPBUILD names.
    Patches {
        /// What to do.
        #[command(subcommand)]
        command: PatchesCommand,
    },
    /// Run by the makefile fragment between compilation and modpost
    #[command(hide = true)]
    Hook,
    /// Run by klpbuild: COMMAND, which ends when its parent does
    #[command(hide = true)]
    Tied {
        /// The process that it is tied to.
        parent: u32,
        /// The program and its arguments.
        #[arg(required = true, last = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Options of every subcommand.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// Run as if started in DIR
    #[arg(short = 'C', long, value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
    /// Run N jobs at once [default: one per CPU, or what an outer make provides]
    #[arg(short, long, value_name = "N", global = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Go on with what can still be built after an error
    #[arg(short, long, global = true)]
    pub keep_going: bool,
    /// Print problems only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Also print the command that is run, quoted so that it can be pasted
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// How progress is shown
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub progress: ProgressKind,
    /// Write make's full output to FILE [default: .klpbuild/make.log in the object tree]
    #[arg(long, value_name = "FILE", global = true)]
    pub log: Option<PathBuf>,
    /// Print what would be run and removed, and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// What was printed in place of doing something: `--help`, `--version`, or what is wrong with a command line.
#[derive(Debug)]
pub struct Printed {
    /// The command line makes no sense.
    pub is_usage_error: bool,
    /// What came of printing it.
    pub written: io::Result<()>,
}

/// Parses the process's command line.
///
/// # Errors
/// There is nothing else to do: something was printed.
pub fn parse() -> Result<Cli, Printed> {
    Cli::try_parse().map_err(|error| Printed { is_usage_error: error.use_stderr(), written: error.print() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere() {
        let cli = Cli::try_parse_from([
            "klpbuild", "-C", "/src", "modules", "bzImage", "-j8", "O=/obj", "-k", "--", "-d", "--trace",
        ])
        .unwrap();
        assert_eq!(cli.options.jobs, Some(8));
        assert!(cli.options.keep_going);
        let Command::Modules(args) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.words, ["bzImage", "O=/obj"]);
        assert_eq!(args.make_options, ["-d", "--trace"]);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(Cli::try_parse_from(["klpbuild", "modules", "--jbos=8"]).is_err());
        assert!(Cli::try_parse_from(["klpbuild", "modules", "-j0"]).is_err());
        assert!(Cli::try_parse_from(["klpbuild", "clean", "modules"]).is_err());
    }
}
