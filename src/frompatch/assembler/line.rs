// SPDX-License-Identifier: GPL-2.0-only
//! One line of assembler: its statements, its directive, its label, and the names in it.

use std::borrow::Cow;

/// What a line does, as far as the order of pieces depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// It begins another section.
    Section {
        /// Its name.
        name: String,
        /// The rest of the directive, after the name.
        flags: String,
    },
    /// `.globl`, `.weak`, `.hidden`, `.local`: it describes symbols, wherever it stands.
    Attribute {
        /// The directive.
        what: String,
        /// The symbols.
        names: Vec<String>,
    },
    /// `.set NAME, TARGET`
    Alias {
        /// The alias.
        name: String,
        /// The symbol that it is an alias of.
        target: String,
    },
    /// `.type NAME, @function` or `@object`
    Type {
        /// The name.
        name: String,
        /// Whether it is a function.
        is_function: bool,
    },
    /// `.comm NAME, ...`
    Common {
        /// The name.
        name: String,
    },
    /// `.align` or `.p2align`
    Align,
    /// It has no use in another file: `.file`, `.ident`.
    Nothing,
    /// Anything else.
    Other,
}

impl Directive {
    /// The directive of a line.
    pub fn of(line: &str) -> Directive {
        let line = without_comment(line).trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let mut parts = rest.split(',').map(|part| part.trim().trim_matches('"').to_owned());
        let mut next = || parts.next().unwrap_or_default();
        match word {
            ".section" => {
                let (name, flags) = rest.split_once(',').unwrap_or((rest, ""));
                let name = name.trim().trim_matches('"').to_owned();
                Directive::Section { name, flags: flags.trim().to_owned() }
            }
            ".text" | ".data" | ".bss" => Directive::Section { name: word.to_owned(), flags: String::new() },
            ".globl" | ".global" | ".weak" | ".hidden" | ".local" | ".protected" | ".internal" => {
                Directive::Attribute { what: word.to_owned(), names: parts.collect() }
            }
            ".set" | ".equ" => Directive::Alias { name: next(), target: next() },
            ".type" => {
                let name = next();
                Directive::Type { name, is_function: next().contains("function") }
            }
            ".comm" => Directive::Common { name: next() },
            ".align" | ".p2align" | ".balign" => Directive::Align,
            ".file" | ".ident" | ".addrsig" | ".addrsig_sym" | ".loc" => Directive::Nothing,
            _ => Directive::Other,
        }
    }
}

/// A line split into lines of one statement each. A label before a directive or another label gets a line of its own;
/// other labels stay at the beginning of their line. A line that needs no splitting is returned as it is; comment
/// lines are left out.
pub fn split(line: &str) -> Vec<Cow<'_, str>> {
    let trimmed = line.trim_start();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Vec::new();
    }
    // Nearly all of the compilers' own lines need no splitting: one look shows it.
    if !trimmed.contains([';', ':']) {
        return vec![Cow::Borrowed(line)];
    }
    let mut lines = Vec::new();
    let all = statements(line);
    let is_one = all.len() == 1;
    for statement in all {
        let mut rest = statement.as_str();
        let mut is_whole = true;
        while let Some((mark, after)) = split_label(rest) {
            lines.push(Cow::Owned(mark.to_owned()));
            (rest, is_whole) = (after, false);
        }
        if rest.is_empty() {
            continue;
        }
        if is_one && is_whole && !(line.starts_with(char::is_whitespace) && label(rest).is_some()) {
            return vec![Cow::Borrowed(line)];
        }
        lines.push(Cow::Owned(if label(rest).is_some() { rest.to_owned() } else { format!("\t{rest}") }));
    }
    lines
}

/// The label at the beginning of a statement, which may be a number, and the directive or label after it.
fn split_label(statement: &str) -> Option<(&str, &str)> {
    let colon = statement.find(':')?;
    let (mark, after) = statement.split_at_checked(colon + 1)?;
    let is_number = mark.trim_end_matches(':').bytes().all(|byte| byte.is_ascii_digit());
    let after = after.trim_start();
    let is_apart = after.starts_with('.') || label(after).is_some();
    (is_apart && (is_number || label(statement).is_some())).then_some((mark, after))
}

/// The label that a line begins with, unless it is a number.
pub fn label(line: &str) -> Option<&str> {
    let end = line.find(':')?;
    let name = line.get(..end)?.trim_matches('"');
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || "_.".contains(first))
        && name.chars().all(is_letter);
    is_name.then_some(name)
}

/// The statements of a line, without comments.
pub fn statements(line: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    let mut escaped = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let mut character = None;
        match letter {
            _ if quoted => {
                quoted = letter != '"' || escaped;
                escaped = letter == '\\' && !escaped;
            }
            '"' => quoted = true,
            // A number that is written as a character: `$';`
            '\'' => character = letters.next(),
            '#' => break,
            ';' => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = all.last_mut() {
            last.push(letter);
            last.extend(character);
        }
    }
    let trimmed = all.into_iter().map(|statement| statement.trim().to_owned());
    trimmed.filter(|statement| !statement.is_empty()).collect()
}

/// A text with a blank for each comment between `/*` and `*/`, which may span lines. Kernel macros write such
/// comments (`CC_OUT` in arch/x86/include/asm/asm.h).
pub fn without_block_comments(text: &str) -> Cow<'_, str> {
    if !text.contains("/*") {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            // An escaped quote does not end a string, and no string spans lines.
            '\\' if quoted => kept.extend([Some(letter), letters.next()].into_iter().flatten()),
            '"' => {
                quoted = !quoted;
                kept.push(letter);
            }
            '\n' => {
                quoted = false;
                kept.push(letter);
            }
            // A comment up to the end of the line: a quotation mark in it does not count.
            '#' if !quoted => {
                kept.push(letter);
                while let Some(rest) = letters.next_if(|next| *next != '\n') {
                    kept.push(rest);
                }
            }
            '/' if !quoted && letters.peek() == Some(&'*') => {
                letters.next();
                kept.push(' ');
                let mut last = ' ';
                for inside in letters.by_ref() {
                    if inside == '\n' {
                        kept.push('\n');
                    }
                    if last == '*' && inside == '/' {
                        break;
                    }
                    last = inside;
                }
            }
            _ => kept.push(letter),
        }
    }
    Cow::Owned(kept)
}

/// A line up to its comment.
pub fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (index, letter) in line.char_indices() {
        match letter {
            _ if quoted => {
                quoted = letter != '"' || escaped;
                escaped = letter == '\\' && !escaped;
            }
            '"' => quoted = true,
            '#' => return line.get(..index).unwrap_or(line),
            _ => {}
        }
    }
    line
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '.'
}

/// Words that stand before an instruction.
pub(super) const PREFIXES: [&str; 19] = [
    "rep", "repe", "repz", "repne", "repnz", "lock", "notrack", "bnd", "xacquire", "xrelease", "data16",
    "rex64", "addr32", "cs", "ds", "es", "fs", "gs", "ss",
];

/// The line with `change` applied to each name that is an operand or a label. Text in quotes, registers, and the
/// names of instructions and directives stay.
pub fn rewrite(line: &str, mut change: impl FnMut(&str) -> Option<String>) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    // Whether the next name is the name of an instruction or a directive.
    let mut is_head = true;
    let mut before = ' ';
    while let Some(letter) = rest.chars().next() {
        if letter == '"' {
            let end = quoted_end(rest);
            let quoted = rest.get(..end).unwrap_or(rest);
            text.push_str(quoted);
            rest = rest.get(end..).unwrap_or_default();
            before = '"';
            continue;
        }
        if letter == '#' {
            text.push_str(rest);
            break;
        }
        let begins_name = letter.is_ascii_alphabetic() || letter == '_' || letter == '.';
        if !begins_name || is_letter(before) || matches!(before, '%' | '@' | '\\') {
            text.push(letter);
            // After a label, an instruction is still to come. The colon of `%gs:x` does not end a label.
            is_head |= letter == ';';
            before = letter;
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
            continue;
        }
        let end = rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let is_label = after.starts_with(':') && is_head;
        if is_head && !is_label {
            text.push_str(name);
            is_head = PREFIXES.contains(&name);
            // The name of a section follows, or words of a macro.
            if matches!(name, ".section" | ".pushsection") || MACROS.contains(&name) {
                let end = after.find(';').unwrap_or(after.len());
                let (section, after) = after.split_at(end);
                text.push_str(section);
                rest = after;
                before = ' ';
                continue;
            }
        } else if is_argument(after) {
            text.push_str(name);
        } else {
            match change(name) {
                Some(new) => text.push_str(&new),
                None => text.push_str(name),
            }
        }
        before = 'a';
        rest = after;
    }
    text
}

/// Directives whose words are names of the assembler's macros, or of their arguments.
const MACROS: [&str; 9] = [".macro", ".endm", ".purgem", ".irp", ".irpc", ".ifc", ".ifnc", ".ifb", ".ifnb"];

/// Whether the text before `after` is the name of a macro's argument: `reg=%rax`.
fn is_argument(after: &str) -> bool {
    after.strip_prefix('=').is_some_and(|value| !value.starts_with('='))
}

fn quoted_end(text: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        if letter == '"' && !escaped {
            return index + 1;
        }
        escaped = letter == '\\' && !escaped;
    }
    text.len()
}

/// The names in a line that [`rewrite`] would change.
pub fn names(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    rewrite(line, |name| {
        all.push(name.to_owned());
        None
    });
    all
}

/// The label or function that a call or jump names; a call through a register or memory names none.
pub fn destination(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().filter(|word| !PREFIXES.contains(word));
    let word = words.next()?;
    let to = words.next()?;
    ((word.starts_with("call") || word.starts_with('j')) && !to.starts_with('*')).then_some(to)
}

/// Whether a line gives the address of `name` to something, in place of calling it or saying what it is.
pub fn takes_address(line: &str, name: &str) -> bool {
    line.contains(name)
        && label(line).is_none()
        && matches!(Directive::of(line), Directive::Other)
        && !line.trim_start().starts_with(".size")
        && destination(line) != Some(name)
        && names(line).iter().any(|other| other == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_jumps_take_no_address() {
        assert_eq!(destination("\tcall\tg"), Some("g"));
        assert_eq!(destination("\tnotrack jmp\tg.cold"), Some("g.cold"));
        assert_eq!(
            (destination("\tcall\t*8(%rax)"), destination("\tret"), destination("\tmovq\t$g, %rdi")),
            (None, None, None)
        );
        for line in [
            "\tcall\tg",
            "\tjne\tg",
            "g:",
            "\t.size\tg, .-g",
            "\t.type\tg, @function",
            "\t.globl\tg",
            "\tmovq\t$gg, %rdi",
        ] {
            assert!(!takes_address(line, "g"), "{line}");
        }
        for line in ["\tmovq\t$g, %rdi", "\tleaq\tg(%rip), %rsi", "\t.quad\tg", "\tmovq\t$g, 16(%rdi)"] {
            assert!(takes_address(line, "g"), "{line}");
        }
    }

    #[test]
    fn comments_between_marks_are_blanks() {
        let text = "\tbtl %eax, x(%rip)\n\t/* output condition code c*/\n\t.ascii \"/* \\\" no */\" /* a\nb */ ret\n# it's \" not /* open\n";
        assert_eq!(
            without_block_comments(text),
            "\tbtl %eax, x(%rip)\n\t \n\t.ascii \"/* \\\" no */\"  \n ret\n# it's \" not /* open\n"
        );
        let text = "a /* b\nc */ d\n.string \"/* e */\" # /* f\n g/h /* i";
        assert_eq!(without_block_comments(text), "a  \n d\n.string \"/* e */\" # /* f\n g/h  ");
        assert_eq!(without_block_comments("a /* never ends"), "a  ");
        assert!(matches!(without_block_comments("a / b * c"), Cow::Borrowed(_)));
    }

    #[test]
    fn operands_are_names_and_instructions_are_not() {
        assert_eq!(names("\tcall\tadd"), ["add"]);
        assert_eq!(names("\tlock addl\t$1, counter.3+4(%rip)"), ["counter.3"]);
        assert_eq!(names("\tds wrmsr"), Vec::<String>::new());
        assert_eq!(names("\tcs\tcall\tadd"), ["add"]);
        assert_eq!(names("add:\tmovq $.LC0, %rdi # add"), ["add", ".LC0"]);
        assert_eq!(names("1:\tcall\t__fentry__"), ["__fentry__"]);
        assert_eq!(names("\t.pushsection .smp_locks,\"a\"; .long x"), ["x"]);
        assert_eq!(names("\t.string \"call foo\""), Vec::<String>::new());
        assert_eq!(names("771: .long 1b - ., foo@PLT; jmp bar"), [".", "foo", "bar"]);
        assert_eq!(names("\tmovq\t%gs:hot+8(%rip), %rax"), ["hot"]);
        assert_eq!(names("\tincl %gs:count.2(%rip); f: call g"), ["count.2", "f", "g"]);
        assert_eq!(rewrite("\tjmp\tfoo.cold+2", |_| Some("x".to_owned())), "\tjmp\tx+2");
    }

    #[test]
    fn directives_are_known() {
        assert_eq!(
            Directive::of("\t.section\t.rodata.f.str1.1,\"aMS\",@progbits,1"),
            Directive::Section {
                name: ".rodata.f.str1.1".to_owned(),
                flags: "\"aMS\",@progbits,1".to_owned()
            }
        );
        assert_eq!(
            Directive::of("\t.type\tf, @function"),
            Directive::Type { name: "f".to_owned(), is_function: true }
        );
        assert_eq!(Directive::of("\t.quad\tx"), Directive::Other);
        assert_eq!(
            (label("f.cold:"), label(".LC0:"), label("1:\tnop"), label("\tnop")),
            (Some("f.cold"), Some(".LC0"), None, None)
        );
        assert_eq!(statements("a \"x;y#\" ; b # c;d"), ["a \"x;y#\"", "b"]);
        assert_eq!(statements("cmpb $';', %al; ret"), ["cmpb $';', %al", "ret"]);
    }

    #[test]
    fn a_line_is_split_into_its_statements() {
        assert_eq!(split("\tcall\tf # a;b"), ["\tcall\tf # a;b"]);
        assert_eq!(split("1:\tcall\t__fentry__"), ["1:\tcall\t__fentry__"]);
        assert_eq!(split("\tmovq\t%gs:x(%rip), %rax"), ["\tmovq\t%gs:x(%rip), %rax"]);
        assert_eq!(split("\t.string\t\"a;b: c\""), ["\t.string\t\"a;b: c\""]);
        assert_eq!(split(".LC0:\t.long 4"), [".LC0:", "\t.long 4"]);
        assert_eq!(
            split("\t.globl x; x: y: .long 1 ;1: .pushsection a; nop;"),
            ["\t.globl x", "x:", "y:", "\t.long 1", "1:", "\t.pushsection a", "\tnop"]
        );
        assert_eq!(split("\tx: ret"), ["x: ret"]);
        assert_eq!(split("# 12 \"a:b;c\""), Vec::<String>::new());
        assert_eq!(split("a: .Lb: ret"), ["a:", ".Lb: ret"]);
        assert_eq!(split("#APP"), Vec::<String>::new());
    }
}
