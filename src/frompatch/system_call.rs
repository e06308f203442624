// SPDX-License-Identifier: GPL-2.0-only
//! System calls. `SYSCALL_DEFINE1(name, ...)` (include/linux/syscalls.h) makes several functions of one text; x86 enters it by
//! `__x64_sys_name` and `__ia32_sys_name` (arch/x86/include/asm/syscall_wrapper.h). The new function comes from the same
//! macro, with another name in it.

use crate::frompatch::tokens::{Token, TokenKind};

/// What stands before them: the kernel has entries for the system call in its tables already, and a livepatch makes none.
pub(crate) const WITHOUT_TABLES: &str = "/* The system call is in the kernel's tables already. */\n\
    #undef SYSCALL_METADATA\n#define SYSCALL_METADATA(...)\n#undef ALLOW_ERROR_INJECTION\n#define ALLOW_ERROR_INJECTION(...)\n";

/// How the names of the functions begin that enter a system call, for each sort of programs.
const ENTRIES: [&str; 2] = ["__x64_", "__ia32_"];
/// How the names of the functions begin that come after those: the first has the text.
const INNER: [&str; 2] = ["__do_", "__se_"];
/// What comes before the system call's own name: by SYSCALL_DEFINE, and by COMPAT_SYSCALL_DEFINE.
const KINDS: [&str; 2] = ["sys_", "compat_sys_"];

/// What comes before the system call's own name in what a macro called `name` makes; none if that makes no system call.
pub(crate) fn made_by(name: &str) -> Option<&'static str> {
    let [plain, compat] = KINDS;
    match name.strip_suffix(|letter: char| letter.is_ascii_digit())? {
        "SYSCALL_DEFINE" => Some(plain),
        "COMPAT_SYSCALL_DEFINE" => Some(compat),
        _ => None,
    }
}

/// What [`KINDS`] has of a name, and what follows it.
fn kind(name: &str) -> Option<(&'static str, &str)> {
    KINDS.into_iter().find_map(|kind| Some((kind, name.strip_prefix(kind)?)))
}

/// The name in the source of the function whose symbol is `symbol`: of a system call, the one that its functions have in
/// common.
pub(crate) fn as_written(symbol: &str) -> &str {
    let inner = INNER.iter().chain(&ENTRIES).find_map(|level| symbol.strip_prefix(level));
    inner.filter(|inner| kind(inner).is_some()).unwrap_or(symbol)
}

/// The symbols that the definition `name` of a function or variable may have ([`as_written`]).
pub(crate) fn symbols_of(name: &str) -> Vec<String> {
    let levels = INNER.iter().chain(&ENTRIES).filter(|_| kind(name).is_some());
    std::iter::once(name.to_owned()).chain(levels.map(|level| format!("{level}{name}"))).collect()
}

/// What comes before the system call's own name in `function`, in two parts, and that name; none if it enters no system
/// call.
fn split(function: &str) -> Option<(&'static str, &'static str, &str)> {
    ENTRIES.into_iter().find_map(|entry| {
        let (kind, name) = kind(function.strip_prefix(entry)?)?;
        Some((entry, kind, name))
    })
}

/// The name of the function that is to replace `function`, if that enters a system call.
pub(crate) fn renamed(function: &str, prefix: &str) -> Option<String> {
    let (entry, kind, name) = split(function)?;
    Some(format!("{entry}{kind}{prefix}{name}"))
}

/// The function with the text of the system call that `function` enters. Without parameters, the two are one.
pub(crate) fn text_of(function: &str) -> Option<String> {
    let (_, kind, name) = split(function)?;
    let [text, _] = INNER;
    Some(format!("{text}{kind}{name}"))
}

/// The other functions that may enter the same system call, for other programs.
pub(crate) fn others(function: &str) -> impl Iterator<Item = String> {
    split(function).into_iter().flat_map(|(entry, kind, name)| {
        let others = ENTRIES.iter().filter(move |other| **other != entry);
        others.map(move |other| format!("{other}{kind}{name}"))
    })
}

/// Whether the macro's call `head` makes `function`.
pub(crate) fn makes(head: &[Token<'_>], function: &str) -> bool {
    let (Some((token, made)), Some((_, kind, name))) = (named(head), split(function)) else {
        return false;
    };
    token.text == name && kind == made
}

/// The macro's call `head` with the name that makes the function `new`; none if it is no system call's.
pub(crate) fn head(text: &str, head: &[Token<'_>], new: &str) -> Option<String> {
    let (name, _) = named(head)?;
    let (_, _, own) = split(new)?;
    let (first, last) = (head.first()?, head.last()?);
    Some(format!("{}{own}{}", text.get(first.start..name.start)?, text.get(name.end()..last.end())?))
}

/// The system call's own name in a macro's call, and what comes before it in what the macro makes.
fn named<'a, 'b>(head: &'a [Token<'b>]) -> Option<(&'a Token<'b>, &'static str)> {
    let [macro_name, open, name, ..] = head else { return None };
    let kind = made_by(macro_name.text)?;
    (open.is("(") && name.kind == TokenKind::Word).then_some((name, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frompatch::tokens::tokens;

    #[test]
    fn the_macro_makes_the_new_function_too() {
        let text = "SYSCALL_DEFINE2(sethostname, char __user *, name,\n\t\tint, len)";
        let all = tokens(text);
        assert!(makes(&all, "__x64_sys_sethostname") && makes(&all, "__ia32_sys_sethostname"));
        assert!(!makes(&all, "sys_sethostname") && !makes(&all, "__ia32_compat_sys_sethostname"));
        let new = renamed("__x64_sys_sethostname", "new_").unwrap();
        assert_eq!(new, "__x64_sys_new_sethostname");
        assert_eq!(
            head(text, &all, &new).unwrap(),
            "SYSCALL_DEFINE2(new_sethostname, char __user *, name,\n\t\tint, len)"
        );
        let compat = tokens("COMPAT_SYSCALL_DEFINE1(x, int, a)");
        assert!(makes(&compat, "__ia32_compat_sys_x") && !makes(&compat, "__x64_sys_x"));
        assert_eq!(renamed("do_x", "new_"), None);
        assert_eq!(text_of("__ia32_compat_sys_x").unwrap(), "__do_compat_sys_x");
        assert_eq!(others("__x64_sys_x").collect::<Vec<_>>(), ["__ia32_sys_x"]);
        assert_eq!(others("do_x").count(), 0);
        for text in ["SYSCALL_DEFINES(x)", "int f(x)", "SYSCALL_DEFINE1"] {
            assert!(!makes(&tokens(text), "__x64_sys_x"), "{text}");
        }
    }

    #[test]
    fn symbols_are_those_of_the_name_in_the_source() {
        for (symbol, name) in [
            ("__do_sys_x", "sys_x"),
            ("__x64_sys_x", "sys_x"),
            ("__se_compat_sys_x", "compat_sys_x"),
            ("__do_x", "__do_x"),
            ("sys_x", "sys_x"),
        ] {
            assert_eq!(as_written(symbol), name);
            assert!(symbols_of(name).contains(&symbol.to_owned()));
        }
    }
}
