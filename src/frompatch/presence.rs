// SPDX-License-Identifier: GPL-2.0-only
//! Which of the patched files, and of the files that include them, an installed kernel was compiled from, and by
//! which path kbuild reaches each. Its symbols and its debugging information tell: nothing else of its build is here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::frompatch::apply::{Touched, scope};
use crate::frompatch::outline::{self, DefinitionKind};
use crate::frompatch::recipe;
use crate::frompatch::system_call;
use crate::frompatch::target::TargetKernel;
use crate::frompatch::{includers, units};
use crate::host::paths;
use crate::host::terminal;
use crate::host::words::count;
use crate::kernel::symbols::compiled::{CompiledFrom, Given, SourceFiles, compiled};

/// A note is printed if more files than this are compiled for a header.
const MANY: usize = 100;
/// If other files define the names of a file, too, at most this many objects are searched for it.
const OBJECTS: usize = 48;

/// The goals for kbuild that compile the files needed for the patched ones, as far as they were not compiled yet.
///
/// # Errors
/// Other files include a patched one, and nothing tells which of them the kernel was compiled from.
pub fn goals(target: &TargetKernel, objtree: &Path, files: &[Touched]) -> Result<Vec<String>> {
    let (own, included) = units::compiled_and_included(&target.source, files);
    let is_missing = |path: &str| !recipe::file_of(objtree, path).is_file();
    let candidates = match included.as_slice() {
        [] => BTreeSet::new(),
        headers => includers::of(&target.source, objtree, headers, target.arch),
    };
    let mut units = users(target, &included, &candidates)?;
    units.retain(|path, _| is_missing(path));
    let own = files.iter().filter(|file| own.contains(&file.path.as_str()) && is_missing(&file.path));
    units.extend(patched(target, own)?);
    let objects = units.values().map(|given| format!("{}.o", paths::stem(given)));
    Ok(objects.chain(vdso(&target.source, &candidates, is_missing)).collect())
}

/// The directories of the vDSO that have one of the files `candidates` that `is_missing`, as goals. Nothing in the kernel's
/// debugging information tells of the vDSO, and its makefile sets the compiler's options for the whole of it.
fn vdso(source: &Path, candidates: &BTreeSet<String>, is_missing: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let is_compiled = |path: &str| match path.strip_suffix(".S") {
        Some(stem) => !stem.ends_with(".lds"),
        None => includers::part(source, path) != includers::FileRole::Included,
    };
    let own = candidates.iter().filter(|path| path.starts_with("arch/") && scope::is_vdso(path));
    let compiled = own.filter(|path| is_missing(path) && is_compiled(path));
    let outermost = |path: &String| {
        let end = path.find("vdso")?;
        let end = end + path.get(end..)?.find('/')?;
        Some(format!("{}/", path.get(..end)?))
    };
    compiled.filter_map(outermost).collect()
}

/// Those of the patched `files` that the kernel was compiled from, as far as is known.
fn patched<'a>(target: &TargetKernel, files: impl Iterator<Item = &'a Touched>) -> Result<Given> {
    let mut given = Given::new();
    let own: Vec<(&str, BTreeSet<String>)> = files
        .map(|file| (file.path.as_str(), definitions(file.original.as_deref().unwrap_or_default())))
        .collect();
    if own.is_empty() {
        return Ok(given);
    }
    let names = own.iter().flat_map(|(_, names)| names).map(|name| name.as_bytes().to_vec());
    let objects = target.sources.objects_with(names.collect())?;
    let mut known = SourceFiles::of(&target.origin.objects);
    let mut open: BTreeSet<String> = BTreeSet::new();
    for (path, names) in own {
        match part(&mut known, path, objects.as_ref(), &names) {
            CompiledFrom::Given(path_given) => drop(given.insert(path.to_owned(), path_given)),
            CompiledFrom::None => {}
            CompiledFrom::Unknown => drop(open.insert(path.to_owned())),
        }
    }
    if !open.is_empty() {
        // Search all objects, which takes longer. If these do not tell either, kbuild and run-pre matching will.
        let all = open.iter().map(|path| (path.clone(), path.clone()));
        given.extend(compiled(&target.origin.objects, &open).unwrap_or_else(|_| all.collect()));
    }
    Ok(given)
}

/// Whether the kernel was compiled from a file, by the objects that have symbols with its `names`.
fn part(
    known: &mut SourceFiles<'_>,
    path: &str,
    objects: Option<&BTreeMap<Vec<u8>, Vec<String>>>,
    names: &BTreeSet<String>,
) -> CompiledFrom {
    let Some(objects) = objects.filter(|_| !names.is_empty()) else { return CompiledFrom::Unknown };
    let mut by_object: BTreeMap<&String, usize> = BTreeMap::new();
    for object in names.iter().filter_map(|name| objects.get(name.as_bytes())).flatten() {
        *by_object.entry(object).or_default() += 1;
    }
    let mut likely: Vec<(&String, usize)> = by_object.into_iter().collect();
    likely.sort_by_key(|&(_, hits)| std::cmp::Reverse(hits));
    let mut is_known = likely.len() <= OBJECTS;
    for (object, _) in likely.into_iter().take(OBJECTS) {
        match known.part(object, path) {
            given @ CompiledFrom::Given(_) => return given,
            CompiledFrom::None => {}
            CompiledFrom::Unknown => is_known = false,
        }
    }
    if is_known { CompiledFrom::None } else { CompiledFrom::Unknown }
}

/// The symbols that the functions and variables of a file may have.
fn definitions(text: &[u8]) -> BTreeSet<String> {
    let items = outline::items(text).into_iter();
    let named = items
        .filter(|item| matches!(item.kind, DefinitionKind::Function | DefinitionKind::Data))
        .map(|item| item.name);
    named.flat_map(|name| system_call::symbols_of(&name)).collect()
}

/// Those of `candidates`, the files that may include one of `headers` (which may be files in C), from which an installed
/// kernel was compiled.
fn users(target: &TargetKernel, headers: &[&str], candidates: &BTreeSet<String>) -> Result<Given> {
    if headers.is_empty() {
        return Ok(Given::new());
    }
    let users = compiled(&target.origin.objects, candidates).with_context(|| {
        format!(
            "{}: others include it, and which files of this kernel do is not known: install its debug packages, of all \
             modules (klpbuild doctor), or make the livepatch in an object tree in which this kernel was built",
            headers.join(", ")
        )
    })?;
    if users.len() > MANY {
        terminal::say(format_args!(
            "{} of this kernel may include {}: all of them are compiled, which takes a while",
            count(users.len(), "file"),
            headers.join(", ")
        ));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    #[test]
    fn the_vdso_is_compiled_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("arch/x86/entry/vdso");
        fs::create_dir_all(own.join("vdso32")).unwrap();
        fs::write(own.join("Makefile"), "vobjs-y := a.o b.o\nvobjs32-y := vdso32/c.o\nhostprogs += vdso2c\n")
            .unwrap();
        let goals = |paths: &[&str], made: &[&str]| {
            let candidates = paths.iter().map(|path| format!("arch/x86/entry/vdso/{path}"));
            let candidates = candidates.chain(["lib/vdso/a.c".to_owned(), "fs/a.c".to_owned()]).collect();
            let is_missing = |path: &str| !made.contains(&path);
            vdso(directory.path(), &candidates, is_missing).into_iter().collect::<Vec<_>>()
        };
        let whole = ["arch/x86/entry/vdso/"];
        assert_eq!(goals(&["a.c", "vdso32/c.c"], &[]), whole);
        assert_eq!(goals(&["a.c", "vdso32/c.c"], &["arch/x86/entry/vdso/a.c"]), whole);
        assert_eq!(goals(&["d.S"], &[]), whole);
        for none in ["vma.c", "vdso2c.c", "vdso.lds.S", "vdso2c.h"] {
            assert_eq!(goals(&[none], &[]), Vec::<String>::new(), "{none}");
        }
        assert_eq!(goals(&["a.c"], &["arch/x86/entry/vdso/a.c"]), Vec::<String>::new());
    }
}
