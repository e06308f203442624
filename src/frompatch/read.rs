// SPDX-License-Identifier: GPL-2.0-only
//! The two assembler texts of a unit, unpatched and patched, and their differences.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use fs_err as fs;

use crate::frompatch::apply::Touched;
use crate::frompatch::assembler::compare::{Changes, compare};
use crate::frompatch::assembler::extract::{Entry, Extract};
use crate::frompatch::assembler::{Listing, base};
use crate::frompatch::compile::Compiled;
use crate::frompatch::outline::{self, DefinitionKind};
use crate::host::patch::Hunk;

/// A unit whose assembler texts were read.
#[derive(Debug)]
pub struct Read {
    /// The unpatched text.
    pub old: Listing,
    /// The patched text.
    pub new: Listing,
    /// The differences between them.
    pub changes: Changes,
}

impl Read {
    /// Reads and compares both texts; `declared` are the words in the declarations of statics in the changed lines.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(compiled: &Compiled, declared: &BTreeSet<String>) -> Result<Read> {
        let [old, new] = [&compiled.original, &compiled.patched].map(fs::read_to_string);
        let (old, new) = (Listing::parse(&old?), Listing::parse(&new?));
        let mut changes = compare(&old, &new);
        changes.refused.extend(reordered(&changes.by_order, declared));
        Ok(Read { old, new, changes })
    }

    /// The functions, variables and constants that only this unit could use before.
    pub fn opened(&self) -> impl Iterator<Item = &str> {
        let functions = self.new.functions().filter(|name| self.old.is_function(name));
        // One with another name in the kernel (`count.3`, from within a function) is not found by this one.
        let is_same = |name: &&str| self.changes.pairs.get(*name).is_some_and(|old| old == name);
        let data = self.new.data().map(|(name, _)| name).filter(is_same);
        functions.chain(data).filter(|name| self.new.is_global(name) && !self.old.is_global(name))
    }

    /// The new functions and data that other units may use.
    pub fn new_names(&self) -> impl Iterator<Item = &String> {
        let all = self.changes.new_functions.iter().chain(&self.changes.new_data);
        all.filter(|name| self.new.is_global(name))
    }

    /// Whether the unpatched unit defines a name, and the patched one does not.
    pub fn no_longer_defines(&self, name: &str) -> bool {
        self.old.piece_of(name).is_some() && self.new.piece_of(name).is_none()
    }

    /// For a unit whose functions and data do not change, checks that its assembler outside of them does not change
    /// either.
    ///
    /// # Errors
    /// It changes.
    pub fn check_outside(&self, path: &str) -> Result<()> {
        let extract = Extract::plan(&self.old, &self.new, &self.changes, Entry::Any);
        extract.refused.first().map_or(Ok(()), |why| bail!("{path}: {why}"))
    }
}

/// Why the order of use does not tell which variable is which: one function has several of a name `by_order`, and that is
/// among `declared`, the words of the declarations in what the patches change. Blocks that change places are seen by
/// nothing else.
fn reordered<'a>(
    by_order: &'a BTreeSet<String>,
    declared: &'a BTreeSet<String>,
) -> impl Iterator<Item = String> + 'a {
    by_order.iter().filter(|name| declared.contains(base(name))).map(|name| {
        format!(
            "one function has several static variables called {name}, and the patch changes what is around their \
             declarations: which of them is which of the kernel's cannot be told; leave these blocks as they are"
        )
    })
}

/// The words of the declarations of static variables between the first and the last changed line of each function, as it is
/// and patched: a difference between two texts may keep the declarations in their lines, and change what is around them.
pub fn declared(files: &[Touched]) -> BTreeSet<String> {
    let mut declared = BTreeSet::new();
    for file in files {
        let hunks = file.hunks();
        let changes: Vec<[usize; 2]> = hunks.iter().flat_map(Hunk::changes).map(|(_, at)| at).collect();
        let [before, after] = [0, 1].map(|side| changes.iter().filter_map(move |at| at.get(side)));
        for (text, changed) in [(&file.original, before), (&file.patched, after)] {
            let text = text.as_deref().unwrap_or_default();
            let whole = String::from_utf8_lossy(text);
            let lines: Vec<&str> = whole.lines().collect();
            for item in outline::items(text).iter().filter(|item| item.kind == DefinitionKind::Function) {
                let own = changed.clone().filter(|line| (item.first..=item.last).contains(line));
                let (Some(first), Some(last)) = (own.clone().min(), own.max()) else { continue };
                declared.extend(statics(lines.get(first - 1..(*last).min(lines.len())).unwrap_or_default()));
            }
        }
    }
    declared
}

/// The words of the declarations of static variables in some lines.
fn statics(lines: &[&str]) -> BTreeSet<String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = BTreeSet::new();
    let mut is_open = false;
    for line in lines {
        let words: Vec<&str> =
            line.split(|letter| !is_letter(letter)).filter(|word| !word.is_empty()).collect();
        is_open |= words.iter().any(|word| *word == "static" || word.starts_with("DEFINE_"));
        if is_open {
            found.extend(words.into_iter().map(str::to_owned));
        }
        is_open &= !line.contains(';');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_units_may_use_now_is_opened() {
        let function = |name: &str, of: &str| {
            format!(
                "\t.section\t.text.{name},\"ax\",@progbits\n\t.type\t{name}, @function\n{name}:\n\tincl\t{of}(%rip)\n\
                 \tret\n\t.size\t{name}, .-{name}\n"
            )
        };
        let data = |name: &str| {
            format!(
                "\t.section\t.bss.{name},\"aw\",@nobits\n\t.type\t{name}, @object\n\t.size\t{name}, 4\n{name}:\n\t.zero\t4\n"
            )
        };
        let unit = |inner: &str| {
            function("f", "limit") + &function("g", inner) + &data("limit") + &data(inner) + &data("known")
        };
        let old = Listing::parse(&(unit("count.3") + "\t.globl\tknown\n"));
        let global = "\t.globl\tf\n\t.globl\tlimit\n\t.globl\tcount\n\t.globl\tknown\n\t.globl\tmore\n";
        let new = Listing::parse(&(unit("count") + &data("more") + global));
        let changes = compare(&old, &new);
        let read = Read { old, new, changes };
        assert_eq!(read.opened().collect::<Vec<_>>(), ["f", "limit"]);
    }

    #[test]
    fn blocks_that_change_places_declare_what_they_keep() {
        let block = |condition: &str, call: &str| {
            format!(
                "\tif ({condition}) {{\n\t\tstatic struct long_name\n\t\t\tn = {{ 0 }};\n\n\t\t{call}(&n);\n\t}}\n"
            )
        };
        let text = |first: &str, second: &str| {
            format!("void f(int a, int b)\n{{\n\tstatic int other;\n\n\tuse(&other);\n{first}{second}}}\n")
                .into_bytes()
        };
        let (one, two) = (block("a", "g"), block("b", "h"));
        let file = Touched {
            path: "a.c".to_owned(),
            original: Some(text(&one, &two)),
            patched: Some(text(&two, &one)),
        };
        let words = declared(&[file]);
        assert!(words.contains("n") && !words.contains("other"), "{words:?}");
        let told = |name: &str| reordered(&BTreeSet::from([name.to_owned()]), &words).collect::<Vec<_>>();
        assert!(told("n")[0].starts_with("one function has several static variables called n"));
        assert_eq!(told("other"), Vec::<String>::new());
    }
}
