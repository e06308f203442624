// SPDX-License-Identifier: GPL-2.0-only
//! The definitions and declarations of a file, and the names that each of them declares.

use crate::frompatch::takeover::active::directive;
use crate::frompatch::tokens::{self, Token};

/// The kind of a piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// `#include`
    Include,
    /// `#define` or `#undef`
    Macro,
    /// Another directive.
    Directive,
    /// A function with its body.
    Function,
    /// Anything else up to a semicolon, or the call of a macro.
    Statement,
}

/// A piece of a file.
#[derive(Debug, Clone)]
pub(super) struct SourcePiece<'a> {
    /// Its kind.
    pub(super) kind: PieceKind,
    /// Its tokens.
    pub(super) tokens: Vec<Token<'a>>,
}

impl SourcePiece<'_> {
    /// The offset of its beginning in the text.
    pub(super) fn start(&self) -> usize {
        self.tokens.first().map_or(0, |token| token.start)
    }

    /// The offset of its end in the text.
    pub(super) fn end(&self) -> usize {
        self.tokens.last().map_or(0, Token::end)
    }

    /// The tokens before the body of a function.
    pub(super) fn head(&self) -> &[Token<'_>] {
        let end = self.tokens.iter().position(|token| token.is("{")).unwrap_or(self.tokens.len());
        self.tokens.get(..end).unwrap_or_default()
    }
}

/// The kind of thing that a piece declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A function, with its body.
    Function,
    /// Something that is defined elsewhere, or further down.
    Declaration,
    /// Variables or constants.
    Data,
    /// A type.
    Type,
}

/// The names that a piece declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeclaredNames {
    /// What kind of thing they name.
    pub(super) what: What,
    /// The names.
    pub(super) names: Vec<String>,
    /// The names of the types and enumeration constants that it defines as well.
    pub(super) types: Vec<String>,
}

/// The pieces of a text, in its order.
pub(super) fn pieces(text: &str) -> Vec<SourcePiece<'_>> {
    let all = tokens::tokens(text);
    let mut found = Vec::new();
    let mut rest = all.as_slice();
    while let Some(first) = rest.first() {
        let (kind, length) = match first.kind {
            tokens::TokenKind::Directive => {
                let kind = match directive(first.text) {
                    "include" => PieceKind::Include,
                    "define" | "undef" => PieceKind::Macro,
                    _ => PieceKind::Directive,
                };
                (kind, 1)
            }
            _ => statement(rest),
        };
        let (piece, others) = rest.split_at(length.clamp(1, rest.len()));
        found.push(SourcePiece { kind, tokens: piece.to_vec() });
        rest = others;
    }
    found
}

/// The kind of the piece that begins the tokens, and its number of tokens.
fn statement(tokens: &[Token<'_>]) -> (PieceKind, usize) {
    let (mut depth, mut has_body) = (0usize, false);
    for (index, token) in tokens.iter().enumerate() {
        if token.kind != tokens::TokenKind::Sign {
            continue;
        }
        let before = tokens.get(..index).unwrap_or_default();
        match token.text {
            "{" => {
                has_body |= depth == 0 && is_head(before);
                depth += 1;
            }
            "(" | "[" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" && has_body {
                    return (PieceKind::Function, index + 1);
                }
                if depth == 0 && is_call(before) && !goes_on(tokens.get(index + 1)) {
                    return (PieceKind::Statement, index + 1);
                }
            }
            ";" if depth == 0 => return (PieceKind::Statement, index + 1),
            _ => {}
        }
    }
    (PieceKind::Statement, tokens.len())
}

/// Whether a function's body may follow these tokens.
fn is_head(tokens: &[Token<'_>]) -> bool {
    let is_type =
        |token: Option<&Token<'_>>| token.is_some_and(|token| TYPES.iter().any(|word| token.is(word)));
    let mut last = tokens.iter().rev();
    let (one, two) = (last.next(), last.next());
    !is_type(one)
        && !is_type(two)
        && !tokens.first().is_some_and(|token| token.is("typedef"))
        && !outer(tokens).any(|(_, token)| token.is("="))
        && tokens.iter().any(|token| token.is(")"))
}

const TYPES: [&str; 3] = ["struct", "union", "enum"];

/// Whether these tokens and a closing parenthesis are a macro's call that needs no semicolon, judging by its name.
fn is_call(tokens: &[Token<'_>]) -> bool {
    let [name, open, ..] = tokens else { return false };
    let is_loud =
        name.text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let is_known = name.text.starts_with("module_") || name.text.ends_with("initcall");
    name.kind == tokens::TokenKind::Word && open.is("(") && (is_loud || is_known) && {
        let inside = outer(tokens).count();
        inside == 2
    }
}

/// Whether the token after a macro's call belongs to it.
fn goes_on(next: Option<&Token<'_>>) -> bool {
    next.is_some_and(|next| next.kind == tokens::TokenKind::Sign)
}

/// The tokens outside of parentheses, brackets and braces, with their indices; the parentheses, brackets and braces
/// themselves are included.
fn outer<'a, 'b>(tokens: &'a [Token<'b>]) -> impl Iterator<Item = (usize, &'a Token<'b>)> {
    let mut depth = 0usize;
    tokens.iter().enumerate().filter(move |(_, token)| {
        if ["(", "[", "{"].iter().any(|sign| token.is(sign)) {
            depth += 1;
            return depth == 1;
        }
        if [")", "]", "}"].iter().any(|sign| token.is(sign)) {
            depth = depth.saturating_sub(1);
        }
        depth == 0
    })
}

/// The parts of a statement between its commas, without the semicolon.
pub(super) fn segments<'a, 'b>(tokens: &'a [Token<'b>]) -> Vec<&'a [Token<'b>]> {
    let ends = outer(tokens).filter(|(_, token)| token.is(",") || token.is(";")).map(|(index, _)| index);
    let mut from = 0;
    let mut all = Vec::new();
    for end in ends.chain([tokens.len()]) {
        all.push(tokens.get(from..end).unwrap_or_default());
        from = end + 1;
    }
    all.retain(|segment| !segment.is_empty());
    all
}

/// Words whose parentheses do not tell what is declared.
const ATTRIBUTES: [&str; 9] = [
    "__attribute__",
    "__attribute",
    "asm",
    "__asm__",
    "__asm",
    "typeof",
    "__typeof__",
    "__typeof",
    "_Alignas",
];

/// The index of the token with the name that a part of a statement declares, and whether it is a function.
pub(super) fn declarator(segment: &[Token<'_>]) -> Option<(usize, bool)> {
    let mut last: Option<usize> = None;
    let mut is_skipped = false;
    for (index, token) in outer(segment) {
        match token.text {
            _ if token.kind == tokens::TokenKind::Word => {
                is_skipped = ATTRIBUTES.contains(&token.text);
                if !is_skipped {
                    last = Some(index);
                }
            }
            "(" if is_skipped => {}
            ")" if is_skipped => is_skipped = false,
            "(" => {
                let inner = segment.get(index + 1..).unwrap_or_default();
                if inner.first().is_some_and(|token| token.is("*")) {
                    let end =
                        inner.iter().position(|token| ["(", ")", "["].iter().any(|sign| token.is(sign)))?;
                    let words = inner.get(..end)?.iter().enumerate();
                    let name = words.rev().find(|(_, token)| token.kind == tokens::TokenKind::Word)?;
                    return Some((index + 1 + name.0, false));
                }
                return last.map(|last| (last, true));
            }
            "=" | "[" | ":" => return last.map(|last| (last, false)),
            _ => {}
        }
    }
    last.map(|last| (last, false))
}

/// What a piece declares, with macros expanded; none if it declares nothing.
pub(super) fn declared(piece: &SourcePiece<'_>) -> Option<DeclaredNames> {
    let tokens = piece.tokens.as_slice();
    if piece.kind == PieceKind::Function {
        let head = piece.head();
        let (name, _) = declarator(head)?;
        let names = vec![head.get(name)?.text.to_owned()];
        return Some(DeclaredNames { what: What::Function, names, types: Vec::new() });
    }
    if piece.kind != PieceKind::Statement || tokens.first().is_some_and(|token| token.is("_Static_assert")) {
        return None;
    }
    let types = types(tokens);
    let mut names = Vec::new();
    let mut is_function = false;
    for segment in segments(tokens) {
        let after = segment.iter().rposition(|token| token.is("}")).filter(|_| !has_value(segment));
        let own = after.map_or(segment, |brace| segment.get(brace + 1..).unwrap_or_default());
        let Some((index, of_function)) = declarator(own) else { continue };
        let Some(name) = own.get(index) else { continue };
        let before = index.checked_sub(1).and_then(|before| own.get(before));
        if before.is_some_and(|before| TYPES.iter().any(|word| before.is(word))) {
            continue;
        }
        is_function |= of_function;
        names.push(name.text.to_owned());
    }
    let begins = |word: &str| outer(tokens).any(|(_, token)| token.is(word));
    let what = match () {
        () if begins("typedef") || names.is_empty() => What::Type,
        () if begins("extern") || is_function => What::Declaration,
        () => What::Data,
    };
    (!names.is_empty() || !types.is_empty()).then_some(DeclaredNames { what, names, types })
}

fn has_value(tokens: &[Token<'_>]) -> bool {
    outer(tokens).any(|(_, token)| token.is("="))
}

/// The names of types, and of the constants of enumerations, that tokens define.
fn types(tokens: &[Token<'_>]) -> Vec<String> {
    let mut all = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if !TYPES.iter().any(|word| token.is(word)) {
            continue;
        }
        let rest = tokens.get(index + 1..).unwrap_or_default();
        let tag = rest.first().filter(|next| next.kind == tokens::TokenKind::Word);
        let ends = |at: usize| rest.get(at).is_some_and(|next| next.is("{") || next.is(";"));
        if let Some(tag) = tag.filter(|_| ends(1)) {
            all.push(tag.text.to_owned());
        }
        let open = usize::from(tag.is_some());
        if token.is("enum") && rest.get(open).is_some_and(|next| next.is("{")) {
            let inside = rest.iter().skip(open + 1).take_while(|token| !token.is("}"));
            all.extend(
                inside
                    .filter(|token| token.kind == tokens::TokenKind::Word)
                    .map(|token| token.text.to_owned()),
            );
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(PieceKind, Option<DeclaredNames>)> {
        pieces(text).iter().map(|piece| (piece.kind, declared(piece))).collect()
    }

    fn of(text: &str) -> (What, Vec<String>) {
        let all = all(text);
        assert_eq!(all.len(), 1, "{text}: {all:?}");
        let declared = all.into_iter().next().unwrap().1.unwrap_or_else(|| panic!("{text}"));
        (declared.what, [declared.names, declared.types].concat())
    }

    #[test]
    fn the_names_of_declarations_are_found() {
        for (text, what, names) in [
            ("static int a = f(1, 2), *b[3], c;", What::Data, &["a", "b", "c"][..]),
            ("static int (*hook)(int a, int b) = x;", What::Data, &["hook"]),
            ("int (*hooks[3])(void);", What::Data, &["hooks"]),
            ("static struct ops x = { .f = g, .h = { 1 } };", What::Data, &["x"]),
            ("static struct mutex m = { .owner = (0), };", What::Data, &["m"]),
            ("static __attribute__((section(\".a\"))) __typeof__(int) pcpu;", What::Data, &["pcpu"]),
            ("int x __attribute__((aligned(8))) = 3;", What::Data, &["x"]),
            ("struct a { int b; } c = { 1 };", What::Data, &["c", "a"]),
            ("struct a { int b; struct { int d; } e; };", What::Type, &["a"]),
            ("struct a { int b; } __attribute__((packed));", What::Type, &["a"]),
            ("enum { ONE, TWO = 3 };", What::Type, &["ONE", "TWO"]),
            ("struct later;", What::Type, &["later"]),
            ("typedef int (*f_t)(void);", What::Type, &["f_t"]),
            ("typedef struct { int a; } s_t;", What::Type, &["s_t"]),
            ("extern int y[];", What::Declaration, &["y"]),
            ("static int f(struct a *b, int (*c)(int));", What::Declaration, &["f"]),
            ("struct a *g(void) __attribute__((cold));", What::Declaration, &["g"]),
            (
                "static inline __attribute__((unused)) struct a *h(int x)\n{ return 0; }",
                What::Function,
                &["h"],
            ),
        ] {
            assert_eq!(of(text), (what, names.iter().map(|&name| name.to_owned()).collect()), "{text}");
        }
    }

    #[test]
    fn a_file_is_cut_where_its_definitions_end() {
        let text = "#include <a.h>\n#define X 1\nEXPORT_SYMBOL(f)\nmodule_init(g)\n__printf(1, 2)\nint f(int a)\n{\n\tif (a) { b(); }\n}\n\
            SYSCALL_DEFINE1(x, int, a)\n{\n#ifdef Y\n#endif\n}\nDEFINE_PER_CPU(int, n) = 3;\nstruct s { int a; } t[] = { { 1 }, };\n#pragma x\nint last";
        let found: Vec<(PieceKind, &str)> = pieces(text)
            .iter()
            .map(|piece| (piece.kind, text[piece.start()..piece.end()].lines().next().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                (PieceKind::Include, "#include <a.h>"),
                (PieceKind::Macro, "#define X 1"),
                (PieceKind::Statement, "EXPORT_SYMBOL(f)"),
                (PieceKind::Statement, "module_init(g)"),
                (PieceKind::Function, "__printf(1, 2)"),
                (PieceKind::Function, "SYSCALL_DEFINE1(x, int, a)"),
                (PieceKind::Statement, "DEFINE_PER_CPU(int, n) = 3;"),
                (PieceKind::Statement, "struct s { int a; } t[] = { { 1 }, };"),
                (PieceKind::Directive, "#pragma x"),
                (PieceKind::Statement, "int last"),
            ]
        );
    }
}
