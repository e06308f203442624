// SPDX-License-Identifier: GPL-2.0-only
//! What a livepatch declares of symbols that are exported, and what BTF tells where there is no other debugging
//! information.

use crate::doubts::{VMLINUX, livepatch, refused, replacing_plain, tree, warnings};
use crate::header::compile;
use crate::objtree::ObjTree;

/// What vmlinux exports here, and a module.
const EXPORTS: &str = "\
0x00000000\tklp_enable_patch\tvmlinux\tEXPORT_SYMBOL_GPL\t
0x00000000\tfirst\tvmlinux\tEXPORT_SYMBOL_GPL\t
0x00000000\tcounter\tvmlinux\tEXPORT_SYMBOL\t
0x00000000\town_first\tdrivers/target/target-mod\tEXPORT_SYMBOL\t
";

/// A tree with these exports.
fn exporting(options: &[&str]) -> ObjTree {
    let tree = tree(options);
    tree.write("Module.symvers", EXPORTS);
    tree
}

/// A new function for `plain`, which returns `expression`.
fn with(tree: &ObjTree, declaration: &str, expression: &str, options: &[&str]) {
    let code = format!("{declaration}\nstatic int new_plain(int value) {{ return (long)({expression}); }}\n");
    replacing_plain(tree, &code, options);
}

#[test]
fn declarations_of_exported_symbols_are_compared() {
    let tree = exporting(&["-g"]);
    with(&tree, "extern int first(int); extern const unsigned int counter;", "first(1) + counter", &["-g"]);
    assert_eq!(warnings(&tree), Vec::<String>::new());
    for (declaration, expression, expected) in [
        (
            "extern int first(long value);",
            "first(1)",
            "first: it is declared as `int first(long)` (livepatch.c:7), but vmlinux has `int first(int value)`; declare it \
             as it is (S9)",
        ),
        (
            "extern char *counter;",
            "counter",
            "counter: it is declared as `char *counter` (livepatch.c:7), but vmlinux has `int counter`; declare it as it is \
             (S9)",
        ),
    ] {
        with(&tree, declaration, expression, &["-g"]);
        assert_eq!(warnings(&tree), [expected]);
    }
    // A module's, which becomes a livepatch symbol.
    let code =
        "extern void *own_first(int value);\nstatic int new_user(int value) { return own_first(1) != 0; }";
    livepatch(&tree, code, &[], &[("user_one", "new_user")], &["-g"]);
    let expected = "target_mod:own_first,0: it is declared as `void *own_first(int)` (livepatch.c:7), but target_mod has \
                    `int own_first(int value)`; declare it as it is (S9)";
    assert_eq!(warnings(&tree), [expected]);
}

/// The compiler's own declaration of what it may call by itself has no types.
#[test]
fn what_the_compiler_declares_by_itself_says_nothing() {
    let tree = exporting(&["-g"]);
    let memcpy = "void *memcpy(void *, const void *, unsigned long);\n\
                  void *memcpy(void *to, const void *from, unsigned long size) { return size ? to : (void *)from; }\n";
    compile(&tree, "more", memcpy, &["-O2", "-g"]);
    tree.link_vmlinux(&[&VMLINUX[..], &["more.o"]].concat());
    tree.make_list();
    tree.write("Module.symvers", format!("{EXPORTS}0x00000000\tmemcpy\tvmlinux\tEXPORT_SYMBOL\t\n"));
    with(&tree, "extern char banner[16];", "__builtin_memcpy(banner, \"0123456789\", value)", &["-g"]);
    let told = tree.tool("readelf", &["--debug-dump=info", "in.ko"]);
    assert!(told.contains("__builtin_memcpy"), "{told}");
    assert_eq!(warnings(&tree), Vec::<String>::new());
}

#[test]
fn an_exported_symbol_that_is_used_as_something_else() {
    for options in [&["-g"][..], &[]] {
        let tree = exporting(options);
        for (declaration, expression, expected) in [
            (
                "extern int first;",
                "first",
                "it is a function, but read or written as a variable, in .text+0x2",
            ),
            (
                "extern int counter(int);",
                "counter(1)",
                "it is a variable, but called as a function, in .text+0x6",
            ),
        ] {
            with(&tree, declaration, expression, options);
            let said = refused(&tree);
            assert!(said.starts_with("klpbuild: error: cannot convert in.ko: "), "{said}");
            assert!(said.contains(expected) && said.contains("(S9)"), "{said}");
            assert_eq!(said.contains("it is declared as `"), !options.is_empty(), "{said}");
        }
    }
}

/// A module that is built without debugging information may have BTF, as the kernel.
#[test]
fn btf_tells_where_there_is_nothing_else() {
    for (kernel, own) in [("-g", "-gbtf"), ("-gbtf", "-gbtf"), ("-gbtf", "-g")] {
        let tree = exporting(&[kernel]);
        let code = "
struct opaque;
static long new_plain(int value) { return value; }
static int new_second(int value) { return value; }
static int new_own(struct opaque *value) { return value != 0; }
";
        let vmlinux = [("plain", "new_plain"), ("second", "new_second")];
        livepatch(&tree, code, &vmlinux, &[("own_first", "new_own")], &[own]);
        let told = |place: &str, new: &str, old: &str| {
            format!(
                "klp_func {place},0: the new function is `{new}`, the old one `{old}`; let the new function take and \
                 return what the old one does (S9)"
            )
        };
        let expected = [
            told("vmlinux:plain", "long new_plain(int value)", "int plain(int value)"),
            told("target_mod:own_first", "int new_own(struct opaque *value)", "int own_first(int value)"),
        ];
        assert_eq!(warnings(&tree), expected, "{kernel} {own}");
    }
}

/// BTF has functions that are written in assembler as `void f(void)`, and nothing beside it tells which these are.
#[test]
fn btf_of_a_new_function_in_assembler_says_nothing() {
    let tree = exporting(&["-g"]);
    let code = "static void new_plain(void) { }\n";
    replacing_plain(&tree, code, &["-gbtf"]);
    assert_eq!(warnings(&tree), Vec::<String>::new());
    replacing_plain(&tree, code, &["-g"]);
    let found = warnings(&tree);
    assert!(found.len() == 1 && found[0].contains("the new function is `void new_plain(void)`"), "{found:?}");
}

/// BTF that goes with that of vmlinux says nothing beside another vmlinux.
#[test]
fn btf_on_top_of_another() {
    let tree = exporting(&["-gbtf"]);
    let code = "static long new_plain(int value) { return value; }\n";
    replacing_plain(&tree, code, &["-g"]);
    // As the kernel's makefiles do: from the debugging information, which goes then.
    tree.run("pahole", &["-J", "--btf_base", "vmlinux", "in.ko"]);
    tree.tool("strip", &["--strip-debug", "in.ko"]);
    let found = warnings(&tree);
    assert_eq!(found.len(), 1, "{found:?}");
    let expected = "the new function is `long new_plain(int value)`, the old one `int plain(int value)`";
    assert!(found[0].contains(expected), "{found:?}");
}
