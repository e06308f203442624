// SPDX-License-Identifier: GPL-2.0-only
//! Converts what the user typed to the types of the floors below: paths become absolute, and clap's types stay
//! behind.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::build::plan::Order;
use crate::build::progress::Shown;
use crate::cli::{KernelArgs, Options, ProgressKind, SourceArgs};
use crate::host::make::variable;
use crate::host::make::variable::Variable;
use crate::kernel::installed::Choice;
use crate::kernel::installed::inventory;
use crate::kernel::installed::places::{NamedKernel, Places};
use crate::kernel::state::StateDir;
use crate::kernel::{origin, tree};

/// The directory to start in, absolute.
///
/// # Errors
/// There is no such directory.
pub fn start(options: &Options) -> Result<PathBuf> {
    let current = std::env::current_dir().context("cannot tell the current directory")?;
    let start = options.directory.as_ref().map_or(current.clone(), |directory| current.join(directory));
    ensure!(
        start.is_dir(),
        "{}: no such directory: -C names a kernel source or object tree",
        start.display()
    );
    Ok(start)
}

/// The files that the user named for a kernel's symbols; paths are relative to `start`.
pub fn choice(arguments: &KernelArgs, start: &Path) -> Choice {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| absolute(start.join(path)));
    Choice {
        vmlinux: path(&arguments.vmlinux),
        system_map: path(&arguments.system_map),
        modules_dir: path(&arguments.modules_dir),
        sysroot: path(&arguments.sysroot),
        force: arguments.force,
    }
}

/// Where symbols have to be looked up; paths are relative to `start`.
pub fn sources(arguments: &SourceArgs, start: &Path) -> origin::OriginRequest {
    origin::OriginRequest {
        start: start.to_path_buf(),
        objtree: arguments.objtree.as_ref().map(|objtree| start.join(objtree)),
        release: arguments.kernel.release.clone(),
        symbols: arguments.symbols.as_ref().map(|list| start.join(list)),
        choice: choice(&arguments.kernel, start),
    }
}

/// The livepatches on the list that the last build wrote, in the object tree or module's directory that `named`
/// means, relative to `start`.
///
/// # Errors
/// There is no list, or it is empty.
pub fn listed(start: &Path, named: &TypedFiles<'_>, verb: &str) -> Result<Vec<PathBuf>> {
    let directory = match &named.kernel {
        Some(NamedKernel::Directory(directory)) if directory.join("modules.livepatch").is_file() => directory,
        _ => &named.start,
    };
    let listed = StateDir::at(directory).livepatches()?;
    ensure!(
        !listed.is_empty(),
        "no livepatch is named, and no build has listed one in {} (modules.livepatch): klpbuild {verb} O=DIR LIVEPATCH.ko",
        directory.display()
    );
    let place = directory.strip_prefix(start).unwrap_or(directory);
    Ok(listed.iter().map(|livepatch| place.join(livepatch)).collect())
}

/// Files that the user typed, and the kernel that words beside them name.
#[derive(Debug)]
pub struct TypedFiles<'a> {
    /// The files, as they were typed.
    pub files: Vec<&'a PathBuf>,
    /// The directory in which the kernel is looked for: M= names an external module.
    pub start: PathBuf,
    /// The kernel: O= or KDIR= names it.
    pub kernel: Option<NamedKernel>,
}

/// Adds the kernel that words name to what options name: an object tree that an option names takes precedence.
///
/// # Errors
/// An option names an installed kernel as well.
pub fn add_kernel(asked: &mut origin::OriginRequest, kernel: Option<NamedKernel>) -> Result<()> {
    let Some(kernel) = kernel.filter(|_| asked.objtree.is_none()) else { return Ok(()) };
    ensure!(asked.release.is_none(), "{TWO_KERNELS}");
    match kernel {
        NamedKernel::Directory(directory) => asked.objtree = Some(directory),
        NamedKernel::Release(release) => asked.release = Some(release),
    }
    Ok(())
}

/// The message about `--release R KDIR=DIR`.
pub const TWO_KERNELS: &str = "--release and O= or KDIR= both name the kernel: leave one of them out";

/// The files among `words`, and the kernel that other words name: O=, KDIR= and M= as for make. Only typed words
/// count: a make that runs this command has such words, too, which are relative to other directories. A file whose
/// name begins like this is named as `./O=...`.
pub fn files<'a>(words: &'a [PathBuf], start: &Path, arguments: &KernelArgs) -> TypedFiles<'a> {
    const NAMES: [&str; 3] = ["O", "KDIR", "M"];
    let variable =
        |word: &Path| word.to_str().and_then(Variable::parse).filter(|v| NAMES.contains(&v.name()));
    let typed: Vec<Variable> = words.iter().filter_map(|word| variable(word)).collect();
    let last = |name: &str| typed.iter().rev().find(|variable| variable.name() == name).map(Variable::value);
    let path = |name: &str| last(name).map(|value| start.join(value));
    let places = choice(arguments, start).places();
    let kdir = || last("KDIR").map(|value| NamedKernel::by_kdir(&places, start, value));
    TypedFiles {
        files: words.iter().filter(|word| variable(word).is_none()).collect(),
        start: path("M").unwrap_or_else(|| start.to_path_buf()),
        kernel: path("O").map(NamedKernel::Directory).or_else(kdir),
    }
}

/// The order for make, from `words` with goals and variables. KDIR= may name an installed kernel by its release, as
/// `release` does: make gets its directory.
///
/// # Errors
/// There is no directory to start in, or the named kernel is not installed.
pub fn order(options: &Options, words: &[String], release: Option<&str>, places: &Places) -> Result<Order> {
    let start = start(options)?;
    let (mut variables, goals) = variable::sort_out(words);
    let kdir = |release: &str| -> Result<Variable> {
        let word = format!("KDIR={}", inventory::headers(places, release)?.display());
        Variable::parse(&word).context("KDIR=DIR is a variable")
    };
    for variable in variables.iter_mut().filter(|variable| variable.name() == "KDIR") {
        if let NamedKernel::Release(release) = NamedKernel::by_kdir(places, &start, variable.value()) {
            *variable = kdir(&release)?;
        }
    }
    if let Some(release) = release {
        let names_kernel = |variable: &Variable| ["O", "KDIR"].contains(&variable.name());
        ensure!(!variables.iter().any(names_kernel), "{TWO_KERNELS}");
        ensure!(
            !tree::is_source(&start),
            "{} is a kernel tree, which is built here; --release chooses the kernel that external modules are built for: \
             start klpbuild in their directory",
            start.display()
        );
        variables.push(kdir(release)?);
    }
    Ok(Order {
        goals,
        variables,
        jobs: options.jobs,
        keep_going: options.keep_going,
        shown: match options.progress {
            ProgressKind::Auto => Shown::Auto,
            ProgressKind::Bar => Shown::Bar,
            ProgressKind::Plain => Shown::Plain,
            ProgressKind::None => Shown::None,
        },
        quiet: options.quiet,
        verbose: options.verbose,
        dry_run: options.dry_run,
        log: options.log.as_ref().map(|log| start.join(log)),
        start,
        ..Order::default()
    })
}
