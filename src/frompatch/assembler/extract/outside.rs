// SPDX-License-Identifier: GPL-2.0-only
//! What the source says to the assembler outside of functions.

use std::collections::BTreeMap;

use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::extract::Extract;
use crate::frompatch::assembler::line::{label, rewrite};

impl Extract<'_> {
    /// Takes the lines that the patch adds outside of functions.
    pub(super) fn outside(&mut self, old: &Listing, new: &Listing) {
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
        self.refused.extend(exchanged(old, new));
        self.without_effect.dedup();
        if has_initcall {
            self.without_effect.push("a new initcall: the kernel has begun long ago".to_owned());
        }
    }
}

/// A refusal for each section whose lines from outside of functions are the same ones in another order: where they
/// stand tells what they do.
fn exchanged(old: &Listing, new: &Listing) -> Vec<String> {
    let (before, after) = (by_section(old), by_section(new));
    let is_exchanged = |(section, lines): &(&&str, &Vec<String>)| {
        let [mut one, mut other] = [before.get(**section).cloned().unwrap_or_default(), (*lines).clone()];
        let is_same = one == other;
        one.sort();
        other.sort();
        !is_same && one == other
    };
    let exchanged = after.iter().filter(is_exchanged);
    exchanged
        .map(|(section, _)| {
            format!("what stands in {section} outside of functions changes its order: the kernel keeps the old one")
        })
        .collect()
}

/// The lines outside of functions that do something where they stand, by section.
fn by_section(listing: &Listing) -> BTreeMap<&str, Vec<String>> {
    let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (section, line) in listing.all_outside() {
        let is_elsewhere = ["export_symbol", "ksymtab", "initcall"].iter().any(|word| section.contains(word));
        if !is_elsewhere && (!is_frame(line) || label(line).is_some()) {
            all.entry(section).or_default().push(plain(line));
        }
    }
    all
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
