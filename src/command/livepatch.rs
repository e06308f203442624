// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild livepatch`: makes a livepatch from patches of the kernel's source.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::build::plan::{Order, TypedVariables};
use crate::build::progress::Shown;
use crate::cli::{Format, LivepatchArgs, Options, ProgressKind};
use crate::command::asked;
use crate::frompatch::apply::NamedPatch;
use crate::frompatch::make::{self, LivepatchRequest};
use crate::frompatch::prepare::Made;
use crate::frompatch::report::LivepatchReport;
use crate::frompatch::steps::Steps;
use crate::frompatch::target::TargetKernel;
use crate::host::document;
use crate::host::exit::Exit;
use crate::host::make::variable;
use crate::host::output;
use crate::host::program;
use crate::host::terminal;
use crate::kernel::installed::{Choice, loaded};
use crate::kernel::origin::{Origin, OriginRequest};
use crate::kernel::tree;
use crate::livepatch::names;

/// Makes the livepatch.
///
/// # Errors
/// The patches do not fit, no livepatch can make the change, or the kernel's code is not what its source compiles to.
pub fn livepatch(options: &Options, arguments: &LivepatchArgs) -> Result<Exit> {
    let start = asked::start(options)?;
    let current = std::env::current_dir().context("cannot tell the current directory")?;
    // If -C names a kernel tree, nothing is written to it.
    let here = if tree::is_kernel(&start) { current.clone() } else { start.clone() };
    let (variables, words) = variable::sort_out(&arguments.words);
    ensure!(!words.is_empty(), "no patch is named");
    let patches = read(&words, &here)?;
    let name = name(arguments, &words)?;
    let choice = asked::choice(&arguments.kernel, &start);
    let places = choice.places();
    let named = TypedVariables::in_words(&start, &variables, &places).kernel;
    let mut wanted = OriginRequest {
        start: start.clone(),
        objtree: arguments.objtree.as_ref().map(|objtree| here.join(objtree)),
        release: arguments.kernel.release.clone(),
        symbols: None,
        choice: choice.clone(),
    };
    asked::add_kernel(&mut wanted, named)?;
    let origin = Origin::named(&wanted, None)?;
    let source = arguments.source.as_ref().map(|source| here.join(source));
    let is_text = arguments.format == Format::Text && !options.quiet;
    let mut steps = Steps::begin(is_text)?;
    let target = TargetKernel::of(origin, source.as_deref(), options.quiet)?;
    let place = BuildDirectory::find(arguments, &here, &name)?;
    let flags = program::words(&choice.to_flags()).unwrap_or_default();
    // A livepatch that replaces all others is meant to undo them: no note is needed.
    let is_told = !arguments.replace && places.running().is_some_and(|running| running == target.release);
    let loaded = if is_told { loaded::replaced(&places) } else { Vec::new() };
    let request = LivepatchRequest {
        patches,
        strip: arguments.strip,
        allow_layout: arguments.allow_layout,
        replaces_all: arguments.replace,
        loaded,
        name,
        directory: place.directory.clone(),
        flags,
        jobs: options.jobs,
    };
    let order = || order(options, is_text);
    let mut report = match make::make(&request, &target, &mut steps, order) {
        Ok(Made::Done(report)) => report,
        Ok(Made::Over(exit)) => return Ok(exit),
        Err(error) => match steps.signal() {
            Some(signal) => return Ok(Exit::Signal(signal)),
            None => return Err(error),
        },
    };
    deliver(arguments, &here, &mut report)?;
    if is_text {
        terminal::out(report.text());
        terminal::tell(format_args!("{}", report.closing(&current)));
    } else if arguments.format == Format::Json {
        document::print("livepatch", &report)?;
    }
    if !arguments.is_tried {
        return Ok(Exit::Done);
    }
    drop(steps);
    let mut trial = request.build(&target).trial(arguments.run.as_deref())?;
    if arguments.format == Format::Json {
        // Its own output would follow the JSON document.
        trial.arg("--quiet");
    }
    trial.interact()
}

/// The order for makes in a prepared tree: without a plain line for each step, unless the user asks for them.
fn order(options: &Options, is_text: bool) -> Result<Order> {
    let mut order = asked::order(options, &[], None, &Choice::default().places())?;
    let is_bar = terminal::TerminalStreams::look().capable && is_text;
    if options.progress == ProgressKind::Auto && !is_bar {
        order.shown = Shown::None;
    }
    Ok(order)
}

fn read(words: &[String], here: &Path) -> Result<Vec<NamedPatch>> {
    words
        .iter()
        .map(|word| {
            let mut text = Vec::new();
            if word == "-" {
                std::io::stdin().read_to_end(&mut text).context("cannot read a patch from standard input")?;
                return Ok(("standard input".to_owned(), text));
            }
            Ok((word.clone(), fs::read(here.join(word)).context("cannot read the patch")?))
        })
        .collect()
}

/// The livepatch's name: the one asked for, or the name of the last patch without the number that git puts in front.
fn name(arguments: &LivepatchArgs, words: &[String]) -> Result<String> {
    if let Some(name) = &arguments.name {
        names::check_module(name)?;
        return Ok(name.clone());
    }
    let last = words.last().map_or("", String::as_str);
    let base =
        Path::new(last).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let base =
        base.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start_matches('-').to_owned();
    let letters = base.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    let name: String = "livepatch-".chars().chain(letters).take(names::OBJECT_LIMIT).collect();
    Ok(name.trim_end_matches('-').to_owned())
}

/// The directory in which the module is built: the one that --keep names, or a temporary one.
struct BuildDirectory {
    directory: PathBuf,
    /// Whether this run made the directory that --keep names: it is removed again if it stays empty.
    is_made: bool,
    _temporary: Option<tempfile::TempDir>,
}

impl BuildDirectory {
    fn find(arguments: &LivepatchArgs, here: &Path, name: &str) -> Result<BuildDirectory> {
        if let Some(keep) = &arguments.keep {
            let keep = here.join(keep);
            let is_made = !keep.exists();
            let is_free = is_made || fs::read_dir(&keep).is_ok_and(|mut entries| entries.next().is_none());
            ensure!(
                is_free,
                "{} is there already: name another directory, or remove it (--keep)",
                keep.display()
            );
            fs::create_dir_all(&keep)?;
            return Ok(BuildDirectory { directory: fs::canonicalize(keep)?, is_made, _temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix("klpbuild-").tempdir();
        let temporary = temporary.context("cannot make a temporary directory (TMPDIR names the place)")?;
        let directory = fs::canonicalize(temporary.path())?.join(name);
        fs::create_dir(&directory)?;
        Ok(BuildDirectory { directory, is_made: false, _temporary: Some(temporary) })
    }
}

impl Drop for BuildDirectory {
    fn drop(&mut self) {
        if self.is_made {
            // This removes only an empty directory.
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Writes the livepatch to the path that the user asked for.
fn deliver(arguments: &LivepatchArgs, here: &Path, report: &mut LivepatchReport) -> Result<()> {
    let Some(made) = report.livepatch.clone() else { return Ok(()) };
    let wanted = match &arguments.output {
        Some(output) => here.join(output),
        None if arguments.keep.is_some() => return Ok(()),
        None => here.join(format!("{}.ko", report.name)),
    };
    output::write_named(&wanted, &[fs::read(&made)?], None)?;
    report.livepatch = Some(wanted);
    Ok(())
}
