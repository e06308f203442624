// SPDX-License-Identifier: GPL-2.0-only
//! System calls. `SYSCALL_DEFINE1(name, ...)` (include/linux/syscalls.h) makes several functions of one text; x86 enters it by
//! `__x64_sys_name` and `__ia32_sys_name` (arch/x86/include/asm/syscall_wrapper.h). The new function comes from the same
//! macro, with another name in it.

use crate::frompatch::takeover::tokens::{Kind, Token};

/// What stands before them: the kernel has entries for the system call in its tables already, and a livepatch makes none.
pub(super) const WITHOUT_TABLES: &str = "/* The system call is in the kernel's tables already. */\n\
    #undef SYSCALL_METADATA\n#define SYSCALL_METADATA(...)\n#undef ALLOW_ERROR_INJECTION\n#define ALLOW_ERROR_INJECTION(...)\n";

/// What comes before the system call's name in the names of the functions that enter it.
const ENTRIES: [&str; 4] = ["__x64_sys_", "__ia32_sys_", "__ia32_compat_sys_", "__x64_compat_sys_"];

/// What comes before the system call's name in `function`, and that name; none if it enters no system call.
fn split(function: &str) -> Option<(&'static str, &str)> {
    ENTRIES.into_iter().find_map(|entry| Some((entry, function.strip_prefix(entry)?)))
}

fn is_compat(entry: &str) -> bool {
    entry.contains("_compat_")
}

/// The name of the function that is to replace `function`, if that enters a system call.
pub(super) fn renamed(function: &str, prefix: &str) -> Option<String> {
    let (entry, name) = split(function)?;
    Some(format!("{entry}{prefix}{name}"))
}

/// The function with the text of the system call that `function` enters. Without parameters, the two are one.
pub(super) fn text_of(function: &str) -> Option<String> {
    let (entry, name) = split(function)?;
    let compat = if is_compat(entry) { "compat_" } else { "" };
    Some(format!("__do_{compat}sys_{name}"))
}

/// The other functions that may enter the same system call, for other programs.
pub(super) fn others(function: &str) -> impl Iterator<Item = String> {
    split(function).into_iter().flat_map(|(entry, name)| {
        let others =
            ENTRIES.iter().filter(move |other| **other != entry && is_compat(other) == is_compat(entry));
        others.map(move |other| format!("{other}{name}"))
    })
}

/// Whether the macro's call `head` makes `function`.
pub(super) fn makes(head: &[Token<'_>], function: &str) -> bool {
    let (Some((token, of_compat)), Some((entry, name))) = (named(head), split(function)) else {
        return false;
    };
    token.text == name && is_compat(entry) == of_compat
}

/// The macro's call `head` with the name that makes the function `new`; none if it is no system call's.
pub(super) fn head(text: &str, head: &[Token<'_>], new: &str) -> Option<String> {
    let (name, _) = named(head)?;
    let (_, own) = split(new)?;
    let (first, last) = (head.first()?, head.last()?);
    Some(format!("{}{own}{}", text.get(first.start..name.start)?, text.get(name.end()..last.end())?))
}

/// The system call's name, and whether it is one for other programs (COMPAT_SYSCALL_DEFINE).
fn named<'a, 'b>(head: &'a [Token<'b>]) -> Option<(&'a Token<'b>, bool)> {
    let [macro_name, open, name, ..] = head else { return None };
    let plain = macro_name.text.strip_prefix("COMPAT_");
    let number = plain.unwrap_or(macro_name.text).strip_prefix("SYSCALL_DEFINE")?;
    let is_call = number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit()) && open.is("(");
    (is_call && name.kind == Kind::Word).then_some((name, plain.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frompatch::takeover::tokens::tokens;

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
}
