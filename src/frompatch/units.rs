// SPDX-License-Identifier: GPL-2.0-only
//! Which files have to be compiled: those that the patches change, and those that include a changed file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use rayon::prelude::*;

use crate::frompatch::apply::Touched;
use crate::frompatch::apply::scope::Scope;
use crate::frompatch::includers::{self, Part};
use crate::frompatch::recipe::{self, Recipe};
use crate::host::paths;
use crate::kernel::recorded;

/// A file that is compiled on its own: in C, or in assembler ([`Found::assembler`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its path in the source tree.
    pub path: String,
    /// How kbuild compiles it.
    pub recipe: Recipe,
}

impl Unit {
    /// Its path without the suffix.
    pub fn stem(&self) -> &str {
        paths::stem(&self.path)
    }
}

/// The units that have to be compiled for the patches.
#[derive(Debug, Default)]
pub struct Found {
    /// The units in C.
    pub units: Vec<Unit>,
    /// Files in assembler that include a patched one.
    pub assembler: Vec<Unit>,
    /// The patched files that no unit uses.
    pub unused: Vec<String>,
}

/// The units for an object tree in which they were built, by kbuild's lists of dependencies.
///
/// # Errors
/// A `.cmd` file cannot be read.
pub fn of_built(srctree: &Path, objtree: &Path, files: &[Touched], arch: &str) -> Result<Found> {
    let mut assembler = Vec::new();
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    // Other files may include any of them, even a file in C. Only patched files can use a new one.
    let mut included: Vec<&str> = Vec::new();
    for file in files {
        included.extend(file.original.is_some().then_some(file.path.as_str()));
        if file.path.ends_with(".c")
            && let Some(recipe) = Recipe::read(objtree, &file.path)?
        {
            units.insert(file.path.clone(), Unit { path: file.path.clone(), recipe });
        }
    }
    let mut unused = Vec::new();
    if !included.is_empty() {
        let users = users(srctree, objtree, &included, arch);
        let is_used = |path: &&&str| {
            units.contains_key(**path) || users.iter().any(|(_, used)| used.iter().any(|used| used == **path))
        };
        unused = included.iter().filter(|path| !is_used(path)).map(|path| (*path).to_owned()).collect();
        for (path, _) in users {
            match Recipe::read(objtree, &path)? {
                Some(recipe) if recorded::is_assembler(&path) => assembler.push(Unit { path, recipe }),
                Some(recipe) => drop(units.insert(path.clone(), Unit { path, recipe })),
                None => {}
            }
        }
    }
    Ok(Found { units: units.into_values().collect(), assembler, unused })
}

/// The patched files that existed before: those that are compiled on their own, and those that others include.
pub fn apart<'a>(srctree: &Path, files: &'a [Touched]) -> (Vec<&'a str>, Vec<&'a str>) {
    let old = files.iter().filter(|file| file.original.is_some()).map(|file| file.path.as_str());
    let (mut compiled, mut included) = (Vec::new(), Vec::new());
    for path in old {
        let part = if path.ends_with(".c") { includers::part(srctree, path) } else { Part::Included };
        if part != Part::Included {
            compiled.push(path);
        }
        if part != Part::Compiled {
            included.push(path);
        }
    }
    (compiled, included)
}

/// The units whose lists of dependencies have one of `files`, each with those that it uses.
fn users(srctree: &Path, objtree: &Path, files: &[&str], arch: &str) -> Vec<(String, Vec<String>)> {
    let commands = recorded::files(objtree);
    let found = commands.par_iter().filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let used: Vec<String> = files
            .iter()
            .filter(|path| depends_on(&text, path, srctree, objtree))
            .map(|path| (*path).to_owned())
            .collect();
        let source = text.lines().find_map(|line| line.strip_prefix("source_")?.split_once(" := "))?.1.trim();
        if used.is_empty() || !(source.ends_with(".c") || recorded::is_assembler(source)) {
            return None;
        }
        let source = fs::canonicalize(objtree.join(source)).ok()?;
        let path = source.strip_prefix(srctree).ok()?.to_str()?.to_owned();
        // The object has another name than the file: the same file, compiled for something else.
        let is_own = recipe::file_of(objtree, &path) == *file;
        let is_kernels = Scope::of(&path, arch) == Scope::Code || recorded::is_assembler(&path);
        (is_own && is_kernels).then_some((path, used))
    });
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

fn depends_on(text: &str, path: &str, srctree: &Path, objtree: &Path) -> bool {
    let name = paths::last(path);
    memchr::memmem::find_iter(text.as_bytes(), name.as_bytes()).any(|at| {
        let is_end = text.as_bytes().get(at + name.len()).is_none_or(u8::is_ascii_whitespace);
        let begin =
            text.get(..at).and_then(|before| before.rfind(char::is_whitespace)).map_or(0, |space| space + 1);
        let Some(word) = text.get(begin..at + name.len()).filter(|_| is_end) else { return false };
        // A shortcut that needs no access to the disk: the path is absolute, or relative in the tree itself.
        word == path && srctree == objtree
            || srctree.to_str().and_then(|srctree| word.strip_prefix(srctree)) == Some(&format!("/{path}"))
            || (word.contains("./")
                && paths::last(word) == name
                && fs::canonicalize(objtree.join(word)).is_ok_and(|file| file == srctree.join(path)))
    })
}
