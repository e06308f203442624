// SPDX-License-Identifier: GPL-2.0-only
//! Why a function changed: its own text, or a function or macro that it inlines or uses, as far as source and
//! assembler tell.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::frompatch::assembler::Listing;
use crate::frompatch::assembler::extract::source_name;
use crate::frompatch::compile::{self, Trees};
use crate::frompatch::outline::DefinitionKind;
use crate::frompatch::system_call;
use crate::frompatch::takeover::mentions::Mentions;
use crate::frompatch::units::Unit;

/// What the patches touch in the files that a unit is compiled with.
#[derive(Debug)]
pub struct Reasons<'a> {
    touched: BTreeMap<String, DefinitionKind>,
    /// The unit, whose text is read if there may be several reasons.
    unit: Option<(&'a Unit, Trees<'a>)>,
    mentions: OnceCell<Mentions>,
}

impl<'a> Reasons<'a> {
    /// The reasons in a unit in which the patches touch the definitions `touched`.
    pub fn new(touched: BTreeMap<String, DefinitionKind>, unit: &'a Unit, trees: Trees<'a>) -> Reasons<'a> {
        Reasons { touched, unit: Some((unit, trees)), mentions: OnceCell::new() }
    }

    /// Why the function `name` changed: the comparison's reason `told`, or else the changed definitions that it uses.
    pub fn of(&self, name: &str, told: &str, listing: &Listing) -> String {
        let source = system_call::as_written(source_name(name));
        if self.touched.contains_key(source) {
            return "its own text".to_owned();
        }
        if !told.is_empty() {
            return told.to_owned();
        }
        // A function with a body of its own is seldom inlined.
        let is_apart = |other: &str| listing.is_function(other) && listing.refers(name, other);
        let rest: Vec<(&String, &DefinitionKind)> =
            self.touched.iter().filter(|(other, _)| !is_apart(other)).collect();
        let rest = if rest.is_empty() { self.touched.iter().collect() } else { rest };
        if rest.len() < 2 {
            return in_words(&rest, " or ");
        }
        let mentions = self.mentions.get_or_init(|| self.read());
        let reached: BTreeSet<&str> = mentions.reached(source_name(name), is_apart);
        let known: Vec<(&String, &DefinitionKind)> =
            rest.iter().copied().filter(|(other, _)| reached.contains(other.as_str())).collect();
        if known.is_empty() { in_words(&rest, " or ") } else { in_words(&known, " and ") }
    }

    fn read(&self) -> Mentions {
        let text = self
            .unit
            .and_then(|(unit, trees)| compile::lines_of_patched(unit, trees, &["-fdirectives-only"]).ok());
        text.map(|text| Mentions::of(&text)).unwrap_or_default()
    }
}

fn in_words(all: &[(&String, &DefinitionKind)], between: &str) -> String {
    let of = |is_meant: fn(DefinitionKind) -> bool| -> Vec<&str> {
        all.iter().filter(|(_, kind)| is_meant(**kind)).map(|(name, _)| name.as_str()).collect()
    };
    let (functions, others) =
        (of(|kind| kind == DefinitionKind::Function), of(|kind| kind != DefinitionKind::Function));
    if functions.is_empty() && others.is_empty() {
        return "what it includes is changed".to_owned();
    }
    let told =
        [("it inlines", functions), ("it uses", others)].into_iter().filter(|(_, all)| !all.is_empty());
    let told = told.map(|(verb, all)| format!("{verb} {}", all.join(between)));
    told.collect::<Vec<_>>().join(&format!(",{between}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(touched: &[(&str, DefinitionKind)], text: &str) -> Reasons<'static> {
        let mentions = OnceCell::from(Mentions::of(text));
        let touched = touched.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
        Reasons { touched: touched.collect(), unit: None, mentions }
    }

    #[test]
    fn the_reason_names_what_was_touched() {
        let touched = [
            ("f", DefinitionKind::Function),
            ("helper", DefinitionKind::Function),
            ("sys_x", DefinitionKind::Function),
            ("LIMIT", DefinitionKind::Macro),
        ];
        let listing = Listing::default();
        let unknown = reasons(&touched, "");
        assert_eq!(unknown.of("f.constprop.0", "", &listing), "its own text");
        assert_eq!(unknown.of("__se_sys_x", "", &listing), "its own text");
        assert_eq!(unknown.of("g", "it uses the constant table", &listing), "it uses the constant table");
        assert_eq!(unknown.of("g", "", &listing), "it inlines f or helper or sys_x, or it uses LIMIT");
        let only = reasons(&[("LIMIT", DefinitionKind::Macro)], "");
        assert_eq!(only.of("g", "", &listing), "it uses LIMIT");
        assert_eq!(reasons(&[], "").of("g", "", &listing), "what it includes is changed");
    }

    #[test]
    fn the_text_tells_which_of_several_it_is() {
        let text = "#define LIMIT 3\n#define OTHER 4\nstatic inline int helper(void) { return OTHER; }\nint f(void) { return LIMIT; }\n\
            int g(void) { return helper(); }\nint h(void) { return f(); }\n";
        let all = [
            ("LIMIT", DefinitionKind::Macro),
            ("OTHER", DefinitionKind::Macro),
            ("helper", DefinitionKind::Function),
        ];
        let all = reasons(&all, text);
        let listing = Listing::parse(
            "\t.section\t.text.h,\"ax\",@progbits\n\t.type\th, @function\nh:\n\tjmp\tf\n\t.size\th, .-h\n\
             \t.section\t.text.f,\"ax\",@progbits\n\t.type\tf, @function\nf:\n\tret\n\t.size\tf, .-f\n",
        );
        assert_eq!(all.of("f", "", &listing), "it uses LIMIT");
        assert_eq!(all.of("g.part.0", "", &listing), "it inlines helper, and it uses OTHER");
        // What it calls is no part of it.
        assert_eq!(all.of("h", "", &listing), "it inlines helper, or it uses LIMIT or OTHER");
    }
}
