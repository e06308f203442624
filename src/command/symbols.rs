// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild symbols`: makes the map of an object tree that is built already.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::build::hook;
use crate::build::plan::TypedVariables;
use crate::cli::{Options, SymbolsArgs};
use crate::command::asked;
use crate::host::exit::Exit;
use crate::host::make::makeflags::Inherited;
use crate::host::make::variable;
use crate::host::output;
use crate::host::output::FileWritten;
use crate::host::signal::Watch;
use crate::host::terminal;
use crate::host::words;
use crate::kernel::external::context::Context;
use crate::kernel::installed::Choice;
use crate::kernel::origin::{Origin, OriginRequest};
use crate::kernel::state::StateDir;
use crate::kernel::symbols::map::{Inputs, Map};
use crate::kernel::tree;
use crate::kernel::tree::era::Kbuild;

/// Makes the map without running a build; make only evaluates kbuild makefiles that may mark livepatches.
///
/// # Errors
/// The object tree is not built, an object cannot be read, or the map cannot be written.
pub fn symbols(options: &Options, arguments: &SymbolsArgs) -> Result<Exit> {
    let start = asked::start(options)?;
    let choice = Choice::default();
    let named = TypedVariables::in_words(&start, &variable::sort_out(&arguments.words).0, &choice.places());
    let mut wanted = OriginRequest {
        start: start.clone(),
        objtree: arguments.objtree.as_ref().map(|objtree| start.join(objtree)),
        release: arguments.release.clone(),
        symbols: None,
        choice,
    };
    asked::add_kernel(&mut wanted, named.kernel)?;
    if wanted.release.is_some() {
        return installed(options, arguments, &wanted);
    }
    let objtree = wanted.objtree.unwrap_or_else(|| start.clone());
    let objtree = fs::canonicalize(&objtree).context("cannot enter the object tree")?;
    let state = StateDir::at(&objtree);
    let above = state.context_above()?;
    let is_locked = arguments.output.is_none() && !options.dry_run && above.is_none();
    let _lock = is_locked.then(|| state.lock()).transpose()?;
    let srctree = tree::source_if_known(&objtree);
    ensure!(
        srctree.is_some() || !arguments.in_build,
        "{}: the kernel's source is not known (no link `source`, no Makefile that leads there): --in-build is for the \
         makefiles of a kernel that is being built",
        objtree.display()
    );
    if srctree.is_none() && !options.quiet {
        terminal::say(
            "the kernel's source is not known: livepatches that only a makefile marks count as modules",
        );
    }
    let kbuild = srctree.as_deref().map(Kbuild::detect).transpose()?;
    let variables = Inherited::from_env().variables;
    if let (true, Some(srctree), Some(kbuild)) = (arguments.in_build, &srctree, &kbuild) {
        let context = above.unwrap_or_else(|| Context::of_tree(srctree, &objtree));
        let (report, written) = hook::step_of_patched_tree(&context, kbuild, &variables, &state)?;
        if written == FileWritten::Changed && !options.quiet {
            terminal::progress("  KLP     Symbols.list\n");
        }
        report.write(&state)?;
        return Ok(Exit::Done);
    }
    let inputs = Inputs::of_tree(&objtree, srctree.as_deref(), kbuild.as_ref(), &variables)?;
    let map = Map::make_visibly(&inputs, options.quiet)?;
    if options.dry_run {
        return Ok(Exit::Done);
    }
    // From here on, a signal takes effect at the end: no file is left half written.
    let mut watch = Watch::begin()?;
    let target = match &arguments.output {
        Some(path) if path.as_os_str() == "-" => {
            map.parts.iter().for_each(terminal::out);
            return Ok(Exit::Done);
        }
        Some(path) => {
            let path = start.join(path);
            output::write_named(&path, &map.parts, None)?;
            path
        }
        None => {
            hook::write(&map, &objtree, &state)?;
            objtree.join("Symbols.list")
        }
    };
    if !options.quiet {
        let (modules, livepatches, names) = (map.modules, map.livepatches.len(), map.names);
        terminal::tell(format_args!(
            "{}, {}; {names} names in {}",
            words::count(modules, "module"),
            words::count(livepatches, "livepatch"),
            target.display()
        ));
    }
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}

/// The map of an installed kernel's symbols, in klpbuild's cache, from which it is copied to a file if the user names
/// one.
fn installed(options: &Options, arguments: &SymbolsArgs, wanted: &OriginRequest) -> Result<Exit> {
    let origin = Origin::named(wanted, None)?;
    if !options.quiet {
        origin.say_shortcomings();
    }
    let list = origin.list.as_deref().context("there is nothing to make a map of")?;
    if options.dry_run {
        return Ok(Exit::Done);
    }
    let target = match &arguments.output {
        Some(path) if path.as_os_str() == "-" => {
            terminal::out(fs::read(list)?);
            return Ok(Exit::Done);
        }
        Some(path) => {
            let path = wanted.start.join(path);
            output::write_named(&path, &[fs::read(list)?], None)?;
            path
        }
        None => list.to_path_buf(),
    };
    if !options.quiet {
        let release = origin.release.as_deref().unwrap_or_default();
        terminal::tell(format_args!("the symbols of {release} are in {}", target.display()));
    }
    Ok(Exit::Done)
}
