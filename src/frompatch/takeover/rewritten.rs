// SPDX-License-Identifier: GPL-2.0-only
//! Makes definitions into declarations of what the kernel has.

use crate::frompatch::takeover::pieces::{self, declarator, segments};
use crate::frompatch::tokens::{self, Token};

/// What is known of a variable of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KernelVariable {
    /// Its size in bytes, if that is known.
    pub(super) size: Option<u64>,
    /// The annotation that locates it, if its name alone does not.
    pub(super) annotation: Option<String>,
}

/// Words of a definition that an `extern` declaration does not have.
const STORAGE: [&str; 7] =
    ["static", "extern", "__weak", "inline", "__inline", "__inline__", "__always_inline"];

/// Text put together from tokens, with the original space between them, without comments.
struct Words<'a> {
    text: &'a str,
    out: String,
    end: Option<usize>,
}

impl Words<'_> {
    fn push(&mut self, token: &Token<'_>) {
        self.push_as(token, token.text);
    }

    fn push_as(&mut self, token: &Token<'_>, text: &str) {
        if let Some(gap) = self.end.and_then(|end| self.text.get(end..token.start)) {
            let is_wanted = !self.out.ends_with(char::is_whitespace);
            match gap.trim().is_empty() {
                true if is_wanted => self.out.push_str(gap),
                false if is_wanted => self.out.push(' '),
                _ => {}
            }
        }
        self.out.push_str(text);
        self.end = Some(token.end());
    }
}

/// The declaration of what a statement defines, without initial values. `known` tells about each name.
pub(super) fn declaration(
    text: &str,
    statement: &[Token<'_>],
    known: &dyn Fn(&str) -> KernelVariable,
) -> String {
    let mut words = Words { text, out: "extern ".to_owned(), end: None };
    for (number, segment) in segments(statement).into_iter().enumerate() {
        if number > 0 {
            words.out.push_str(", ");
            words.end = None;
        }
        let value = value(segment);
        let own = segment.get(..value).unwrap_or_default();
        let Some((name, _)) = declarator(own) else { continue };
        let variable = own.get(name).map(|token| known(token.text)).unwrap_or_default();
        let end = end_of_declarator(own, name);
        let begin = words.out.len();
        for (index, token) in own.iter().enumerate() {
            if index <= name && STORAGE.iter().any(|word| token.is(word)) {
                words.end = Some(token.end());
                continue;
            }
            if index == name + 2 && token.is("]") && own.get(name + 1).is_some_and(|open| open.is("[")) {
                let of = words.out.get(begin..).unwrap_or_default().to_owned();
                let of = of.rsplit_once(own.get(name).map_or("", |name| name.text)).map_or("", |(of, _)| of);
                let rest: String =
                    own.get(index + 1..end).unwrap_or_default().iter().map(|t| t.text).collect();
                if let (0, Some(size)) = (number, variable.size) {
                    words.out.push_str(&format!("{size} / sizeof({}{rest})", of.trim()));
                }
            }
            words.push(token);
            if let (true, Some(annotation)) = (index + 1 == end, &variable.annotation) {
                words.out.push(' ');
                words.out.push_str(annotation);
            }
        }
    }
    words.out.push(';');
    words.out
}

/// The index at which the initial value of a part of a statement begins, or its end.
fn value(segment: &[Token<'_>]) -> usize {
    let mut depth = 0usize;
    for (index, token) in segment.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "=" if depth == 0 && token.kind == tokens::TokenKind::Sign => return index,
            _ => {}
        }
    }
    segment.len()
}

/// The index after a name with its dimensions and parameters, before any attributes.
fn end_of_declarator(segment: &[Token<'_>], name: usize) -> usize {
    let mut depth = 0usize;
    let before = segment.get(..name).unwrap_or_default();
    let mut open = before.iter().filter(|token| token.is("(")).count();
    open = open.saturating_sub(before.iter().filter(|token| token.is(")")).count());
    for (index, token) in segment.iter().enumerate().skip(name + 1) {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" if depth > 0 => depth -= 1,
            ")" if open > 0 => open -= 1,
            _ if depth == 0 => return index,
            _ => {}
        }
    }
    segment.len()
}

/// The weak attribute, which a declaration does not keep: the symbol that it refers to exists.
const WEAK: [&str; 6] = ["__attribute__", "(", "(", "weak", ")", ")"];

fn is_weak(tokens: &[Token<'_>]) -> bool {
    tokens.len() >= WEAK.len() && tokens.iter().zip(WEAK).all(|(token, word)| token.is(word))
}

/// A declaration of the function `own` from its head, without storage class, with the name `renamed` if that is
/// given; none if a macro makes the head.
pub(super) fn prototype(text: &str, head: &[Token<'_>], own: &str, renamed: Option<&str>) -> Option<String> {
    let name =
        head.windows(2).position(|pair| matches!(pair, [name, open] if name.is(own) && open.is("(")))?;
    let mut words = Words { text, out: String::new(), end: None };
    let mut weak = 0;
    for (index, token) in head.iter().enumerate() {
        if head.get(index..).is_some_and(is_weak) {
            weak = WEAK.len();
        }
        if weak > 0 {
            weak -= 1;
            continue;
        }
        if index < name && STORAGE.iter().any(|word| token.is(word)) {
            continue;
        }
        match renamed.filter(|_| index == name) {
            Some(renamed) => words.push_as(token, renamed),
            None => words.push(token),
        }
    }
    Some(words.out)
}

/// A variable that belongs to a function (`static`).
#[derive(Debug)]
pub(super) struct Local<'a> {
    /// The tokens of its statement.
    pub(super) tokens: &'a [Token<'a>],
    /// The names that it declares, if they can be seen.
    pub(super) names: Vec<String>,
}

/// The statements in the body of a function that declare statics.
pub(super) fn locals<'a>(function: &'a pieces::SourcePiece<'a>) -> Vec<Local<'a>> {
    let tokens = function.tokens.as_slice();
    let mut found = Vec::new();
    let body = function.head().len();
    for (index, token) in tokens.iter().enumerate().skip(body + 1) {
        let before = tokens.get(index - 1);
        let begins = before.is_some_and(|before| {
            before.kind == tokens::TokenKind::Directive
                || ["{", "}", ";", ":", ")"].iter().any(|sign| before.is(sign))
        });
        if !token.is("static") || !begins {
            continue;
        }
        let mut depth = 0usize;
        let rest = tokens.get(index..).unwrap_or_default();
        let end = rest.iter().position(|token| {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.is(";")
        });
        let own = rest.get(..end.map_or(rest.len(), |end| end + 1)).unwrap_or_default();
        let names = segments(own).into_iter().filter_map(|segment| {
            let (name, is_call) = declarator(segment)?;
            (!is_call).then(|| segment.get(name).map(|token| token.text.to_owned()))?
        });
        found.push(Local { names: names.collect(), tokens: own });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frompatch::takeover::pieces::pieces;

    fn declared(text: &str, size: Option<u64>, annotation: Option<&str>) -> String {
        let pieces = pieces(text);
        let annotation = annotation.map(str::to_owned);
        declaration(text, &pieces[0].tokens, &|_| KernelVariable { size, annotation: annotation.clone() })
    }

    #[test]
    fn a_definition_becomes_a_declaration() {
        for (text, size, annotation, wanted) in [
            ("static int a = 3;", None, None, "extern int a;"),
            ("static int a = 3, b[2] = { 1, 2 };", None, None, "extern int a, b[2];"),
            (
                "static struct kmem_cache *cache __attribute__((aligned(8)));",
                None,
                Some("AT(x)"),
                "extern struct kmem_cache *cache AT(x) __attribute__((aligned(8)));",
            ),
            ("static int (*hook)(int) = f;", None, Some("AT"), "extern int (*hook)(int) AT;"),
            (
                "static const char * const names[] = { \"a\" };",
                Some(8),
                None,
                "extern const char * const names[8 / sizeof(const char * const)];",
            ),
            ("static char t[][4] = { \"a\" };", Some(8), None, "extern char t[8 / sizeof(char[4])][4];"),
            ("static /* x */ int\n\ta = 3;", None, None, "extern int\n\ta;"),
        ] {
            assert_eq!(declared(text, size, annotation), wanted);
        }
    }

    #[test]
    fn the_head_of_a_function_loses_its_storage() {
        let text = "static __always_inline struct a *\nf(int (*g)(int), int h)\n{\n}";
        let pieces = pieces(text);
        assert_eq!(
            prototype(text, pieces[0].head(), "f", None).unwrap(),
            "struct a *\nf(int (*g)(int), int h)"
        );
        let renamed = prototype(text, pieces[0].head(), "f", Some("new_f")).unwrap();
        assert_eq!(renamed, "struct a *\nnew_f(int (*g)(int), int h)");
        assert_eq!(prototype(text, pieces[0].head(), "made", None), None);
        let text = "void __attribute__((weak)) __weak g(void)\n{\n}";
        assert_eq!(prototype(text, pieces::pieces(text)[0].head(), "g", None).unwrap(), "void g(void)");
    }

    #[test]
    fn statics_in_a_body_are_found() {
        let text = "int f(int a[static 1])\n{\n\tstatic int x = g(1), y;\n\tif (a) {\n\t\tstatic DEFINE_STATE(rs, 1);\n\t}\n\treturn x;\n}";
        let pieces = pieces(text);
        let found: Vec<Vec<String>> = locals(&pieces[0]).into_iter().map(|local| local.names).collect();
        assert_eq!(found, [vec!["x".to_owned(), "y".to_owned()], vec![]]);
    }
}
