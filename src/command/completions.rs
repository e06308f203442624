// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild completions`: the script by which a shell completes klpbuild's command line. The shell asks klpbuild
//! itself for the words: releases of installed kernels, functions that can be replaced, livepatches.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use fs_err as fs;

use crate::cli::{self, CompletionsArgs, Definition, ShellKind};
use crate::host::exit::Exit;
use crate::host::terminal;
use crate::kernel::installed::inventory;
use crate::kernel::installed::places::{NamedKernel, Places};
use crate::kernel::installed::{Choice, InstalledKernel, cache};
use crate::kernel::state::StateDir;
use crate::kernel::symbols::list;

/// The environment variable by which a shell asks; its value is the shell's name.
const VARIABLE: &str = "KLPBUILD_COMPLETE";
/// The largest number of names that a shell is offered.
const MOST: usize = 1000;

/// Prints the script for the shell.
///
/// # Errors
/// It cannot be written.
pub fn completions(arguments: &CompletionsArgs) -> Result<Exit> {
    let name = match arguments.shell {
        ShellKind::Bash => "bash",
        ShellKind::Zsh => "zsh",
        ShellKind::Fish => "fish",
        ShellKind::Elvish => "elvish",
    };
    let shells = Shells::builtins();
    let shell = shells.completer(name).with_context(|| format!("{name}: nothing is known of this shell"))?;
    let mut text = Vec::new();
    shell.write_registration(VARIABLE, "klpbuild", "klpbuild", "klpbuild", &mut text)?;
    terminal::out(text);
    Ok(Exit::Done)
}

/// Answers a shell that asks; false if none does.
///
/// # Errors
/// The shell is unknown.
pub fn answer() -> Result<bool> {
    let here = std::env::current_dir().ok();
    let complete = CompleteEnv::with_factory(definition).var(VARIABLE);
    Ok(complete.try_complete(std::env::args_os(), here.as_deref())?)
}

/// The command line, with completions for its values.
fn definition() -> Definition {
    let mut whole = cli::command();
    let verbs: Vec<String> = whole.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for name in verbs {
        whole = whole.mut_subcommand(&name, |verb| {
            let has = |id: &str| verb.get_arguments().any(|argument| argument.get_id() == id);
            let (release, function) = (has("release"), has("function"));
            let mut verb = verb;
            if release {
                verb = verb.mut_arg("release", |argument| argument.add(ArgValueCandidates::new(releases)));
            }
            if function {
                verb = verb.mut_arg("function", |argument| argument.add(ArgValueCompleter::new(symbols)));
            }
            match name.as_str() {
                "lookup" => verb.mut_arg("words", |words| words.add(ArgValueCompleter::new(symbols))),
                "verify" | "try" | "convert" => {
                    verb.mut_arg("words", |words| words.add(ArgValueCompleter::new(livepatches)))
                }
                _ => verb,
            }
        });
    }
    whole
}

fn releases() -> Vec<CompletionCandidate> {
    Places::below(None).releases().into_iter().map(CompletionCandidate::new).collect()
}

/// Names of symbols that begin with `current`, in the kernel of the command line. Only an existing map is read:
/// making one takes too long.
fn symbols(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let Some(list) = map().and_then(|list| list::whole(&list).ok()) else { return Vec::new() };
    let lines = list.split(|byte| *byte == b'\n').skip(1);
    let names = lines.filter(|line| line.starts_with(current.as_bytes()) && !line.starts_with(b"*"));
    // Names with a dot are the compiler's, and cannot be typed in C.
    let plain = |name: &&[u8]| !name.contains(&b'.') && !name.is_empty();
    let names: BTreeSet<&[u8]> = names.filter(plain).collect();
    let names = names.into_iter().take(MOST).map(|name| String::from_utf8_lossy(name).into_owned());
    names.map(CompletionCandidate::new).collect()
}

/// The map of the kernel that the words typed so far name, or else of the kernel that was built for here, or of an
/// installed one.
fn map() -> Option<PathBuf> {
    let words: Vec<String> = std::env::args().collect();
    let here = std::env::current_dir().ok()?;
    let places = Places::below(None);
    let behind = |option: &str| {
        let at = words.iter().position(|word| word == option)?;
        words.get(at + 1).cloned()
    };
    let within = |prefix: &str| words.iter().find_map(|word| word.strip_prefix(prefix)).map(str::to_owned);
    let release = behind("--release").or_else(|| within("--release="));
    let kdir = within("KDIR=").or_else(|| within("O=")).or_else(|| behind("--objtree"));
    let meant = (release.map(NamedKernel::Release))
        .or_else(|| kdir.map(|kdir| NamedKernel::by_kdir(&places, &here, &kdir)))
        .or_else(|| places.environment());
    let listed = |directory: &Path| Some(directory.join("Symbols.list")).filter(|list| list.is_file());
    match meant {
        Some(NamedKernel::Release(release)) => kept(&release),
        Some(NamedKernel::Directory(directory)) => {
            listed(&directory).or_else(|| kept(&release_of(&directory)?))
        }
        None => {
            let built = || StateDir::at(&here).context().ok().flatten().map(|context| context.objtree);
            listed(&here)
                .or_else(|| listed(&built()?))
                .or_else(|| kept(&places.running()?))
                .or_else(|| places.releases().iter().rev().find_map(|release| kept(release)))
        }
    }
}

fn release_of(directory: &Path) -> Option<String> {
    crate::kernel::tree::facts::release(directory)
}

/// The cached map of an installed kernel.
fn kept(release: &str) -> Option<PathBuf> {
    let places = Places::below(None);
    inventory::expect(&places, release).ok()?;
    let headers = Some(places.build(release)).filter(|build| build.is_dir());
    let kernel = InstalledKernel::find(release, headers.as_deref(), &Choice::default()).ok()?;
    Some(cache::directory()?.join(kernel.key()).join("Symbols.list")).filter(|list| list.is_file())
}

/// Livepatches: those on the list of the last build here, and other module files here.
fn livepatches(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let (directory, _) =
        current.rsplit_once('/').map_or(("", &*current), |(directory, name)| (directory, name));
    let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let place = if prefix.is_empty() { "." } else { prefix.as_str() };
    let listed = fs::read_to_string("modules.livepatch").unwrap_or_default();
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let there = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_directory = entry.path().is_dir() && !name.starts_with('.');
        let shown = if is_directory { format!("{prefix}{name}/") } else { format!("{prefix}{name}") };
        (is_directory || name.ends_with(".ko")).then_some(shown)
    });
    let all: BTreeSet<String> = listed.lines().map(str::to_owned).chain(there).collect();
    let fitting = all.into_iter().filter(|name| name.starts_with(&*current));
    fitting.take(MOST).map(CompletionCandidate::new).collect()
}
