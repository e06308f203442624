//! `klpbuild header`, with a real C compiler; and what debugging information adds to messages.

use crate::convert::said;
use crate::objtree::{Code, ObjTree, X86_64};

/// Uses each macro, as a livepatch would.
const SOURCE: &str = "\
#include \"klp_relocs.h\"

extern int twin(void);
extern long setting_twin;
extern int other_twin(void) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, named_twin, 2);
extern char text[];

static KLP_MODULE_RELOC(vmlinux) vmlinux_relocs[] = {
\tKLP_SYMPOS(twin, 3),
\tKLP_SYMPOS(setting_twin, 2),
};
static KLP_MODULE_RELOC(target_mod) text_reloc[] = { KLP_SYMPOS(text, 0) };

int in_c(void);
int in_c(void)
{
\treturn twin() + setting_twin + other_twin() + text[1];
}
";

/// Compiles `text` as the file `name.c` to `name.o`, as the kernel is compiled.
#[track_caller]
fn compile(tree: &ObjTree, name: &str, text: &str, options: &[&str]) {
    let (source, object) = (format!("{name}.c"), format!("{name}.o"));
    tree.write(&source, text);
    let always =
        ["-Wall", "-Werror", "-ffreestanding", "-fno-pie", "-mcmodel=kernel", "-c", &source, "-o", &object];
    tree.run("gcc", &[options, &always].concat());
}

#[test]
fn the_header_works_in_c() {
    for standard in ["-std=gnu89", "-std=gnu11"] {
        let tree = ObjTree::new(X86_64);
        tree.klpbuild(&["header", "-o", "klp_relocs.h"]).ok();
        assert_eq!(tree.klpbuild(&["header"]).ok().stdout.as_bytes(), tree.bytes("klp_relocs.h"));
        compile(&tree, "in_c", SOURCE, &[standard, "-O2", "-Wextra"]);
        let dump = |arguments: &[&str]| tree.tool("readelf", &[arguments, &["in_c.o"]].concat());
        let bytes = dump(&["-x", ".klp.module_relocs.vmlinux"]);
        // Addresses are relocated; what follows each is the position.
        assert!(bytes.contains(" 00000000 00000000 03000000 00000000 "), "{bytes}");
        assert!(bytes.contains(" 00000000 02000000 "), "{bytes}");
        let bytes = dump(&["-x", ".klp.module_relocs.target_mod"]);
        assert!(bytes.contains("0x00000000 00000000 00000000 00000000  "), "{bytes}");
        let relocations = dump(&["-rW"]);
        let mut annotations: Vec<String> = relocations
            .split("\n\n")
            .filter(|section| section.contains("'.rela.klp.module_relocs."))
            .flat_map(|section| section.lines().filter(|line| line.contains("R_X86_64_64 ")))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .map(|words| format!("{} {}", words[0], words[4..].concat()))
            .collect();
        annotations.sort_unstable();
        let expected =
            ["0000000000000000 text+0", "0000000000000000 twin+0", "000000000000000c setting_twin+0"];
        assert_eq!(annotations, expected, "{relocations}");
        assert!(dump(&["-sW"]).contains(" UND .klp.sym.rela.vmlinux.vmlinux.named_twin,2\n"));
    }
}

/// From C to a livepatch.
#[test]
fn annotations_in_c_are_converted() {
    let tree = ObjTree::with_code(X86_64, &Code { patched: "call_to in_c", ..Code::default() });
    tree.klpbuild(&["header", "-o", "klp_relocs.h"]).ok();
    let source = SOURCE.replace("(text, 0)", "(target_setting, 0)").replace("text[", "target_setting[");
    compile(&tree, "in_c", &source.replace(" text", " target_setting"), &["-O2", "-g"]);
    std::fs::rename(tree.path("in.ko"), tree.path("minimal.o")).unwrap();
    tree.link(&["minimal.o", "in_c.o"], "in.ko");
    tree.convert(&["in.ko"]).ok();
    let symbols = tree.tool("readelf", &["-sW", "in.ko"]);
    let mut names: Vec<&str> = symbols
        .lines()
        .filter(|line| line.contains("OS [0xff20]"))
        .filter_map(|l| l.split(' ').next_back())
        .collect();
    names.sort_unstable();
    let expected = [
        ".klp.sym.target_mod.target_setting,0",
        ".klp.sym.vmlinux.named_twin,2",
        ".klp.sym.vmlinux.setting_twin,2",
        ".klp.sym.vmlinux.twin,3",
    ];
    assert_eq!(names, expected);
    assert!(!tree.tool("readelf", &["-SW", "in.ko"]).contains("module_relocs"));
}

#[test]
fn messages_name_the_line_in_c() {
    let tree = ObjTree::new(X86_64);
    let source = "\
static const char mark[] __attribute__((section(\".modinfo\"), used)) = \"livepatch=Y\";
int uniqe(void);
extern int start_up;

int first(void);
int first(void)
{
\treturn uniqe() + 1;
}
int *second = &start_up;
";
    compile(&tree, "in_c", source, &["-O2", "-g"]);
    std::fs::rename(tree.path("in_c.o"), tree.path("in.ko")).unwrap();
    insta::assert_snapshot!(said(&tree, &tree.convert(&["in.ko"]).ends(1)), @"
    klpbuild: error: cannot convert in.ko: Unable to find missing symbol: uniqe: nothing exports it, and neither vmlinux nor any module defines it; the nearest names are unique (vmlinux)
    klpbuild:   used in .text+0x5 (R_X86_64_PLT32), in_c.c:8
    klpbuild: start_up is __init in vmlinux: its memory is freed when vmlinux has come up, long before a livepatch could use it (R9)
    klpbuild:   used in .data+0x0 (R_X86_64_64)
    ");
    tree.link(&["in.ko"], "linked.ko");
    let linked = said(&tree, &tree.convert(&["linked.ko"]).ends(1));
    assert!(linked.contains(", in_c.c:8\n"), "{linked}");
}

/// What vmlinux has no symbol for.
#[test]
fn messages_name_what_became_of_a_function() {
    let tree =
        ObjTree::with_code(X86_64, &Code { patched: "call_to inlined\ncall_to dead", ..Code::default() });
    let source = "\
static inline int inlined(int value)
{
\treturn value * 3;
}
static int dead(void)
{
\treturn 1;
}
int caller(int value);
int caller(int value)
{
\treturn inlined(value) + (0 ? dead() : 0);
}
";
    compile(&tree, "fates", source, &["-O2", "-g"]);
    tree.link_vmlinux(&["vmlinux-a.o", "fates.o"]);
    tree.make_list();
    insta::assert_snapshot!(said(&tree, &tree.convert(&["in.ko"]).ends(1)), @"
    klpbuild: error: cannot convert in.ko: Unable to find missing symbol: inlined: nothing exports it, and neither vmlinux nor any module defines it; no name in the map is like it; in vmlinux, the function at fates.c:1 was inlined everywhere, into caller: patch the functions that call it, and copy it
    klpbuild:   used in .text+0x7 (R_X86_64_PLT32)
    klpbuild: Unable to find missing symbol: dead: nothing exports it, and neither vmlinux nor any module defines it; the nearest names are _end (vmlinux)
    klpbuild:   used in .text+0xc (R_X86_64_PLT32)
    ");
}
