// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild convert`: converts a livepatch that was built by other means, or all that an object tree lists.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use serde::Serialize;

use crate::cli::{ConvertArgs, Format, Options};
use crate::command::asked;
use crate::elf::image::Image;
use crate::host::exit::Exit;
use crate::host::signal::Watch;
use crate::host::{compressed, document, terminal, words};
use crate::kernel::origin::{Origin, OriginRequest};
use crate::kernel::sources::named as sources;
use crate::kernel::state::StateDir;
use crate::livepatch::convert::tree::{convert_tree, doubts_of, replace, warn};
use crate::livepatch::convert::{self, Choices, ConvertOutcome, is_converted};
use crate::livepatch::subject::Doubt;

/// `klpbuild convert --livepatches`: converts what an object tree lists, as a part of its build or on its own.
fn listed(options: &Options, arguments: &ConvertArgs, asked: &OriginRequest) -> Result<Exit> {
    let objtree = asked.objtree.as_ref().unwrap_or(&asked.start);
    let objtree = fs::canonicalize(objtree).context("cannot enter the object tree")?;
    let state = StateDir::at(&objtree);
    let mut conversion = state.context_above()?.map(|context| context.conversion).unwrap_or_default();
    if conversion.is_off {
        return Ok(Exit::Done);
    }
    conversion.keep_module_exports |= arguments.keep_module_exports;
    ensure!(
        objtree.join("modules.livepatch").is_file(),
        "there is no list of livepatches in {}: make it first (klpbuild symbols)",
        objtree.display()
    );
    let modules: Vec<String> =
        state.livepatches()?.into_iter().filter(|ko| objtree.join(ko).is_file()).collect();
    if options.dry_run {
        modules.iter().for_each(|module| terminal::out(format!("{module}\n")));
        return Ok(Exit::Done);
    }
    let mut watch = Watch::begin()?;
    let mut origin = Origin::of_tree(&objtree)?;
    origin.drop_doubtful_list(options.quiet);
    convert_tree(&objtree, &modules, &origin, conversion, options.quiet)?;
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}

/// `klpbuild convert`: converts one file.
///
/// # Errors
/// It cannot be converted; nothing is written then.
pub fn convert(options: &Options, arguments: &ConvertArgs) -> Result<Exit> {
    let start = asked::start(options)?;
    let named = asked::files(&arguments.words, &start, &arguments.sources.kernel);
    let mut asked = asked::sources(&arguments.sources, &named.start);
    asked::add_kernel(&mut asked, named.kernel)?;
    if arguments.livepatches {
        ensure!(
            arguments.format == Format::Text,
            "--livepatches has no --format json: klpbuild verify O=DIR --format json tells of each that is listed"
        );
        ensure!(
            named.files.is_empty(),
            "--livepatches converts those on the object tree's list: name no file"
        );
        return listed(options, arguments, &asked);
    }
    let [given] = named.files.as_slice() else {
        bail!(
            "{} are named: klpbuild convert takes one, as in klpbuild convert O=DIR IN.ko",
            words::count(named.files.len(), "livepatch")
        )
    };
    let sources = sources(&asked, Some(&start.join(given)))?;
    let choices = Choices { keep_module_exports: arguments.keep_module_exports, is_marked: false };
    let input = start.join(given);
    let output = arguments.output.as_ref().map_or(input.clone(), |output| start.join(output));
    // A compressed file is not unpacked: it is finished (R12).
    let image = Image::parse(&compressed::read_packed(&input).context("cannot read the module")?)
        .with_context(|| format!("cannot read {}", input.display()))?;
    let was_finished = is_converted(&image);
    let outcome = convert::convert(image.clone(), &sources, choices).with_context(|| cannot(given))?;
    let finished = match &outcome {
        ConvertOutcome::Converted { bytes, .. } => Some(Image::parse(bytes)?),
        ConvertOutcome::Unchanged => Some(image).filter(|_| !was_finished),
    };
    let doubts: Vec<Doubt> =
        doubts_of(finished.as_ref().as_slice(), &sources)?.into_iter().flatten().collect();
    warn(&given.display().to_string(), &doubts).with_context(|| cannot(given))?;
    if arguments.format == Format::Json && options.dry_run {
        return print_answer(&Answer::of(given, None, &outcome, &doubts));
    }
    if options.dry_run {
        let relocations =
            if let ConvertOutcome::Converted { relocations, .. } = outcome { relocations } else { 0 };
        let count = words::count(relocations, "livepatch relocation");
        terminal::tell(format_args!("{}: would have {count}", given.display()));
        return Ok(Exit::Done);
    }
    let mut watch = Watch::begin()?;
    let quiet = options.quiet || arguments.format == Format::Json;
    let shown = arguments.output.as_ref().unwrap_or(*given);
    let account = Answer::of(given, Some(shown), &outcome, &doubts);
    match &outcome {
        ConvertOutcome::Unchanged => {
            if output != input {
                replace(&input, &output, &fs::read(&input)?)?;
            }
            if !quiet {
                terminal::tell(format_args!("{}: nothing to convert", given.display()));
            }
        }
        ConvertOutcome::Converted { bytes, relocations, notes } => {
            replace(&input, &output, bytes)?;
            if !quiet {
                notes.iter().for_each(|note| terminal::say(format_args!("{}: {note}", given.display())));
                let count = words::count(*relocations, "livepatch relocation");
                terminal::tell(format_args!("{}: {count}", shown.display()));
            }
        }
    }
    if arguments.format == Format::Json {
        print_answer(&account)?;
    }
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}

/// The outcome of a conversion, for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    input: &'a Path,
    /// The file that was written; null if none was.
    output: Option<&'a Path>,
    /// Whether there was anything to convert.
    converted: bool,
    /// The livepatch relocations that were made.
    relocations: usize,
    notes: Vec<String>,
    warnings: &'a [Doubt],
    dry_run: bool,
}

impl<'a> Answer<'a> {
    /// `output` is what may be written; none if nothing is, with --dry-run.
    fn of(
        input: &'a Path,
        output: Option<&'a PathBuf>,
        outcome: &ConvertOutcome,
        doubts: &'a [Doubt],
    ) -> Answer<'a> {
        let dry_run = output.is_none();
        let (converted, relocations, notes) = match outcome {
            ConvertOutcome::Unchanged => (false, 0, Vec::new()),
            ConvertOutcome::Converted { relocations, notes, .. } => {
                (true, *relocations, notes.iter().map(ToString::to_string).collect())
            }
        };
        let output = output.map(PathBuf::as_path).filter(|output| converted || *output != input);
        Answer { input, output, converted, relocations, notes, warnings: doubts, dry_run }
    }
}

fn print_answer(account: &Answer<'_>) -> Result<Exit> {
    document::print("convert", account)?;
    Ok(Exit::Done)
}

fn cannot(path: &Path) -> String {
    format!("cannot convert {}", path.display())
}
