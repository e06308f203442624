// SPDX-License-Identifier: GPL-2.0-only
//! Which files have to be compiled: those that the patches change, and those that include a changed file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use rayon::prelude::*;

use crate::frompatch::apply::Touched;
use crate::frompatch::apply::scope::{self, Scope};
use crate::frompatch::includers::{self, FileRole};
use crate::frompatch::recipe::{self, Recipe};
use crate::host::paths;
use crate::kernel::recorded;

/// A file that is compiled on its own: in C, or in assembler ([`AffectedUnits::assembler`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its path in the source tree; of a file that the build generates, that in the object tree.
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
pub struct AffectedUnits {
    /// The units in C.
    pub units: Vec<Unit>,
    /// Files in assembler that include a patched one.
    pub assembler: Vec<Unit>,
    /// Files in C or assembler that include a patched one, and whose code is no part of the running kernel: the vDSO's,
    /// and what runs before the kernel.
    pub apart: Vec<Unit>,
    /// The patched files that no unit uses.
    pub unused: Vec<String>,
}

/// The units for an object tree in which they were built, by kbuild's lists of dependencies.
///
/// # Errors
/// A `.cmd` file cannot be read.
pub fn of_built(srctree: &Path, objtree: &Path, files: &[Touched], arch: &str) -> Result<AffectedUnits> {
    let (mut assembler, mut apart) = (Vec::new(), Vec::new());
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
                Some(recipe) if scope::why_not_in_kernel(&path).is_some() => {
                    apart.push(Unit { path, recipe });
                }
                Some(recipe) if recorded::is_assembler(&path) => assembler.push(Unit { path, recipe }),
                Some(recipe) => drop(units.insert(path.clone(), Unit { path, recipe })),
                None => {}
            }
        }
    }
    Ok(AffectedUnits { units: units.into_values().collect(), assembler, apart, unused })
}

/// The patched files that existed before: those that are compiled on their own, and those that others include.
pub fn compiled_and_included<'a>(srctree: &Path, files: &'a [Touched]) -> (Vec<&'a str>, Vec<&'a str>) {
    let old = files.iter().filter(|file| file.original.is_some()).map(|file| file.path.as_str());
    let (mut compiled, mut included) = (Vec::new(), Vec::new());
    for path in old {
        let part = if path.ends_with(".c") { includers::part(srctree, path) } else { FileRole::Included };
        if part != FileRole::Included {
            compiled.push(path);
        }
        if part != FileRole::Compiled {
            included.push(path);
        }
    }
    (compiled, included)
}

/// The path in `tree` of the `source` whose command is in `file`. None if it lies elsewhere, or if its object has another
/// name than the file: that is one compiled for something else.
fn own_path(source: &Path, tree: &Path, objtree: &Path, file: &Path) -> Option<String> {
    let path = source.strip_prefix(fs::canonicalize(tree).ok()?).ok()?.to_str()?.to_owned();
    (recipe::file_of(objtree, &path) == file).then_some(path)
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
        // The build generates some files (lib/raid6/int1.c, capflags.c): with O= they lie in the object tree, which may
        // lie in the source tree. They are compiled as in a build without O=: to say only that they use a patched
        // file would leave their code as it is, and to refuse would do so for each patch of a common header.
        let path = [objtree, srctree].into_iter().find_map(|tree| own_path(&source, tree, objtree, file))?;
        let is_kernels = Scope::of(&path, arch) == Scope::Code
            || recorded::is_assembler(&path)
            || scope::why_not_in_kernel(&path).is_some();
        is_kernels.then_some((path, used))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The units that use a header, of a file in the source tree and of one that the build generates.
    fn found(srctree: &str, objtree: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let place = fs::canonicalize(root.path()).unwrap();
        let [srctree, objtree] = [srctree, objtree].map(|tree| place.join(tree));
        let (src, elsewhere) = (srctree.display(), place.join("elsewhere/b.c"));
        for (file, text) in [
            (srctree.join("include/own.h"), String::new()),
            (srctree.join("lib/a.c"), String::new()),
            (objtree.join("lib/made.c"), String::new()),
            (elsewhere.clone(), String::new()),
            (objtree.join("lib/.a.o.cmd"), cmd(&format!("{src}/lib/a.c"), &src.to_string())),
            (objtree.join("lib/.made.o.cmd"), cmd("lib/made.c", &src.to_string())),
            // Compiled for something else, and no part of the kernel.
            (objtree.join("lib/.other.o.cmd"), cmd("lib/made.c", &src.to_string())),
            (objtree.join("lib/.b.o.cmd"), cmd(&elsewhere.display().to_string(), &src.to_string())),
        ] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let header = Touched {
            path: "include/own.h".to_owned(),
            original: Some(Vec::new()),
            patched: Some(Vec::new()),
        };
        let found = of_built(&srctree, &objtree, &[header], "x86").unwrap();
        assert!(found.assembler.is_empty() && found.unused.is_empty());
        found.units.into_iter().map(|unit| unit.path).collect()
    }

    fn cmd(source: &str, srctree: &str) -> String {
        format!(
            "savedcmd_x.o := gcc -DKBUILD_MODNAME='\"x\"' -c -o x.o {source}\n\nsource_x.o := {source}\n\n\
             deps_x.o := \\\n  {srctree}/include/own.h \\\n"
        )
    }

    #[test]
    fn generated_files_in_an_object_tree_use_headers_too() {
        for (srctree, objtree) in [("src", "obj"), ("src", "src"), ("src", "src/build"), ("obj/src", "obj")] {
            assert_eq!(found(srctree, objtree), ["lib/a.c", "lib/made.c"], "{srctree} {objtree}");
        }
    }

    #[test]
    fn users_beyond_the_running_kernel_are_kept_apart() {
        let directory = tempfile::tempdir().unwrap();
        let tree = fs::canonicalize(directory.path()).unwrap();
        let units =
            ["fs/a.c", "arch/x86/entry/vdso/v.c", "arch/x86/boot/b.S", "arch/x86/kernel/k.S", "samples/s.c"];
        for path in units {
            let stem = paths::stem(path);
            let file = recipe::file_of(&tree, path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(tree.join(path), "").unwrap();
            let list = format!("deps_{stem}.o := \\\n  include/linux/h.h \\\n");
            fs::write(
                file,
                format!(
                    "savedcmd_{stem}.o := gcc -c -o {stem}.o {path}\n\nsource_{stem}.o := {path}\n\n{list}"
                ),
            )
            .unwrap();
        }
        let text = || Some(b"int a;\n".to_vec());
        let header = Touched { path: "include/linux/h.h".to_owned(), original: text(), patched: text() };
        let found = of_built(&tree, &tree, &[header], "x86").unwrap();
        let names = |units: &[Unit]| units.iter().map(|unit| unit.path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found.units), ["fs/a.c"]);
        assert_eq!(names(&found.assembler), ["arch/x86/kernel/k.S"]);
        assert_eq!(names(&found.apart), ["arch/x86/boot/b.S", "arch/x86/entry/vdso/v.c"]);
        assert_eq!(found.unused, Vec::<String>::new());
    }
}
