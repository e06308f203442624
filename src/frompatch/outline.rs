// SPDX-License-Identifier: GPL-2.0-only
//! Which function or variable of a C file a line is in, as far as braces tell: a first guess, which saves a compilation
//! where it is right, and costs one where it is not.

/// A definition on the outermost level of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is called, as far as that can be seen.
    pub name: String,
    /// Its first line, from 1.
    pub first: usize,
    /// Its last line.
    pub last: usize,
    /// It is a type: a structure, union or enumeration.
    pub is_type: bool,
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

/// The names of the definitions that have one of the lines `first..=last`.
pub fn names_in(items: &[Item], first: usize, last: usize) -> Vec<String> {
    let within = items.iter().filter(|item| item.first <= last && item.last >= first);
    within.map(|item| item.name.clone()).collect()
}

#[derive(Debug, Default)]
struct Scanner {
    items: Vec<Item>,
    depth: usize,
    /// The text of the definition so far, without what is in braces.
    head: String,
    first: usize,
    in_comment: bool,
    in_directive: bool,
}

impl Scanner {
    fn line(&mut self, line: &str, number: usize) {
        if self.in_directive || (!self.in_comment && line.trim_start().starts_with('#')) {
            self.in_directive = line.trim_end().ends_with('\\');
            return;
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
                    if self.depth == 0 && is_function(&self.head) {
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
            self.items.push(Item { name, first: self.first, last: number, is_type: is_type(&self.head) });
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

fn is_type(head: &str) -> bool {
    let mut words = head.split_whitespace().filter(|word| !matches!(*word, "static" | "const"));
    let is_word = words.next().is_some_and(|word| ["struct", "union", "enum", "typedef"].contains(&word));
    is_word && !head.contains('=') && !is_function(&head.replace("__attribute__((", ""))
}

fn is_function(head: &str) -> bool {
    // What follows a body are attributes of a type or of a variable.
    let head = head.split('{').next().unwrap_or_default();
    head.contains('(') && !head.contains('=')
}

/// The word before the first parenthesis, bracket or `=`.
fn name(head: &str) -> Option<String> {
    // A type with its body is called by its tag, or `enum`, and not by the attributes that follow.
    let head = match head.split_once('{') {
        Some((before, _)) if is_type(head) && !head.starts_with("typedef") => before,
        _ => head,
    };
    let end = head.find(['(', '[', '=']).unwrap_or(head.len());
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    let word = head.get(..end)?.trim_end().rsplit(|letter| !is_letter(letter)).next()?;
    (!word.is_empty()).then(|| word.to_owned())
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
                ("counter", 4, 4),
                ("ops", 6, 8),
                ("f", 10, 17),
                ("SYSCALL_DEFINE1", 19, 22),
                ("EXPORT_SYMBOL", 23, 23)
            ]
        );
        assert!(items.iter().all(|item| !item.is_type));
        let types = super::items(
            b"struct a {\n\tint b;\n} __packed;\nstruct a c;\nstruct a *f(void)\n{\n}\nenum {\n\tX,\n};\n\
              union d {\n\tint e;\n} __aligned(8);\ntypedef struct {\n\tint g;\n} h;\n",
        );
        let types: Vec<(&str, bool)> = types.iter().map(|item| (item.name.as_str(), item.is_type)).collect();
        let all = [("a", true), ("c", true), ("f", false), ("enum", true), ("d", true), ("h", true)];
        assert_eq!(types, all);
        assert_eq!(names_in(&items, 8, 14), ["ops", "f"]);
        assert!(names_in(&items, 1, 3).is_empty());
    }
}
