// SPDX-License-Identifier: GPL-2.0-only
//! The arguments of each verb. The fields' doc comments are the text of --help.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::format::{Format, TryFormat, VerifyFormat};

/// How to show progress.
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

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorKind {
    /// On a terminal, unless the environment says otherwise
    #[default]
    Auto,
    /// Also in pipes and files
    Always,
    /// Never
    Never,
}

/// Arguments of `klpbuild modules`.
#[derive(Debug, Clone, Default, Args)]
pub struct ModulesArgs {
    /// Goals and variables for make
    #[arg(value_name = "GOAL|VAR=VALUE")]
    pub words: Vec<String>,
    /// Do not convert the livepatches: leave them as they are linked
    #[arg(long)]
    pub no_convert: bool,
    /// Keep livepatches' references to modules' exports as normal ones: the livepatches then depend on these modules
    #[arg(long, conflicts_with = "no_convert")]
    pub keep_module_exports: bool,
    /// Write a page with the times of the build's steps to FILE [default: .klpbuild/klpbuild-timings.html in the
    /// object tree]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub timings: Option<Option<PathBuf>>,
    /// How to print what was built
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Options for make, passed on unchanged
    #[arg(value_name = "MAKE-OPTION", last = true)]
    pub make_options: Vec<String>,
    /// The files that have the symbols of an external module's kernel.
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
    /// Within a build: also refuse livepatches that refer to unknown symbols, and remove livepatches that make has to
    /// link anew
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

/// The shells that have completions.
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
    /// The directory of manual pages; the pages are written to man1 and man7 in it
    #[arg(value_name = "DIR")]
    pub pages: PathBuf,
}

/// Arguments of `klpbuild kernels`.
#[derive(Debug, Clone, Default, Args)]
pub struct KernelsArgs {
    /// How to print the list
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Look below DIR instead of /
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
}

/// The files that have the symbols of a kernel that someone else built.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "An installed kernel")]
pub struct KernelArgs {
    /// The installed kernel with this release, as `uname -r` has it (klpbuild kernels lists them)
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// The vmlinux with symbols [default: where distributions put it]
    #[arg(long, value_name = "FILE")]
    pub vmlinux: Option<PathBuf>,
    /// The System.map, if there is no such vmlinux [default: where distributions put it, or /proc/kallsyms]
    #[arg(long, value_name = "FILE", conflicts_with = "vmlinux")]
    pub system_map: Option<PathBuf>,
    /// The directory of the modules [default: /lib/modules/RELEASE]
    #[arg(long, value_name = "DIR")]
    pub modules_dir: Option<PathBuf>,
    /// Look for all of these below DIR instead of /
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
    /// Use files that belong to another kernel than the headers, with a warning
    #[arg(long)]
    pub force: bool,
}

/// Where symbols are looked up.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// The map of symbols [default: Symbols.list in the object tree]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// The object tree of the kernel [default: the directory of the map, or the current directory]
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    pub objtree: Option<PathBuf>,
    /// The files that have the symbols of an installed kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Arguments of `klpbuild convert`.
#[derive(Debug, Clone, Default, Args)]
pub struct ConvertArgs {
    /// The livepatch; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "IN.ko|O=DIR", required_unless_present = "livepatches")]
    pub words: Vec<PathBuf>,
    /// Convert all livepatches on the list modules.livepatch of the object tree, in place
    #[arg(long, conflicts_with = "output")]
    pub livepatches: bool,
    /// Write the result to OUT.ko [default: in place]
    #[arg(short, long, value_name = "OUT.ko")]
    pub output: Option<PathBuf>,
    /// Keep references to modules' exports as normal ones: the livepatch then depends on these modules
    #[arg(long)]
    pub keep_module_exports: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Where symbols are looked up.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// Arguments of `klpbuild lookup`.
#[derive(Debug, Clone, Default, Args)]
pub struct LookupArgs {
    /// Names of symbols, or patterns with *, ? and [...]; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "NAME|O=DIR", required = true)]
    pub words: Vec<String>,
    /// Treat the names as regular expressions
    #[arg(long)]
    pub regex: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Where symbols are looked up.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// Arguments of `klpbuild verify`.
#[derive(Debug, Clone, Default, Args)]
pub struct VerifyArgs {
    /// The livepatches [default: those on the list of the last build here]; O=DIR names the object tree as for
    /// `klpbuild modules`
    #[arg(value_name = "LIVEPATCH.ko|O=DIR")]
    pub words: Vec<PathBuf>,
    /// Print the text of a rule that findings cite, such as R7 or S1; without a rule, list all rules
    #[arg(long, value_name = "RULE", num_args = 0..=1, default_missing_value = "all", conflicts_with = "words")]
    pub explain: Option<String>,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t)]
    pub format: VerifyFormat,
    /// Where symbols are looked up.
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
    /// Livepatches [default: those on the list of the last build here]; several are loaded in this order, and
    /// unloaded in reverse; O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "LIVEPATCH.ko|O=DIR")]
    pub words: Vec<PathBuf>,
    /// Load a module before the livepatches (repeatable: in the given order): a file, or the name of a module of the
    /// kernel, which is loaded with the modules that it depends on
    #[arg(long, value_name = "MODULE")]
    pub load: Vec<PathBuf>,
    /// Load a module after the livepatches (repeatable)
    #[arg(long, value_name = "MODULE")]
    pub load_after: Vec<PathBuf>,
    /// Run COMMAND in the guest's shell before, while and after the livepatches are enabled
    #[arg(long, value_name = "COMMAND")]
    pub run: Option<String>,
    /// The object tree, or the headers of an installed kernel [default: the current directory, or the kernel for
    /// which the external module there was built]
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    pub objtree: Option<PathBuf>,
    /// The kernel to boot [default: arch/x86/boot/bzImage of the object tree, or /boot/vmlinuz-RELEASE]
    #[arg(long, value_name = "IMAGE")]
    pub kernel: Option<PathBuf>,
    /// Add words to the guest's kernel command line (for instance module.sig_enforce=1)
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Give up after this time, by the host's clock
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub timeout: u64,
    /// The guest's memory [default: 512, and more for big modules]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..))]
    pub memory: Option<u32>,
    /// What runs the guest
    #[arg(long, value_name = "ACCEL", value_enum, default_value_t)]
    pub accel: AccelKind,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: TryFormat,
    /// The files that have the symbols of an installed kernel.
    #[command(flatten)]
    pub installed: KernelArgs,
}

/// Arguments of `klpbuild new`.
#[derive(Debug, Clone, Default, Args)]
pub struct NewArgs {
    /// The directory to make; its name is the livepatch's. O=DIR names the object tree as for `klpbuild modules`
    #[arg(value_name = "NAME|O=DIR", required = true)]
    pub words: Vec<PathBuf>,
    /// The function to replace (repeatable)
    #[arg(long, value_name = "OLD", required = true)]
    pub function: Vec<String>,
    /// The kernel's source, from which the functions' text is taken [default: that of the object tree, or where
    /// distributions put it]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// The module that has the function [default: vmlinux, or the only object that has it]
    #[arg(long, value_name = "MODULE")]
    pub object: Option<String>,
    /// The function's position among those of its name in the object, from 1 (klpbuild lookup prints it)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sympos: Option<u64>,
    /// Write a skeleton, even if the kernel's source is at hand
    #[arg(long, conflicts_with = "source")]
    pub skeleton: bool,
    /// Also write a dkms.conf, for DKMS to build and install the livepatch for this kernel
    #[arg(long)]
    pub dkms: bool,
    /// Where symbols are looked up.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// What to do with a series of `kbuild-patches`.
#[derive(Debug, Clone, Subcommand)]
pub enum PatchesCommand {
    /// List all series, and which one fits the tree or is applied to it
    List,
    /// Print a series, for `git am`
    Show {
        /// The series [default: the one that fits the tree]
        #[arg(value_name = "SERIES")]
        series: Option<String>,
    },
    /// Print which series fits the tree or is applied to it, and change nothing
    ///
    /// Exit status: 0 if one fits or is applied, 1 if none does, or if only a part of one is applied.
    Check {
        /// How to print the result
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Apply the series that fits, either all of it or nothing
    Apply,
    /// Revert the series that is applied
    Revert,
}

/// Arguments of `klpbuild doctor`.
#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// The kernel's headers or object tree [default: this directory, KDIR, or those of the running kernel]; also as
    /// O=DIR
    #[arg(value_name = "KDIR|O=DIR")]
    pub words: Vec<String>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The files that have the symbols of an installed kernel.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// What runs the guest of `klpbuild try`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AccelKind {
    /// KVM if it works, else TCG
    #[default]
    Auto,
    /// KVM
    Kvm,
    /// QEMU's own emulation, which is slower
    Tcg,
}

fn assignment(word: &str) -> Result<String, String> {
    if word.contains('=') {
        Ok(word.to_owned())
    } else {
        Err("only variables can be given here (VAR=VALUE), no goals".to_owned())
    }
}
