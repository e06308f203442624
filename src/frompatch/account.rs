// SPDX-License-Identifier: GPL-2.0-only
//! Accounts for each change in the patches: what it changes, or why it changes nothing. If the definition around a
//! change is not among the changed ones, the file is compiled once more without this one change.

use std::collections::BTreeSet;

use anyhow::Result;
use rayon::prelude::*;

use crate::frompatch::apply::{self, Touched};
use crate::frompatch::compile::{self, Compiled, Trees};
use crate::frompatch::cut;
use crate::frompatch::outline::{self, Item};
use crate::frompatch::overlay;
use crate::frompatch::report::Accounted;
use crate::frompatch::system_call;
use crate::host::patch::{Hunk, Line};

/// For one change in a header, how many of its users are compiled once more at most.
const USERS: usize = 8;

/// A compiled unit, with the functions and data that the patches change in it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The unit.
    pub compiled: &'a Compiled,
    /// The functions and data that are changed or new.
    pub names: &'a [String],
}

/// Accounts for all changes of `files`.
///
/// # Errors
/// A file cannot be written.
pub fn all(files: &[Touched], units: &[Outcome<'_>], trees: Trees<'_>) -> Result<Vec<Accounted>> {
    let mut tasks = Vec::new();
    for file in files {
        let items =
            [&file.original, &file.patched].map(|text| outline::items(text.as_deref().unwrap_or_default()));
        for (index, hunk) in file.hunks().into_iter().enumerate() {
            tasks.push((file, index, hunk, items.clone()));
        }
    }
    tasks.par_iter().map(|(file, index, hunk, items)| one(file, *index, hunk, items, units, trees)).collect()
}

fn one(
    file: &Touched,
    index: usize,
    hunk: &Hunk,
    items: &[Vec<Item>; 2],
    units: &[Outcome<'_>],
    trees: Trees<'_>,
) -> Result<Accounted> {
    let changed: BTreeSet<String> = units
        .iter()
        .flat_map(|unit| unit.names)
        .map(|name| system_call::as_written(name).to_owned())
        .collect();
    let mut accounted = Accounted {
        file: file.path.clone(),
        line: first_changed(hunk),
        changes: around(hunk, items).filter(|name| changed.contains(name)).collect(),
        no_effect: None,
    };
    if !accounted.changes.is_empty() || file.original.is_none() || file.patched.is_none() {
        return Ok(accounted);
    }
    let without = file.partly(|other| other != index)?;
    // Units in which the patches change something come first: a change that has an effect has it there.
    let (some, none): (Vec<&Outcome<'_>>, Vec<_>) =
        units.iter().filter(|unit| unit.compiled.sees(&file.path)).partition(|unit| !unit.names.is_empty());
    let count = some.len() + none.len();
    if count == 0 {
        accounted.no_effect = Some("no file of this kernel is compiled with it".to_owned());
        return Ok(accounted);
    }
    let mut why = None;
    for unit in some.into_iter().chain(none).take(USERS) {
        match effect(&without, unit.compiled, trees)? {
            Effect::None(reason) => why = why.or(Some(reason)),
            Effect::On(names) => {
                accounted.changes = names;
                return Ok(accounted);
            }
        }
    }
    let only = if count > USERS {
        format!(", as far as was seen: {USERS} of {count} files were looked at")
    } else {
        String::new()
    };
    accounted.no_effect = why.map(|why| format!("{why}{only}"));
    Ok(accounted)
}

/// The names of the definitions around the changed lines.
fn around(hunk: &Hunk, [old, new]: &[Vec<Item>; 2]) -> impl Iterator<Item = String> {
    let names = outline::changed(hunk, [old, new]).into_iter().map(|item| item.name.clone());
    names.collect::<BTreeSet<String>>().into_iter()
}

/// What one change does to a unit: nothing, and why; or it changes these functions and data.
enum Effect {
    None(String),
    On(Vec<String>),
}

/// Compiles a unit with all changes but one, and compares the result with that of all changes.
fn effect(without: &Touched, compiled: &Compiled, trees: Trees<'_>) -> Result<Effect> {
    let directory = tempfile::Builder::new().prefix("without-").tempdir_in(trees.work)?;
    let overlay = directory.path().join("overlay");
    overlay::copy(trees.overlay, &overlay)?;
    apply::write(&overlay, std::slice::from_ref(without))?;
    let own = Trees { overlay: &overlay, work: directory.path(), ..trees };
    let unit = &compiled.unit;
    let (with, other) = (compile::preprocessed(unit, trees), compile::preprocessed(unit, own));
    if let (Ok(with), Ok(other)) = (&with, &other)
        && with == other
    {
        return Ok(Effect::None("a comment, or off in this configuration".to_owned()));
    }
    let output = directory.path().join("without.s");
    if compile::patched_to(unit, own, &output).is_err() {
        return Ok(Effect::On(vec!["what the other changes need".to_owned()]));
    }
    let names = cut::different(&output, &compiled.patched)?;
    if names.is_empty() {
        return Ok(Effect::None("it compiles to the same code".to_owned()));
    }
    Ok(Effect::On(names))
}

/// The number of the first changed line, in the file before the patch.
fn first_changed(hunk: &Hunk) -> usize {
    let kept = hunk.lines.iter().take_while(|line| matches!(line, Line::Kept(_))).count();
    hunk.old_start + kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_belongs_to_what_is_around_it() {
        let old = b"int a(void)\n{\n\treturn 1;\n}\n\nint b(void)\n{\n\treturn 2;\n}\n";
        let new = b"int a(void)\n{\n\treturn 1;\n}\n\nint b(void)\n{\n\treturn 3;\n}\n";
        let file =
            Touched { path: "a.c".to_owned(), original: Some(old.to_vec()), patched: Some(new.to_vec()) };
        let hunks = file.hunks();
        let items = [outline::items(old), outline::items(new)];
        assert_eq!(
            hunks.iter().map(|hunk| around(hunk, &items).collect::<Vec<_>>()).collect::<Vec<_>>(),
            [["b"]]
        );
        assert_eq!(first_changed(&hunks[0]), 8);
    }
}
