// SPDX-License-Identifier: GPL-2.0-only
//! `struct klp_patch` in all shapes that C can give it: what the kernel takes is taken, and what it refuses, or falls
//! over, is refused by convert and verify with the structure named.

use crate::header::{CLANG, compilers};
use crate::objtree::{ObjTree, X86_64, targets};

/// What a livepatch includes, with the sizes that the structures have in 6.12 (include/linux/livepatch.h).
const HEADER: &str = r#"
#define NULL ((void *)0)
#define __initdata __attribute__((section(".init.data")))
#define __init __attribute__((section(".init.text")))
struct module { char bytes[64]; };
struct module __this_module __attribute__((section(".gnu.linkonce.this_module")));
#define THIS_MODULE (&__this_module)
struct klp_func { const char *old_name; void *new_func; unsigned long old_sympos; void *internal[SIZE]; };
struct klp_object;
struct klp_object {
	const char *name; struct klp_func *funcs;
	int (*pre_patch)(struct klp_object *); void (*post_patch)(struct klp_object *);
	void (*unpatch[2])(struct klp_object *); _Bool enabled; void *internal[14];
};
struct klp_state { unsigned long id; unsigned int version; void *data; };
struct klp_patch {
	struct module *mod; struct klp_object *objs; struct klp_state *states; _Bool replace; void *internal[30];
};
int klp_enable_patch(struct klp_patch *);
static const char license[] __attribute__((section(".modinfo"), used)) = "license=GPL\0livepatch=Y";
extern void unique(void);
extern void target_static(void);
static void new_a(void) { unique(); }
static void new_b(void) { unique(); }
"#;

/// What registers `patch`, with `objs` in it.
const PATCH: &str = "static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };\n";
const INIT: &str = "int init_module(void) { return klp_enable_patch(&patch); }\n";
/// One object with the functions in `funcs`.
const ONE: &str = "static struct klp_object objs[] = { { .funcs = funcs }, { } };\n";
const A: &str = r#"{ .old_name = "patched", .new_func = new_a }"#;
const B: &str = r#"{ .old_name = "twin", .old_sympos = 2, .new_func = new_b }"#;

/// Compiles a livepatch to `in.ko`, with so many internal words in a klp_func.
#[track_caller]
fn compile_sized(tree: &ObjTree, size: usize, text: &str) {
    tree.write("shape.c", format!("{HEADER}{text}{INIT}"));
    let size = format!("-DSIZE={size}");
    let options = ["-O2", "-fno-pic", "-fno-common", "-mcmodel=kernel", "-w", "-c"];
    tree.run("gcc", &[&options[..], &[&size, "shape.c", "-o", "in.ko"]].concat());
}

/// What verify finds in it, rule and place and message, once it is converted; convert refuses it for the same errors.
#[track_caller]
fn found(tree: &ObjTree, text: &str) -> Vec<String> {
    compile_sized(tree, 16, text);
    let ran = tree.convert(&["in.ko"]);
    let report = tree.klpbuild(&["verify", "in.ko", "--format", "json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let findings = report["livepatches"][0]["findings"].as_array().unwrap().iter();
    let word = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let shown = |finding: &serde_json::Value| {
        let (rule, place, message) =
            (word(finding, "rule"), word(finding, "place"), word(finding, "message"));
        (finding["level"] == "error", format!("{place}: {message} ({rule})"))
    };
    // Not converted, it refers to what is unknown.
    let of_patch = |text: &String| text.starts_with("klp_") || text.starts_with("2 klp_");
    let all: Vec<(bool, String)> = findings.map(shown).filter(|(_, text)| of_patch(text)).collect();
    let errors: Vec<&str> =
        all.iter().filter(|(is_error, _)| *is_error).map(|(_, text)| text.as_str()).collect();
    match errors.as_slice() {
        [] => drop(ran.ok()),
        errors => {
            let text = ran.ends(1).stderr.replace("error: cannot convert in.ko: ", "");
            let said: Vec<&str> = text.lines().map(|line| line.strip_prefix("klpbuild: ").unwrap()).collect();
            let mut sorted = (said, errors.to_vec());
            sorted.0.sort_unstable();
            sorted.1.sort_unstable();
            assert_eq!(sorted.0, sorted.1);
        }
    }
    all.into_iter().map(|(_, text)| text).collect()
}

/// What is found in a livepatch with one list of functions.
#[track_caller]
fn in_list(list: &str) -> Vec<String> {
    found(&ObjTree::new(X86_64), &format!("static struct klp_func funcs[] = {{ {list} }};\n{ONE}{PATCH}"))
}

#[test]
fn right_shapes() {
    let tree = ObjTree::new(X86_64);
    let right = |text: &str| assert_eq!(found(&tree, text), Vec::<String>::new(), "{text}");
    let compound = format!(
        "static struct klp_patch patch = {{ .mod = THIS_MODULE, .objs = (struct klp_object[]) {{
            {{ .funcs = (struct klp_func[]) {{ {A}, {{ }} }} }},
            {{ .name = \"target_mod\", .funcs = (struct klp_func[]) {{
                {{ .old_name = \"target_static\", .new_func = new_b }}, {{ }} }} }}, {{ }} }} }};"
    );
    right(&compound);
    let list = |list: &str| right(&format!("static struct klp_func funcs[] = {{ {list} }};\n{ONE}{PATCH}"));
    list(&format!("{A}, {{ }}"));
    list(&format!("{A}, {B}, {{ }}"));
    list(&format!("{A}, {{ }}, {{ }}, {{ }}"));
    list(
        r#"{ .old_name = "twin", .old_sympos = 1, .new_func = new_a },
            { .old_name = "twin", .old_sympos = 2, .new_func = new_a }, { }"#,
    );
    right(&format!(
        "static struct klp_func funcs[] = {{ {A}, {{ }} }};
         static struct klp_state states[] = {{ {{ .id = 1 }}, {{ .id = 2, .data = states }}, {{ }} }};
         {ONE}static struct klp_patch patch = {{ .mod = THIS_MODULE, .objs = objs, .states = states }};"
    ));
    // What the livepatch fills in before it registers the patch.
    right(&format!(
        "static struct klp_func funcs[] = {{ {A}, {{ }} }};
         {ONE}static struct klp_patch patch = {{ .objs = objs }};
         void set(void) {{ patch.mod = THIS_MODULE; }}"
    ));
}

/// Structures look alike in other sizes: in 4.9, in 4.14, and with objects that are debugged.
#[test]
fn structures_of_other_kernels() {
    for internal in [12, 13, 14, 15, 17, 30] {
        let tree = ObjTree::new(X86_64);
        let with = |list: &str| {
            let text = format!("static struct klp_func funcs[] = {{ {list} }};\n{ONE}{PATCH}");
            compile_sized(&tree, internal, &text);
            tree.convert(&["in.ko"])
        };
        with(&format!("{A}, {{ }}")).ok();
        with(&format!("{A}, {B}, {{ }}")).ok();
        // What has 30 words is one of them, or two of 15.
        if internal < 27 {
            assert!(
                with(A).ends(1).stderr.contains("klp_object vmlinux: no empty klp_func ends"),
                "{internal}"
            );
            assert!(
                with(&format!("{A}, {B}")).ends(1).stderr.contains("no empty klp_func ends"),
                "{internal}"
            );
        }
    }
}

/// Lists with nothing but the empty entry are all zero, and lie in .bss.
#[test]
fn empty_lists() {
    let tree = ObjTree::new(X86_64);
    let text = "static struct klp_func none[1];
         static struct klp_object objs[] = { { .funcs = none }, { .name = \"target_mod\", .funcs = none }, { } };
         void param(void) { target_static(); }
         struct { const char *name; struct module *mod; void *set; } parameter
             __attribute__((section(\"__param\"), used)) = { \"p\", THIS_MODULE, param };";
    let found = found(&tree, &format!("{text}{PATCH}"));
    assert!(
        found.len() == 1 && found[0].contains("it must not run before target_mod is loaded"),
        "{found:?}"
    );
    let sections = tree.tool("readelf", &["-SW", "in.ko"]);
    assert!(sections.contains(" .klp.rela.target_mod..text "), "{sections}");
    let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
    assert!(ran.stdout.contains("; 0 functions)"), "{ran:?}");
}

#[test]
fn lists_without_an_end() {
    let open = "klp_object vmlinux: no empty klp_func ends its list of functions, and the kernel reads on behind it: \
                write { } at the end (R15)";
    assert_eq!(in_list(A), [open]);
    assert_eq!(in_list(&format!("{A}, {B}")), [open]);
    let tree = ObjTree::new(X86_64);
    let objects = |objects: &str| {
        let text = format!(
            "static struct klp_func funcs[] = {{ {A}, {{ }} }}, more[] = {{
                {{ .old_name = \"target_static\", .new_func = new_b }}, {{ }} }};
             static struct klp_object objs[] = {{ {objects} }};\n{PATCH}"
        );
        found(&tree, &text)
    };
    let open = "klp_patch patch: no empty klp_object ends its list of objects, and the kernel reads on behind it: write \
                { } at the end (R15)";
    assert_eq!(objects("{ .funcs = funcs }"), [open]);
    assert_eq!(objects("{ .name = \"target_mod\", .funcs = more }"), [open]);
    assert_eq!(objects("{ .funcs = funcs }, { .name = \"target_mod\", .funcs = more }"), [open]);
    let states = format!(
        "static struct klp_func funcs[] = {{ {A}, {{ }} }};
         static struct klp_state states[] = {{ {{ .id = 1 }} }};
         {ONE}static struct klp_patch patch = {{ .mod = THIS_MODULE, .objs = objs, .states = states }};"
    );
    insta::assert_snapshot!(found(&tree, &states).join("\n"), @"klp_patch patch: no empty klp_state follows its last one, and the kernel reads on behind them: write { } at the end (R15)");
}

#[test]
fn entries_that_the_kernel_refuses() {
    let nothing = in_list(&format!("{{ .old_name = \"patched\" }}, {B}, {{ }}"));
    insta::assert_snapshot!(nothing.join("\n"), @"klp_func vmlinux:patched: it has no new_func, for which the kernel refuses the whole patch: give it one, or take it out (R15)");
    insta::assert_snapshot!(in_list(&format!("{A}, {{ .new_func = new_b }}, {{ }}")).join("\n"), @"klp_func 2 of vmlinux: it has no old_name, for which the kernel refuses the whole patch: name the function (R15)");
    insta::assert_snapshot!(in_list(&format!("{A}, {B}, {{ .old_sympos = 1 }}, {{ }}")).join("\n"), @"
    klp_func 3 of vmlinux: it has no old_name, for which the kernel refuses the whole patch: name the function (R15)
    klp_func 3 of vmlinux: it has no new_func, for which the kernel refuses the whole patch: give it one, or take it out (R15)
    ");
    insta::assert_snapshot!(in_list(&format!("{A}, {{ \"twin\", license, 2 }}, {{ }}")).join("\n"), @"klp_func vmlinux:twin: its new_func is no code: name a function (R15)");
    insta::assert_snapshot!(in_list(&format!("{A}, {{ \"patched\", new_b, 1 }}, {{ }}")).join("\n"), @"klp_func vmlinux:patched: it is there twice (positions 0 and 1 are one), for which the kernel refuses the whole patch: leave one of them (R15)");
    insta::assert_snapshot!(in_list(&format!("{A}, {{ }}, {B}, {{ }}")).join("\n"), @"klp_func vmlinux:twin: it stands behind an empty entry, at which the kernel stops, so that nothing is patched: take the empty entry out (R15)");
    insta::assert_snapshot!(in_list(&format!("{{ }}, {A}, {{ }}")).join("\n"), @"klp_func vmlinux:patched: it stands behind an empty entry, at which the kernel stops, so that nothing is patched: take the empty entry out (R15)");
}

#[test]
fn objects_that_the_kernel_refuses() {
    let tree = ObjTree::new(X86_64);
    let with = |objects: &str| {
        let text = format!(
            "static struct klp_func funcs[] = {{ {A}, {{ }} }}, none[1];
             static struct klp_object objs[] = {{ {objects} }};\n{PATCH}"
        );
        found(&tree, &text).join("\n")
    };
    insta::assert_snapshot!(with("{ .funcs = funcs }, { .funcs = none }, { }"), @"klp_object vmlinux: it is there twice, for which the kernel refuses the whole patch: list all functions in one klp_object (R15)");
    insta::assert_snapshot!(with("{ .funcs = funcs }, { .name = \"target_mod\" }, { }"), @"klp_object target_mod: it has no list of functions, for which the kernel refuses the whole patch: give it one, if only with an empty klp_func (R15)");
    insta::assert_snapshot!(with("{ .funcs = funcs }, { }, { .name = \"target_mod\", .funcs = none }, { }"), @"klp_object target_mod: it stands behind an empty entry, at which the kernel stops, so that nothing is patched: take the empty entry out (R15)");
    insta::assert_snapshot!(with("{ .funcs = funcs }, { .name = \"\", .funcs = none }, { }"), @"klp_object : an empty name is no object's: write NULL for vmlinux (R2)");
}

/// The kernel keeps pointers to all of it, and writes to the structures.
#[test]
fn memory_that_goes_away_or_is_read_only() {
    let tree = ObjTree::new(X86_64);
    let with = |funcs: &str, objs: &str, patch: &str| {
        format!(
            "static char name[] __initdata = \"patched\"; static void __init undo(struct klp_object *o) {{ unique(); }}
             static {funcs} struct klp_func funcs[] = {{ {{ \"patched\", new_a }}, {{ }} }};
             static {objs} struct klp_object objs[] = {{ {{ .funcs = funcs, }}, {{ }} }};
             static {patch} struct klp_patch patch = {{ .mod = THIS_MODULE, .objs = objs }};"
        )
    };
    insta::assert_snapshot!(found(&tree, &with("__initdata", "", "")).join("\n"), @"klp_object vmlinux: its structures are in .init.data, which is freed when the livepatch has come up, while the kernel goes on using them: take __initdata away (R9)");
    insta::assert_snapshot!(found(&tree, &with("", "__initdata", "")).join("\n"), @"klp_patch patch: its structures are in .init.data, which is freed when the livepatch has come up, while the kernel goes on using them: take __initdata away (R9)");
    insta::assert_snapshot!(found(&tree, &with("", "", "__initdata")).join("\n"), @"klp_patch patch: its structures are in .init.data, which is freed when the livepatch has come up, while the kernel goes on using them: take __initdata away (R9)");
    insta::assert_snapshot!(found(&tree, &with("const", "", "")).join("\n"), @"klp_object vmlinux: its structures are in .rodata, which is read-only, and the kernel writes to them: take const away (R15)");
    insta::assert_snapshot!(found(&tree, &with("", "const", "const")).join("\n"), @"klp_patch patch: its structures are in .rodata, which is read-only, and the kernel writes to them: take const away (R15)");
    let right = with("", "", "");
    assert_eq!(found(&tree, &right), Vec::<String>::new());
    insta::assert_snapshot!(found(&tree, &right.replace("{ \"patched\", new_a }", "{ name, new_a }")).join("\n"), @"klp_func vmlinux:patched: its name is in .init.data, which is freed when the livepatch has come up, while the kernel goes on using it: take __initconst away (R9)");
    let callback = right.replace(".funcs = funcs,", ".funcs = funcs, .unpatch = { undo },");
    insta::assert_snapshot!(found(&tree, &callback).join("\n"), @"klp_object vmlinux: a callback of it is __init, and gone when it is called: take that away (R9)");
}

#[test]
fn patches_without_a_module_and_several() {
    let tree = ObjTree::new(X86_64);
    let lists = format!("static struct klp_func funcs[] = {{ {A}, {{ }} }};\n{ONE}");
    let text = format!("{lists}static struct klp_patch patch = {{ .objs = objs }};");
    insta::assert_snapshot!(found(&tree, &text).join("\n"), @"klp_patch patch: its .mod is not set, for which the kernel refuses it: write .mod = THIS_MODULE (R15)");
    let text = format!("{lists}{PATCH}struct klp_patch other = {{ .mod = THIS_MODULE, .objs = objs }};");
    insta::assert_snapshot!(found(&tree, &text).join("\n"), @"
    2 klp_patch: one module can enable only one of them at a time: the kernel refuses a second one (R15)
    klp_patch other: no code that runs by itself passes it to klp_enable_patch: the livepatch loads, and nothing of this is applied (R15)
    ");
}

/// R3, by the kernel at hand.
#[test]
fn names_that_are_too_long() {
    let tree = ObjTree::new(X86_64);
    std::fs::create_dir_all(tree.path("include/config")).unwrap();
    tree.write("include/config/kernel.release", "5.10.0\n");
    let name = "n".repeat(128);
    let text =
        format!("static struct klp_func funcs[] = {{ {{ \"{name}\", new_a }}, {{ }} }};\n{ONE}{PATCH}");
    compile_sized(&tree, 16, &text);
    let text = tree.convert(&["in.ko"]).ends(1).stderr.replace(&name, "NAME");
    insta::assert_snapshot!(text, @"klpbuild: error: cannot convert in.ko: klp_func vmlinux:NAME: the name has 128 characters, of which this kernel reads 127 (R3)");
}

/// Other structures begin with THIS_MODULE, too.
#[test]
fn structures_that_are_no_patch() {
    let tree = ObjTree::new(X86_64);
    let others = "struct ops { struct module *owner; void *next; } ops = { THIS_MODULE, NULL };
        struct { struct module *owner; struct ops *ops; } device = { THIS_MODULE, &ops };
        struct calls { void *open, *close; } calls = { new_a, new_b };
        struct { struct module *owner; struct calls *calls; } with_calls = { THIS_MODULE, &calls };
        struct named { const char *name; int mode; } named = { \"name\", 0644 };
        struct { struct module *owner; struct named *named; } attribute = { THIS_MODULE, &named };
        struct set { int flags; void *set, *get; } set = { 0, new_a, new_b };
        struct { const char *name; struct module *mod; struct set *set; } parameter
            __attribute__((section(\"__param\"), used)) = { \"p\", THIS_MODULE, &set };
        struct { const char *name; struct module *mod; struct set *set; } alike = { \"p\", THIS_MODULE, &set };";
    let lists = format!("static struct klp_func funcs[] = {{ {A}, {{ }} }};\n{ONE}{PATCH}");
    assert_eq!(found(&tree, &format!("{others}{lists}")), Vec::<String>::new());
    let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
    assert!(ran.stdout.contains("; 1 function)"), "{ran:?}");
}

/// R10: whichever of the two came later could not be patched.
#[test]
fn modules_that_use_symbols_of_each_other() {
    let tree = ObjTree::new(X86_64);
    let text = "extern void provider_static(void);
        static void for_target(void) { provider_static(); }
        static void for_provider(void) { target_static(); }
        static struct klp_func target[] = { { \"target_static\", for_target }, { } };
        static struct klp_func provider[] = { { \"provider_static\", for_provider }, { } };
        static struct klp_object objs[] = { { .name = \"target_mod\", .funcs = target },
            { .name = \"provider\", .funcs = provider }, { } };";
    compile_sized(&tree, 16, &format!("{text}{PATCH}"));
    insta::assert_snapshot!(tree.convert(&["in.ko"]).ok().stderr, @"klpbuild: in.ko: provider and target_mod have to be loaded before this livepatch, whose new code for each uses symbols of another one, and have to stay: nothing keeps them from being unloaded");
    insta::assert_snapshot!(tree.klpbuild(&["verify", "in.ko"]).ok().stdout, @"
    in.ko: warning R10: .klp.rela.target_mod..text: provider and target_mod have to be loaded before this livepatch, whose new code for each uses symbols of another one, and have to stay: nothing keeps them from being unloaded; keep provider and target_mod loaded as long as the livepatch is
    klpbuild: in.ko: correct, 1 warning (2 livepatch relocations; 2 functions)
    ");
}

/// One function and the end, in 240 bytes: twice 120, or one of 240. Type information tells, or nothing does.
#[test]
fn how_far_apart_entries_are() {
    let tree = ObjTree::new(X86_64);
    let text = |list: &str| format!("static struct klp_func funcs[] = {{ {list} }};\n{ONE}{PATCH}");
    let warning = "warning: klp_object vmlinux: nothing tells how many bytes a klp_func has, so that the end of its list of \
                   functions was not checked";
    let open = "klp_object vmlinux: no empty klp_func ends its list of functions";
    let with = |size: usize, list: &str, options: &[&str]| {
        compile_sized(&tree, size, &text(list));
        let options: Vec<&str> = ["-O2", "-fno-pic", "-fno-common", "-mcmodel=kernel", "-w", "-c"]
            .into_iter()
            .chain(options.iter().copied())
            .collect();
        let size = format!("-DSIZE={size}");
        tree.run("gcc", &[&options[..], &[&size, "shape.c", "-o", "in.ko"]].concat());
        tree.convert(&["in.ko"])
    };
    let right = format!("{A}, {{ }}");
    assert!(with(12, &right, &[]).ok().stderr.contains(warning));
    // The livepatch's own debugging information, or BTF.
    for option in ["-g", "-gbtf"] {
        assert_eq!(with(12, &right, &[option]).ok().stderr, "", "{option}");
        assert!(with(27, A, &[option]).ends(1).stderr.contains(open), "{option}");
    }
    // The kernel's: by that, the kernel goes through the list.
    let kernel = |size: usize, option: &str| {
        let types = format!(
            "struct klp_func {{ void *words[{}]; }} func = {{ }}; struct klp_object {{ void *words[21]; }} object = {{ }};",
            3 + size
        );
        tree.write("types.c", types);
        tree.run("gcc", &["-O2", "-fno-pic", "-mcmodel=kernel", "-c", option, "types.c"]);
        tree.link_vmlinux(&["vmlinux-a.o", "vmlinux-b.o", "vmlinux-c.o", "types.o"]);
        tree.make_list();
    };
    for option in ["-g", "-gbtf"] {
        kernel(12, option);
        assert_eq!(with(12, &right, &[]).ok().stderr, "", "{option}");
        kernel(27, option);
        assert_eq!(with(27, &right, &[]).ok().stderr, "", "{option}");
        assert!(with(27, A, &[]).ends(1).stderr.contains(open), "{option}");
        // Compiled for another one.
        let said = with(14, &format!("{A}, {B}, {{ }}"), &[]).ends(1).stderr;
        let expected = "struct klp_func: it has 136 bytes in the livepatch, and 240 in this kernel; build it for this \
                        kernel: the configuration is another one (S4)";
        assert!(said.contains(expected), "{said}");
    }
}

/// Compilers and machines lay out compound literals, strings and lists in ways of their own.
#[test]
fn with_clang_for_each_machine() {
    let objects = "static struct klp_patch patch = { .mod = THIS_MODULE, .objs = (struct klp_object[]) {";
    let open = "klp_object vmlinux: no empty klp_func ends";
    if !compilers().contains(&CLANG) {
        return;
    }
    for target in targets() {
        let tree = ObjTree::new(target);
        let with = |list: &str| {
            let text = format!("{objects} {{ .funcs = (struct klp_func[]) {{ {list} }} }}, {{ }} }} }};\n");
            tree.write("shape.c", format!("{HEADER}{text}{INIT}"));
            let machine = target.name.replace("ppc64le", "powerpc64le").replace("x86-64", "x86_64");
            let machine = if machine == "ppc" { "powerpc" } else { &machine };
            let machine = format!("--target={machine}-linux-gnu");
            let options = ["-DSIZE=16", "-O2", "-fno-pic", "-fno-optimize-sibling-calls", "-w", "-c"];
            tree.run(CLANG, &[&options[..], &[&machine, "shape.c", "-o", "in.ko"]].concat());
            tree.convert(&["in.ko"])
        };
        with(&format!("{A}, {{ }}")).ok();
        assert!(with(&format!("{A}, {B}")).ends(1).stderr.contains(open), "{machine}", machine = target.name);
        assert!(with(A).ends(1).stderr.contains(open), "{machine}", machine = target.name);
    }
}

/// The kernel looks at `new_func` before it writes references to a module's symbols; those to vmlinux's are there.
#[test]
fn new_functions_of_other_objects() {
    let tree = ObjTree::new(X86_64);
    let funcs = |new: &str| {
        format!(
            "static struct klp_func funcs[] = {{ {{ .old_name = \"target_static\", .new_func = {new} }}, {{ }} }};\n\
             static struct klp_object objs[] = {{ {{ .name = \"target_mod\", .funcs = funcs }}, {{ }} }};\n"
        )
    };
    compile_sized(&tree, 16, &(funcs("target_static") + PATCH));
    let ran = tree.convert(&["in.ko"]).ends(1);
    let text = "it is the new_func of a klp_func, which is not written yet when the kernel looks at it and refuses the \
                whole patch (R15): replace the function by one of the livepatch, which calls it";
    assert!(ran.stderr.contains(text), "{}", ran.stderr);
    compile_sized(&tree, 16, &(funcs("unique") + PATCH));
    tree.convert(&["in.ko"]).ok();
}
