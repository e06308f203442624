// SPDX-License-Identifier: GPL-2.0-only
//! The command line as the user types it; the only place that names clap. [`crate::build::plan`] turns it into what
//! it means.
//!
//! - here: the verbs, and what is common to all; [`arguments`]: the arguments of each verb, except for those with
//!   files of their own: [`mod@livepatch`] and [`mod@show`]
//! - [`mod@format`]: the output formats
//! - [`help`]: the parts of --help and the manual pages besides options; [`tips`]: what to write in place of make's
//!   habits

mod arguments;
mod format;
mod help;
mod livepatch;
mod show;
mod tips;

pub use arguments::*;
pub use clap::Command as Definition;
pub use format::*;
pub use help::{GROUPS, HelpSection, SECTIONS, examples};
pub use livepatch::LivepatchArgs;
pub use show::ShowArgs;

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Make livepatches of Linux kernels, from source patches or written by hand, and say whether they are right.
#[derive(Debug, Parser)]
#[command(name = "klpbuild", version = env!("KLPBUILD_VERSION"), max_term_width = 100)]
#[expect(missing_docs, reason = "the fields' doc comments are the text of --help; these are the outermost")]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

/// The verb that the user typed.
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
    /// With --cache, remove the maps of installed kernels' symbols (below XDG_CACHE_HOME) instead.
    Klpclean(KlpcleanArgs),
    /// Make Symbols.list for an object tree that is built already, without running a build
    Symbols(SymbolsArgs),
    /// Convert one livepatch: references to symbols that are not exported become livepatch relocations
    ///
    /// `klpbuild modules` does this for the livepatches it builds.
    Convert(ConvertArgs),
    /// Print where symbols are defined, their positions, and what to write in a livepatch
    ///
    /// Exit status: 0 if all were found, 1 if a name or pattern has no definition.
    Lookup(LookupArgs),
    /// Check finished livepatches against the rules of the format and against the kernel they are for
    ///
    /// Exit status: 0 if no error was found (warnings may be), 1 if one was, 2 if something could not be checked.
    Verify(VerifyArgs),
    /// Print what a livepatch replaces and refers to, with files and lines of the kernel's source, for review
    ///
    /// The kernel is found as for `verify`, or else it is the installed one that the livepatch was compiled for;
    /// without a kernel, only the file is described. Exit status: 0 if verify finds no error, 1 if it finds one, 2 if
    /// something could not be checked.
    Show(ShowArgs),
    /// Print the C header with the macros KLP_MODULE_RELOC, KLP_SYMPOS and KLP_RELOC_SYMBOL_POS
    Header(HeaderArgs),
    /// Boot the object tree's kernel in QEMU, and try livepatches in it
    ///
    /// The guest has only busybox and the named modules. The stages: boot, load the modules, load each LIVEPATCH and
    /// wait for its transition, load the modules that come after it, unload the patched modules and load them again,
    /// disable and unload everything. COMMAND runs before, while and after the livepatches are enabled, and its
    /// outputs are compared.
    ///
    /// Each stage is shown with the kernel's log. A panic, an oops, a warning, a hang, and a refused load are
    /// failures, with exit status 1. If something could not be tried, the exit status is 2: the guest did not start,
    /// QEMU ended by itself, or nothing that the livepatch patches was ever loaded. --log FILE keeps the guest's
    /// whole console.
    Try(TryArgs),
    /// Make a livepatch from patches of the kernel's source
    ///
    /// Compiles only what the patches touch, compares the unpatched code with the kernel's own bytes, replaces the
    /// changed functions, and builds, converts and checks the module. The kernel is the one that KDIR=DIR or
    /// --release names, or that of the directory klpbuild is started in (-C DIR), or the running one. The kernel's
    /// trees are only read.
    Livepatch(LivepatchArgs),
    /// Begin a livepatch by hand: the kernel's own text of the functions or a skeleton, and a Makefile
    ///
    /// The result builds, converts and can be tried as it is. In a skeleton, the new function calls the old one if
    /// that is possible, and does nothing otherwise, until its body is written.
    New(NewArgs),
    /// Print Makefile.snippet, with which plain `make` builds through klpbuild
    ///
    /// A module's Makefile includes it, as a copy in its own directory or from where it is installed.
    Snippet(HeaderArgs),
    /// List the installed kernels: their headers, symbols, modules and source, and whether they take livepatches
    ///
    /// Commands that work on a kernel take one of them with --release RELEASE, or KDIR=RELEASE.
    Kernels(KernelsArgs),
    /// Check whether all is there to build livepatches for a kernel
    ///
    /// Checks the kernel's options, headers, compiler and symbols, and programs, and names the package or command
    /// that supplies what is missing. Exit status: 0 if nothing that is needed is missing, 1 if something is.
    Doctor(DoctorArgs),
    /// Add klpbuild to a kernel's own makefiles, by a series of patches
    ///
    /// In a source tree (-C TREE): plain `make modules` then makes Symbols.list and converts livepatches by itself,
    /// with the klpbuild program that the variable KLPBUILD names.
    Patches {
        /// What to do with the series.
        #[command(subcommand)]
        command: PatchesCommand,
    },
    /// Print a shell's completions for klpbuild: commands, options, releases, functions and livepatches
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
    /// Run by the makefile fragment between compilation and modpost
    #[command(hide = true)]
    Hook,
    /// Run by klpbuild: runs COMMAND, which ends when its parent does
    #[command(hide = true)]
    Tied {
        /// The process with which COMMAND ends.
        parent: u32,
        /// The program and its arguments.
        #[arg(required = true, last = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Options of every subcommand.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
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
    #[arg(short, visible_short_alias = 's', long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Also print each command that is run, quoted for pasting
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colours [auto: on a terminal, unless NO_COLOR, CLICOLOR or CLICOLOR_FORCE say otherwise]
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub color: ColorKind,
    /// How to show progress
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub progress: ProgressKind,
    /// Write make's full output to FILE [default: .klpbuild/make.log in the object tree]
    #[arg(long, value_name = "FILE", global = true)]
    pub log: Option<PathBuf>,
    /// Print what would be run and removed, but do nothing
    #[arg(short = 'n', long, global = true)]
    pub dry_run: bool,
}

/// The output of a command line that runs no verb: `--help`, `--version`, or a usage error.
#[derive(Debug)]
pub struct Printed {
    /// Whether the command line makes no sense.
    pub is_usage_error: bool,
    /// Whether the output could be written.
    pub written: io::Result<()>,
}

/// Parses the process's command line.
///
/// # Errors
/// The command line runs no verb: its output was printed.
pub fn parse() -> Result<Cli, Printed> {
    let parsed = from_words(std::env::args_os().collect());
    parsed.map_err(|error| Printed { is_usage_error: error.use_stderr(), written: error.print() })
}

/// The value of --color, even if something else is wrong with the command line.
fn colours_of(words: &[std::ffi::OsString]) -> clap::ColorChoice {
    let words: Vec<&str> =
        words.iter().map_while(|word| word.to_str()).take_while(|word| *word != "--").collect();
    let behind = words.iter().position(|word| *word == "--color").and_then(|at| words.get(at + 1)).copied();
    match words.iter().find_map(|word| word.strip_prefix("--color=")).or(behind) {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    }
}

/// The whole command line.
pub fn command() -> Definition {
    help::complete(Cli::command())
}

fn from_words(words: Vec<std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let mut command = command().color(colours_of(&words));
    let mut matches = match command.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(error) => return Err(tips::add(error)),
    };
    tips::refuse_meaningless(&mut command, &matches)?;
    Cli::from_arg_matches_mut(&mut matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Cli, String> {
        let words = words.split(' ').map(std::ffi::OsString::from).collect();
        from_words(words).map_err(|error| error.to_string())
    }

    #[test]
    fn definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn each_verb_is_in_one_group_and_has_two_examples_that_can_be_typed() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| *verbs).copied().collect();
        let whole = command();
        let mut all: Vec<&str> =
            whole.get_subcommands().filter(|verb| !verb.is_hide_set()).map(Definition::get_name).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
        for verb in all {
            let examples = examples(verb);
            assert_eq!(examples.len(), 2, "{verb}");
            let own = format!("klpbuild {verb} ");
            for (line, _) in examples.iter().filter(|(line, _)| line.starts_with(&own)) {
                let line = line.split(" | ").next().and_then(|line| line.split(" > ").next()).unwrap();
                let words = shlex::split(line).unwrap().into_iter().map(Into::into).collect();
                from_words(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }

    #[test]
    fn options_stand_under_their_headings() {
        let mut whole = command();
        whole.build();
        let help = whole.find_subcommand_mut("try").unwrap().render_long_help().to_string();
        let of = |option: &str| {
            let at = help.find(option).unwrap_or_else(|| panic!("no {option}: {help}"));
            let before = help[..at].lines().rev();
            before.into_iter().find(|line| line.ends_with(':') && !line.starts_with(' ')).unwrap().to_owned()
        };
        assert_eq!(
            ["--timeout", "--memory", "--vmlinux", "--release", "--quiet", "--dry-run"].map(of),
            [
                "Options:",
                "Options:",
                "An installed kernel:",
                "An installed kernel:",
                "Common options:",
                "Common options:"
            ]
        );
        assert!(!help.contains("--keep-going"), "{help}");
    }

    #[test]
    fn what_makes_users_type_works_or_is_answered() {
        let make = parsed("klpbuild modules -ns").unwrap();
        assert!(make.options.dry_run && make.options.quiet);
        for (line, tip) in [
            ("klpbuild modules -B", "tip: to build everything anew: klpbuild clean, then klpbuild modules"),
            (
                "klpbuild modules -j",
                "tip: klpbuild runs one job per CPU by itself: leave -j out, or write -j N",
            ),
            (
                "klpbuild -j modules",
                "tip: klpbuild runs one job per CPU by itself: leave -j out, or write -j N",
            ),
            ("klpbuild modules -d", "tip: options for make stand behind --: klpbuild modules -- -d"),
            ("klpbuild lookup f --dry-run", "klpbuild lookup does nothing that --dry-run could change"),
            ("klpbuild header --log x", "klpbuild header does nothing that --log could change"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(tip), "{line}: {error}");
        }
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
