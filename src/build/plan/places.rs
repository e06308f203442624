// SPDX-License-Identifier: GPL-2.0-only
//! Where the kernel is that is built, or that external modules are built for, and where these are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build::plan::variables::Variables;
use crate::kernel::external::External;
use crate::kernel::installed::Choice;
use crate::kernel::state::State;
use crate::kernel::tree::{self, Tree};

/// The kernel's directory, and that of external modules as it was given: a klpbuild that is started in a kernel tree
/// builds that kernel, or modules for it. Elsewhere it builds the modules that lie there, with KDIR or for the kernel
/// that is running. What does not build goes by the last build.
pub(super) fn kernel_and_module(
    start: &Path,
    module: Option<String>,
    variables: &Variables<'_>,
    choice: &Choice,
    is_build: bool,
) -> Result<(PathBuf, Option<String>)> {
    let typed = variables.typed("KDIR").map(|directory| start.join(directory));
    // A typed KDIR says that this is none, whatever lies here.
    let is_kernel = if typed.is_some() { tree::is_source(start) } else { tree::is_kernel(start) };
    if is_kernel || (module.is_none() && typed.is_none() && !External::is_one(start)) {
        return Ok((start.to_path_buf(), module));
    }
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
        let built_for = || State::at(&module).context().ok().flatten().map(|context| context.objtree);
        let is_named = std::env::var_os("KDIR").is_some_and(|value| !value.is_empty());
        if is_build || is_named { None } else { built_for() }
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
    })?;
    tree::expect_kernel(&directory)?;
    Ok((directory, Some(module.unwrap_or_else(|| start.display().to_string()))))
}

/// The external modules that M= and MO= name. Up to 6.12, M= is relative to the object tree, where make is then; later
/// to where make is started. If klpbuild has found the kernel by itself, it is relative to where that was started.
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
    // As it was typed, if that is how make finds it.
    let is_relative = !has_output && !from_start;
    let argument =
        if is_relative { module.trim_end_matches('/').to_owned() } else { given.display().to_string() };
    let argument = if argument.is_empty() { "/".to_owned() } else { argument };
    tree::check_path(Path::new(&argument))?;
    let root = if has_output { output.clone() } else { tree.objtree.clone() };
    Ok(External { source, output, root, argument, extra_symbols: Vec::new() })
}
