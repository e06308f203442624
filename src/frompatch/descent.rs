// SPDX-License-Identifier: GPL-2.0-only
//! How kbuild comes to a file that it is asked for alone (scripts/Makefile.build, single targets).
//!
//! drivers/Makefile names both `char/` and `char/ipmi/`. Asked for `drivers/char/ipmi/ipmi_msghandler.o`, kbuild goes into
//! both, at the same time, and compiles the file in `drivers/char` as if it were built in. Such a file has a make of its own,
//! which goes into the directory that is nearest to it.

use std::collections::HashMap;
use std::path::Path;

use fs_err as fs;

/// A make that compiles files.
#[derive(Debug, PartialEq, Eq)]
pub struct Trip<'a> {
    /// The files.
    pub goals: Vec<&'a str>,
    /// What make is told besides (`NAME=VALUE`).
    pub variable: Option<String>,
}

/// The makes that compile `goals` (`fs/proc/cmdline.o`) of the source tree `source`.
pub fn trips<'a>(source: &Path, goals: &[&'a str]) -> Vec<Trip<'a>> {
    // Of a header's users, many lie in one directory.
    let mut known: HashMap<&str, bool> = HashMap::new();
    let (alone, together): (Vec<&str>, Vec<&str>) = goals.iter().partition(|goal| {
        let own = goal.rsplit_once('/').map_or("", |(own, _)| own);
        *known.entry(own).or_insert_with(|| is_reached_twice(source, own))
    });
    let together = Some(Trip { goals: together, variable: None }).filter(|trip| !trip.goals.is_empty());
    let alone = alone.into_iter().map(|goal| Trip { goals: vec![goal], variable: Some(nearest(goal)) });
    together.into_iter().chain(alone).collect()
}

/// Whether a directory above names one that leads to the directory `own` and is not its own next one.
fn is_reached_twice(source: &Path, own: &str) -> bool {
    Path::new(own).ancestors().skip(1).any(|above| {
        let below = Path::new(own).strip_prefix(above).unwrap_or(Path::new(""));
        ["Kbuild", "Makefile"].iter().any(|name| {
            let text = fs::read_to_string(source.join(above).join(name)).unwrap_or_default();
            let words = text.split_ascii_whitespace().filter_map(|word| word.strip_suffix('/'));
            words.into_iter().any(|word| word.contains('/') && below.starts_with(word))
        })
    })
}

/// The variable that has kbuild go, of the directories that lead to `goal`, into the longest alone. kbuild's own value is
/// all of them.
fn nearest(goal: &str) -> String {
    format!("single-subdirs=$(lastword $(sort $(foreach d,$(subdir-ym),$(if $(filter $d/%,{goal}),$d))))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_below_a_nested_directory_is_compiled_alone() -> anyhow::Result<()> {
        let tree = tempfile::tempdir()?;
        fs::create_dir_all(tree.path().join("drivers/char/ipmi"))?;
        fs::write(tree.path().join("Makefile"), "all: /x/y/\n")?;
        fs::write(tree.path().join("drivers/Makefile"), "obj-y += char/ipmi/\nobj-y\t+= char/ tty/\n")?;
        let goals = ["drivers/char/mem.o", "drivers/char/ipmi/a.o", "fs/proc/array.o", "main.o"];
        let trips = trips(tree.path(), &goals);
        let told: Vec<&[&str]> = trips.iter().map(|trip| trip.goals.as_slice()).collect();
        assert_eq!(
            told,
            [&["drivers/char/mem.o", "fs/proc/array.o", "main.o"][..], &["drivers/char/ipmi/a.o"]]
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
