// SPDX-License-Identifier: GPL-2.0-only
//! Patches: unified diffs and what git makes of them, read and applied; and diffs that diffy makes, which
//! only this place names.
//!
//! A hunk fits where all of its lines are found: unlike patch(1) with its fuzz, nothing is guessed. If they are found
//! several times, the line that the hunk names or the function after its `@@` decides; the smallest distance does
//! not.
//!
//! - [`read`]: the text of a patch

pub(crate) mod read;

use std::fmt;

use anyhow::{Result, bail, ensure};

/// The changes of a patch in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Its path before, relative to the tree; none for a new file.
    pub old: Option<String>,
    /// Its path afterwards; none for a removed file.
    pub new: Option<String>,
    /// The changes, in the order of the file.
    pub hunks: Vec<Hunk>,
    /// What is done to it.
    pub kind: ChangeKind,
}

/// What a patch does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Its text or its mode changes, or it comes or goes.
    Text,
    /// It gets another path.
    Renamed,
    /// Another file is made from it.
    Copied,
    /// It is no text, and changes.
    Binary,
}

/// A group of changed lines with the lines around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// The line of the old file that it begins with, counted from 1.
    pub old_start: usize,
    /// The line of the new file that it begins with.
    pub new_start: usize,
    /// The text after the second `@@`: mostly the function it is in.
    pub heading: String,
    /// Its lines, each with its line break.
    pub lines: Vec<HunkLine>,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HunkLine {
    /// In both files.
    Kept(Vec<u8>),
    /// In the old file only.
    Removed(Vec<u8>),
    /// In the new file only.
    Added(Vec<u8>),
}

/// Why a patch does not fit a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Which hunk, counted from 1.
    pub hunk: usize,
    /// The line of the file, from 1, at which most of the hunk's lines are found; how many are found there; and how
    /// many it has.
    pub nearest: Option<(usize, usize, usize)>,
    /// The first line of the hunk that is missing in the file.
    pub wanted: String,
    /// The file's line in its place.
    pub found: Option<String>,
    /// Whether the hunk is applied already.
    pub is_applied: bool,
    /// The lines of the file, from 1, at which the hunk fits, if nothing tells which one is meant.
    pub several: Vec<usize>,
    /// Whether the hunk has only changed lines, and the file others: nothing but a number tells where it belongs.
    pub is_bare: bool,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_bare {
            return write!(
                f,
                "hunk #{} has no unchanged line around the change, so that only a number tells where it belongs: make the \
                 patch with context (git diff -U3)",
                self.hunk
            );
        }
        if let [others @ .., last] = self.several.as_slice() {
            let others = others.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            return write!(
                f,
                "hunk #{} fits at the lines {others} and {last}, and neither the line that it names nor the function behind \
                 its @@ tells which is meant: make the patch anew for this very source, or with more lines around the \
                 change (git diff -U10)",
                self.hunk
            );
        }
        write!(f, "hunk #{} does not fit", self.hunk)?;
        if self.is_applied {
            return f.write_str(": the file has its lines already");
        }
        match self.nearest {
            Some((line, matching, all)) => {
                write!(
                    f,
                    ": nearest is line {line}, where {matching} of {all} lines are the same; it wants "
                )?;
            }
            None => f.write_str(": none of its lines is there; it wants ")?,
        }
        write!(f, "{:?}", self.wanted)?;
        match &self.found {
            Some(found) => write!(f, ", and the file has {found:?}"),
            None => Ok(()),
        }
    }
}

fn hunk(hunk: &diffy::Hunk<'_, [u8]>) -> Hunk {
    let lines = hunk.lines().iter().map(|line| match line {
        diffy::Line::Context(text) => HunkLine::Kept(text.to_vec()),
        diffy::Line::Delete(text) => HunkLine::Removed(text.to_vec()),
        diffy::Line::Insert(text) => HunkLine::Added(text.to_vec()),
    });
    let heading = hunk.function_context().map(|text| String::from_utf8_lossy(text).trim().to_owned());
    Hunk {
        old_start: hunk.old_range().start(),
        new_start: hunk.new_range().start(),
        heading: heading.unwrap_or_default(),
        lines: lines.collect(),
    }
}

/// The changes that lead from `old` to `new`, with `context` unchanged lines around each.
pub fn difference(old: &[u8], new: &[u8], context: usize) -> Vec<Hunk> {
    let mut options = diffy::DiffOptions::new();
    options.set_context_len(context);
    options.create_patch_bytes(old, new).hunks().iter().map(hunk).collect()
}

impl Hunk {
    /// The removed and added lines, each with its line numbers in the old and in the new file.
    pub fn changes(&self) -> impl Iterator<Item = (&HunkLine, [usize; 2])> {
        let mut at = [self.old_start, self.new_start];
        self.lines.iter().filter_map(move |line| {
            let here = at;
            let [old, new] = &mut at;
            *old += usize::from(!matches!(line, HunkLine::Added(_)));
            *new += usize::from(!matches!(line, HunkLine::Removed(_)));
            (!matches!(line, HunkLine::Kept(_))).then_some((line, here))
        })
    }

    /// Whether none of its lines is in both files, and it is not about a whole file of so many lines, as for a new or
    /// removed one.
    fn is_bare(&self, count: usize) -> bool {
        !self.lines.iter().any(|line| matches!(line, HunkLine::Kept(_))) && self.before().len() != count
    }

    /// Its lines in the old file.
    pub fn before(&self) -> Vec<&[u8]> {
        let lines = self.lines.iter().filter_map(|line| match line {
            HunkLine::Kept(text) | HunkLine::Removed(text) => Some(text.as_slice()),
            HunkLine::Added(_) => None,
        });
        lines.collect()
    }

    /// Its lines in the new file.
    pub fn after(&self) -> Vec<&[u8]> {
        let lines = self.lines.iter().filter_map(|line| match line {
            HunkLine::Kept(text) | HunkLine::Added(text) => Some(text.as_slice()),
            HunkLine::Removed(_) => None,
        });
        lines.collect()
    }

    /// The hunk that reverts this one.
    pub fn reversed(&self) -> Hunk {
        let lines = self.lines.iter().map(|line| match line {
            HunkLine::Kept(text) => HunkLine::Kept(text.clone()),
            HunkLine::Removed(text) => HunkLine::Added(text.clone()),
            HunkLine::Added(text) => HunkLine::Removed(text.clone()),
        });
        Hunk {
            old_start: self.new_start,
            new_start: self.old_start,
            heading: self.heading.clone(),
            lines: lines.collect(),
        }
    }
}

impl FileChange {
    /// The change with `count` directories stripped from its paths, as `-p` of patch(1) does.
    ///
    /// # Errors
    /// A path has fewer directories, or leads out of the tree.
    pub fn stripped(mut self, count: usize) -> Result<FileChange> {
        for path in self.old.iter_mut().chain(&mut self.new) {
            let mut parts = path.split('/');
            for _ in 0..count {
                parts.next();
            }
            let rest = parts.collect::<Vec<_>>().join("/");
            ensure!(!rest.is_empty(), "{path}: it has no {count} directories in front to be taken off (-p)");
            ensure!(
                !rest.starts_with('/') && rest.split('/').all(|part| !matches!(part, ".." | "." | "")),
                "{path}: a patch that leads out of the tree is not applied"
            );
            *path = rest;
        }
        // In a diff that is not git's, both names are there even if they differ only in the directory before the
        // tree.
        if self.kind == ChangeKind::Text && self.old.is_some() && self.new.is_some() && self.old != self.new {
            self.kind = ChangeKind::Renamed;
        }
        Ok(self)
    }

    /// Checks that [`FileChange::apply`] brings all of it.
    ///
    /// # Errors
    /// It is no change of a text.
    pub fn check_text(&self) -> Result<()> {
        let [old, new] = [&self.old, &self.new].map(|path| path.as_deref().unwrap_or_default());
        match self.kind {
            ChangeKind::Text => Ok(()),
            ChangeKind::Renamed => {
                bail!("{old} becomes {new}: renaming is no change that can be patched in")
            }
            ChangeKind::Copied => bail!("{old} is copied to {new}: that is no change that can be patched in"),
            ChangeKind::Binary => bail!("{}: a binary file is changed", self.path()),
        }
    }

    /// The paths of the files that it touches.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let old = self.old.as_deref().filter(|_| self.kind != ChangeKind::Copied);
        old.into_iter().chain(self.new.as_deref().filter(|new| Some(*new) != old))
    }

    /// The path of the file.
    pub fn path(&self) -> &str {
        self.new.as_deref().or(self.old.as_deref()).unwrap_or_default()
    }

    /// The change that reverts this one.
    pub fn reversed(&self) -> FileChange {
        FileChange {
            old: self.new.clone(),
            new: self.old.clone(),
            hunks: self.hunks.iter().map(Hunk::reversed).collect(),
            kind: self.kind,
        }
    }

    /// Applies the change to a file with the contents `base`: the new contents, and the line of `base` (from 0) at
    /// which each hunk was found.
    ///
    /// # Errors
    /// A hunk does not fit, or fits at several lines, and nothing tells which one is meant; or it has no context.
    pub fn apply(&self, base: &[u8]) -> std::result::Result<(Vec<u8>, Vec<usize>), Misfit> {
        self.apply_by(base, choose)
    }

    /// Applies the change like [`FileChange::apply`], but of several lines at which a hunk fits, takes the nearest to
    /// the line that it names, as git does.
    ///
    /// # Errors
    /// A hunk does not fit.
    pub fn apply_nearest(&self, base: &[u8]) -> std::result::Result<(Vec<u8>, Vec<usize>), Misfit> {
        self.apply_by(base, |_, _, places, expected| {
            places.iter().copied().min_by_key(|place| place.abs_diff(expected))
        })
    }

    fn apply_by(
        &self,
        base: &[u8],
        choose: impl Fn(&[&[u8]], &Hunk, &[usize], usize) -> Option<usize>,
    ) -> std::result::Result<(Vec<u8>, Vec<usize>), Misfit> {
        let base: Vec<&[u8]> = base.split_inclusive(|&byte| byte == b'\n').collect();
        let mut result: Vec<&[u8]> = Vec::new();
        let mut places = Vec::new();
        let mut done = 0;
        let mut shift: isize = 0;
        for (index, hunk) in self.hunks.iter().enumerate() {
            let old = hunk.before();
            // A hunk without old lines names the line before it.
            let told = if old.is_empty() { hunk.old_start } else { hunk.old_start.saturating_sub(1) };
            let expected = told.saturating_add_signed(shift);
            let found =
                if old.is_empty() { vec![expected.clamp(done, base.len())] } else { find(&base, &old, done) };
            let place = choose(&base, hunk, &found, expected).filter(|_| !hunk.is_bare(base.len()));
            let Some(place) = place else {
                return Err(misfit(&base, hunk, index + 1, expected, &found));
            };
            shift = place.cast_signed() - told.cast_signed();
            result.extend(base.get(done..place).unwrap_or_default());
            result.extend(hunk.after());
            places.push(place);
            done = place + old.len();
        }
        result.extend(base.get(done..).unwrap_or_default());
        Ok((result.concat(), places))
    }
}

/// The lines from `from` on at which `wanted` is found.
fn find(base: &[&[u8]], wanted: &[&[u8]], from: usize) -> Vec<usize> {
    let Some(last) = base.len().checked_sub(wanted.len()) else { return Vec::new() };
    let fits = |&place: &usize| base.get(place..place + wanted.len()).is_some_and(|lines| lines == wanted);
    (from..=last).filter(fits).collect()
}

/// Which of the lines `places` a hunk means: the only one, or the `expected` one or the one in the function that the
/// hunk names. If both tell one, they have to agree.
fn choose(base: &[&[u8]], hunk: &Hunk, places: &[usize], expected: usize) -> Option<usize> {
    if let [only] = places {
        return Some(*only);
    }
    let heading = hunk.heading.as_bytes();
    let in_function = |place: &usize| !heading.is_empty() && heading_of(base, *place).starts_with(heading);
    let in_function: Vec<usize> = places.iter().copied().filter(in_function).collect();
    let at_line = places.contains(&expected).then_some(expected);
    match (at_line, in_function.as_slice()) {
        (Some(line), []) => Some(line),
        (Some(line), several) => several.contains(&line).then_some(line),
        (None, [only]) => Some(*only),
        (None, _) => None,
    }
}

/// The text that diff(1) and git print after the second `@@` of a hunk that begins at the line `place`: the last line
/// before it that begins like a function. Labels do not count.
fn heading_of<'a>(base: &[&'a [u8]], place: usize) -> &'a [u8] {
    let is_heading = |line: &&&[u8]| {
        line.first().is_some_and(|first| first.is_ascii_alphabetic() || b"_$".contains(first))
            && !line.trim_ascii_end().ends_with(b":")
    };
    let before = base.get(..place).unwrap_or_default();
    before.iter().rev().find(is_heading).copied().unwrap_or_default()
}

fn misfit(base: &[&[u8]], hunk: &Hunk, number: usize, expected: usize, found: &[usize]) -> Misfit {
    let old = hunk.before();
    let matching = |place: usize| {
        base.iter().skip(place).zip(&old).filter(|(have, want)| have == want && have.len() > 2).count()
    };
    let best = (0..base.len()).map(|place| (matching(place), place)).filter(|(count, _)| *count > 0);
    let best = best.max_by_key(|(count, place)| (*count, std::cmp::Reverse(place.abs_diff(expected))));
    let place = best.map_or(expected, |(_, place)| place);
    let mut differences =
        old.iter().enumerate().filter(|(index, want)| base.get(place + index) != Some(want));
    let first = differences.next();
    let is_blank = |line: &[u8]| line.trim_ascii().is_empty();
    let different = match first {
        Some((_, line)) if is_blank(line) => differences.find(|(_, line)| !is_blank(line)).or(first),
        first => first,
    };
    let found_there = different.and_then(|(index, _)| base.get(place + index));
    // Where lines differ at their ends only, the ends are shown.
    let is_end = found_there
        .zip(different)
        .is_some_and(|(have, (_, want))| have.trim_ascii_end() == want.trim_ascii_end());
    let shown = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let end = if is_end { line.trim_end_matches('\n') } else { line.trim_end() };
        end.to_owned()
    };
    let new = hunk.after();
    Misfit {
        hunk: number,
        nearest: best.map(|(count, place)| (place + 1, count, old.len())),
        wanted: different.map(|(_, line)| shown(line)).unwrap_or_default(),
        found: found_there.map(|line| shown(line)),
        is_applied: !new.is_empty() && !find(base, &new, 0).is_empty(),
        several: found.iter().map(|place| place + 1).collect(),
        is_bare: hunk.is_bare(base.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::read::parse;
    use super::*;

    const BASE: &[u8] = b"a\nb\nc\nd\ne\nf\ng\n";
    const PATCH: &[u8] =
        b"Some words.\n\n--- a/x/y.c\n+++ b/x/y.c\n@@ -2,3 +2,4 @@ f()\n b\n-c\n+C\n+D\n d\n";

    fn only(text: &[u8]) -> FileChange {
        parse(text).unwrap().pop().unwrap().stripped(1).unwrap()
    }

    #[test]
    fn a_patch_goes_on_and_off() {
        let change = only(PATCH);
        assert_eq!((change.path(), change.hunks[0].heading.as_str()), ("x/y.c", "f()"));
        let (new, places) = change.apply(BASE).unwrap();
        assert_eq!((new.as_slice(), places), (&b"a\nb\nC\nD\nd\ne\nf\ng\n"[..], vec![1]));
        assert_eq!(change.reversed().apply(&new).unwrap().0, BASE);
    }

    #[test]
    fn a_hunk_is_found_where_it_says() {
        let change = only(PATCH);
        assert_eq!(change.apply(&[&b"x\n"[..], BASE].concat()).unwrap().1, [2], "the only place");
        // Twice, neither time at its line.
        let twice = [&b"b\nc\nd\n"[..], BASE].concat();
        assert_eq!(change.apply_nearest(&twice).unwrap().1, [0]);
        let misfit = change.apply(&twice).unwrap_err();
        assert_eq!(misfit.several, [1, 5]);
        assert!(
            misfit.to_string().starts_with("hunk #1 fits at the lines 1 and 5, and neither "),
            "{misfit}"
        );
        // At its line, and elsewhere.
        assert_eq!(change.apply(&[BASE, b"b\nc\nd\n"].concat()).unwrap().1, [1]);
    }

    #[test]
    fn of_several_places_the_one_in_the_named_function_is_taken() {
        let change = only(b"--- a/x\n+++ b/x\n@@ -2,3 +2,3 @@ f()\n \tb\n-\tc\n+\tC\n \td\n");
        let body = "\tb\n\tc\n\td\n";
        let places = |base: &str| {
            change.apply(base.as_bytes()).map(|(_, places)| places).map_err(|misfit| misfit.several)
        };
        assert_eq!(places(&format!("\n\ng()\n{{\n{body}}}\nf()\n{{\nout:\n{body}}}\n")), Ok(vec![11]));
        // The line says the one, and the function the other.
        assert_eq!(places(&format!("\n{body}f()\n{body}")), Err(vec![2, 6]));
        // Both say the same.
        assert_eq!(places(&format!("f()\n{body}g()\n{body}")), Ok(vec![1]));
        // The function has it twice.
        assert_eq!(places(&format!("\nf()\n{body}{body}")), Err(vec![3, 6]));
        // No function is named as that one is: the line decides.
        assert_eq!(places(&format!("e()\n{body}g()\n{body}")), Ok(vec![1]));
    }

    #[test]
    fn what_does_not_fit_is_told_with_the_nearest_place() {
        let change = only(PATCH);
        let misfit = change.apply(b"q\na\nbbb\nccc\nxxx\n").unwrap_err();
        assert_eq!((misfit.hunk, misfit.is_applied), (1, false));
        let nearly = parse(b"--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n first\n-second\n+2nd\n third\n").unwrap();
        let nearly = nearly[0].clone().stripped(1).unwrap();
        let misfit = nearly.apply(b"zero\nfirst\nanother\nthird\n").unwrap_err();
        assert_eq!(misfit.nearest, Some((2, 2, 3)));
        assert_eq!((misfit.wanted.as_str(), misfit.found.as_deref()), ("second", Some("another")));
        assert!(nearly.apply(b"first\n2nd\nthird\n").unwrap_err().is_applied);
        let ends = parse(b"--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n \r\n-second\r\n+2nd\r\n third\n").unwrap();
        let misfit = ends[0].clone().stripped(1).unwrap().apply(b"\nsecond\nthird\n").unwrap_err();
        assert_eq!((misfit.wanted.as_str(), misfit.found.as_deref()), ("second\r", Some("second")));
    }

    #[test]
    fn files_come_and_go() {
        let new = only(b"--- /dev/null\n+++ b/new.c\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!((new.old.as_deref(), new.new.as_deref()), (None, Some("new.c")));
        assert_eq!(new.apply(b"").unwrap().0, b"a\nb\n");
        let gone = only(b"--- a/old.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n");
        assert_eq!((gone.new.as_deref(), gone.apply(b"a\nb\n").unwrap().0.as_slice()), (None, &b""[..]));
    }

    #[test]
    fn a_hunk_without_context_is_refused() {
        for text in [
            "--- a/x\n+++ b/x\n@@ -3,0 +4 @@ f()\n+C\n",
            "--- a/x\n+++ b/x\n@@ -3 +3 @@ f()\n-c\n+C\n",
            "--- a/x\n+++ b/x\n@@ -1,3 +1,4 @@\n a\n b\n+B\n c\n@@ -5 +5,0 @@\n-e\n",
            "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+C\n",
            "--- a/x\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n",
        ] {
            let misfit = only(text.as_bytes()).apply(BASE).unwrap_err();
            assert!(misfit.is_bare, "{text}");
            assert!(misfit.to_string().ends_with("make the patch with context (git diff -U3)"), "{misfit}");
        }
        // The whole file is changed, or the file was empty: there is no context.
        let whole = only(b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n");
        assert_eq!(whole.apply(b"a\n").unwrap().0, b"b\n");
        let empty = only(b"--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+a\n");
        assert_eq!(empty.apply(b"").unwrap().0, b"a\n");
    }

    #[test]
    fn mails_of_git_and_series_are_read() {
        let mail = |name: &str| {
            format!(
                "From 0123 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nSubject: [PATCH] x\n\n---\n {name} | 2 +-\n\n\
                 diff --git a/{name} b/{name}\nindex 1..2 100644\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-a\n+b\n-- \n2.39\n\n"
            )
        };
        let changes = parse(format!("{}{}", mail("x.c"), mail("y.c")).as_bytes()).unwrap();
        let paths: Vec<&str> = changes.iter().map(FileChange::path).collect();
        assert_eq!(paths, ["b/x.c", "b/y.c"]);
        assert!(parse(b"no patch at all\n").is_err());
    }

    #[test]
    fn paths_out_of_the_tree_are_refused() {
        for path in ["b/../../etc/passwd", "b//etc/passwd"] {
            let text = format!("--- a/x\n+++ {path}\n@@ -1 +1 @@\n-a\n+b\n");
            assert!(parse(text.as_bytes()).unwrap().pop().unwrap().stripped(1).is_err(), "{path}");
        }
    }
}
