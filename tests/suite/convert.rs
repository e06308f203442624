// SPDX-License-Identifier: GPL-2.0-only
//! What `klpbuild convert` refuses and says, apart from annotations and from where it writes.

use std::fs;

use regex::Regex;

use crate::annotations::{ANNOTATION, annotated};
use crate::objtree::{Code, ObjTree, X86_64, target, targets};
use crate::space::Ran;

/// A livepatch whose new function in vmlinux has this code.
pub fn patched(code: &str) -> ObjTree {
    ObjTree::with_code(X86_64, &Code { patched: code, ..Code::default() })
}

/// What is said on standard error, without what differs from run to run.
pub fn said(tree: &ObjTree, ran: &Ran) -> String {
    let text = ran.stderr.replace(tree.path("").to_str().unwrap(), "TREE/");
    Regex::new(r"\.klpbuild-\w+\.tmp").unwrap().replace_all(&text, ".klpbuild-RANDOM.tmp").into_owned()
}

/// A message does not tell the same rule twice.
#[track_caller]
fn tells_each_rule_once(text: &str) {
    let rule = Regex::new(r"\([RS][0-9]+\)").unwrap();
    for line in text.lines() {
        let mut rules: Vec<&str> = rule.find_iter(line).map(|found| found.as_str()).collect();
        let count = rules.len();
        rules.dedup();
        assert_eq!(rules.len(), count, "{line}");
    }
}

/// Writes a list that klpbuild has not made: it is believed where nothing says what klpbuild wrote there.
fn write_list(tree: &ObjTree, text: &str) {
    tree.write("Symbols.list", text);
    fs::remove_file(tree.path(".klpbuild/seal")).unwrap();
}

/// Asserts that the conversion of `in.ko` is refused and leaves no trace, and gives what is said.
#[track_caller]
pub fn refused_with(tree: &ObjTree, arguments: &[&str]) -> String {
    let before = (tree.names(), tree.bytes("in.ko"), tree.stamp("in.ko"));
    let ran = tree.convert(&[&["in.ko"], arguments].concat()).ends(1);
    assert_eq!(ran.stdout, "");
    assert!((tree.names(), tree.bytes("in.ko"), tree.stamp("in.ko")) == before, "{:?}", tree.names());
    said(tree, &ran)
}

/// Asserts that the conversion of `in.ko` is refused in place and to an `out.ko` that is there before, and gives what is said.
#[track_caller]
pub fn refused(tree: &ObjTree) -> String {
    tree.write("out.ko", "old");
    let before = tree.stamp("out.ko");
    let text = refused_with(tree, &["-o", "out.ko"]);
    tells_each_rule_once(&text);
    assert_eq!((tree.bytes("out.ko"), tree.stamp("out.ko")), (b"old".to_vec(), before));
    assert_eq!(refused_with(tree, &[]), text);
    text
}

/// Asserts that `in.ko` is converted, and gives its livepatch relocations: section, offset and symbol.
#[track_caller]
pub fn converted(tree: &ObjTree) -> Vec<String> {
    tree.convert(&["in.ko", "-o", "out.ko"]).ok();
    let mut section = String::new();
    let mut found = Vec::new();
    for line in tree.tool("readelf", &["-rW", "out.ko"]).lines() {
        if let Some(rest) = line.strip_prefix("Relocation section '") {
            section = rest.split('\'').next().unwrap().to_owned();
        } else if let [offset, _, kind, _, symbol, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
            && kind.starts_with("R_")
            && section.starts_with(".klp.")
        {
            let offset = u64::from_str_radix(offset, 16).unwrap();
            found.push(format!("{section}+{offset:#x} {symbol}"));
        }
    }
    found
}

#[test]
fn signed() {
    let tree = patched("call_to unique");
    tree.write("in.ko", [tree.bytes("in.ko"), b"junk~Module signature appended~\n".to_vec()].concat());
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: it is signed, and a conversion would make the signature invalid: convert it before it is signed (the order is link, convert, sign, compress; R12)");
}

#[test]
fn no_livepatch() {
    let code = Code { patched: "call_to unique", flags: &["NO_MARK"], ..Code::default() };
    insta::assert_snapshot!(refused(&ObjTree::with_code(X86_64, &code)), @r#"klpbuild: error: cannot convert in.ko: it is no livepatch: add MODULE_INFO(livepatch, "Y"); to its source (R6)"#);
}

#[test]
fn compressed() {
    let tree = patched("call_to unique");
    tree.run("gzip", &["-n", "in.ko"]);
    fs::rename(tree.path("in.ko.gz"), tree.path("in.ko")).unwrap();
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot read TREE/in.ko: it is compressed: unpack it first (gunzip, unxz or unzstd)");
}

#[test]
fn truncated() {
    let tree = patched("call_to unique");
    tree.write("in.ko", &tree.bytes("in.ko")[..1000]);
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot read TREE/in.ko: Invalid ELF section header offset/size/alignment (the file has 1000 bytes: truncated or corrupt; delete it and build again)");
    tree.write("in.ko", "");
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot read TREE/in.ko: the file is empty: delete it and build again");
    tree.write("in.ko", "#!/bin/sh\n");
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot read TREE/in.ko: not an ELF file");
}

/// vmlinux is no relocatable object.
#[test]
fn linked_for_good() {
    let tree = patched("call_to unique");
    tree.write("in.ko", tree.bytes("vmlinux"));
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot read TREE/in.ko: not a relocatable object, as modules are");
}

#[test]
fn missing_input() {
    let tree = ObjTree::new(X86_64);
    insta::assert_snapshot!(said(&tree, &tree.convert(&["in.ko"]).ends(1)), @"klpbuild: error: cannot read the module: failed to open file `TREE/in.ko`: No such file or directory (os error 2)");
}

#[test]
fn unknown_symbol() {
    let tree = patched("call_to uniqe\ncall_to nothing_like_it\nrefer_to uniqe");
    insta::assert_snapshot!(refused(&tree), @"
    klpbuild: error: cannot convert in.ko: Unable to find missing symbol: uniqe: nothing exports it, and neither vmlinux nor any module defines it; the nearest names are unique (vmlinux)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    klpbuild:   used in .text+0x13 (R_X86_64_PC32)
    klpbuild:   and in 2 more places
    klpbuild: error: cannot convert in.ko: Unable to find missing symbol: nothing_like_it: nothing exports it, and neither vmlinux nor any module defines it; no name in the map is like it
    klpbuild:   used in .text+0xc (R_X86_64_PLT32)
    ");
}

/// On ppc, the final link provides functions of such names: not on other machines.
#[test]
fn another_machines_helper() {
    insta::assert_snapshot!(refused(&patched("call_to _savegpr0_14")), @"
    klpbuild: error: cannot convert in.ko: Unable to find missing symbol: _savegpr0_14: nothing exports it, and neither vmlinux nor any module defines it; no name in the map is like it
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
    let Some(ppc64le) = target("ppc64le") else { return };
    let code = Code { patched: "call_to unique\ncall_to _savegpr0_14", ..Code::default() };
    let tree = ObjTree::with_code(ppc64le, &code);
    let found = converted(&tree);
    assert!(found.iter().all(|line| line.ends_with(" .klp.sym.vmlinux.unique,0")), "{found:?}");
    assert!(tree.tool("readelf", &["-sW", "out.ko"]).contains(" UND _savegpr0_14\n"));
}

#[test]
fn unknown_symbol_with_compiler_variants() {
    let tree = patched("call_to gone");
    let function = |name: &str| format!(".type \"{name}\", %function\n\"{name}\": ret\n");
    let names = ["gone.isra.0", "gone.constprop.0", "gone.cold", "gone.part.0.cold", "gong"];
    tree.add_to_vmlinux(&names.map(function).concat());
    insta::assert_snapshot!(refused(&tree), @"
    klpbuild: error: cannot convert in.ko: Unable to find missing symbol: gone: nothing exports it, and neither vmlinux nor any module defines it; the nearest names are gone.cold (vmlinux), gone.constprop.0 (vmlinux), gone.isra.0 (vmlinux), gone.part.0.cold (vmlinux), gong (vmlinux)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

/// The table of candidates in full. Other tests look at what is their own in it.
#[test]
fn ambiguous_symbol() {
    insta::assert_snapshot!(refused(&patched("call_to twin")), @r#"
    klpbuild: error: cannot convert in.ko: Define KLP_SYMPOS for the symbol: twin: it is ambiguous, defined 3 times in 1 object
    klpbuild: Valid KLP_SYMPOS for symbol twin:
    klpbuild:   object   source file  type    binding  size  address           sympos  exported
    klpbuild:   vmlinux  kernel/a.c   FUNC    LOCAL    1     ffffffff81000006  1 of 3  no        in the source file of patched
    klpbuild:   vmlinux  kernel/b.c   FUNC    LOCAL    1     ffffffff8100000e  2 of 3  no
    klpbuild:   vmlinux  kernel/c.c   OBJECT  LOCAL    8     ffffffff81001020  3 of 3  no
    klpbuild: write the header with `klpbuild header -o klp_relocs.h`, and paste the line of the one in the source file of patched:
    klpbuild:   #include "klp_relocs.h"
    klpbuild:   static KLP_MODULE_RELOC(vmlinux) twin_reloc[] = { KLP_SYMPOS(twin, 1) }; /* kernel/a.c */
    klpbuild: or else the line of the one that is meant:
    klpbuild:   static KLP_MODULE_RELOC(vmlinux) twin_reloc[] = { KLP_SYMPOS(twin, 2) }; /* kernel/b.c */
    klpbuild:   static KLP_MODULE_RELOC(vmlinux) twin_reloc[] = { KLP_SYMPOS(twin, 3) }; /* kernel/c.c */
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    "#);
}

/// In two objects, of which one is not there to be read.
#[test]
fn ambiguous_symbol_of_two_objects() {
    let tree = patched("call_to unique");
    let list = String::from_utf8(tree.bytes("Symbols.list")).unwrap();
    write_list(&tree, &(list + "*elsewhere\nunique\n"));
    let said = refused(&tree);
    for part in [
        "Define KLP_SYMPOS for the symbol: unique: it is ambiguous, defined 2 times in 2 objects\n",
        "klpbuild:   elsewhere  -            -     -        -     -                 ? of 1  no\n",
        "KLP_MODULE_RELOC(vmlinux) unique_reloc[] = { KLP_SYMPOS(unique, 0) }; /* kernel/a.c */\n",
        "KLP_MODULE_RELOC(elsewhere) unique_reloc[] = { KLP_SYMPOS(unique, 0) };\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// R1: a run-time name has at most 55 characters, and neither `-` nor `.ko`.
#[test]
fn object_names() {
    let long = "m".repeat(56);
    insta::assert_snapshot!(refused(&annotated("twin", &[(&long, "twin", 1)])), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm: the object name mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm has 56 characters: the kernel reads 55 (R1)");
    insta::assert_snapshot!(refused(&annotated("twin", &[("target-mod", "twin", 1)])), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.target-mod: target-mod is no object's run-time name: write target_mod (R2)");
    insta::assert_snapshot!(refused(&annotated("twin", &[("target-mod.ko", "twin", 1)])), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.target-mod.ko: target-mod.ko is no object's run-time name: write target_mod (R2)");
    let tree = patched(&format!("call_to \".klp.sym.rela.{long}.vmlinux.unique,0\""));
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .text+0x7 (R_X86_64_PLT32): the object name mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm has 56 characters: the kernel reads 55 (R1)");
    let tree = patched("call_to \".klp.sym.rela.target-mod.vmlinux.unique,0\"");
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .text+0x7 (R_X86_64_PLT32): target-mod is no object's run-time name: write target_mod (R2)");
}

/// R3: 127 bytes up to 6.0, 511 later.
#[test]
fn long_symbol_names() {
    let with = |length: usize, release: &str| {
        let name = "n".repeat(length);
        let tree = patched(&format!("call_to {name}"));
        tree.add_to_vmlinux(&format!("function {name}\nendfunc {name}"));
        fs::create_dir_all(tree.path("include/config")).unwrap();
        tree.write("include/config/kernel.release", format!("{release}\n"));
        (tree, name)
    };
    let shown = |(tree, name): (ObjTree, String)| refused(&tree).replace(&name, "NAME");
    insta::assert_snapshot!(shown(with(128, "5.10.0-8-amd64")), @"
    klpbuild: error: cannot convert in.ko: NAME: the name has 128 characters, of which this kernel reads 127 (R3)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
    insta::assert_snapshot!(shown(with(512, "6.12.0")), @"
    klpbuild: error: cannot convert in.ko: NAME: the name has 512 characters, of which this kernel reads 511 (R3)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
    for (length, release) in [(127, "5.10.0-8-amd64"), (511, "6.12.0")] {
        let (tree, name) = with(length, release);
        assert_eq!(converted(&tree), [format!(".klp.rela.vmlinux..text+0x7 .klp.sym.vmlinux.{name},0")]);
    }
}

#[test]
fn init_symbol() {
    insta::assert_snapshot!(refused(&patched("call_to start_up")), @"
    klpbuild: error: cannot convert in.ko: start_up: it is __init: its memory is freed when vmlinux has come up, long before a livepatch could use it (R9)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

/// S5: in a module, which one is found changes while the module is loaded.
#[test]
fn in_init_and_core_of_a_module() {
    let tree = ObjTree::with_code(X86_64, &Code { target: "call_to split", ..Code::default() });
    tree.assemble_text("function split\nendfunc split", "core");
    tree.assemble_text(".section .init.text, \"ax\"\nfunction split\nendfunc split", "init");
    tree.link(&["target-a.o", "core.o", "init.o"], "drivers/target/target-mod.ko");
    tree.link(&["target-a.o", "core.o", "init.o"], "drivers/target/target-mod.o");
    tree.make_list();
    insta::assert_snapshot!(refused(&tree), @"
    klpbuild: error: cannot convert in.ko: split: it is there both in an init section of target_mod and elsewhere: which one the kernel finds changes while target_mod is loaded (S5); rename one of them
    klpbuild:   used in .text+0xd (R_X86_64_PLT32)
    ");
    let rest = format!("{ANNOTATION}.target_mod, \"a\"\npointer split\n.4byte 1");
    tree.livepatch(&Code { target: "call_to split", rest: &rest, ..Code::default() });
    insta::assert_snapshot!(refused(&tree), @"
    klpbuild: error: cannot convert in.ko: split: it is there both in an init section of target_mod and elsewhere: which one the kernel finds changes while target_mod is loaded (S5); rename one of them
    klpbuild:   used in .text+0xd (R_X86_64_PLT32)
    ");
}

/// S3, as System.map says or, without one, as its makers would.
#[test]
fn dropped_by_kallsyms() {
    let tree = patched("call_to __kstrtab_thing");
    tree.add_to_vmlinux("function __kstrtab_thing\nendfunc __kstrtab_thing");
    let map = String::from_utf8(tree.bytes("System.map")).unwrap();
    let kept = map.lines().filter(|line| !line.ends_with("__kstrtab_thing"));
    tree.write("System.map", kept.map(|line| format!("{line}\n")).collect::<String>());
    let text = refused(&tree);
    insta::assert_snapshot!(text, @"
    klpbuild: error: cannot convert in.ko: __kstrtab_thing: kallsyms leaves it out, so that the kernel cannot find it (S3)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
    fs::remove_file(tree.path("System.map")).unwrap();
    assert_eq!(refused(&tree), text);
}

/// S8: the first per-CPU variable of some x86 kernels.
#[test]
fn at_address_0() {
    let tree = patched("call_to first_of_cpu");
    tree.add_to_vmlinux(".section .percpu, \"aw\"\n.globl first_of_cpu\nfirst_of_cpu: .8byte 0");
    let parts = ["vmlinux-a.o", "vmlinux-b.o", "vmlinux-c.o", "vmlinux-d.o"];
    let options = ["-Ttext=0xffffffff81000000", "--section-start=.percpu=0", "-e", "0", "-o", "vmlinux"];
    tree.tool("ld", &[&options[..], &parts].concat());
    tree.write("System.map", tree.tool("nm", &["-n", "vmlinux"]));
    tree.make_list();
    insta::assert_snapshot!(refused(&tree), @"
    klpbuild: error: cannot convert in.ko: first_of_cpu: it is at address 0, which the kernel takes for not found (S8)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

/// R11
#[test]
fn no_such_object_in_the_patch() {
    let tree = patched("call_to \".klp.sym.rela.provider.provider.provider_export,0\"");
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: provider:provider_export,0, used in .text+0x7 (R_X86_64_PLT32): it would be written when provider is loaded, but the patch has no klp_object for provider, so that it never is (R11): add one, if only with an empty list of functions");
}

/// R10: what a module exports can stay where nothing else is possible, but not by a name that only klpbuild
/// reads.
#[test]
fn export_of_a_module_that_has_to_stay() {
    let rest = ".text\nfunction alone\ncall_to provider_export\nendfunc alone";
    let tree = ObjTree::with_code(X86_64, &Code { patched: "call_to unique", rest, ..Code::default() });
    let ran = tree.convert(&["in.ko"]).ok();
    insta::assert_snapshot!(said(&tree, &ran), @"klpbuild: in.ko: it depends on provider, which exports provider_export: some code that uses it has to be ready when the livepatch is loaded, or is for an object that cannot be told (R10)");
    let symbols = tree.tool("readelf", &["-sW", "in.ko"]);
    assert!(symbols.contains("UND provider_export\n") && symbols.contains("] .klp.sym.vmlinux.unique,0\n"));
}

/// R2: there is no struct klp_patch to tell whose code it is.
#[test]
fn no_static_patch() {
    let code = Code { target: "call_to target_static", flags: &["NO_PATCH"], ..Code::default() };
    insta::assert_snapshot!(refused(&ObjTree::with_code(X86_64, &code)), @"klpbuild: error: cannot convert in.ko: target_mod:target_static,0, used in .text+0xd (R_X86_64_PLT32): which patched object this code is for cannot be told, since there is no static struct klp_patch to be seen (R2): declare the symbol with the object in its assembler name, KLP_RELOC_SYMBOL_POS(<object>, target_mod, target_static, 0)");
}

/// R2: what vmlinux's code uses has to be there first, whoever else uses it.
#[test]
fn code_for_vmlinux_and_a_module() {
    let code = Code { shared: "call_to target_static", ..Code::default() };
    let tree = ObjTree::with_code(X86_64, &code);
    assert_eq!(converted(&tree), [".klp.rela.vmlinux..text+0x1 .klp.sym.target_mod.target_static,0"]);
    let ran = tree.convert(&["in.ko"]).ok();
    insta::assert_snapshot!(said(&tree, &ran), @"klpbuild: in.ko: target_mod has to be loaded before this livepatch, which uses its symbols, and has to stay: nothing keeps it from being unloaded");
}

/// R2: what the livepatch's own init function uses has to be there while it is loaded.
#[test]
fn code_that_init_comes_to() {
    let rest = ".text\nfunction helper\ncall_to target_static\nendfunc helper\n\
                .section .init.text, \"ax\"\nfunction init_module\ncall helper\npoint_to patch\n\
                call_to klp_enable_patch\nendfunc init_module";
    let code = Code { target: "call_near helper", rest, flags: &["NO_INIT"], ..Code::default() };
    let found = converted(&ObjTree::with_code(X86_64, &code));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with(".klp.rela.vmlinux..text+"), "{found:?}");
    let rest = rest.split(".section").next().unwrap();
    let code = Code { target: "call_near helper", rest, ..Code::default() };
    let found = converted(&ObjTree::with_code(X86_64, &code));
    assert!(found[0].starts_with(".klp.rela.target_mod..text+"), "{found:?}");
}

/// R2: the field of a branch that has a relocation says nothing: at the end of a function it would seem to lead to the
/// next one.
#[test]
fn branch_at_the_end_of_a_function() {
    let rest = ".text\nfunction edge\nlast_call exported\n.size edge, . - edge\n\
                function behind\ncall_to target_static\nendfunc behind";
    let code = Code { patched: "call_near edge", target: "call_near behind", rest, ..Code::default() };
    for target in targets() {
        let found = converted(&ObjTree::with_code(target, &code));
        let [only] = found.as_slice() else { panic!("{}: {found:?}", target.name) };
        assert!(only.starts_with(".klp.rela.target_mod..text+"), "{}: {found:?}", target.name);
        assert!(only.ends_with(" .klp.sym.target_mod.target_static,0"), "{}: {found:?}", target.name);
    }
}

/// R2: the address of an array may have its first index subtracted, and then lies in what comes before.
#[test]
fn array_that_is_indexed_from_1() {
    let rest = ".data\n.balign 8\n.type before, %object\nbefore: .quad 0\n.size before, 8\n\
                .type table, %object\ntable: .quad target_static\n.size table, 8\n";
    let code = Code { target: "movq table-8(,%rax,8), %rax", rest, ..Code::default() };
    let found = converted(&ObjTree::with_code(X86_64, &code));
    assert!(found[0].starts_with(".klp.rela.target_mod..data+"), "{found:?}");
}

/// R10: an export that has to be there first in any case keeps its module loaded as a normal symbol.
#[test]
fn exports_that_code_for_vmlinux_uses() {
    for code in ["call_to provider_export", ".weak provider_export\ncall_to provider_export"] {
        let tree = patched(&format!("{code}\ncall_to unique"));
        tree.convert(&["in.ko"]).ok();
        let symbols = tree.tool("readelf", &["-sW", "in.ko"]);
        assert!(symbols.contains("UND provider_export\n"), "{symbols}");
        assert!(symbols.contains("] .klp.sym.vmlinux.unique,0\n"), "{symbols}");
    }
    let code = Code { target: ".weak target_export\ncall_to target_export", ..Code::default() };
    let tree = ObjTree::with_code(X86_64, &code);
    tree.convert(&["in.ko"]).ok();
    assert!(tree.tool("readelf", &["-sW", "in.ko"]).contains("UND target_export\n"));
}

#[test]
fn object_that_is_called_vmlinux() {
    let code = Code { patched: "call_to unique", flags: &["NAMED_VMLINUX"], ..Code::default() };
    insta::assert_snapshot!(refused(&ObjTree::with_code(X86_64, &code)), @"klpbuild: error: cannot convert in.ko: klp_object vmlinux: the kernel waits for a module of that name: leave .name NULL for vmlinux (R2)");
}

/// R9
#[test]
fn new_function_that_is_init() {
    let rest = ".section .init.text, \"ax\"\nfunction init_new\ncall_to unique\nendfunc init_new";
    let code = Code { rest, flags: &["INIT_FUNCTION"], ..Code::default() };
    insta::assert_snapshot!(refused(&ObjTree::with_code(X86_64, &code)), @"klpbuild: error: cannot convert in.ko: klp_func vmlinux:patched: its new function is __init, and gone once the livepatch is loaded: take that away (R9)");
}

/// R9
#[test]
fn per_cpu_data() {
    let with = |section: &str| {
        let rest = format!(".section {section}, \"aw\"\npointer unique");
        ObjTree::with_code(X86_64, &Code { rest: &rest, ..Code::default() })
    };
    // Another section of such is one of vmlinux's linker script only.
    let other = with(".data..percpu..read_mostly");
    insta::assert_snapshot!(refused(&other), @"klpbuild: error: cannot convert in.ko: section .data..percpu..read_mostly: the kernel makes per-CPU variables only of those in .data..percpu, and takes this for ordinary data (R9): declare them with DEFINE_PER_CPU, and not with DEFINE_PER_CPU_READ_MOSTLY and the like");
    insta::assert_snapshot!(refused(&with(".data..percpu")), @"klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .data..percpu+0x0 (R_X86_64_64): per-CPU data is copied before references in it could be written (R9): set it in the init function instead");
}

/// R2: the owner's section is right where no new function comes, if the patch has the owner.
#[test]
fn code_that_nothing_calls() {
    let rest = ".text\nfunction alone\ncall_to target_static\nendfunc alone";
    let code = Code { rest, ..Code::default() };
    for target in targets() {
        let found = converted(&ObjTree::with_code(target, &code));
        let [only] = found.as_slice() else { panic!("{}: {found:?}", target.name) };
        assert!(only.starts_with(".klp.rela.target_mod..text+"), "{}: {found:?}", target.name);
    }
    let rest = ".section .rodata, \"a\"\npointer provider_static";
    let tree = ObjTree::with_code(X86_64, &Code { rest, ..Code::default() });
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: provider:provider_static,0, used in .rodata+0x0 (R_X86_64_64): no new function of the patch comes to this code, and the patch has no klp_object for provider, so that which object it is for cannot be told (R2): declare the symbol with the object in its assembler name, KLP_RELOC_SYMBOL_POS(<object>, provider, provider_static, 0)");
}

/// R2: a parameter's handler and the like may run at any time, and find the owner's symbols once the owner is there;
/// what the init function comes to is needed at once.
#[test]
fn code_that_runs_by_itself() {
    let helper = ".text\nfunction helper\ncall_to target_static\nendfunc helper\n";
    let handler = format!("{helper}.section __param, \"a\"\npointer helper");
    let tree = ObjTree::with_code(X86_64, &Code { rest: &handler, ..Code::default() });
    let ran = tree.convert(&["in.ko"]).ok();
    insta::assert_snapshot!(said(&tree, &ran), @"klpbuild: in.ko: code that the livepatch runs by itself (a parameter's handler, its exit function, what it exports) uses symbols of target_mod: it must not run before target_mod is loaded");
    let verified = tree.klpbuild(&["verify", "in.ko"]).ok().stdout;
    insta::assert_snapshot!(verified, @"
    in.ko: warning R2: klp_object target_mod: code that the livepatch runs by itself (a parameter's handler, its exit function, what it exports) uses symbols of target_mod: it must not run before target_mod is loaded; see to that, or check in it that the object is there
    klpbuild: in.ko: correct, 1 warning (1 livepatch relocation; 2 functions)
    ");
    let from = |code: Code<'_>| {
        let found = converted(&ObjTree::with_code(X86_64, &code));
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].split("..").next().unwrap().to_owned()
    };
    // The new function of the owner, and the handler.
    let code = Code { target: "call_near helper", rest: &handler, ..Code::default() };
    assert_eq!(from(code), ".klp.rela.target_mod");
    // The new function of vmlinux, and the handler.
    let code = Code { patched: "call_near helper", rest: &handler, ..Code::default() };
    assert_eq!(from(code), ".klp.rela.vmlinux");
    // The handler, and the init function, which lies anywhere.
    let init = format!(
        "{handler}\n.text\n.globl init_module\nfunction init_module\ncall helper\npoint_to patch\n\
         call_to klp_enable_patch\nendfunc init_module"
    );
    assert_eq!(from(Code { rest: &init, flags: &["NO_INIT"], ..Code::default() }), ".klp.rela.vmlinux");
    // The exit function comes late.
    let exit = format!(
        "{helper}.section .exit.text, \"ax\"\nfunction cleanup_module\ncall helper\nendfunc cleanup_module"
    );
    assert_eq!(from(Code { rest: &exit, ..Code::default() }), ".klp.rela.target_mod");
    // An owner that the patch does not have: it has to be there before the livepatch.
    let other = handler.replace("target_static", "provider_static");
    assert_eq!(from(Code { rest: &other, ..Code::default() }), ".klp.rela.vmlinux");
}

/// R9: a static call without a site goes through its trampoline.
#[test]
fn sites_of_a_modules_static_calls_are_taken_out() {
    let site = |symbol: &str| format!(".long .text+0x3 - ., {symbol} - .\n");
    let rest = [
        ".section .static_call_sites, \"aw\"\n",
        &site("target_static"),
        &site("unique"),
        &site("target_static"),
    ];
    let tree = ObjTree::with_code(X86_64, &Code { rest: &rest.concat(), ..Code::default() });
    tree.convert(&["in.ko", "-o", "out.ko"]).ok();
    let bytes = tree.tool("readelf", &["-x", ".static_call_sites", "out.ko"]);
    assert_eq!(bytes.lines().filter(|line| line.starts_with("  0x")).count(), 1, "{bytes}");
    assert!(bytes.contains("0x00000000 00000000 00000000  "), "{bytes}");
    let relocations = tree.tool("readelf", &["-rW", "out.ko"]);
    let of = |section: &str| -> Vec<String> {
        let lines = relocations.lines().skip_while(|line| !line.contains(section)).skip(2);
        let lines = lines.take_while(|line| !line.is_empty());
        lines.map(|line| line.split_whitespace().next().unwrap().trim_start_matches('0').to_owned()).collect()
    };
    assert_eq!(of("'.rela.static_call_sites'"), [""], "{relocations}");
    assert_eq!(of("'.klp.rela.vmlinux..static_call_sites'"), ["4"], "{relocations}");
    assert!(!relocations.contains("target_mod..static_call_sites"), "{relocations}");
    assert!(!relocations.contains("target_static"), "{relocations}");
}

/// R9
#[test]
fn special_sections_of_modules() {
    let with = |section: &str| {
        let rest = format!(".section {section}\npointer target_static");
        refused(&ObjTree::with_code(X86_64, &Code { rest: &rest, ..Code::default() }))
    };
    insta::assert_snapshot!(with("__jump_table, \"aw\""), @"klpbuild: error: cannot convert in.ko: target_mod:target_static,0, used in __jump_table+0x0 (R_X86_64_64): the kernel looks at __jump_table while the livepatch is loaded, before this reference is written (R9): test the static key with static_key_enabled() instead of static_branch_likely() and the like");
    insta::assert_snapshot!(with(".altinstructions, \"a\""), @"klpbuild: error: cannot convert in.ko: target_mod:target_static,0, used in .altinstructions+0x0 (R_X86_64_64): the kernel looks at .altinstructions while the livepatch is loaded, before this reference is written (R9): write the code without alternatives, static calls and tracepoints of other objects");
    let rest = ".section .init.text, \"ax\"\n\
                call_to \".klp.sym.rela.target_mod.target_mod.target_static,0\"";
    let tree = ObjTree::with_code(X86_64, &Code { rest, ..Code::default() });
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: target_mod:target_static,0, used in .init.text+0xe (R_X86_64_PLT32): .init.text is gone, or has run, when references for target_mod are written (R9): do not use the symbol in __init code");
}

#[test]
fn relocation_type_that_the_loader_does_not_know() {
    insta::assert_snapshot!(refused(&patched("movq unique@GOTPCREL(%rip), %rax")), @"klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .text+0x9 (R_X86_64_REX_GOTPCRELX): the kernel's module loader does not know this type: compile without -fPIC and -fPIE, and declare the symbol without attributes");
}

#[test]
fn call_without_nop_on_ppc64le() {
    let Some(ppc64le) = target("ppc64le") else { return };
    let code = Code { patched: "bl unique\nblr\nb unique", ..Code::default() };
    insta::assert_snapshot!(refused(&ObjTree::with_code(ppc64le, &code)), @"
    klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .text+0x18 (R_PPC64_REL24): no nop follows the call, into which the kernel would put the reload of r2: a call in tail position cannot go to another object (compile with -fno-optimize-sibling-calls)
    klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .text+0x20 (R_PPC64_REL24): no nop follows the call, into which the kernel would put the reload of r2: a call in tail position cannot go to another object (compile with -fno-optimize-sibling-calls)
    ");
}

/// 5.8 and later: a symbol of vmlinux is written while the livepatch is loaded.
#[test]
fn vmlinux_symbol_in_a_section_of_a_module() {
    let tree = patched("call_to \".klp.sym.rela.target_mod.vmlinux.unique,0\"");
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .text+0x7 (R_X86_64_PLT32): this kernel refuses a symbol of vmlinux in a relocation section for target_mod (5.8 and later; R2): name vmlinux as its section's object");
}

/// A vmlinux as before 5.8.
fn old_kernel(code: &Code<'_>) -> ObjTree {
    let tree = ObjTree::with_code(X86_64, code);
    tree.assemble_text(
        "function klp_enable_patch\nendfunc klp_enable_patch\nfunction unique\nendfunc unique",
        "old",
    );
    tree.link_vmlinux(&["old.o"]);
    tree.make_list();
    tree
}

/// Up to 5.7 it matters whose code uses a symbol of vmlinux.
#[test]
fn old_kernel_goes_by_the_code() {
    let tree = old_kernel(&Code { patched: "call_to unique", target: "call_to unique", ..Code::default() });
    assert_eq!(
        converted(&tree),
        [
            ".klp.rela.target_mod..text+0x12 .klp.sym.vmlinux.unique,0",
            ".klp.rela.vmlinux..text+0x7 .klp.sym.vmlinux.unique,0",
        ]
    );
}

#[test]
fn old_kernel_refuses_more() {
    let with = |section: &str| {
        let rest = format!(".section {section}\npointer unique");
        refused(&old_kernel(&Code { rest: &rest, ..Code::default() }))
    };
    insta::assert_snapshot!(with("__jump_table, \"aw\""), @"klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in __jump_table+0x0 (R_X86_64_64): the kernel looks at __jump_table while the livepatch is loaded, before this reference is written (R9): test the static key with static_key_enabled() instead of static_branch_likely() and the like");
    insta::assert_snapshot!(with(".init.data, \"aw\""), @"klpbuild: error: cannot convert in.ko: vmlinux:unique,0, used in .init.data+0x0 (R_X86_64_64): .init.data is gone, or has run, when references for vmlinux are written (R9): do not use the symbol in __init code");
    let rest = ".section .rodata, \"a\"\npointer unique";
    let found = converted(&old_kernel(&Code { rest, ..Code::default() }));
    assert_eq!(found, [".klp.rela.vmlinux..rodata+0x0 .klp.sym.vmlinux.unique,0"]);
}

#[test]
fn nothing_to_look_symbols_up_in() {
    let tree = patched("call_to unique");
    fs::create_dir(tree.path("empty")).unwrap();
    tree.write("empty/in.ko", tree.bytes("in.ko"));
    let ran = tree.klpbuild(&["-C", "empty", "convert", "in.ko", "--sysroot", "."]).ends(1);
    insta::assert_snapshot!(said(&tree, &ran), @"klpbuild: error: there is neither a Symbols.list nor a vmlinux in TREE/empty: name the object tree of a kernel that was built with `klpbuild modules` (--objtree DIR), a list (--symbols FILE), or an installed kernel (--release RELEASE, or KDIR=DIR for its headers; klpbuild doctor says what is missing); no kernel is installed here that could be taken (klpbuild kernels lists them)");
    let ran = tree.klpbuild(&["convert", "in.ko", "--objtree", "nowhere"]).ends(1);
    insta::assert_snapshot!(said(&tree, &ran), @"klpbuild: error: TREE/nowhere: no such directory: --objtree names an object tree");
    let ran = tree.klpbuild(&["convert", "in.ko", "--symbols", "nowhere"]).ends(1);
    insta::assert_snapshot!(said(&tree, &ran), @"klpbuild: error: TREE/nowhere: no such file: --symbols names a Symbols.list");
    assert_eq!(tree.bytes("empty/in.ko"), tree.bytes("in.ko"));
}

#[test]
fn list_in_unknown_format() {
    let tree = patched("call_to unique");
    write_list(&tree, "*vmlinux\nunique\n");
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: TREE/Symbols.list: Symbol list is in unknown format: its first line is not klp-convert-symbol-data.0.1; make it anew (klpbuild symbols)");
}

#[test]
fn broken_symvers() {
    let tree = patched("call_to unique");
    tree.write("Module.symvers", "0x00000000\texported\tvmlinux\tEXPORT_SYMBOL\t\nunique\n");
    insta::assert_snapshot!(refused(&tree), @r#"klpbuild: error: TREE/Module.symvers:2: "unique": not a line of Module.symvers (CRC, symbol, module, export type)"#);
}

#[test]
fn vmlinux_of_another_machine() {
    let Some(aarch64) = target("aarch64") else { return };
    let tree = patched("call_to unique");
    tree.write("in.ko", ObjTree::with_livepatch(aarch64).bytes("in.ko"));
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: the livepatch is for another machine than vmlinux (ELF machine 183 and 62): name its own object tree");
}

#[test]
fn system_map_of_another_build() {
    let tree = annotated("twin", &[("vmlinux", "twin", 1)]);
    let map = String::from_utf8(tree.bytes("System.map")).unwrap();
    tree.write("System.map", map.replace("ffffffff81", "ffffffff82"));
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: System.map and TREE/vmlinux are of different builds: positions cannot be told; build again");
}

/// R12: ld makes absolute symbols of livepatch symbols.
#[test]
fn linked_after_its_conversion() {
    let tree = patched("call_to unique");
    tree.convert(&["in.ko"]).ok();
    tree.assemble_text("call_to twin", "more");
    tree.link(&["in.ko", "more.o"], "both.ko");
    fs::rename(tree.path("both.ko"), tree.path("in.ko")).unwrap();
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: it was converted, and then written anew by a tool that does not know livepatch symbols (ld -r, for example; R12): link it again, and convert what comes last");
}

/// The one way to come by this is an editor of bytes.
#[test]
fn converted_in_part() {
    let annotated = ".klp.sym.rela.vmlinux.vmlinux.twin,1";
    let plain = "e".repeat(annotated.len());
    let tree = patched(&format!("call_to unique\ncall_to {plain}"));
    tree.write("Module.symvers", format!("0x00000000\t{plain}\tvmlinux\tEXPORT_SYMBOL\t\n"));
    tree.convert(&["in.ko"]).ok();
    let symvers = tree.bytes("Module.symvers");
    tree.write("Module.symvers", "0x00000000\tother\tvmlinux\tEXPORT_SYMBOL\t\n");
    assert!(refused(&tree).contains("it is converted already, but refers to symbols that are not"));
    tree.write("Module.symvers", symvers);
    let mut bytes = tree.bytes("in.ko");
    let at = bytes.windows(plain.len()).position(|window| window == plain.as_bytes()).unwrap();
    bytes[at..at + plain.len()].copy_from_slice(annotated.as_bytes());
    tree.write("in.ko", bytes);
    insta::assert_snapshot!(refused(&tree), @"klpbuild: error: cannot convert in.ko: it is converted already, but refers to symbols that are not: link it again (delete the .ko, and build)");
}

/// The list alone, without the objects that it was made of.
#[test]
fn list_alone() {
    let tree = ObjTree::new(X86_64);
    let rest = format!("{ANNOTATION}.vmlinux, \"a\"\npointer twin\n.4byte 2");
    let code = "call_to unique\ncall_to exported\ncall_to twin";
    tree.livepatch(&Code { patched: code, rest: &rest, flags: &["NO_INIT"], ..Code::default() });
    let other = ObjTree::new(X86_64);
    // Such a marker comes with each exported symbol.
    other.add_to_vmlinux(".section __ksymtab, \"a\"\n__ksymtab_exported: .8byte 0");
    other.write("in.ko", tree.bytes("in.ko"));
    for name in ["vmlinux", "System.map", "Module.symvers", "modules.order"] {
        fs::remove_file(other.path(name)).unwrap();
    }
    other.klpbuild(&["convert", "--symbols", "Symbols.list", "in.ko"]).ok();
    tree.convert(&["in.ko"]).ok();
    // It only cannot say for which build it is.
    let offset = Regex::new("at offset 0x[0-9a-f]+").unwrap();
    let dump = |tree: &ObjTree| {
        let text = tree.tool("readelf", &["-srW", "in.ko"]);
        offset.replace_all(&text, "").into_owned()
    };
    assert_eq!(dump(&tree), dump(&other));
    other.livepatch(&Code { patched: "call_to twin", ..Code::default() });
    let ran = other.klpbuild(&["convert", "--symbols", "Symbols.list", "in.ko"]).ends(1);
    let said = said(&other, &ran);
    let way_out =
        "positions are not told by the map alone: name the object tree that it was made of (--objtree DIR)";
    assert!(said.contains(way_out) && !said.contains("KLP_MODULE_RELOC("), "{said}");
}

/// A livepatch without references that need anything, and without a patch to be seen.
#[test]
fn nothing_to_convert() {
    let code = Code { patched: "call_to exported", flags: &["NO_PATCH"], ..Code::default() };
    let tree = ObjTree::with_code(X86_64, &code);
    let before = (tree.bytes("in.ko"), tree.stamp("in.ko"));
    let ran = tree.convert(&["in.ko"]).ok();
    assert_eq!(ran.stdout, "klpbuild: in.ko: nothing to convert\n");
    assert_eq!((tree.bytes("in.ko"), tree.stamp("in.ko")), before);
}
