// SPDX-License-Identifier: GPL-2.0-only
//! The floors of the sources: no path climbs, no files use each other in a circle, and none outgrows its place.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::layers::sources;

/// The floors from the bottom. What was typed (`cli`) is read by the verbs alone.
const FLOORS: [&str; 10] =
    ["host", "debuginfo", "elf", "kernel", "livepatch", "build", "frompatch", "command", "lib", "main"];

/// The most lines a file may have, its tests apart.
const LONGEST: usize = 400;

/// The modules, each with the modules that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn floor(module: &str) -> usize {
    let folder = module.split('/').next().unwrap();
    FLOORS.iter().position(|floor| *floor == folder).unwrap_or_else(|| panic!("{module} is on no floor"))
}

/// A file's text without comments, and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n")
}

/// The paths of a `use` declaration's tree.
fn paths(tree: &str, before: &str, found: &mut Vec<String>) {
    let Some((head, rest)) = tree.trim().split_once('{') else {
        return found.push(format!("{before}{}", tree.trim().split(" as ").next().unwrap().trim()));
    };
    let inner = &rest[..rest.rfind('}').unwrap()];
    let (mut depth, mut start) = (0, 0);
    for (index, character) in inner.char_indices().chain([(inner.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..index].trim().is_empty() {
                    paths(&inner[start..index], &format!("{before}{head}"), found);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

/// What each file uses of the others. `files` are names below `src`, with their texts.
fn uses(files: &[(String, String)]) -> Uses {
    let modules: BTreeMap<&str, String> = files
        .iter()
        .map(|(name, text)| (name.strip_suffix(".rs").unwrap(), code(text)))
        .filter(|(module, _)| !module.ends_with("/tests"))
        .collect();
    let declared = Regex::new(r"\buse (crate|super)::([^;]+);").unwrap();
    let within = Regex::new(r"\b(crate|super)::([a-z_0-9]+(?:::[A-Za-z_0-9]+)*)").unwrap();
    let child = Regex::new(r"(?:^|[^:\w])([a-z_0-9]+)::").unwrap();
    let mut uses = Uses::new();
    for (&module, code) in &modules {
        let above = module.rsplit_once('/').map(|(above, _)| format!("{}::", above.replace('/', "::")));
        let base =
            |root: &str| if root == "super" { above.clone().unwrap_or_default() } else { String::new() };
        let mut named = Vec::new();
        for found in declared.captures_iter(code) {
            paths(&found[2], &base(&found[1]), &mut named);
        }
        let rest = declared.replace_all(code, "");
        named.extend(within.captures_iter(&rest).map(|found| format!("{}{}", base(&found[1]), &found[2])));
        let children =
            child.captures_iter(&rest).map(|found| format!("{}::{}", module.replace('/', "::"), &found[1]));
        named.extend(children);
        let used = named.iter().filter_map(|path| {
            let parts: Vec<&str> = path.split("::").filter(|part| *part != "self").collect();
            (1..=parts.len())
                .rev()
                .map(|length| parts[..length].join("/"))
                .find(|name| modules.contains_key(name.as_str()))
        });
        uses.insert(module.to_owned(), used.filter(|name| name != module).collect());
    }
    uses
}

/// The paths that climb.
fn climbs(uses: &Uses) -> Vec<String> {
    let all = uses.iter().flat_map(|(module, used)| used.iter().map(move |other| (module, other)));
    let is_typed = |module: &str| module == "cli" || module.starts_with("cli/");
    all.filter(|(module, other)| match (is_typed(module), is_typed(other)) {
        (true, true) => false,
        (true, false) => true,
        (false, true) => floor(module) < floor("command"),
        (false, false) => floor(other) > floor(module),
    })
    .map(|(module, other)| format!("{module} uses {other}"))
    .collect()
}

/// The verbs that use another verb. What was typed is theirs in common.
fn verbs_of_others(uses: &Uses) -> Vec<String> {
    let verb = |module: &str| Some(module.strip_prefix("command/")?.split('/').next()?.to_owned());
    let all = uses.iter().flat_map(|(module, used)| used.iter().map(move |other| (module, other)));
    all.filter(|(module, other)| {
        let (one, two) = (verb(module), verb(other));
        one.is_some() && two.as_deref().is_some_and(|two| two != "asked") && one != two
    })
    .map(|(module, other)| format!("{module} uses {other}"))
    .collect()
}

/// Modules that come back to themselves through others.
fn circles(uses: &Uses) -> BTreeSet<&str> {
    let reached = |start: &str| {
        let mut queue: Vec<&str> = uses[start].iter().map(String::as_str).collect();
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        while let Some(next) = queue.pop() {
            if reached.insert(next) {
                queue.extend(uses.get(next).into_iter().flatten().map(String::as_str));
            }
        }
        reached.contains(start)
    };
    uses.keys().map(String::as_str).filter(|module| reached(module)).collect()
}

/// The files that have outgrown their place.
fn too_long(files: &[(String, String)]) -> Vec<String> {
    let lines = |text: &str| text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count();
    files
        .iter()
        .filter(|(name, text)| !name.ends_with("tests.rs") && lines(text) > LONGEST)
        .map(|(name, text)| format!("{name}: {} lines", lines(text)))
        .collect()
}

/// The files and folders that the one above them does not tell of where it begins.
fn untold(files: &[(String, String)]) -> Vec<String> {
    let declared = Regex::new(r"(?m)^(?:pub(?:\([^)]*\))? )?mod ([a-z_0-9]+);").unwrap();
    let of_file = |(name, text): &(String, String)| {
        let told: String = text.lines().take_while(|line| line.starts_with("//")).collect();
        let is_told = |module: &str| Regex::new(&format!(r"[`@:]{module}[`(]")).unwrap().is_match(&told);
        let modules = declared.captures_iter(text).map(|found| found[1].to_owned());
        let untold = modules.filter(|module| module != "tests" && !is_told(module));
        untold.map(|module| format!("{name}: {module}")).collect::<Vec<_>>()
    };
    files.iter().flat_map(of_file).collect()
}

#[test]
fn no_import_climbs_and_no_file_outgrows_its_place() {
    let files = sources();
    let uses = uses(&files);
    assert!(uses.len() > 100 && uses.values().map(BTreeSet::len).sum::<usize>() > 500);
    let none: [&str; 0] = [];
    assert_eq!(climbs(&uses), none);
    assert_eq!(verbs_of_others(&uses), none);
    assert_eq!(circles(&uses), BTreeSet::new());
    assert_eq!(too_long(&files), none);
    assert_eq!(untold(&files), none);
}

/// What the test above would say of files that are not as they should be.
#[test]
fn what_is_out_of_place_is_seen() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [
        file("lib.rs", "use crate::command::{one, two};\n"),
        file("cli.rs", "pub struct Typed;\n"),
        file("kernel/low.rs", "use crate::{host::words, livepatch::{high::{self, Thing}}};\n"),
        file("livepatch/high.rs", "// crate::command::one\nfn f() { crate::kernel::low::g() }\n"),
        file("host/words.rs", "use crate::cli::Typed;\n"),
        file("command/one.rs", "use crate::cli::Typed;\nfn f() { part::g() }\n"),
        file("command/one/part.rs", "use super::one::Typed as Other;\n"),
        file(
            "command/two.rs",
            "use crate::command::one::part;\n#[cfg(test)]\nmod tests { use crate::main; }\n",
        ),
    ];
    let uses = uses(&files);
    assert_eq!(climbs(&uses), ["host/words uses cli", "kernel/low uses livepatch/high"]);
    assert_eq!(verbs_of_others(&uses), ["command/two uses command/one/part"]);
    let circle = ["command/one", "command/one/part", "kernel/low", "livepatch/high"];
    assert_eq!(circles(&uses), BTreeSet::from(circle.map(|name| name)));
    let long = [file("elf/long.rs", &"x\n".repeat(401)), file("elf/tests.rs", &"x\n".repeat(401))];
    assert_eq!(too_long(&long), ["elf/long.rs: 401 lines"]);
    let told = [file("elf.rs", "//! - [`one`]: told\nmod one;\npub(crate) mod two;\nmod tests;\n")];
    assert_eq!(untold(&told), ["elf.rs: two"]);
}
