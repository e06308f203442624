// SPDX-License-Identifier: GPL-2.0-only
//! What differs between a unit and the patched one: functions, constants and variables, each compared as text without
//! the compiler's own numbers.
//!
//! - `data`: variables and constants

mod data;

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::callbacks::{UnitCallback, callbacks};
use crate::frompatch::assembler::canon::Canon;
use crate::frompatch::assembler::identity;
use crate::frompatch::assembler::lasting;
use crate::frompatch::assembler::pairs::{Pairs, in_common, used};
use crate::frompatch::assembler::sections::{is_book_keeping, is_table};
use crate::frompatch::assembler::{Listing, base};

/// The differences between a unit and the patched one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Functions that exist before and after and differ, with the reason.
    pub changed: BTreeMap<String, String>,
    /// Functions that are new.
    pub new_functions: BTreeSet<String>,
    /// Constants with other contents: their users take the new ones.
    pub constants: BTreeSet<String>,
    /// Constants and variables that are new.
    pub new_data: BTreeSet<String>,
    /// By the name of a variable or constant in the patched unit that stays: its name in the unpatched one.
    pub pairs: BTreeMap<String, String>,
    /// Names of static variables that one function has several of, paired by the order in which it uses them.
    pub by_order: BTreeSet<String>,
    /// Why no livepatch can bring some of it.
    pub refused: Vec<String>,
    /// Callbacks that the patches add.
    pub callbacks: Vec<UnitCallback>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// By the name of data: notes for the user if the livepatch brings it, since the kernel may keep its address.
    pub kept: BTreeMap<String, Vec<String>>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.new_functions.is_empty()
            && self.constants.is_empty()
            && self.refused.is_empty()
            && self.new_data.is_empty()
            && self.callbacks.is_empty()
    }

    /// The names of all functions and data that differ.
    pub fn names(&self) -> Vec<String> {
        let sets = [&self.new_functions, &self.constants, &self.new_data];
        let callbacks = self.callbacks.iter().map(|callback| &callback.function);
        let names = self.changed.keys().chain(sets.into_iter().flatten()).chain(callbacks);
        names.map(|name| base(name).to_owned()).collect()
    }
}

/// Compares a unit with the patched one.
pub fn compare(old: &Listing, new: &Listing) -> Changes {
    let Pairs { by_new: pairs, unclear, by_order, moved } = Pairs::of(old, new);
    let mut changes = Changes::default();
    for name in unclear {
        changes.refused.push(format!(
            "several variables are called {}, and nothing tells which of the patched ones is which of the kernel's: give \
             what is new another name",
            in_common(&name)
        ));
    }
    changes.notes.extend(moved.into_iter().map(|(name, (before, after))| {
        format!(
            "{name} of {before} is taken for the {name} of the new {after}, with the value that it has: if it is another variable, \
             give it another name"
        )
    }));
    let (before, after) = (Canon::of(old, None), Canon::of(new, Some((old, &pairs))));
    let sides = Sides { old, new, pairs: &pairs, before, after };
    for name in new.functions() {
        if !old.is_function(name) {
            changes.new_functions.insert(name.to_owned());
        } else if sides.before.function(name) != sides.after.function(name) {
            changes.changed.insert(name.to_owned(), String::new());
        }
    }
    for (name, piece) in new.data() {
        sides.data(name, piece, &mut changes);
    }
    let before = callbacks(old);
    changes.callbacks = callbacks(new).into_iter().filter(|one| !before.contains(one)).collect();
    sides.unnamed_tables(&mut changes);
    sides.removed(&mut changes);
    sides.aliases(&mut changes);
    changes.refused.extend(identity::refused(old, new));
    changes.refused.extend(lasting::exchanged(old, new));
    sides.done_once(&mut changes);
    sides.reasons(&mut changes);
    Changes { pairs, by_order, ..changes }
}

/// The two units, unpatched and patched.
struct Sides<'a> {
    old: &'a Listing,
    new: &'a Listing,
    /// By the name in the patched unit: the name in the unpatched one.
    pairs: &'a BTreeMap<String, String>,
    before: Canon<'a>,
    after: Canon<'a>,
}

impl Sides<'_> {
    /// Compares the entries of the kernel's tables that have no name.
    fn unnamed_tables(&self, changes: &mut Changes) {
        let entries = |listing: &Listing, canon: &Canon<'_>| {
            let mut all: Vec<(String, String)> = listing
                .data()
                .filter(|(name, _)| base(name) != *name || listing.is_own(name))
                .filter(|(_, piece)| is_table(&piece.section))
                .map(|(name, piece)| (piece.section.clone(), canon.data(name)))
                .collect();
            all.sort();
            all
        };
        let (before, after) = (entries(self.old, &self.before), entries(self.new, &self.after));
        for (section, entry) in &after {
            if !before.contains(&(section.clone(), entry.clone())) {
                changes.refused.push(format!(
                    "an entry of the kernel's table {section} is new or changed: it has been read already; leave it out \
                     of the patch"
                ));
            }
        }
        let is_gone = |name: &str| self.new.piece_of(name).is_none();
        let named = self.old.data().filter(|(name, piece)| is_table(&piece.section) && base(name) == *name);
        let named = named.filter(|(name, _)| !self.old.is_own(name) && is_gone(name));
        let named = named.map(|(name, piece)| (name.to_owned(), piece.section.clone()));
        let unnamed = before.iter().filter(|entry| !after.contains(entry));
        let unnamed = unnamed.map(|(section, _)| ("an entry".to_owned(), section.clone()));
        changes.notes.extend(named.chain(unnamed).map(|(name, section)| {
            format!("{name} of the kernel's table {section} is taken away: the kernel has read it already, and goes on with it")
        }));
    }

    fn removed(&self, changes: &mut Changes) {
        let kept: BTreeSet<&str> = self.pairs.values().map(String::as_str).collect();
        let gone: BTreeSet<String> = self
            .old
            .data()
            .filter(|(name, piece)| {
                !self.old.is_own(name)
                    && !piece.is_init()
                    && !is_book_keeping(&piece.section)
                    && !kept.contains(name)
            })
            .map(|(name, piece)| {
                let what = if piece.is_constant() {
                    ""
                } else {
                    ", with its value; what takes its place begins anew"
                };
                format!("{} is used no more: it stays where it is{what}", base(name))
            })
            .collect();
        changes.notes.extend(gone);
    }

    fn aliases(&self, changes: &mut Changes) {
        for (name, target) in &self.new.aliases {
            match self.old.aliases.get(name) {
                Some(other) if other != target => changes.refused.push(format!(
                    "{name} becomes another name of {target}: in the kernel it stays one of {other}; change {other}"
                )),
                None if self.old.data().any(|(other, piece)| other == name && !piece.is_init()) => {
                    changes.refused.push(format!(
                        "{name} and {target} get the same content, and the compiler makes one of them: in the kernel {name} keeps \
                         the old one; change the functions that read it"
                    ));
                }
                None if !name.starts_with('.') && !self.old.is_function(name) => {
                    changes.notes.push(format!("{name}, another name of {target}, is new: the kernel does not get it"));
                }
                _ => {}
            }
        }
    }

    /// Adds a note about changed functions that do something only once (include/linux/once.h): the kernel's flag for
    /// it stays as it is.
    fn done_once(&self, changes: &mut Changes) {
        for function in changes.changed.keys() {
            let used = used(self.new, &self.new.pieces_of(function));
            if used.iter().any(|name| base(name) == "___done" && self.pairs.contains_key(name)) {
                changes.notes.push(format!(
                    "{function} has something that is done once (DO_ONCE, get_random_once): the kernel may have done it \
                     already, as it was before the patch, and does not do it again"
                ));
            }
        }
    }

    /// Gives each changed function its reason. If a constant changes, its users count as changed.
    fn reasons(&self, changes: &mut Changes) {
        if changes.constants.is_empty() {
            return;
        }
        for function in self.new.functions().filter(|name| self.old.is_function(name)) {
            let used: BTreeSet<String> = used(self.new, &self.new.pieces_of(function)).into_iter().collect();
            let constants: Vec<&str> =
                used.iter().filter(|name| changes.constants.contains(*name)).map(|name| base(name)).collect();
            if !constants.is_empty() {
                let why = format!("it uses the constant {}", constants.join(", "));
                let entry = changes.changed.entry(function.to_owned()).or_default();
                *entry = if entry.is_empty() { why } else { format!("{entry}; {why}") };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Listing {
        Listing::parse(text)
    }

    const UNIT: &str = "\t.file\t\"a.c\"\n\t.text\n\t.section\t.rodata.f.str1.1,\"aMS\",@progbits,1\n.LC0:\n\t.string\t\"one\"\n\
        \t.section\t.text.f,\"ax\",@progbits\n\t.p2align 4\n\t.globl\tf\n\t.type\tf, @function\nf:\n1:\tcall\t__fentry__\n\
        \t.section __mcount_loc, \"a\",@progbits\n\t.quad 1b\n\t.previous\n\tmovq\t$.LC0, %rdi\n\tincl\tcount.3(%rip)\n\
        \tcall\tg\n.L2:\n\tjmp\t.L2\n\t.size\tf, .-f\n\t.section\t.text.g,\"ax\",@progbits\n\t.type\tg, @function\ng:\n\
        \tmovl\ttable(%rip), %eax\n\tret\n\t.size\tg, .-g\n\t.section\t.rodata.table,\"a\"\n\t.align 4\n\t.type\ttable, @object\n\
        \t.size\ttable, 4\ntable:\n\t.long\t5\n\t.section\t.bss.count.3,\"aw\",@nobits\n\t.align 4\n\t.type\tcount.3, @object\n\
        \t.size\tcount.3, 4\ncount.3:\n\t.zero\t4\n\t.section\t.note.GNU-stack,\"\",@progbits\n";

    #[test]
    fn a_unit_is_the_same_as_itself_with_other_numbers() {
        let other = UNIT.replace(".LC0", ".LC7").replace("count.3", "count.12").replace(".L2", ".L9");
        let changes = compare(&listing(UNIT), &listing(&other));
        assert!(changes.is_empty() && changes.notes.is_empty(), "{changes:?}");
        assert_eq!(changes.pairs.get("count.12").map(String::as_str), Some("count.3"));
        let functions: Vec<String> = listing(UNIT).functions().map(str::to_owned).collect();
        assert_eq!(functions, ["f", "g"]);
    }

    #[test]
    fn code_and_strings_are_changes_of_the_function() {
        for (from, to) in [("incl", "decl"), ("\"one\"", "\"two\""), ("call\tg", "call\th")] {
            let changes = compare(&listing(UNIT), &listing(&UNIT.replace(from, to)));
            assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["f"], "{from}");
            assert!(changes.refused.is_empty());
        }
    }

    #[test]
    fn a_constant_changes_its_users_and_a_variable_is_refused() {
        let changes = compare(&listing(UNIT), &listing(&UNIT.replace(".long\t5", ".long\t6")));
        assert_eq!(changes.changed.get("g").map(String::as_str), Some("it uses the constant table"));
        assert!(changes.constants.contains("table") && changes.refused.is_empty());
        let variable = UNIT.replace(".rodata.table,\"a\"", ".data.table,\"aw\"");
        let changes = compare(&listing(&variable), &listing(&variable.replace(".long\t5", ".long\t6")));
        assert!(changes.refused[0].contains("the initial value of table is changed"), "{changes:?}");
        let bigger = UNIT.replace("count.3, 4", "count.3, 8").replace(".zero\t4", ".zero\t8");
        let changes = compare(&listing(UNIT), &listing(&bigger));
        assert!(changes.refused[0].contains("the variable count gets another size"), "{changes:?}");
        let pointed = format!(
            "{UNIT}\t.section\t.data.p,\"aw\"\n\t.type\tp, @object\n\t.size\tp, 8\np:\n\t.quad\ttable\n"
        );
        let changes = compare(&listing(&pointed), &listing(&pointed.replace(".long\t5", ".long\t6")));
        assert!(changes.refused[0].contains("other data or files point to it"), "{changes:?}");
    }

    #[test]
    fn what_only_a_table_of_the_kernel_points_to_is_refused() {
        let entry = "\t.section\t__param,\"a\"\n\t.type\t__param_n, @object\n\t.size\t__param_n, 8\n__param_n:\n\t.quad\ttable\n";
        let with = format!("{UNIT}{entry}").replace("\tmovl\ttable(%rip), %eax\n", "");
        let changes = compare(&listing(&with), &listing(&with.replace(".long\t5", ".long\t6")));
        assert!(changes.refused[0].contains("other data or files point to it"), "{changes:?}");
        let changes = compare(&listing(&with), &listing(&with.replace(entry, "")));
        assert_eq!(
            changes.notes,
            [
                "__param_n of the kernel's table __param is taken away: the kernel has read it already, and goes on with it"
            ]
        );
    }

    #[test]
    fn a_variable_of_a_new_function_may_be_another() {
        let new = UNIT.replace("\tincl\tcount.3(%rip)\n", "")
            + "\t.section\t.text.n,\"ax\",@progbits\n\t.type\tn, @function\nn:\n\tincl\tcount.3(%rip)\n\tret\n\t.size\tn, .-n\n";
        let changes = compare(&listing(UNIT), &listing(&new));
        assert_eq!(
            changes.notes,
            [
                "count of f is taken for the count of the new n, with the value that it has: if it is another variable, give it \
              another name"
            ]
        );
        let renamed = new.replace("\t.type\tf, @function\nf:", "\t.type\te, @function\ne:");
        let changes = compare(&listing(UNIT), &listing(&renamed.replace("\tf, .-f", "\te, .-e")));
        assert_eq!(changes.notes, Vec::<String>::new());
    }

    #[test]
    fn a_constant_within_another_is_followed() {
        let whole = "\t.section\t.rodata.cst8,\"aM\",@progbits,8\n\t.align 8\n.LC8:\n\t.long\t0\n\t.long\t7\n\t.set\t.LC5,.LC8+4\n";
        let with = UNIT.replace("movl\ttable(%rip)", "movl\t.LC5(%rip)") + whole;
        let other = with.replace(".LC5", ".LC3").replace(".LC8", ".LC9");
        assert!(compare(&listing(&with), &listing(&other)).is_empty());
        for (from, to) in [(".long\t7", ".long\t6"), (".LC8+4", ".LC8+0")] {
            let changes = compare(&listing(&with), &listing(&with.replace(from, to)));
            assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["g"], "{from}");
        }
        assert!(listing(&with).aliases.is_empty());
    }

    #[test]
    fn a_constant_whose_address_is_compared_is_refused() {
        let with = |operand: &str| UNIT.replace("\tret\n", &format!("\tcmpq\t${operand}, 40(%rdi)\n\tret\n"));
        let refused = |operand: &str| {
            let old = with(operand);
            compare(&listing(&old), &listing(&old.replace(".long\t5", ".long\t6"))).refused
        };
        assert!(
            refused("table")[0]
                .contains("table gets another content, and g asks whether a pointer is its address")
        );
        assert_eq!(refused("table+3").len(), 1);
        for operand in ["table+4", "tables", "4"] {
            assert_eq!(refused(operand), Vec::<String>::new());
        }
    }

    #[test]
    fn a_table_that_is_given_and_taken_back_is_refused() {
        let with = |more: &str, entry: &str| {
            let code = format!("\tmovq\t$table, %rdi\n\tcall\tregister_it\n{more}\tret\n");
            UNIT.replace("\tret\n", &code).replace(".long\t5", &format!(".quad\t{entry}"))
        };
        let of = |more: &str| compare(&listing(&with(more, "f")), &listing(&with(more, "g")));
        let changes = of("\tmovq\t$table, %rdi\n\tcall\tunregister_it\n");
        assert!(
            changes.refused[0].contains(
                "given to register_it (in g) and to unregister_it (in g): what got the old one keeps it"
            ),
            "{changes:?}"
        );
        let changes = of("");
        assert!(changes.refused.is_empty() && changes.constants.contains("table"), "{changes:?}");
        assert!(
            changes.kept["table"][1].ends_with("what the kernel has made with the old one keeps that"),
            "{changes:?}"
        );
    }

    #[test]
    fn what_was_read_only_cannot_be_written() {
        let with = |section: &str| UNIT.replace(".bss.count.3,\"aw\",@nobits", section);
        for (before, after, is_refused) in [
            (".data..ro_after_init,\"aw\"", ".data.count.3,\"aw\"", true),
            (".rodata.count.3,\"a\"", ".data.count.3,\"aw\"", true),
            (".data..read_mostly,\"aw\"", ".data.count.3,\"aw\"", false),
            (".data.count.3,\"aw\"", ".data..ro_after_init,\"aw\"", false),
        ] {
            let changes = compare(&listing(&with(before)), &listing(&with(after)));
            let refused = changes
                .refused
                .iter()
                .any(|why| why.starts_with("count may be written to with the patch: in the kernel"));
            assert_eq!(refused, is_refused, "{before} {changes:?}");
        }
    }

    #[test]
    fn constants_that_become_one_are_refused() {
        let two = UNIT.to_owned()
            + "\t.section\t.rodata.other,\"a\"\n\t.type\tother, @object\n\t.size\tother, 4\nother:\n\t.long\t6\n";
        let one = UNIT.replace(".long\t5", ".long\t6") + "\t.set\tother,table\n";
        let changes = compare(&listing(&two), &listing(&one));
        assert!(changes.refused[0].starts_with("other and table get the same content"), "{changes:?}");
    }

    #[test]
    fn a_table_of_functions_is_told_as_the_livepatchs_own() {
        let table = |entry: &str| {
            UNIT.replace("movl\ttable", "leaq\ttable").replace(".long\t5", &format!(".quad\t{entry}"))
        };
        let changes = compare(&listing(&table("f")), &listing(&table("g")));
        assert!(changes.constants.contains("table") && changes.refused.is_empty(), "{changes:?}");
        assert!(
            changes.kept["table"][0]
                .starts_with("table has pointers to functions, and is the livepatch's own"),
            "{changes:?}"
        );
        assert!(compare(&listing(UNIT), &listing(&UNIT.replace(".long\t5", ".long\t6"))).kept.is_empty());
    }

    #[test]
    fn a_constant_that_is_pointed_to_is_told_as_the_livepatchs_own() {
        let kept = |number: &str| {
            UNIT.replace("movl\ttable(%rip), %eax", "movq\t$table, 8(%rdi)")
                .replace(".long\t5", &format!(".long\t{number}"))
        };
        let changes = compare(&listing(&kept("5")), &listing(&kept("6")));
        assert!(
            changes.kept["table"][0].starts_with("table is pointed to, and is the livepatch's own")
                && changes.kept["table"][1].ends_with("what the kernel has made with the old one keeps that"),
            "{changes:?}"
        );
    }

    #[test]
    fn a_call_that_leads_to_a_function_of_its_own_is_a_change() {
        let more = format!(
            "{UNIT}\t.section\t.text.h,\"ax\",@progbits\n\t.type\th, @function\nh:\n\tret\n\t.size\th, .-h\n"
        );
        let old = UNIT.replace("call\tg", "call\th");
        let changes = compare(&listing(&old), &listing(&more.replace("call\tg", "call\th")));
        assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["f"]);
        assert_eq!(changes.new_functions.iter().collect::<Vec<_>>(), ["h"]);
    }

    #[test]
    fn new_functions_are_told() {
        let more = UNIT.replace("call\tg\n", "call\tg\n\tcall\tn\n")
            + "\t.section\t.text.n,\"ax\",@progbits\n\t.type\tn, @function\nn:\n\tret\n\t.size\tn, .-n\n";
        let changes = compare(&listing(UNIT), &listing(&more));
        assert_eq!(changes.new_functions.iter().collect::<Vec<_>>(), ["n"]);
        assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["f"]);
    }
}
