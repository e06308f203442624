// SPDX-License-Identifier: GPL-2.0-only
//! How kbuild descends to a single file that is its goal (scripts/Makefile.build, single targets).
//!
//! drivers/Makefile names both `char/` and `char/ipmi/`. With the goal `drivers/char/ipmi/ipmi_msghandler.o`, kbuild
//! descends into both at the same time, and in `drivers/char` compiles the file as if it were built in. Therefore the
//! files of such a directory get a make of their own, which descends only into the nearest directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;

/// One run of make that compiles files.
#[derive(Debug, PartialEq, Eq)]
pub struct Trip<'a> {
    /// The files, as make's goals.
    pub goals: Vec<&'a str>,
    /// An assignment for make (`NAME=VALUE`).
    pub variable: Option<String>,
}

/// The runs of make that compile `goals` (`fs/proc/cmdline.o`) of the source tree `source`: one, and one for each
/// directory that kbuild would descend into twice.
pub fn trips<'a>(source: &Path, goals: &[&'a str]) -> Vec<Trip<'a>> {
    // Many users of a header lie in one directory.
    let mut by_directory: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for goal in goals {
        let own = goal.rsplit_once('/').map_or("", |(own, _)| own);
        by_directory.entry(own).or_default().push(goal);
    }
    let (apart, together): (Vec<_>, Vec<_>) =
        by_directory.into_iter().partition(|(own, _)| is_reached_twice(source, own));
    let together: Vec<&str> = together.into_iter().flat_map(|(_, goals)| goals).collect();
    let together = Some(Trip { goals: together, variable: None }).filter(|trip| !trip.goals.is_empty());
    let apart = apart.into_iter().filter_map(|(_, goals)| {
        let variable = Some(nearest(goals.first()?));
        Some(Trip { goals, variable })
    });
    together.into_iter().chain(apart).collect()
}

/// Whether a makefile above names two directories that lead to the directory `own`.
fn is_reached_twice(source: &Path, own: &str) -> bool {
    Path::new(own).ancestors().skip(1).any(|above| {
        let below = Path::new(own).strip_prefix(above).unwrap_or(Path::new(""));
        let texts = ["Kbuild", "Makefile"].map(|name| fs::read_to_string(source.join(above).join(name)));
        let words = texts.iter().flatten().flat_map(|text| text.split_ascii_whitespace());
        let named = words.filter_map(|word| word.strip_suffix('/'));
        let named = named.filter(|word| !word.is_empty() && below.starts_with(word));
        named.collect::<BTreeSet<&str>>().len() > 1
    })
}

/// The assignment with which kbuild descends only into the longest of the directories that lead to `goal`. kbuild's
/// own value has all of them.
fn nearest(goal: &str) -> String {
    format!("single-subdirs=$(lastword $(sort $(foreach d,$(subdir-ym),$(if $(filter $d/%,{goal}),$d))))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_directory_that_two_lead_to_are_compiled_apart() -> anyhow::Result<()> {
        let tree = tempfile::tempdir()?;
        fs::create_dir_all(tree.path().join("drivers/char/ipmi"))?;
        fs::write(tree.path().join("Makefile"), "all: /x/y/\n")?;
        fs::write(tree.path().join("drivers/Makefile"), "obj-y += char/ipmi/\nobj-y\t+= char/ tty/\n")?;
        fs::create_dir_all(tree.path().join("drivers/gpu/drm"))?;
        fs::write(tree.path().join("drivers/gpu/Makefile"), "obj-y += drm/amd/amdgpu/\n")?;
        let goals = [
            "drivers/char/mem.o",
            "drivers/char/ipmi/a.o",
            "fs/proc/array.o",
            "main.o",
            "drivers/char/ipmi/b.o",
            "drivers/gpu/drm/amd/amdgpu/c.o",
        ];
        let trips = trips(tree.path(), &goals);
        let told: Vec<&[&str]> = trips.iter().map(|trip| trip.goals.as_slice()).collect();
        assert_eq!(
            told,
            [
                &["main.o", "drivers/char/mem.o", "drivers/gpu/drm/amd/amdgpu/c.o", "fs/proc/array.o"][..],
                &["drivers/char/ipmi/a.o", "drivers/char/ipmi/b.o"]
            ]
        );
        assert_eq!(trips[0].variable, None);
        let variable = trips[1].variable.as_deref().unwrap_or_default();
        assert!(
            variable.starts_with("single-subdirs=") && variable.contains("drivers/char/ipmi/a.o"),
            "{variable}"
        );
        Ok(())
    }
}
