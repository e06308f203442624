// SPDX-License-Identifier: GPL-2.0-only
//! Cuts the changed and new functions out of a unit, with the constants and new data that they use. A name that stays
//! in the kernel becomes an undefined symbol by itself.
//!
//! A reference to a replaced function, a call or its address, goes to the kernel's function: ftrace leads on from
//! there, even when a later livepatch replaces it again, and pointers stay comparable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::frompatch::assembler::callbacks::Callback;
use crate::frompatch::assembler::compare::Changes;
use crate::frompatch::assembler::early;
use crate::frompatch::assembler::line::{Directive, label, names, rewrite};
use crate::frompatch::assembler::{Listing, Piece, base, parent, sections};

/// What is cut out of a unit.
#[derive(Debug)]
pub struct Extract<'a> {
    listing: &'a Listing,
    pieces: BTreeSet<usize>,
    /// By piece: its lines, if they are not taken as they are.
    lines: BTreeMap<usize, Vec<String>>,
    /// The functions that replace functions of the kernel, by name.
    pub replaced: Vec<String>,
    /// The functions that the kernel does not have.
    pub new_functions: Vec<String>,
    /// The data that the kernel does not have, or has with other contents.
    pub new_data: Vec<String>,
    /// Names that stay in the kernel: by the name here, the name in the unpatched unit.
    pub references: BTreeMap<String, String>,
    /// Changes that have no effect, with the reason.
    pub without_effect: Vec<String>,
    /// Reasons why the changes cannot be cut out.
    pub refused: Vec<String>,
    /// The changes that are cut out.
    changes: &'a Changes,
}

impl<'a> Extract<'a> {
    /// Finds the pieces that belong to the changes.
    pub fn plan(old: &Listing, new: &'a Listing, changes: &'a Changes) -> Extract<'a> {
        let mut extract = Extract {
            listing: new,
            pieces: BTreeSet::new(),
            lines: BTreeMap::new(),
            replaced: Vec::new(),
            new_functions: Vec::new(),
            new_data: Vec::new(),
            references: BTreeMap::new(),
            without_effect: Vec::new(),
            refused: Vec::new(),
            changes,
        };
        let is_init = |name: &str| new.piece(name).is_some_and(Piece::is_init);
        let mut waiting: Vec<usize> = Vec::new();
        let was_init = |name: &str| old.piece(name).is_some_and(Piece::is_init);
        let is_exit = |name: &str| new.piece(name).is_some_and(|piece| piece.section.starts_with(".exit."));
        for name in changes.changed.keys() {
            if is_init(name) && !was_init(name) {
                extract.refused.push(format!(
                    "{name} becomes __init: the kernel's own one stays, and its callers go on calling it; leave that out of the patch"
                ));
                continue;
            }
            if is_exit(name) {
                extract.without_effect.push(format!(
                    "{name} is __exit: no livepatch can replace it, and what runs when its module goes is the old one"
                ));
                continue;
            }
            if is_init(name) {
                extract.without_effect.push(format!(
                    "{name} is __init: no livepatch replaces it, and what a module that is loaded later runs is the old one"
                ));
                continue;
            }
            extract.replaced.push(name.clone());
            waiting.extend(new.pieces_of(name));
        }
        for callback in &changes.callbacks {
            let name = &callback.function;
            if !changes.new_functions.contains(name) {
                extract
                    .refused
                    .push(format!("the callback {name} has to be a function that the patches add"));
            }
            waiting.extend(extract.follow(name));
        }
        // New names that other units of the livepatch may use are taken, whether this unit uses them or not.
        for name in changes.new_functions.iter().chain(&changes.new_data).filter(|name| new.is_global(name)) {
            if !is_init(name) {
                waiting.extend(extract.follow(name));
            }
        }
        while let Some(index) = waiting.pop() {
            if !extract.pieces.insert(index) {
                continue;
            }
            let Some(piece) = new.pieces.get(index) else { continue };
            for name in piece.lines.iter().flat_map(|line| names(line)) {
                waiting.extend(extract.follow(&name));
            }
        }
        extract.outside(old, new);
        extract.tell_unreached();
        extract
    }

    /// Reports new functions and data that no replaced function uses.
    fn tell_unreached(&mut self) {
        let changes = self.changes;
        for (kind, names, taken) in [
            ("function", &changes.new_functions, &self.new_functions),
            ("variable or constant", &changes.new_data, &self.new_data),
        ] {
            let left = names.iter().filter(|name| !taken.contains(name));
            self.without_effect.extend(left.map(|name| {
                format!("the new {kind} {}: nothing that is replaced uses it", source_name(name))
            }));
        }
    }

    /// The pieces that come along because `name` is used.
    fn follow(&mut self, name: &str) -> Vec<usize> {
        let changes = self.changes;
        let new = self.listing;
        let Some(index) = new.piece_of(name) else {
            if let Some(key) = name.strip_prefix("__SCT__") {
                return self.key_of_static_call(&format!("__SCK__{key}"));
            }
            return Vec::new();
        };
        if name.starts_with(".L") || new.is_own(name) || parent(name).is_some() {
            return vec![index];
        }
        if new.is_function(name) {
            if !changes.new_functions.contains(name) {
                return Vec::new();
            }
            if new.pieces.get(index).is_some_and(Piece::is_init) {
                self.refused.push(format!("the new function {name} is __init, and code that stays calls it"));
            }
            if !self.new_functions.iter().any(|other| other == name) {
                self.new_functions.push(name.to_owned());
            }
            return new.pieces_of(name);
        }
        if changes.constants.contains(name) || !changes.pairs.contains_key(name) {
            if !self.new_data.iter().any(|other| other == name) {
                self.new_data.push(name.to_owned());
            }
            return vec![index];
        }
        Vec::new()
    }

    /// The piece that keeps the key of a static call: without it, objtool refuses the call of its trampoline.
    fn key_of_static_call(&self, key: &str) -> Vec<usize> {
        let holds = |piece: &Piece| piece.section.starts_with(".discard.addressable") && piece.has_name(key);
        let pieces = self.listing.pieces.iter().enumerate();
        pieces.filter(|(_, piece)| holds(piece)).map(|(index, _)| index).take(1).collect()
    }

    /// Takes the lines that the patch adds outside of functions.
    fn outside(&mut self, old: &Listing, new: &Listing) {
        let mut before: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (section, line) in old.all_outside() {
            *before.entry((section, plain(line))).or_default() += 1;
        }
        let mut has_initcall = initcalls(old) < initcalls(new);
        for (section, line) in new.all_outside() {
            if let Some(left) = before.get_mut(&(section, plain(line))).filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            let line = line.trim();
            let says = |word: &str| section.contains(word) || line.contains(word);
            if says("export_symbol") || says("ksymtab") {
                self.refused.push(
                    "a new EXPORT_SYMBOL: what a livepatch exports is not what the kernel exports; leave it out of the patch"
                        .to_owned(),
                );
            } else if says("initcall") {
                has_initcall = true;
            } else if !is_frame(line) {
                self.refused.push(format!(
                    "what the patch adds outside of functions cannot be carried over: {line:?}"
                ));
            }
        }
        for ((section, line), _) in before.iter().filter(|(_, left)| **left > 0) {
            let says = |word: &str| section.contains(word) || line.contains(word);
            if says("export_symbol") || says("ksymtab") {
                self.without_effect
                    .push("an EXPORT_SYMBOL is taken away: the kernel goes on to export it".to_owned());
            } else if !says("initcall") && !is_frame(line) {
                self.refused.push(format!(
                    "what the patch takes away outside of functions stays in the kernel: {line:?}"
                ));
            }
        }
        self.without_effect.dedup();
        if has_initcall {
            self.without_effect.push("a new initcall: the kernel has begun long ago".to_owned());
        }
    }

    /// Whether there is nothing to cut out.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Finds the names that stay in the kernel.
    pub fn resolve(&mut self) {
        let own: BTreeSet<&str> = self.own_labels().collect();
        let mut references = BTreeMap::new();
        for (piece, lines) in self.taken() {
            for line in lines.iter().filter(|line| !is_definition(line)) {
                for name in names(line).into_iter().filter(|name| is_symbol(name)) {
                    let is_inside = own.contains(name.as_str()) && !self.is_replaced(&name);
                    if !is_inside && !is_own_call(piece, line, &name) {
                        let old = self.changes.pairs.get(&name).cloned().unwrap_or_else(|| name.clone());
                        references.insert(name, old);
                    }
                }
            }
        }
        self.references = references;
    }

    /// The pieces that are cut out, with their lines.
    fn taken(&self) -> impl Iterator<Item = (&Piece, &[String])> {
        self.pieces.iter().filter_map(|index| {
            let piece = self.listing.pieces.get(*index)?;
            Some((piece, self.lines.get(index).unwrap_or(&piece.lines).as_slice()))
        })
    }

    /// Replaces the jump labels of the static keys whose names `is_late` by code that tests the keys each time.
    ///
    /// # Errors
    /// A jump label has an unknown form: the message names the function, and what to write instead.
    pub fn ask_keys(&mut self, is_late: &dyn Fn(&str) -> bool) -> Result<(), String> {
        for &index in &self.pieces {
            let Some(piece) = self.listing.pieces.get(index) else { continue };
            let asking = early::asking(&piece.lines, is_late).map_err(|key| {
                format!(
                    "{} depends on the static key {key}, which the kernel looks at while it loads the livepatch, before the \
                     reference to the module is written; in the patch, test it with static_key_enabled() instead of \
                     static_branch_likely() and the like",
                    source_name(piece.symbol.as_deref().unwrap_or_default())
                )
            })?;
            if let Some(lines) = asking {
                self.lines.insert(index, lines);
            }
        }
        Ok(())
    }

    fn own_labels(&self) -> impl Iterator<Item = &str> {
        let pieces = self.pieces.iter().filter_map(|&piece| self.listing.pieces.get(piece));
        pieces.flat_map(|piece| piece.labels.iter().map(String::as_str))
    }

    fn is_replaced(&self, name: &str) -> bool {
        self.replaced.iter().any(|replaced| replaced == name)
    }

    /// The label that the new function `name` has in the text.
    pub fn label(prefix: &str, name: &str) -> String {
        format!("{prefix}{name}")
    }

    /// The callbacks, with the labels of their functions in the text.
    pub fn callbacks(&self, prefix: &str) -> impl Iterator<Item = (&'a Callback, String)> {
        self.changes.callbacks.iter().map(move |callback| {
            let name = &callback.function;
            (callback, if self.stays(name) { name.clone() } else { Extract::label(prefix, name) })
        })
    }

    /// The text that is cut out. Local symbols get `prefix` in front, so that those of two units differ; a reference
    /// gets the name that `kernel_name` returns for it. With `has_endbr`, functions begin with the instruction that a
    /// target of an indirect jump needs.
    pub fn text(&self, prefix: &str, has_endbr: bool, kernel_name: impl Fn(&str) -> String) -> String {
        let own: BTreeSet<&str> = self.own_labels().collect();
        let mut text = String::new();
        for name in &self.replaced {
            let _ = writeln!(text, "\t.globl\t{}", Extract::label(prefix, name));
        }
        for (_, label) in self.callbacks(prefix).filter(|(callback, _)| !self.stays(&callback.function)) {
            let _ = writeln!(text, "\t.globl\t{label}");
        }
        for name in own.iter().filter(|name| self.stays(name)) {
            let _ = writeln!(text, "\t.globl\t{name}");
        }
        // A weak reference stays weak: the kernel may do without its symbol.
        for name in self.references.keys().filter(|name| self.listing.is_weak(name)) {
            if self.listing.piece_of(name).is_none() {
                let _ = writeln!(text, "\t.weak\t{}", kernel_name(name));
            }
        }
        for (piece, lines) in self.taken() {
            text.push_str(&sections::directive(piece));
            for line in lines {
                let is_definition = is_definition(line);
                text.push_str(&rewrite(line, |name| {
                    let stands_for_new = is_definition || is_own_call(piece, line, name);
                    let is_inside = own.contains(name) && (stands_for_new || !self.is_replaced(name));
                    if !is_symbol(name) || is_inside && self.stays(name) {
                        None
                    } else if is_inside {
                        Some(format!("{prefix}{name}"))
                    } else {
                        self.references.contains_key(name).then(|| kernel_name(name))
                    }
                }));
                text.push('\n');
                let is_entry = label(line).is_some_and(|name| self.is_replaced(name));
                if is_entry && has_endbr && !self.begins_with_endbr(piece) {
                    text.push_str("\tendbr64\n");
                }
            }
        }
        text.push_str("\t.section\t.note.GNU-stack,\"\",@progbits\n");
        text
    }

    /// Whether a symbol that is defined here keeps its name, because other units of the livepatch may use it.
    fn stays(&self, name: &str) -> bool {
        !self.is_replaced(name) && is_symbol(name) && self.listing.is_global(name)
    }

    fn begins_with_endbr(&self, piece: &Piece) -> bool {
        let mut lines =
            piece.lines.iter().skip_while(|line| label(line).is_none_or(|name| !self.is_replaced(name)));
        lines.next();
        lines.next().is_some_and(|line| line.trim_start().starts_with("endbr"))
    }
}

/// The number of initcalls that have a piece of their own, as clang writes them.
fn initcalls(listing: &Listing) -> usize {
    listing.data().filter(|(_, piece)| piece.section.starts_with(".initcall")).count()
}

/// A line of the source's own assembler without the numbers in generated names.
fn plain(line: &str) -> String {
    let is_counted = |name: &str| {
        ["__UNIQUE_ID", "__initcall__", "__addressable", "__BTF_ID__", ".Ltmp"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let plain =
        rewrite(line, |name| is_counted(name).then(|| name.replace(|c: char| c.is_ascii_digit(), "")));
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line of the source's own assembler means nothing without the lines around it, which are reported
/// instead.
fn is_frame(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    const FRAMES: [&str; 7] =
        [".previous", ".popsection", ".align", ".balign", ".p2align", ".section", ".pushsection"];
    FRAMES.contains(&word) || label(line).is_some_and(|name| line.trim().len() == name.len() + 1)
}

fn is_symbol(name: &str) -> bool {
    !name.starts_with('.')
}

/// Whether a line declares or describes a symbol that is defined here, and does not use it.
fn is_definition(line: &str) -> bool {
    label(line).is_some()
        || line.trim_start().starts_with(".size")
        || matches!(Directive::of(line), Directive::Type { .. } | Directive::Attribute { .. })
}

/// Whether a line is a function's call of itself: it need not go through the kernel's, from where ftrace would lead it back.
fn is_own_call(piece: &Piece, line: &str, name: &str) -> bool {
    let function = piece.symbol.as_deref().map(|symbol| parent(symbol).unwrap_or(symbol));
    let mut words = line.split_whitespace();
    matches!(words.next(), Some("call" | "jmp")) && words.next() == Some(name) && function == Some(name)
}

/// The name of a function as the source has it, without what the compiler has added.
pub fn source_name(name: &str) -> &str {
    let name = base(name);
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frompatch::assembler::compare::compare;

    const OLD: &str = "\t.text\n\t.section\t.text.f,\"ax\",@progbits\n\t.type\tf, @function\nf:\n\tnop\n\tincl\tcount.3(%rip)\n\
        \tcall\tg\n\tmovq\t$f, %rax\n\tjmp\tf.cold\n\t.section\t.text.unlikely.f,\"ax\",@progbits\n\t.type\tf.cold, @function\nf.cold:\n\tud2\n\
        \t.section\t.text.f\n\t.size\tf, .-f\n\t.section\t.text.unlikely.f\n\t.size\tf.cold, .-f.cold\n\
        \t.section\t.text.g,\"ax\",@progbits\n\t.type\tg, @function\ng:\n\tret\n\t.size\tg, .-g\n\
        \t.section\t.bss.count.3,\"aw\",@nobits\n\t.type\tcount.3, @object\n\t.size\tcount.3, 4\ncount.3:\n\t.zero\t4\n";

    fn cut(new: &str) -> (String, Vec<String>) {
        let (old, new) = (Listing::parse(OLD), Listing::parse(new));
        let changes = compare(&old, &new);
        let mut extract = Extract::plan(&old, &new, &changes);
        extract.resolve();
        let references = extract.references.iter().map(|(name, old)| format!("{name}={old}")).collect();
        (extract.text("klp_", true, |name| format!("<{name}>")), references)
    }

    #[test]
    fn a_function_comes_with_its_cold_part_and_leaves_the_rest() {
        let new = OLD.replace("\tnop\n", "\tnop\n\tnop\n").replace("count.3", "count.9");
        let (text, references) = cut(&new);
        assert_eq!(references, ["count.9=count.3", "f=f", "g=g"]);
        assert_eq!(
            text,
            "\t.globl\tklp_f\n\t.text\n\t.type\tklp_f, @function\nklp_f:\n\tendbr64\n\tnop\n\tnop\n\tincl\t<count.9>(%rip)\n\
             \tcall\t<g>\n\tmovq\t$<f>, %rax\n\tjmp\tklp_f.cold\n\t.size\tklp_f, .-klp_f\n\
             \t.section\t.text.unlikely,\"ax\",@progbits\n\t.type\tklp_f.cold, @function\nklp_f.cold:\n\tud2\n\
             \t.size\tklp_f.cold, .-klp_f.cold\n\t.section\t.note.GNU-stack,\"\",@progbits\n"
        );
    }

    #[test]
    fn a_call_of_itself_stays_within_the_livepatch() {
        let new = OLD.replace("f:\n\tnop\n", "f:\n\tcall\tf\n").replace("\tmovq\t$f, %rax\n", "");
        let (text, references) = cut(&new.replace("f.cold:\n\tud2\n", "f.cold:\n\tjmp\tf\n"));
        assert_eq!(references, ["count.3=count.3", "g=g"]);
        assert!(text.contains("\tcall\tklp_f\n") && text.contains("klp_f.cold:\n\tjmp\tklp_f\n"), "{text}");
        // Its address is what the kernel knows.
        let (text, references) = cut(&OLD.replace("f:\n\tnop\n", "f:\n\tcall\tf\n"));
        assert_eq!(references, ["count.3=count.3", "f=f", "g=g"]);
        assert!(text.contains("\tcall\tklp_f\n") && text.contains("\tmovq\t$<f>, %rax\n"), "{text}");
    }

    #[test]
    fn new_functions_and_data_come_along() {
        let new = OLD.replace("\tnop\n", "\tcall\tn\n")
            + "\t.section\t.text.n,\"ax\",@progbits\n\t.type\tn, @function\nn:\n\tmovq\t$.LC1, %rdi\n\tincl\tfresh(%rip)\n\tret\n\t.size\tn, .-n\n\
               \t.section\t.rodata.n.str1.1,\"aMS\",@progbits,1\n.LC0:\n\t.string\t\"not this\"\n.LC1:\n\t.string\t\"this\"\n\
               \t.globl\tfresh\n\t.section\t.data.fresh,\"aw\"\n\t.type\tfresh, @object\n\t.size\tfresh, 4\nfresh:\n\t.long\t7\n";
        let (text, _) = cut(&new);
        for line in [
            "\tcall\tklp_n\n",
            "klp_n:\n",
            "\"this\"",
            "\t.globl\tfresh\n",
            "\t.section\t.data,\"aw\"\n",
            "fresh:\n\t.long\t7\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("not this") && !text.contains("klp_fresh"), "{text}");
    }

    #[test]
    fn callbacks_come_along_and_are_seen_by_the_tables() {
        let pointer = |function: &str| {
            format!(
                "\t.section\t.discard.klp_callback_ptrs,\"aw\"\n\t.type\t__klp_pre_patch_callback_own, @object\n\
                 __klp_pre_patch_callback_own:\n\t.quad\t{function}\n"
            )
        };
        let function = "\t.section\t.text.n,\"ax\",@progbits\n\t.type\tn, @function\nn:\n\tincl\tcount.3(%rip)\n\tret\n\t.size\tn, .-n\n";
        let (text, references) = cut(&(OLD.to_owned() + function + &pointer("n")));
        assert_eq!(references, ["count.3=count.3"]);
        assert!(text.contains("\t.globl\tklp_n\n") && text.contains("\nklp_n:\n"), "{text}");
        assert!(!text.contains("klp_callback"), "{text}");
        let (old, new) = (Listing::parse(OLD), Listing::parse(&(OLD.to_owned() + &pointer("g"))));
        let changes = compare(&old, &new);
        assert!(!changes.is_empty());
        let extract = Extract::plan(&old, &new, &changes);
        assert_eq!(extract.refused, ["the callback g has to be a function that the patches add"]);
    }

    #[test]
    fn what_is_taken_away_outside_of_functions_is_told() {
        let refused = |old: &str, new: &str| {
            let (old, new) = (Listing::parse(old), Listing::parse(new));
            let changes = compare(&old, &new);
            let extract = Extract::plan(&old, &new, &changes);
            (extract.refused.join(","), extract.without_effect.join(","))
        };
        let more = "\t.pushsection .rodata\n\ttemplate:\n\tpushfq\n\t.popsection\n";
        let old = OLD.replacen("\t.text\n", &format!("\t.text\n{more}"), 1);
        let told = refused(&old, &old.replace("\tpushfq\n", ""));
        assert_eq!(told.0, "what the patch takes away outside of functions stays in the kernel: \"pushfq\"");
        let export = "\t.section \".export_symbol\",\"a\"\n__export_symbol_g:\n\t.asciz \"GPL\"\n\t.quad g\n\t.previous\n";
        let old = OLD.replacen("\t.text\n", &format!("\t.text\n{export}"), 1);
        let told = refused(&old, OLD);
        assert_eq!(
            (told.0.as_str(), told.1.as_str()),
            ("", "an EXPORT_SYMBOL is taken away: the kernel goes on to export it")
        );
    }

    #[test]
    fn exit_functions_are_not_told_to_have_run() {
        let old = OLD.replace(".text.g,", ".exit.text,");
        let new = old.replace("\tret\n", "\tnop\n\tret\n");
        let (old, new) = (Listing::parse(&old), Listing::parse(&new));
        let changes = compare(&old, &new);
        let extract = Extract::plan(&old, &new, &changes);
        assert_eq!(
            extract.without_effect,
            ["g is __exit: no livepatch can replace it, and what runs when its module goes is the old one"]
        );
    }

    #[test]
    fn init_functions_have_no_effect() {
        let old = OLD.replace(".text.g,", ".init.text,");
        let new = old.replace("\tret\n", "\tnop\n\tret\n");
        let (old, new) = (Listing::parse(&old), Listing::parse(&new));
        let changes = compare(&old, &new);
        let extract = Extract::plan(&old, &new, &changes);
        assert!(extract.is_empty());
        assert_eq!(
            extract.without_effect,
            [
                "g is __init: no livepatch replaces it, and what a module that is loaded later runs is the old one"
            ]
        );
    }
}
