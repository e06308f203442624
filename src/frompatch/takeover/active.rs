// SPDX-License-Identifier: GPL-2.0-only
//! Which lines of a file the compiler sees: lines that the configuration leaves out become blank, and so do the
//! conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::frompatch::tokens::{TokenKind, tokens};

/// The lines of the file `own` in preprocessed text, by their numbers. `own` is as the command names it.
pub(super) fn own_lines(preprocessed: &str, own: &str) -> BTreeMap<usize, String> {
    let mut lines: BTreeMap<usize, String> = BTreeMap::new();
    let (mut number, mut is_own) = (1, false);
    for line in preprocessed.lines() {
        if let Some((next, file)) = marker(line) {
            number = next;
            is_own = file == own;
            continue;
        }
        if is_own && !line.trim().is_empty() {
            let known = lines.entry(number).or_default();
            if !known.is_empty() {
                known.push(' ');
            }
            known.push_str(line);
        }
        number += 1;
    }
    lines
}

/// The numbers of the lines of `own` that include another file.
pub(super) fn including(preprocessed: &str, own: &str) -> BTreeSet<usize> {
    let back = preprocessed.lines().filter(|line| line.trim_end().ends_with(" 2") || line.contains("\" 2 "));
    let back = back.filter_map(marker).filter(|(_, file)| file == own);
    back.filter_map(|(number, _)| number.checked_sub(1)).collect()
}

/// Reads `# 12 "file" ...`.
fn marker(line: &str) -> Option<(usize, String)> {
    let rest = line.strip_prefix("# ")?;
    let (number, rest) = rest.split_once(" \"")?;
    let (file, _) = rest.rsplit_once('"')?;
    Some((number.parse().ok()?, file.replace("\\\\", "\\").replace("\\\"", "\"")))
}

/// The file with blank lines for those that are not compiled. `seen` are the lines of which the preprocessor
/// (`-fdirectives-only`) leaves something, and `including` those that include a file.
pub(super) fn active(text: &str, seen: &BTreeSet<usize>, including: &BTreeSet<usize>) -> String {
    let is_seen = |number: &usize| seen.contains(number) || including.contains(number);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut kept: Vec<bool> = (1..=lines.len()).map(|number| is_seen(&number)).collect();
    let mut start_of = Vec::with_capacity(lines.len());
    let mut length = 0;
    for line in &lines {
        start_of.push(length);
        length += line.len();
    }
    let line_of = |offset: usize| start_of.partition_point(|start| *start <= offset).saturating_sub(1);
    // For each open condition: the first line of its branch, and the lines with directives in it so far.
    let mut branches: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
    let decide = |branch: (usize, Vec<(usize, usize)>), end: usize, kept: &mut Vec<bool>| {
        let is_active = (branch.0..end).any(|line| kept.get(line) == Some(&true));
        for (first, last) in branch.1 {
            set(kept, first..=last, is_active);
        }
    };
    for token in tokens(text).into_iter().filter(|token| token.kind == TokenKind::Directive) {
        let (first, last) = (line_of(token.start), line_of(token.end().saturating_sub(1)));
        match directive(token.text) {
            "if" | "ifdef" | "ifndef" => {
                set(&mut kept, first..=last, false);
                branches.push((last + 1, Vec::new()));
            }
            "else" | "elif" | "elifdef" | "elifndef" | "endif" => {
                set(&mut kept, first..=last, false);
                if let Some(branch) = branches.pop() {
                    decide(branch, first, &mut kept);
                }
                if directive(token.text) != "endif" {
                    branches.push((last + 1, Vec::new()));
                }
            }
            "include" => match branches.last_mut() {
                Some(branch) => branch.1.push((first, last)),
                None => set(&mut kept, first..=last, true),
            },
            // The preprocessor joins its lines into one, at the first line's number.
            _ => {
                let is_active = kept.get(first) == Some(&true);
                set(&mut kept, first..=last, is_active);
            }
        }
    }
    let line = |(line, is_kept): (&&str, &bool)| if *is_kept { (*line).to_owned() } else { "\n".to_owned() };
    lines.iter().zip(&kept).map(line).collect()
}

/// Notes of `lines` whether they are kept.
fn set(kept: &mut [bool], lines: RangeInclusive<usize>, is_kept: bool) {
    for line in kept.iter_mut().take(lines.end() + 1).skip(*lines.start()) {
        *line = is_kept;
    }
}

/// The name of a directive.
pub(super) fn directive(text: &str) -> &str {
    let text = text.trim_start_matches('#').trim_start();
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_out_is_blank() {
        let text = "#include <a.h>\n#ifdef X\n#include <b.h>\n#include <guarded.h>\nint x; /* { */\n#else\nint y;\n#include <c.h>\n#endif\n\
            #define M(a) \\\n\ta\n#ifdef Y\n#define M 2\n#endif\nint f(void)\n{\n#ifdef Y\n\ty();\n#endif\n}\n";
        let preprocessed = "# 0 \"d/a.c\"\n# 1 \"d/a.c\"\n# 1 \"a.h\" 1\nint a;\n# 2 \"d/a.c\" 2\n\n# 1 \"b.h\" 1 3\nint b;\n# 4 \"d/a.c\" 2\n\n\
            int x; /* { */\n# 10 \"d/a.c\"\n#define M(a) a\n\n# 15 \"d/a.c\"\nint f(void)\n{\n\n\n\n}\n";
        let seen: BTreeSet<usize> = own_lines(preprocessed, "d/a.c").into_keys().collect();
        let including = including(preprocessed, "d/a.c");
        assert_eq!(including, BTreeSet::from([1, 3]));
        let active = active(text, &seen, &including);
        assert_eq!(active.lines().count(), text.lines().count());
        let left: Vec<&str> = active.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            left,
            [
                "#include <a.h>",
                "#include <b.h>",
                "#include <guarded.h>",
                "int x; /* { */",
                "#define M(a) \\",
                "\ta",
                "int f(void)",
                "{",
                "}"
            ]
        );
    }
}
