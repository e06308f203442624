// SPDX-License-Identifier: GPL-2.0-only
//! Livepatches whose names are all there, and which mean something else by them than the kernel does: types, parts of
//! a function that stay, pointers to what is only called directly.

use crate::convert::said;
use crate::header::compile;
use crate::objtree::{ObjTree, X86_64};

/// What is linked into vmlinux.
const KERNEL: &str = r#"
#define KEEP __attribute__((noinline, used, noclone))
struct opaque { long numbers[4]; };
enum mode { ONE, TWO };
typedef unsigned int own_t;
int counter = 1;
char banner[16] = "banner";
char *line = banner;
struct opaque whole = { { 1, 2, 3, 4 } };
__attribute__((section(".data..percpu"))) long each_cpu[2] = { 1, 2 };

KEEP static long sum_of(struct opaque *one, const char *text, own_t flags, enum mode mode)
{
	return one->numbers[mode] + text[0] + flags;
}
KEEP int apply(int (*act)(struct opaque *one, void *cookie), void *cookie)
{
	return act(&whole, cookie);
}
KEEP void note(const char *format, ...)
{
	line = (char *)format;
}
KEEP int plain(int value)
{
	return value + counter;
}
KEEP __attribute__((nocf_check)) int unmarked(int value)
{
	return value - counter;
}
asm(".pushsection .ibt_endbr_seal, \"a\"\n.long plain - .\n.popsection");

/* Small enough to be copied, and kept for other files. */
int level(int value)
{
	return value * counter + 1;
}
KEEP int first(int value)
{
	return level(value) + 2;
}
KEEP int second(int value)
{
	return level(value + 1);
}
__attribute__((section(".init.text"))) KEEP int starts(int value)
{
	return level(value + 7);
}
long use_all(void);
long use_all(void)
{
	return sum_of(&whole, banner, 1, TWO);
}
"#;

/// What is linked into a module: a function that is copied there, and one of which the compiler made another.
const MODULE: &str = r#"
int own_level(int value)
{
	return value * 5 + 1;
}
__attribute__((noinline)) int own_first(int value)
{
	return own_level(value) + 2;
}
__attribute__((noinline)) int scaled(int value, int factor)
{
	return value * factor + value / (factor + 3) - factor * factor;
}
static inline int own_tiny(int value)
{
	return value * 3 + 1;
}
int user_two(int value)
{
	return own_tiny(value) + own_tiny(value + 5);
}
int user_one(int value)
{
	return scaled(value, 4) + scaled(value + 3, 4) + scaled(value + 9, 4);
}
"#;

/// The structures of a livepatch, as far as they are looked at.
const LIVEPATCH: &str = r#"
struct klp_func { const char *old_name; void *new_func; unsigned long old_sympos; char rest[40]; };
struct klp_object { const char *name; struct klp_func *funcs; void *callbacks[4]; char rest[40]; };
struct klp_patch { void *mod; struct klp_object *objs; char rest[40]; };
extern char __this_module[]; int klp_enable_patch(struct klp_patch *patch); int init_module(void);
static const char mark[] __attribute__((section(".modinfo"), used)) = "livepatch=Y";
"#;

/// What gives it to the kernel.
const INIT: &str =
    "__attribute__((section(\".init.text\"))) int init_module(void) { return klp_enable_patch(&patch); }\n";

/// What vmlinux is linked of; per-CPU data stays apart.
pub const VMLINUX: [&str; 7] = [
    "vmlinux-a.o",
    "vmlinux-b.o",
    "vmlinux-c.o",
    "init-begin.o",
    "kernel.o",
    "init-end.o",
    "--unique=.data..percpu",
];

/// A tree whose vmlinux and module are compiled with these options.
pub fn tree(options: &[&str]) -> ObjTree {
    let tree = ObjTree::new(X86_64);
    compile(&tree, "kernel", KERNEL, &[&["-O2", "-fcf-protection=branch"], options].concat());
    compile(
        &tree,
        "module",
        MODULE,
        &[&["-O2", "-fcf-protection=branch", "-fipa-cp-clone", "-Wno-missing-prototypes"], options].concat(),
    );
    for (end, object) in [("begin", "init-begin"), ("end", "init-end")] {
        let label = format!(".section .init.text, \"ax\"\n.globl __init_{end}\n__init_{end}:");
        tree.assemble_text(&label, object);
    }
    tree.link_vmlinux(&VMLINUX);
    for kind in ["o", "ko"] {
        tree.link(&["target-a.o", "target-b.o", "module.o"], &format!("drivers/target/target-mod.{kind}"));
    }
    tree.write(".config", "CONFIG_X86_KERNEL_IBT=y\n");
    tree.make_list();
    tree
}

/// Compiles a livepatch, `in.ko`, that replaces functions of vmlinux and of the module, each with its new one.
pub fn livepatch(
    tree: &ObjTree,
    text: &str,
    vmlinux: &[(&str, &str)],
    module: &[(&str, &str)],
    options: &[&str],
) {
    let functions = |name: &str, pairs: &[(&str, &str)]| {
        let entries: String = pairs
            .iter()
            .map(|(old, new)| format!("{{ .old_name = \"{old}\", .new_func = {new} }}, "))
            .collect();
        format!("static struct klp_func {name}[] = {{ {entries}{{ }} }};\n")
    };
    let text = format!(
        "{LIVEPATCH}{text}\n{}{}static struct klp_object objs[] = {{ {{ .funcs = of_vmlinux }}, {{ .name = \
         \"target_mod\", .funcs = of_module }}, {{ }} }};\nstruct klp_patch patch = {{ .mod = __this_module, .objs = \
         objs }};\n{INIT}",
        functions("of_vmlinux", vmlinux),
        functions("of_module", module)
    );
    compile(tree, "livepatch", &text, &[&["-O2", "-Wno-unused"], options].concat());
    tree.link(&["livepatch.o"], "in.ko");
}

/// A livepatch that has `code` in the place of `plain`.
pub fn replacing_plain(tree: &ObjTree, code: &str, options: &[&str]) {
    livepatch(tree, code, &[("plain", "new_plain")], &[], options);
}

/// What conversion and verify say of a livepatch that can be converted.
#[track_caller]
pub fn warnings(tree: &ObjTree) -> Vec<String> {
    let ran = tree.convert(&["in.ko"]).ok();
    let build: Vec<String> = said(tree, &ran)
        .lines()
        .map(|line| line.strip_prefix("klpbuild: in.ko: warning: ").unwrap().to_owned())
        .collect();
    let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
    let verify: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("in.ko: ")).collect();
    // The two say the same, with the rule in another place.
    let moved: Vec<String> = verify
        .iter()
        .map(|line| line.strip_prefix("in.ko: warning ").unwrap().split_once(": ").unwrap())
        .map(|(rule, text)| format!("{text} ({rule})"))
        .collect();
    assert_eq!(moved, build, "{ran:?}");
    build
}

/// What conversion says of one that cannot.
#[track_caller]
pub fn refused(tree: &ObjTree) -> String {
    let before = tree.bytes("in.ko");
    let text = said(tree, &tree.convert(&["in.ko"]).ends(1));
    assert_eq!(tree.bytes("in.ko"), before);
    text
}

#[test]
fn declarations_that_differ_in_words_alone_are_fine() {
    let tree = tree(&["-g"]);
    let code = "
struct opaque;
typedef unsigned long long wide_t;
extern long long sum_of(struct opaque *const other, const void *text, wide_t_or flags, int mode);
extern int apply(int (*act)(struct opaque *, void *), char *cookie);
extern void note(const char *, ...);
extern int first();
extern const unsigned int counter;
extern char banner[];
extern unsigned char *line;
extern struct opaque whole;
extern long each_cpu[2];
static int act(struct opaque *one, void *cookie) { return 3; }
static int new_plain(int value)
{
	unsigned long own;
	asm(\"add %%gs:0, %0\" : \"=r\" (own) : \"0\" (each_cpu));
	note(\"x\", 1, 2);
	return sum_of(&whole, banner, 1, 0) + apply(act, \"\") + first(1) + counter + line[0] + *(long *)own;
}
";
    let code = code.replace("wide_t_or", "int");
    replacing_plain(&tree, &code, &["-g"]);
    assert_eq!(warnings(&tree), Vec::<String>::new());
    // Nor is anything said where there is no debugging information, on either side.
    replacing_plain(&tree, &code, &[]);
    assert_eq!(warnings(&tree), Vec::<String>::new());
    let tree = self::tree(&[]);
    replacing_plain(&tree, &code, &["-g"]);
    assert_eq!(warnings(&tree), Vec::<String>::new());
}

#[test]
fn both_declarations_are_shown() {
    let tree = tree(&["-g"]);
    let declared = |declaration: &str, expression: &str| {
        let code = format!(
            "struct other;\n{declaration}\nstatic int new_plain(int value)\n{{\n\treturn (long)({expression});\n}}\n"
        );
        replacing_plain(&tree, &code, &["-g"]);
        let mut all = warnings(&tree);
        assert_eq!(all.len(), 1, "{declaration}: {all:?}");
        let text = all.remove(0);
        let text = text.strip_suffix("; declare it as it is (S9)").unwrap();
        let parts: Vec<&str> = text.split('`').collect();
        assert!(parts[2].starts_with(" (livepatch.c:"), "{text}");
        format!("{}{} | {}", parts[0], parts[1], parts[3])
    };
    for (declaration, expression, expected) in [
        (
            "extern int first(long value);",
            "first(1)",
            "first,0: it is declared as int first(long) | int first(int value)",
        ),
        (
            "extern long first(int value);",
            "first(1)",
            "first,0: it is declared as long first(int) | int first(int value)",
        ),
        (
            "extern int first(void);",
            "first()",
            "first,0: it is declared as int first(void) | int first(int value)",
        ),
        (
            "extern long sum_of(struct other *, const char *, unsigned int, int);",
            "sum_of(0, 0, 0, 0)",
            "sum_of,0: it is declared as long sum_of(struct other *, const char *, unsigned int, int) | long sum_of(struct \
             opaque *one, const char *text, own_t flags, enum mode mode)",
        ),
        (
            "extern void note(const char *);",
            "(note(0), 1)",
            "note,0: it is declared as void note(const char *) | void note(const char *format, ...)",
        ),
        ("extern long counter;", "counter", "counter,0: it is declared as long counter | int counter"),
        ("extern char *banner;", "banner[0]", "banner,0: it is declared as char *banner | char banner[16]"),
        ("extern char line[];", "line[0]", "line,0: it is declared as char line[] | char *line"),
        (
            "extern char banner[8];",
            "banner[0]",
            "banner,0: it is declared as char banner[8] | char banner[16]",
        ),
        (
            "extern struct opaque { long one; } whole;",
            "whole.one",
            "whole,0: it is declared as struct opaque whole | struct opaque whole",
        ),
        // Only its address is used, which is right whatever it is.
        ("extern char first[];", "first", "first,0: it is declared as char first[] | int first(int value)"),
    ] {
        assert_eq!(declared(declaration, expression), format!("vmlinux:{expected}"));
    }
}

#[test]
fn an_annotated_declaration_is_compared_with_what_it_names() {
    let tree = tree(&["-g"]);
    tree.klpbuild(&["header", "-o", "klp_relocs.h"]).ok();
    let code = "
#include \"klp_relocs.h\"
extern int mine(long value) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, first, 0);
extern int yours(int value) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, second, 0);
static int new_plain(int value) { return mine(value) + yours(value); }
";
    replacing_plain(&tree, code, &["-g"]);
    let all = warnings(&tree);
    assert_eq!(
        all,
        [
            "vmlinux:first,0: it is declared as `int mine(long)` (livepatch.c:9), but vmlinux has `int first(int value)`; \
          declare it as it is (S9)"
        ]
    );
}

#[test]
fn what_is_used_as_something_else_is_refused() {
    let tree = tree(&["-g"]);
    for (declaration, expression, expected) in [
        (
            "extern int first;",
            "first",
            "vmlinux:first,0: it is declared as `int first` (livepatch.c:7), but vmlinux has `int first(int value)`; it is a \
             function, but read or written as a variable, in .text+0x2 (livepatch.c:8); declare it as it is (S9)\n",
        ),
        (
            "extern int counter(void);",
            "counter()",
            "vmlinux:counter,0: it is declared as `int counter(void)` (livepatch.c:7), but vmlinux has `int counter`; it is a \
             variable, but called as a function, in .text+0x1 (livepatch.c:8); declare it as it is (S9)\n",
        ),
        (
            "extern long each_cpu[2];",
            "each_cpu[1]",
            "vmlinux:each_cpu,0: it is per-CPU data, but used like a variable that is there once, in .text+0x2 \
             (livepatch.c:8); declare it as what it is (S9)\n",
        ),
    ] {
        let code = format!("{declaration}\nstatic int new_plain(int value) {{ return {expression}; }}\n");
        replacing_plain(&tree, &code, &["-g"]);
        assert_eq!(refused(&tree), format!("klpbuild: error: cannot convert in.ko: {expected}"));
        // Without debugging information, what the symbol is and how it is used is enough.
        replacing_plain(&tree, &code, &[]);
        let plain = refused(&tree);
        let what = expected.split("; it is a").nth(1).unwrap_or("per-CPU data").split(';').next().unwrap();
        let what = what.split(" (livepatch").next().unwrap();
        assert!(plain.contains(what) && plain.ends_with("; declare it as what it is (S9)\n"), "{plain}");
    }
    // verify says so of one that was converted before anybody looked.
    let mut image = klpbuild::elf::image::Image::read(&tree.path("in.ko")).unwrap();
    let symbol = image.symbols.iter_mut().find(|symbol| symbol.name == b"each_cpu").unwrap();
    symbol.become_livepatch(b".klp.sym.vmlinux.first,0".to_vec());
    tree.write("in.ko", image.to_bytes().unwrap());
    let ran = tree.klpbuild(&["verify", "in.ko"]).ends(1);
    let expected =
        "error S9: vmlinux:first,0: it is a function, but read or written as a variable, in .text+0x2";
    assert!(ran.stdout.contains(expected), "{ran:?}");
}

#[test]
fn a_new_function_takes_what_the_old_one_does() {
    let tree = tree(&["-g"]);
    let code = "
static long new_plain(int value) { return value; }
static int new_second(int value, int more) { return value + more; }
static int new_own(unsigned int value) { return value; }
static void *new_user(int value) { return 0; }
";
    let vmlinux = [("plain", "new_plain"), ("second", "new_second")];
    livepatch(&tree, code, &vmlinux, &[("own_first", "new_own"), ("user_one", "new_user")], &["-g"]);
    let told = |place: &str, new: &str, old: &str| {
        format!(
            "klp_func {place},0: the new function is `{new}`, the old one `{old}`; let the new function take and return \
             what the old one does (S9)"
        )
    };
    let expected = [
        told("vmlinux:plain", "long new_plain(int value)", "int plain(int value)"),
        told("vmlinux:second", "int new_second(int value, int more)", "int second(int value)"),
        told("target_mod:user_one", "void *new_user(int value)", "int user_one(int value)"),
    ];
    assert_eq!(warnings(&tree), expected);
}

#[test]
fn code_that_stays_is_named() {
    let tree = tree(&["-g"]);
    let code = "
static int new_level(int value) { return value; }
static int new_own(int value) { return value + 1; }
static int new_scaled(int value, int factor) { return value + factor; }
static int new_first(int value) { return value + 2; }
static int new_second(int value) { return value + 3; }
";
    let of_module = [("own_level", "new_own"), ("scaled", "new_scaled")];
    livepatch(&tree, code, &[("level", "new_level")], &of_module, &["-g"]);
    // What runs only while vmlinux comes up has run.
    let level = "klp_func vmlinux:level,0: not all of its code is replaced: it was inlined into first, second; patch \
                 first, second as well (S10)";
    let own = "klp_func target_mod:own_level,0: not all of its code is replaced: it was inlined into own_first; patch \
               own_first as well (S10)";
    let scaled = "klp_func target_mod:scaled,0: not all of its code is replaced: the compiler made scaled.constprop.0 of \
                  it, which user_one call in its place; patch user_one as well (S10)";
    assert_eq!(warnings(&tree), [level, own, scaled]);
    let all = [("level", "new_level"), ("first", "new_first")];
    let of_module = [
        ("own_level", "new_own"),
        ("own_first", "new_first"),
        ("scaled", "new_scaled"),
        ("user_one", "new_own"),
    ];
    livepatch(&tree, code, &all, &of_module, &["-g"]);
    let rest = level.replace("first, second", "second");
    assert_eq!(warnings(&tree), [rest]);
    let all = [("level", "new_level"), ("first", "new_first"), ("second", "new_second")];
    livepatch(&tree, code, &all, &[], &["-g"]);
    assert_eq!(warnings(&tree), Vec::<String>::new());
}

/// A function of a module that was inlined everywhere has no symbol: its debugging information knows it.
#[test]
fn functions_of_modules_that_are_inlined_everywhere() {
    let tree = tree(&["-g"]);
    let fate = "; in target_mod, the function at module.c:14 was inlined everywhere, into user_two: patch the functions that \
                call it, and copy it";
    let code = "static int new_tiny(int value) { return value; }";
    livepatch(&tree, code, &[], &[("own_tiny", "new_tiny")], &[]);
    let what =
        format!("klp_func target_mod:own_tiny,0: target_mod does not define it{fate}; ask klpbuild lookup");
    let said = said(&tree, &tree.convert(&["in.ko"]).ok());
    assert!(said.starts_with(&format!("klpbuild: in.ko: warning: {what}")), "{said}");
    let verified = tree.klpbuild(&["verify", "in.ko"]).ends(1).stdout;
    assert!(verified.contains(&format!("error S7: {what}")), "{verified}");
    let code = "extern int own_tiny(int value);\nstatic int new_two(int value) { return own_tiny(value); }";
    livepatch(&tree, code, &[], &[("user_two", "new_two")], &[]);
    assert!(refused(&tree).contains(fate), "{}", refused(&tree));
    for words in
        [&["lookup", "own_tiny"][..], &["new", "lp", "--function", "own_tiny", "--object", "target_mod"]]
    {
        tree.klpbuild(words).ends(1).says(&[fate]);
    }
}

/// Who calls a clone in vmlinux is seen in its code; what the function itself calls alone is not come to any more.
#[test]
fn callers_of_clones_in_vmlinux() {
    let tree = tree(&[]);
    let function = |name: &str, code: &str| {
        format!(".type \"{name}\", %function\n\"{name}\": {code}\n.size \"{name}\", . - \"{name}\"\n")
    };
    let code = [
        function("second.isra.0", "ret"),
        function("first.part.0", "ret"),
        function("caller", "nop\ncall second.isra.0\nret"),
        function("jumper.cold", "jne second.isra.0\nret"),
        function("first.isra.1", "call first.isra.1\nret"),
    ];
    let init = format!(".section .init.text, \"ax\"\n{}", function("starter", "call second.isra.0\nret"));
    tree.assemble_text(&(code.concat() + &init), "more");
    tree.link_vmlinux(&[&VMLINUX[..6], &["more.o"], &VMLINUX[6..]].concat());
    tree.make_list();
    let code = "static int new_second(int value) { return value; }";
    livepatch(&tree, code, &[("second", "new_second")], &[], &[]);
    let told = "klp_func vmlinux:second,0: not all of its code is replaced: the compiler made second.isra.0 of it, which \
                caller, jumper call in its place; patch caller, jumper as well (S10)";
    assert_eq!(warnings(&tree), [told]);
}

/// Symbols tell of clones and of parts that were split off; the cold part belongs to the function alone.
#[test]
fn symbols_alone_tell_of_clones_and_parts() {
    let tree = tree(&[]);
    let function =
        |name: &str| format!(".type \"{name}\", %function\n\"{name}\": ret\n.size \"{name}\", 1\n");
    let names = [
        "second.cold",
        "second.part.0",
        "second.part.0.isra.0",
        "second.isra.0",
        "second.llvm.12",
        "second_x.part.0",
    ];
    tree.assemble_text(&names.map(function).concat(), "more");
    tree.link_vmlinux(&[&VMLINUX[..], &["more.o"]].concat());
    tree.make_list();
    livepatch(
        &tree,
        "static int new_second(int value) { return value; }",
        &[("second", "new_second")],
        &[],
        &["-g"],
    );
    assert_eq!(
        warnings(&tree),
        [
            "klp_func vmlinux:second,0: not all of its code is replaced: the compiler made second.isra.0 of it, which others \
          call in its place; second.part.0, second.part.0.isra.0 was split off from it, and the rest may be inlined \
          elsewhere; patch the functions that call second.isra.0 as well, and patch the functions that call \
          second.part.0, second.part.0.isra.0 as well (S10)"
        ]
    );
}

#[test]
fn pointers_to_what_is_only_called_directly() {
    let tree = tree(&["-g"]);
    let code = "
extern int plain(int value);
extern int first(int value);
static int (*volatile pointer)(int value) = plain;
static int new_second(int value) { return pointer(value) + first(value) + plain(value); }
";
    let make = || livepatch(&tree, code, &[("second", "new_second")], &[], &["-g"]);
    make();
    let told = |why: &str| {
        format!(
            "vmlinux:plain,0: its address is taken in .data+0x0, but vmlinux only calls it directly, and has sealed it \
             (.ibt_endbr_seal): {why}; call it directly: let a function of the livepatch stand for it, that calls it (S11)"
        )
    };
    let data = |text: &str| {
        regex::Regex::new(r"\.data\+0x[0-9a-f]+").unwrap().replace(text, ".data+0x0").into_owned()
    };
    let all: Vec<String> = warnings(&tree).iter().map(|text| data(text)).collect();
    assert_eq!(all, [told("a call through a pointer faults where the processor has IBT")]);
    make();
    tree.write(".config", "CONFIG_X86_KERNEL_IBT=y\nCONFIG_CFI_CLANG=y\n");
    let why = "this kernel checks calls through pointers, and dies of one (CONFIG_CFI)";
    assert_eq!(data(&refused(&tree)), format!("klpbuild: error: cannot convert in.ko: {}\n", told(why)));
    // The compiler has seen all calls of a function, and lets it begin with anything.
    let unmarked = format!("extern int unmarked(int value);{}", code.replace("= plain", "= unmarked"));
    livepatch(&tree, &unmarked, &[("second", "new_second")], &[], &["-g"]);
    tree.write(".config", "CONFIG_X86_KERNEL_IBT=y\n");
    let all: Vec<String> = warnings(&tree).iter().map(|text| data(text)).collect();
    let told =
        told("a call through a pointer faults where the processor has IBT").replace("plain,0", "unmarked,0");
    assert_eq!(all, [told.replace("has sealed it (.ibt_endbr_seal)", "it does not begin with endbr64")]);
    // Direct calls are what it is for.
    let direct = code.replace("= plain;", "= new_second_too;");
    let direct = format!("static int new_second_too(int value) {{ return value; }}\n{direct}");
    livepatch(&tree, &direct, &[("second", "new_second")], &[], &["-g"]);
    assert_eq!(warnings(&tree), Vec::<String>::new());
}

#[test]
fn lookup_tells_what_else_there_is_of_a_function() {
    let tree = tree(&["-g"]);
    let ran = tree.klpbuild(&["lookup", "level", "own_level", "second"]).ok();
    let told: Vec<&str> = ran.stdout.lines().filter(|line| line.contains("not enough")).collect();
    assert_eq!(
        told,
        [
            "vmlinux: to replace it is not enough: it was inlined into first, second; patch first, second as well",
            "target_mod: to replace it is not enough: it was inlined into own_first; patch own_first as well",
        ]
    );
}

#[test]
fn functions_that_are_not_there() {
    let tree = tree(&[]);
    let code = "static int new_own(int value) { return value; }";
    livepatch(
        &tree,
        code,
        &[("own_first", "new_own")],
        &[("own_firts", "new_own"), ("own_first", "new_own")],
        &[],
    );
    let advice = "; ask klpbuild lookup for the name and position";
    let said = said(&tree, &tree.convert(&["in.ko"]).ok());
    for (place, what) in [
        ("vmlinux:own_first,0", "vmlinux does not define it; own_first is in target_mod"),
        ("target_mod:own_firts,0", "target_mod does not define it"),
    ] {
        let line = format!("klpbuild: in.ko: warning: klp_func {place}: {what}{advice}");
        assert!(said.contains(&line), "{said}");
    }
    let ran = tree.klpbuild(&["verify", "in.ko"]).ends(1);
    assert!(ran.stdout.contains("target_mod does not define it; ask klpbuild lookup for the name and position; the nearest names are own_first (target_mod)"), "{ran:?}");
    assert_eq!(ran.stdout.matches("own_firts").count(), 1, "{ran:?}");
    for (object, what) in [
        (
            "target-mod",
            "there is no object target-mod: its run-time name is target_mod; own_first is in target_mod",
        ),
        (
            "target_mod.ko",
            "there is no object target_mod.ko: its run-time name is target_mod; own_first is in target_mod",
        ),
        (
            "target_mdo",
            "there is no object target_mdo; the nearest are target_mod; own_first is in target_mod",
        ),
    ] {
        livepatch(&tree, code, &[], &[("own_first", "new_own")], &[]);
        let text = String::from_utf8_lossy(&tree.bytes("livepatch.c"))
            .replace("\"target_mod\"", &format!("\"{object}\""));
        compile(&tree, "livepatch", &text, &["-O2"]);
        tree.link(&["livepatch.o"], "in.ko");
        let ran = tree.klpbuild(&["verify", "in.ko"]).ends(1);
        assert!(ran.stdout.contains(&format!("error S7: klp_func {object}:own_first,0: {what};")), "{ran:?}");
    }
}

/// A linker that makes hidden symbols local puts them behind the last source file of an object, which may be any.
#[test]
fn no_source_file_is_told_of_what_the_linker_made_local() {
    let tree = tree(&[]);
    tree.assemble_text(
        ".file \"lib/last.c\"\n.type own_static, %object\nown_static: .8byte 0\n.globl was_hidden\n.hidden was_hidden\n\
         was_hidden: .8byte 0",
        "hidden",
    );
    tree.run(
        "ld.lld-19",
        &["-e", "0", "-o", "vmlinux", "vmlinux-a.o", "vmlinux-b.o", "vmlinux-c.o", "hidden.o"],
    );
    tree.write("System.map", tree.tool("nm", &["-n", "vmlinux"]));
    tree.make_list();
    let ran = tree.klpbuild(&["lookup", "--format", "json", "own_static", "was_hidden"]).ok();
    let rows: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let of =
        |name: &str| rows["definitions"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(of("own_static")["file"], "lib/last.c", "{rows}");
    assert_eq!(
        (&of("was_hidden")["file"], &of("was_hidden")["binding"]),
        (&serde_json::Value::Null, &"LOCAL".into())
    );
}

/// A call of the function that is replaced comes back to the new one; a call behind ftrace's place does not, nor one of
/// another function that is replaced as well.
#[test]
fn new_functions_that_call_the_old_one() {
    let tree = tree(&[]);
    let code = "extern int first(int value);\n\
                extern int second(int value);\n\
                extern int behind(int value) __asm__(\"first+9\");\n\
                static int new_first(int value) { return first(value) + second(value); }\n\
                static int new_second(int value) { return behind(value) + 1; }\n";
    livepatch(&tree, code, &[("first", "new_first"), ("second", "new_second")], &[], &["-g"]);
    let all = warnings(&tree);
    assert_eq!(all.len(), 1, "{all:?}");
    let (what, advice) = all[0].split_once(" (livepatch.c:").unwrap();
    assert!(what.starts_with(
        "klp_func vmlinux:first,0: the new function calls the one that it replaces, in .text+0x"
    ));
    assert!(advice.ends_with("; copy what the old function does into the new one (R15)"), "{advice}");
}

/// What verify calls wrong is not built.
#[test]
fn functions_that_cannot_be_replaced() {
    let tree = tree(&[]);
    let code = "static int new_own(int value) { return value; }";
    livepatch(&tree, code, &[("twin", "new_own"), ("counter", "new_own")], &[], &[]);
    let said = refused(&tree);
    for what in [
        "klp_func vmlinux:twin,0: position 0 means the only one, but vmlinux has 3 of this name; ask klpbuild lookup for the \
         name and position (S7)",
        "klp_func vmlinux:counter,0: it is no function (OBJECT); ask klpbuild lookup for the position (S7)",
    ] {
        assert!(said.contains(what), "{said}");
    }
}

/// A helper that calls the old function leads back to the new one, too, whether or not a relocation shows the call.
#[test]
fn new_functions_that_come_to_the_old_one_by_others() {
    let tree = tree(&[]);
    let keep = "__attribute__((noinline, noclone))";
    let with = |code: &str| {
        livepatch(&tree, code, &[("first", "new_first"), ("second", "new_second")], &[], &[]);
        warnings(&tree)
    };
    let code = format!(
        "extern int first(int value);\n\
         {keep} static int deep(int value) {{ return first(value) + 1; }}\n\
         {keep} int middle(int value) {{ return deep(value) + 2; }}\n\
         static int new_first(int value) {{ return value ? middle(value) + 3 : 0; }}\n\
         static int new_second(int value) {{ return value + 1; }}\n"
    );
    let all = with(&code);
    assert_eq!(all.len(), 1, "{all:?}");
    let begin = "klp_func vmlinux:first,0: the new function calls middle, which calls deep, which calls the one that it \
                 replaces, in .text+0x";
    assert!(all[0].starts_with(begin), "{all:?}");
    // The other new function comes to it: that is no loop. Nor is a helper that nobody calls, or a pointer to one.
    let code = code.replace("return value ? middle(value) + 3 : 0;", "return value;");
    let code = code.replace("return value + 1;", "return middle(value) + 1;");
    assert_eq!(with(&code), Vec::<String>::new());
}

/// A patch that is not given to the kernel patches nothing, and loads without a word.
#[test]
fn a_patch_that_is_given_to_nobody() {
    let tree = tree(&[]);
    let code = "static int new_plain(int value) { return value; }\n";
    replacing_plain(&tree, code, &[]);
    let text = String::from_utf8(tree.bytes("livepatch.c")).unwrap();
    let with = |init: &str| {
        compile(
            &tree,
            "livepatch",
            &text.replace(INIT, init),
            &["-O2", "-Wno-unused", "-Wno-missing-prototypes"],
        );
        tree.link(&["livepatch.o"], "in.ko");
        warnings(&tree)
    };
    let forgotten = "klp_patch patch: no code that runs by itself passes it to klp_enable_patch: the livepatch loads, \
                     and nothing of this is applied; call klp_enable_patch(&patch) in the init function (R15)";
    assert_eq!(with("int init_module(void) { return 0; }"), [forgotten]);
    // Nobody calls the function that would do it, or another patch is given.
    assert_eq!(
        with("int start(void) { return klp_enable_patch(&patch); }\nint init_module(void) { return 0; }"),
        [forgotten]
    );
    let other = "struct klp_patch other;\nint init_module(void) { return klp_enable_patch(&other); }";
    assert_eq!(with(other), [forgotten]);
    for right in [
        "int init_module(void) { return klp_enable_patch(&patch); }",
        "__attribute__((noinline)) static int start(struct klp_patch *patch) { return klp_enable_patch(patch); }\n\
         int init_module(void) { return start(&patch); }",
        "extern const int choice;\nconst int choice = 2;\nstruct klp_patch *const all[] = { &patch, 0 };\nint init_module(void) { return klp_enable_patch(all[choice & 1]); }",
    ] {
        assert_eq!(with(right), Vec::<String>::new(), "{right}");
    }
}
