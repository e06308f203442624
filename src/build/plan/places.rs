// SPDX-License-Identifier: GPL-2.0-only
//! Where the kernel is that is built, or that external modules are built for, and where these modules are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::plan::variables::Variables;
use crate::host::terminal;
use crate::kernel::external::External;
use crate::kernel::installed::Choice;
use crate::kernel::installed::inventory;
use crate::kernel::installed::places::{NamedKernel, Places};
use crate::kernel::state::StateDir;
use crate::kernel::tree::{self, Tree};

/// The kernel's directory, and the directory of external modules as it was given. A klpbuild that is started in a
/// kernel tree builds that kernel, or modules for it. Elsewhere it builds the modules of the directory it is started
/// in, for KDIR or for the running kernel. A command that builds nothing uses the kernel of the last build.
pub(super) fn kernel_and_module(
    start: &Path,
    module: Option<String>,
    variables: &Variables<'_>,
    choice: &Choice,
    asks: Asks,
) -> Result<(PathBuf, Option<String>)> {
    let typed = variables.typed("KDIR").map(|directory| start.join(directory));
    // A typed KDIR means that this directory is no kernel, whatever files it has.
    let is_kernel = if typed.is_some() { tree::is_source(start) } else { tree::is_kernel(start) };
    let is_bare = module.is_none() && !External::is_one(start);
    if is_kernel || (is_bare && typed.is_none() && start.join("Makefile").exists()) {
        return Ok((start.to_path_buf(), module));
    }
    ensure!(
        !is_bare || typed.is_some() || start.join("Makefile").exists(),
        "{} is not a kernel tree (no Kconfig and scripts/Makefile.build), and there is no livepatch in it, which has a C \
         file and a Makefile: klpbuild new NAME --function OLD writes both, and klpbuild livepatch FIX.patch makes a \
         livepatch of a patch of the kernel's source; to build a kernel, start klpbuild in its source or object tree, or \
         name one with -C DIR",
        tree::absolute(start)?.display()
    );
    ensure!(
        module.is_some() || External::is_one(start),
        "{} has no Kbuild and no Makefile with obj-m: there is no external module to build (klpbuild new makes one)",
        start.display()
    );
    let kernel = start.ancestors().skip(1).find(|directory| tree::is_source(directory));
    if let (None, Some(kernel)) = (&module, kernel) {
        bail!(
            "{} is a part of the kernel tree {}: start klpbuild there, or, if it is to be built as an external module, \
             say so with M=",
            start.display(),
            kernel.display()
        );
    }
    let places = choice.places();
    let typed = typed.or_else(|| {
        let module = module.as_ref().map_or(start.to_path_buf(), |module| start.join(module));
        let is_named = std::env::var_os("KDIR").is_some_and(|value| !value.is_empty());
        if is_named { None } else { implied_kernel(&module, &places, asks) }
    });
    let directory = places.kernel_directory(typed).with_context(|| {
        let release = places.running().unwrap_or_default();
        format!(
            "{} is no kernel tree, and to build an external module there, the headers of a kernel are needed: the \
             kernel that is running, {release}, has none in {}; install them (klpbuild doctor says how), or name a \
             kernel tree (KDIR=DIR)",
            start.display(),
            places.build(&release).display()
        )
    });
    let directory = inventory::or_others(directory, &places)?;
    inventory::or_others(tree::expect_kernel(&directory), &places)?;
    Ok((directory, Some(module.unwrap_or_else(|| start.display().to_string()))))
}

/// What a command does with external modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// It builds them.
    Build,
    /// It builds them, and prints nothing but problems.
    QuietBuild,
    /// It works on what was built.
    NoBuild,
}

/// The kernel that external modules in `directory` are for, if the user does not name one now: the kernel of the last
/// build there, or the one that their Makefile names, if the Makefile has changed since. With a Makefile without
/// KDIR, make builds for the running kernel.
fn implied_kernel(directory: &Path, places: &Places, asks: Asks) -> Option<PathBuf> {
    let state = StateDir::at(directory);
    let last = state.context().ok().flatten().map(|context| context.objtree);
    if asks == Asks::NoBuild {
        return last;
    }
    let makefile = directory.join("Makefile");
    let named = kdir_of(&makefile, places);
    let is_of_make = std::env::var("MAKELEVEL").is_ok_and(|level| !level.is_empty() && level != "0");
    let Some(last) = last.filter(|last| !is_of_make && last.is_dir()) else { return named };
    let otherwise = named.clone().or_else(|| Some(places.build(&places.running()?)));
    let same = |one: &Path, other: &Path| fs_err::canonicalize(one).ok() == fs_err::canonicalize(other).ok();
    if otherwise.as_deref().is_some_and(|otherwise| same(&last, otherwise)) {
        return otherwise;
    }
    let time = |file: &Path| fs_err::metadata(file).and_then(|meta| meta.modified()).ok();
    let named = named.filter(|_| time(&makefile) > time(&state.context_file()));
    if asks == Asks::Build {
        match &named {
            Some(named) => terminal::say(format_args!(
                "for {}, as the Makefile has it now (KDIR); the last build here was for {}",
                named.display(),
                last.display()
            )),
            None => terminal::say(format_args!(
                "for {}, as the last build here (KDIR=DIR or --release chooses another)",
                last.display()
            )),
        }
    }
    named.or(Some(last))
}

/// The kernel that a Makefile's variable KDIR names, if it is there. Of make's functions, only `uname -r` is
/// evaluated.
fn kdir_of(makefile: &Path, places: &Places) -> Option<PathBuf> {
    let text = fs_err::read_to_string(makefile).ok()?;
    let value = text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("KDIR")?.trim_start();
        let rest = ["?=", ":=", "::=", "="].iter().find_map(|operator| rest.strip_prefix(operator))?;
        Some(rest.split('#').next().unwrap_or_default().trim().to_owned())
    })?;
    let value = value.replace("$(shell uname -r)", &places.running().unwrap_or_default());
    if value.is_empty() || value.contains('$') {
        return None;
    }
    let directory = match NamedKernel::by_kdir(places, makefile.parent()?, &value) {
        NamedKernel::Directory(directory) => directory,
        NamedKernel::Release(release) => places.build(&release),
    };
    tree::is_kernel(&directory).then_some(directory)
}

/// The external modules that M= and MO= name. Up to 6.12, M= is relative to the object tree, where make runs; later,
/// to the directory in which make is started. If klpbuild has found the kernel by itself, M= is relative to the
/// directory in which klpbuild was started.
pub(super) fn external(
    tree: &Tree,
    module: &str,
    variables: &Variables<'_>,
    start: &Path,
    from_start: bool,
) -> Result<External> {
    let has_output = tree.external_has_output()?;
    let base = if has_output || from_start { start } else { &tree.objtree };
    let given = base.join(module);
    ensure!(
        given.is_dir(),
        "{}: no such directory: M= names the directory of an external module",
        given.display()
    );
    let source = fs_err::canonicalize(&given)?;
    let output = variables.typed("MO").or_else(|| variables.anywhere("KBUILD_EXTMOD_OUTPUT"));
    ensure!(
        output.is_none() || has_output,
        "this kernel takes no MO=: it builds external modules where their sources are (up to 6.12)"
    );
    let output = match output {
        Some(output) => tree::absolute(&start.join(output))?,
        None => source.clone(),
    };
    tree::check_path(&source)?;
    tree::check_path(&output)?;
    // As it was typed, if make finds it by that path.
    let is_relative = !has_output && !from_start;
    let argument =
        if is_relative { module.trim_end_matches('/').to_owned() } else { given.display().to_string() };
    let argument = if argument.is_empty() { "/".to_owned() } else { argument };
    tree::check_path(Path::new(&argument))?;
    let root = if has_output { output.clone() } else { tree.objtree.clone() };
    Ok(External { source, output, root, argument, extra_symbols: Vec::new() })
}
