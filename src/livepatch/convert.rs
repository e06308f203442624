//! Conversion: references of a livepatch to symbols that are not exported become livepatch relocations.
//!
//! - [`resolve`]: which definition each undefined symbol means
//! - [`assign`]: which relocation section each reference to it goes to
//! - [`rewrite`]: the object with the sections and symbols that follow from it
//! - [`problem`]: what is in the way, in words

pub mod assign;
pub mod problem;
pub mod resolve;
pub mod rewrite;

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use rayon::prelude::*;

use crate::build::plan;
use crate::cli::{ConvertArgs, Options};
use crate::elf::Binding;
use crate::elf::image::{Home, Image, Symbol};
use crate::host::compressed;
use crate::host::exit::Exit;
use crate::host::output;
use crate::host::signal::Watch;
use crate::host::terminal;
use crate::host::words;
use crate::kernel::origin::Origin;
use crate::kernel::sources::{Sources, named as sources};
use crate::kernel::state::State;
use crate::kernel::symbols::list::Wanted;
use crate::kernel::tree::facts::Kernel;
use crate::livepatch::doubts;
use crate::livepatch::doubts::Doubt;
use crate::livepatch::names;
use crate::livepatch::names::{Annotated, KlpSymbol};
use crate::livepatch::patch::Patch;
use crate::livepatch::record;
use crate::livepatch::special;
use crate::livepatch::verify;

/// What may differ from one conversion to the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choices {
    /// Symbols that modules export stay normal ones, so that the livepatch depends on these modules (R10).
    pub keep_module_exports: bool,
    /// It is a livepatch even if it does not say so itself: its makefile does.
    pub is_marked: bool,
}

/// What came of a conversion.
#[derive(Debug)]
pub enum Outcome {
    /// There was nothing to convert.
    Unchanged,
    /// The new content of the file.
    Converted {
        /// The ELF file.
        bytes: Vec<u8>,
        /// How many references became livepatch relocations.
        relocations: usize,
        /// What whoever loads the livepatch has to know, a sentence each.
        notes: BTreeSet<String>,
    },
}

/// Converts one object.
///
/// # Errors
/// It is no livepatch, or a reference in it cannot be resolved: the message names every one.
pub fn convert(mut image: Image, sources: &Sources, choices: Choices) -> Result<Outcome> {
    ensure!(
        !image.is_signed,
        "it is signed, and a conversion would make the signature invalid: convert it before it is signed \
         (the order is link, convert, sign, compress; R12)"
    );
    let has_mark = image.modinfo_value("livepatch") == Some(b"Y");
    ensure!(
        has_mark || choices.is_marked,
        "it is no livepatch: add MODULE_INFO(livepatch, \"Y\"); to its source (R6)"
    );
    if has_livepatch_symbols(&image) || is_converted(&image) && !was_converted(&image) {
        ensure!(
            !needs_conversion(&image, sources),
            "it is converted already, but refers to symbols that are not: link it again (delete the .ko, and \
             build)"
        );
        return Ok(Outcome::Unchanged);
    }
    ensure!(
        !was_converted(&image),
        "it was converted, and then written anew by a tool that does not know livepatch symbols (ld -r, for \
         example; R12): link it again, and convert what comes last"
    );
    if let Some((_, section)) = image.enumerate().find(|(_, section)| section.is_rel()) {
        bail!(
            "section {} has relocations without addends, which no livepatch architecture has",
            section.shown()
        );
    }
    let mut decided = resolve::decide(&image, sources, choices)?;
    let patch = Patch::read(&image);
    let faults = patch.iter().flat_map(|patch| patch.faults(&image, decided.kernel.name_limit));
    let faults = faults.filter(|fault| !fault.is_warning);
    let faults: Vec<String> =
        faults.map(|fault| format!("{}: {} ({})", fault.place, fault.message, fault.rule)).collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    let placed = assign::place(&image, &decided, patch.as_ref())?;
    let relocations = placed.sections.values().map(Vec::len).sum();
    let notes = placed.notes.clone();
    decided.keep(&placed.kept);
    // Also where there is no symbol to convert: the patch has positions, too.
    let owners = decided.symbols.values().map(|decision| decision.symbol.object.as_str());
    let lines = record::lines(&record::named(patch.as_ref(), owners), &sources.objects)?;
    if decided.is_empty() && has_mark && (patch.is_none() || lines.is_empty()) {
        return Ok(Outcome::Unchanged);
    }
    rewrite::rewrite(&mut image, &decided, placed, !has_mark)?;
    lines.iter().for_each(|line| image.add_modinfo(line));
    Ok(Outcome::Converted { bytes: written(&image, &decided.kernel)?, relocations, notes })
}

/// The bytes of a finished livepatch, read again: it is what was meant, and keeps the rules.
fn written(image: &Image, kernel: &Kernel) -> Result<Vec<u8>> {
    const BROKEN: &str = "the file as it is cannot be converted to one that the kernel takes: link it again (delete the \
                          .ko, and build); nothing is written";
    let bytes = image.to_bytes()?;
    let again = Image::parse(&bytes).context(BROKEN)?;
    if let Some(difference) = image.difference(&again) {
        bail!("{BROKEN}: {difference}");
    }
    let faults = verify::faults_of_form(&again, kernel);
    ensure!(faults.is_empty(), "{BROKEN}:\n{}", faults.join("\n"));
    Ok(bytes)
}

/// Whether an object was converted: it has livepatch symbols already (R14), or says what it was converted for.
pub fn is_converted(image: &Image) -> bool {
    has_livepatch_symbols(image) || !record::read(image).is_empty()
}

fn has_livepatch_symbols(image: &Image) -> bool {
    image.symbols.iter().any(|symbol| symbol.home == Home::Livepatch)
}

/// Whether an object had livepatch symbols: ld -r turns them to absolute ones, and puts their relocations back to
/// the others.
fn was_converted(image: &Image) -> bool {
    image.enumerate().any(|(_, section)| section.is_livepatch_rela())
        || image.symbols.iter().any(|symbol| {
            matches!(symbol.home, Home::Reserved(_)) && KlpSymbol::parse(&symbol.name).is_some()
        })
}

/// Whether an object has annotations, which do not survive a conversion, or refers to what nothing exports.
fn needs_conversion(image: &Image, sources: &Sources) -> bool {
    let has_sections =
        image.enumerate().any(|(_, section)| section.name.starts_with(names::ANNOTATIONS_PREFIX));
    let is_open = |symbol: &Symbol| {
        let is_wanted =
            symbol.home == Home::Undefined && !symbol.name.is_empty() && symbol.binding() != Binding::Weak;
        let is_known = special::is_left_alone(image.machine(), &symbol.name)
            || sources.exports.is_none()
            || sources.exporter(&symbol.name).is_some();
        is_wanted && (Annotated::parse(&symbol.name).is_some() || !is_known)
    };
    has_sections || image.symbols.iter().skip(1).any(is_open)
}

/// `klpbuild convert --livepatches`: converts what an object tree lists, as a part of its build or on its own.
fn listed(options: &Options, arguments: &ConvertArgs, start: &Path) -> Result<Exit> {
    let objtree =
        arguments.sources.objtree.as_ref().map_or(start.to_path_buf(), |objtree| start.join(objtree));
    let objtree = fs::canonicalize(&objtree).context("cannot enter the object tree")?;
    let above = State::at(&objtree).context_above()?;
    if above.as_ref().is_some_and(|context| context.unconverted) {
        return Ok(Exit::Done);
    }
    let keep = arguments.keep_module_exports || above.is_some_and(|context| context.keep_module_exports);
    let state = State::at(&objtree);
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
    convert_tree(&objtree, &modules, &origin, keep, options.quiet)?;
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}

/// `klpbuild convert`: converts one file.
///
/// # Errors
/// It cannot be converted; nothing is written then.
pub fn command(options: &Options, arguments: &ConvertArgs) -> Result<Exit> {
    let start = plan::start(options)?;
    let Some(given) = &arguments.input else { return listed(options, arguments, &start) };
    let sources = sources(&start, &arguments.sources, Some(&start.join(given)))?;
    let choices = Choices { keep_module_exports: arguments.keep_module_exports, is_marked: false };
    let input = start.join(given);
    let output = arguments.output.as_ref().map_or(input.clone(), |output| start.join(output));
    // Not unpacked: what is compressed is finished (R12).
    let image = Image::parse(&compressed::read_packed(&input).context("cannot read the module")?)
        .with_context(|| format!("cannot read {}", input.display()))?;
    let was_finished = is_converted(&image);
    let outcome = convert(image.clone(), &sources, choices).with_context(|| cannot(given))?;
    let finished = match &outcome {
        Outcome::Converted { bytes, .. } => Some(Image::parse(bytes)?),
        Outcome::Unchanged => Some(image).filter(|_| !was_finished),
    };
    let doubts: Vec<Doubt> =
        doubts_of(finished.as_ref().as_slice(), &sources)?.into_iter().flatten().collect();
    warn(&given.display().to_string(), &doubts).with_context(|| cannot(given))?;
    if options.dry_run {
        let relocations = if let Outcome::Converted { relocations, .. } = outcome { relocations } else { 0 };
        let count = words::count(relocations, "livepatch relocation");
        terminal::out(format!("klpbuild: {}: would have {count}\n", given.display()));
        return Ok(Exit::Done);
    }
    let mut watch = Watch::begin()?;
    match outcome {
        Outcome::Unchanged => {
            if output != input {
                replace(&input, &output, &fs::read(&input)?)?;
            }
            if !options.quiet {
                terminal::out(format!("klpbuild: {}: nothing to convert\n", given.display()));
            }
        }
        Outcome::Converted { bytes, relocations, notes } => {
            replace(&input, &output, &bytes)?;
            if !options.quiet {
                notes.iter().for_each(|note| terminal::say(format_args!("{}: {note}", given.display())));
                let count = words::count(relocations, "livepatch relocation");
                let shown = arguments.output.as_ref().unwrap_or(given);
                terminal::out(format!("klpbuild: {}: {count}\n", shown.display()));
            }
        }
    }
    Ok(watch.received().map_or(Exit::Done, Exit::Signal))
}

fn cannot(path: &Path) -> String {
    format!("cannot convert {}", path.display())
}

/// Converts the livepatches of an object tree, or of external modules, in place, all that can be: `modules` are paths
/// of `.ko` files relative to `root`.
///
/// # Errors
/// Some cannot be converted: the message has the reasons for each. They are removed, for make would take them for done,
/// and links them again when they are gone.
pub fn convert_tree(
    root: &Path,
    modules: &[String],
    kernel: &Origin,
    keep_module_exports: bool,
    quiet: bool,
) -> Result<()> {
    if modules.is_empty() {
        return Ok(());
    }
    let sources = Sources::open(kernel, None)?;
    let choices = Choices { keep_module_exports, is_marked: true };
    let outcomes: Vec<Result<(Outcome, Option<Image>)>> = modules
        .par_iter()
        .map(|module| {
            let image = Image::read(&root.join(module))?;
            let was_finished = is_converted(&image);
            let outcome = convert(image.clone(), &sources, choices)?;
            let finished = match &outcome {
                Outcome::Converted { bytes, .. } => Some(Image::parse(bytes)?),
                Outcome::Unchanged => Some(image).filter(|_| !was_finished),
            };
            Ok((outcome, finished))
        })
        .collect();
    let finished: Vec<&Image> =
        outcomes.iter().flatten().filter_map(|(_, finished)| finished.as_ref()).collect();
    let mut doubts = doubts_of(&finished, &sources)?.into_iter();
    let mut failures = Vec::new();
    for (module, outcome) in modules.iter().zip(outcomes) {
        let path = root.join(module);
        let end = || {
            let (outcome, finished) = outcome?;
            warn(module, &finished.and_then(|_| doubts.next()).unwrap_or_default())?;
            if let Outcome::Converted { bytes, .. } = &outcome {
                replace(&path, &path, bytes)?;
            }
            Ok::<_, anyhow::Error>(outcome)
        };
        match end() {
            Ok(outcome) => {
                if let Outcome::Converted { notes, .. } = outcome
                    && !quiet
                {
                    terminal::progress(format!("  KLP [M] {module}\n"));
                    notes.iter().for_each(|note| terminal::say(format_args!("{module}: {note}")));
                }
            }
            Err(error) => {
                failures.push(format!("cannot convert {module}: {error:#}"));
                match fs::remove_file(root.join(module)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        failures.push(format!("{error}: remove it, for it is not converted"));
                    }
                    _ => {}
                }
            }
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

/// What is doubtful in each of some livepatches that are converted.
fn doubts_of(images: &[&Image], sources: &Sources) -> Result<Vec<Vec<Doubt>>> {
    let patches: Vec<Option<Patch>> = images.iter().map(|image| Patch::read(image)).collect();
    let livepatches: Vec<(&Image, Option<&Patch>)> =
        images.iter().copied().zip(patches.iter().map(Option::as_ref)).collect();
    let names: HashSet<Vec<u8>> =
        livepatches.iter().flat_map(|(image, patch)| doubts::names(image, *patch)).collect();
    if names.is_empty() {
        return Ok(images.iter().map(|_| Vec::new()).collect());
    }
    doubts::of(&livepatches, sources, &sources.find(&Wanted::names(names))?)
}

/// Says what is doubtful in the livepatch `shown`, but for what cannot go well.
///
/// # Errors
/// Something cannot go well: the message has all of that.
fn warn(shown: &str, doubts: &[Doubt]) -> Result<()> {
    let text =
        |doubt: &Doubt| format!("{}: {}; {} ({})", doubt.place, doubt.message, doubt.advice, doubt.rule);
    for doubt in doubts.iter().filter(|doubt| !doubt.is_error) {
        terminal::say(format_args!("{shown}: warning: {}", text(doubt)));
    }
    let errors: Vec<String> = doubts.iter().filter(|doubt| doubt.is_error).map(text).collect();
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(())
}

/// Gives `output` new content at once, and the permissions of `input`.
fn replace(input: &Path, output: &Path, bytes: &[u8]) -> Result<()> {
    let mode = fs::metadata(input)?.permissions().mode();
    output::write_named(output, &[bytes], Some(mode))
}
