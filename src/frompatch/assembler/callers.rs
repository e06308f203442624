// SPDX-License-Identifier: GPL-2.0-only
//! Changed functions in which ftrace cannot step in (`inline` is `notrace` in the kernel, and the compiler gives some
//! of them a body: `__do_sys_read`): the livepatch replaces their callers in their place, and carries a copy of them.

use std::collections::BTreeSet;

use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::compare::Changes;
use crate::frompatch::assembler::identity::is_in_data;
use crate::frompatch::assembler::line::takes_address;

/// The changes with the callers of `function` in its place. None if the new function would not reach every call:
/// other units may call it, data has its address, or no function that exists both before and after calls it.
pub fn replaced_by_callers(
    function: &str,
    old: &Listing,
    new: &Listing,
    changes: &Changes,
) -> Option<Changes> {
    let is_named = |name: &str| {
        let mut aliases = [old, new].into_iter().flat_map(|listing| &listing.aliases);
        aliases.any(|(alias, target)| alias == name || target == name)
    };
    if new.is_global(function) || old.is_global(function) || is_named(function) {
        return None;
    }
    if [old, new].into_iter().any(|listing| is_in_data(listing, function) || gives_away(listing, function)) {
        return None;
    }
    let own: BTreeSet<&str> = callers(new, function).filter(|caller| *caller != function).collect();
    let mut changes = changes.clone();
    let mut has_caller = false;
    for caller in own {
        if !old.is_function(caller) {
            continue;
        }
        has_caller = true;
        let why = || format!("it calls {function}, in which ftrace cannot step in");
        changes.changed.entry(caller.to_owned()).or_insert_with(why);
    }
    changes.changed.remove(function);
    changes.new_functions.insert(function.to_owned());
    has_caller.then_some(changes)
}

/// Whether code gives the address of `function` to something, which calls it later (a timer, call_rcu()).
fn gives_away(listing: &Listing, function: &str) -> bool {
    let code = listing.pieces.iter().filter(|piece| piece.is_code());
    code.flat_map(|piece| &piece.lines).any(|line| takes_address(line, function))
}

/// The functions whose code mentions `name`.
pub(super) fn callers<'a>(listing: &'a Listing, name: &str) -> impl Iterator<Item = &'a str> {
    listing.functions().filter(move |caller| listing.parts_of(caller).any(|piece| piece.has_name(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frompatch::assembler::compare::compare;

    fn function(name: &str, body: &str) -> String {
        format!(
            "\t.section\t.text.{name},\"ax\",@progbits\n\t.type\t{name}, @function\n{name}:\n{body}\t.size\t{name}, .-{name}\n"
        )
    }

    fn with(body: &str, rest: &str) -> Listing {
        let callers = function("one", "\tcall\tinner\n\tret\n") + &function("two", "\tjmp\tinner\n");
        Listing::parse(&format!("{}{callers}{rest}", function("inner", body)))
    }

    fn changed(rest: &str) -> Option<Changes> {
        let (old, new) = (with("\tnop\n\tret\n", rest), with("\tret\n", rest));
        let changes = compare(&old, &new);
        assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["inner"]);
        replaced_by_callers("inner", &old, &new, &changes)
    }

    #[test]
    fn callers_take_a_copy_along() {
        let changes = changed("").unwrap();
        assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(changes.changed["two"], "it calls inner, in which ftrace cannot step in");
        assert_eq!(changes.new_functions.iter().collect::<Vec<_>>(), ["inner"]);
    }

    #[test]
    fn what_others_may_reach_is_left_alone() {
        let table =
            "\t.section\t.rodata.ops,\"a\"\n\t.type\tops, @object\n\t.size\tops, 8\nops:\n\t.quad\tinner\n";
        let timer = function("three", "\tmovq\t$inner, 24(%rdi)\n\tret\n");
        for rest in ["\t.globl\tinner\n", table, "\t.set\tother,inner\n", &timer] {
            assert!(changed(rest).is_none(), "{rest}");
        }
        let lonely = |body: &str| Listing::parse(&function("inner", body));
        let (old, new) = (lonely("\tnop\n"), lonely("\tret\n"));
        assert!(replaced_by_callers("inner", &old, &new, &compare(&old, &new)).is_none());
    }
}
