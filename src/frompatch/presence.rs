// SPDX-License-Identifier: GPL-2.0-only
//! Which of the patched files, and of the files that include them, an installed kernel was compiled from, and by
//! which path kbuild reaches each. Its symbols and its debugging information tell: nothing else of its build is here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::frompatch::apply::{Touched, scope};
use crate::frompatch::outline::{self, DefinitionKind};
use crate::frompatch::recipe::{self, Recipe};
use crate::frompatch::system_call;
use crate::frompatch::target::TargetKernel;
use crate::frompatch::{includers, twins, units};
use crate::host::paths;
use crate::host::terminal;
use crate::host::words::count;
use crate::kernel::symbols::compiled::{CompiledFrom, Given, GivenTo, SourceFiles, compiled};

/// A note is printed if more files than this are compiled for a header.
const MANY: usize = 100;
/// If several objects define names of a file, at most this many are searched for it, those with most of them.
const OBJECTS: usize = 48;

/// What kbuild has to compile for the patched files.
#[derive(Debug)]
pub struct Needed {
    /// The goals that compile them, as far as they were not compiled yet.
    pub goals: Vec<String>,
    /// The files that are in more of the kernel's objects than the goals compile them for, each with its objects.
    pub shared: BTreeMap<String, BTreeSet<String>>,
}

/// What kbuild has to compile so that the recipes of all files that are needed for the patched ones are there.
///
/// # Errors
/// Other files include a patched one, and nothing tells which of them the kernel was compiled from.
pub fn needed(target: &TargetKernel, objtree: &Path, files: &[Touched]) -> Result<Needed> {
    let (own, included) = units::compiled_and_included(&target.source, files);
    let is_missing = |path: &str| !recipe::file_of(objtree, path).is_file();
    let candidates = match included.as_slice() {
        [] => BTreeSet::new(),
        headers => includers::of(&target.source, objtree, headers, target.arch),
    };
    let mut units = users(target, &included, &candidates)?;
    let own = files.iter().filter(|file| own.contains(&file.path.as_str()));
    units.extend(patched(target, objtree, own)?);
    let (mut goals, mut shared) = (BTreeSet::new(), BTreeMap::new());
    for (path, objects) in units {
        let own = twins::goals(target, &path, &objects);
        shared.extend(twins::without_goals(&objects, &own).map(|all| (path, all)));
        goals.extend(own);
    }
    let goals = goals.into_iter().filter(|goal| is_missing(paths::stem(goal)));
    Ok(Needed { goals: goals.chain(vdso(&target.source, &candidates, is_missing)).collect(), shared })
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
fn patched<'a>(
    target: &TargetKernel,
    objtree: &Path,
    files: impl Iterator<Item = &'a Touched>,
) -> Result<Given> {
    let mut given = Given::new();
    let own = files.map(|file| {
        let names = definitions(file.original.as_deref().unwrap_or_default());
        let recorded = Recipe::read(objtree, &file.path)?.map(|recipe| recipe.object);
        Ok(PatchedFile { path: &file.path, names, recorded })
    });
    let own = own.collect::<Result<Vec<PatchedFile<'_>>>>()?;
    if own.is_empty() {
        return Ok(given);
    }
    let names = own.iter().flat_map(|file| &file.names).map(|name| name.as_bytes().to_vec());
    let objects = target.sources.objects_with(names.collect())?;
    let mut known = SourceFiles::of(&target.origin.objects);
    let mut open: BTreeSet<String> = BTreeSet::new();
    for file in own {
        let is_again = |object: &str| twins::again(target, object, file.path).is_some();
        match objects_of(&mut known, &file, objects.as_ref(), is_again) {
            Some(all) if all.is_empty() => {}
            Some(all) => drop(given.insert(file.path.to_owned(), all)),
            None => drop(open.insert(file.path.to_owned())),
        }
    }
    if !open.is_empty() {
        // Search all objects, which takes longer. If these do not tell either, kbuild and run-pre matching will.
        let all = open.iter().map(|path| (path.clone(), GivenTo::new()));
        given.extend(compiled(&target.origin.objects, &open).unwrap_or_else(|_| all.collect()));
    }
    Ok(given)
}

/// A patched file that may be compiled on its own.
#[derive(Debug)]
struct PatchedFile<'a> {
    path: &'a str,
    /// The symbols that it may define.
    names: BTreeSet<String>,
    /// The object for which it was compiled already.
    recorded: Option<String>,
}

/// The kernel's objects that were compiled from a file, by the `objects` that have symbols with its names; none if that is
/// not known. Of an object without debugging information, a makefile may say that it `is_again` compiled from the file.
fn objects_of(
    known: &mut SourceFiles<'_>,
    file: &PatchedFile<'_>,
    objects: Option<&BTreeMap<Vec<u8>, Vec<String>>>,
    is_again: impl Fn(&str) -> bool,
) -> Option<GivenTo> {
    let PatchedFile { path, names, recorded } = file;
    let given = |object: &String| (object.clone(), (*path).to_owned());
    let mut found: GivenTo = recorded.iter().map(given).collect();
    let Some(objects) = objects.filter(|_| !names.is_empty()) else {
        return Some(found).filter(|found| !found.is_empty());
    };
    let mut by_object: BTreeMap<&String, usize> = BTreeMap::new();
    for object in names.iter().filter_map(|name| objects.get(name.as_bytes())).flatten() {
        *by_object.entry(object).or_default() += 1;
    }
    let mut likely: Vec<(&String, usize)> = by_object.into_iter().collect();
    likely.sort_by_key(|&(_, hits)| std::cmp::Reverse(hits));
    let mut is_known = likely.len() <= OBJECTS;
    let best = likely.first().map_or(0, |&(_, hits)| hits);
    let mut unread = Vec::new();
    // Not only up to the first: kbuild compiles some files into several objects.
    for (object, hits) in likely.into_iter().take(OBJECTS) {
        if recorded.as_ref() == Some(object) {
            continue;
        }
        match known.part(object, path) {
            CompiledFrom::Given(given) => drop(found.insert(object.clone(), given)),
            CompiledFrom::None => {}
            CompiledFrom::Unknown => {
                is_known = false;
                unread.extend(Some(object).filter(|_| hits == best));
            }
        }
    }
    let (again, others): (Vec<&String>, Vec<_>) = unread.into_iter().partition(|object| is_again(object));
    if !again.is_empty() {
        let first = others.into_iter().next().filter(|_| found.is_empty());
        found.extend(again.into_iter().chain(first).map(given));
    }
    // That command may be of another build than the kernel's: only if it matters, that is looked up.
    if let Some(object) = recorded.as_ref().filter(|_| found.len() > 1)
        && known.part(object, path) == CompiledFrom::None
    {
        found.remove(object);
    }
    (is_known || !found.is_empty()).then_some(found)
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
    use crate::kernel::symbols::objects::Objects;
    use fs_err as fs;

    #[test]
    fn a_makefile_tells_of_a_second_object_without_debugging_information() {
        let all = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
        let objects = [("f", all(&["one", "two"])), ("g", all(&["one", "other", "two"]))];
        let objects = objects.map(|(name, all)| (name.as_bytes().to_vec(), all)).into();
        let none = Objects::default();
        let of = |recorded: Option<&str>, again: &str| {
            let names = ["f", "g"].map(str::to_owned).into();
            let file = PatchedFile { path: "a.c", names, recorded: recorded.map(str::to_owned) };
            let found = objects_of(&mut SourceFiles::of(&none), &file, Some(&objects), |name| name == again);
            found.map(|found| found.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(of(None, "two"), Some(all(&["one", "two"])));
        assert_eq!(of(Some("one"), "two"), Some(all(&["one", "two"])));
        assert_eq!(of(Some("one"), ""), Some(all(&["one"])));
        // It defines less of the file's names.
        assert_eq!(of(None, "other"), None);
    }

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
