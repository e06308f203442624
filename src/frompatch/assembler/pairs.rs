// SPDX-License-Identifier: GPL-2.0-only
//! Which variable or constant of the patched unit is which of the unpatched one. The compiler appends numbers to
//! statics that share a name; the functions that use them, and the order of their use, tell which is which. If these
//! do not tell, klpbuild does not guess.

use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::line::names;
use crate::frompatch::assembler::sections::is_book_keeping;
use crate::frompatch::assembler::{Listing, base};

/// Which variable or constant is which.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// By the name in the patched unit: the name in the unpatched one. A name that is not here is new.
    pub(super) by_new: BTreeMap<String, String>,
    /// Names that several variables share, if nothing tells which is which.
    pub(super) unclear: BTreeSet<String>,
    /// By a variable's name: the function that has it no more, and the new one that has one of this name instead. It counts
    /// as moved along.
    pub(super) moved: BTreeMap<String, (String, String)>,
    /// Names of which one function has several variables: the order of use tells which is which, if blocks keep theirs.
    pub(super) by_order: BTreeSet<String>,
}

/// By user: the names it uses, in the order of first use.
type Uses = BTreeMap<String, Vec<String>>;

/// The variables and constants that have a name in common, in one unit.
#[derive(Debug, Default)]
struct Group {
    names: Vec<String>,
    uses: Uses,
    /// Whether one of them is still there after the kernel's initialisation.
    lasts: bool,
    /// Whether one of them may be written to as well.
    is_variable: bool,
}

impl Group {
    /// Whether one function, or one variable's content, has several of them, and they are variables.
    fn has_several_in_one(&self) -> bool {
        self.is_variable && self.uses.values().any(|names| names.len() > 1)
    }
}

impl Pairs {
    /// Finds out which variable or constant is which.
    pub(super) fn of(old: &Listing, new: &Listing) -> Pairs {
        let mut pairs = Pairs::default();
        let (before, after) = (groups(old), groups(new));
        let nothing = Group::default();
        let is_by_order = |key: &&String| {
            let both = [before.get(*key), after.get(*key)];
            both.iter().all(Option::is_some) && both.into_iter().flatten().any(Group::has_several_in_one)
        };
        pairs.by_order = after.keys().filter(is_by_order).map(|key| in_common(key).to_owned()).collect();
        for (key, group) in &after {
            let other = before.get(key).unwrap_or(&nothing);
            let is_there = |user: &String, listing: &Listing| listing.is_function(user);
            let is_kept = |user: &String| is_there(user, old) && is_there(user, new);
            if let Some(users) = moved(other, group, is_kept) {
                pairs.moved.insert(in_common(key).to_owned(), users);
            }
            match pair(other, group, is_kept) {
                Some(found) => pairs.by_new.extend(found),
                None if group.lasts => drop(pairs.unclear.insert(key.clone())),
                None => {}
            }
        }
        pairs.add_other_labels(old, new);
        pairs
    }

    /// Adds the further names that assembler in the source gives to a variable.
    fn add_other_labels(&mut self, old: &Listing, new: &Listing) {
        let mut more = BTreeMap::new();
        for (name, other) in &self.by_new {
            let [Some(piece), Some(before)] =
                [(new, name), (old, other)].map(|(listing, name)| listing.piece(name))
            else {
                continue;
            };
            let rest = piece.labels.iter().filter(|label| !label.starts_with(".L") && *label != name);
            more.extend(rest.filter(|label| before.labels.contains(label)).map(|l| (l.clone(), l.clone())));
        }
        self.by_new.extend(more);
    }
}

/// The name shared by statics that the compiler had to keep apart: gcc numbers all of them, clang all but the first.
fn key(name: &str) -> String {
    // BTF_ID of include/linux/btf_ids.h numbers names across a whole unit.
    if name.starts_with("__BTF_ID__") {
        name.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_owned()
    // A variable of that name that is no static of a function does not belong to the group.
    } else if base(name) == name {
        name.to_owned()
    } else if base(name).contains('.') {
        base(name).to_owned()
    } else {
        format!("{}.", base(name))
    }
}

/// The name that a [`key`] is for.
pub(super) fn in_common(key: &str) -> &str {
    key.trim_end_matches('.')
}

fn groups(listing: &Listing) -> BTreeMap<String, Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (name, piece) in listing.data() {
        if !listing.is_own(name) {
            let group = groups.entry(key(name)).or_default();
            group.names.push(name.to_owned());
            let lasts = !piece.is_init() && !is_book_keeping(&piece.section);
            group.lasts |= lasts;
            group.is_variable |= lasts && !piece.is_constant();
        }
    }
    let known: BTreeMap<String, String> = groups
        .iter()
        .flat_map(|(key, group)| group.names.iter().map(move |name| (name.clone(), key.clone())))
        .collect();
    let functions = listing.functions().map(|name| (name.to_owned(), listing.pieces_of(name)));
    let data = listing.data().filter(|(name, _)| !listing.is_own(name));
    let data =
        data.filter_map(|(name, _)| Some((format!("data {}", base(name)), vec![listing.piece_of(name)?])));
    for (user, pieces) in functions.chain(data) {
        for name in used(listing, &pieces) {
            let group = known.get(&name).and_then(|key| groups.get_mut(key));
            let uses = group.map(|group| group.uses.entry(user.clone()).or_default());
            if let Some(uses) = uses.filter(|uses| !uses.contains(&name)) {
                uses.push(name);
            }
        }
    }
    groups
}

/// The names that pieces use, in order of use; of a piece without a name, the names that it uses count instead.
pub(super) fn used(listing: &Listing, pieces: &[usize]) -> Vec<String> {
    let mut all = Vec::new();
    let mut seen: BTreeSet<usize> = pieces.iter().copied().collect();
    let mut waiting: Vec<usize> = pieces.iter().rev().copied().collect();
    while let Some(piece) = waiting.pop().and_then(|index| listing.pieces.get(index)) {
        let mut further = Vec::new();
        for name in piece.lines.iter().flat_map(|line| names(line)) {
            if name.starts_with(".L") || listing.is_own(&name) {
                let index = listing.piece_of(&name);
                let index =
                    index.filter(|&index| listing.pieces.get(index).is_some_and(|piece| !piece.is_code()));
                further.extend(index.filter(|&index| seen.insert(index)));
            } else if piece.symbol.as_ref() != Some(&name) {
                all.push(name);
            }
        }
        waiting.extend(further.into_iter().rev());
    }
    all
}

/// The function that used the one variable of a group, and is still there, and the new one that uses that of the other
/// group: whether it is the same variable, nothing tells.
fn moved(old: &Group, new: &Group, is_kept: impl Fn(&String) -> bool) -> Option<(String, String)> {
    let ([_], [name]) = (old.names.as_slice(), new.names.as_slice()) else { return None };
    let is_static_local = base(name) != name && new.is_variable;
    let has_common = old.uses.keys().any(|user| new.uses.contains_key(user));
    let before = old.uses.keys().find(|user| is_kept(user))?;
    let after = new.uses.keys().find(|user| !is_kept(user) && !user.starts_with("data "))?;
    (is_static_local && !has_common).then(|| (before.clone(), after.clone()))
}

/// The pairs of a group; none if nothing tells. `is_kept` says whether both units have a user.
fn pair(old: &Group, new: &Group, is_kept: impl Fn(&String) -> bool) -> Option<BTreeMap<String, String>> {
    if let ([old_name], [new_name]) = (old.names.as_slice(), new.names.as_slice()) {
        let is_moved = base(new_name) != new_name
            && !old.uses.keys().any(|user| new.uses.contains_key(user))
            && old.uses.keys().any(&is_kept)
            && new.uses.keys().any(&is_kept);
        return (!is_moved).then(|| BTreeMap::from([(new_name.clone(), old_name.clone())]));
    }
    if old.names.is_empty() {
        return Some(BTreeMap::new());
    }
    let mut found = BTreeMap::new();
    // First only users with as many names as before: the pairs found there help with the others.
    for only_equal in [true, false] {
        for (user, names) in &new.uses {
            let Some(others) = old.uses.get(user) else { continue };
            if only_equal != (names.len() == others.len()) {
                continue;
            }
            let (names, others) =
                if only_equal { (names.clone(), others.clone()) } else { open(names, others, &found) };
            if order(&names) != order(&others) {
                return None;
            }
            for (name, other) in names.into_iter().zip(others) {
                if found.entry(name).or_insert_with(|| other.clone()) != &other {
                    return None;
                }
            }
        }
    }
    let (names, others) = open(&new.names, &old.names, &found);
    let is_used = |uses: &Uses, name: &String| uses.values().any(|all| all.contains(name));
    if names.len() == others.len()
        && !names.iter().any(|name| is_used(&new.uses, name))
        && !others.iter().any(|name| is_used(&old.uses, name))
    {
        found.extend(names.into_iter().zip(others));
    } else if !names.is_empty() && !others.is_empty() {
        return None;
    }
    let distinct: BTreeSet<&String> = found.values().collect();
    (distinct.len() == found.len()).then_some(found)
}

/// The names of both sides that have no pair yet.
fn open(names: &[String], others: &[String], found: &BTreeMap<String, String>) -> (Vec<String>, Vec<String>) {
    let names = names.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
    let others =
        others.iter().filter(|other| !found.values().any(|known| known == *other)).cloned().collect();
    (names, others)
}

/// For each name its rank among the others by number: the ranks have to be as before, or the order of use says
/// nothing.
fn order(names: &[String]) -> Vec<usize> {
    let number = |name: &String| -> Option<u64> {
        name.rsplit_once('.').and_then(|(base, number)| (!base.is_empty()).then(|| number.parse().ok())?)
    };
    names.iter().map(|name| names.iter().filter(|other| number(other) < number(name)).count()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(first: &str, second: &str) -> Listing {
        let data = |name: &str| {
            format!(
                "\t.section\t.bss.{name},\"aw\",@nobits\n\t.type\t{name}, @object\n\t.size\t{name}, 4\n{name}:\n\t.zero\t4\n"
            )
        };
        let code = format!(
            "\t.section\t.text.f,\"ax\",@progbits\n\t.type\tf, @function\nf:\n\tmovq\t$n.1, %rdi\n\tcall\t{first}\n\
             \tmovq\t$n.0, %rdi\n\tcall\t{second}\n\tret\n\t.size\tf, .-f\n"
        );
        Listing::parse(&format!("{code}{}{}", data("n.0"), data("n.1")))
    }

    #[test]
    fn what_is_told_by_the_order_of_use_is_known() {
        let (old, new) = (listing("g", "h"), listing("h", "g"));
        let pairs = Pairs::of(&old, &new);
        assert_eq!(pairs.by_new.len(), 2);
        assert_eq!(pairs.by_order.into_iter().collect::<Vec<_>>(), ["n"]);
    }
}
