// SPDX-License-Identifier: GPL-2.0-only
//! What each verb can be given. The fields' doc comments are the text of --help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::format::{Format, TryFormat, VerifyFormat};

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// A bar on a terminal, plain lines elsewhere
    #[default]
    Auto,
    /// A bar, whatever the output is
    Bar,
    /// One line for each step, as make prints them
    Plain,
    /// No steps, only problems and the closing line
    None,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorKind {
    /// On a terminal, unless the environment says otherwise
    #[default]
    Auto,
    /// Also in pipes and files
    Always,
    /// None
    Never,
}

/// Arguments of `klpbuild modules`.
#[derive(Debug, Clone, Default, Args)]
pub struct ModulesArgs {
    /// Goals and variables for make
    #[arg(value_name = "GOAL|VAR=VALUE")]
    pub words: Vec<String>,
    /// Leave the livepatches as they are linked, without livepatch relocations
    #[arg(long)]
    pub no_convert: bool,
    /// Leave livepatches' references to what modules export as they are: they then depend on these modules
    #[arg(long, conflicts_with = "no_convert")]
    pub keep_module_exports: bool,
    /// Write a page about where the build's time went to FILE [default: .klpbuild/klpbuild-timings.html in the object tree]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub timings: Option<Option<PathBuf>>,
    /// How it is told what was built
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Options for make, as they are
    #[arg(value_name = "MAKE-OPTION", last = true)]
    pub make_options: Vec<String>,
    /// Where an external module's kernel has its symbols.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Arguments of the subcommands that clean.
#[derive(Debug, Clone, Default, Args)]
pub struct CleanArgs {
    /// Variables for make
    #[arg(value_name = "VAR=VALUE", value_parser = assignment)]
    pub words: Vec<String>,
    /// The installed kernel that external modules were built for
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
}

/// Arguments of `klpbuild klpclean`.
#[derive(Debug, Clone, Default, Args)]
pub struct KlpcleanArgs {
    /// Empty the cache of installed kernels' symbols instead
    #[arg(long, conflicts_with = "words")]
    pub cache: bool,
    /// Variables for make
    #[arg(value_name = "VAR=VALUE", value_parser = assignment)]
    pub words: Vec<String>,
}

/// Arguments of `klpbuild symbols`.
#[derive(Debug, Clone, Default, Args)]
pub struct SymbolsArgs {
    /// The object tree [default: the current directory]
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    pub objtree: Option<PathBuf>,
    /// Write the map to FILE instead of Symbols.list in the object tree (`-` for standard output)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// O=DIR: the object tree, as for `klpbuild modules`
    #[arg(value_name = "O=DIR", value_parser = assignment)]
    pub words: Vec<String>,
    /// Within a build: also refuse livepatches that refer to unknown symbols, and remove those to be linked anew
    #[arg(long, conflicts_with = "output")]
    pub in_build: bool,
    /// Map the installed kernel with this release instead, to FILE or to klpbuild's cache
    #[arg(long, value_name = "RELEASE", conflicts_with = "in_build")]
    pub release: Option<String>,
}

/// Arguments of `klpbuild completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: ShellKind,
}

/// The shells that klpbuild completes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShellKind {
    /// GNU Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
    /// Elvish
    Elvish,
}

/// Arguments of `klpbuild man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The directory of manual pages: they go to man1 and man7 below it
    #[arg(value_name = "DIR")]
    pub pages: PathBuf,
}

/// Arguments of `klpbuild kernels`.
#[derive(Debug, Clone, Default, Args)]
pub struct KernelsArgs {
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Look below DIR instead of /
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
}

/// Where the symbols of a kernel are that someone else built.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "An installed kernel")]
pub struct KernelArgs {
    /// The installed kernel with this release, as `uname -r` has it (klpbuild kernels lists them)
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// The vmlinux with symbols [default: where distributions put it]
    #[arg(long, value_name = "FILE")]
    pub vmlinux: Option<PathBuf>,
    /// The System.map, if there is no such vmlinux [default: likewise, or /proc/kallsyms]
    #[arg(long, value_name = "FILE", conflicts_with = "vmlinux")]
    pub system_map: Option<PathBuf>,
    /// The directory of the modules [default: /lib/modules/RELEASE]
    #[arg(long, value_name = "DIR")]
    pub modules_dir: Option<PathBuf>,
    /// Look for all of these below DIR instead of /
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
    /// Take files of another kernel than the headers', with a warning
    #[arg(long)]
    pub force: bool,
}

/// What symbols are looked up in.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// The map of symbols [default: Symbols.list in the object tree]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// The object tree of the kernel [default: where the map lies, or the current directory]
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    pub objtree: Option<PathBuf>,
    /// Where an installed kernel has its symbols.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Arguments of `klpbuild convert`.
#[derive(Debug, Clone, Default, Args)]
pub struct ConvertArgs {
    /// The livepatch; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "IN.ko|O=DIR", required_unless_present = "livepatches")]
    pub words: Vec<PathBuf>,
    /// Convert all that modules.livepatch of the object tree has, in place
    #[arg(long, conflicts_with = "output")]
    pub livepatches: bool,
    /// Write the result to OUT.ko [default: in place]
    #[arg(short, long, value_name = "OUT.ko")]
    pub output: Option<PathBuf>,
    /// Leave references to what modules export as they are: the livepatch then depends on these modules
    #[arg(long)]
    pub keep_module_exports: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// What symbols are looked up in.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// Arguments of `klpbuild lookup`.
#[derive(Debug, Clone, Default, Args)]
pub struct LookupArgs {
    /// Names of symbols, or patterns with *, ? and [...]; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "NAME|O=DIR", required = true)]
    pub words: Vec<String>,
    /// The names are regular expressions
    #[arg(long)]
    pub regex: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// What symbols are looked up in.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// Arguments of `klpbuild verify`.
#[derive(Debug, Clone, Default, Args)]
pub struct VerifyArgs {
    /// The livepatches [default: those that the last build has listed here]; O=DIR names the object tree as for `klpbuild
    /// modules`
    #[arg(value_name = "LIVEPATCH.ko|O=DIR")]
    pub words: Vec<PathBuf>,
    /// Print what a rule that findings cite demands, as R7 or S1, or list all rules
    #[arg(long, value_name = "RULE", num_args = 0..=1, default_missing_value = "all", conflicts_with = "words")]
    pub explain: Option<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: VerifyFormat,
    /// What symbols are looked up in.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// Arguments of `klpbuild header` and `klpbuild snippet`.
#[derive(Debug, Clone, Default, Args)]
pub struct HeaderArgs {
    /// Write it to FILE [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `klpbuild try`.
#[derive(Debug, Clone, Args)]
pub struct TryArgs {
    /// Livepatches [default: those that the last build has listed here]; several are loaded in this order, and unloaded in
    /// reverse; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "LIVEPATCH.ko|O=DIR")]
    pub words: Vec<PathBuf>,
    /// Load a module before the livepatches (repeatable: in the order given): a file, or the name of a module of the
    /// kernel, which comes with those it depends on
    #[arg(long, value_name = "MODULE")]
    pub load: Vec<PathBuf>,
    /// Load a module after the livepatches (repeatable)
    #[arg(long, value_name = "MODULE")]
    pub load_after: Vec<PathBuf>,
    /// Run COMMAND in the guest's shell before, while and after the livepatches are enabled
    #[arg(long, value_name = "COMMAND")]
    pub run: Option<String>,
    /// The object tree, or the headers of an installed kernel [default: the current directory, or what the external
    /// module there was built for]
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    pub objtree: Option<PathBuf>,
    /// The kernel to boot [default: arch/x86/boot/bzImage of the object tree, or /boot/vmlinuz-RELEASE]
    #[arg(long, value_name = "IMAGE")]
    pub kernel: Option<PathBuf>,
    /// Add words to the guest's kernel command line (for instance module.sig_enforce=1)
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Give up after so long, by the host's clock
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub timeout: u64,
    /// The guest's memory [default: 512, and more for big modules]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..))]
    pub memory: Option<u32>,
    /// What runs the guest
    #[arg(long, value_name = "ACCEL", value_enum, default_value_t)]
    pub accel: AccelKind,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: TryFormat,
    /// Where an installed kernel has its symbols.
    #[command(flatten)]
    pub installed: KernelArgs,
}

/// Arguments of `klpbuild new`.
#[derive(Debug, Clone, Default, Args)]
pub struct NewArgs {
    /// The directory to make; its name is the livepatch's. O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "NAME|O=DIR", required = true)]
    pub words: Vec<PathBuf>,
    /// The function to replace; several are named by an option each
    #[arg(long, value_name = "OLD", required = true)]
    pub function: Vec<String>,
    /// The kernel's source, which the functions' text is taken from [default: that of the object tree, or where
    /// distributions put it]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// The module that has it [default: vmlinux, or the only object that does]
    #[arg(long, value_name = "MODULE")]
    pub object: Option<String>,
    /// Which of several functions of that name there, from 1 (klpbuild lookup tells)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sympos: Option<u64>,
    /// Write a skeleton, also where the kernel's source is at hand
    #[arg(long, conflicts_with = "source")]
    pub skeleton: bool,
    /// Also write a dkms.conf, with which DKMS builds and installs the livepatch for this kernel
    #[arg(long)]
    pub dkms: bool,
    /// What symbols are looked up in.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// What `klpbuild patches` is asked to do.
#[derive(Debug, Clone, Subcommand)]
pub enum PatchesCommand {
    /// List the series, and which one fits the tree or is applied to it
    List,
    /// Print a series, for `git am`
    Show {
        /// The series [default: the one that fits the tree]
        #[arg(value_name = "SERIES")]
        series: Option<String>,
    },
    /// Say which series fits the tree or is applied to it, and change nothing
    ///
    /// Exit status: 0 if one does or is, 1 if none does, or only a part of one is applied.
    Check {
        /// How the result is printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Apply the series that fits, all of it or nothing
    Apply,
    /// Take back the series that is applied
    Revert,
}

/// Arguments of `klpbuild doctor`.
#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// The kernel's headers or object tree [default: this directory, KDIR, or those of the kernel that is running]; also
    /// as O=DIR
    #[arg(value_name = "KDIR|O=DIR")]
    pub words: Vec<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Where an installed kernel has its symbols.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// What runs the guest of `klpbuild try`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AccelKind {
    /// KVM if it works, else TCG
    #[default]
    Auto,
    /// The processor
    Kvm,
    /// QEMU itself, which is slower
    Tcg,
}

fn assignment(word: &str) -> Result<String, String> {
    if word.contains('=') {
        Ok(word.to_owned())
    } else {
        Err("only variables can be given here (VAR=VALUE), no goals".to_owned())
    }
}
