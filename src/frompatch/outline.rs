// SPDX-License-Identifier: GPL-2.0-only
//! Which function or variable of a C file has a line, judging by braces alone: a first guess, which saves a
//! compilation if it is right, and costs one if it is not.

use crate::frompatch::system_call;
use crate::frompatch::variables::ATTRIBUTES;
use crate::host::patch::{Hunk, HunkLine};

/// A definition on the outermost level of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name, as far as that can be seen.
    pub name: String,
    /// Its first line, from 1.
    pub first: usize,
    /// Its last line.
    pub last: usize,
    /// What kind of definition it is.
    pub kind: DefinitionKind,
}

/// The kind of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefinitionKind {
    /// A function, or a macro's call that looks like one.
    Function,
    /// A variable or constant.
    Data,
    /// A structure, union or enumeration.
    Type,
    /// `#define`
    Macro,
}

/// The definitions of a file, in its order.
pub fn items(text: &[u8]) -> Vec<Item> {
    let mut scanner = Scanner::default();
    let text = String::from_utf8_lossy(text);
    for (index, line) in text.lines().enumerate() {
        scanner.line(line, index + 1);
    }
    scanner.items
}

/// The definitions that have a changed line of `hunk`, of a file whose definitions are `old` before the change and `new`
/// after it.
pub fn changed<'a>(hunk: &Hunk, [old, new]: [&'a [Item]; 2]) -> Vec<&'a Item> {
    let of = |(line, [old_line, new_line]): (&HunkLine, [usize; 2])| match line {
        HunkLine::Removed(_) => with_line(old, old_line),
        _ => with_line(new, new_line),
    };
    hunk.changes().flat_map(of).collect()
}

fn with_line(items: &[Item], line: usize) -> impl Iterator<Item = &Item> {
    items.iter().filter(move |item| (item.first..=item.last).contains(&line))
}

#[derive(Debug, Default)]
struct Scanner {
    items: Vec<Item>,
    depth: usize,
    /// The text of the current definition so far, without the contents of braces.
    head: String,
    first: usize,
    in_comment: bool,
    in_directive: bool,
}

impl Scanner {
    fn line(&mut self, line: &str, number: usize) {
        if self.in_directive || (!self.in_comment && line.trim_start().starts_with('#')) {
            self.directive(line, number);
            return;
        }
        if self.depth == 0 && !self.in_comment && self.head.trim_end().ends_with(')') && begins_type(line) {
            // A macro's call that needs no semicolon (DECLARE_EWMA): the type after it is another definition.
            self.end(number - 1);
        }
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            if self.in_comment {
                if letter == '*' && letters.next_if_eq(&'/').is_some() {
                    self.in_comment = false;
                }
                continue;
            }
            match letter {
                '/' if letters.next_if_eq(&'*').is_some() => self.in_comment = true,
                '/' if letters.peek() == Some(&'/') => break,
                '"' | '\'' => skip_quoted(letter, &mut letters),
                '{' => {
                    if self.depth == 0 {
                        self.head.push(letter);
                    }
                    self.depth += 1;
                }
                '}' => {
                    self.depth = self.depth.saturating_sub(1);
                    // A function ends here; a variable goes on to its semicolon.
                    if self.depth == 0 && is_function(&self.head) && !is_type(&self.head) {
                        self.end(number);
                    }
                }
                ';' if self.depth == 0 => self.end(number),
                _ if self.depth == 0 => self.head(letter, number),
                _ => {}
            }
        }
        if self.depth == 0 && !self.head.is_empty() {
            self.head.push(' ');
        }
    }

    fn directive(&mut self, line: &str, number: usize) {
        if self.in_directive {
            // Only a macro's lines go on.
            if let Some(item) = self.items.last_mut().filter(|item| item.kind == DefinitionKind::Macro) {
                item.last = number;
            }
        } else if let Some(name) = macro_name(line) {
            self.items.push(Item { name, first: number, last: number, kind: DefinitionKind::Macro });
        }
        self.in_directive = line.trim_end().ends_with('\\');
    }

    fn head(&mut self, letter: char, number: usize) {
        if self.head.is_empty() {
            if letter.is_whitespace() {
                return;
            }
            self.first = number;
        }
        self.head.push(letter);
    }

    fn end(&mut self, number: usize) {
        if let Some(name) = name(&self.head) {
            let kind = match () {
                () if is_type(&self.head) => DefinitionKind::Type,
                () if is_function(&self.head) => DefinitionKind::Function,
                () => DefinitionKind::Data,
            };
            self.items.push(Item { name, first: self.first, last: number, kind });
        }
        self.head.clear();
    }
}

fn skip_quoted(quote: char, letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            return;
        }
    }
}

/// Whether a line begins or continues the definition of a type.
fn begins_type(line: &str) -> bool {
    line.split_whitespace()
        .find(|word| !matches!(*word, "static" | "const"))
        .is_some_and(|word| TYPES.contains(&word))
}

const TYPES: [&str; 4] = ["struct", "union", "enum", "typedef"];

fn is_type(head: &str) -> bool {
    let mut words = head.split_whitespace().filter(|word| !matches!(*word, "static" | "const"));
    let is_word = words.next().is_some_and(|word| TYPES.contains(&word));
    is_word && !head.contains('=') && (tag(head).is_some() || !is_function(head))
}

/// The tag of a type with its body, or the word before the body if it has no tag. Attributes may stand before the
/// tag, and a macro may make it; a function that returns the type has more words, or a star.
fn tag(head: &str) -> Option<&str> {
    let (before, _) = head.split_once('{')?;
    let mut tag: Option<&str> = None;
    let mut rest = before.trim();
    while !rest.is_empty() {
        let end =
            rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        let has_arguments = after.trim_start().starts_with('(');
        rest = if has_arguments { behind_parentheses(after)? } else { after }.trim_start();
        let is_attribute = word.starts_with("__") && has_arguments || word == "__packed";
        match tag {
            Some(tag) if !is_keyword(tag) => return None,
            Some(_) if is_attribute => {}
            _ => tag = Some(word),
        }
    }
    tag
}

fn is_keyword(word: &str) -> bool {
    TYPES.contains(&word) || matches!(word, "static" | "const")
}

/// The rest of a text after the parentheses at its beginning.
fn behind_parentheses(text: &str) -> Option<&str> {
    let mut depth = 0usize;
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' if depth <= 1 => return text.get(index + 1..),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_function(head: &str) -> bool {
    // Attributes of a type or of a variable may follow the body.
    let head = head.split('{').next().unwrap_or_default();
    head.contains('(') && !head.contains('=')
}

/// The word before the first parenthesis, bracket or `=`, and before attributes there.
fn name(head: &str) -> Option<String> {
    // The name of a type with its body is its tag, or `enum`, and not an attribute; the name of a typedef follows the
    // body.
    let head = match head.split_once('{') {
        Some((_, after)) if is_type(head) && head.starts_with("typedef") => after,
        Some(_) if is_type(head) => tag(head).unwrap_or(head),
        _ => head,
    };
    let end = head.find(['(', '[', '=']).unwrap_or(head.len());
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut words = head.get(..end)?.trim_end().rsplit(|letter| !is_letter(letter));
    let last = words.next()?;
    // `int a __read_mostly = 3`: only a whole declaration has words before its attributes.
    let is_attribute = |word: &&str| word.is_empty() || ATTRIBUTES.contains(word);
    let word = if ATTRIBUTES.contains(&last) {
        words.find(|word| !is_attribute(word)).unwrap_or(last)
    } else {
        last
    };
    if let Some(call) = system_call::made_by(word) {
        let argument = head.get(end + 1..)?.trim_start();
        return Some(format!("{call}{}", argument.split(|letter| !is_letter(letter)).next()?));
    }
    (!word.is_empty()).then(|| word.to_owned())
}

/// The name that `#define` defines.
fn macro_name(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("define")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let name = rest.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#include <a.h>\n#define X(a) \\\n\tint a() {\nstatic int counter = 3; /* { */\n\n\
        static struct ops ops = {\n\t.f = g,\n};\n\nint f(int a,\n      int b)\n{\n\tif (a) {\n\t\treturn '}';\n\t}\n\
        \treturn \"{\\\"\"[0];\n}\n\nSYSCALL_DEFINE1(x, int, a)\n{\n\treturn a;\n}\nEXPORT_SYMBOL(f);\n";

    #[test]
    fn definitions_are_found_with_their_lines() {
        let items = items(TEXT.as_bytes());
        let found: Vec<(&str, usize, usize)> =
            items.iter().map(|item| (item.name.as_str(), item.first, item.last)).collect();
        assert_eq!(
            found,
            [
                ("X", 2, 3),
                ("counter", 4, 4),
                ("ops", 6, 8),
                ("f", 10, 17),
                ("sys_x", 19, 22),
                ("EXPORT_SYMBOL", 23, 23)
            ]
        );
        let kinds: Vec<DefinitionKind> = items.iter().map(|item| item.kind).collect();
        let [function, data] = [DefinitionKind::Function, DefinitionKind::Data];
        assert_eq!(kinds, [DefinitionKind::Macro, data, data, function, function, function]);
        let types = super::items(
            b"struct a {\n\tint b;\n} __packed;\nstruct a c;\nstruct a *f(void)\n{\n}\nenum {\n\tX,\n};\n\
              union d {\n\tint e;\n} __aligned(8);\ntypedef struct {\n\tint g;\n} h;\n",
        );
        let types: Vec<(&str, bool)> =
            types.iter().map(|item| (item.name.as_str(), item.kind == DefinitionKind::Type)).collect();
        let all = [("a", true), ("c", true), ("f", false), ("enum", true), ("d", true), ("h", true)];
        assert_eq!(types, all);
        let attributes = super::items(
            b"DECLARE_EWMA(rssi, 10, 8)\n\nstruct link {\n\tint a;\n};\nstruct __aligned(sizeof(long)) meta {\n\tint b;\n};\n\
              struct __attribute__((packed)) block\n{\n\tint c;\n};\nstruct MADE(n) {\n\tint d[n];\n};\n\
              typedef struct __attribute__((packed, aligned(4))) {\n\tint e;\n} metrics_t;\n\
              static struct pair both(int a)\n{\n}\n__printf(1, 2)\nstruct page *__next(int a)\n{\n}\nstruct __sk {\n\tint f;\n};\n",
        );
        let attributes: Vec<(&str, usize, usize, bool)> = attributes
            .iter()
            .map(|item| (item.name.as_str(), item.first, item.last, item.kind == DefinitionKind::Type))
            .collect();
        assert_eq!(
            attributes,
            [
                ("DECLARE_EWMA", 1, 2, false),
                ("link", 3, 5, true),
                ("meta", 6, 8, true),
                ("block", 9, 12, true),
                ("MADE", 13, 15, true),
                ("metrics_t", 16, 18, true),
                ("both", 19, 21, false),
                ("__printf", 22, 22, false),
                ("__next", 23, 25, false),
                ("__sk", 26, 28, true),
            ]
        );
        let attributes = super::items(
            b"static enum {\n\tA = 1,\n} init __read_mostly = A;\nint max\n\t__read_mostly __used;\nstatic int __init set_up(int a)\n\
              {\n}\nstatic int __read_mostly limit = 1;\n",
        );
        let attributes: Vec<&str> = attributes.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(attributes, ["init", "max", "set_up", "limit"]);
        let named = |line| with_line(&items, line).map(|item| item.name.as_str()).collect::<Vec<_>>();
        assert_eq!((named(1), named(3), named(8), named(10)), (vec![], vec!["X"], vec!["ops"], vec!["f"]));
    }
}
