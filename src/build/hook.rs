// SPDX-License-Identifier: GPL-2.0-only
//! The map step between compilation and modpost: the work of `klpbuild hook`, which the makefile fragment (`hook.mk`)
//! runs in the object tree when vmlinux is linked and every module is compiled.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::build::external_map;
use crate::build::fragment;
use crate::build::modpost;
use crate::build::modpost::{Beyond, UndefinedSymbols, programs};
use crate::build::report::MapReport;
use crate::elf::image::Image;
use crate::host::make::makeflags;
use crate::host::make::variable::Variable;
use crate::host::output;
use crate::host::output::FileWritten;
use crate::host::several::Several;
use crate::host::terminal;
use crate::host::text;
use crate::kernel::external::External;
use crate::kernel::external::context::Context;
use crate::kernel::installed::cache;
use crate::kernel::origin::Origin;
use crate::kernel::state::StateDir;
use crate::kernel::symbols::map::{Inputs, Map};
use crate::kernel::symbols::modules;
use crate::kernel::symbols::seal::Seal;
use crate::kernel::tree::built::BuiltTree;
use crate::kernel::tree::config;
use crate::kernel::tree::config::Config;
use crate::kernel::tree::era::{Alone, Kbuild, Method, Modpost};
use crate::livepatch::convert;
use crate::livepatch::rules::Rule::R6;
use crate::livepatch::special;

/// Runs the step as a recipe of make, with the recipe's environment.
///
/// # Errors
/// The step fails; the failure is noted for the klpbuild that started make.
pub fn run() -> Result<()> {
    const ALONE: &str = "`klpbuild hook` is for the makefile fragment of `klpbuild modules` alone";
    let directory = std::env::var_os(fragment::STATE).context(ALONE)?;
    let current = std::env::current_dir().context("cannot tell the current directory")?;
    let state = StateDir::of_directory(&current.join(directory)).context(ALONE)?;
    let context = state.context()?.context(ALONE)?;
    ensure!(
        context.external.is_some() || fs::canonicalize(&current)? == context.objtree,
        "make builds the kernel anew in {}, where klpbuild was not started: a package goal that does so cannot be used with \
         klpbuild (bindeb-pkg, binrpm-pkg, dir-pkg and tar-pkg can)",
        current.display()
    );
    let variables = makeflags::Inherited::from_env().variables;
    let result = Kbuild::detect(&context.srctree).and_then(|kbuild| match &context.external {
        None => step(&context, &kbuild, &variables, &state),
        Some(external) => external_step(&context, external, &kbuild, &variables, &state),
    });
    match &result {
        Ok((report, written)) => {
            if *written == FileWritten::Changed {
                terminal::progress("  KLP     Symbols.list\n");
            }
            report.write(&state)?;
        }
        Err(_) => MapReport { modules: 0, livepatches: 0, names: 0, failed: true }.write(&state)?,
    }
    result.map(drop)
}

/// Makes the map in a tree that carries the series of `kbuild-patches`, whose modpost knows livepatches.
///
/// # Errors
/// The errors of [`step`].
pub fn step_of_patched_tree(
    context: &Context,
    kbuild: &Kbuild,
    variables: &[Variable],
    state: &StateDir,
) -> Result<(MapReport, FileWritten)> {
    let inputs = Inputs::of_tree(&context.objtree, Some(&context.srctree), Some(kbuild), variables)?;
    let map = Map::make(&inputs)?;
    say_unmarked(&map);
    remove_demoted(&map, &inputs, &context.objtree)?;
    let written = write(&map, &context.objtree, state)?;
    let verdict = UndefinedSymbols::of(&map, &inputs, &Beyond::default())?;
    Several::unless_empty(verdict.problems)?;
    remove_outdated(&context.objtree, &map, &inputs, context, Kernel::AsBefore)?;
    Ok((MapReport::of(&map), written))
}

/// Makes the map of the object tree and prepares modpost.
///
/// # Errors
/// An object cannot be read, a list cannot be written, or a livepatch refers to a symbol that nothing defines: then
/// the map exists, but the build must not go on.
pub fn step(
    context: &Context,
    kbuild: &Kbuild,
    variables: &[Variable],
    state: &StateDir,
) -> Result<(MapReport, FileWritten)> {
    let objtree = &context.objtree;
    let inputs = Inputs::of_tree(objtree, Some(&context.srctree), Some(kbuild), variables)?;
    let map = Map::make(&inputs)?;
    say_unmarked(&map);
    remove_demoted(&map, &inputs, objtree)?;
    let written = write(&map, objtree, state)?;
    let verdict = accepted(context, &map, &inputs, &Beyond::default())?;
    prepare_modpost(&map, &inputs, kbuild, &verdict, state)?;
    remove_outdated(objtree, &map, &inputs, context, Kernel::AsBefore)?;
    Ok((MapReport::of(&map), written))
}

/// Makes the map for external modules. The kernel's symbols have to be known only if some livepatch needs them;
/// without livepatches there is no map.
///
/// # Errors
/// The errors of [`step`]; or the kernel's symbols are needed, and not known.
pub fn external_step(
    context: &Context,
    external: &External,
    kbuild: &Kbuild,
    variables: &[Variable],
    state: &StateDir,
) -> Result<(MapReport, FileWritten)> {
    let mut prepared = external_map::prepare(context, external, kbuild, variables)?;
    say_unmarked(&prepared.map);
    if prepared.map.livepatches.is_empty() {
        remove_demoted(&prepared.map, &prepared.inputs, &external.output)?;
        state.remove_lists()?;
        return Ok((MapReport::of(&prepared.map), FileWritten::Unchanged));
    }
    let is_needed = modpost::needs_kernel(&prepared.map, &prepared.beyond.exports);
    if is_needed || context.problem.is_none() {
        prepared.add_kernel(context, kbuild)?;
    }
    let map = &prepared.map;
    remove_demoted(map, &prepared.inputs, &external.output)?;
    let written = write_lists(&map.livepatch_list(), &prepared.parts(), &external.output, state)?;
    let verdict = accepted(context, map, &prepared.inputs, &prepared.beyond)?;
    let mut arguments = String::new();
    if !verdict.allowed.is_empty() {
        say_missing_elsewhere(&verdict);
        output::replace(&state.dump(), &state.directory(), &[verdict.dump()])?;
        let dump = state.dump().display().to_string();
        // KBUILD_EXTRA_SYMBOLS on make's command line replaces the value in the modules' makefile.
        let dumps: Vec<&str> =
            external.extra_symbols.iter().map(String::as_str).chain([dump.as_str()]).collect();
        arguments = format!("KBUILD_EXTRA_SYMBOLS='{}'", dumps.join(" "));
    }
    fs::write(state.modpost_arguments(), arguments)?;
    let resolved_with = resolved_with(context, kbuild)?;
    // Positions may have changed where no file here is newer.
    let is_other = text::read(state.resolved_with()).is_ok_and(|last| last != resolved_with);
    let kernel = if is_other { Kernel::Other } else { Kernel::AsBefore };
    remove_outdated(&external.output, map, &prepared.inputs, context, kernel)?;
    fs::write(state.resolved_with(), resolved_with)?;
    Ok((MapReport::of(map), written))
}

/// The symbols that modpost has to accept.
///
/// # Errors
/// A livepatch refers to a symbol that nothing defines, or that this kernel's modpost cannot take.
fn accepted(context: &Context, map: &Map, inputs: &Inputs, beyond: &Beyond) -> Result<UndefinedSymbols> {
    let verdict = UndefinedSymbols::of(map, inputs, beyond)?;
    Several::unless_empty(verdict.problems.clone())?;
    let config = Config::read(&config::file(&context.objtree))?;
    if config.has("MODVERSIONS") {
        verdict.check_names(config.has("EXTENDED_MODVERSIONS"))?;
    }
    Ok(verdict)
}

/// Writes Symbols.list and modules.livepatch into the object tree.
///
/// # Errors
/// A list cannot be written; the old one stays.
pub fn write(map: &Map, objtree: &Path, state: &StateDir) -> Result<FileWritten> {
    write_lists(&map.livepatch_list(), &map.parts, objtree, state)
}

fn write_lists(
    livepatches: &str,
    parts: &[impl AsRef<[u8]>],
    directory: &Path,
    state: &StateDir,
) -> Result<FileWritten> {
    output::replace(&directory.join("modules.livepatch"), &state.directory(), &[livepatches])?;
    let written = output::replace(&directory.join("Symbols.list"), &state.directory(), parts)?;
    // Written each time, even if the map is the same: its time tells when the map was last checked.
    fs::write(state.seal(), format!("{}\n", Seal::of_parts(parts)))?;
    Ok(written)
}

/// Names the modules that register a patch and are not marked as livepatches.
fn say_unmarked(map: &Map) {
    for module in &map.unmarked {
        terminal::say(format_args!(
            "{} calls klp_enable_patch, and nothing says that it is a livepatch: add MODULE_INFO(livepatch, \"Y\"); ({R6})",
            module.ko()
        ));
    }
}

/// Removes those modules that were livepatches in the last run and are none now: make has to link them anew, and
/// would not do so by itself.
fn remove_demoted(map: &Map, inputs: &Inputs, root: &Path) -> Result<()> {
    let last = text::read(root.join("modules.livepatch")).unwrap_or_default();
    let livepatches = map.livepatch_list();
    let is_in = |list: &str, name: &str| list.lines().any(|line| line == name);
    for name in inputs.modules.iter().map(|(module, _)| module.ko()) {
        let path = root.join(&name);
        if is_in(&last, &name) && !is_in(&livepatches, &name) && path.exists() {
            fs::remove_file(&path).context("cannot remove a module that has to be linked anew")?;
        }
    }
    Ok(())
}

/// What external livepatches are resolved with, as a text that changes with it: the kernel, and the files that have
/// its symbols.
fn resolved_with(context: &Context, kbuild: &Kbuild) -> Result<String> {
    let mut text = format!("{}\n", context.objtree.display());
    let mut add = |path: &Path| {
        if let Ok(meta) = fs::metadata(path) {
            text.push_str(&format!("{} {} {}\n", meta.len(), meta.mtime(), path.display()));
        }
    };
    match &context.kernel_list {
        // The map of an installed kernel is made anew when one of its files changes, but it may turn out the same.
        Some(list) => {
            add(list);
            text.push_str(&cache::made_of(list).unwrap_or_default());
        }
        None if context.problem.is_none() => {
            let tree = BuiltTree::known(&context.srctree, &context.objtree, kbuild);
            let origin = Origin::of_kernel(tree, &context.choice)?;
            origin.objects.vmlinux.iter().for_each(|vmlinux| add(vmlinux.file()));
            origin.objects.files().for_each(|(_, file)| add(&file));
        }
        None => {}
    }
    Ok(text)
}

/// The kernel that livepatches were resolved with in the last build, as far as its files show it without their times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    AsBefore,
    Other,
}

/// Removes those converted livepatches that make has to link anew: an object they were resolved with is newer, or
/// they are to stay unconverted this time. make would not do so by itself. Livepatches are below `root`.
fn remove_outdated(
    root: &Path,
    map: &Map,
    inputs: &Inputs,
    context: &Context,
    resolved_with: Kernel,
) -> Result<()> {
    let is_other = resolved_with == Kernel::Other;
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let kernel = ["vmlinux", "Module.symvers"].map(|name| context.objtree.join(name));
    // In a kernel's own build, modpost writes Module.symvers only after this.
    let kernel = if context.external.is_some() { &kernel[..] } else { &kernel[..1] };
    let objects =
        kernel.iter().chain(&context.kernel_list).chain(inputs.modules.iter().map(|(_, object)| object));
    let Some(newest) = objects.filter_map(|path| modified(path)).max() else { return Ok(()) };
    for livepatch in &map.livepatches {
        let path = root.join(livepatch.module.ko());
        let is_outdated =
            modified(&path).is_some_and(|time| context.conversion.is_off || is_other || time < newest);
        if is_outdated && Image::read(&path).map_or(true, |image| convert::is_converted(&image)) {
            fs::remove_file(&path).context("cannot remove a livepatch that has to be linked anew")?;
        }
    }
    Ok(())
}

/// Writes the files in `state` that the fragment gives to modpost; none if no livepatch needs them, so that the
/// commands kbuild records are those of a plain make.
fn prepare_modpost(
    map: &Map,
    inputs: &Inputs,
    kbuild: &Kbuild,
    verdict: &UndefinedSymbols,
    state: &StateDir,
) -> Result<()> {
    let (wrapper, dump) = (StateDir::relative(&state.wrapper()), StateDir::relative(&state.dump()));
    let mut strict = String::new();
    match (kbuild.modpost, &kbuild.method, kbuild.alone) {
        _ if verdict.allowed.is_empty() => {}
        (Modpost::Program | Modpost::InputPrerequisites, ..) => {
            write_exceptions(verdict, kbuild.modpost, state)?;
        }
        (Modpost::InputDumps | Modpost::Command, ..) => {
            let written = write_exceptions(verdict, kbuild.modpost, state)?;
            if let Some(root) = inputs.root.as_ref().filter(|_| written == FileWritten::Changed) {
                // make reruns modpost when the list of modules is newer, and not when modpost may accept other
                // symbols.
                let list = fs::File::options().append(true).open(root.join("modules.order"))?;
                list.set_modified(SystemTime::now())?;
            }
        }
        (Modpost::WarnOnly, Method::Fragment | Method::Patched, Some(alone)) => {
            strict = strict_arguments(map, inputs, kbuild, alone, state)?;
        }
        (Modpost::WarnOnly, ..) => {
            let errors = modpost::undefined_in_ordinary_modules(map, inputs)?;
            if !errors.is_empty() {
                terminal::err(errors.join("\n") + "\n");
                bail!("ordinary modules have undefined symbols ({} in all)", errors.len());
            }
        }
    }
    fs::write(state.modpost_arguments(), verdict.modpost_variables(kbuild.modpost, &wrapper, &dump))?;
    Ok(fs::write(state.strict_arguments(), strict)?)
}

/// Writes the symbols that modpost has to accept, and the program that adds them to modpost's arguments. Returns
/// whether the symbols have changed.
fn write_exceptions(verdict: &UndefinedSymbols, modpost: Modpost, state: &StateDir) -> Result<FileWritten> {
    say_missing_elsewhere(verdict);
    let (dump, symbols) = (StateDir::relative(&state.dump()), verdict.dump());
    let program = match modpost {
        Modpost::Command => programs::filtering(&dump),
        _ => programs::standing_in(&dump, &symbols),
    };
    let written = output::replace(&state.dump(), &state.directory(), &[symbols])?;
    output::replace(&state.wrapper(), &state.directory(), &[program])?;
    make_executable(&state.wrapper())?;
    Ok(written)
}

fn say_missing_elsewhere(verdict: &UndefinedSymbols) {
    for name in &verdict.missing_elsewhere {
        let asked = special::asked(name);
        let lacked = match asked == name.strip_prefix(b".").unwrap_or(name) {
            true => "it too".to_owned(),
            false => format!("{}, which modpost asks for in its place", String::from_utf8_lossy(asked)),
        };
        terminal::say(format_args!(
            "a livepatch refers to {}, and an ordinary module lacks {lacked}: until that is mended, modpost refuses it to \
             livepatches as well",
            String::from_utf8_lossy(name)
        ));
    }
}

/// Arguments of scripts/Makefile.modpost for a run over only the ordinary modules. Its symbol dump is a separate
/// file, which does not exist before: its existence afterwards proves that modpost ran.
fn strict_arguments(
    map: &Map,
    inputs: &Inputs,
    kbuild: &Kbuild,
    alone: Alone,
    state: &StateDir,
) -> Result<String> {
    let is_livepatch = |stem: &str| map.livepatches.iter().any(|livepatch| livepatch.module.stem == stem);
    let ordinary = inputs.modules.iter().filter(|(module, _)| !is_livepatch(&module.stem));
    let list: String = ordinary.map(|(module, _)| module.ko() + "\n").collect();
    fs::write(state.strict_list(), list)?;
    match fs::remove_file(state.strict_dump()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let [list, dump] = [state.strict_list(), state.strict_dump()].map(|path| StateDir::relative(&path));
    let list = match kbuild.era.modules() {
        modules::ListKind::ModverDir => format!("MODLISTCMD='cat {list}'"),
        modules::ListKind::ModulesOrder => format!("MODORDER={list}"),
    };
    Ok(match alone {
        Alone::Goal(goal) => format!("{goal} {list} kernelsymfile={dump}"),
        Alone::Dump => format!("{dump} {list} output-symdump={dump}"),
    })
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}
