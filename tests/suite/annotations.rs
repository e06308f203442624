// SPDX-License-Identifier: GPL-2.0-only
//! What `klpbuild convert` makes of annotations: those that fit, contradict each other, or mean nothing.

use crate::convert::{converted, refused};
use crate::objtree::{Code, ObjTree, X86_64, targets};

/// How the names of sections begin that hold annotations.
pub const ANNOTATION: &str = ".section .klp.module_relocs";

/// A livepatch whose new function in vmlinux calls `name`, with annotations: object, symbol and position.
pub fn annotated(name: &str, annotations: &[(&str, &str, u32)]) -> ObjTree {
    let record = |(object, symbol, position): &(&str, &str, u32)| {
        format!("{ANNOTATION}.{object}, \"a\"\npointer \"{symbol}\"\n.4byte {position}\n")
    };
    let rest: String = annotations.iter().map(record).collect();
    let code = format!("call_to {name}");
    ObjTree::with_code(X86_64, &Code { patched: &code, rest: &rest, ..Code::default() })
}

/// What is said of a refused conversion, but for the table of definitions, which has to be there, and what to paste.
#[track_caller]
fn without_table(tree: &ObjTree) -> String {
    let text = refused(tree);
    let begin = text.find("klpbuild: Valid KLP_SYMPOS for symbol ").unwrap();
    let end = begin + text[begin..].find("klpbuild:   used in ").unwrap();
    assert!(text[begin..end].contains("  source file  "), "{text}");
    assert!(
        text[begin..end].contains("klpbuild:   #include \"klp_relocs.h\"\nklpbuild:   static "),
        "{text}"
    );
    text[..begin].to_owned() + &text[end..]
}

#[test]
fn annotation_for_an_unknown_object() {
    insta::assert_snapshot!(refused(&annotated("twin", &[("target_mud", "twin", 1)])), @"
    klpbuild: error: cannot convert in.ko: Provided KLP_SYMPOS does not match a symbol: twin: there is no object target_mud; the nearest are target_mod; write vmlinux or the run-time name of a module
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

#[test]
fn annotation_for_the_wrong_object() {
    insta::assert_snapshot!(without_table(&annotated("twin", &[("provider", "twin", 1)])), @"
    klpbuild: error: cannot convert in.ko: Provided KLP_SYMPOS does not match a symbol: twin: provider does not define it
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
    insta::assert_snapshot!(refused(&annotated("uniqe", &[("vmlinux", "uniqe", 0)])), @"
    klpbuild: error: cannot convert in.ko: Provided KLP_SYMPOS does not match a symbol: uniqe: vmlinux does not define it; the nearest names are unique (vmlinux)
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

#[test]
fn annotation_with_position_0_of_several() {
    insta::assert_snapshot!(without_table(&annotated("twin", &[("vmlinux", "twin", 0)])), @"
    klpbuild: error: cannot convert in.ko: Define KLP_SYMPOS for the symbol: twin: position 0 means the only one, but vmlinux has 3 of this name
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

#[test]
fn annotation_with_a_position_too_high() {
    insta::assert_snapshot!(without_table(&annotated("twin", &[("vmlinux", "twin", 4)])), @"
    klpbuild: error: cannot convert in.ko: Provided KLP_SYMPOS does not match a symbol: twin: there is no position 4: vmlinux has 3 of this name, counted from 1
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
    insta::assert_snapshot!(without_table(&annotated("unique", &[("vmlinux", "unique", 2)])), @"
    klpbuild: error: cannot convert in.ko: Provided KLP_SYMPOS does not match a symbol: unique: there is no position 2: vmlinux has 1 of this name, counted from 1
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

#[test]
fn conflicting_annotations() {
    let tree = annotated("twin", &[("vmlinux", "twin", 1), ("vmlinux", "twin", 2)]);
    insta::assert_snapshot!(refused(&tree), @"
    klpbuild: error: cannot convert in.ko: Conflicting KLP_SYMPOS definition: twin is annotated both as vmlinux's at position 1 and as vmlinux's at position 2: leave one of them; or, if each is meant in its own file, declare it there with its position as a part of its name, and without KLP_MODULE_RELOC:
    klpbuild:   extern <type> twin KLP_RELOC_SYMBOL_POS(<patched object>, vmlinux, twin, 1);
    klpbuild:   extern <type> twin KLP_RELOC_SYMBOL_POS(<patched object>, vmlinux, twin, 2);
    ");
    let tree = annotated("twin", &[("vmlinux", "twin", 1), ("target_mod", "twin", 1)]);
    insta::assert_snapshot!(refused(&tree), @"
    klpbuild: error: cannot convert in.ko: Conflicting KLP_SYMPOS definition: twin is annotated both as vmlinux's at position 1 and as target_mod's at position 1: leave one of them; or, if each is meant in its own file, declare it there with its position as a part of its name, and without KLP_MODULE_RELOC:
    klpbuild:   extern <type> twin KLP_RELOC_SYMBOL_POS(<patched object>, vmlinux, twin, 1);
    klpbuild:   extern <type> twin KLP_RELOC_SYMBOL_POS(<patched object>, target_mod, twin, 1);
    ");
    let name = ".klp.sym.rela.vmlinux.vmlinux.twin,1";
    insta::assert_snapshot!(refused(&annotated(&format!("\"{name}\""), &[("vmlinux", name, 1)])), @"
    klpbuild: error: cannot convert in.ko: Conflicting KLP_SYMPOS definition: twin is annotated by its assembler name and by KLP_MODULE_RELOC; leave one of them
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    ");
}

/// An annotation twice is no conflict.
#[test]
fn equal_annotations() {
    let tree = annotated("twin", &[("vmlinux", "twin", 2), ("vmlinux", "twin", 2)]);
    assert_eq!(converted(&tree), [".klp.rela.vmlinux..text+0x7 .klp.sym.vmlinux.twin,2"]);
}

/// Arrays of one object that the compiler aligned: between their records lie zero bytes.
#[test]
fn annotations_with_gaps() {
    let rest = format!(
        "{ANNOTATION}.vmlinux, \"a\"\npointer twin\n.4byte 2\n.balign 32\npointer setting_twin\n.4byte 2\n\
         pointer unique\n.4byte 0\n.balign 32\n"
    );
    let code = "call_to twin\nrefer_to setting_twin\ncall_to unique";
    for target in targets() {
        let tree = ObjTree::with_code(target, &Code { patched: code, rest: &rest, ..Code::default() });
        let found = converted(&tree);
        for name in ["twin,2", "setting_twin,2", "unique,0"] {
            let symbol = format!(".klp.sym.vmlinux.{name}");
            assert!(found.iter().any(|line| line.ends_with(&symbol)), "{}: {found:?}", target.name);
        }
        assert!(!tree.tool("readelf", &["-SW", "out.ko"]).contains("module_relocs"));
    }
}

#[test]
fn malformed_annotations() {
    let with = |rest: &str| {
        let rest = format!("{ANNOTATION}.vmlinux, \"a\"\n{rest}");
        refused(&ObjTree::with_code(
            X86_64,
            &Code { patched: "call_to twin", rest: &rest, ..Code::default() },
        ))
    };
    insta::assert_snapshot!(with("pointer twin\n.4byte 1\n.4byte 2"), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.vmlinux has 16 bytes, of which only 12 refer to a symbol: it is not made by KLP_MODULE_RELOC");
    insta::assert_snapshot!(with("pointer twin\n.4byte 1\n.4byte 2\npointer unique\n.4byte 0"), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.vmlinux has bytes at 0xc that belong to no symbol, or records that overlap: it is not made by KLP_MODULE_RELOC");
    insta::assert_snapshot!(with("pointer twin\n.reloc .-4, R_X86_64_64, unique\n.8byte 0"), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.vmlinux has bytes at 0xc that belong to no symbol, or records that overlap: it is not made by KLP_MODULE_RELOC");
    insta::assert_snapshot!(with("pointer twin 8\n.4byte 1"), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.vmlinux refers to twin+0x8 at 0x0: only whole symbols can be annotated");
    insta::assert_snapshot!(with(".4byte 1\npointer twin"), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.vmlinux has a record that ends outside of it");
    insta::assert_snapshot!(with("pointer shared\n.4byte 1"), @"klpbuild: error: cannot convert in.ko: what is 0x0 bytes into .text is annotated in section .klp.module_relocs.vmlinux, but defined in this very module: declare it extern, and do not define it");
    insta::assert_snapshot!(with(".8byte 0\n.4byte 1"), @"klpbuild: error: cannot convert in.ko: section .klp.module_relocs.vmlinux has 12 bytes, of which only 0 refer to a symbol: it is not made by KLP_MODULE_RELOC");
}
