// SPDX-License-Identifier: GPL-2.0-only
//! Types whose own text stays, and which the patches change nevertheless: by a macro that gives the length of an array, or
//! by a condition around members.
//!
//! In the preprocessed text of a unit, a type has its members as the compiler sees them.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;

use crate::frompatch::apply::Touched;
use crate::frompatch::compile::{self, Compiled, Trees};
use crate::frompatch::outline::{self, Item, Kind};
use crate::host::patch::{Hunk, Line};

/// Sees that no type is another one in what a unit is compiled of, where the patches change more than bodies of functions.
///
/// # Errors
/// A type is changed, or a unit cannot be preprocessed.
pub fn check(files: &[Touched], units: &[Compiled], trees: Trees<'_>) -> Result<()> {
    let suspects: Vec<&Touched> = files.iter().filter(|file| may_change_types(file)).collect();
    let concerned = units.par_iter().filter(|unit| suspects.iter().any(|file| unit.sees(&file.path)));
    concerned.try_for_each(|unit| {
        let path = &unit.unit.path;
        let [old, new] = compile::both_preprocessed(&unit.unit, trees).with_context(|| path.clone())?;
        let changed = changed_type(&old, &new);
        ensure!(
            changed.is_none(),
            "{path}: the type {} is changed by what it is made of: what is in memory, and what is not compiled anew, keeps its \
             layout; put what is new into a shadow variable (klp_shadow_alloc), or, if the layout stays, say so \
             (--allow-layout)",
            changed.unwrap_or_default()
        );
        Ok(())
    })
}

/// Whether the patches change a macro or a condition of a file, or anything else outside of functions.
fn may_change_types(file: &Touched) -> bool {
    let (Some(old), Some(new)) = (&file.original, &file.patched) else { return false };
    let items = [old, new].map(|text| outline::items(text));
    file.hunks().iter().any(|hunk| is_outside(hunk, &items))
}

fn is_outside(hunk: &Hunk, [old, new]: &[Vec<Item>; 2]) -> bool {
    let is_in_function = |items: &[Item], line: usize| {
        let mut around = items.iter().filter(|item| (item.first..=item.last).contains(&line)).peekable();
        around.peek().is_some() && around.all(|item| item.kind == Kind::Function)
    };
    let is_directive = |text: &[u8]| text.trim_ascii_start().starts_with(b"#");
    let (mut old_line, mut new_line) = (hunk.old_start, hunk.new_start);
    for line in &hunk.lines {
        let (text, is_inside) = match line {
            Line::Kept(_) => {
                (old_line, new_line) = (old_line + 1, new_line + 1);
                continue;
            }
            Line::Removed(text) => {
                old_line += 1;
                (text, is_in_function(old, old_line - 1))
            }
            Line::Added(text) => {
                new_line += 1;
                (text, is_in_function(new, new_line - 1))
            }
        };
        if is_directive(text) || !(is_inside || text.trim_ascii().is_empty()) {
            return true;
        }
    }
    false
}

/// A type of the preprocessed text `old` of which `new` has only another one.
fn changed_type(old: &[u8], new: &[u8]) -> Option<String> {
    let (names, kept): (HashSet<String>, HashSet<Vec<&[u8]>>) = types(new).into_iter().unzip();
    let mut changed =
        types(old).into_iter().filter(|(name, words)| names.contains(name) && !kept.contains(words));
    changed.next().map(|(name, _)| name)
}

/// The names of all types that have a body, each with its text as words.
fn types(text: &[u8]) -> Vec<(String, Vec<&[u8]>)> {
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let types = outline::items(text).into_iter().filter(|item| item.kind == Kind::Type);
    types
        .map(|item| {
            let own = lines.get(item.first - 1..item.last).unwrap_or_default();
            let words = own.iter().flat_map(|line| line.split(u8::is_ascii_whitespace));
            (item.name, words.filter(|word| !word.is_empty()).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(old: &str, new: &str) -> Touched {
        let [original, patched] = [old, new].map(|text| Some(text.as_bytes().to_vec()));
        Touched { path: "a.c".to_owned(), original, patched }
    }

    #[test]
    fn bodies_of_functions_change_no_types() {
        let text =
            "#define N 2\n\nint f(void)\n{\n\treturn 1;\n}\n\nstruct s {\n#if X\n\tint a[N];\n#endif\n};\n";
        let changed = |from: &str, to: &str| may_change_types(&file(text, &text.replace(from, to)));
        assert!(!changed("return 1;", "int a = 1;\n\n\treturn a;"));
        assert!(!changed("\nstruct s", "\nint g(void)\n{\n\treturn 2;\n}\n\nstruct s"));
        assert!(changed("return 1;", "\n#undef N\n#define N 3\n\treturn 1;"));
        assert!(changed("#define N 2", "#define N 3"));
        assert!(changed("#if X", "#if Y"));
        assert!(changed("#define N 2\n", "#define N 2\n#pragma pack(1)\n"));
        assert!(!changed("#define", "#define"));
    }

    #[test]
    fn types_are_compared_as_the_compiler_sees_them() {
        let old = b"enum {\n A = 1,\n};\nstruct s {\n int a[2];\n};\nstruct gone {\n int a;\n};\nint f(struct s *s);\n";
        assert_eq!(changed_type(old, old), None);
        let new = |from: &str, to: &str| String::from_utf8_lossy(old).replace(from, to).into_bytes();
        assert_eq!(changed_type(old, &new("a[2]", "a[3]")), Some("s".to_owned()));
        assert_eq!(changed_type(old, &new("A = 1", "A = 2")), Some("enum".to_owned()));
        assert_eq!(changed_type(old, &new(" int a[2];\n", "\tint  a[2];\n\n")), None);
        assert_eq!(changed_type(old, &new("struct gone {\n int a;\n};\n", "")), None);
        assert_eq!(changed_type(old, &new("struct s {", "struct t {\n int b;\n};\nstruct s {")), None);
        assert_eq!(changed_type(old, &new("struct s *s", "struct s *s, int b")), None);
    }
}
