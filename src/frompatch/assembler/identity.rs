// SPDX-License-Identifier: GPL-2.0-only
//! Names that mean another thing in the patched unit than in the kernel. The code that stays in the kernel goes on
//! with the old meaning, and so would the livepatch.

use std::collections::BTreeSet;

use crate::frompatch::assembler::line::names;
use crate::frompatch::assembler::sections::is_book_keeping;
use crate::frompatch::assembler::{Listing, Piece, base};

/// Why the names of `new` cannot stand for the kernel's, which means by them what `old` means: one reason a name.
pub(super) fn refused(old: &Listing, new: &Listing) -> Vec<String> {
    let mut refused = left(old, new);
    let apart = old.aliases.iter().filter(|(name, _)| new.is_function(name) && others_see(old, new, name));
    refused.extend(apart.map(|(name, target)| {
        format!(
            "{name} gets code of its own: in the kernel it is another name of {target}, and what has its address would stay \
             with that; change {target}, or what uses {name}"
        )
    }));
    let joined = new.aliases.iter().filter(|(name, _)| old.is_function(name));
    let joined = joined.filter(|(name, _)| others_see(old, new, name) || uses(new).contains(*name));
    refused.extend(joined.map(|(name, target)| {
        format!(
            "{name} becomes another name of {target}: in the kernel it has code of its own, and keeps it; change that code"
        )
    }));
    refused
}

/// Names that the unit defines no longer but still uses: their definition comes from another unit.
fn left(old: &Listing, new: &Listing) -> Vec<String> {
    let is_lasting = |piece: &Piece| !piece.is_init() && !is_book_keeping(&piece.section);
    let data = old.data().filter(|(name, piece)| {
        base(name) == *name && is_lasting(piece) && !old.is_own(name) && !name.starts_with('.')
    });
    let all = old.functions().chain(data.map(|(name, _)| name));
    let gone: Vec<&str> = all.filter(|name| !new.defines(name)).collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let used = uses(new);
    let used = gone.into_iter().filter(|name| used.contains(*name));
    used.map(|name| {
        format!(
            "{name} comes from another file now: the kernel's code goes on with the one of this file; leave it where it is"
        )
    })
    .collect()
}

/// Whether code that is not compiled anew may reach a function by its name.
fn others_see(old: &Listing, new: &Listing, name: &str) -> bool {
    [old, new].into_iter().any(|listing| listing.is_global(name) || is_in_data(listing, name))
}

/// Whether data that belongs to no function mentions `function`.
pub(super) fn is_in_data(listing: &Listing, function: &str) -> bool {
    let with_functions: BTreeSet<usize> =
        listing.functions().flat_map(|name| listing.pieces_of(name)).collect();
    let mut others = listing.pieces.iter().enumerate().filter(|(index, _)| !with_functions.contains(index));
    others.any(|(_, piece)| piece.has_name(function))
        || listing.all_outside().any(|(_, line)| names(line).iter().any(|name| name == function))
}

/// All names that stay in use.
fn uses(listing: &Listing) -> BTreeSet<String> {
    let kept = listing.pieces.iter().filter(|piece| !piece.is_init() && !is_book_keeping(&piece.section));
    kept.flat_map(|piece| piece.lines.iter().flat_map(|line| names(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "\t.text\n\t.section\t.text.f,\"ax\",@progbits\n\t.globl\tf\n\t.type\tf, @function\nf:\n\tcall\tg\n\
        \tincl\tcount(%rip)\n\tret\n\t.size\tf, .-f\n\t.section\t.text.g,\"ax\",@progbits\n\t.type\tg, @function\ng:\n\tret\n\
        \t.size\tg, .-g\n\t.globl\talso\n\t.set\talso,f\n\t.section\t.bss.count,\"aw\",@nobits\n\t.type\tcount, @object\n\
        \t.size\tcount, 4\ncount:\n\t.zero\t4\n";
    const G: &str =
        "\t.section\t.text.g,\"ax\",@progbits\n\t.type\tg, @function\ng:\n\tret\n\t.size\tg, .-g\n";

    fn told(new: &str) -> Vec<String> {
        refused(&Listing::parse(UNIT), &Listing::parse(new))
    }

    #[test]
    fn what_comes_from_elsewhere_is_not_the_kernels() {
        assert!(told(UNIT).is_empty());
        let message = told(&UNIT.replace(G, ""));
        assert!(message[0].starts_with("g comes from another file now"), "{message:?}");
        let at = UNIT.find("\t.section\t.bss").unwrap();
        let message = told(&UNIT[..at]);
        assert!(message[0].starts_with("count comes from another file now"), "{message:?}");
        let unused = UNIT.replace(G, "").replace("\tcall\tg\n", "");
        assert!(told(&unused).is_empty());
    }

    #[test]
    fn another_name_cannot_get_code_of_its_own_nor_lose_it() {
        let own = UNIT.replace("\t.set\talso,f\n", "") + &G.replace("g,", "also,").replace("g:", "also:");
        let message = told(&own);
        assert!(message[0].starts_with("also gets code of its own"), "{message:?}");
        let joined = UNIT.replace(G, "\t.set\tg,f\n");
        let message = told(&joined);
        assert!(message[0].starts_with("g becomes another name of f"), "{message:?}");
        assert!(told(&joined.replace("\tcall\tg\n", "\tcall\tf\n")).is_empty());
    }
}
