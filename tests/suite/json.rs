// SPDX-License-Identifier: GPL-2.0-only
//! What programs are told: docs/json.md has each field that is printed, with its type, and none that is not; and the other
//! forms, for code review and for CI.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use klpbuild::frompatch::report::{
    Accounted, Changed, CompiledFile, LivepatchReport, NewSymbol, ReportedCallback, UnexportedReference,
};
use klpbuild::host::document;
use serde_json::Value;

use crate::doubts;
use crate::installed::Distribution;
use crate::objtree::{ObjTree, X86_64};
use crate::patches;
use crate::sarif;
use crate::show;
use crate::space::{Ran, Space};
use crate::trial::{BOOT, DISABLE, LOAD, played};

/// The tables of docs/json.md: the fields of each, with their types.
type Tables = BTreeMap<String, BTreeMap<String, String>>;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn tables() -> Tables {
    let mut tables = Tables::new();
    let mut name = String::new();
    for line in read("docs/json.md").lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            heading.clone_into(&mut name);
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.trim_end_matches(" |").splitn(3, " | ").collect();
            let [field, kind, meaning] = cells.as_slice() else { panic!("{line}") };
            assert!(!meaning.is_empty(), "{line}");
            let field = field.trim_end_matches('`').to_owned();
            assert_eq!(
                tables.entry(name.clone()).or_default().insert(field, (*kind).to_owned()),
                None,
                "{line}"
            );
        }
    }
    tables
}

/// Holds what is printed against the tables.
struct Check {
    tables: Tables,
    /// What was printed: table and field.
    seen: BTreeSet<(String, String)>,
}

impl Check {
    fn document(&mut self, text: &str) {
        let mut value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(value["schema"], document::SCHEMA);
        let command = value["command"].as_str().unwrap().to_owned();
        let all = value.as_object_mut().unwrap();
        let head: Vec<String> = self.tables["head"].keys().cloned().collect();
        let head = head.iter().map(|field| (field.clone(), all.remove(field).unwrap())).collect();
        self.value("head", &Value::Object(head), "head");
        self.value(&command, &value, &command);
    }

    fn value(&mut self, kind: &str, value: &Value, place: &str) {
        if let Some(kind) = kind.strip_suffix(" or null") {
            if !value.is_null() {
                self.value(kind, value, place);
            }
            return;
        }
        if let Some(kind) = kind.strip_prefix("list of ") {
            let all = value.as_array().unwrap_or_else(|| panic!("{place} is no list: {value}"));
            return all.iter().for_each(|one| self.value(kind, one, place));
        }
        match kind {
            "string" => assert!(value.is_string(), "{place}: {value}"),
            "boolean" => assert!(value.is_boolean(), "{place}: {value}"),
            "number" => {
                // What a double holds.
                assert!(value.as_f64().is_some_and(|number| number < 2f64.powi(53)), "{place}: {value}");
            }
            table => {
                let fields =
                    self.tables.get(table).unwrap_or_else(|| panic!("{place}: no table {table}")).clone();
                let all = value.as_object().unwrap_or_else(|| panic!("{place} is no object: {value}"));
                assert_eq!(all.keys().collect::<BTreeSet<_>>(), fields.keys().collect(), "{place}");
                for (field, kind) in &fields {
                    self.seen.insert((table.to_owned(), field.clone()));
                    self.value(kind, &all[field], &format!("{place}.{field}"));
                }
            }
        }
    }
}

/// A trial in which all kinds of stages come up.
fn trial(format: &str) -> Ran {
    let console = format!(
        "{BOOT}@T begin command before\r\n@T output <a>\r\n@T end ok\r\n{LOAD}@T begin reload mod.ko\r\n@T end skipped why \
         not\r\n@T begin command enabled\r\n@T output <b>\r\n@T end ok\r\n@T begin disable lp\r\n@T kernel <4>a & b\r\n@T end \
         failed it stays\r\n@T done\r\n"
    );
    played(console, &["lp.ko", "--run", "x", "--format", format]).ends(1)
}

fn report() -> LivepatchReport {
    let text = |text: &str| text.to_owned();
    let (file, object, name) = (text("fs/a.c"), text("vmlinux"), text("f"));
    LivepatchReport {
        name: text("lp"),
        livepatch: Some("lp.ko".into()),
        kernel: text("6.12"),
        build_id: Some(text("c0ffee")),
        patches: vec![text("a.patch")],
        replaces_all: true,
        compiled: vec![CompiledFile { path: file.clone(), object: object.clone() }],
        changed: vec![Changed {
            object: object.clone(),
            name: name.clone(),
            sympos: 0,
            file: file.clone(),
            why: text("its code differs"),
        }],
        callbacks: vec![ReportedCallback {
            object: object.clone(),
            moment: "pre_patch",
            name: name.clone(),
            file: file.clone(),
        }],
        new: vec![NewSymbol { name: name.clone(), kind: "function", file: file.clone() }],
        references: vec![UnexportedReference { object, name: name.clone(), sympos: 1, file: file.clone() }],
        hunks: vec![Accounted { file: file.clone(), line: 3, changes: vec![name], no_effect: None }],
        ignored: vec![(file, text("not built"))],
        notes: vec![text("a note")],
        equal: 4,
        seconds: 1.5,
    }
}

#[test]
fn each_field_is_documented_and_each_documented_field_is_there() {
    let mut check = Check { tables: tables(), seen: BTreeSet::new() };
    let shown = show::tree();
    for verb in ["verify", "show"] {
        check.document(&shown.klpbuild(&[verb, "in.ko", "--format", "json"]).ok().stdout);
    }
    let tree = ObjTree::new(X86_64);
    check.document(&tree.klpbuild(&["lookup", "unique", "uniqe", "--format", "json"]).ends(1).stdout);
    let doubtful = doubts::tree(&[]);
    let code = "extern int first(int value);\nstatic int new_first(int value) { return first(value); }\n";
    doubts::livepatch(&doubtful, code, &[("first", "new_first")], &[], &["-g"]);
    check.document(&doubtful.klpbuild(&["convert", "in.ko", "--format", "json"]).ok().stdout);
    let distribution = Distribution::install();
    for verb in ["kernels", "doctor"] {
        check.document(&distribution.klpbuild(&[verb, "--format", "json"]).stdout);
    }
    let space = Space::configured("era-c");
    check.document(&space.klpbuild(&["modules", "O=../obj", "--format", "json"]).ok().stdout);
    check.document(&trial("json").stdout);
    check.document(&document::text("livepatch", &report()).unwrap());
    let source = patches::source("from-6.1");
    check.document(&patches::patches(&source, &["check", "--format", "json"]).ok().stdout);
    let documented: BTreeSet<(String, String)> = check
        .tables
        .iter()
        .flat_map(|(table, fields)| fields.keys().map(move |field| (table.clone(), field.clone())))
        .collect();
    assert_eq!(check.seen, documented);
}

#[track_caller]
fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

#[test]
fn lookup_tells_programs_what_to_paste() {
    let tree = ObjTree::new(X86_64);
    let told = json(&tree.klpbuild(&["lookup", "unique", "--format", "json"]).ok());
    let unique = &told["definitions"][0];
    assert_eq!(unique["address"], "0xffffffff81000005");
    assert_eq!(unique["klp_func"], ".old_name = \"unique\", .old_sympos = 0");
    let line = "static KLP_MODULE_RELOC(vmlinux) unique_reloc[] = { KLP_SYMPOS(unique, 0) };";
    assert_eq!((&unique["klp_sympos"], &unique["refused"]), (&line.into(), &Value::Null));
}

#[test]
fn a_build_and_a_conversion_are_summed_up() {
    let space = Space::configured("era-c");
    let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m", "--format", "json"]).ok();
    let told = json(&ran);
    assert_eq!((&told["succeeded"], &told["external"]), (&true.into(), &false.into()));
    let livepatches = told["livepatches"].as_array().unwrap();
    assert!(livepatches.contains(&"samples/livepatch/lp-known.ko".into()), "{told}");
    let names = space.read("obj/Symbols.list").lines().skip(1).filter(|line| !line.starts_with('*')).count();
    assert_eq!(told["names"], names);
    // One that fails tells nothing of an earlier one.
    let told = json(&space.klpbuild(&["modules", "O=../obj", "BROKEN=1", "--format", "json"]).ends(2));
    assert_eq!((&told["succeeded"], &told["names"]), (&false.into(), &Value::Null));
    let tree = ObjTree::with_livepatch(X86_64);
    let convert = |more: &[&str]| {
        json(&tree.klpbuild(&[&["convert", "in.ko", "--format", "json"], more].concat()).ok())
    };
    let dry = convert(&["--dry-run"]);
    assert_eq!(
        (&dry["output"], &dry["converted"], &dry["dry_run"]),
        (&Value::Null, &true.into(), &true.into())
    );
    let told = convert(&["-o", "out.ko"]);
    assert_eq!((&told["output"], &told["relocations"]), (&"out.ko".into(), &dry["relocations"]));
    assert!(told["relocations"].as_u64().unwrap() > 0 && tree.path("out.ko").is_file());
    tree.convert(&["--livepatches", "--format", "json"])
        .ends(1)
        .says(&["--livepatches has no --format json"]);
}

#[test]
fn trials_are_told_in_all_forms() {
    let told = json(&trial("json"));
    assert_eq!((&told["verdict"], &told["reason"]), (&"fails".into(), &"disable lp: it stays".into()));
    let stages = told["stages"].as_array().unwrap();
    let ends: Vec<String> =
        stages.iter().map(|s| format!("{} {}", s["stage"], s["verdict"]).replace('"', "")).collect();
    let expected = [
        "boot ok",
        "command before ok",
        "load lp.ko ok",
        "transition to lp ok",
        "reload mod.ko skipped",
        "command while enabled ok",
        "disable lp failed",
    ];
    assert_eq!(ends, expected);
    assert_eq!((&stages[1]["output"][0], &stages[6]["log"][0]), (&"<a>".into(), &"a & b".into()));
    let expected = "\
KTAP version 1
1..1
  KTAP version 1
  # Subtest: klpbuild try lp.ko
  1..7
  ok 1 boot
  # | <a>
  ok 2 command before
  #   livepatch: enabling patch 'lp'
  ok 3 load lp.ko
  ok 4 transition to lp
  ok 5 reload mod.ko # SKIP why not
  # | <b>
  ok 6 command while enabled
  #   a & b
  # failed: it stays
  not ok 7 disable lp
not ok 1 klpbuild try lp.ko
";
    assert_eq!(trial("ktap").stdout, expected);
    let xml = trial("junit").stdout;
    assert!(xml.contains("<failure message=\"it stays\">a &amp; b</failure>"), "{xml}");
    assert!(xml.contains("tests=\"7\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
    let console = format!("{BOOT}{LOAD}{DISABLE}@T done\r\n");
    let works = json(&played(console, &["lp.ko", "--format", "json"]).ok());
    assert_eq!((&works["verdict"], &works["reason"]), (&"works".into(), &Value::Null));
    let refused = json(&played("", &["none.ko", "--format", "json"]).ends(2));
    assert_eq!(refused["verdict"], "untried");
    assert!(refused["reason"].as_str().unwrap().contains("none.ko: no such module"), "{refused}");
}

/// A log of findings, which the standard's rules hold for.
fn sarif_of(ran: &Ran) -> Value {
    let log = json(ran);
    if let Err(fault) = sarif::check(&log) {
        panic!("{fault}: {log}");
    }
    log
}

#[test]
fn findings_are_told_to_code_review() {
    let tree = doubts::tree(&[]);
    let code = "extern int first(int value);\nstatic int new_first(int value) { return first(value); }\n";
    doubts::livepatch(&tree, code, &[("first", "new_first")], &[], &["-g"]);
    tree.convert(&["in.ko"]).ok();
    let log = sarif_of(&tree.klpbuild(&["verify", "in.ko", "--format", "sarif"]).ok());
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let plain = json(&tree.klpbuild(&["verify", "in.ko", "--format", "json"]).ok());
    let findings = plain["livepatches"][0]["findings"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert!(!findings.is_empty() && findings.len() == results.len(), "{log}");
    for (finding, result) in findings.iter().zip(results) {
        assert_eq!((&finding["rule"], &finding["level"]), (&result["ruleId"], &result["level"]));
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert_eq!(result["analysisTarget"]["uri"], "in.ko");
        assert_eq!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"], finding["place"]);
    }
    let place = |result: &Value| result["locations"][0]["physicalLocation"].clone();
    let of_source = results.iter().map(place).find(|place| place["artifactLocation"]["uri"] == "livepatch.c");
    let source = String::from_utf8(tree.bytes("livepatch.c")).unwrap();
    let line = 1 + source.lines().position(|line| line.contains("return first(value)")).unwrap();
    assert_eq!(of_source.unwrap_or_else(|| panic!("{log}"))["region"]["startLine"], line);
    // The livepatch, where the source is not at hand.
    fs::remove_file(tree.path("livepatch.c")).unwrap();
    let log = sarif_of(&tree.klpbuild(&["verify", "in.ko", "--format", "sarif"]).ok());
    let places = log["runs"][0]["results"].as_array().unwrap().iter().map(place);
    places.for_each(|place| assert_eq!(place, serde_json::json!({ "artifactLocation": { "uri": "in.ko" } })));
    let log = sarif_of(&tree.klpbuild(&["verify", "none.ko", "--format", "sarif"]).ends(2));
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!((&invocation["executionSuccessful"], &invocation["exitCode"]), (&false.into(), &2.into()));
    let said = invocation["toolExecutionNotifications"][0]["message"]["text"].as_str().unwrap();
    assert!(said.contains("none.ko"), "{log}");
}

/// What GitHub's runner reads of a line with docs/problem-matcher.json.
fn matched(line: &str) -> Option<Vec<(String, String)>> {
    let matchers: Value = serde_json::from_str(&read("docs/problem-matcher.json")).unwrap();
    matchers["problemMatcher"].as_array().unwrap().iter().find_map(|matcher| {
        let pattern = matcher["pattern"][0].as_object().unwrap();
        let groups = regex::Regex::new(pattern["regexp"].as_str().unwrap()).unwrap().captures(line)?;
        let group = |number: &Value| groups[usize::try_from(number.as_u64().unwrap()).unwrap()].to_owned();
        let named = pattern.iter().filter(|(name, _)| *name != "regexp");
        Some(named.map(|(name, number)| (name.clone(), group(number))).collect())
    })
}

#[test]
fn the_problem_matcher_reads_what_is_said() {
    let read = |line: &str| {
        let all: BTreeMap<String, String> =
            matched(line).unwrap_or_else(|| panic!("{line}")).into_iter().collect();
        let word = |name: &str| all.get(name).cloned().unwrap_or_default();
        (word("file"), word("severity"), word("code"), word("message"))
    };
    let tree = doubts::tree(&[]);
    let code = "extern int first(int value);\nstatic int new_first(int value) { return first(value); }\n";
    doubts::livepatch(&tree, code, &[("first", "new_first")], &[], &["-g"]);
    let ran = tree.convert(&["in.ko"]).ok();
    let (file, severity, _, message) = read(ran.stderr.lines().next().unwrap());
    assert_eq!((file.as_str(), severity.as_str()), ("in.ko", "warning"));
    assert!(message.starts_with("klp_func vmlinux:first,0: "), "{message}");
    let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
    let finding = ran.stdout.lines().next().unwrap();
    let (file, severity, code, message) = read(finding);
    assert_eq!((file.as_str(), severity.as_str(), code.as_str()), ("in.ko", "warning", "R15"));
    assert!(finding.ends_with(&message) && message.starts_with("klp_func vmlinux:first,0: "), "{message}");
    let (file, severity, _, message) = read(tree.klpbuild(&["verify", "none.ko"]).ends(2).stderr.trim_end());
    assert_eq!((file.as_str(), severity.as_str()), ("", "error"));
    assert!(message.contains("none.ko"), "{message}");
    // What is no problem is none.
    assert_eq!(matched(ran.stdout.lines().last().unwrap()), None);
}
