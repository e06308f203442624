// SPDX-License-Identifier: GPL-2.0-only
//! Conversion: references of a livepatch to symbols that are not exported become livepatch relocations.
//!
//! - [`resolve`]: which definition each undefined symbol means
//! - [`assign`]: which relocation section each reference to it goes to
//! - [`sites`]: removes sites of static calls that the kernel would look at too early
//! - [`rewrite`]: adds the new sections and symbols to the object
//! - [`tree`]: converts all livepatches of an object tree, in place
//! - [`problem`]: why a conversion is not possible, in words

pub(crate) mod assign;
pub(crate) mod problem;
mod resolve;
mod rewrite;
mod sites;
pub(crate) mod tree;

pub use resolve::Choices;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};

use crate::elf::Binding;
use crate::elf::image::{Home, Image, Symbol};
use crate::host::several::Several;
use crate::kernel::sources::Sources;
use crate::kernel::tree::facts::LivepatchCore;
use crate::livepatch::names;
use crate::livepatch::names::{AnnotatedName, KlpSymbol};
use crate::livepatch::patch::Patch;
use crate::livepatch::record;
use crate::livepatch::rules::Rule::{R6, R9, R12};
use crate::livepatch::special;
use crate::livepatch::verify;

/// The outcome of a conversion.
#[derive(Debug)]
pub enum ConvertOutcome {
    /// There was nothing to convert.
    Unchanged,
    /// The new content of the file.
    Converted {
        /// The ELF file.
        bytes: Vec<u8>,
        /// How many references became livepatch relocations.
        relocations: usize,
        /// Notes for those who load the livepatch, a sentence each.
        notes: BTreeSet<String>,
    },
}

/// Converts one object.
///
/// # Errors
/// It is no livepatch, or a reference in it cannot be resolved: the message names every one.
pub fn convert(mut image: Image, sources: &Sources, choices: Choices) -> Result<ConvertOutcome> {
    ensure!(
        !image.is_signed,
        "it is signed, and a conversion would make the signature invalid: convert it before it is signed \
         (the order is link, convert, sign, compress; {R12})"
    );
    let has_mark = image.modinfo().is_livepatch();
    ensure!(
        has_mark || choices.is_marked,
        "it is no livepatch: add MODULE_INFO(livepatch, \"Y\"); to its source ({R6})"
    );
    if has_livepatch_symbols(&image) || is_converted(&image) && !was_converted(&image) {
        ensure!(
            !needs_conversion(&image, sources),
            "it is converted already, but refers to symbols that are not: link it again (delete the .ko, and \
             build)"
        );
        return Ok(ConvertOutcome::Unchanged);
    }
    ensure!(
        !was_converted(&image),
        "it was converted, and then written anew by a tool that does not know livepatch symbols (ld -r, for \
         example; {R12}): link it again, and convert what comes last"
    );
    if let Some((_, section)) = image.enumerate().find(|(_, section)| section.is_rel()) {
        bail!(
            "section {} has relocations without addends, which no livepatch architecture has",
            section.shown()
        );
    }
    if let Some((_, section)) = image.enumerate().find(|(_, section)| special::is_not_copied(section)) {
        bail!("section {}: {} ({R9}): {}", section.shown(), special::NOT_COPIED, special::NOT_COPIED_ADVICE);
    }
    let mut resolved = resolve::resolve(&image, sources, choices)?;
    let patch = Patch::read_for(&image, sources.sizes());
    let faults = patch.iter().flat_map(|patch| patch.faults(&image, resolved.kernel.name_limit));
    let faults = faults.filter(|fault| fault.warns_to.is_none());
    let faults: Vec<String> =
        faults.map(|fault| format!("{}: {} ({})", fault.place, fault.message, fault.rule)).collect();
    Several::unless_empty(faults)?;
    sites::take_out(&mut image, &resolved);
    let placed = assign::assign(&image, &resolved, patch.as_ref(), &sources.objects)?;
    let relocations = placed.sections.values().map(Vec::len).sum();
    let notes = placed.notes.clone();
    resolved.keep(&placed.kept);
    // A livepatch without such symbols is recorded as well: its patch has positions, too.
    let owners = resolved.symbols.values().map(|decision| decision.symbol.object.as_str());
    let lines = record::lines(&record::named(patch.as_ref(), owners), &sources.objects)?;
    if resolved.is_empty() && has_mark && (patch.is_none() || lines.is_empty()) {
        return Ok(ConvertOutcome::Unchanged);
    }
    rewrite::rewrite(&mut image, &resolved, placed, !has_mark)?;
    lines.iter().for_each(|line| image.add_modinfo(line));
    Ok(ConvertOutcome::Converted { bytes: written(&image, &resolved.kernel)?, relocations, notes })
}

/// The bytes of a finished livepatch, after they were read again and checked: the file is what was meant, and keeps
/// the rules.
fn written(image: &Image, kernel: &LivepatchCore) -> Result<Vec<u8>> {
    const BROKEN: &str = "the file as it is cannot be converted to one that the kernel takes: link it again (delete the \
                          .ko, and build); nothing is written";
    let bytes = image.to_bytes()?;
    let again = Image::parse(&bytes).context(BROKEN)?;
    if let Some(difference) = image.difference(&again) {
        bail!("{BROKEN}: {difference}");
    }
    let faults = verify::faults_of_form(&again, kernel);
    Several::unless_empty(faults).context(BROKEN)?;
    Ok(bytes)
}

/// Whether an object is converted: it has livepatch symbols already (R14), or names the builds that it was converted
/// for.
pub fn is_converted(image: &Image) -> bool {
    has_livepatch_symbols(image) || !record::read(image).is_empty()
}

fn has_livepatch_symbols(image: &Image) -> bool {
    image.symbols.iter().any(|symbol| symbol.home == Home::Livepatch)
}

/// Whether an object was converted and then damaged: ld -r makes livepatch symbols absolute, and merges their
/// relocations with the others.
fn was_converted(image: &Image) -> bool {
    image.enumerate().any(|(_, section)| section.is_livepatch_rela())
        || image.symbols.iter().any(|symbol| {
            matches!(symbol.home, Home::Reserved(_)) && KlpSymbol::parse(&symbol.name).is_some()
        })
}

/// Whether an object needs conversion: it has annotations, which conversion removes, or refers to symbols that
/// nothing exports.
fn needs_conversion(image: &Image, sources: &Sources) -> bool {
    let has_sections =
        image.enumerate().any(|(_, section)| section.name.starts_with(names::ANNOTATIONS_PREFIX));
    let is_open = |symbol: &Symbol| {
        let is_wanted =
            symbol.home == Home::Undefined && !symbol.name.is_empty() && symbol.binding() != Binding::Weak;
        let is_known = special::is_left_alone(image.machine(), &symbol.name)
            || sources.exports.is_none()
            || sources.exporter(&symbol.name).is_some();
        is_wanted && (AnnotatedName::parse(&symbol.name).is_some() || !is_known)
    };
    has_sections || image.symbols.iter().skip(1).any(is_open)
}
