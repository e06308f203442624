// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild header`, with a real C compiler; and what debugging information adds to messages.

use crate::convert::said;
use crate::objtree::{self, Code, ObjTree, X86_64};

/// Uses each macro, as a livepatch would.
const SOURCE: &str = "\
#include \"klp_relocs.h\"

extern int twin(void);
extern long setting_twin;
extern int other_twin(void) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, named_twin, 2);
extern int third_twin(void) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, named_twin, 1);
extern int only(void) KLP_RELOC_SYMBOL(vmlinux, vmlinux, unique);
extern char text[];

static KLP_MODULE_RELOC(vmlinux) vmlinux_relocs[] = {
\tKLP_SYMPOS(twin, 2),
\tKLP_SYMPOS(setting_twin, 2),
};
static KLP_MODULE_RELOC(target_mod) text_reloc[] = { KLP_SYMPOS(text, 0) };

int in_c(void);
int in_c(void)
{
\treturn twin() + setting_twin + other_twin() + third_twin() + only() + text[1];
}
";

/// The compilers to test with: gcc, and clang if it is there.
pub fn compilers() -> Vec<&'static str> {
    let has_clang = std::process::Command::new(CLANG).arg("--version").output().is_ok();
    if !has_clang {
        objtree::say_skipped(&format!("clang: there is no {CLANG} (tests/packages test)"));
    }
    ["gcc", CLANG].into_iter().take(1 + usize::from(has_clang)).collect()
}

/// Debian's clang of one version.
pub const CLANG: &str = "clang-19";

/// The names of an object's livepatch symbols, sorted.
fn livepatch_symbols(tree: &ObjTree, name: &str) -> Vec<String> {
    let symbols = tree.tool("readelf", &["-sW", name]);
    let livepatch = symbols.lines().filter(|line| line.contains("OS [0xff20]"));
    let mut names: Vec<String> =
        livepatch.filter_map(|line| line.split(' ').next_back()).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

#[track_caller]
pub fn compile(tree: &ObjTree, name: &str, text: &str, options: &[&str]) {
    compile_with(tree, "gcc", name, text, options);
}

/// Compiles `text` as the file `name.c` to `name.o`, as the kernel is compiled.
#[track_caller]
fn compile_with(tree: &ObjTree, compiler: &str, name: &str, text: &str, options: &[&str]) {
    let (source, object) = (format!("{name}.c"), format!("{name}.o"));
    tree.write(&source, text);
    let always =
        ["-Wall", "-Werror", "-ffreestanding", "-fno-pie", "-mcmodel=kernel", "-c", &source, "-o", &object];
    tree.run(compiler, &[&always, options].concat());
}

#[test]
fn the_header_works_in_c() {
    let standards = ["-std=gnu89", "-std=gnu11"];
    for (compiler, standard) in compilers().into_iter().flat_map(|c| standards.map(|standard| (c, standard)))
    {
        let tree = ObjTree::new(X86_64);
        tree.klpbuild(&["header", "-o", "klp_relocs.h"]).ok();
        assert_eq!(tree.klpbuild(&["header"]).ok().stdout.as_bytes(), tree.bytes("klp_relocs.h"));
        // clang may have GNU's assembler do the rest.
        let assembler = (compiler == CLANG && standard == "-std=gnu11").then_some("-fno-integrated-as");
        let options = [standard, "-O2", "-Wextra"].into_iter().chain(assembler).collect::<Vec<_>>();
        compile_with(&tree, compiler, "in_c", SOURCE, &options);
        let dump = |arguments: &[&str]| tree.tool("readelf", &[arguments, &["in_c.o"]].concat());
        let bytes = dump(&["-x", ".klp.module_relocs.vmlinux"]);
        // Addresses are relocated; what follows each is the position.
        assert!(bytes.contains(" 00000000 00000000 02000000 00000000 "), "{bytes}");
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
        let symbols = dump(&["-sW"]);
        for name in ["named_twin,1", "named_twin,2", "unique,0"] {
            let name = format!(" UND .klp.sym.rela.vmlinux.vmlinux.{name}\n");
            assert!(symbols.contains(&name), "{compiler}: {symbols}");
        }
    }
}

/// The lines that the table of an ambiguous symbol shows, pasted one after the other: an array each, of which some
/// compilers align those of two records and more.
const ARRAYS: &str = "\
#include \"klp_relocs.h\"

extern int twin(void);
extern long setting_twin;
extern int unique(void);
static KLP_MODULE_RELOC(vmlinux) twin_reloc[] = { KLP_SYMPOS(twin, 2) };
static KLP_MODULE_RELOC(vmlinux) others[] = { KLP_SYMPOS(setting_twin, 2), KLP_SYMPOS(unique, 0), KLP_SYMPOS(twin, 2) };
static KLP_MODULE_RELOC(vmlinux) setting_twin_reloc[] = { KLP_SYMPOS(setting_twin, 2) };

int in_c(void);
int in_c(void)
{
\treturn twin() + setting_twin + unique();
}
";

/// One array or several for an object, in a file or in two: records follow each other without gaps.
#[test]
fn arrays_for_one_object() {
    for compiler in compilers() {
        let tree = ObjTree::with_code(X86_64, &Code { patched: "call_to in_c", ..Code::default() });
        tree.klpbuild(&["header", "-o", "klp_relocs.h"]).ok();
        std::fs::rename(tree.path("in.ko"), tree.path("minimal.o")).unwrap();
        let second = ARRAYS.replace("in_c", "in_second");
        for (name, text) in [("in_c", ARRAYS), ("second", &second)] {
            compile_with(&tree, compiler, name, text, &["-O2"]);
        }
        tree.link(&["minimal.o", "in_c.o", "second.o"], "in.ko");
        let bytes = tree.tool("readelf", &["-SW", "in.ko"]);
        let section = bytes.lines().find(|line| line.contains(" .klp.module_relocs.vmlinux ")).unwrap();
        // Twice five records of 12 bytes.
        assert!(section.contains(" 000078 00 "), "{compiler}: {section}");
        tree.convert(&["in.ko"]).ok();
        let expected =
            [".klp.sym.vmlinux.setting_twin,2", ".klp.sym.vmlinux.twin,2", ".klp.sym.vmlinux.unique,0"];
        assert_eq!(livepatch_symbols(&tree, "in.ko"), expected, "{compiler}");
    }
}

/// From C to a livepatch: each macro and form of annotation, with each compiler; with clang's ThinLTO, the linker makes
/// the object; and with a header of old, which gives clang the quotes that GNU's assembler needs.
#[test]
fn annotations_in_c_are_converted() {
    for compiler in compilers() {
        for (lto, quoted) in [(false, false), (false, true), (true, false), (true, true)] {
            if compiler == "gcc" && (lto || quoted) {
                continue;
            }
            annotations_are_converted(compiler, lto, quoted);
        }
    }
}

fn annotations_are_converted(compiler: &str, lto: bool, quoted: bool) {
    let tree = ObjTree::with_code(X86_64, &Code { patched: "call_to in_c", ..Code::default() });
    let header = tree.klpbuild(&["header"]).ok().stdout;
    let condition = if quoted { "#ifdef nowhere" } else { "#ifdef __clang__" };
    tree.write("klp_relocs.h", header.replace("#ifdef __clang__", condition));
    let source = SOURCE.replace("(text, 0)", "(target_setting, 0)").replace("text[", "target_setting[");
    let options = if lto { &["-O2", "-flto=thin"][..] } else { &["-O2", "-g"] };
    compile_with(&tree, compiler, "in_c", &source.replace(" text", " target_setting"), options);
    std::fs::rename(tree.path("in.ko"), tree.path("minimal.o")).unwrap();
    if lto {
        tree.run("ld.lld-19", &["-r", "-m", "elf_x86_64", "in_c.o", "-o", "native.o"]);
        std::fs::rename(tree.path("native.o"), tree.path("in_c.o")).unwrap();
    }
    let has_quotes = tree.tool("readelf", &["-sW", "in_c.o"]).contains(" UND \".klp.sym.rela.vmlinux");
    assert_eq!(has_quotes, quoted, "{compiler} {lto}");
    tree.link(&["minimal.o", "in_c.o"], "in.ko");
    tree.convert(&["in.ko"]).ok();
    let expected = [
        ".klp.sym.target_mod.target_setting,0",
        ".klp.sym.vmlinux.named_twin,1",
        ".klp.sym.vmlinux.named_twin,2",
        ".klp.sym.vmlinux.setting_twin,2",
        ".klp.sym.vmlinux.twin,2",
        ".klp.sym.vmlinux.unique,0",
    ];
    assert_eq!(livepatch_symbols(&tree, "in.ko"), expected, "{compiler} {lto} {quoted}");
    assert!(!tree.tool("readelf", &["-SW", "in.ko"]).contains("module_relocs"));
    tree.klpbuild(&["verify", "in.ko"]).ok();
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
    klpbuild: error: cannot convert in.ko: start_up: it is __init: its memory is freed when vmlinux has come up, long before a livepatch could use it (R9)
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
    klpbuild: error: cannot convert in.ko: Unable to find missing symbol: dead: nothing exports it, and neither vmlinux nor any module defines it; the nearest names are _end (vmlinux)
    klpbuild:   used in .text+0xc (R_X86_64_PLT32)
    ");
}
