// SPDX-License-Identifier: GPL-2.0-only
//! The command line as it is typed; the only place that names clap. [`crate::build::plan`] turns it into what it
//! means.
//!
//! - here: the verbs, and what is common to all; [`arguments`]: what each verb can be given, but for those with files of
//!   their own: [`mod@livepatch`] and [`mod@show`]
//! - [`mod@format`]: the forms that things are printed in
//! - [`help`]: what --help and the manual pages tell beside the options; [`tips`]: what to write in place of what make's
//!   users are used to

mod arguments;
mod format;
mod help;
mod livepatch;
mod show;
mod tips;

pub use arguments::*;
pub use clap::Command as Definition;
pub use format::*;
pub use help::{GROUPS, SECTIONS, Section, examples};
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
    ///
    /// Exit status: 0 if all were found, 1 if a name or pattern has no definition.
    Lookup(LookupArgs),
    /// Check finished livepatches against the rules of the format and against the kernel they are for
    ///
    /// Exit status: 0 if no error was found (warnings may be), 1 if one was, 2 if something could not be checked.
    Verify(VerifyArgs),
    /// Print what a livepatch replaces and refers to, with where that is in the kernel's source: what a reviewer signs
    ///
    /// The kernel is that of `verify`, or else the installed one that the livepatch was compiled for; without any, the file
    /// alone is told of. Exit status: 0 if verify finds no error, 1 if it finds one, 2 if that could not be checked.
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
    /// supplies what is missing. Exit status: 0 if all that is needed is there, 1 if something is missing.
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
    /// Print what has a shell complete klpbuild's commands, options, releases, functions and livepatches
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
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
    /// Also print the command that is run, quoted so that it can be pasted
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When there are colours [auto: on a terminal, as NO_COLOR, CLICOLOR and CLICOLOR_FORCE say]
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub color: ColorKind,
    /// How progress is shown
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    pub progress: ProgressKind,
    /// Write make's full output to FILE [default: .klpbuild/make.log in the object tree]
    #[arg(long, value_name = "FILE", global = true)]
    pub log: Option<PathBuf>,
    /// Print what would be run and removed, and do nothing
    #[arg(short = 'n', long, global = true)]
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
    let parsed = from_words(std::env::args_os().collect());
    parsed.map_err(|error| Printed { is_usage_error: error.use_stderr(), written: error.print() })
}

/// What --color says, also where something else is wrong with the command line.
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
