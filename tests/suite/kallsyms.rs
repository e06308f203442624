// SPDX-License-Identifier: GPL-2.0-only
//! Symbols of vmlinux that kallsyms leaves out, though System.map has them.

use std::fs;

use crate::convert::said;
use crate::objtree::{Code, ObjTree, X86_64};
use crate::space::Ran;

/// A symbol that stands for a number.
const ABSOLUTE: &str = ".globl target_size\n.set target_size, 0x600000\n";

#[test]
fn absolute_symbols_are_not_counted() {
    let tree = ObjTree::new(X86_64);
    tree.add_to_vmlinux(ABSOLUTE);
    let map = tree.run("cat", &["System.map"]);
    assert!(map.contains("0000000000600000 A target_size\n"), "{map}");
    for with_map in [true, false] {
        if !with_map {
            fs::remove_file(tree.path("System.map")).unwrap();
        }
        let ran = tree.klpbuild(&["lookup", "target_size"]).ok();
        assert!(
            ran.stdout.ends_with("vmlinux: no livepatch can use it: kallsyms leaves it out, so that the kernel cannot find it (S3)\n"),
            "{with_map}: {ran:?}"
        );
        tree.livepatch(&Code { patched: "call_to target_size", ..Code::default() });
        let ran = tree.convert(&["in.ko"]).ends(1);
        assert!(said(&tree, &ran).contains("target_size"), "{with_map}: {ran:?}");
        assert!(said(&tree, &ran).contains("kallsyms leaves it out"), "{with_map}: {ran:?}");
    }
}

/// verify goes by the same table.
#[test]
fn a_livepatch_that_uses_one_is_wrong() {
    let tree = ObjTree::new(X86_64);
    tree.add_to_vmlinux(".data\n.globl target_size\ntarget_size: .8byte 1\n");
    tree.livepatch(&Code { patched: "call_to target_size", ..Code::default() });
    tree.convert(&["in.ko"]).ok();
    tree.klpbuild(&["verify", "in.ko"]).ok();
    tree.add_to_vmlinux(ABSOLUTE);
    let ran = tree.klpbuild(&["verify", "in.ko"]).ends(1);
    assert!(
        ran.stdout.contains("error S3: .klp.sym.vmlinux.target_size,0: kallsyms leaves it out, so that the kernel cannot find it; "),
        "{ran:?}"
    );
}

/// In a list of symbols that the kernel itself prints, absolute ones are per-CPU data, which it knows.
#[test]
fn what_the_kernel_prints_is_counted_as_it_is() {
    let tree = ObjTree::new(X86_64);
    for (first, sympos) in [("A __per_cpu_start", "1 of 2"), ("D __per_cpu_start", "-")] {
        tree.write(
            "list",
            format!(
                "0000000000000000 {first}\n0000000000000010 A twin_data\nffffffff81000000 T _text\n\
                 ffffffff81000005 d twin_data\n"
            ),
        );
        fs::create_dir_all(tree.path("root/lib/modules")).unwrap();
        fs::create_dir_all(tree.path("headers/include/config")).unwrap();
        tree.write("headers/include/config/kernel.release", "9.0-list\n");
        let ran = tree.klpbuild(&[
            "lookup",
            "twin_data",
            "--objtree",
            "headers",
            "--system-map",
            "list",
            "--sysroot",
            "root",
        ]);
        let line = ran.stdout.lines().find(|line| line.contains("0000000000000010")).unwrap_or_default();
        assert!(line.contains(sympos), "{first}: {ran:?}");
    }
}

/// What a kernel's own scripts/kallsyms.c leaves out is left out, and nothing else.
#[test]
fn the_source_tree_tells() {
    let tree = ObjTree::new(X86_64);
    tree.add_to_vmlinux(".text\n.globl odd_glue, kept\nodd_glue: ret\nkept: ret\n");
    let shown = |name: &str| tree.klpbuild(&["lookup", name]).ok().stdout;
    assert!(shown("odd_glue").contains("1 of 1") && shown("kept").contains("1 of 1"));
    fs::create_dir_all(tree.path("source/scripts")).unwrap();
    for file in ["Makefile", "Kconfig", "scripts/Makefile.build"] {
        tree.write(&format!("source/{file}"), "");
    }
    tree.write(
        "source/scripts/kallsyms.c",
        "static const char * const ignored_suffixes[] = { \"_glue\", NULL };\n\
         if (toupper(type) == 'A' && strcmp(name, \"__gp\"))\n\treturn true;\n",
    );
    assert!(shown("odd_glue").contains("kallsyms leaves it out") && shown("kept").contains("1 of 1"));
}

/// S6: kernels of CONFIG_LTO_CLANG from 6.2 to 6.10 cut vmlinux's names before they compare them, and count what is
/// then of one name.
#[test]
fn names_are_cut_as_the_kernel_cuts_them() {
    let functions = ["cut.llvm.17", "cut.llvm.29", "cut.part.0"];
    let more: String =
        functions.iter().map(|name| format!(".text\nfunction {name}\nnop\nendfunc {name}\n")).collect();
    for (release, options, cut) in [
        ("6.1.9", "CONFIG_LTO_CLANG=y\n", &[][..]),
        ("6.2.0", "CONFIG_LTO_CLANG=y\n", &functions[..]),
        ("6.4.16", "CONFIG_LTO_CLANG=y\n", &functions[..]),
        ("6.5.0", "CONFIG_LTO_CLANG=y\n", &functions[..2]),
        ("6.10.9", "CONFIG_LTO_CLANG=y\n", &functions[..2]),
        ("6.11.0", "CONFIG_LTO_CLANG=y\n", &[][..]),
        ("6.6.0", "# CONFIG_LTO_CLANG is not set\n", &[][..]),
    ] {
        let tree = ObjTree::new(X86_64);
        tree.add_to_vmlinux(&more);
        tree.write(".config", options);
        fs::create_dir_all(tree.path("include/config")).unwrap();
        tree.write("include/config/kernel.release", format!("{release}\n"));
        for name in functions {
            let ran = tree.klpbuild(&["lookup", name]);
            if cut.contains(&name) {
                let said = "cuts vmlinux's names before it compares them, and knows it as cut: see klpbuild lookup cut";
                ran.ends(1).says(&[said]);
            } else {
                let advice = format!(".old_name = \"{name}\", .old_sympos = 0\n");
                assert!(ran.stdout.ends_with(&advice), "{release} {name}: {ran:?}");
            }
        }
        let positions = |ran: &Ran| {
            let lines = ran.stdout.lines().filter(|line| line.contains("vmlinux-d.o") && !cut.is_empty());
            lines.filter_map(|line| line.split_whitespace().nth(6).map(str::to_owned)).collect::<Vec<_>>()
        };
        let ran = tree.klpbuild(&["lookup", "cut"]).ends(i32::from(cut.is_empty()));
        let all: Vec<String> = (1..=cut.len()).map(|position| position.to_string()).collect();
        assert_eq!(positions(&ran), all, "{release}: {ran:?}");
        let rest = ".section .klp.module_relocs.vmlinux, \"a\"\npointer \"cut\"\n.4byte 2\n";
        tree.livepatch(&Code { patched: "call_to cut", rest, ..Code::default() });
        let ran = tree.convert(&["in.ko"]);
        if cut.is_empty() {
            ran.ends(1).says(&["cut: vmlinux does not define it; ", "cut.llvm.17 (vmlinux)"]);
        } else {
            ran.ok();
            let symbols = tree.tool("nm", &["in.ko"]);
            assert!(symbols.contains(" .klp.sym.vmlinux.cut,2\n"), "{release}: {symbols}");
            tree.klpbuild(&["verify", "in.ko"]).ok();
        }
    }
}
