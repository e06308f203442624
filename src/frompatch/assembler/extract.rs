// SPDX-License-Identifier: GPL-2.0-only
//! Cuts the changed and new functions out of a unit, with the constants and new data that they use. A name that stays
//! in the kernel becomes an undefined symbol by itself.
//!
//! A reference to a replaced function, a call or its address, goes to the kernel's function: ftrace leads on from
//! there, even when a later livepatch replaces it again, and pointers stay comparable. Two kinds lead to the new function:
//! its calls of itself, and pointers to one that the kernel only calls directly, where no pointer may lead (S11).
//!
//! - `outside`: what the source says to the assembler outside of functions
//! - `told`: what is not taken along, and why

mod outside;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::frompatch::assembler::callbacks::UnitCallback;
use crate::frompatch::assembler::compare::Changes;
use crate::frompatch::assembler::early::{self, EntryApart};
use crate::frompatch::assembler::lasting;
use crate::frompatch::assembler::line::{Directive, destination, label, names, rewrite, takes_address};
use crate::frompatch::assembler::{Listing, Piece, base, parent, sections};

/// How a function begins to which a pointer leads (CONFIG_X86_KERNEL_IBT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// As any instruction.
    Any,
    /// With the instruction `endbr64`.
    Endbr,
}

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
    /// Changes that have no effect, with the reason; without `beginning` and `end`.
    pub without_effect: Vec<String>,
    /// Changed functions that are __init.
    beginning: Vec<String>,
    /// Changed functions that are __exit.
    end: Vec<String>,
    /// Reasons why the changes cannot be cut out.
    pub refused: Vec<String>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Replaced functions that the kernel only calls directly: its own begin without the instruction at which a call through
    /// a pointer has to arrive, so that pointers to them lead to the new ones.
    direct: BTreeSet<String>,
    entry: Entry,
    /// The changes that are cut out.
    changes: &'a Changes,
}

impl<'a> Extract<'a> {
    /// Finds the pieces that belong to the changes.
    pub fn plan(old: &Listing, new: &'a Listing, changes: &'a Changes, entry: Entry) -> Extract<'a> {
        let mut extract = Extract {
            listing: new,
            pieces: BTreeSet::new(),
            lines: BTreeMap::new(),
            replaced: Vec::new(),
            new_functions: Vec::new(),
            new_data: Vec::new(),
            references: BTreeMap::new(),
            without_effect: Vec::new(),
            beginning: Vec::new(),
            end: Vec::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            direct: BTreeSet::new(),
            entry,
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
                extract.end.push(name.clone());
                continue;
            }
            if is_init(name) {
                extract.beginning.push(name.clone());
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
        if entry == Entry::Endbr {
            let direct = extract.replaced.iter().filter(|name| !begins_with_endbr(old, name));
            extract.direct = direct.cloned().collect();
        }
        extract.refused.extend(lasting::unset(new, &extract.new_data, &extract.pieces));
        let own = extract.new_functions.iter().chain(&extract.direct);
        let is_given = |name: &&String| {
            let mut code = extract.taken().filter(|(piece, _)| piece.is_code());
            code.any(|(_, lines)| lines.iter().any(|line| takes_address(line, name)))
        };
        extract.notes = own.filter(is_given).map(|name| lasting::given_away(name)).collect();
        let kept = extract.new_data.iter().filter_map(|name| changes.kept.get(name)).flatten();
        extract.notes.extend(kept.cloned());
        extract.outside(old, new);
        extract.tell_unreached();
        extract
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
                    if !is_inside && !self.means_new(piece, line, &name) {
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
            let asking = early::asking(&piece.lines, is_late)
                .map_err(|key| too_late(piece.symbol.as_deref().unwrap_or_default(), &key))?;
            if let Some(lines) = asking {
                self.lines.insert(index, lines);
            }
        }
        self.ask_keys_apart(is_late)
    }

    /// Replaces those whose entries are pieces of their own, as clang writes them.
    fn ask_keys_apart(&mut self, is_late: &dyn Fn(&str) -> bool) -> Result<(), String> {
        let listing = self.listing;
        let tables = self.pieces.iter().filter_map(|&index| Some((index, listing.pieces.get(index)?)));
        let tables = tables.filter(|(_, piece)| piece.symbol.is_none() && piece.section == "__jump_table");
        let words = tables.flat_map(|(index, piece)| {
            let is_word =
                |line: &&str| [".long", ".quad"].iter().any(|word| line.trim_start().starts_with(word));
            piece.lines.iter().map(String::as_str).filter(is_word).map(move |line| (index, line))
        });
        let words: Vec<(usize, &str)> = words.collect();
        for record in words.chunks(3) {
            let lines: Vec<&str> = record.iter().map(|(_, line)| *line).collect();
            let late = lines.iter().flat_map(|line| names(line)).find(|name| is_late(name));
            let Some(key) = late else { continue };
            let entry = EntryApart::read(&lines);
            let function = entry.as_ref().and_then(|entry| listing.piece_of(entry.site));
            let piece = function.and_then(|index| listing.pieces.get(index));
            let asking = entry.zip(function).zip(piece).and_then(|((entry, index), piece)| {
                Some((index, entry.ask(self.lines.get(&index).unwrap_or(&piece.lines))?))
            });
            let Some((index, lines)) = asking else {
                let function = piece.and_then(|piece| piece.symbol.as_deref());
                return Err(too_late(function.unwrap_or("the code"), &key));
            };
            self.lines.insert(index, lines);
            self.pieces.retain(|index| record.iter().all(|(other, _)| other != index));
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
    pub fn callbacks(&self, prefix: &str) -> impl Iterator<Item = (&'a UnitCallback, String)> {
        self.changes.callbacks.iter().map(move |callback| {
            let name = &callback.function;
            (callback, if self.stays(name) { name.clone() } else { Extract::label(prefix, name) })
        })
    }

    /// The text that is cut out. Local symbols get `prefix` in front, so that those of two units differ; a reference
    /// gets the name that `kernel_name` returns for it.
    pub fn text(&self, prefix: &str, kernel_name: impl Fn(&str) -> String) -> String {
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
                    let stands_for_new = is_definition || self.means_new(piece, line, name);
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
                let entered = label(line).filter(|name| self.is_replaced(name) && self.entry == Entry::Endbr);
                if entered.is_some_and(|name| !begins_with_endbr(self.listing, name)) {
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

    /// Whether a line means the new function `name`, and not what the kernel calls so.
    fn means_new(&self, piece: &Piece, line: &str, name: &str) -> bool {
        is_own_call(piece, line, name) || self.direct.contains(name) && takes_address(line, name)
    }
}

/// Why `function` cannot have a jump label for a static key of a module.
fn too_late(function: &str, key: &str) -> String {
    let (what, instead) = match key.strip_prefix("__tracepoint_") {
        Some(name) => (format!("tracepoint {name}"), "leave it out of the function"),
        None => (
            format!("static key {key}"),
            "in the patch, test it with static_key_enabled() instead of static_branch_likely() and the like",
        ),
    };
    format!(
        "{} depends on the {what}, which the kernel looks at while it loads the livepatch, before the reference to the \
         module is written; {instead}",
        source_name(function)
    )
}

/// Whether a function begins with the instruction at which a call through a pointer arrives.
fn begins_with_endbr(listing: &Listing, function: &str) -> bool {
    let lines = listing.piece(function).into_iter().flat_map(|piece| &piece.lines);
    let mut behind = lines.skip_while(|line| label(line) != Some(function)).skip(1);
    behind.next().is_some_and(|line| line.trim_start().starts_with("endbr"))
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
    destination(line) == Some(name) && function == Some(name)
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
        cut_from(OLD, new)
    }

    /// The kernel's `f` begins as the target of a pointer.
    fn with_endbr() -> String {
        OLD.replace("f:\n\tnop\n", "f:\n\tendbr64\n\tnop\n")
    }

    fn cut_from(old: &str, new: &str) -> (String, Vec<String>) {
        let (old, new) = (Listing::parse(old), Listing::parse(new));
        let changes = compare(&old, &new);
        let mut extract = Extract::plan(&old, &new, &changes, Entry::Endbr);
        extract.resolve();
        let references = extract.references.iter().map(|(name, old)| format!("{name}={old}")).collect();
        (extract.text("klp_", |name| format!("<{name}>")), references)
    }

    #[test]
    fn a_function_comes_with_its_cold_part_and_leaves_the_rest() {
        let new = OLD.replace("\tnop\n", "\tnop\n\tnop\n").replace("count.3", "count.9");
        let (text, references) = cut_from(&with_endbr(), &new);
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
    fn a_new_per_cpu_variable_is_where_the_loader_looks_for_it() {
        let new = OLD.replace("\tnop\n", "\tincl\t%gs:reads(%rip)\n")
            + "\t.section\t.data..percpu..read_mostly,\"aw\"\n\t.type\treads, @object\n\t.size\treads, 4\nreads:\n\t.zero\t4\n";
        let (text, _) = cut(&new);
        assert!(text.contains("\t.section\t.data..percpu,\"aw\"\n\t.size\tklp_reads, 4\n"), "{text}");
    }

    #[test]
    fn a_constant_that_something_else_has_is_refused() {
        let table = |value: u8, more: &str| {
            format!(
                "{OLD}\t.section\t.rodata.t,\"a\"\n\t.type\tt, @object\n\t.size\tt, 4\nt:\n\t.long\t{value}\n{more}"
            )
        };
        let refused = |more: &str| {
            let (old, new) = (Listing::parse(&table(1, more)), Listing::parse(&table(2, more)));
            Extract::plan(&old, &new, &compare(&old, &new), Entry::Any).refused
        };
        // Its readers have the value in their code.
        assert_eq!(refused("\t.section\t.debug_addr,\"\",@progbits\n\t.quad\tt\n"), Vec::<String>::new());
        let other = "\t.section\t.text.h,\"ax\",@progbits\n\t.globl\th\nh:\n\tmovl\tt(%rip), %eax\n\tret\n";
        assert!(
            refused(other)[0]
                .starts_with("the constant t gets another content, and nothing that is replaced"),
            "{:?}",
            refused(other)
        );
    }

    #[test]
    fn a_call_of_itself_stays_within_the_livepatch() {
        let new = OLD.replace("f:\n\tnop\n", "f:\n\tcall\tf\n").replace("\tmovq\t$f, %rax\n", "");
        let (text, references) = cut(&new.replace("f.cold:\n\tud2\n", "f.cold:\n\tjmp\tf\n"));
        assert_eq!(references, ["count.3=count.3", "g=g"]);
        assert!(text.contains("\tcall\tklp_f\n") && text.contains("klp_f.cold:\n\tjmp\tklp_f\n"), "{text}");
        // Its address is what the kernel knows.
        let (text, references) = cut_from(&with_endbr(), &OLD.replace("f:\n\tnop\n", "f:\n\tcall\tf\n"));
        assert_eq!(references, ["count.3=count.3", "f=f", "g=g"]);
        assert!(text.contains("\tcall\tklp_f\n") && text.contains("\tmovq\t$<f>, %rax\n"), "{text}");
    }

    #[test]
    fn a_pointer_leads_to_where_the_processor_lets_it() {
        let told = |old: &str| {
            let new = OLD.replace("f:\n\tnop\n", "f:\n\tud2\n");
            let (old, new) = (Listing::parse(old), Listing::parse(&new));
            let changes = compare(&old, &new);
            let mut extract = Extract::plan(&old, &new, &changes, Entry::Endbr);
            extract.resolve();
            (extract.text("klp_", |name| format!("<{name}>")), extract.notes.clone())
        };
        let (text, notes) = told(OLD);
        assert!(text.contains("\tmovq\t$klp_f, %rax\n"), "{text}");
        assert!(notes[0].starts_with("f is the livepatch's own, and its address is given away"), "{notes:?}");
        let (text, notes) = told(&with_endbr());
        assert!(text.contains("\tmovq\t$<f>, %rax\n") && notes.is_empty(), "{text}\n{notes:?}");
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
        let extract = Extract::plan(&old, &new, &changes, Entry::Endbr);
        assert_eq!(extract.refused, ["the callback g has to be a function that the patches add"]);
    }

    #[test]
    fn what_is_taken_away_outside_of_functions_is_told() {
        let refused = |old: &str, new: &str| {
            let (old, new) = (Listing::parse(old), Listing::parse(new));
            let changes = compare(&old, &new);
            let extract = Extract::plan(&old, &new, &changes, Entry::Endbr);
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
        let extract = Extract::plan(&old, &new, &changes, Entry::Endbr);
        assert_eq!(
            extract.all_without_effect(true),
            ["g is __exit: no livepatch can replace it, and what runs when its module goes is the old one"]
        );
        assert_eq!(
            extract.all_without_effect(false),
            ["g is __exit: vmlinux does not keep what only a module that goes runs"]
        );
    }

    #[test]
    fn init_functions_have_no_effect() {
        let old = OLD.replace(".text.g,", ".init.text,");
        let new = old.replace("\tret\n", "\tnop\n\tret\n");
        let (old, new) = (Listing::parse(&old), Listing::parse(&new));
        let changes = compare(&old, &new);
        let extract = Extract::plan(&old, &new, &changes, Entry::Endbr);
        assert!(extract.is_empty());
        assert_eq!(
            extract.all_without_effect(true),
            [
                "g is __init: no livepatch replaces it, and what a module that is loaded later runs is the old one"
            ]
        );
        let of_vmlinux = extract.all_without_effect(false);
        assert_eq!(of_vmlinux, ["g is __init: it ran when the kernel began, and is gone"]);
    }
}
