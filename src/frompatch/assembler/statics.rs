// SPDX-License-Identifier: GPL-2.0-only
//! The variables of a unit that hold a state, of which there must be only one instance.

use crate::frompatch::assembler::pairs::used;
use crate::frompatch::assembler::sections::is_book_keeping;
use crate::frompatch::assembler::{Listing, Piece};

impl Listing {
    /// The variables and constants that a function uses, by their names in the text, each once.
    pub(crate) fn data_of(&self, function: &str) -> Vec<String> {
        let mut names = used(self, &self.pieces_of(function));
        names.retain(|name| self.data().any(|(other, _)| other == name) && !self.is_own(name));
        names.sort();
        names.dedup();
        names
    }

    /// Whether the text of a function refers to `other`.
    pub(crate) fn refers(&self, function: &str, other: &str) -> bool {
        used(self, &self.pieces_of(function)).iter().any(|name| name == other)
    }

    /// The variables that are defined here and may be written to, without those that belong to one function's code.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let keeps = |name: &str, piece: &Piece| {
            !piece.is_constant()
                && !piece.is_init()
                && !is_book_keeping(&piece.section)
                && !piece.section.starts_with(".klp.")
                && !self.is_own(name)
        };
        self.data().filter(move |(name, piece)| keeps(name, piece)).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_from_constants_and_from_what_macros_make() {
        let data = |section: &str, name: &str| {
            format!(
                "\t.section\t{section},\"aw\"\n\t.type\t{name}, @object\n\t.size\t{name}, 4\n{name}:\n\t.long\t1\n"
            )
        };
        let text = [
            "\t.section\t.text.f,\"ax\",@progbits\n\t.type\tf, @function\nf:\n\tincl\tcount.3(%rip)\n\tmovl\ttable(%rip), %eax\n\
             \tincl\t_rs.4(%rip)\n\tcall\tg\n\t.size\tf, .-f\n"
                .to_owned(),
            data(".bss.count.3", "count.3"),
            data(".rodata.table", "table"),
            data(".data._rs.4", "_rs.4"),
            data(".init.data", "early"),
            data(".klp.module_relocs.vmlinux", "relocs"),
            data(".data..once", "___done.5"),
        ];
        let listing = Listing::parse(&text.concat());
        assert_eq!(listing.data_of("f"), ["count.3", "table"]);
        assert_eq!(listing.variables().collect::<Vec<_>>(), ["count.3", "___done.5"]);
    }
}
