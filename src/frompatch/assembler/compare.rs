// SPDX-License-Identifier: GPL-2.0-only
//! What is different between a unit and the patched one: functions, constants and variables, each compared as text in
//! which the compiler's own numbers do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::line::{names, rewrite, without_comment};
use crate::frompatch::assembler::{Listing, base};

/// What is different.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Functions that are there before and afterwards, with the reason.
    pub changed: BTreeMap<String, String>,
    /// Functions that are new.
    pub new_functions: BTreeSet<String>,
    /// Functions that are gone.
    pub removed_functions: BTreeSet<String>,
    /// Constants with another content: their users take the new one.
    pub constants: BTreeSet<String>,
    /// Constants and variables that are new.
    pub new_data: BTreeSet<String>,
    /// Why no livepatch can bring some of it.
    pub refused: Vec<String>,
    /// What is to be thought of.
    pub notes: Vec<String>,
}

impl Changes {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.new_functions.is_empty()
            && self.constants.is_empty()
            && self.refused.is_empty()
            && self.new_data.is_empty()
    }

    /// The names of all of it.
    pub fn names(&self) -> Vec<String> {
        let sets = [&self.new_functions, &self.constants, &self.new_data];
        self.changed.keys().chain(sets.into_iter().flatten()).map(|name| base(name).to_owned()).collect()
    }
}

/// Statics that belong to one place of the source, as a copy does as well: macros make them, and nothing is kept in them
/// that has to go on.
const OWN: [&str; 16] = [
    "__already_done",
    "__func__",
    "__FUNCTION__",
    "__PRETTY_FUNCTION__",
    "__key",
    "__warned",
    "__print_once",
    "_entry",
    "_entry_ptr",
    "_rs",
    "descriptor",
    "CSWTCH",
    "__msg",
    "__flags",
    "__branch",
    "______f",
];

/// Whether a name is of something that every function has for itself.
pub fn is_own(name: &str) -> bool {
    let base = base(name);
    name.starts_with("__UNIQUE_ID")
        || (base != name || name.starts_with("CSWTCH"))
            && OWN.contains(&base.split('.').next_back().unwrap_or(base))
        || base != name && base.starts_with("switch.table")
        || name.starts_with("switch.table.")
}

/// The text of one unit's pieces in a form that can be compared.
struct Canon<'a> {
    listing: &'a Listing,
}

impl Canon<'_> {
    fn function(&self, name: &str) -> String {
        let pieces = self.listing.pieces_of(name);
        self.text(&pieces, 0)
    }

    fn text(&self, pieces: &[usize], depth: usize) -> String {
        let inside = |label: &str| self.listing.piece_of(label).is_some_and(|piece| pieces.contains(&piece));
        let mut locals: BTreeMap<String, usize> = BTreeMap::new();
        let mut statics: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut text = String::new();
        for piece in pieces.iter().filter_map(|&piece| self.listing.pieces.get(piece)) {
            text.push_str(&self.section(&piece.section));
            text.push('\n');
            for line in &piece.lines {
                let line = without_comment(line).trim();
                let line = rewrite(line, |name| {
                    if name.starts_with(".L") && (inside(name) || self.listing.piece_of(name).is_none()) {
                        let next = locals.len();
                        return Some(format!(".L{}", locals.entry(name.to_owned()).or_insert(next)));
                    }
                    Some(self.name(name, &mut statics, depth))
                });
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// A section without the numbers of statics, and without what it is called after.
    fn section(&self, name: &str) -> String {
        base(name).to_owned()
    }

    fn name(&self, name: &str, statics: &mut BTreeMap<String, Vec<String>>, depth: usize) -> String {
        let Some(index) = self.listing.piece_of(name) else { return name.to_owned() };
        let piece = self.listing.pieces.get(index);
        if name.starts_with(".L") || is_own(name) {
            let is_constant = piece.is_some_and(|piece| piece.is_constant() || name.starts_with(".L"));
            let content =
                if is_constant && depth < 4 { self.content(index, depth + 1) } else { String::new() };
            let word: String = base(name).trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            let word = if name.starts_with(".L") { ".L" } else { &word };
            return format!("{{{word}:{content}}}");
        }
        if self.listing.is_function(name) || base(name) == name {
            return name.to_owned();
        }
        // Statics of one name, in the order in which they are come to.
        let all = statics.entry(base(name).to_owned()).or_default();
        let position = all.iter().position(|other| other == name).unwrap_or_else(|| {
            all.push(name.to_owned());
            all.len() - 1
        });
        format!("{}.<{position}>", base(name))
    }

    fn content(&self, piece: usize, depth: usize) -> String {
        let text = self.text(&[piece], depth);
        // Without its own label, and where the linker puts it.
        let lines = text.lines().skip(1).filter(|line| {
            let line = line.trim();
            !line.ends_with(':')
                && ![".type", ".size", ".align", ".p2align"].iter().any(|word| line.starts_with(word))
        });
        lines.collect::<Vec<_>>().join(";")
    }

    /// A variable or constant, with its size.
    fn data(&self, name: &str) -> String {
        let Some(piece) = self.listing.piece_of(name) else { return String::new() };
        self.text(&[piece], 0).replace(name, base(name))
    }
}

/// Compares.
pub fn compare(old: &Listing, new: &Listing) -> Changes {
    let mut changes = Changes::default();
    let (before, after) = (Canon { listing: old }, Canon { listing: new });
    for name in new.functions() {
        if !old.is_function(name) {
            changes.new_functions.insert(name.to_owned());
        } else if before.function(name) != after.function(name) {
            changes.changed.insert(name.to_owned(), String::new());
        }
    }
    changes.removed_functions =
        old.functions().filter(|name| !new.is_function(name)).map(str::to_owned).collect();
    data(old, new, &before, &after, &mut changes);
    reasons(old, new, &mut changes);
    changes
}

/// Counterparts of variables and constants: those of one name, or of one name and place in order.
pub fn counterparts(old: &Listing, new: &Listing) -> BTreeMap<String, String> {
    let by_base = |listing: &Listing| {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, _) in listing.data().filter(|(name, _)| !is_own(name)) {
            all.entry(base(name).to_owned()).or_default().push(name.to_owned());
        }
        all
    };
    let (before, after) = (by_base(old), by_base(new));
    let mut pairs = BTreeMap::new();
    for (base, names) in &after {
        let Some(others) = before.get(base) else { continue };
        if names.len() == 1 && others.len() == 1 {
            pairs.extend(names.iter().cloned().zip(others.iter().cloned()));
            continue;
        }
        // Several of one name: each by the function that uses it, and its order there.
        let (of_new, of_old) = (used_by(new, names), used_by(old, others));
        for (key, name) in of_new {
            if let Some(other) = of_old.iter().find(|(other, _)| **other == key).map(|(_, name)| name) {
                pairs.entry(name).or_insert_with(|| other.clone());
            }
        }
    }
    pairs
}

/// By function and order in it: the names that it uses.
fn used_by(listing: &Listing, wanted: &[String]) -> BTreeMap<(String, usize), String> {
    let mut all = BTreeMap::new();
    for function in listing.functions() {
        let mut found: Vec<String> = Vec::new();
        for piece in listing.pieces_of(function).into_iter().filter_map(|piece| listing.pieces.get(piece)) {
            for name in piece.lines.iter().flat_map(|line| names(line)) {
                if wanted.contains(&name) && !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        for (order, name) in found.into_iter().enumerate() {
            all.insert((function.to_owned(), order), name);
        }
    }
    all
}

fn data(old: &Listing, new: &Listing, before: &Canon<'_>, after: &Canon<'_>, changes: &mut Changes) {
    let pairs = counterparts(old, new);
    for (name, piece) in new.data() {
        if is_own(name) || piece.is_init() || is_book_keeping(&piece.section) {
            continue;
        }
        let Some(other) = pairs.get(name) else {
            changes.new_data.insert(name.to_owned());
            continue;
        };
        if before.data(other) == after.data(name) {
            continue;
        }
        let shown = base(name);
        if piece.is_constant()
            && !new.is_global(name)
            && !is_pointed_to(new, name)
            && !is_pointed_to(old, other)
        {
            changes.constants.insert(name.to_owned());
        } else if size(old, other) != size(new, name) {
            changes.refused.push(format!(
                "the variable {shown} gets another size: what is there keeps the old one; keep its type, and put what is \
                 new into a variable of its own or a shadow variable (klp_shadow_alloc)"
            ));
        } else if piece.is_constant() {
            changes.refused.push(format!(
                "the constant {shown} gets another content, and other data or files point to it: they would keep the old \
                 one; change the functions that read it"
            ));
        } else {
            changes.refused.push(format!(
                "the initial value of {shown} is changed: it has been set long ago, and may have changed since; set it in \
                 a callback (pre_patch) or in the functions that read it"
            ));
        }
    }
    let kept: BTreeSet<&String> = pairs.values().collect();
    for (name, piece) in old.data() {
        let is_kept = is_own(name)
            || piece.is_init()
            || is_book_keeping(&piece.section)
            || kept.contains(&name.to_owned());
        if !is_kept {
            changes.notes.push(format!("{} is no more used; it stays where it is", base(name)));
        }
    }
}

/// Sections that tell of what stands elsewhere.
fn is_book_keeping(section: &str) -> bool {
    const NAMES: [&str; 12] = [
        ".discard",
        ".note",
        ".comment",
        "__tracepoint",
        "_ftrace_event",
        "__ksymtab",
        "__bug_table",
        ".modinfo",
        "__param",
        ".initcall",
        "__verbose",
        "__dyndbg",
    ];
    NAMES.iter().any(|name| section.starts_with(name))
}

/// Whether other data points to a name.
fn is_pointed_to(listing: &Listing, name: &str) -> bool {
    let others = listing
        .data()
        .filter(|(other, piece)| *other != name && !is_own(other) && !is_book_keeping(&piece.section));
    others
        .into_iter()
        .any(|(_, piece)| piece.lines.iter().any(|line| names(line).iter().any(|word| word == name)))
}

fn size(listing: &Listing, name: &str) -> Option<String> {
    let piece = listing.pieces.get(listing.piece_of(name)?)?;
    let line = piece.lines.iter().find(|line| line.trim_start().starts_with(".size"))?;
    line.rsplit(',').next().map(|size| size.trim().to_owned())
}

/// Says of each changed function why: its users count as changed where a constant is.
fn reasons(old: &Listing, new: &Listing, changes: &mut Changes) {
    for function in new.functions().filter(|name| old.is_function(name)) {
        let used = new.pieces_of(function).into_iter().filter_map(|piece| new.pieces.get(piece));
        let used: BTreeSet<String> =
            used.flat_map(|piece| piece.lines.iter().flat_map(|line| names(line))).collect();
        let constants: Vec<&str> =
            used.iter().filter(|name| changes.constants.contains(*name)).map(|name| base(name)).collect();
        if !constants.is_empty() {
            let why = format!("it uses the constant {}", constants.join(", "));
            let entry = changes.changed.entry(function.to_owned()).or_default();
            *entry = if entry.is_empty() { why } else { format!("{entry}; {why}") };
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
        assert_eq!(compare(&listing(UNIT), &listing(&other)), Changes::default());
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
    fn new_and_removed_functions_are_told() {
        let more = UNIT.replace("call\tg\n", "call\tg\n\tcall\tn\n")
            + "\t.section\t.text.n,\"ax\",@progbits\n\t.type\tn, @function\nn:\n\tret\n\t.size\tn, .-n\n";
        let changes = compare(&listing(UNIT), &listing(&more));
        assert_eq!(changes.new_functions.iter().collect::<Vec<_>>(), ["n"]);
        assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["f"]);
        let changes = compare(&listing(&more), &listing(UNIT));
        assert_eq!(changes.removed_functions.iter().collect::<Vec<_>>(), ["n"]);
    }
}
