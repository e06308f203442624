// SPDX-License-Identifier: GPL-2.0-only
//! Which files have to be compiled: those that the patches change, and those that include a changed file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
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
    /// Further units of files that [`AffectedUnits::units`] has: kbuild compiles some files for several objects.
    pub twins: Vec<Unit>,
    /// Files that are in more objects than there are units, each with its objects.
    pub shared: BTreeMap<String, BTreeSet<String>>,
    /// The patched files that no unit uses.
    pub unused: Vec<String>,
}

/// The units for an object tree in which they were built, by kbuild's lists of dependencies; `object` tells which object
/// of the kernel has an object file (its third argument) that is compiled from a file (the second) and has another name.
///
/// # Errors
/// A `.cmd` file cannot be read.
pub fn of_built(
    srctree: &Path,
    objtree: &Path,
    files: &[Touched],
    arch: &str,
    object: &dyn Fn(&Recipe, &str, &str) -> Option<String>,
) -> Result<AffectedUnits> {
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
    let (mut unused, mut twins) = (Vec::new(), Vec::new());
    if !included.is_empty() {
        let users = users(srctree, objtree, &included, arch);
        let is_used = |path: &&&str| {
            units.contains_key(**path) || users.iter().any(|user| user.used.iter().any(|used| used == **path))
        };
        unused = included.iter().filter(|path| !is_used(path)).map(|path| (*path).to_owned()).collect();
        for User { path, twin, .. } in users {
            if let Some((file, goal)) = twin {
                let recipe = Recipe::parse(&fs::read_to_string(&file)?);
                let recipe = recipe.with_context(|| file.display().to_string())?;
                if let Some(object) = object(&recipe, &path, &goal) {
                    twins.push(Unit { path, recipe: Recipe { object, ..recipe } });
                }
                continue;
            }
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
    // The own one of a file may be off, or not use what is patched.
    twins.retain(|twin| {
        units.contains_key(&twin.path) || units.insert(twin.path.clone(), twin.clone()).is_some()
    });
    let units = units.into_values().collect();
    Ok(AffectedUnits { units, assembler, apart, twins, shared: BTreeMap::new(), unused })
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

/// A unit that uses a patched file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct User {
    path: String,
    /// The file with its command, and its object file, if that has another name than the source.
    twin: Option<(PathBuf, String)>,
    /// The patched files that it uses.
    used: Vec<String>,
}

/// The path of the `source` whose command is in `file`, in one of `trees`, and whether its object has another name: that is
/// one compiled for something else. None if the file lies elsewhere.
fn own_path(source: &Path, trees: [&Path; 2], objtree: &Path, file: &Path) -> Option<(String, bool)> {
    let inside =
        |tree: &Path| Some(source.strip_prefix(fs::canonicalize(tree).ok()?).ok()?.to_str()?.to_owned());
    let all: Vec<String> = trees.into_iter().filter_map(inside).collect();
    let own = all.iter().find(|path| recipe::file_of(objtree, path) == file);
    // One tree may lie in the other.
    let path = own.or_else(|| all.iter().min_by_key(|path| path.len()))?;
    Some((path.clone(), own.is_none()))
}

/// The object file whose command is in `file`, with this `text`, if this tree's kernel may be linked from it.
fn linked(objtree: &Path, file: &Path, text: &str, arch: &str) -> Option<String> {
    let name = file.strip_prefix(objtree).ok()?.to_str()?;
    let stem = paths::last(name).strip_prefix('.')?.strip_suffix(".o.cmd")?;
    let stem = name.rsplit_once('/').map_or(stem.to_owned(), |(directory, _)| format!("{directory}/{stem}"));
    let goal = format!("{stem}.o");
    // The commands of another build, whose tree lies in this one, have names in that.
    let is_of_this_tree = |line: &str| {
        let target = line.strip_prefix("savedcmd_").or_else(|| line.strip_prefix("cmd_"));
        target.and_then(|line| line.split_once(" := ")).is_some_and(|(name, _)| name == goal)
    };
    let is_kernels = Scope::of(&format!("{stem}.c"), arch) == Scope::Code;
    (is_kernels && text.lines().any(is_of_this_tree)).then_some(goal)
}

/// The units whose lists of dependencies have one of `files`.
fn users(srctree: &Path, objtree: &Path, files: &[&str], arch: &str) -> Vec<User> {
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
        let (path, is_other) = own_path(&source, [objtree, srctree], objtree, file)?;
        if is_other {
            let goal =
                linked(objtree, file, &text, arch).filter(|_| Scope::of(&path, arch) == Scope::Code)?;
            return Some(User { path, twin: Some((file.clone(), goal)), used });
        }
        let is_kernels = Scope::of(&path, arch) == Scope::Code
            || recorded::is_assembler(&path)
            || scope::why_not_in_kernel(&path).is_some();
        is_kernels.then_some(User { path, twin: None, used })
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
        let found =
            of_built(&srctree, &objtree, &[header], "x86", &|recipe, _, _| Some(recipe.object.clone()))
                .unwrap();
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
    fn a_file_may_be_compiled_for_several_objects() {
        let directory = tempfile::tempdir().unwrap();
        let tree = fs::canonicalize(directory.path()).unwrap();
        let write = |file: &str, text: &str| {
            fs::create_dir_all(tree.join(file).parent().unwrap()).unwrap();
            fs::write(tree.join(file), text).unwrap();
        };
        let command = |file: &str, object: &str, module: &str| {
            let text = format!(
                "savedcmd_{object}.o := gcc -DMODULE -DKBUILD_MODNAME='\"{module}\"' -c -o {object}.o gpu/one/a.c\n\n\
                 source_{object}.o := gpu/one/a.c\n"
            );
            write(file, &text);
        };
        write("gpu/one/a.c", "");
        command("gpu/one/.a.o.cmd", "gpu/one/a", "one");
        command("gpu/two/again/.a.o.cmd", "gpu/two/again/a", "a");
        // Of a module that is off now, of code that is no part of the kernel, and of another build.
        command("gpu/off/again/.a.o.cmd", "gpu/off/again/a", "off");
        command("drivers/firmware/efi/libstub/.lib-a.o.cmd", "drivers/firmware/efi/libstub/lib-a", "a");
        command("build/gpu/two/again/.a.o.cmd", "gpu/two/again/a", "a");
        let object = |_: &Recipe, path: &str, goal: &str| {
            assert_eq!(path, "gpu/one/a.c");
            goal.strip_prefix("gpu/two/").map(|_| "two".to_owned())
        };
        let text = || Some(b"int a;\n".to_vec());
        let file = [Touched { path: "gpu/one/a.c".to_owned(), original: text(), patched: text() }];
        let of = || {
            let found = of_built(&tree, &tree, &file, "x86", &object).unwrap();
            assert!(found.apart.is_empty() && found.unused.is_empty());
            let told = |units: Vec<Unit>| -> Vec<String> {
                units.into_iter().map(|unit| format!("{} {}", unit.path, unit.recipe.object)).collect()
            };
            [told(found.units), told(found.twins)]
        };
        assert_eq!(of(), [vec!["gpu/one/a.c one"], vec!["gpu/one/a.c two"]]);
        // Only the other one is on.
        fs::remove_file(tree.join("gpu/one/.a.o.cmd")).unwrap();
        assert_eq!(of(), [vec!["gpu/one/a.c two"], vec![]]);
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
        let found =
            of_built(&tree, &tree, &[header], "x86", &|recipe, _, _| Some(recipe.object.clone())).unwrap();
        let names = |units: &[Unit]| units.iter().map(|unit| unit.path.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found.units), ["fs/a.c"]);
        assert_eq!(names(&found.assembler), ["arch/x86/kernel/k.S"]);
        assert_eq!(names(&found.apart), ["arch/x86/boot/b.S", "arch/x86/entry/vdso/v.c"]);
        assert_eq!(found.unused, Vec::<String>::new());
    }
}
