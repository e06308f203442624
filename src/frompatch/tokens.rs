// SPDX-License-Identifier: GPL-2.0-only
//! C as a sequence of words and signs, without comments.

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A name or keyword.
    Word,
    /// A number.
    Number,
    /// A string or character.
    Quoted,
    /// Any other single character.
    Sign,
    /// A directive of the preprocessor, with its continuation lines.
    Directive,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub(crate) kind: TokenKind,
    /// Its text.
    pub(crate) text: &'a str,
    /// Where it begins.
    pub(crate) start: usize,
}

impl Token<'_> {
    /// Where it ends.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this sign or word.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text && matches!(self.kind, TokenKind::Sign | TokenKind::Word)
    }
}

/// The tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut all: Vec<Token<'_>> = Vec::new();
    let mut at = 0;
    let mut begins_line = true;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let (kind, length) = match byte {
            b'\n' => {
                begins_line = true;
                at += 1;
                continue;
            }
            _ if byte.is_ascii_whitespace() || rest.starts_with(b"\\\n") => {
                at += 1;
                continue;
            }
            b'/' if rest.starts_with(b"/*") => {
                at += memchr::memmem::find(rest.get(2..).unwrap_or_default(), b"*/")
                    .map_or(rest.len(), |end| end + 4);
                continue;
            }
            b'/' if rest.starts_with(b"//") => {
                at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                continue;
            }
            b'#' if begins_line => (TokenKind::Directive, directive(rest)),
            b'"' | b'\'' => (TokenKind::Quoted, quoted(rest)),
            _ if is_letter(byte) && !byte.is_ascii_digit() => (TokenKind::Word, run(rest, is_letter)),
            _ if byte.is_ascii_digit() => {
                (TokenKind::Number, run(rest, |byte| is_letter(byte) || byte == b'.'))
            }
            _ if byte.is_ascii() => (TokenKind::Sign, 1),
            _ => (
                TokenKind::Sign,
                text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8),
            ),
        };
        begins_line = false;
        if let Some(text) = text.get(at..at + length) {
            all.push(Token { kind, text, start: at });
        }
        at += length;
    }
    all
}

/// The names and keywords of a text, those in directives included.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    for token in tokens(text) {
        match token.kind {
            TokenKind::Word => all.push(token.text),
            TokenKind::Directive => all.extend(words(token.text.trim_start_matches(['#', ' ', '\t']))),
            _ => {}
        }
    }
    all
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn run(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_part(**byte)).count()
}

/// The length of a string or character with its quotes.
fn quoted(bytes: &[u8]) -> usize {
    let quote = bytes.first().copied().unwrap_or_default();
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        at += if byte == b'\\' { 2 } else { 1 };
        if byte == quote {
            break;
        }
    }
    at.min(bytes.len())
}

/// The length of a directive, without the end of its last line, and without the lines of a comment that begins in it.
fn directive(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' => return at,
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let rest = bytes.get(at + 2..).unwrap_or_default();
                at += memchr::memmem::find(rest, b"*/").map_or(rest.len(), |end| end + 3);
            }
            _ => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_told_from_code() {
        let text =
            "#define A(x) \\\n\tx /* y\n z */\nint a = 'b'; // c\nchar *d = \"e\\\"f\"; /* g */ h(1u, é)\n";
        let all: Vec<(TokenKind, &str)> = tokens(text).iter().map(|token| (token.kind, token.text)).collect();
        assert_eq!(all.first(), Some(&(TokenKind::Directive, "#define A(x) \\\n\tx /* y\n z */")));
        let words: Vec<&str> =
            all.iter().filter(|(kind, _)| *kind == TokenKind::Word).map(|(_, text)| *text).collect();
        assert_eq!(words, ["int", "a", "char", "d", "h"]);
        assert!(all.contains(&(TokenKind::Quoted, "\"e\\\"f\"")) && all.contains(&(TokenKind::Number, "1u")));
        assert_eq!(super::words(text), ["define", "A", "x", "x", "int", "a", "char", "d", "h"]);
        for broken in ["\"", "'\\", "/*", "#", "#a\\", "é", "/"] {
            let _ = tokens(broken);
        }
    }
}
