// SPDX-License-Identifier: GPL-2.0-only
//! What differs between a unit and the patched one: functions, constants and variables, each compared as text without
//! the compiler's own numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::callbacks::{Callback, callbacks};
use crate::frompatch::assembler::canon::Canon;
use crate::frompatch::assembler::compared;
use crate::frompatch::assembler::identity;
use crate::frompatch::assembler::line::names;
use crate::frompatch::assembler::pairs::{Pairs, in_common, used};
use crate::frompatch::assembler::sections::{is_book_keeping, is_table};
use crate::frompatch::assembler::{Listing, Piece, base};

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
    pub callbacks: Vec<Callback>,
    /// Notes for the user.
    pub notes: Vec<String>,
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
    let Pairs { by_new: pairs, unclear, by_order } = Pairs::of(old, new);
    let mut changes = Changes::default();
    for name in unclear {
        changes.refused.push(format!(
            "several variables are called {}, and nothing tells which of the patched ones is which of the kernel's: give \
             what is new another name",
            in_common(&name)
        ));
    }
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
    fn data(&self, name: &str, piece: &Piece, changes: &mut Changes) {
        let shown = base(name);
        if self.new.is_own(name) || is_book_keeping(&piece.section) && !is_table(&piece.section) {
            return;
        }
        if piece.is_init() || is_table(&piece.section) {
            let is_same =
                self.old.piece_of(name).is_some() && self.before.data(name) == self.after.data(name);
            if is_same || base(name) != name {
                return;
            }
            if piece.is_init() {
                changes.notes.push(format!(
                    "{shown} is __init data: no livepatch changes it, and what a module that is loaded later reads is the \
                     old one"
                ));
            } else {
                changes.refused.push(format!(
                    "{shown} in {} is new or changed: the kernel has read that table already; leave it out of the patch",
                    piece.section
                ));
            }
            return;
        }
        let Some(other) = self.pairs.get(name) else {
            self.warn_of_table(name, piece, changes);
            changes.new_data.insert(name.to_owned());
            return;
        };
        let (before, after) = (self.before.data(other), self.after.data(name));
        if before != after {
            let other = other.clone();
            if self.is_moved(&other, name) && content(&before) == content(&after) {
                changes.notes.push(format!(
                    "{shown} goes to the section {}: in the kernel it stays where it is",
                    piece.section
                ));
                return;
            }
            match self.refusal(&other, name, piece) {
                Some(why) => changes.refused.push(why),
                None => {
                    self.warn_of_table(name, piece, changes);
                    changes.constants.insert(name.to_owned());
                }
            }
        }
    }

    /// Adds a note about a new table of functions: the kernel may keep its address, as debugfs_create_file() does,
    /// after the livepatch is gone.
    fn warn_of_table(&self, name: &str, piece: &Piece, changes: &mut Changes) {
        let pointers = piece.lines.iter().filter(|line| line.trim_start().starts_with(".quad"));
        if pointers.flat_map(|line| names(line)).any(|name| self.new.is_function(&name)) {
            changes.notes.push(format!(
                "{} has pointers to functions, and is the livepatch's own: if the kernel keeps its address, the livepatch must \
                 not be unloaded before that is gone",
                base(name)
            ));
        }
    }

    /// Whether a variable is in another section than before, and is used in the same way from there.
    fn is_moved(&self, other: &str, name: &str) -> bool {
        let section = |listing: &Listing, name: &str| {
            let piece = listing.piece(name)?;
            Some((piece.section.clone(), piece.section.contains("percpu")))
        };
        match (section(self.old, other), section(self.new, name)) {
            (Some((before, was_percpu)), Some((after, is_percpu))) => {
                before != after && was_percpu == is_percpu
            }
            _ => false,
        }
    }

    /// Why the contents of a variable or constant cannot be changed; none if they can.
    fn refusal(&self, other: &str, name: &str, piece: &Piece) -> Option<String> {
        let (old, new, shown) = (self.old, self.new, base(name));
        let is_visible = new.is_global(name) || is_pointed_to(new, name) || is_pointed_to(old, other);
        if piece.is_constant() && !is_visible {
            if let Some(user) = comparer(new, name).or_else(|| comparer(old, other)) {
                return Some(format!(
                    "the constant {shown} gets another content, and {user} asks whether a pointer is its address: what \
                     the kernel has made keeps the old one; leave it as it is, and change the functions that it leads to \
                     or that read it"
                ));
            }
            let user = init_user(new, name).or_else(|| init_user(old, other))?;
            return Some(format!(
                "the constant {shown} gets another content, and {user}, which is __init, has given the old one away when \
                 the kernel began; change the functions that read it"
            ));
        }
        Some(if size(old, other) != size(new, name) {
            format!(
                "the variable {shown} gets another size: what is there keeps the old one; keep its type, and put what is \
                 new into a variable of its own or a shadow variable (klp_shadow_alloc)"
            )
        } else if piece.is_constant() {
            format!(
                "the constant {shown} gets another content, and other data or files point to it: they would keep the old \
                 one; change the functions that read it"
            )
        } else {
            format!(
                "the initial value of {shown} is changed: it has been set long ago, and may have changed since; set it in \
                 a callback (KLP_PRE_PATCH_CALLBACK, linux/livepatch_helpers.h) or in the functions that read it"
            )
        })
    }

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
        let before = entries(self.old, &self.before);
        for (section, entry) in entries(self.new, &self.after) {
            if !before.contains(&(section.clone(), entry)) {
                changes.refused.push(format!(
                    "an entry of the kernel's table {section} is new or changed: it has been read already; leave it out \
                     of the patch"
                ));
            }
        }
    }

    fn removed(&self, changes: &mut Changes) {
        let kept: BTreeSet<&str> = self.pairs.values().map(String::as_str).collect();
        let gone: Vec<String> = self
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

/// A text without the section's name.
fn content(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, content)| content)
}

/// Whether other data points to a name.
fn is_pointed_to(listing: &Listing, name: &str) -> bool {
    let others = listing.data().filter(|(other, piece)| {
        *other != name && !listing.is_own(other) && !is_book_keeping(&piece.section)
    });
    others.into_iter().any(|(_, piece)| piece.has_name(name))
}

/// A function in initialisation code that uses a name; none if there is none.
fn init_user<'a>(listing: &'a Listing, name: &str) -> Option<&'a str> {
    listing.functions().find(|function| {
        let pieces = listing.pieces_of(function);
        let is_init = pieces.iter().filter_map(|&piece| listing.pieces.get(piece)).any(Piece::is_init);
        is_init && used(listing, &pieces).iter().any(|word| word == name)
    })
}

/// A function that tells by the address of a constant what something is.
fn comparer<'a>(listing: &'a Listing, name: &str) -> Option<&'a str> {
    let size = size(listing, name).and_then(|size| size.parse().ok()).unwrap_or(1);
    compared::comparer(listing, name, size)
}

fn size(listing: &Listing, name: &str) -> Option<String> {
    let piece = listing.piece(name)?;
    let line = piece.lines.iter().find(|line| line.trim_start().starts_with(".size"))?;
    line.rsplit(',').next().map(|size| size.trim().to_owned())
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
    fn a_table_of_functions_is_told_as_the_livepatchs_own() {
        let table = |entry: &str| {
            UNIT.replace("movl\ttable", "leaq\ttable").replace(".long\t5", &format!(".quad\t{entry}"))
        };
        let changes = compare(&listing(&table("f")), &listing(&table("g")));
        assert!(changes.constants.contains("table") && changes.refused.is_empty(), "{changes:?}");
        assert!(
            changes.notes[0].starts_with("table has pointers to functions, and is the livepatch's own"),
            "{changes:?}"
        );
        assert!(compare(&listing(UNIT), &listing(&UNIT.replace(".long\t5", ".long\t6"))).notes.is_empty());
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
