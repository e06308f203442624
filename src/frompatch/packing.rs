// SPDX-License-Identifier: GPL-2.0-only
//! Types whose layout `#pragma pack` and `#pragma scalar_storage_order` give: they stand before a type, not in its text.

use std::collections::BTreeMap;

use crate::frompatch::outline::{self, DefinitionKind};

/// By name: how each type of that name is laid out.
type Layouts = BTreeMap<String, Vec<String>>;

/// The name of a type that is laid out in another way in the text `new` than in `old`.
pub fn changed(old: &[u8], new: &[u8]) -> Option<String> {
    let is_told = |text: &[u8]| memchr::memmem::find(text, b"pragma").is_some();
    if !is_told(old) && !is_told(new) {
        return None;
    }
    let new = layouts(new);
    let mut old = layouts(old).into_iter().filter(|(name, before)| {
        let Some(after) = new.get(name) else { return false };
        let mut left = after.clone();
        before.iter().any(|layout| {
            let same = left.iter().position(|other| other == layout);
            same.map(|place| left.swap_remove(place)).is_none()
        })
    });
    old.next().map(|(name, _)| name)
}

fn layouts(text: &[u8]) -> Layouts {
    let shown = String::from_utf8_lossy(text);
    let lines: Vec<&str> = shown.lines().collect();
    let pragmas = lines.iter().enumerate().filter_map(|(index, line)| Some((index + 1, pragma(line)?)));
    let mut pragmas = pragmas.peekable();
    let mut state = State::default();
    let mut layouts = Layouts::new();
    for item in outline::items(text) {
        while let Some((_, words)) = pragmas.next_if(|(line, _)| *line <= item.first) {
            state.take(&words);
        }
        let own = lines.get(item.first - 1..item.last).unwrap_or_default().join("\n");
        let has_body = own.split('=').next().is_some_and(|head| head.contains('{'));
        if has_body && matches!(item.kind, DefinitionKind::Type | DefinitionKind::Data) {
            layouts.entry(item.name).or_default().push(format!("{} {}", state.pack, state.order));
        }
    }
    layouts
}

/// The words of a line that is one of these pragmas.
fn pragma(line: &str) -> Option<Vec<&str>> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("pragma")?;
    let words = rest.split(|letter: char| !(letter.is_alphanumeric() || "_-".contains(letter)));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    matches!(words.first(), Some(&("pack" | "scalar_storage_order"))).then_some(words)
}

/// What the pragmas so far say.
#[derive(Default)]
struct State {
    pack: String,
    order: String,
    /// What was pushed, with the name that it was pushed by.
    stack: Vec<(Option<String>, String)>,
}

impl State {
    fn take(&mut self, words: &[&str]) {
        match words {
            ["scalar_storage_order", order, ..] => {
                self.order = if *order == "default" { String::new() } else { (*order).to_owned() };
            }
            ["pack", "push", rest @ ..] => {
                let name = rest.first().filter(|word| !is_number(word)).map(|word| (*word).to_owned());
                self.stack.push((name, self.pack.clone()));
                if let Some(number) = rest.last().filter(|word| is_number(word)) {
                    self.pack = (*number).to_owned();
                }
            }
            ["pack", "pop", rest @ ..] => {
                let is_named =
                    |(name, _): &(Option<String>, String)| name.as_deref() == rest.first().copied();
                let named = self.stack.iter().rposition(is_named).filter(|_| !rest.is_empty());
                let place = named.or_else(|| self.stack.len().checked_sub(1));
                if let Some((_, pack)) = place.and_then(|place| self.stack.drain(place..).next()) {
                    self.pack = pack;
                }
            }
            ["pack", number] => (*number).clone_into(&mut self.pack),
            _ => self.pack.clear(),
        }
        // 0 is the same as nothing.
        if self.pack == "0" {
            self.pack.clear();
        }
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "struct one {\n\tchar a;\n\tint b;\n};\n";
    const TWO: &str = "static struct {\n\tchar a;\n\tint b;\n} two = {\n\t.a = 1,\n};\n";

    fn told(old: &str, new: &str) -> Option<String> {
        let both = [(old, new), (new, old)].map(|(old, new)| changed(old.as_bytes(), new.as_bytes()));
        assert_eq!(both[0], both[1]);
        both[0].clone()
    }

    #[test]
    fn another_packing_around_a_type_is_told() {
        let plain = format!("{ONE}int f(void)\n{{\n\treturn 1;\n}}\n");
        for around in
            ["pack(1)", " pack ( push, 1 )", "scalar_storage_order big-endian", "pack(push, own, 1)"]
        {
            assert_eq!(
                told(&plain, &format!("#pragma {around}\n{plain}")).as_deref(),
                Some("one"),
                "{around}"
            );
        }
        let packed = |text: &str| format!("#pragma pack(1)\n{text}#pragma pack()\n");
        assert_eq!(told(&packed(ONE), &packed(&ONE.replace("a;", "c;"))), None);
        assert_eq!(told(&packed(ONE), &format!("#  pragma pack(push, 1)\n{ONE}#pragma pack(pop)\n")), None);
        assert_eq!(told(&packed(ONE), &packed(ONE).replace("(1)", "(2)")).as_deref(), Some("one"));
        assert_eq!(told(&(packed(ONE) + TWO), &packed(&(ONE.to_owned() + TWO))).as_deref(), Some("two"));
        // A type moves; what is around it stays.
        let moved = format!("{}{ONE}", packed(""));
        assert_eq!(told(&packed(ONE), &moved).as_deref(), Some("one"));
    }

    #[test]
    fn what_is_new_or_no_type_may_be_packed() {
        let packed =
            format!("#pragma pack(1)\nstruct fresh {{\n\tint c;\n}};\nint f(void);\n#pragma pack()\n{ONE}");
        assert_eq!(told(&format!("int f(void);\n{ONE}"), &packed), None);
    }

    #[test]
    fn what_was_pushed_comes_back() {
        let text = |pop: &str| {
            format!(
                "#pragma pack(2)\n#pragma pack(push, a, 1)\n#pragma pack(push, 4)\n#pragma pack({pop})\n{ONE}"
            )
        };
        let is = |pop: &str, pack: &str| told(&text(pop), &format!("#pragma pack({pack})\n{ONE}")).is_none();
        assert!(is("pop", "1") && is("pop, a", "2") && is("push", "4") && is("0", "") && !is("pop", "2"));
        // As gcc takes a name that nothing was pushed by.
        assert!(is("pop, b", "1"));
    }
}
