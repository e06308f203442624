// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel has done before the livepatch comes, and what it keeps when the livepatch is gone.

use std::collections::BTreeSet;

use crate::frompatch::assembler::line::takes_address;
use crate::frompatch::assembler::{Listing, base};

/// Why a livepatch cannot bring one of the new variables `fresh`: code that is not in the livepatch (`taken`: the pieces that
/// are) sets it, as an initcall does, and does not run any more.
pub(super) fn unset(listing: &Listing, fresh: &[String], taken: &BTreeSet<usize>) -> Vec<String> {
    let mut refused = Vec::new();
    for name in fresh.iter().filter(|name| listing.piece(name).is_some_and(|piece| !piece.is_constant())) {
        let user = listing.functions().find(|function| {
            let pieces = listing.pieces_of(function);
            let left = pieces.iter().filter(|piece| !taken.contains(piece));
            let mut left = left.filter_map(|&piece| listing.pieces.get(piece));
            left.any(|piece| !piece.section.starts_with(".exit") && piece.has_name(name))
        });
        refused.extend(user.map(|user| {
            format!(
                "{} is new, and {user}, which sets or reads it as well, does not run when the livepatch comes: set it in a \
                 callback (KLP_PRE_PATCH_CALLBACK, linux/livepatch_helpers.h) or in the functions that use it",
                base(name)
            )
        }));
    }
    refused
}

/// What to say of a function of the livepatch whose address its code gives away.
pub(super) fn given_away(function: &str) -> String {
    format!(
        "{function} is the livepatch's own, and its address is given away: what keeps it (a timer, work, call_rcu) calls it also \
         for tasks that are not patched yet, and after the livepatch is disabled; do not unload the livepatch before that is \
         over"
    )
}

/// Why a livepatch cannot bring it that other functions are called: those of `old` that are gone, and in whose place a
/// function gives the address of a new one away. What got the old address calls the old code for ever.
pub(super) fn exchanged(old: &Listing, new: &Listing) -> Vec<String> {
    let takers = |listing: &Listing, name: &str| -> BTreeSet<String> {
        let users = listing.functions().filter(|function| {
            let mut code = listing.parts_of(function).filter(|piece| !piece.is_init());
            *function != name && code.any(|piece| piece.lines.iter().any(|line| takes_address(line, name)))
        });
        users.map(str::to_owned).collect()
    };
    let gone = old.functions().filter(|name| !new.defines(name)).map(|name| (name, takers(old, name)));
    let gone: Vec<(&str, BTreeSet<String>)> = gone.filter(|(_, before)| !before.is_empty()).collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let fresh = new.functions().filter(|name| !old.defines(name)).map(|name| (name, takers(new, name)));
    let fresh: Vec<(&str, BTreeSet<String>)> = fresh.collect();
    let mut refused = Vec::new();
    for (name, before) in gone {
        let other = fresh.iter().find_map(|(other, after)| Some((other, before.intersection(after).next()?)));
        refused.extend(other.map(|(other, user)| {
            format!(
                "{user} gives the address of {other} away in place of that of {name}, which is gone: what the kernel has made \
                 calls the old code for ever; keep the name {name}, and change its text"
            )
        }));
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, section: &str, body: &str) -> String {
        format!(
            "\t.section\t{section}.{name},\"ax\",@progbits\n\t.type\t{name}, @function\n{name}:\n{body}\t.size\t{name}, .-{name}\n"
        )
    }

    #[test]
    fn a_variable_that_init_code_sets_is_not_set() {
        let data = "\t.section\t.bss.cache,\"aw\",@nobits\n\t.type\tcache, @object\n\t.size\tcache, 8\ncache:\n\t.zero\t8\n";
        let body = "\tmovq\tcache(%rip), %rdi\n\tret\n";
        let text = function("f", ".text", body)
            + &function("setup", ".init.text", "\tmovq\t%rax, cache(%rip)\n\tret\n")
            + data;
        let of = |text: &str| {
            let listing = Listing::parse(text);
            let taken = ["f", "cache"].into_iter().filter_map(|name| listing.piece_of(name)).collect();
            unset(&listing, &["cache".to_owned()], &taken)
        };
        assert!(
            of(&text)[0].starts_with("cache is new, and setup, which sets or reads it as well, does not run")
        );
        assert!(of(&(function("f", ".text", body) + data)).is_empty());
        assert!(of(&text.replace(".bss.cache", ".rodata.cache")).is_empty());
    }

    #[test]
    fn functions_that_are_exchanged_by_their_address() {
        let unit = |name: &str, body: &str| {
            Listing::parse(&(function("setup", ".text", body) + &function(name, ".text", "\tret\n")))
        };
        let given = |name: &str| unit(name, &format!("\tmovq\t${name}, 24(%rdi)\n\tret\n"));
        let told = exchanged(&given("run"), &given("run_new"));
        assert!(
            told[0].starts_with(
                "setup gives the address of run_new away in place of that of run, which is gone"
            ),
            "{told:?}"
        );
        assert!(exchanged(&given("run"), &given("run")).is_empty());
        let called = |name: &str| unit(name, &format!("\tcall\t{name}\n\tret\n"));
        assert!(exchanged(&called("run"), &called("run_new")).is_empty());
        assert!(exchanged(&given("run"), &unit("run_new", "\tret\n")).is_empty());
    }
}
