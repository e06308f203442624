// SPDX-License-Identifier: GPL-2.0-only
//! Source files that kbuild compiles into several of the kernel's objects (drivers/gpu/drm/xe/Makefile compiles those of
//! drivers/gpu/drm/i915/display again), or links into several: each object has its own copy of their functions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};
use fs_err as fs;
use rayon::prelude::*;

use crate::frompatch::compile::{self, Compiled, Trees};
use crate::frompatch::cut;
use crate::frompatch::recipe::Recipe;
use crate::frompatch::target::TargetKernel;
use crate::frompatch::units::Unit;
use crate::host::paths;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::compiled::GivenTo;

/// The goals for kbuild that compile the file `path` for each of `objects`.
pub fn goals(target: &TargetKernel, path: &str, objects: &GivenTo) -> BTreeSet<String> {
    let plain = |given: &str| format!("{}.o", paths::stem(given));
    if objects.is_empty() {
        return BTreeSet::from([plain(path)]);
    }
    let is_only_ones = |object: &str| {
        let directory = target.origin.objects.directory(object);
        objects.len() == 1 && directory.is_some_and(|directory| is_below(path, directory))
    };
    let goal = |(object, given): (&String, &String)| {
        let again = if is_only_ones(object) { None } else { again(target, object, path) };
        again.unwrap_or_else(|| plain(given))
    };
    objects.iter().map(goal).collect()
}

fn is_below(path: &str, directory: &str) -> bool {
    Path::new(path).starts_with(directory)
}

/// Those of `objects` into which the file `path` is compiled, if that is more than `goals` compile.
pub fn without_goals(objects: &GivenTo, goals: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    // One object file may be linked into several objects, and be reached through several directories.
    let apart: BTreeSet<String> = goals.iter().map(|goal| paths::normal(goal)).collect();
    (apart.len() < objects.len()).then(|| objects.keys().cloned().collect())
}

/// The goal that compiles the file `path` once more for the module `object`, if a makefile in the module's directory names
/// such an object file.
pub fn again(target: &TargetKernel, object: &str, path: &str) -> Option<String> {
    again_in(&target.source, target.origin.objects.directory(object)?, path)
}

/// The object of the kernel that has the object file `goal`, compiled from the file `path` once more by `recipe`; none if
/// no object that the kernel has does: it was built with another configuration.
pub fn object(target: &TargetKernel, recipe: &Recipe, path: &str, goal: &str) -> Option<String> {
    let mut modules = target.origin.objects.names();
    if recipe.object == VMLINUX || modules.any(|name| *name == recipe.object) {
        return Some(recipe.object.clone());
    }
    // kbuild does not name the module if the object file has a rule of its own (`modname-multi` in scripts/Makefile.lib
    // goes by the stem of a rule).
    let of_it = |name: &&String| {
        let directory = target.origin.objects.directory(name);
        directory.is_some_and(|directory| is_below(goal, directory))
            && again(target, name, path).is_some_and(|again| again == goal)
    };
    target.origin.objects.names().find(of_it).cloned()
}

/// The object file with the name of the file `path` that the makefile in `directory` names, and that is compiled from no
/// file of its own.
fn again_in(source: &Path, directory: &str, path: &str) -> Option<String> {
    let own = format!("{}.o", paths::stem(path));
    let texts = ["Kbuild", "Makefile"].map(|name| fs::read_to_string(source.join(directory).join(name)));
    let words = texts.iter().flatten().flat_map(|text| text.split_ascii_whitespace());
    let named = words.filter(|word| paths::last(word) == paths::last(&own) && !word.contains('$'));
    let mut goals = named.map(|word| paths::normal(&format!("{directory}/{word}")));
    let is_other = |goal: &String| {
        let stem = paths::stem(goal);
        *goal != own && ["c", "S"].iter().all(|suffix| !source.join(format!("{stem}.{suffix}")).is_file())
    };
    goals.find(is_other)
}

/// Checks that the patches leave what they cannot change in all objects as it is: `twins` are compiled from the files of
/// other units once more, and each file in `shared` is linked into several objects.
///
/// # Errors
/// They change one, or it does not compile.
pub fn check(
    compiled: &[Compiled],
    twins: &[Unit],
    shared: &BTreeMap<String, BTreeSet<String>>,
    trees: Trees<'_>,
) -> Result<()> {
    let objects = |path: &str| {
        let units = compiled.iter().map(|compiled| &compiled.unit).chain(twins);
        let units = units.filter(|unit| unit.path == path).map(|unit| &unit.recipe.object);
        units.chain(shared.get(path).into_iter().flatten()).cloned().collect::<BTreeSet<String>>()
    };
    let refuse = |path: &str| bail!("{}", refusal(path, &objects(path)));
    for own in compiled.iter().filter(|own| own.unit.path.ends_with(".c")) {
        let is_several =
            shared.contains_key(&own.unit.path) || twins.iter().any(|twin| twin.path == own.unit.path);
        if is_several && cut::changes(own)? {
            return refuse(&own.unit.path);
        }
    }
    twins.par_iter().enumerate().try_for_each(|(index, twin)| {
        // The results lie by the paths of the files.
        let work = trees.work.join(format!("twin{index}"));
        for own in compile::all(vec![twin.clone()], Trees { work: &work, ..trees })? {
            if cut::changes(&own)? {
                return refuse(&twin.path);
            }
        }
        Ok(())
    })
}

fn refusal(path: &str, objects: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = objects.iter().map(String::as_str).collect();
    let last = names.pop().unwrap_or_default();
    let into = if names.is_empty() {
        format!("{last} several times")
    } else {
        format!("{} and {last}", names.join(", "))
    };
    format!(
        "{path} is compiled into {into}, and the patches change what is compiled: no livepatch of all its copies is made yet, \
         and the others would go on as they are; leave what this file is compiled with as it is"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_makefile_tells_what_compiles_a_file_again() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path();
        for path in ["gpu/one/show/a.c", "gpu/two/b.c", "gpu/two/Makefile"] {
            fs::create_dir_all(source.join(path).parent().unwrap()).unwrap();
            fs::write(
                source.join(path),
                "two-y += $(b)/a.o b.o again/a.o \\\n\tagain/aa.o ../one/show/c.o\n",
            )
            .unwrap();
        }
        let again = |path| again_in(source, "gpu/two", path);
        assert_eq!(again("gpu/one/show/a.c").as_deref(), Some("gpu/two/again/a.o"));
        // A file of its own, and the same object file.
        assert_eq!(again("gpu/one/show/b.c"), None);
        assert_eq!(again("gpu/one/show/c.c"), None);
        assert_eq!(again_in(source, "gpu/one", "gpu/one/show/a.c"), None);
    }

    #[test]
    fn an_object_file_for_several_objects_is_told() {
        let objects =
            |all: &[&str]| all.iter().map(|&name| (name.to_owned(), String::new())).collect::<GivenTo>();
        let goals = |all: &[&str]| all.iter().map(|&goal| goal.to_owned()).collect::<BTreeSet<String>>();
        assert_eq!(without_goals(&objects(&["a", "b"]), &goals(&["x/f.o", "y/f.o"])), None);
        assert_eq!(without_goals(&objects(&[]), &goals(&["x/f.o"])), None);
        let told = without_goals(&objects(&["a", "b"]), &goals(&["x/f.o", "y/../x/f.o"])).unwrap();
        let told = refusal("x/f.c", &told);
        assert!(told.starts_with("x/f.c is compiled into a and b, and the patches change"), "{told}");
    }
}
