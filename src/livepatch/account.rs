// SPDX-License-Identifier: GPL-2.0-only
//! An account of a livepatch: the functions that it replaces, the new ones, and the symbols that it refers to, with
//! their positions in the kernel's source as far as the kernel at hand shows them.
//!
//! - `parts`: the parts of an account, as programs read them
//! - `references`: the symbols that the livepatch refers to, and where it does
//! - `whereabouts`: definitions in the kernel, with file and line
//! - `text`: the lines of a function in a source tree
//!
//! Without a kernel, the account is of the file alone, and says what is not known.

mod parts;
mod references;
mod text;
mod whereabouts;

pub use parts::{
    BuiltFor, Defined, KernelAtHand, LivepatchAccount, LivepatchFunction, OutsideReference, Patched,
    ReplacementAccount, SourcePlace, SourceText, UsePlace, VerifyVerdict,
};
pub use text::Roots;

use std::path::Path;

use anyhow::Result;

use crate::elf::image::{Home, Image};
use crate::elf::notes;
use crate::host::words::hex;
use crate::kernel::sources::Sources;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::NameQuery;
use crate::kernel::symbols::objects::Vmlinux;
use crate::livepatch::account::references::OutsideReferences;
use crate::livepatch::account::whereabouts::Whereabouts;
use crate::livepatch::names::KlpSymbol;
use crate::livepatch::patch::{Patch, PatchedFunction};
use crate::livepatch::record;
use crate::livepatch::verify;
use crate::livepatch::verify::findings::Severity;

/// The kernel with which the account of a livepatch is made.
#[derive(Debug)]
pub struct AtHand<'a> {
    /// The files in which its symbols are looked up.
    pub sources: &'a Sources,
    /// Why the livepatch cannot be checked against it, if it cannot.
    pub unchecked: Option<String>,
    /// Whether it has another release than the kernel that the livepatch was compiled for.
    pub is_other_release: bool,
}

/// Makes an account of the livepatch `image`, which was read from `file`.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn of(
    image: &Image,
    file: &Path,
    kernel: Option<&AtHand<'_>>,
    roots: &Roots,
) -> Result<LivepatchAccount> {
    let patch = Patch::read(image);
    let sources = kernel.map(|kernel| kernel.sources);
    let wanted = named(image, patch.as_ref(), sources);
    // Each name is looked up only in its own object: thousands of modules refer to what the kernel exports.
    let meant = |(object, name): &(String, Vec<u8>)| (name.clone(), Some(object.clone()));
    let names = || NameQuery::meant(wanted.iter().map(meant));
    let found = sources.map(|sources| sources.find(&names())).transpose()?;
    let whereabouts = Whereabouts::new(image, sources, found.as_ref(), &wanted, roots);
    let mut account = head(image, file, kernel)?;
    let mut references = OutsideReferences::collect(image, &whereabouts);
    match &patch {
        Some(patch) => {
            for object in &patch.objects {
                let mut patched = Patched {
                    name: object.name.clone(),
                    functions: Vec::new(),
                    callbacks: object
                        .callbacks
                        .iter()
                        .map(|place| whereabouts.new_function(*place))
                        .collect(),
                };
                for function in &object.functions {
                    patched.functions.push(replaced(&object.name, function, &whereabouts, &mut references));
                }
                account.objects.push(patched);
            }
        }
        None => account.unknown.push(
            "what it replaces: there is no static struct klp_patch in it that could be read".to_owned(),
        ),
    }
    account.other = references.rest();
    whereabouts.locate(&mut account);
    check(image, kernel, &mut account)?;
    Ok(account)
}

/// All symbols of the kernel that the livepatch names, each with its object.
fn named(image: &Image, patch: Option<&Patch>, sources: Option<&Sources>) -> Vec<(String, Vec<u8>)> {
    let objects = patch.into_iter().flat_map(|patch| &patch.objects);
    let functions = objects
        .flat_map(|object| object.functions.iter().map(|own| (object.name.clone(), own.old_name.clone())));
    let livepatch = image.symbols.iter().filter(|symbol| symbol.home == Home::Livepatch);
    let livepatch = livepatch.filter_map(|symbol| KlpSymbol::parse(&symbol.name));
    let exported = sources.into_iter().flat_map(|sources| references::exported(image, sources));
    functions
        .chain(livepatch.map(|symbol| (symbol.object, symbol.name)))
        .chain(exported.map(|(name, owner)| (owner.to_owned(), name.to_vec())))
        .collect()
}

/// The part of the account about the livepatch as a whole and the kernel at hand.
fn head(image: &Image, file: &Path, kernel: Option<&AtHand<'_>>) -> Result<LivepatchAccount> {
    let modinfo = image.modinfo();
    let own = |tag: &str| modinfo.text(tag).filter(|text| !text.is_empty());
    let stem = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.split(".ko").next().unwrap_or_default().replace('-', "_");
    let differences = match kernel {
        Some(kernel) => record::differences(image, &kernel.sources.objects)?,
        None => Vec::new(),
    };
    let built_for = record::read(image).into_iter().map(|(object, identity)| {
        let is_there = kernel.is_some_and(|kernel| {
            let objects = &kernel.sources.objects;
            if object == VMLINUX { objects.vmlinux.is_some() } else { objects.file(&object).is_some() }
        });
        let at_hand = match differences.iter().find(|difference| difference.object == object) {
            Some(difference) if difference.found.is_some() => "another build",
            Some(_) => "not known",
            None if is_there => "the same",
            None => "not there",
        };
        BuiltFor { object, kind: identity.kind, value: identity.value, at_hand: at_hand.to_owned() }
    });
    let mut unknown = Vec::new();
    let shown = kernel.map(|kernel| {
        let vmlinux = kernel.sources.objects.vmlinux.as_ref();
        let image = vmlinux.and_then(Vmlinux::image);
        KernelAtHand {
            release: kernel.sources.release.clone(),
            vmlinux: vmlinux.map(|vmlinux| vmlinux.file().display().to_string()),
            build_id: image.and_then(|file| notes::build_id(file).ok().flatten()).map(|id| hex(&id)),
            is_other_release: kernel.is_other_release,
        }
    });
    if kernel.is_none() {
        unknown.push(
            "where the old functions and the symbols are, why their positions, and who exports the rest: no kernel is \
             at hand"
                .to_owned(),
        );
    }
    Ok(LivepatchAccount {
        file: file.display().to_string(),
        name: own("name").unwrap_or(stem),
        description: own("description"),
        license: own("license"),
        version: own("version"),
        vermagic: own("vermagic"),
        is_livepatch: modinfo.is_livepatch(),
        is_signed: image.is_signed,
        built_for: built_for.collect(),
        kernel: shown,
        unknown,
        objects: Vec::new(),
        other: Vec::new(),
        verdict: VerifyVerdict::Unchecked,
        findings: Vec::new(),
    })
}

fn replaced(
    object: &str,
    function: &PatchedFunction,
    whereabouts: &Whereabouts<'_>,
    references: &mut OutsideReferences,
) -> ReplacementAccount {
    let new = whereabouts.new_function(function.new);
    let references = references.take(&new.symbol);
    ReplacementAccount {
        name: String::from_utf8_lossy(&function.old_name).into_owned(),
        sympos: function.old_sympos,
        position: whereabouts.reason(object, &function.old_name, function.old_sympos),
        old: whereabouts.meant(object, &function.old_name, function.old_sympos),
        namesakes: whereabouts.namesakes(object, &function.old_name, function.old_sympos),
        new,
        references,
    }
}

/// Adds the findings of verification, and the verdict.
fn check(image: &Image, kernel: Option<&AtHand<'_>>, account: &mut LivepatchAccount) -> Result<()> {
    let Some(kernel) = kernel else {
        account.unknown.push("whether it is correct: there is nothing to check it against".to_owned());
        return Ok(());
    };
    if let Some(reason) = &kernel.unchecked {
        account.unknown.push(format!("whether it is correct: {reason}"));
        return Ok(());
    }
    account.findings = verify::verify(image, kernel.sources)?;
    let is_bad = account.findings.iter().any(|finding| finding.level == Severity::Error);
    account.verdict = if is_bad { VerifyVerdict::Errors } else { VerifyVerdict::Correct };
    Ok(())
}
