// SPDX-License-Identifier: GPL-2.0-only
//! Reads the text of a patch, line by line, with nothing left out in silence.
//!
//! The counts after `@@` say which lines are a hunk's, as for git apply and patch(1). These programs and most parsers
//! skip lines beyond the counts, and hunks behind such lines. A fix of which a part is missing looks like one that is
//! whole: here, a line that may have been a part of a hunk is an error. Mails, and what diff(1) and quilt write around
//! changes, are text and pass.

use anyhow::{Context as _, Error, Result, anyhow, ensure};

use crate::host::patch::{ChangeKind, FileChange, Hunk, HunkLine};

/// How to get around a damaged patch.
const ANEW: &str = "make the patch anew (git diff, git format-patch) rather than editing it";

/// Reads a patch: unified diffs, with git's headers or without, in mails or alone.
///
/// # Errors
/// It has no change of a file, or a line in it can belong to a change and is not counted in one.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<FileChange>> {
    let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    ensure!(
        !lines.iter().any(|line| is_encoded(line)),
        "it is a mail with an encoded text (Content-Transfer-Encoding), which is not read: take the patch out of it (git \
         mailinfo, b4 am), or have it sent as it is"
    );
    let mut reader = Reader { lines, at: 0, path: String::new(), is_behind_hunk: false };
    let mut changes = Vec::new();
    while let Some(change) = reader.change()? {
        changes.push(change);
    }
    ensure!(!changes.is_empty(), "this is no patch that can be read (a unified diff is wanted)");
    Ok(changes)
}

/// Whether a line of a mail's header says that the text is encoded (RFC 2045): there, `=3D` is an equals sign.
fn is_encoded(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    let how = line.strip_prefix("content-transfer-encoding:").map(str::trim);
    how.is_some_and(|how| how == "quoted-printable" || how == "base64")
}

/// How the lines of git's header begin, up to the names (`Documentation/diff-generate-patch.txt` of git).
const GIT: [&str; 13] = [
    "old mode ",
    "new mode ",
    "new file mode ",
    "deleted file mode ",
    "index ",
    "similarity index ",
    "dissimilarity index ",
    "rename from ",
    "rename to ",
    "copy from ",
    "copy to ",
    "Binary files ",
    "GIT binary patch",
];

/// The old and the new path of a file; none on the side where there is no file.
type Names = [Option<String>; 2];

struct Reader<'a> {
    /// The lines, each with its line break.
    lines: Vec<&'a [u8]>,
    /// The index of the next one.
    at: usize,
    /// The file of the change that is read, or of the one before; empty before the first.
    path: String,
    /// Whether nothing has ended the last hunk but its counts.
    is_behind_hunk: bool,
}

impl<'a> Reader<'a> {
    fn line(&self) -> Option<&'a [u8]> {
        self.lines.get(self.at).copied()
    }

    fn begins(&self, index: usize, word: &str) -> bool {
        self.lines.get(index).is_some_and(|line| line.starts_with(word.as_bytes()))
    }

    /// Whether the next two lines name a file.
    fn is_at_names(&self) -> bool {
        self.begins(self.at, "--- ") && self.begins(self.at + 1, "+++ ")
    }

    /// An error about the line with this index.
    fn wrong(&self, index: usize, what: &str) -> Error {
        let file = if self.path.is_empty() { String::new() } else { format!(" ({})", self.path) };
        anyhow!("line {}{file}: {what}", index + 1)
    }

    /// The change of the next file.
    fn change(&mut self) -> Result<Option<FileChange>> {
        while let Some(line) = self.line() {
            if line.starts_with(b"diff --git ") {
                return self.of_git().map(Some);
            }
            if self.is_at_names() {
                return self.of_names().map(Some);
            }
            self.check_text(line)?;
            self.at += 1;
        }
        Ok(None)
    }

    /// Checks that a line that is in no change cannot be meant as a part of one.
    fn check_text(&mut self, line: &[u8]) -> Result<()> {
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word.as_bytes()));
        let shown = String::from_utf8_lossy(line);
        let wrong = |what: &str| Err(self.wrong(self.at, &format!("{:?} {what}", shown.trim_end())));
        let is_after_diff = self.at.checked_sub(1).is_some_and(|before| self.begins(before, "diff "));
        if begins(&["diff --cc ", "diff --combined ", "@@@ -"]) {
            return wrong(
                "is of a combined diff, as git shows merges, which is not applied: make the patch against one parent (git \
                 diff A B)",
            );
        }
        if begins(&["*** "]) && self.begins(self.at + 1, "--- ")
            || is_after_diff && line.first().is_some_and(u8::is_ascii_digit)
        {
            return wrong("is of no unified diff: make the patch with diff -u, or with git diff");
        }
        if begins(&["@@ -"]) {
            let what = "belongs to nothing: a hunk has to stand right behind the names of its file (--- and +++), or behind \
                        a hunk that is complete by the counts of its @@ line";
            return wrong(&format!("{what}; {ANEW}"));
        }
        if self.is_behind_hunk && begins(&["+", "-", " ", "\\", "@@"]) && !ends_changes(line) {
            let what = "would be left out: it follows a hunk that is complete by the counts of its @@ line";
            return wrong(&format!("{what}; {ANEW}"));
        }
        self.is_behind_hunk &= !ends_changes(line);
        Ok(())
    }

    /// The change behind the lines that name a file.
    fn of_names(&mut self) -> Result<FileChange> {
        let [old, new] = self.names()?;
        let mut hunks: Vec<Hunk> = Vec::new();
        let mut end = [0, 0];
        while self.begins(self.at, "@@ -") {
            let start = self.at;
            let (hunk, next) = self.hunk()?;
            if hunk.old_start < end[0] || hunk.new_start < end[1] {
                return Err(self.wrong(start, "this hunk begins before the end of the one before it"));
            }
            end = next;
            hunks.push(hunk);
        }
        if hunks.is_empty() {
            self.is_behind_hunk = false;
            self.check_text(self.line().unwrap_or_default())?;
            return Err(self.wrong(self.at - 1, &format!("no hunk follows the names of this file: {ANEW}")));
        }
        self.is_behind_hunk = true;
        Ok(FileChange { old, new, hunks, kind: ChangeKind::Text })
    }

    /// The names in the lines `---` and `+++`.
    fn names(&mut self) -> Result<Names> {
        let mut names = [None, None];
        for name in &mut names {
            let line = self.line().and_then(|line| line.get(4..)).unwrap_or_default();
            // diff(1) writes the time after a tab.
            let text = line.split(|&byte| byte == b'\t').next().unwrap_or_default();
            let text = std::str::from_utf8(text).context("the name of a file is not valid UTF-8")?;
            let text = text.trim_end_matches(['\r', '\n']);
            *name = (text != "/dev/null").then(|| text.to_owned());
            self.at += 1;
        }
        let [old, new] = &names;
        self.path = new.as_ref().or(old.as_ref()).cloned().unwrap_or_default();
        ensure!(!self.path.is_empty(), self.wrong(self.at - 1, "no file is named"));
        // git puts a name with unusual letters in quotes; no file of the kernel has one.
        ensure!(!self.path.starts_with('"'), self.wrong(self.at - 1, "a name in quotes is not read"));
        Ok(names)
    }

    /// The change behind git's header, which may tell more than the change of a text.
    fn of_git(&mut self) -> Result<FileChange> {
        let start = self.at;
        let header = self.line().and_then(|line| line.strip_prefix(b"diff --git ")).unwrap_or_default();
        let header = String::from_utf8_lossy(header);
        let [mut old, mut new] = names_of_git(header.trim_end());
        self.path.clone_from(&new);
        let mut kind = ChangeKind::Text;
        let mut from = String::new();
        let (mut is_new, mut is_removed, mut is_mode) = (false, false, false);
        loop {
            self.at += 1;
            let line = String::from_utf8_lossy(self.line().unwrap_or_default());
            let told = GIT.iter().find_map(|word| Some((*word, line.strip_prefix(word)?.trim_end())));
            let Some((word, rest)) = told else { break };
            match word {
                "rename from " | "copy from " => rest.clone_into(&mut from),
                "rename to " | "copy to " => {
                    kind = if word == "copy to " { ChangeKind::Copied } else { ChangeKind::Renamed };
                    let names = different_names_of_git(header.trim_end(), &from, rest);
                    [old, new] = names
                        .ok_or_else(|| self.wrong(start, "the names of this file contradict each other"))?;
                    self.path.clone_from(&new);
                }
                "Binary files " | "GIT binary patch" if kind == ChangeKind::Text => kind = ChangeKind::Binary,
                "new file mode " => is_new = true,
                "deleted file mode " => is_removed = true,
                "old mode " | "new mode " => is_mode = true,
                _ => {}
            }
        }
        if self.is_at_names() {
            return Ok(FileChange { kind, ..self.of_names()? });
        }
        if kind == ChangeKind::Text && !(is_new || is_removed || is_mode) {
            return Err(self.wrong(start, &format!("no change of this file follows: {ANEW}")));
        }
        self.is_behind_hunk = true;
        let (old, new) = ((!is_new).then_some(old), (!is_removed).then_some(new));
        Ok(FileChange { old, new, hunks: Vec::new(), kind })
    }

    /// A hunk, and the lines of both files behind it.
    fn hunk(&mut self) -> Result<(Hunk, [usize; 2])> {
        let start = self.at;
        let header = String::from_utf8_lossy(self.line().unwrap_or_default());
        let Some((begins, counts, heading)) = ranges(&header) else {
            return Err(
                self.wrong(start, "the @@ line of this hunk cannot be read (@@ -LINE,COUNT +LINE,COUNT @@)")
            );
        };
        self.at += 1;
        let mut lines: Vec<HunkLine> = Vec::new();
        let mut left = counts;
        // A line without a line break is the last one of its file.
        let mut is_open = [true, true];
        loop {
            if self.begins(self.at, "\\ ") {
                self.unbreak(&mut lines, &mut is_open)?;
                continue;
            }
            if left == [0, 0] {
                break;
            }
            let Some(line) = self.line() else {
                return Err(self.wrong(start, &format!("the patch ends within this hunk: {ANEW}")));
            };
            ensure!(line.ends_with(b"\n"), self.wrong(self.at, "the patch ends within this line"));
            let (line, sides) = match line {
                // Editors take the blank of an empty line away.
                [b'\n'] | [b'\r', b'\n'] => (HunkLine::Kept(line.to_vec()), [true, true]),
                [b' ', text @ ..] => (HunkLine::Kept(text.to_vec()), [true, true]),
                [b'-', text @ ..] => (HunkLine::Removed(text.to_vec()), [true, false]),
                [b'+', text @ ..] => (HunkLine::Added(text.to_vec()), [false, true]),
                _ => {
                    let what = format!(
                        "a line within a hunk begins with a blank, + or -, and the hunk at line {} goes on here by its \
                         counts",
                        start + 1
                    );
                    return Err(self.wrong(self.at, &format!("{what}: {ANEW}")));
                }
            };
            for ((left, is_open), is_in) in left.iter_mut().zip(is_open).zip(sides) {
                if is_in && (*left == 0 || !is_open) {
                    let what =
                        format!("more lines than the @@ line of the hunk at line {} counts", start + 1);
                    return Err(self.wrong(self.at, &format!("{what}: {ANEW}")));
                }
                *left -= usize::from(is_in);
            }
            lines.push(line);
            self.at += 1;
        }
        let [old_start, new_start] = begins;
        let end = [old_start + counts[0], new_start + counts[1]];
        Ok((Hunk { old_start, new_start, heading, lines }, end))
    }

    /// Takes the line break of the last line away: `\ No newline at end of file`, in any language, is next.
    fn unbreak(&mut self, lines: &mut [HunkLine], is_open: &mut [bool; 2]) -> Result<()> {
        let (text, sides) = match lines.last_mut() {
            Some(HunkLine::Kept(text)) => (text, [true, true]),
            Some(HunkLine::Removed(text)) => (text, [true, false]),
            Some(HunkLine::Added(text)) => (text, [false, true]),
            None => return Err(self.wrong(self.at, "no line of a file is before this one")),
        };
        ensure!(text.pop() == Some(b'\n'), self.wrong(self.at, "the line before this one is none of a file"));
        for (is_open, is_in) in is_open.iter_mut().zip(sides) {
            *is_open &= !is_in;
        }
        self.at += 1;
        Ok(())
    }
}

/// Whether a line behind a hunk ends the changes before it, so that text follows: the signature of git format-patch, or
/// the head of the next mail or of the next patch of a series.
fn ends_changes(line: &[u8]) -> bool {
    let mut parts = line.splitn(2, |&byte| byte == b':');
    let (field, text) = (parts.next().unwrap_or_default(), parts.next());
    let is_field = field.first().is_some_and(u8::is_ascii_uppercase)
        && field.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
        && text.is_some_and(|text| text.starts_with(b" "));
    line.trim_ascii_end() == b"--" || line.starts_with(b"From ") || is_field
}

/// The two names in git's header, which differ in their first directories at most.
fn names_of_git(header: &str) -> [String; 2] {
    let below = |name: &'_ str| name.split_once('/').map_or(name, |(_, below)| below).to_owned();
    let names = header.match_indices(' ').map(|(at, _)| header.split_at(at));
    let mut names = names.map(|(old, new)| (old, new.trim_start()));
    let (old, new) = names.find(|(old, new)| below(old) == below(new)).unwrap_or((header, header));
    [old, new].map(str::to_owned)
}

/// The two names in git's header of a file that goes, or is copied, to another path: the header has them with the
/// directories in front (`a/`, `b/`) that `from` and `to` lack. None if these are not in it.
fn different_names_of_git(header: &str, from: &str, to: &str) -> Option<[String; 2]> {
    let mut names =
        header.match_indices(' ').filter_map(|(at, _)| Some((header.get(..at)?, header.get(at + 1..)?)));
    let in_front = |name: &str, path: &str| {
        let front = name.strip_suffix(path)?;
        (front.is_empty() || front.ends_with('/')).then(|| front.matches('/').count())
    };
    let (old, new) = names.find(|(old, new)| {
        let front = in_front(old, from);
        front.is_some() && front == in_front(new, to)
    })?;
    Some([old, new].map(str::to_owned))
}

/// What the `@@` line of a hunk tells: where it begins in the old and in the new file, how many lines of both it has,
/// and the text behind.
fn ranges(line: &str) -> Option<([usize; 2], [usize; 2], String)> {
    let (ranges, heading) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let number = |text: &str| text.parse::<u32>().ok().and_then(|number| usize::try_from(number).ok());
    let range = |text: &str| {
        let (start, count) = text.split_once(',').unwrap_or((text, "1"));
        Some((number(start)?, number(count)?))
    };
    let ((old_start, old_count), (new_start, new_count)) = (range(old)?, range(new)?);
    Some(([old_start, new_start], [old_count, new_count], heading.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(name: &str) -> String {
        format!("--- a/{name}\n+++ b/{name}\n@@ -1,3 +1,4 @@ f()\n int a;\n+int new;\n int b;\n \n")
    }

    fn git(name: &str) -> String {
        format!("diff --git a/{name} b/{name}\nindex 1..2 100644\n{}", plain(name))
    }

    /// The files that a patch changes, each with the counts of lines in its hunks.
    fn read(text: &str) -> Result<Vec<(String, Vec<usize>)>> {
        let counts = |change: &FileChange| change.hunks.iter().map(|hunk| hunk.lines.len()).collect();
        let changes = parse(text.as_bytes())?;
        Ok(changes.iter().map(|change| (change.path().to_owned(), counts(change))).collect())
    }

    fn error(text: &str) -> String {
        format!("{:#}", read(text).unwrap_err())
    }

    #[test]
    fn an_encoded_mail_is_refused() {
        let mail = |how: &str| format!("Subject: x\nContent-Transfer-Encoding: {how}\n\n{}", plain("x.c"));
        for how in ["quoted-printable", "Base64"] {
            assert!(error(&mail(how)).starts_with("it is a mail with an encoded text"), "{how}");
        }
        assert_eq!(read(&mail("8bit")).unwrap().len(), 1);
    }

    const SECOND: &str = "@@ -10,3 +11,4 @@\n int c;\n+int new2;\n int d;\n \n";

    #[test]
    fn sections_of_git_and_plain_ones_stand_in_one_file() {
        let both = [("b/x.c".to_owned(), vec![4]), ("b/y.c".to_owned(), vec![4])];
        let index = |name: &str| format!("Index: linux/{name}\n{}\n{}", "=".repeat(67), plain(name));
        for text in [
            plain("x.c") + &git("y.c"),
            git("x.c") + &plain("y.c"),
            git("x.c") + &index("y.c"),
            index("x.c") + &git("y.c"),
            index("x.c") + &index("y.c"),
            git("x.c") + "\n" + &plain("y.c"),
        ] {
            assert_eq!(read(&text).unwrap(), both, "{text}");
        }
    }

    #[test]
    fn no_line_is_left_out() {
        for (line, words, text) in [
            (10, "\"+int more;\" would be left out", git("x.c") + "+int more;\n" + SECOND),
            (10, "\"+int more;\" would be left out", git("x.c") + "+int more;\n"),
            (8, "\"-int gone;\" would be left out", plain("x.c") + "-int gone;\n" + &plain("y.c")),
            (8, "\" int kept;\" would be left out", plain("x.c") + " int kept;\n"),
            (9, "\"+int more;\" would be left out", plain("x.c") + "\n+int more;\n"),
            (9, "\"+int more;\" would be left out", plain("x.c") + "words\n+int more;\n"),
            (9, "belongs to nothing", plain("x.c") + "\n" + SECOND),
            (9, "belongs to nothing", plain("x.c") + "some words\n" + SECOND),
            (10, "belongs to nothing", plain("x.c") + "-- \n2.39\n" + SECOND),
            (1, "belongs to nothing", SECOND.to_owned()),
            (8, "cannot be read", plain("x.c") + "@@ -10,3 +11,4\n int c;\n+int new2;\n int d;\n \n"),
            (8, "\"@@ 10,3 +11,4 @@\" would be left out", plain("x.c") + "@@ 10,3 +11,4 @@\n int c;\n"),
            // Fewer lines than are counted.
            (3, "the patch ends within this hunk", plain("x.c").replace("-1,3 +1,4", "-1,5 +1,6")),
            (8, "begins with a blank, + or -", plain("x.c").replace("-1,3 +1,4", "-1,5 +1,6") + SECOND),
            (
                4,
                "more lines than the @@ line of the hunk at line 3 counts",
                plain("x.c").replace("+1,4", "+1,0"),
            ),
            (6, "begins with a blank, + or -", plain("x.c").replace(" int b", "int b")),
            (8, "begins before the end", plain("x.c") + &SECOND.replace("-10", "-3")),
            (6, "ends within this line", plain("x.c").trim_end().to_owned()),
            // What no hunk follows.
            (2, "no hunk follows", "--- a/x.c\n+++ b/x.c\n".to_owned() + &plain("y.c")),
            (1, "no change of this file follows", "diff --git a/x.c b/x.c\nindex 1..2 100644\n\n".to_owned()),
            (1, "no change of this file follows", git("x.c").replace("index", "indices")),
            // What is no unified diff.
            (
                10,
                "of a combined diff",
                git("x.c") + "diff --cc y.c\nindex 1,2..3\n--- a/y.c\n+++ b/y.c\n@@@ -1 -1 +1,2 @@@\n",
            ),
            (3, "of a combined diff", "--- a/y.c\n+++ b/y.c\n@@@ -1 -1 +1,2 @@@\n  a\n++b\n".to_owned()),
            (
                8,
                "of no unified diff",
                plain("x.c") + "*** a/y.c\n--- b/y.c\n***************\n*** 1 ****\n! a\n--- 1 ----\n! b\n",
            ),
            (9, "of no unified diff", plain("x.c") + "diff -r a/y.c b/y.c\n1c1\n< a\n---\n> b\n"),
        ] {
            let told = error(&text);
            let is_told = told.starts_with(&format!("line {line}")) && told.contains(words);
            assert!(is_told, "line {line}: {words}: {told}\n{text}");
            assert!(line == 1 || told.contains("(b/"), "{told}");
        }
        assert!(error("no patch at all\n").starts_with("this is no patch"));
    }

    #[test]
    fn mails_and_lists_around_the_changes_are_text() {
        let mail = |change: String| {
            format!(
                "From 0123 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nSubject: [PATCH] x\n y\n\n- one\n+ two\n indented\n\n\
                 ---\n x.c | 2 +-\n 1 file changed\n\n{change}-- \n2.39\n\n"
            )
        };
        let series = mail(git("x.c") + SECOND) + &mail(git("y.c"));
        assert_eq!(read(&series).unwrap(), [("b/x.c".to_owned(), vec![4, 4]), ("b/y.c".to_owned(), vec![4])]);
        // The blank behind the signature's dashes is gone; there is no signature; quilt's patches one after another.
        for text in [
            series.replace("-- \n", "--\n"),
            series.replace("-- \n2.39\n", ""),
            format!("Subject: x\n\n- one\n{}{SECOND}\nSubject: y\n\n- two\n{}", plain("x.c"), plain("y.c")),
        ] {
            assert_eq!(read(&text).unwrap().len(), 2, "{text}");
        }
        let list = format!(
            "diff -ruN a/x.c b/x.c\n{}Only in b: z.o\nBinary files a/w.o and b/w.o differ\ndiff -ruN a/y.c b/y.c\n{}",
            plain("x.c").replace("a/x.c", "a/x.c\t2024-01-01 00:00:00.000000000 +0000"),
            plain("y.c")
        );
        assert_eq!(read(&list).unwrap(), [("b/x.c".to_owned(), vec![4]), ("b/y.c".to_owned(), vec![4])]);
    }

    #[test]
    fn line_breaks_are_read_as_they_are() {
        let stripped = plain("x.c").replace("\n \n", "\n\n");
        assert_eq!(parse(stripped.as_bytes()).unwrap(), parse(plain("x.c").as_bytes()).unwrap());
        for text in [&plain("x.c"), &stripped] {
            let change = &parse(text.replace('\n', "\r\n").as_bytes()).unwrap()[0];
            assert_eq!((change.path(), change.hunks[0].heading.as_str()), ("b/x.c", "f()"));
            assert_eq!(change.hunks[0].before(), [&b"int a;\r\n"[..], b"int b;\r\n", b"\r\n"]);
        }
        const NONE: &str = "\\ No newline at end of file\n";
        let ends = format!("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n{NONE}+b\n");
        for (text, old, new) in [
            (ends.clone(), "b", "b\n"),
            (ends.clone() + "\\ Kein Zeilenumbruch am Dateiende.\n", "b", "b"),
            (ends.replace(NONE, "") + NONE, "b\n", "b"),
        ] {
            let hunk = &parse(text.as_bytes()).unwrap()[0].hunks[0];
            assert_eq!((hunk.before()[1], hunk.after()[1]), (old.as_bytes(), new.as_bytes()), "{text}");
        }
        let more = format!("--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@\n a\n{NONE}+b\n c\n");
        assert!(error(&more).starts_with("line 6 (b/x): more lines than"), "{}", error(&more));
        assert!(error(&format!("{ends}{NONE}{NONE}")).starts_with("line 9 (b/x): the line before"));
    }

    #[test]
    fn what_git_tells_beside_the_text_is_read() {
        let header = |lines: &str| format!("diff --git a/x y.c b/x y.c\n{lines}");
        let of = |lines: &str| {
            let change = parse(header(lines).as_bytes()).unwrap().remove(0);
            (change.old, change.new, change.hunks.len())
        };
        let [old, new] = ["a/x y.c", "b/x y.c"].map(|name| Some(name.to_owned()));
        assert_eq!(of("old mode 100644\nnew mode 100755\n"), (old.clone(), new.clone(), 0));
        assert_eq!(of("new file mode 100644\nindex 0..0\n"), (None, new, 0));
        assert_eq!(of("deleted file mode 100644\nindex 0..0\n"), (old, None, 0));
        let kinds = |text: &str| -> Vec<_> {
            let changes = parse(text.as_bytes()).unwrap().into_iter();
            changes.map(|one| (one.kind, one.old, one.new, one.hunks.len())).collect()
        };
        let [old, new] = ["a/x y.c", "b/x y.c"].map(|name| Some(name.to_owned()));
        for (lines, old, new) in [
            (
                "index 1..2\nGIT binary patch\nliteral 5\nMcmZQzWMT#Y01f~L\n\nliteral 0\nHcmV?d00001\n\n",
                old.clone(),
                new.clone(),
            ),
            ("index 1..2\nBinary files a/x and b/x differ\n", old.clone(), new.clone()),
            ("new file mode 100644\nindex 0..2\nBinary files /dev/null and b/x differ\n", None, new.clone()),
            ("deleted file mode 100644\nindex 2..0\nBinary files a/x and /dev/null differ\n", old, None),
        ] {
            let of_text = (ChangeKind::Text, Some("a/z.c".to_owned()), Some("b/z.c".to_owned()), 1);
            let text = header(lines) + &git("z.c");
            assert_eq!(kinds(&text), [(ChangeKind::Binary, old, new, 0), of_text], "{lines}");
        }
        for (fronts, word, kind) in [
            (["a/", "b/"], "rename", ChangeKind::Renamed),
            (["", ""], "rename", ChangeKind::Renamed),
            (["a/", "b/"], "copy", ChangeKind::Copied),
        ] {
            let [old, new] = [format!("{}d/x", fronts[0]), format!("{}e/y z", fronts[1])];
            let alone =
                format!("diff --git {old} {new}\nsimilarity index 90%\n{word} from d/x\n{word} to e/y z\n");
            let edited = format!("{alone}index 1..2\n--- {old}\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n");
            let names = (Some(old), Some(new));
            assert_eq!(kinds(&alone), [(kind, names.0.clone(), names.1.clone(), 0)]);
            assert_eq!(kinds(&edited), [(kind, names.0, names.1, 1)]);
        }
        let contrary = "diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to z\n";
        assert_eq!(error(contrary), "line 1 (a/x b/y): the names of this file contradict each other");
    }
}
