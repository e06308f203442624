// SPDX-License-Identifier: GPL-2.0-only
//! The closing lines of a trial that went well.

use crate::command::trial::applied::AppliedObjects;
use crate::command::trial::module::ModuleFile;
use crate::command::trial::protocol::CommandMoment;

/// The command's output at a time, and how the command ended.
pub type CommandOutput = (CommandMoment, Vec<String>, String);

/// What was done with the livepatches. Not everything may have been done with all of them: the summary names objects
/// that were never loaded, and livepatches that stay loaded.
pub fn summary(livepatches: &[ModuleFile], applied: &AppliedObjects, unloads: bool) -> String {
    let names: Vec<&str> = livepatches.iter().map(|module| module.file.as_str()).collect();
    let unloads = unloads && livepatches.iter().any(|module| module.can_unload);
    let mut text = names.join(", ");
    text += match (names.len(), unloads) {
        (1, true) => " loads, applies, reverts and unloads",
        (1, false) => " loads, applies and reverts",
        (_, true) => " load, apply, revert and unload",
        (_, false) => " load, apply and revert",
    };
    let mut exceptions = Vec::new();
    for livepatch in livepatches {
        let (file, absent) = (&livepatch.file, applied.absent(livepatch));
        if !absent.is_empty() {
            exceptions.push(format!("{file} was not tried for {}: not there", absent.join(", ")));
        }
        exceptions.extend(livepatch.why_it_stays().map(|why| format!("{file} stays loaded: {why}")));
    }
    exceptions.extend(hidden(livepatches));
    if !exceptions.is_empty() {
        text += &format!(" ({})", exceptions.join("; "));
    }
    text
}

/// What of each livepatch did not run while a later one was there.
fn hidden(livepatches: &[ModuleFile]) -> Vec<String> {
    let pairs = livepatches
        .iter()
        .enumerate()
        .flat_map(|(index, first)| livepatches.iter().skip(index + 1).map(move |later| (first, later)));
    let told = pairs.filter_map(|(first, later)| {
        let both: Vec<&str> =
            first.replaces.intersection(&later.replaces).map(|(_, name, _)| name.as_str()).collect();
        let names = both.join(", ");
        (!both.is_empty()).then(|| {
            format!(
                "{} and {} both replace {names}: with both, only the latter's ran",
                first.file, later.file
            )
        })
    });
    told.collect()
}

/// How the command's output changed from stage to stage.
pub fn comparison(printed: &[CommandOutput]) -> Option<String> {
    let at = |when: CommandMoment| {
        printed.iter().find(|(at, ..)| *at == when).map(|(_, lines, status)| (lines, status))
    };
    let (before, enabled, after) =
        (at(CommandMoment::Before)?, at(CommandMoment::Enabled)?, at(CommandMoment::After)?);
    let mut text = match enabled == before {
        true => "the command prints the same while enabled as before".to_owned(),
        false => "the command prints something else while enabled".to_owned(),
    };
    if at(CommandMoment::Reloaded).is_some_and(|reloaded| reloaded != enabled) {
        text += ", again something else after the reload";
    }
    text += match after == before {
        true if enabled == before => ", and after",
        true => ", and after it the same as before",
        false => ", and after it not the same as before",
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(texts: &[(CommandMoment, &str, &str)]) -> Option<String> {
        let printed =
            texts.iter().map(|(when, text, status)| (*when, vec![(*text).to_owned()], (*status).to_owned()));
        comparison(&printed.collect::<Vec<_>>())
    }

    #[test]
    fn a_function_that_two_replace_is_told() {
        let livepatch = |file: &str, functions: &[&str]| {
            let replaces = functions.iter().map(|&name| ("vmlinux".to_owned(), name.to_owned(), 1)).collect();
            ModuleFile { replaces, ..ModuleFile::sample(file) }
        };
        let [a, b, c] =
            [livepatch("a.ko", &["f", "g"]), livepatch("b.ko", &["h"]), livepatch("c.ko", &["g", "h"])];
        assert_eq!(
            hidden(&[a.clone(), b, c]),
            [
                "a.ko and c.ko both replace g: with both, only the latter's ran",
                "b.ko and c.ko both replace h: with both, only the latter's ran"
            ]
        );
        assert_eq!(hidden(&[a]), Vec::<String>::new());
    }

    #[test]
    fn what_the_command_prints_is_compared() {
        use CommandMoment::{After, Before, Enabled, Reloaded};
        let same = printed(&[(Before, "a", ""), (Enabled, "a", ""), (After, "a", "")]);
        assert_eq!(same.unwrap(), "the command prints the same while enabled as before, and after");
        let good = printed(&[(Before, "a", ""), (Enabled, "b", ""), (Reloaded, "b", ""), (After, "a", "")]);
        let expected = "the command prints something else while enabled, and after it the same as before";
        assert_eq!(good.unwrap(), expected);
        let status = printed(&[(Before, "a", "status 1"), (Enabled, "a", ""), (After, "a", "status 1")]);
        assert_eq!(status.unwrap(), expected);
        let bad = printed(&[(Before, "a", ""), (Enabled, "b", ""), (Reloaded, "a", ""), (After, "c", "")]);
        let expected = "the command prints something else while enabled, again something else after the reload, \
                        and after it not the same as before";
        assert_eq!(bad.unwrap(), expected);
        assert_eq!(printed(&[(Before, "a", "")]), None);
    }

    #[test]
    fn the_summary_names_what_was_done() {
        let module = ModuleFile::sample;
        let mut applied = AppliedObjects::default();
        assert_eq!(summary(&[module("a.ko")], &applied, true), "a.ko loads, applies, reverts and unloads");
        assert_eq!(summary(&[module("a.ko")], &applied, false), "a.ko loads, applies and reverts");
        assert_eq!(
            summary(&[module("a.ko"), module("b.ko")], &applied, true),
            "a.ko, b.ko load, apply, revert and unload"
        );
        for (object, is_patched) in [("vmlinux", true), ("x", false), ("y", false), ("y", true), ("y", false)]
        {
            applied.take("a".to_owned(), object.to_owned(), is_patched);
        }
        let staying = ModuleFile { can_unload: false, ..module("a.ko") };
        assert_eq!(
            summary(&[staying], &applied, true),
            "a.ko loads, applies and reverts (a.ko was not tried for x: not there; a.ko stays loaded: it has no \
             module_exit, so that the kernel never unloads it)"
        );
    }

    #[test]
    fn what_was_never_there_is_not_applied() {
        let mut applied = AppliedObjects::default();
        let livepatch = ModuleFile::sample("a.ko");
        let why = |applied: &AppliedObjects| applied.why_nothing(std::slice::from_ref(&livepatch));
        assert!(why(&applied).unwrap().starts_with("a.ko names no object that it patches"));
        applied.take("a".to_owned(), "x".to_owned(), false);
        assert!(why(&applied).unwrap().starts_with("a.ko patches x, which was never there"));
        applied.take("b".to_owned(), "y".to_owned(), true);
        applied.take("a".to_owned(), "z".to_owned(), false);
        assert!(why(&applied).unwrap().starts_with("a.ko patches x, z, which were never there"));
        applied.take("a".to_owned(), "z".to_owned(), true);
        assert_eq!(why(&applied), None);
    }
}
