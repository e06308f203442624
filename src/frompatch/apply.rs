// SPDX-License-Identifier: GPL-2.0-only
//! Applies the patches to a directory that has only the touched files (the overlay), which the compiler looks into
//! before the source tree. The source tree is read, and never written.
//!
//! - [`scope`]: which files a livepatch can change

pub(crate) mod scope;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use crate::frompatch::apply::scope::Scope;
use crate::host::patch::{self, ChangeKind, FileChange, Hunk, HunkLine, read};

/// A patch: the name that messages have for it, and its text.
pub type NamedPatch = (String, Vec<u8>);

/// A file that the patches touch.
#[derive(Debug, Clone)]
pub struct Touched {
    /// Its path in the source tree.
    pub path: String,
    /// Its text before the patches; none for a new file.
    pub original: Option<Vec<u8>>,
    /// Its text after the patches; none for a removed file.
    pub patched: Option<Vec<u8>>,
}

/// The outcome of applying the patches.
#[derive(Debug, Default)]
pub struct AppliedPatches {
    /// The files that can have an effect, sorted by path.
    pub files: Vec<Touched>,
    /// Files whose changes have no effect on this kernel, with the reason.
    pub ignored: Vec<(String, String)>,
}

/// Applies patches, in order and in memory, to the files of `source`.
///
/// # Errors
/// A patch cannot be read, does not fit, is applied already, or touches a file that no livepatch can change.
pub fn apply(source: &Path, patches: &[NamedPatch], strip: usize, arch: &str) -> Result<AppliedPatches> {
    let mut files: BTreeMap<String, Touched> = BTreeMap::new();
    let mut ignored: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in patches {
        let changes = read::parse(text).with_context(|| format!("{name} cannot be applied"))?;
        for change in changes {
            let change = change.stripped(strip).with_context(|| format!("{name} cannot be applied"))?;
            if let Some(why) = why_elsewhere(&change, arch) {
                ignored.insert(change.path().to_owned(), why);
                continue;
            }
            change.check_text().with_context(|| format!("{name} cannot be applied"))?;
            if let Scope::Refused(why) = Scope::of(change.path(), arch) {
                bail!("{name} changes {}: {why}", change.path());
            }
            let file = match files.remove(change.path()) {
                Some(file) => file,
                None => touched(source, change.path())?,
            };
            let file = one(file, &change, source)
                .with_context(|| format!("{name} does not apply{}", carriage_returns(text)))?;
            files.insert(file.path.clone(), file);
        }
    }
    let files = files.into_values().filter(|file| file.original != file.patched).collect();
    Ok(AppliedPatches { files, ignored: ignored.into_iter().collect() })
}

/// Why a change has no effect: all files that it touches are no part of this kernel. None if it may have one.
fn why_elsewhere(change: &FileChange, arch: &str) -> Option<String> {
    let scopes = change.paths().map(|path| Scope::of(path, arch));
    let whys = scopes.map(|scope| if let Scope::Elsewhere(why) = scope { Some(why) } else { None });
    whys.collect::<Option<Vec<String>>>()?.pop()
}

/// The hint about a patch whose lines all end with a carriage return, as mail programs and other systems write them;
/// empty for any other.
fn carriage_returns(text: &[u8]) -> &'static str {
    let ends = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let are_all = ends.into_iter().all(|line| line.ends_with(b"\r"));
    if are_all { ", and its lines end with CR LF, which dos2unix takes away" } else { "" }
}

/// A file as it lies in the source tree.
fn touched(source: &Path, path: &str) -> Result<Touched> {
    let original = match fs::read(source.join(path)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Touched { path: path.to_owned(), patched: original.clone(), original })
}

/// Applies the change of one file.
fn one(file: Touched, change: &FileChange, source: &Path) -> Result<Touched> {
    let path = &file.path;
    let base = match (&change.old, &file.patched) {
        (None, Some(now)) => {
            let is_same = change.apply(b"").is_ok_and(|(new, _)| new == *now);
            let already = if is_same { ": the patch is applied already" } else { "" };
            bail!("{path} is to be made, and is there already{already}");
        }
        (Some(_), None) => {
            bail!("there is no {path} in {}: is this the source of the kernel at hand?", source.display())
        }
        (_, now) => now.clone().unwrap_or_default(),
    };
    match change.apply(&base) {
        Ok((new, _)) if change.new.is_none() && !change.hunks.is_empty() && !new.is_empty() => {
            bail!(
                "{path} is to be removed, and the patch does not have all of its lines: it is for another version of it"
            )
        }
        Ok((new, _)) => Ok(Touched { patched: change.new.is_some().then_some(new), ..file }),
        Err(misfit) if misfit.several.is_empty() && change.reversed().apply(&base).is_ok() => {
            bail!("{path} has these changes already: the patch is in this kernel's source")
        }
        Err(misfit) => bail!("{path}: {misfit}"),
    }
}

impl Touched {
    /// The changed groups of lines between the original and the patched file, with the lines around them.
    pub fn hunks(&self) -> Vec<Hunk> {
        self.difference(3)
    }

    fn difference(&self, context: usize) -> Vec<Hunk> {
        let [old, new] = [&self.original, &self.patched].map(|text| text.as_deref().unwrap_or_default());
        patch::difference(old, new, context)
    }

    /// The patched file, for the compiler: after each group of changed lines, `#line` gives the following lines their
    /// old number. So code that contains its own line number (`WARN_ON`, `might_sleep`) does not change.
    pub fn for_compiler(&self) -> Vec<u8> {
        let new = self.patched.clone().unwrap_or_default();
        if self.original.is_none() || !is_c(&self.path) {
            return new;
        }
        numbered(&new, &self.difference(0))
    }

    /// The file with only some of its changes: those for which `keep` is true, by their index in [`Touched::hunks`].
    pub fn partly(&self, keep: impl Fn(usize) -> bool) -> Result<Touched> {
        let (old, new) = (self.original.clone(), self.patched.clone());
        let hunks = self.hunks().into_iter().enumerate().filter(|(index, _)| keep(*index));
        let hunks = hunks.map(|(_, hunk)| hunk).collect();
        let path = Some(self.path.clone());
        let change = FileChange { old: path.clone(), new: path, hunks, kind: ChangeKind::Text };
        match (old, new) {
            (Some(old), Some(_)) => {
                let (text, _) = change.apply(&old).map_err(|misfit| anyhow::anyhow!("{misfit}"))?;
                Ok(Touched { path: self.path.clone(), original: Some(old), patched: Some(text) })
            }
            _ => Ok(self.clone()),
        }
    }
}

/// Whether a file is C: `#line` has a meaning only there.
pub fn is_c(path: &str) -> bool {
    path.ends_with(".c") || path.ends_with(".h")
}

/// Adds `#line` after each of the `groups` of changed lines.
fn numbered(new: &[u8], groups: &[Hunk]) -> Vec<u8> {
    // By the index of a line: the number that this line had before the patch, for a directive in front of it.
    let mut marks: BTreeMap<usize, usize> = BTreeMap::new();
    let lines: Vec<&[u8]> = new.split_inclusive(|&byte| byte == b'\n').collect();
    let is_comment = begun_in_comments(&lines);
    for (number, group) in groups.iter().enumerate() {
        let added = group.lines.iter().filter(|line| matches!(line, HunkLine::Added(_))).count();
        let removed = group.lines.iter().filter(|line| matches!(line, HunkLine::Removed(_))).count();
        // If a group has no lines on one side, its start is the number of the line before it.
        let new_end = if added == 0 { group.new_start } else { group.new_start - 1 + added };
        let old_end = if removed == 0 { group.old_start } else { group.old_start - 1 + removed };
        let limit = groups.get(number + 1).map_or(lines.len(), |next| next.new_start.saturating_sub(1));
        let mut places = (new_end..limit).filter(|&index| is_comment.get(index) == Some(&false));
        let place = places.find(|&index| can_stand_before(&lines, index));
        if let Some(place) = place.filter(|_| new_end != old_end) {
            marks.insert(place, old_end + (place - new_end) + 1);
        }
    }
    let mut text = Vec::with_capacity(new.len() + 32 * marks.len());
    for (index, line) in lines.iter().enumerate() {
        if let Some(number) = marks.get(&index) {
            text.extend_from_slice(format!("#line {number}\n").as_bytes());
        }
        text.extend_from_slice(line);
    }
    text
}

/// Whether a directive can stand in front of the line with this index: not if the line before it ends with a
/// backslash, and not among the arguments of a macro.
fn can_stand_before(lines: &[&[u8]], index: usize) -> bool {
    let before = index.checked_sub(1).and_then(|before| lines.get(before)).copied().unwrap_or_default();
    let before = before.trim_ascii_end();
    before.is_empty() || before.ends_with(b"*/") || before.last().is_some_and(|last| b";{}:".contains(last))
}

/// For each line, whether it begins within a comment, where a directive has no effect.
fn begun_in_comments(lines: &[&[u8]]) -> Vec<bool> {
    let mut is_comment = false;
    let mut begun = Vec::with_capacity(lines.len());
    for line in lines {
        begun.push(is_comment);
        let mut rest = *line;
        let mut quote = None;
        while let [first, after @ ..] = rest {
            let second = after.first();
            let (is_open, is_close) =
                ((*first, second) == (b'/', Some(&b'*')), (*first, second) == (b'*', Some(&b'/')));
            let mut taken = 1;
            match quote {
                _ if is_comment => (is_comment, taken) = (!is_close, 1 + usize::from(is_close)),
                Some(_) if *first == b'\\' => taken = 2,
                Some(open) => quote = (*first != open).then_some(open),
                None if is_open => (is_comment, taken) = (true, 2),
                None if (*first, second) == (b'/', Some(&b'/')) => break,
                None => quote = matches!(first, b'"' | b'\'').then_some(*first),
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
    begun
}

/// Writes the overlay: each touched file as the compiler has to see it.
///
/// # Errors
/// A file cannot be written.
pub fn write(overlay: &Path, files: &[Touched]) -> Result<()> {
    write_as(overlay, files, Touched::for_compiler)
}

/// Writes the patched files with their own line numbers, for people to read.
///
/// # Errors
/// A file cannot be written.
pub fn write_plain(overlay: &Path, files: &[Touched]) -> Result<()> {
    write_as(overlay, files, |file| file.patched.clone().unwrap_or_default())
}

fn write_as(overlay: &Path, files: &[Touched], text: impl Fn(&Touched) -> Vec<u8>) -> Result<()> {
    for file in files.iter().filter(|file| file.patched.is_some()) {
        let path: PathBuf = overlay.join(&file.path);
        fs::create_dir_all(path.parent().unwrap_or(overlay))?;
        // If this is a link, writing to it would write to the source tree.
        let _ = fs::remove_file(&path);
        fs::write(path, text(file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("fs")).unwrap();
        fs::write(dir.path().join("fs/a.c"), "int a;\nint b;\n\nint c;\nint d;\nint e;\n").unwrap();
        dir
    }

    fn patched(text: &str) -> Result<AppliedPatches> {
        apply(tree().path(), &[("fix.patch".to_owned(), text.as_bytes().to_vec())], 1, "x86")
    }

    const ADD: &str = "--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1,3 +1,4 @@\n int a;\n+int new;\n int b;\n \n";

    #[test]
    fn carriage_returns_are_named() {
        let message = format!("{:#}", patched(&ADD.replace('\n', "\r\n")).unwrap_err());
        assert!(message.starts_with("fix.patch does not apply, and its lines end with CR LF"), "{message}");
        let other = format!("{:#}", patched(&ADD.replace("int a", "int x")).unwrap_err());
        assert!(!other.contains("CR LF"), "{other}");
    }

    #[test]
    fn what_lies_beside_the_kernel_may_be_renamed_and_be_binary() {
        let git =
            |old: &str, new: &str, lines: &str| patched(&format!("{ADD}diff --git a/{old} b/{new}\n{lines}"));
        let renamed = |word: &str, old: &str, new: &str| {
            git(old, new, &format!("similarity index 100%\n{word} from {old}\n{word} to {new}\n"))
        };
        let binary = |path: &str| git(path, path, "index 1..2 100644\nBinary files differ\n");
        let edited = git(
            "tools/a.c",
            "tools/b.c",
            "similarity index 90%\nrename from tools/a.c\nrename to tools/b.c\n--- a/tools/a.c\n+++ b/tools/b.c\n\
             @@ -1 +1 @@\n-a\n+b\n",
        );
        for (applied, path) in [
            (renamed("rename", "Documentation/a.rst", "Documentation/b.rst"), "Documentation/b.rst"),
            (renamed("copy", "fs/a.c", "tools/a.c"), "tools/a.c"),
            (edited, "tools/b.c"),
            (binary("Documentation/a.png"), "Documentation/a.png"),
        ] {
            let applied = applied.unwrap();
            assert_eq!(applied.files.len(), 1, "{path}");
            assert_eq!(applied.ignored, [(path.to_owned(), "no part of the kernel".to_owned())]);
        }
        for (applied, told) in [
            (
                renamed("rename", "fs/a.c", "Documentation/a.c"),
                "fs/a.c becomes Documentation/a.c: renaming is",
            ),
            (renamed("rename", "tools/a.c", "fs/c.c"), "tools/a.c becomes fs/c.c: renaming is"),
            (renamed("copy", "tools/a.c", "fs/c.c"), "tools/a.c is copied to fs/c.c: that is"),
            (binary("fs/a.bin"), "fs/a.bin: a binary file is changed"),
            (
                patched("--- a/fs/a.c\n+++ b/fs/b.c\n@@ -1,3 +1,4 @@\n int a;\n+int new;\n int b;\n \n"),
                "fs/a.c becomes fs/b.c: renaming is",
            ),
        ] {
            let message = format!("{:#}", applied.unwrap_err());
            assert!(message.starts_with(&format!("fix.patch cannot be applied: {told}")), "{message}");
        }
    }

    #[test]
    fn a_file_is_removed_whole() {
        let removal = |counts: &str, lines: &str| {
            patched(&format!("--- a/fs/a.c\n+++ /dev/null\n@@ {counts} @@\n{lines}"))
        };
        let message = format!("{:#}", removal("-1,3 +1,1", "-int a;\n-int b;\n \n").unwrap_err());
        assert!(
            message.contains("fs/a.c is to be removed, and the patch does not have all of its lines"),
            "{message}"
        );
        let applied = removal("-1,6 +0,0", "-int a;\n-int b;\n-\n-int c;\n-int d;\n-int e;\n").unwrap();
        assert_eq!(applied.files[0].patched, None);
    }

    #[test]
    fn what_follows_a_change_keeps_its_line_number() {
        let applied = patched(ADD).unwrap();
        let text = applied.files[0].for_compiler();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "int a;\nint new;\n#line 2\nint b;\n\nint c;\nint d;\nint e;\n"
        );
    }

    #[test]
    fn no_directive_stands_behind_a_backslash_or_among_arguments() {
        let file = |original: &str, patched: &str| Touched {
            path: "a.c".to_owned(),
            original: Some(original.into()),
            patched: Some(patched.into()),
        };
        let text = |file: Touched| String::from_utf8(file.for_compiler()).unwrap();
        let macros =
            file("#define A \\\n\tb\nint c;\nint d;\n", "#define A \\\n\tx; \\\n\tb\nint c;\nint d;\n");
        assert_eq!(text(macros), "#define A \\\n\tx; \\\n\tb\nint c;\n#line 4\nint d;\n");
        let call = file("f(a,\n  b);\ng();\n", "f(a,\n  x,\n  b);\ng();\n");
        assert_eq!(text(call), "f(a,\n  x,\n  b);\n#line 3\ng();\n");
        let removed = file("int a;\nint b;\nint c;\n", "int a;\nint c;\n");
        assert_eq!(text(removed), "int a;\n#line 3\nint c;\n");
        let comment =
            file("int a;\n/* x\n * y:\n */\nint b;\n", "int a;\n/* x\n * z\n * y:\n\n */\nint b;\n");
        assert_eq!(text(comment), "int a;\n/* x\n * z\n * y:\n\n */\n#line 5\nint b;\n");
        let same = file("int a;\nint c;\n", "int b;\nint c;\n");
        assert_eq!(text(same), "int b;\nint c;\n");
    }

    #[test]
    fn comments_are_told_from_texts() {
        let of = |text: &[u8]| -> String {
            let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
            begun_in_comments(&lines).iter().map(|is| if *is { 'c' } else { '-' }).collect()
        };
        assert_eq!(of(b"a /* b\n\" c\n d */ e\nf\n"), "-cc-");
        assert_eq!(of(b"a = \"/*\\\" /*\";\nb\n"), "--");
        assert_eq!(of(b"a = '\"'; /* \nb\n"), "-c");
        assert_eq!(of(b"// /*\n/*/ a\nb */ /* c */ /*\nd\n"), "--cc");
    }

    #[test]
    fn a_series_is_applied_in_order() {
        let second =
            "--- a/fs/a.c\n+++ b/fs/a.c\n@@ -1,3 +1,3 @@\n int a;\n-int new;\n+int newer;\n int b;\n";
        let patches = [("1".to_owned(), ADD.into()), ("2".to_owned(), second.into())];
        let applied = apply(tree().path(), &patches, 1, "x86").unwrap();
        assert_eq!(
            applied.files[0].patched.as_deref(),
            Some(&b"int a;\nint newer;\nint b;\n\nint c;\nint d;\nint e;\n"[..])
        );
        let wrong = [("2".to_owned(), second.into()), ("1".to_owned(), ADD.into())];
        let error = format!("{:#}", apply(tree().path(), &wrong, 1, "x86").unwrap_err());
        assert!(
            error.starts_with("2 does not apply: fs/a.c: hunk #1 does not fit: nearest is line 1"),
            "{error}"
        );
    }

    #[test]
    fn a_patch_that_is_applied_already_is_told_so() {
        let dir = tree();
        let applied = patched(ADD).unwrap();
        fs::write(dir.path().join("fs/a.c"), applied.files[0].patched.as_ref().unwrap()).unwrap();
        let error = apply(dir.path(), &[("fix.patch".to_owned(), ADD.into())], 1, "x86").unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("fix.patch does not apply") && error.contains("has these changes already"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_is_missing_is_told_with_the_tree() {
        let error = format!("{:#}", patched(&ADD.replace("fs/a.c", "fs/none.c")).unwrap_err());
        assert!(error.contains("there is no fs/none.c in "), "{error}");
    }

    #[test]
    fn changes_can_be_made_one_by_one() {
        let original: String = (0..40).map(|n| format!("int v{n};\n")).collect();
        let patched = original.replace("v3;", "w3;").replace("v30;", "w30;");
        let file = Touched {
            path: "a.c".to_owned(),
            original: Some(original.clone().into()),
            patched: Some(patched.into()),
        };
        assert_eq!(file.hunks().len(), 2);
        let first = file.partly(|index| index == 0).unwrap().patched.unwrap();
        assert_eq!(String::from_utf8(first).unwrap(), original.replace("v3;", "w3;"));
        let second = file.partly(|index| index == 1).unwrap().patched.unwrap();
        assert_eq!(String::from_utf8(second).unwrap(), original.replace("v30;", "w30;"));
    }
}
