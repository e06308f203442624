// SPDX-License-Identifier: GPL-2.0-only
//! The lines of a function, as a source tree at hand has them now.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::debuginfo::dwarf::DefinedAt;
use crate::livepatch::account::parts::SourceText;

/// The size in bytes of the largest file that is read; the next is the most lines that are shown of one function.
const LARGEST: u64 = 8 << 20;
const MOST_LINES: usize = 600;

/// The directories in which source files are looked for. Other paths are not read: an object can name any path.
#[derive(Debug, Default)]
pub struct Roots {
    /// For the kernel's functions: its source tree, and its object tree for generated files.
    pub kernel: Vec<PathBuf>,
    /// For the livepatch's own functions: its directory.
    pub own: Vec<PathBuf>,
}

/// The text of the function `name`. Its file has to lie in one of `roots`; in one of `moved`, only the file's name
/// has to agree, because a livepatch's directory may have moved. None if the function is no longer at its line.
pub(super) fn of_function(
    defined: &DefinedAt,
    name: &str,
    roots: &[PathBuf],
    moved: &[PathBuf],
) -> Option<SourceText> {
    let file = Path::new(&defined.file);
    let own = Path::new(&defined.directory).join(file);
    let in_roots = roots.iter().map(|root| root.join(file));
    let moved = moved.iter().filter_map(|root| Some(root.join(file.file_name()?)));
    let path = std::iter::once(own).chain(in_roots).chain(moved).find(|path| is_within(path, roots))?;
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let line = usize::try_from(defined.line).ok()?;
    let (first, end) = extent(&lines, line).filter(|_| has(&lines, line, name))?;
    let text = lines.get(first..end)?.iter().fold(String::new(), |text, line| text + line + "\n");
    Some(SourceText { first: first as u64 + 1, text })
}

/// Whether that line has `name`, or may be a macro that makes it, as for system calls.
fn has(lines: &[&str], line: usize, name: &str) -> bool {
    let Some(text) = line.checked_sub(1).and_then(|index| lines.get(index)) else { return false };
    // The compiler's suffixes of a name are not in the source.
    let name = name.split('.').next().unwrap_or_default();
    let before = text.split('(').next().unwrap_or_default();
    let is_macro = text.contains('(')
        && before.bytes().any(|byte| byte.is_ascii_uppercase())
        && before
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_ ".contains(&byte));
    !name.is_empty() && text.contains(name) || is_macro
}

/// Whether a path leads to a file of a moderate size in one of `roots`.
fn is_within(path: &Path, roots: &[PathBuf]) -> bool {
    let Ok(real) = fs::canonicalize(path) else { return false };
    let is_below =
        roots.iter().filter_map(|root| fs::canonicalize(root).ok()).any(|root| real.starts_with(root));
    is_below && fs::metadata(&real).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST)
}

/// The lines of a function or variable whose name is in line `line`, from 1: from the type or comment directly above
/// it to the closing brace, or to the semicolon. In kernel style, both stand at the beginning of a line.
fn extent(lines: &[&str], line: usize) -> Option<(usize, usize)> {
    let named = line.checked_sub(1)?;
    lines.get(named)?;
    let mut first = named;
    while let Some(above) = first.checked_sub(1).and_then(|above| lines.get(above)) {
        let is_other = above.trim().is_empty()
            || above.starts_with(['}', '#'])
            || above.trim_end().ends_with([';', '}']);
        if is_other || named - first == 40 {
            break;
        }
        first -= 1;
    }
    let rest = lines.get(named..)?.iter().take(MOST_LINES);
    let mut is_open = false;
    for (index, text) in rest.enumerate() {
        is_open |= text.contains('{');
        if text.starts_with('}') || (!is_open && text.trim_end().ends_with(';')) {
            return Some((first, named + index + 1));
        }
        let is_closed = text.matches('{').count() == text.matches('}').count();
        if is_open && index == 0 && text.contains('{') && is_closed {
            return Some((first, named + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
#include <x.h>

int other;
/* What it does. */
static int
named(int a)
{
	if (a) {
		return 1;
	}
	return other;
}
int one(void) { return 1; }
int table[2];
";

    #[test]
    fn a_function_is_told_with_its_comment_and_to_its_brace() {
        let lines: Vec<&str> = SOURCE.lines().collect();
        assert_eq!(extent(&lines, 6), Some((3, 12)));
        assert_eq!(extent(&lines, 13), Some((12, 13)));
        assert_eq!(extent(&lines, 14), Some((13, 14)));
        assert_eq!(extent(&lines, 15), None);
        assert_eq!(extent(&lines, 0), None);
    }

    #[test]
    fn nothing_is_read_outside_of_the_roots() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["in", "out"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("a.c"), SOURCE).unwrap();
        }
        std::os::unix::fs::symlink(at("out/a.c"), at("in/link.c")).unwrap();
        let named = |directory: &str, file: &str, name: &str| {
            let (file, directory) = (file.to_owned(), directory.to_owned());
            let defined = DefinedAt { file, line: 6, directory, ..DefinedAt::default() };
            of_function(&defined, name, &[at("in")], &[at("in")]).map(|text| text.first)
        };
        let told = |directory: &str, file: &str| named(directory, file, "named.isra.0");
        assert_eq!(told(at("in").to_str().unwrap(), "a.c"), Some(4));
        assert_eq!(told("elsewhere", "a.c"), Some(4), "below a root");
        assert_eq!(told("", at("gone/a.c").to_str().unwrap()), Some(4), "moved");
        fs::write(at("out/b.c"), SOURCE).unwrap();
        assert_eq!(told("elsewhere", "../out/b.c"), None);
        assert_eq!(told("elsewhere", "link.c"), None);
        assert_eq!(told("", "/etc/hostname"), None);
        assert_eq!(named("elsewhere", "a.c", "renamed"), None, "another function is there now");
    }
}
