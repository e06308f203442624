// SPDX-License-Identifier: GPL-2.0-only
//! What an object, a name and a position mean, and why not: convert, verify, lookup and new say the same, and lookup
//! offers nothing that another verb refuses.

use crate::convert::said;
use crate::doubts;
use crate::layers;
use crate::objtree::{Code, ObjTree, X86_64};

/// Symbols of vmlinux, each with what keeps a livepatch from using it, and with what keeps it from replacing it.
const ODD: [(&str, Option<&str>, Option<&str>); 7] = [
    ("odd_plain", None, None),
    ("odd_init", Some("it is __init: its memory is freed when vmlinux has come up"), Some("it is __init: ")),
    ("odd_absolute", Some("kallsyms leaves it out, so that"), Some("kallsyms leaves it out, so that")),
    ("odd_first", Some("it is at address 0, which"), Some("it is at address 0, which")),
    ("odd_data", None, Some("it is no function (OBJECT)")),
    ("odd_label", None, Some("it is no function (NOTYPE)")),
    ("odd_untraced", None, Some("ftrace cannot step in there: it does not begin with a call of __fentry__")),
];

/// A tree in which all of [`ODD`] are functions that nothing is wrong with.
fn sound() -> ObjTree {
    let tree = ObjTree::new(X86_64);
    let function = |(name, ..): (&str, _, _)| format!(".text\nfunction {name}\nnop\nendfunc {name}\n");
    tree.add_to_vmlinux(&ODD.map(function).concat());
    tree
}

/// Makes vmlinux anew, in which they are odd. ftrace can step in at `odd_plain` alone.
fn make_odd(tree: &ObjTree) {
    let text = ".text\n.globl odd_plain\nfunction odd_plain\nnop\nendfunc odd_plain\n\
                function odd_untraced\nnop\nendfunc odd_untraced\n\
                .section .init.text, \"ax\"\nfunction odd_init\nnop\nendfunc odd_init\n\
                .data\n.type odd_data, %object\nodd_data: .8byte 1\n.size odd_data, 8\nodd_label: .8byte 1\n\
                .globl odd_absolute\n.set odd_absolute, 0x600000\n\
                .section .percpu, \"aw\"\n.globl odd_first\nodd_first: .8byte 0\n\
                .section .mcount, \"a\"\n.globl __start_mcount_loc, __stop_mcount_loc\n\
                __start_mcount_loc: .8byte odd_plain\n__stop_mcount_loc:\n";
    tree.assemble_text(text, "vmlinux-d");
    let parts = ["vmlinux-a.o", "vmlinux-b.o", "vmlinux-c.o", "vmlinux-d.o"];
    let options = ["-Ttext=0xffffffff81000000", "--section-start=.percpu=0", "-e", "0", "-o", "vmlinux"];
    tree.tool("ld", &[&options[..], &parts].concat());
    tree.write("System.map", tree.tool("nm", &["-n", "vmlinux"]));
    tree.make_list();
}

/// What `klpbuild new` says of a function; nothing, if it makes the skeleton.
fn refused_by_new(tree: &ObjTree, name: &str) -> Option<String> {
    let ran = tree.klpbuild(&["new", "lp", "--function", name, "--object", "vmlinux", "--dry-run"]);
    (ran.code != Some(0)).then_some(ran.stderr)
}

#[test]
fn all_verbs_agree_on_symbols_that_are_used() {
    let tree = sound();
    let calls: String = ODD.iter().map(|(name, ..)| format!("call_to {name}\n")).collect();
    tree.livepatch(&Code { patched: &calls, ..Code::default() });
    tree.convert(&["in.ko", "-o", "converted.ko"]).ok();
    make_odd(&tree);
    let verified = tree.klpbuild(&["verify", "converted.ko"]).ends(1).stdout;
    let refused = said(&tree, &tree.convert(&["in.ko"]).ends(1));
    for (name, unusable, _) in ODD {
        let offer = format!("KLP_SYMPOS({name}, 0)");
        let looked_up = tree.klpbuild(&["lookup", name]).ok().stdout;
        let json = tree.klpbuild(&["lookup", "--format", "json", name]).ok().stdout;
        let in_verify = format!(".klp.sym.vmlinux.{name},0: {}", unusable.unwrap_or_default());
        let in_convert = format!("{name}: {}", unusable.unwrap_or_default());
        assert_eq!(verified.contains(&in_verify), unusable.is_some(), "{name}: {verified}");
        assert_eq!(refused.contains(&in_convert), unusable.is_some(), "{name}: {refused}");
        assert_eq!(looked_up.contains(&offer), unusable.is_none(), "{name}: {looked_up}");
        assert_eq!(json.contains(&offer), unusable.is_none(), "{name}: {json}");
        if let Some(why) = unusable {
            let line = format!("vmlinux: no livepatch can use it: {why}");
            assert!(looked_up.contains(&line), "{name}: {looked_up}");
        }
    }
}

#[test]
fn all_verbs_agree_on_functions_that_are_replaced() {
    let tree = sound();
    make_odd(&tree);
    let code = "static int new_one(int value) { return value; }";
    let functions: Vec<(&str, &str)> = ODD.iter().map(|(name, ..)| (*name, "new_one")).collect();
    doubts::livepatch(&tree, code, &functions, &[], &[]);
    let verified = tree.klpbuild(&["verify", "in.ko"]).ends(1).stdout;
    let refused = said(&tree, &tree.convert(&["in.ko"]).ends(1));
    for (name, unusable, irreplaceable) in ODD {
        let offer = format!(".old_name = \"{name}\"");
        let looked_up = tree.klpbuild(&["lookup", name]).ok().stdout;
        let by_new = refused_by_new(&tree, name);
        let in_both = format!("klp_func vmlinux:{name},0: {}", irreplaceable.unwrap_or_default());
        assert_eq!(verified.contains(&in_both), irreplaceable.is_some(), "{name}: {verified}");
        assert_eq!(refused.contains(&in_both), irreplaceable.is_some(), "{name}: {refused}");
        assert_eq!(looked_up.contains(&offer), irreplaceable.is_none(), "{name}: {looked_up}");
        assert_eq!(by_new.is_some(), irreplaceable.is_some(), "{name}: {by_new:?}");
        if let (Some(why), Some(by_new)) = (irreplaceable, by_new) {
            assert!(by_new.contains(&format!("{name}: {why}")), "{by_new}");
            let is_data = name == "odd_data" || name == "odd_label";
            assert!(is_data || unusable.is_some() || looked_up.contains(why), "{name}: {looked_up}");
        }
    }
}

#[test]
fn all_verbs_agree_on_positions() {
    const CASES: [(&str, u32, &str); 3] = [
        ("unique", 0, "position 0 means the only one, but vmlinux has 2 of this name"),
        ("named_twin", 2, "there is no position 2: vmlinux has 1 of this name, counted from 1"),
        ("target_static", 0, "vmlinux does not define it"),
    ];
    let tree = ObjTree::new(X86_64);
    tree.add_to_vmlinux("function target_static\nendfunc target_static");
    let calls: String = CASES.iter().map(|(name, ..)| format!("call_to {name}\n")).collect();
    let records = CASES.iter().map(|(name, sympos, _)| format!("pointer {name}\n.4byte {sympos}\n"));
    let rest = format!(".section .klp.module_relocs.vmlinux, \"a\"\n{}", records.collect::<String>());
    tree.livepatch(&Code { patched: &calls, rest: &rest, ..Code::default() });
    tree.convert(&["in.ko", "-o", "converted.ko"]).ok();
    // Another build: one more of the first, one less of the second, none of the third.
    tree.assemble_text("function unique\nendfunc unique", "vmlinux-d");
    tree.link_vmlinux(&["vmlinux-a.o", "vmlinux-c.o", "vmlinux-d.o"]);
    tree.make_list();
    let verified = tree.klpbuild(&["verify", "converted.ko"]).ends(1).stdout;
    let refused = said(&tree, &tree.convert(&["in.ko"]).ends(1));
    for (name, sympos, why) in CASES {
        let number = sympos.to_string();
        let mut new = vec!["new", "lp", "--function", name, "--object", "vmlinux", "--dry-run"];
        if sympos != 0 {
            new.extend(["--sympos", &number]);
        }
        let by_new = tree.klpbuild(&new).ends(1).stderr;
        assert!(verified.contains(&format!(".klp.sym.vmlinux.{name},{sympos}: {why}")), "{verified}");
        assert!(refused.contains(&format!("{name}: {why}")), "{refused}");
        assert!(by_new.contains(&format!("{name}: {why}")), "{by_new}");
    }
}

/// Names that the kernel does not read to their end.
#[test]
fn lookup_offers_no_name_that_convert_refuses() {
    let tree = ObjTree::new(X86_64);
    let name = "n".repeat(512);
    tree.add_to_vmlinux(&format!("function {name}\nendfunc {name}"));
    tree.livepatch(&Code { patched: &format!("call_to {name}"), ..Code::default() });
    let refused = said(&tree, &tree.convert(&["in.ko"]).ends(1));
    let looked_up = tree.klpbuild(&["lookup", &name]).ok().stdout;
    let by_new = refused_by_new(&tree, &name).unwrap();
    for text in [&refused, &looked_up, &by_new] {
        assert!(text.contains(": the name has 512 characters, of which this kernel reads "), "{text}");
    }
    assert!(!looked_up.contains("KLP_SYMPOS") && !looked_up.contains("old_name"), "{looked_up}");
}

/// `klpbuild livepatch` needs a whole kernel to be asked: that it has no words of its own is seen in the sources.
#[test]
fn the_words_stand_in_one_file() {
    let files = layers::sources();
    for words in [
        "ftrace cannot step in there",
        "kallsyms leaves it out, so",
        "at address 0, which the kernel",
        "its memory is freed when",
        "of this name, counted from 1",
        "is no function (",
    ] {
        let tells = |text: &str| {
            text.lines().any(|line| line.contains(words) && !line.trim_start().starts_with("//"))
        };
        let users: Vec<&String> =
            files.iter().filter(|(_, text)| tells(text)).map(|(name, _)| name).collect();
        assert_eq!(users, ["livepatch/definition.rs"], "{words}");
    }
}
