// SPDX-License-Identifier: GPL-2.0-only
//! Whether variables keep their types. A variable that the patches do not rename is the kernel's own, with the value that
//! the kernel's code gave it: code that takes it for something else misreads it, even if the size stays.

use std::collections::HashMap;

use crate::frompatch::tokens::{TokenKind, tokens};

/// Attributes without arguments that may stand in a declaration, and tell nothing of the type.
pub(crate) const ATTRIBUTES: [&str; 36] = [
    "const",
    "volatile",
    "static",
    "extern",
    "inline",
    "register",
    "__rcu",
    "__user",
    "__iomem",
    "__percpu",
    "__kernel",
    "__force",
    "__bitwise",
    "__nocast",
    "__read_mostly",
    "__ro_after_init",
    "__maybe_unused",
    "__always_unused",
    "__used",
    "__unused",
    "__visible",
    "__weak",
    "__packed",
    "__init",
    "__initdata",
    "__initconst",
    "__refdata",
    "__exitdata",
    "__nosavedata",
    "__bss_decrypted",
    "__page_aligned_data",
    "__page_aligned_bss",
    "__cacheline_aligned",
    "__cacheline_aligned_in_smp",
    "____cacheline_aligned",
    "____cacheline_aligned_in_smp",
];

/// The words of a declaration without those that tell nothing of the type, and without attributes' arguments; the
/// argument of `typeof` remains.
fn plain<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut plain = Vec::new();
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = after;
        let arguments = after.first().is_some_and(|next| *next == "(").then(|| closing(after));
        let takes_arguments = word.starts_with("__") || *word == "asm";
        match (*word, arguments) {
            ("typeof" | "__typeof__" | "__typeof_unqual__", Some(end)) => {
                plain.extend(after.get(1..end).unwrap_or_default());
                rest = after.get(end + 1..).unwrap_or_default();
            }
            // A function or a macro that makes variables is the first word; an attribute may be, too.
            (_, Some(end)) if takes_arguments => rest = after.get(end + 1..).unwrap_or_default(),
            (word, _) if ATTRIBUTES.contains(&word) => {}
            (word, _) => plain.push(word),
        }
    }
    plain
}

/// The place of the parenthesis that closes the one at the beginning.
fn closing(words: &[&str]) -> usize {
    let mut depth = 0usize;
    for (place, word) in words.iter().enumerate() {
        match *word {
            "(" => depth += 1,
            ")" if depth <= 1 => return place,
            ")" => depth -= 1,
            _ => {}
        }
    }
    words.len()
}

/// The place of the parenthesis that the one behind these words closes.
fn opening(words: &[&str]) -> Option<usize> {
    let mut depth = 1usize;
    words.iter().rposition(|word| {
        match *word {
            "(" => depth -= 1,
            ")" => depth += 1,
            _ => {}
        }
        depth == 0
    })
}

/// The variables of a text: those outside of functions, and the static ones in functions, by the function's name (empty
/// outside) and their own. One may be declared several times.
#[derive(Debug, Default)]
pub(crate) struct Variables<'a>(HashMap<(&'a str, &'a str), Vec<Vec<&'a str>>>);

impl<'a> Variables<'a> {
    /// The variables of a text in C, which need not be preprocessed.
    pub(crate) fn of(text: &'a str) -> Variables<'a> {
        let mut all = Variables::default();
        let mut statement: Vec<&str> = Vec::new();
        let mut function: Option<&str> = None;
        // The depth of braces, and that at which a static declaration in a function began.
        let (mut depth, mut begin) = (0usize, None);
        for token in tokens(text).into_iter().filter(|token| token.kind != TokenKind::Directive) {
            let word = token.text;
            if token.is("}") {
                depth = depth.saturating_sub(1);
                if depth == 0 && function.take().is_some() {
                    begin = None;
                    statement.clear();
                }
                continue;
            }
            // A function's body has other statements; a type's or a value's body is left out.
            let outside = function.map_or(Some(0), |_| begin);
            if outside == Some(depth) {
                if token.is(";") {
                    all.add(function.unwrap_or_default(), &statement);
                    statement.clear();
                    begin = None;
                    continue;
                }
                if token.is("{") && function.is_none() {
                    function = function_name(&statement);
                }
                statement.push(word);
            } else if function.is_some() && begin.is_none() && word == "static" {
                statement.clear();
                begin = Some(depth);
            }
            depth += usize::from(token.is("{"));
        }
        all
    }

    /// The first variable, by name, whose type `self` has only otherwise than the older `old`. One that is constant may
    /// change: a livepatch brings its own.
    pub(crate) fn changed_since(&self, old: &Variables<'a>) -> Option<&'a str> {
        let changed = old.0.iter().filter(|(key, types)| {
            let now = self.0.get(*key);
            now.is_some_and(|now| types.iter().any(|one| !now.contains(one)))
        });
        changed.map(|((_, name), _)| *name).min()
    }

    /// Adds what a statement declares, if these are variables.
    fn add(&mut self, function: &'a str, statement: &[&'a str]) {
        if statement.first() == Some(&"typedef") {
            return;
        }
        let mut base: Option<Vec<&str>> = None;
        for declarator in parts(statement) {
            let full = declarator.split(|word| *word == "=").next().unwrap_or_default();
            let words = plain(full);
            let Some(place) = name_place(&words, base.is_some()) else { return };
            let (before, rest) = words.split_at(place);
            let [name, after @ ..] = rest else { return };
            let pointer = before.iter().position(|word| matches!(*word, "*" | "(")).unwrap_or(place);
            let (first, stars) = before.split_at(pointer);
            let is_first = base.is_none();
            let base = base.get_or_insert_with(|| normal(first));
            let own = if is_first { stars } else { before };
            if is_first && is_constant(full.split(|word| word == name).next().unwrap_or_default()) {
                return;
            }
            let mut words = base.clone();
            words.extend(own);
            words.push(":");
            words.extend(without_length(after));
            self.0.entry((function, name)).or_default().push(words);
        }
    }
}

/// The name of the first variable that the words of a declaration declare; none if they declare none.
pub(crate) fn declared(words: &[String]) -> Option<&str> {
    let words: Vec<&str> = words.iter().map(String::as_str).take_while(|word| *word != "=").collect();
    let words = plain(parts(&words).next()?);
    words.get(name_place(&words, false)?).copied()
}

/// The parts of a statement between commas outside of brackets.
fn parts<'s, 'a>(statement: &'s [&'a str]) -> impl Iterator<Item = &'s [&'a str]> {
    let mut depth = 0usize;
    statement.split(move |word| {
        match *word {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *word == ","
    })
}

/// The place of the name in a variable's declaration without its value: the last word before the length of an array, or
/// what a pointer to a function is called. None if this declares no variable.
fn name_place(words: &[&str], has_base: bool) -> Option<usize> {
    let is_name = |word: &&str| word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let place = match words.iter().position(|word| *word == "(") {
        Some(open) if words.get(open + 1) == Some(&"*") => {
            open + words.get(open..)?.iter().position(is_name)?
        }
        // A function, or a macro.
        Some(_) => return None,
        None => words.iter().position(|word| *word == "[").unwrap_or(words.len()).checked_sub(1)?,
    };
    // A type alone declares nothing.
    let is_whole = has_base || place > usize::from(is_keyword(words.first()?));
    (is_whole && words.get(place).is_some_and(is_name)).then_some(place)
}

fn is_keyword(word: &str) -> bool {
    ["struct", "union", "enum"].contains(&word)
}

/// The words of a type; `unsigned long int` is `unsigned long`.
fn normal<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let is_long = words.iter().any(|word| ["unsigned", "signed", "long", "short"].contains(word));
    words.iter().filter(|word| !(is_long && **word == "int")).copied().collect()
}

/// What follows a variable's name, without the length of an array: another length is another size, which the code
/// tells.
fn without_length<'a>(after: &[&'a str]) -> Vec<&'a str> {
    match (after.first(), after.iter().position(|word| *word == "]")) {
        (Some(&"["), Some(end)) => {
            let rest = after.get(end..).unwrap_or_default();
            std::iter::once("[").chain(rest.iter().copied()).collect()
        }
        _ => after.to_vec(),
    }
}

/// Whether a variable is constant itself, and not only what it points to, by the words before its name.
fn is_constant(words: &[&str]) -> bool {
    let last = words.iter().rposition(|word| *word == "*").unwrap_or(0);
    words.iter().skip(last).any(|word| *word == "const")
}

/// The name of the function whose body follows these words, if one does.
fn function_name<'a>(mut head: &[&'a str]) -> Option<&'a str> {
    if head.contains(&"=") {
        return None;
    }
    // Attributes may follow the arguments.
    while let Some((last, before)) = head.split_last() {
        if *last != ")" {
            head = Some(before).filter(|_| last.starts_with("__"))?;
            continue;
        }
        let open = opening(before)?;
        let (name, before) = head.get(..open)?.split_last()?;
        match *name {
            _ if name.starts_with("__") && before.last().is_some_and(|last| *last == ")") => head = before,
            "__attribute__" | "__aligned" => return None,
            // What a system call is called is an argument.
            _ if name.contains("DEFINE") => return head.get(open + 1).copied(),
            _ => return Some(name),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(old: &str, new: &str) -> Option<String> {
        Variables::of(new).changed_since(&Variables::of(old)).map(str::to_owned)
    }

    #[test]
    fn another_type_is_seen() {
        for (old, new, name) in [
            ("static unsigned long last;", "static long long last;", "last"),
            ("int x = 1;", "unsigned x = 1;", "x"),
            ("static int a, b = 2, *c;", "static unsigned a, b = 2, *c;", "a"),
            ("static int a, b = 2, *c;", "static int a, *b = 2, *c;", "b"),
            ("static struct s *list[4];", "static struct t *list[4];", "list"),
            ("static int a[2][4];", "static int a[4][2];", "a"),
            ("static int (*hook)(int a);", "static int (*hook)(long a);", "hook"),
            ("static struct s one = { .a = 1 };", "static struct t one = { .a = 1 };", "one"),
            ("static __typeof__(unsigned long) nr;", "static __typeof__(long) nr;", "nr"),
            ("extern int x __attribute__((unused));", "extern long x __attribute__((unused));", "x"),
            ("int f(int a)\n{\n\tstatic long n;\n}", "int f(int a)\n{\n\tstatic u64 n;\n}", "n"),
            (
                "SYSCALL_DEFINE1(x, int, a)\n{\n\tif (a) {\n\t\tstatic long n = 3;\n\t}\n}",
                "SYSCALL_DEFINE1(x, int, a)\n{\n\tif (a) {\n\t\tstatic u64 n = 3;\n\t}\n}",
                "n",
            ),
            ("static const char *name;", "static const void *name;", "name"),
            ("#define X 1\nint y;\n", "#define X 1\nlong y;\n", "y"),
            (
                "static int __f(void)\n{\n\tx = 1;\n}\nint y;",
                "static int __f(void)\n{\n\tx = 1;\n}\nlong y;",
                "y",
            ),
            ("static struct { int a; } *one;", "static struct { int a; } **one;", "one"),
            (
                "int f(void) __releases(x)\n{\n\tg();\n\tstatic int a[] = { 1, 2 }, b;\n}\nint y;",
                "int f(void)\n{\n\tg();\n\tstatic int a[] = { 1, 2 }, *b;\n}\nint y;",
                "b",
            ),
        ] {
            assert_eq!(changed(old, new).as_deref(), Some(name), "{new}");
        }
    }

    #[test]
    fn what_tells_nothing_of_the_type_may_change() {
        for (old, new) in [
            ("static int x = 1;", "int x __read_mostly = 2;"),
            ("int x __aligned(8) __ro_after_init;", "static volatile int x;"),
            ("static struct kmem_cache *c __ro_after_init;", "static struct kmem_cache *c;"),
            ("int x;", "__maybe_unused extern int x; int x;"),
            ("unsigned x;", "unsigned int x;"),
            ("static int a[4];", "static int a[LEN] = { 1 };"),
            ("static const int x = 1;", "static const long x = 1;"),
            ("static const char *const x = 0;", "static const void *const x = 0;"),
            ("static int (*const x[])(void *a) = { f };", "static int (*const x[])(struct s *a) = { f };"),
            ("static enum { A } x;", "static enum { A, B } x;"),
            ("static int __f(void)\n{\n}\nint y;", "static long __f(void)\n{\n}\nint y;"),
            ("int x;", "long y;"),
            ("int x;", ""),
            ("int f(int a);", "int f(long a);"),
            ("struct s;", "struct s; union u; typedef int x;"),
            ("typedef int x;", "typedef long x;"),
            ("DEFINE_SPINLOCK(x);", "DEFINE_MUTEX(x);"),
            ("int f(void)\n{\n\tint a;\n}", "int f(void)\n{\n\tlong a;\n}"),
            ("int f(void)\n{\n\tstatic int a;\n}", "int g(void)\n{\n\tstatic long a;\n}"),
            ("struct s *f(void) { return 0; }\nint x;", "struct t *f(void) { return 0; }\nint x;"),
            ("struct s *f(void) __attribute__((x));", "struct t *f(void);"),
            ("struct __attribute__((packed)) s { int a; };", "struct s { int a; };"),
            ("DECLARE_EWMA(a, 1, 2)\nstruct s {\n\tint x;\n};\nint y;", "int y;"),
        ] {
            assert_eq!(changed(old, new), None, "{new}");
        }
        for broken in ["(", "int x[", "}", "static", "=", ", ,;", "int (*;", "f() { static", "(*)(;{}"] {
            let _ = changed(broken, broken);
        }
    }
}
