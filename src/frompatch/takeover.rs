// SPDX-License-Identifier: GPL-2.0-only
//! A hand-written livepatch begins with the kernel's own text: functions are copied from the source, with the
//! definitions of their file that they need. Variables that hold a state, and functions that have a symbol, stay the
//! kernel's; the copy refers to them.
//!
//! - `active`: what of a file is compiled; `pieces`: its definitions
//! - `rewritten`: definitions made into declarations; `needed`: what functions need
//! - `tree_file`: which file a function is in; `known`: what the kernel's code tells of the unit
//! - `references`: symbols that are not exported; `written`: the new file
//! - [`mentions`]: what the text of functions mentions

mod active;
mod known;
pub(super) mod mentions;
mod needed;
mod pieces;
mod references;
mod rewritten;
mod tree_file;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::elf::image::Image;
use crate::frompatch::assembler::Listing;
use crate::frompatch::compile::{self, Trees};
use crate::frompatch::module;
use crate::frompatch::prepare::Made;
use crate::frompatch::recipe::Recipe;
use crate::frompatch::run_pre::{self, FunctionFate, KernelImage, Matched};
use crate::frompatch::system_call;
use crate::frompatch::takeover::references::KernelReferences;
use crate::frompatch::takeover::tree_file::TreeFile;
use crate::frompatch::takeover::written::{FileParts, Purpose};
use crate::frompatch::target::{TargetKernel, Workshop};
use crate::frompatch::tokens;
use crate::frompatch::units::Unit;
use crate::kernel::sources::KernelDefinition;
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::header;

/// A new file for a livepatch, made from a file of the kernel's source.
#[derive(Debug)]
pub struct NewFile {
    /// Its path in the source tree.
    pub path: String,
    /// The name of the new file, without the suffix.
    pub name: String,
    /// The text of the new file.
    pub text: String,
    /// The compiler's options for it; `$(KSRC)` is the source tree.
    pub flags: Vec<String>,
    /// The new functions, by the names of the functions that they replace.
    pub functions: BTreeMap<String, String>,
    /// The namespaces of the exported symbols that it refers to.
    pub namespaces: BTreeSet<String>,
    /// What could not be taken over, and other notes for the user.
    pub notes: Vec<String>,
}

/// Takes functions over from the kernel's source.
///
/// # Errors
/// The file of a function is not known, a macro makes the function, or the source is not the kernel's.
pub fn take(
    target: &TargetKernel,
    workshop: &Workshop,
    functions: &[(String, KernelDefinition)],
) -> Result<Made<Vec<NewFile>>> {
    let mut by_file: BTreeMap<TreeFile, Vec<&str>> = BTreeMap::new();
    for (name, known) in functions {
        by_file.entry(tree_file::of(target, name, known)?).or_default().push(name);
    }
    let work = tempfile::Builder::new().prefix("klpbuild-").tempdir();
    let work = work.context("cannot make a temporary directory (TMPDIR names the place)")?;
    let work = fs::canonicalize(work.path())?;
    let overlay = work.join("overlay");
    fs::create_dir(&overlay)?;
    // Nothing is patched: the overlay is empty, and no patch includes one of klpbuild's headers.
    let trees = Trees {
        source: &target.source,
        objects: workshop.objtree(),
        overlay: &overlay,
        helpers: &overlay,
        work: &work,
    };
    let mut files = Vec::new();
    for (place, names) in by_file {
        let mut recipe = Recipe::read(workshop.objtree(), &place.path)?;
        if recipe.is_none() {
            if let Some(exit) = workshop.compile(&[&place.goal()])? {
                return Ok(Made::Over(exit));
            }
            recipe = Recipe::read(workshop.objtree(), &place.path)?;
        }
        let recipe = recipe.with_context(|| format!("how {} is compiled is not known", place.path))?;
        target.check_compiler(&recipe.compiler)?;
        let unit = Unit { path: place.path, recipe };
        files.push(Job { target, trees, unit: &unit }.file(&names)?);
    }
    Ok(Made::Done(files))
}

/// The work on one file.
struct Job<'a> {
    target: &'a TargetKernel,
    trees: Trees<'a>,
    unit: &'a Unit,
}

impl Job<'_> {
    fn file(&self, names: &[&str]) -> Result<NewFile> {
        let path = &self.unit.path;
        let [assembler, object] = compile::original(self.unit, self.trees)?;
        let kernel = KernelImage::open(&self.target.sources, &self.unit.recipe.object)?;
        let matched = run_pre::prove(path, &Image::read(&object)?, &kernel)?;
        for name in names {
            let fate = matched.function(name.as_bytes()).map(|function| &function.fate);
            ensure!(
                !matches!(fate, Some(FunctionFate::Overridden(_))),
                "{name} of {path} is weak, and the kernel uses another function of that name"
            );
        }
        let listing = Listing::parse(&fs::read_to_string(assembler)?);
        let raw = fs::read_to_string(self.trees.source.join(path))
            .with_context(|| format!("{path} is not UTF-8"))?;
        let own = &self.unit.recipe.source;
        let directives = compile::lines_of_original(self.unit, self.trees, &["-fdirectives-only"])?;
        let seen = active::own_lines(&directives, own).into_keys().collect();
        let text = active::active(&raw, &seen, &active::including(&directives, own));
        let whole = compile::lines_of_original(self.unit, self.trees, &[])?;
        let expanded = active::own_lines(&whole, own);
        let used: BTreeSet<&str> = tokens::words(&whole).into_iter().collect();
        let new_name = |prefix: &str, name: &str| {
            system_call::renamed(name, prefix).unwrap_or_else(|| format!("{prefix}{name}"))
        };
        let prefix = ["new_", "klp_new_"]
            .into_iter()
            .find(|prefix| !names.iter().any(|name| used.contains(new_name(prefix, name).as_str())));
        let prefix = prefix.context("the kernel has functions with the names that the new ones would get")?;
        let functions: BTreeMap<String, String> =
            names.iter().map(|&name| (name.to_owned(), new_name(prefix, name))).collect();
        let known = known::of(&listing, &matched, &kernel.object);
        let taken = needed::take(&text, &expanded, &functions, &known);
        if let [name, ..] = taken.missing.as_slice() {
            bail!(
                "{name} is not written as a function in {path}: a macro makes it, or another file that is included"
            );
        }
        let left = names.iter().flat_map(|name| system_call::others(name));
        let left = left.filter(|other| listing.is_function(other) && !names.contains(&other.as_str()));
        let left: Vec<String> = left
            .map(|other| {
                format!("{other}, by which other programs enter the same system call, goes on with the old text: name it as well")
            })
            .collect();
        let mut file =
            self.written(FileParts::of(&raw, self.unit, &functions, taken), functions, &matched)?;
        file.notes.extend(left);
        Ok(file)
    }

    /// The new file, which is compiled to see what it refers to and what it would define a second time.
    fn written(
        &self,
        mut file: FileParts,
        functions: BTreeMap<String, String>,
        matched: &Matched,
    ) -> Result<NewFile> {
        let directory = self.trees.work.join("probe");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("klp_relocs.h"), header::HEADER)?;
        let probe = |file: &FileParts| -> Result<Result<[PathBuf; 2], String>> {
            let source = directory.join(format!("{}.c", module::file_of(&self.unit.path)));
            fs::write(&source, file.text(self.target, Purpose::Probe))?;
            let own = self.trees.source.join(&self.unit.path);
            compile::other(self.unit, self.trees, &source, &[&directory, own.parent().unwrap_or(&own)])
        };
        let mut namespaces = BTreeSet::new();
        match probe(&file)? {
            Ok([assembler, object]) => {
                let mut found = KernelReferences::of(&Image::read(&object)?, self.target, matched)?;
                if found.uses_this_module && self.unit.recipe.object != VMLINUX {
                    file.has_module = true;
                    if let Ok([_, object]) = probe(&file)? {
                        found = KernelReferences::of(&Image::read(&object)?, self.target, matched)?;
                    }
                }
                let listing = Listing::parse(&fs::read_to_string(assembler)?);
                for name in listing.variables() {
                    file.left.insert(
                        name.to_owned(),
                        "there would be a second one, with a value of its own".to_owned(),
                    );
                }
                if found.uses_this_module {
                    let why = "in this file it is the livepatch's own module, not the one that is patched";
                    file.left.insert("__this_module".to_owned(), why.to_owned());
                }
                file.left.extend(found.unknown);
                file.annotated = found.annotated;
                namespaces = found.namespaces;
            }
            Err(words) => file.refused = Some(first_error(&words, &directory)),
        }
        Ok(NewFile {
            path: self.unit.path.clone(),
            name: module::file_of(&self.unit.path),
            text: file.text(self.target, Purpose::File),
            flags: written::flags(self.unit, self.trees),
            functions,
            namespaces,
            notes: file.notes(),
        })
    }
}

/// The first line of the compiler's messages that is an error.
fn first_error(words: &str, directory: &Path) -> String {
    let words = words.replace(&format!("{}/", directory.display()), "");
    let line = words.lines().find(|line| line.contains("error:")).or_else(|| words.lines().next());
    line.unwrap_or_default().to_owned()
}
