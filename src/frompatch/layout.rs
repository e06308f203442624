// SPDX-License-Identifier: GPL-2.0-only
//! Whether types stay as they are: data in memory, and code that is not compiled anew, have the old ones. The types'
//! text is compared, and also their preprocessed text: a macro may give the length of an array, and a condition may
//! stand around members.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;

use crate::frompatch::apply::Touched;
use crate::frompatch::compile::{self, Compiled, Trees};
use crate::frompatch::outline::{self, DefinitionKind, Item};
use crate::frompatch::packing;
use crate::frompatch::tokens::{self, tokens};
use crate::frompatch::variables::{self, Variables};
use crate::host::patch::{Hunk, HunkLine};

const WHY_AND_WHAT_TO_DO: &str = "what is in memory, and what is not compiled anew, keeps its layout; put what is new into \
                                  a shadow variable (klp_shadow_alloc), or, if the layout stays, say so (--allow-layout)";

/// A type with a body, or a variable that is declared with one.
struct Type {
    name: String,
    /// Its text in words, without words that do not change its layout in memory.
    words: Vec<String>,
}

/// Checks that the patches change the text of no type.
///
/// # Errors
/// The text of a type is changed.
pub fn check_texts(files: &[Touched]) -> Result<()> {
    let both = files.iter().filter_map(|file| Some((file, file.original.as_ref()?, file.patched.as_ref()?)));
    for (file, old, new) in both.clone() {
        let [old, new] = [old, new].map(|text| String::from_utf8_lossy(text));
        check_variables(&file.path, [&old, &new])?;
    }
    let kept: Vec<Type> = files
        .iter()
        .filter_map(|file| file.patched.as_ref())
        .flat_map(|text| types(declarations(text)))
        .collect();
    for (file, old, _) in both {
        for old in types(declarations(old)) {
            ensure!(
                is_kept(&old, &kept),
                "{}: the type {} is changed: {WHY_AND_WHAT_TO_DO}",
                file.path,
                old.name
            );
        }
    }
    Ok(())
}

/// Checks that no type in a unit's preprocessed text changes, for patches that change more than bodies of functions.
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
            "{path}: the type {} is changed by what it is made of: {WHY_AND_WHAT_TO_DO}",
            changed.unwrap_or_default()
        );
        let packed = packing::changed(&old, &new);
        ensure!(
            packed.is_none(),
            "{path}: the type {} gets another layout by what #pragma says before it: {WHY_AND_WHAT_TO_DO}",
            packed.unwrap_or_default()
        );
        check_variables(path, [&String::from_utf8_lossy(&old), &String::from_utf8_lossy(&new)])
    })
}

/// Checks that no variable of the file or unit `path` gets another type, by its text before and after the patches.
fn check_variables(path: &str, [old, new]: [&str; 2]) -> Result<()> {
    let changed = Variables::of(new).changed_since(&Variables::of(old)).map(str::to_owned);
    ensure!(
        changed.is_none(),
        "{path}: the variable {} gets another type: the kernel's own goes on, with the value that it has; leave it as it \
         is, and put what is new into a variable with another name, or, if the value means the same to both, say so \
         (--allow-layout)",
        changed.unwrap_or_default()
    );
    Ok(())
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
        around.peek().is_some() && around.all(|item| item.kind == DefinitionKind::Function)
    };
    let is_directive = |text: &[u8]| text.trim_ascii_start().starts_with(b"#");
    hunk.changes().any(|(line, [old_line, new_line])| {
        let (text, is_inside) = match line {
            HunkLine::Removed(text) => (text, is_in_function(old, old_line)),
            HunkLine::Added(text) | HunkLine::Kept(text) => (text, is_in_function(new, new_line)),
        };
        is_directive(text) || !(is_inside || text.trim_ascii().is_empty())
    })
}

/// The name of a type in the preprocessed text `old` that `new` has only with another body, or that takes its size from
/// a variable with another content.
fn changed_type(old: &[u8], new: &[u8]) -> Option<String> {
    let (old, new) = (declarations(old), declarations(new));
    let variables = changed_variables(&old, &new);
    let new = types(new);
    let is_there = |one: &Type| one.is_enum() || new.iter().any(|other| other.name == one.name);
    let is_sized_anew = |one: &Type| one.asked().iter().any(|word| variables.contains(*word));
    let changed =
        types(old).into_iter().filter(|one| is_there(one) && (!is_kept(one, &new) || is_sized_anew(one)));
    changed.map(|one| one.name).next()
}

/// The variables and constants outside of functions whose declaration or value differs.
fn changed_variables(old: &[Declaration], new: &[Declaration]) -> BTreeSet<String> {
    let new: BTreeSet<&Vec<String>> = data(new).collect();
    let gone = data(old).filter(|words| !new.contains(words));
    gone.filter_map(|words| variables::declared(words)).map(str::to_owned).collect()
}

/// The words of the variables and constants.
fn data(all: &[Declaration]) -> impl Iterator<Item = &Vec<String>> {
    all.iter().filter(|one| one.kind == DefinitionKind::Data).map(|one| &one.words)
}

/// Whether code with the types `new` understands data of the type `old`.
fn is_kept(old: &Type, new: &[Type]) -> bool {
    if new.iter().any(|one| one.words == old.words) {
        return true;
    }
    // An enumeration may get more constants; one without a name may go, since nothing has its type.
    let mut enums = new.iter().filter(|one| one.is_enum());
    old.is_enum()
        && (new.iter().any(|one| one.extends(old))
            || old.is_anonymous()
                && !enums.any(|one| one.enumerators().any(|name| old.enumerators().any(|own| own == name))))
}

impl Type {
    fn is_enum(&self) -> bool {
        self.is_word(0, "enum") && self.words.iter().any(|word| word == "{")
    }

    fn is_anonymous(&self) -> bool {
        self.is_word(1, "{")
    }

    fn is_word(&self, place: usize, word: &str) -> bool {
        self.words.get(place).is_some_and(|own| own == word)
    }

    /// The words before the body.
    fn head(&self) -> impl Iterator<Item = &String> {
        self.words.iter().take_while(|word| *word != "{")
    }

    /// The words of the body of an enumeration.
    fn body(&self) -> &[String] {
        let place = |brace: &str| self.words.iter().position(|word| word == brace);
        let body = place("{").zip(place("}")).and_then(|(from, to)| self.words.get(from + 1..to));
        let body = body.unwrap_or_default();
        body.split_last().filter(|(last, _)| *last == ",").map_or(body, |(_, body)| body)
    }

    /// The names that an enumeration defines.
    fn enumerators(&self) -> impl Iterator<Item = &String> {
        self.body().split(|word| word == ",").filter_map(<[String]>::first)
    }

    /// The words of whose size, type or place it asks (`sizeof`, as in ARRAY_SIZE).
    fn asked(&self) -> Vec<&String> {
        const ASKS: [&str; 7] = [
            "sizeof",
            "typeof",
            "__typeof__",
            "__typeof_unqual__",
            "__builtin_offsetof",
            "_Alignof",
            "__alignof__",
        ];
        let mut asked = Vec::new();
        // How many parentheses are open since one of these words.
        let mut open: Option<usize> = None;
        for word in &self.words {
            match (word.as_str(), open) {
                (word, None) => open = ASKS.contains(&word).then_some(0),
                ("(", Some(depth)) => open = Some(depth + 1),
                (")", Some(depth)) => open = Some(depth.saturating_sub(1)).filter(|depth| *depth > 0),
                (_, Some(0)) => {
                    asked.push(word);
                    open = None;
                }
                (_, Some(_)) => asked.push(word),
            }
        }
        asked
    }

    /// The words behind the body.
    fn tail(&self) -> &[String] {
        let end = self.words.iter().position(|word| word == "}");
        end.and_then(|end| self.words.get(end + 1..)).unwrap_or_default()
    }

    /// Whether this is the enumeration `old` with more constants, in the same size, and with the old values for the
    /// old constants: no new one comes right before a constant without an explicit value.
    fn extends(&self, old: &Type) -> bool {
        let is_packed = |word: &String| word.contains("packed") || word.contains("__attribute__");
        if !self.head().eq(old.head()) || self.tail() != old.tail() || self.words.iter().any(is_packed) {
            return false;
        }
        let mut rest = old.body().split(|word| word == ",").peekable();
        let mut is_behind_new = false;
        for enumerator in self.body().split(|word| word == ",") {
            let has_value = enumerator.iter().any(|word| word.contains('='));
            if rest.peek() != Some(&enumerator) {
                if has_value && !is_plain(enumerator) {
                    return false;
                }
                is_behind_new = true;
                continue;
            }
            if is_behind_new && !has_value {
                return false;
            }
            is_behind_new = false;
            rest.next();
        }
        rest.peek().is_none()
    }
}

/// Whether the explicit value of a constant fits into an int, as far as can be seen: for a larger value, gcc makes
/// the enumeration larger.
fn is_plain(enumerator: &[String]) -> bool {
    let value = enumerator.iter().map(String::as_str).skip_while(|word| *word != "=").skip(1);
    let value: Vec<&str> = value.filter(|word| !["(", ")"].contains(word)).collect();
    let is_number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    let is_small = |word: &&str| if is_number(word) { number(word).is_some() } else { !word.contains("LL") };
    let mut shifts = value.windows(4).filter(|words| words.get(1..3) == Some(&["<", "<"]));
    value.iter().all(is_small)
        && shifts.all(|words| match words {
            [what, .., by] => {
                let what = if is_number(what) { number(what) } else { Some(1) };
                let shifted = what
                    .zip(number(by))
                    .and_then(|(what, by)| i64::from(what).checked_mul(1 << by.clamp(0, 31)));
                shifted.is_some_and(|value| i32::try_from(value).is_ok())
            }
            _ => false,
        })
}

/// The value of a number in C; none if it is above that of an int.
fn number(word: &str) -> Option<i32> {
    let digits = word.trim_end_matches(['u', 'U', 'l', 'L']);
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    hex.map_or_else(|| digits.parse(), |hex| i32::from_str_radix(hex, 16)).ok()
}

/// All types that have a body or are another's name, and those with a body in the declaration of a variable with a
/// value. Other variables are no types.
fn types(declarations: Vec<Declaration>) -> Vec<Type> {
    let types = declarations.into_iter().filter_map(|Declaration { name, kind, words }| {
        let words = if kind == DefinitionKind::Type { words } else { words_of_declared(words)? };
        Some(Type { name, words })
    });
    types.filter(|one| one.words.iter().any(|word| word == "{" || word == "typedef")).collect()
}

/// A type or a variable outside of functions.
struct Declaration {
    name: String,
    kind: DefinitionKind,
    /// Its text in words.
    words: Vec<String>,
}

/// The types and variables of a text.
fn declarations(text: &[u8]) -> Vec<Declaration> {
    let shown = String::from_utf8_lossy(text);
    let lines: Vec<&str> = shown.split('\n').collect();
    let is_declaration = |item: &Item| matches!(item.kind, DefinitionKind::Type | DefinitionKind::Data);
    let items = outline::items(text).into_iter().filter(is_declaration);
    let with_words = items.map(|Item { name, first, last, kind }| {
        let own = lines.get(first - 1..last).unwrap_or_default().join("\n");
        Declaration { name, kind, words: words(&own) }
    });
    with_words.collect()
}

/// The words of a variable's declaration before its value, as if it had none; nothing if no type has its body there,
/// or if it is a constant with a type of its own, which a livepatch brings anew.
fn words_of_declared(mut words: Vec<String>) -> Option<Vec<String>> {
    let mut depth = 0usize;
    let value = words.iter().position(|word| {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && word == "="
    })?;
    words.truncate(value);
    let before = words.get(..words.iter().position(|word| word == "{")?)?;
    let is_keyword = |word: &String| ["struct", "union", "enum"].contains(&word.as_str());
    let has_type = before.iter().any(is_keyword);
    let is_own_constant = before.last().is_some_and(is_keyword) && before.iter().any(|word| word == "const");
    words.push(";".to_owned());
    (has_type && !is_own_constant).then_some(words)
}

/// The words and signs of a type, and neither comments nor macros that are defined in it: what these change is seen where
/// they are expanded.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for token in tokens(text) {
        match token.kind {
            tokens::TokenKind::Directive => {
                let inner = token.text.trim_start_matches('#').trim_start();
                if !["define", "undef"].iter().any(|directive| inner.starts_with(directive)) {
                    all.extend(words(inner));
                }
            }
            _ => all.push(token.text.to_owned()),
        }
    }
    all
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
        assert_eq!(changed_type(old, &new("A = 1", "B, A = 1")), None);
        assert_eq!(changed_type(old, &new("A = 1,", "A = 1,\n B")), None);
        assert_eq!(changed_type(old, &new("enum {\n A = 1,\n};\n", "enum {\n C,\n};\n")), None);
        assert_eq!(changed_type(old, &new(" int a[2];\n", "\tint  a[2];\n\n")), None);
        assert_eq!(changed_type(old, &new("struct gone {\n int a;\n};\n", "")), None);
        assert_eq!(changed_type(old, &new("struct s {", "struct t {\n int b;\n};\nstruct s {")), None);
        assert_eq!(changed_type(old, &new("struct s *s", "struct s *s, int b")), None);
    }

    #[test]
    fn a_type_that_takes_its_size_from_a_variable_is_compared_with_it() {
        let old = "static const int t[] = { 1, 2 };\nstatic int u = 1;\nstruct s {\n int a[(sizeof(t) / sizeof((t)[0]))];\n};\n";
        let changed = |from: &str, to: &str| changed_type(old.as_bytes(), old.replace(from, to).as_bytes());
        assert_eq!(changed("1, 2", "1, 2, 3"), Some("s".to_owned()));
        assert_eq!(changed("u = 1", "u = 2"), None);
        let unique = "static void *__attribute__((__used__)) __attribute__((__section__(\".a\"))) __UNIQUE_ID_a1 = f;\n\
                      struct q {\n void *u __attribute__((aligned(sizeof(long))));\n} __attribute__((packed));\n";
        let old = format!("{old}{unique}");
        let changed = |from: &str, to: &str| changed_type(old.as_bytes(), old.replace(from, to).as_bytes());
        assert_eq!(changed("ID_a1", "ID_a2"), None);
        assert_eq!(changed("u = 1", "u = 2"), None);
        let attribute = old.replace("t[]", "t[] __attribute__((__section__(\".b\")))");
        let longer = attribute.replace("1, 2", "1, 2, 3");
        assert_eq!(changed_type(attribute.as_bytes(), longer.as_bytes()), Some("s".to_owned()));
    }

    #[test]
    fn a_type_with_a_body_in_a_variables_declaration_is_compared() {
        let check = |old: &str, new: &str| check_texts(&[file(old, new)]).map_err(|error| error.to_string());
        let one = "static struct {\n\tint a;\n\tlong b;\n} x = {\n\t.a = 1,\n};\n\
                   static enum { A = 0, B = 1 } y = A;\nstatic const struct {\n\tint c;\n} z[] = { { 1 } };\n\
                   static struct w {\n\tint d;\n} const v = { 1 };\n";
        let changed = |from: &str, to: &str| check(one, &one.replace(from, to));
        for (from, to, name) in [
            ("\tint a;\n\tlong b;\n", "\tlong b;\n\tint a;\n", "x"),
            ("B = 1", "B = 2", "y"),
            ("\tint d;", "\tint d, e;", "v"),
        ] {
            let error = changed(from, to).unwrap_err();
            assert!(error.starts_with(&format!("a.c: the type {name} is changed: ")), "{error}");
        }
        assert!(changed(".a = 1", ".a = 2").is_ok());
        assert!(changed(" = A;", ";").is_ok());
        assert!(changed("\tint c;", "\tint c, d;").is_ok());
    }

    #[test]
    fn a_type_may_move_and_a_variable_may_get_other_qualifiers() {
        let check = |files: &[(&str, &str)]| {
            let files: Vec<Touched> = files.iter().map(|(old, new)| file(old, new)).collect();
            check_texts(&files).map_err(|error| error.to_string())
        };
        let one = "struct s {\n\tint a;\n};\nconst struct s *p;\nenum {\n\tA,\n};\nenum {\n\tB, C,\n};\n";
        let changed = |from: &str, to: &str| check(&[(one, &one.replace(from, to))]);
        assert!(check(&[(one, ""), ("int x;\n", one)]).is_ok());
        assert!(changed("\tint a;", "\t/* an\n\t * int */\n\tint a; // a").is_ok());
        assert!(changed("const struct s *p", "static struct s __rcu *p").is_ok());
        assert!(changed("enum {\n\tB, C,\n};", "#define B 0").is_ok());
        assert!(changed("\tB, C,", "\tB, C,\n#define D \\\n\tC\n\tX = 9,").is_ok());
        assert!(changed("\tB, C,", "\tB, C,\n#define D C /* it\n * is */ // so\n\tX=BIT(3),").is_ok());
        assert!(changed("\tB, C,\n", "\tB, C, /* more */ D\n").is_ok());
        for value in ["1UL", "((((1UL))) << (3))", "1U << 30", "0x7fffffffUL", "A << 2 | 1", "BIT(n)"] {
            assert!(changed("\tB, C,", &format!("\tB, C, X = {value},")).is_ok(), "{value}");
        }
        assert!(changed("const struct s *p;\n", "").is_ok());
        for (from, to, name) in [
            ("\tint a;", "\tint a, b; /* more */", "s"),
            ("struct s {", "struct r {", "s"),
            ("\tB, C,", "\tC, B,", "enum"),
            ("\tB, C,", "\tB, X = 7, C,", "enum"),
            ("\tB, C,", "\tX = 0, B, C,", "enum"),
            ("\tB, C,", "\tB, C, X = 0x80000000,", "enum"),
            ("\tB, C,", "\tB, C, X = 1ULL << 40,", "enum"),
            ("\tB, C,", "\tB, C, X = ((((1UL))) << (31)),", "enum"),
            ("\tB, C,", "\tB, C, X = 3 << 30,", "enum"),
            ("\tB, C,", "\tB, C, X = A << 40,", "enum"),
            ("\tB, C,", "\tB, C, X = 0xffffffffUL,", "enum"),
            ("\tB, C,", "\tB, C, X = BIT_ULL(3),", "enum"),
            ("\tB, C,\n}", "\tB, C,\n} __packed", "enum"),
            ("\tB, C,\n}", "\tB, C, X = 3,\n} __packed", "enum"),
            ("\tB, C,", "\tC,", "enum"),
            ("\tA,", "\tA = 2,", "enum"),
        ] {
            let error = changed(from, to).expect_err(to);
            assert!(error.contains(&format!("the type {name} is changed")), "{to}: {error}");
        }
        let error = changed("struct s *p", "struct t *p").unwrap_err();
        assert!(error.contains("the variable p gets another type"), "{error}");
        let pool = "static struct kmem_cache *pool __ro_after_init;\n";
        assert!(check(&[(pool, &pool.replace(" __ro_after_init", ""))]).is_ok());
    }
}
