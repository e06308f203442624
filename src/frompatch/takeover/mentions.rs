// SPDX-License-Identifier: GPL-2.0-only
//! What the text of functions and macros mentions, by itself or through others.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::takeover::active::directive;
use crate::frompatch::takeover::pieces::{PieceKind, SourcePiece, pieces};
use crate::frompatch::tokens::{self, words};

/// The words of all functions and macros of a text, by their names.
#[derive(Debug, Default)]
pub(in crate::frompatch) struct Mentions {
    by_name: BTreeMap<String, BTreeSet<String>>,
}

impl Mentions {
    /// Reads a text in which directives are evaluated and macros are not expanded (`-fdirectives-only`).
    pub(in crate::frompatch) fn of(text: &str) -> Mentions {
        // Line markers are no directives.
        let text: String = text
            .lines()
            .map(|line| if line.starts_with("# ") { "\n".to_owned() } else { format!("{line}\n") })
            .collect();
        let mut mentions = Mentions::default();
        for piece in pieces(&text) {
            let own = text.get(piece.start()..piece.end()).unwrap_or_default();
            for name in names(&piece) {
                let known = mentions.by_name.entry(name.to_owned()).or_default();
                known.extend(words(own).into_iter().filter(|word| *word != name).map(str::to_owned));
            }
        }
        mentions
    }

    /// All words that the function `name` mentions, by itself or through others; a word for which `is_apart` is true
    /// is not followed.
    pub(in crate::frompatch) fn reached(
        &self,
        name: &str,
        is_apart: impl Fn(&str) -> bool,
    ) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&str> = vec![name];
        while let Some(next) = waiting.pop() {
            for word in self.by_name.get(next).into_iter().flatten() {
                if reached.insert(word.as_str()) && !is_apart(word) {
                    waiting.push(word);
                }
            }
        }
        reached
    }
}

/// The names that a definition of a function or macro may have: those before arguments.
fn names<'a>(piece: &SourcePiece<'a>) -> Vec<&'a str> {
    match piece.kind {
        PieceKind::Macro => {
            let text = piece.tokens.first().map_or("", |token| token.text);
            let rest = text.split_once(directive(text)).map_or("", |(_, rest)| rest).trim_start();
            let name = rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next();
            name.filter(|name| !name.is_empty()).into_iter().collect()
        }
        PieceKind::Function => {
            let head = piece.tokens.iter().take_while(|token| !token.is("{"));
            let head: Vec<_> = head.collect();
            let called = head.windows(2).filter_map(|pair| match pair {
                [name, open] if name.kind == tokens::TokenKind::Word && open.is("(") => Some(name.text),
                _ => None,
            });
            called.collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mentioned_through_others_counts() {
        let text = "# 1 \"a.h\"\n#define ONE (TWO + \\\n\t1)\n#define TWO 2\nstatic inline __attribute__((x)) int tiny(int a)\n{\n\treturn ONE;\n}\n\
            # 3 \"a.c\" 2\nint apart(void) { return deep(); }\nint f(void)\n{\n\treturn tiny(apart());\n}\nint g(void) { return ONE; }\n";
        let mentions = Mentions::of(text);
        let reached = |name: &str, is_apart: bool| -> Vec<String> {
            let reached = mentions.reached(name, |word| is_apart && word == "apart");
            let known = ["ONE", "TWO", "tiny", "apart", "deep"];
            known.into_iter().filter(|word| reached.contains(word)).map(str::to_owned).collect()
        };
        assert_eq!(reached("f", true), ["ONE", "TWO", "tiny", "apart"]);
        assert_eq!(reached("f", false), ["ONE", "TWO", "tiny", "apart", "deep"]);
        assert_eq!(reached("g", true), ["ONE", "TWO"]);
        assert!(reached("nothing", true).is_empty());
    }
}
