// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild lookup`.

use std::fs;

use serde_json::Value;

use crate::convert::said;
use crate::objtree::{ObjTree, X86_64, targets};

/// Runs `klpbuild lookup` in the tree and gives what people see: standard output, then standard error.
#[track_caller]
fn lookup(tree: &ObjTree, arguments: &[&str], code: i32) -> String {
    let ran = tree.klpbuild(&[&["lookup"], arguments].concat()).ends(code);
    let errors = said(tree, &ran);
    ran.stdout + &errors
}

/// Runs `klpbuild lookup` in the tree, and gives how many definitions there are of which names, and what else is said. The tables have
/// tests of their own.
#[track_caller]
fn counts(tree: &ObjTree, arguments: &[&str], code: i32) -> String {
    let text = lookup(tree, arguments, code);
    let is_told = |line: &&str| line.contains(" definition") || line.starts_with("klpbuild: ");
    text.lines().filter(is_told).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn rows(tree: &ObjTree, arguments: &[&str]) -> Vec<Value> {
    let ran = tree.klpbuild(&[&["lookup", "--format", "json"], arguments].concat()).ok();
    assert_eq!(ran.stderr, "");
    serde_json::from_str::<Value>(&ran.stdout).unwrap()["definitions"].as_array().unwrap().clone()
}

#[test]
fn one_definition() {
    let tree = ObjTree::new(X86_64);
    insta::assert_snapshot!(lookup(&tree, &["unique"], 0), @r#"
    unique: 1 definition
      object   source file  type  binding  size  address           sympos  exported
      vmlinux  kernel/a.c   FUNC  LOCAL    1     ffffffff81000005  1 of 1  no
    static KLP_MODULE_RELOC(vmlinux) unique_reloc[] = { KLP_SYMPOS(unique, 0) };
    in a klp_func: .old_name = "unique", .old_sympos = 0
    "#);
    insta::assert_snapshot!(lookup(&tree, &["exported", "target_export"], 0), @r#"
    exported: 1 definition
      object   source file  type  binding  size  address           sympos  exported
      vmlinux  -            FUNC  GLOBAL   1     ffffffff81000001  1 of 1  yes
    exported: needs no annotation; static KLP_MODULE_RELOC(vmlinux) exported_reloc[] = { KLP_SYMPOS(exported, 0) };
    in a klp_func: .old_name = "exported", .old_sympos = 0

    target_export: 1 definition
      object      source file  type  binding  size  address    sympos  exported
      target_mod  -            FUNC  GLOBAL   1     .text+0x0  1 of 1  yes
    static KLP_MODULE_RELOC(target_mod) target_export_reloc[] = { KLP_SYMPOS(target_export, 0) };
    in a klp_func: .old_name = "target_export", .old_sympos = 0
    "#);
}

#[test]
fn several_definitions() {
    insta::assert_snapshot!(lookup(&ObjTree::new(X86_64), &["twin"], 0), @r#"
    twin: 3 definitions
      object   source file  type    binding  size  address           sympos  exported
      vmlinux  kernel/a.c   FUNC    LOCAL    1     ffffffff81000006  1 of 3  no
      vmlinux  kernel/b.c   FUNC    LOCAL    1     ffffffff8100000e  2 of 3  no
      vmlinux  kernel/c.c   OBJECT  LOCAL    8     ffffffff81001020  3 of 3  no
    static KLP_MODULE_RELOC(vmlinux) twin_reloc[] = { KLP_SYMPOS(twin, 1) };
    in a klp_func: .old_name = "twin", .old_sympos = 1
    static KLP_MODULE_RELOC(vmlinux) twin_reloc[] = { KLP_SYMPOS(twin, 2) };
    in a klp_func: .old_name = "twin", .old_sympos = 2
    static KLP_MODULE_RELOC(vmlinux) twin_reloc[] = { KLP_SYMPOS(twin, 3) };
    "#);
}

#[test]
fn what_no_livepatch_can_use() {
    let tree = ObjTree::new(X86_64);
    insta::assert_snapshot!(lookup(&tree, &["start_up"], 0), @"
    start_up: 1 definition
      object   source file  type  binding  size  address           sympos  exported
      vmlinux  kernel/b.c   FUNC  LOCAL    1     ffffffff81000010  1 of 1  no        __init
    vmlinux: no livepatch can use it: it is __init: its memory is freed when vmlinux has come up, long before a livepatch could use it (R9)
    ");
    tree.assemble_text("function split\nendfunc split", "core");
    tree.assemble_text(".section .init.text, \"ax\"\nfunction split\nendfunc split", "init");
    tree.link(&["core.o", "init.o"], "lib/provider.ko");
    fs::copy(tree.path("lib/provider.ko"), tree.path("lib/provider.o")).unwrap();
    tree.add_to_vmlinux("function __kstrtab_thing\nendfunc __kstrtab_thing");
    fs::remove_file(tree.path("System.map")).unwrap();
    insta::assert_snapshot!(lookup(&tree, &["split", "__kstrtab_thing"], 0), @"
    __kstrtab_thing: 1 definition
      object   source file  type  binding  size  address           sympos  exported
      vmlinux  vmlinux-d.o  FUNC  LOCAL    1     ffffffff81000010  none    no
    vmlinux: no livepatch can use it: kallsyms leaves it out, so that the kernel cannot find it (S3)

    split: 2 definitions
      object    source file  type  binding  size  address         sympos  exported
      provider  core.o       FUNC  LOCAL    1     .text+0x0       1 of 2  no
      provider  init.o       FUNC  LOCAL    1     .init.text+0x0  2 of 2  no        __init
    provider: no livepatch can use it: it is there both in an init section of provider and elsewhere: which one the kernel finds changes while provider is loaded (S5)
    provider: no livepatch can use it: it is __init: its memory is freed when provider has come up, long before a livepatch could use it (R9)
    ");
}

#[test]
fn patterns() {
    let tree = ObjTree::new(X86_64);
    let found = counts(&tree, &["set*_twin", "uniqu[a-e]"], 0);
    assert_eq!(found, "setting_twin: 2 definitions\nunique: 1 definition");
    assert_eq!(
        lookup(&tree, &["--regex", "^set.*_twin$", "^uniqu[a-e]$"], 0),
        lookup(&tree, &["set*_twin", "uniqu[a-e]"], 0)
    );
    let found = counts(&tree, &["no_such_*", "unique"], 1);
    assert_eq!(found, "unique: 1 definition\nklpbuild: no symbol matches no_such_*");
    insta::assert_snapshot!(lookup(&tree, &["--regex", "("], 1), @"
    klpbuild: error: (: not a regular expression: regex parse error:
    klpbuild:     (
    klpbuild:     ^
    klpbuild: error: unclosed group
    ");
    insta::assert_snapshot!(lookup(&tree, &["a[", "unique"], 1), @"klpbuild: error: a[: not a pattern: error parsing glob 'a[': unclosed character class; missing ']'");
}

#[test]
fn unknown_name() {
    let tree = ObjTree::new(X86_64);
    insta::assert_snapshot!(counts(&tree, &["uniqe", "unique"], 1), @"
    unique: 1 definition
    klpbuild: Unable to find missing symbol: uniqe: nothing exports it, and neither vmlinux nor any module defines it; the nearest names are unique (vmlinux)
    ");
    let ran = tree.klpbuild(&["lookup", "--format", "json", "uniqe"]).ends(1);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&told["definitions"], &told["missing"]),
        (&serde_json::json!([]), &serde_json::json!(["uniqe"]))
    );
}

/// clang's ThinLTO renames a static symbol that it uses in another file.
#[test]
fn names_that_lto_has_changed() {
    let tree = ObjTree::new(X86_64);
    let data = |name: &str| format!(".type \"{name}\", %object\n\"{name}\": .long 7\n.size \"{name}\", 4\n");
    let names = ["level.llvm.12", "level.llvm.7x", "levels.llvm.3", "other"];
    tree.add_to_vmlinux(&format!(".data\n{}", names.map(data).concat()));
    let ran = tree.klpbuild(&["lookup", "level"]).ends(1);
    assert!(ran.stdout.starts_with("level.llvm.12: 1 definition\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("  1 of 1  no\n"), "{}", ran.stdout);
    let line =
        "extern <type> level_llvm_12 KLP_RELOC_SYMBOL_POS(<patched object>, vmlinux, level.llvm.12, 0);\n";
    assert!(ran.stdout.ends_with(line), "{}", ran.stdout);
    assert_eq!(
        ran.stderr,
        "klpbuild: there is no symbol level: clang's LTO has made level.llvm.12 of it: a livepatch refers to it by that \
         name\n"
    );
}

#[test]
fn list_alone() {
    let tree = ObjTree::new(X86_64);
    for name in ["vmlinux", "System.map", "Module.symvers", "modules.order"] {
        fs::remove_file(tree.path(name)).unwrap();
    }
    insta::assert_snapshot!(lookup(&tree, &["unique", "twin"], 0), @r#"
    twin: 1 definition
      object   source file  type  binding  size  address  sympos  exported
      vmlinux  -            -     -        -     -        ? of 3  -
    vmlinux: there are 3 lines for it: positions are not known

    unique: 1 definition
      object   source file  type  binding  size  address  sympos  exported
      vmlinux  -            -     -        -     -        ? of 1  -
    static KLP_MODULE_RELOC(vmlinux) unique_reloc[] = { KLP_SYMPOS(unique, 0) };
    in a klp_func: .old_name = "unique", .old_sympos = 0
    klpbuild: only Symbols.list is at hand: whether a line is a definition, its source file, type, size, address and position are not known; name the object tree for these (--objtree DIR)
    "#);
    let rows = rows(&tree, &["twin"]);
    assert_eq!((rows.len(), &rows[0]["count"], &rows[0]["sympos"]), (1, &3.into(), &Value::Null));
}

#[test]
fn for_programs() {
    let tree = ObjTree::new(X86_64);
    let rows = rows(&tree, &["setting_twin", "start_up", "target_export"]);
    let of = |name: &str| rows.iter().filter(|row| row["name"] == name).cloned().collect::<Vec<_>>();
    let twins = of("setting_twin");
    assert_eq!((rows.len(), twins.len()), (4, 2));
    let expected = serde_json::json!({
        "name": "setting_twin", "object": "vmlinux", "file": "kernel/b.c", "line": null, "type": "OBJECT",
        "binding": "LOCAL", "section": ".data", "size": 8, "address": twins[1]["address"].as_str().unwrap(),
        "position": 2, "count": 2, "sympos": 2, "exported": false, "init": false,
        "klp_sympos": "static KLP_MODULE_RELOC(vmlinux) setting_twin_reloc[] = { KLP_SYMPOS(setting_twin, 2) };",
        "klp_func": null, "refused": null,
    });
    assert_eq!(twins[1], expected);
    assert_eq!((&of("start_up")[0]["init"], &of("start_up")[0]["klp_sympos"]), (&true.into(), &Value::Null));
    let export = &of("target_export")[0];
    assert_eq!((&export["object"], &export["exported"]), (&"target_mod".into(), &true.into()));
    assert_eq!((&export["sympos"], &export["section"]), (&0.into(), &".text".into()));
}

/// S2: vmlinux's symbols count by address, as nm -n has them; S5: a module's by its symbol table.
#[test]
fn positions_are_the_kernels() {
    for target in targets() {
        let tree = ObjTree::new(target);
        let defined = |arguments: &[&str], name: &str| {
            let text = tree.tool("nm", arguments);
            let lines = text.lines().filter(|line| line.ends_with(&format!(" {name}")));
            let address = |line: &str| u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
            lines.map(address).collect::<Vec<u64>>()
        };
        let found = |name: &str| {
            let rows = rows(&tree, &[name]);
            let positions: Vec<u64> = rows.iter().map(|row| row["sympos"].as_u64().unwrap()).collect();
            assert_eq!(positions, (1..=rows.len() as u64).collect::<Vec<_>>());
            let address = |row: &Value| {
                let digits = row["address"].as_str().unwrap().strip_prefix("0x").unwrap().to_owned();
                u64::from_str_radix(&digits, 16).unwrap()
            };
            rows.iter().map(address).collect::<Vec<u64>>()
        };
        assert_eq!(found("twin").len(), 3);
        for name in ["twin", "named_twin", "setting_twin"] {
            assert_eq!(found(name), defined(&["-n", "vmlinux"], name), "{}", target.name);
        }
        // The two orders differ, or this would show nothing.
        assert_ne!(found("named_twin"), defined(&["-p", "vmlinux"], "named_twin"), "{}", target.name);
        let module = defined(&["-p", "drivers/target/target-mod.ko"], "target_twin");
        assert_eq!(found("target_twin"), module, "{}", target.name);
    }
}
