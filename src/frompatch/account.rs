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
use crate::host::patch::{Hunk, HunkLine};

/// For one change in a header, how many of its users are compiled once more at most.
const USERS: usize = 8;

/// A compiled unit, with the functions and data that the patches change in it.
#[derive(Debug, Clone, Copy)]
pub struct ChangedUnit<'a> {
    /// The unit.
    pub compiled: &'a Compiled,
    /// The functions and data that are changed or new.
    pub names: &'a [String],
}

/// Accounts for all changes of `files`.
///
/// # Errors
/// A file cannot be written.
pub fn all(files: &[Touched], units: &[ChangedUnit<'_>], trees: Trees<'_>) -> Result<Vec<Accounted>> {
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
    units: &[ChangedUnit<'_>],
    trees: Trees<'_>,
) -> Result<Accounted> {
    // Another file may have a function of the same name: only files that are compiled with this one tell of it.
    let users: Vec<&ChangedUnit<'_>> = units.iter().filter(|unit| unit.compiled.sees(&file.path)).collect();
    let mut accounted = Accounted {
        file: file.path.clone(),
        line: first_changed(hunk),
        changes: by_name(hunk, items, &users),
        no_effect: None,
    };
    if !accounted.changes.is_empty() {
        return Ok(accounted);
    }
    if file.patched.is_none() {
        accounted.no_effect = Some("that a file is removed takes no code out of the kernel".to_owned());
        return Ok(accounted);
    }
    if users.is_empty() {
        accounted.no_effect = Some("no file of this kernel is compiled with it".to_owned());
        return Ok(accounted);
    }
    // Without a new file, nothing that uses it compiles.
    if file.original.is_none() {
        return Ok(accounted);
    }
    let without = file.partly(|other| other != index)?;
    let count = users.len();
    // Units in which the patches change something come first: a change that has an effect has it there.
    let (some, none): (Vec<&ChangedUnit<'_>>, Vec<_>) =
        users.into_iter().partition(|unit| !unit.names.is_empty());
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

/// The definitions around the changed lines that are changed or new in one of `users`.
fn by_name(hunk: &Hunk, items: &[Vec<Item>; 2], users: &[&ChangedUnit<'_>]) -> Vec<String> {
    let names = users.iter().flat_map(|unit| unit.names);
    let changed: BTreeSet<&str> = names.map(|name| system_call::as_written(name)).collect();
    around(hunk, items).filter(|name| changed.contains(name.as_str())).collect()
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
    let changes = cut::difference(&output, &compiled.patched)?;
    let names: BTreeSet<String> = changes.names().into_iter().collect();
    if names.is_empty() {
        let why = changes.notes.into_iter().next();
        return Ok(Effect::None(why.unwrap_or_else(|| "it compiles to the same code".to_owned())));
    }
    Ok(Effect::On(names.into_iter().collect()))
}

/// The number of the first changed line, in the file before the patch.
fn first_changed(hunk: &Hunk) -> usize {
    let kept = hunk.lines.iter().take_while(|line| matches!(line, HunkLine::Kept(_))).count();
    hunk.old_start + kept
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::frompatch::recipe::Recipe;
    use crate::frompatch::units::Unit;

    const OLD: &[u8] = b"int a(void)\n{\n\treturn 1;\n}\n\nint b(void)\n{\n\treturn 2;\n}\n";
    const NEW: &[u8] = b"int a(void)\n{\n\treturn 1;\n}\n\nint b(void)\n{\n\treturn 3;\n}\n";

    fn touched(path: &str, original: Option<&[u8]>, patched: Option<&[u8]>) -> Touched {
        let [original, patched] = [original, patched].map(|text| text.map(<[u8]>::to_vec));
        Touched { path: path.to_owned(), original, patched }
    }

    /// A unit that is compiled with a file of its own and with another one.
    fn compiled(path: &str, seen: &str) -> Compiled {
        let [compiler, source, object] = ["false", path, "vmlinux"].map(str::to_owned);
        let recipe = Recipe { compiler, options: Vec::new(), debugging: Vec::new(), source, object };
        let unit = Unit { path: path.to_owned(), recipe };
        let [original, patched, object] = ["orig.s", "new.s", "orig.o"].map(Into::into);
        Compiled { unit, original, patched, object, seen: vec![seen.to_owned()] }
    }

    #[test]
    fn a_change_belongs_to_what_is_around_it() {
        let file = touched("a.c", Some(OLD), Some(NEW));
        let hunks = file.hunks();
        let items = [outline::items(OLD), outline::items(NEW)];
        assert_eq!(
            hunks.iter().map(|hunk| around(hunk, &items).collect::<Vec<_>>()).collect::<Vec<_>>(),
            [["b"]]
        );
        assert_eq!(first_changed(&hunks[0]), 8);
    }

    #[test]
    fn a_name_in_another_file_does_not_vouch_for_a_change() {
        let hunk = &touched("a.h", Some(OLD), Some(NEW)).hunks()[0];
        let items = [outline::items(OLD), outline::items(NEW)];
        let names = ["b".to_owned(), "c".to_owned()];
        let own = compiled("a.c", "a.h");
        let own = |names| ChangedUnit { compiled: &own, names };
        assert_eq!(by_name(hunk, &items, &[&own(&names)]), ["b"]);
        // The change of `b` in x.c is not asked for.
        let other = compiled("x.c", "x.h");
        let units = [own(&[]), ChangedUnit { compiled: &other, names: &names }];
        let nowhere = Path::new("/nonexistent");
        let trees =
            Trees { source: nowhere, objects: nowhere, overlay: nowhere, helpers: nowhere, work: nowhere };
        let file = touched("a.c", None, Some(NEW));
        assert_eq!(all(&[file], &units, trees).unwrap()[0].changes, Vec::<String>::new());
        let file = touched("x.h", None, Some(NEW));
        assert_eq!(all(&[file], &units, trees).unwrap()[0].changes, ["b"]);
    }

    #[test]
    fn what_is_not_compiled_is_told() {
        let compiled = compiled("a.c", "a.h");
        let names = ["a".to_owned()];
        let units = [ChangedUnit { compiled: &compiled, names: &names }];
        let nowhere = Path::new("/nonexistent");
        let trees =
            Trees { source: nowhere, objects: nowhere, overlay: nowhere, helpers: nowhere, work: nowhere };
        for (original, patched, why) in [
            (None, Some(NEW), "no file of this kernel is compiled with it"),
            (Some(OLD), Some(NEW), "no file of this kernel is compiled with it"),
            (Some(OLD), None, "that a file is removed takes no code out of the kernel"),
        ] {
            let told = all(&[touched("new.c", original, patched)], &units, trees).unwrap();
            assert_eq!((told.len(), told[0].no_effect.as_deref()), (1, Some(why)));
        }
        // A header that is new, and of which only macros are used.
        let told = all(&[touched("a.h", None, Some(b"#define A 1\n"))], &units, trees).unwrap();
        assert_eq!((told[0].no_effect.as_deref(), told[0].changes.len()), (None, 0));
    }
}
