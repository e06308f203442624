// SPDX-License-Identifier: GPL-2.0-only
//! Units compiled by real compilers, before and after a change: what is found to be different, and what is cut out.

use std::fs;
use std::process::Command;

use klpbuild::frompatch::assembler::Listing;
use klpbuild::frompatch::assembler::compare::{Changes, compare};
use klpbuild::frompatch::assembler::extract::{Entry, Extract};

use crate::header::compilers;

/// How the kernel compiles, and how a unit is made ready to be taken apart.
const FLAGS: &[&str] = &[
    "-O2",
    "-fno-pic",
    "-fno-pie",
    "-mcmodel=kernel",
    "-mno-sse",
    "-fno-stack-protector",
    "-fno-common",
    "-w",
    "-g0",
    "-fno-strict-aliasing",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
    "-S",
];

/// What is declared in each unit.
const HEAD: &str = "extern int out(int); extern void keep(const void *); extern int printk(const char *, ...);\n\
    #define noinline __attribute__((noinline))\n#define init __attribute__((section(\".init.text\")))\n";

fn listing(compiler: &str, text: &str) -> Listing {
    Listing::parse(&assembler(compiler, text))
}

/// What the compiler writes.
fn assembler(compiler: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.c"), format!("{HEAD}{text}")).unwrap();
    let ran = Command::new(compiler).args(FLAGS).args(["-o", "a.s", "a.c"]).current_dir(&dir).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{compiler}: {}", String::from_utf8_lossy(&ran.stderr));
    fs::read_to_string(dir.path().join("a.s")).unwrap()
}

/// What is different, with `from` replaced by `to` in `text`.
fn changed(compiler: &str, text: &str, from: &str, to: &str) -> Changes {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    compare(&listing(compiler, text), &listing(compiler, &text.replace(from, to)))
}

/// The functions that are different.
fn functions(changes: &Changes) -> Vec<&str> {
    changes.changed.keys().map(String::as_str).collect()
}

const SWITCH: &str = "int f(int a){switch(a){case 0:return out(1);case 1:return out(5);case 2:return out(7);case 3:return out(9);\
    case 4:return out(33);case 5:return out(6);case 6:return out(99);case 7:case 8: out(8); return out(2);} return 0;}\n";

#[test]
fn a_jump_table_that_leads_elsewhere_is_a_change() {
    for compiler in compilers() {
        let changes = changed(
            compiler,
            SWITCH,
            "case 1:return out(5);case 2:return out(7);",
            "case 2:return out(5);case 1:return out(7);",
        );
        assert_eq!(functions(&changes), ["f"], "{compiler}");
        let moved = SWITCH.replace("case 7:case 8:", "case 7:").replace("case 6:", "case 6:case 8:");
        let changes = compare(&listing(compiler, SWITCH), &listing(compiler, &moved));
        assert_eq!(functions(&changes), ["f"], "{compiler}");
        // With the code as it was: two entries of the table have changed places.
        let text = assembler(compiler, SWITCH);
        let entries: Vec<&str> = text.lines().filter(|line| line.starts_with("\t.quad\t.L")).collect();
        assert!(entries.len() > 6 && entries[0] != entries[1], "{text}");
        let other = text
            .replacen(entries[0], "\t.here", 1)
            .replacen(entries[1], entries[0], 1)
            .replacen("\t.here", entries[1], 1);
        let (old, other) = (Listing::parse(&text), Listing::parse(&other));
        assert_eq!(functions(&compare(&old, &other)), ["f"], "{compiler}");
        assert!(compare(&old, &old).is_empty());
    }
}

#[test]
fn a_constant_behind_a_table_of_the_compilers_is_a_change_of_its_user() {
    let text = "struct t { int a[8]; }; static const struct t one={{1,2}},two={{3,4}},three={{5}},four={{6}},five={{7}};\n\
        const struct t *f(int a){switch(a){case 0:return &one;case 1:return &two;case 2:return &three;case 3:return &four;\
        case 4: return &five;} return 0;}\n";
    for compiler in compilers() {
        let changes = changed(compiler, text, "{{3,4}}", "{{3,5}}");
        assert!(functions(&changes) == ["f"] || !changes.refused.is_empty(), "{compiler}: {changes:?}");
    }
}

#[test]
fn what_statics_of_the_macros_are_set_to_counts() {
    let text = "struct rs { int interval, burst; }; extern int __ratelimit(struct rs *);\n\
        void f(void){static struct rs _rs={5,10}; if(__ratelimit(&_rs)) printk(\"x\");}\n";
    for compiler in compilers() {
        let changes = changed(compiler, text, "{5,10}", "{5,20}");
        assert!(functions(&changes) == ["f"] || !changes.refused.is_empty(), "{compiler}: {changes:?}");
    }
}

#[test]
fn statics_of_one_name_are_not_taken_for_one_another() {
    let text =
        "int f(int a){ if(a){static int n; n+=a; out(n);/*1*/} {static int n; n-=a; return out(n);} }\n";
    for compiler in compilers() {
        let same = compare(&listing(compiler, text), &listing(compiler, &format!("int new;\n{text}")));
        assert!(same.changed.is_empty() && same.refused.is_empty(), "{compiler}: {same:?}");
        let changes =
            changed(compiler, text, "int f(int a){", "int f(int a){ if(a>7){static int n; n^=a; out(n);}");
        assert!(!changes.refused.is_empty(), "{compiler}: {changes:?}");
    }
}

#[test]
fn unnamed_initial_values_of_data_count() {
    let text = "struct x{int a;}; struct x *all[]={&(struct x){1},&(struct x){2},&(struct x){3}}; int f(int a){return all[a]->a;}\n";
    for compiler in compilers() {
        let changes = changed(compiler, text, "{2}", "{9}");
        assert!(!changes.refused.is_empty(), "{compiler}: {changes:?}");
    }
}

#[test]
fn a_constant_that_was_handed_on_at_the_beginning_is_refused() {
    let text = "struct t { int a[8]; }; static const struct t ops={{1,2}}; init void g(void){keep(&ops);}\n\
        int f(int a){return ops.a[a];}\n";
    for compiler in compilers() {
        let changes = changed(compiler, text, "{1,2}", "{1,3}");
        assert!(!changes.refused.is_empty(), "{compiler}: {changes:?}");
    }
}

#[test]
fn another_target_of_an_alias_is_refused() {
    let text = "int f(void){return out(1);} int g(void){return out(2);} int h(void) __attribute__((alias(\"f\")));\n";
    for compiler in compilers() {
        let changes = changed(compiler, text, "(\"f\")", "(\"g\")");
        assert!(!changes.refused.is_empty(), "{compiler}: {changes:?}");
    }
}

#[test]
fn parameters_and_tables_of_the_kernel_are_refused() {
    for section in ["__param", "__tracepoints", "_ftrace_events"] {
        let text = format!(
            "#define T __attribute__((used,section(\"{section}\")))\nint v; T static int *a=&v; /*1*/\nint f(int a){{return out(a);}}\n"
        );
        for compiler in compilers() {
            let changes = changed(compiler, &text, "/*1*/", "T static int *b=&v;");
            assert!(!changes.refused.is_empty(), "{compiler} {section}: {changes:?}");
            let changes = changed(compiler, &text, "*a=&v", "*a=&v+1");
            assert!(!changes.refused.is_empty(), "{compiler} {section}: {changes:?}");
        }
    }
}

#[test]
fn new_functions_that_only_other_units_call_are_cut_out() {
    let text = "int f(int a){return out(a);}\n";
    for compiler in compilers() {
        let (old, new) = (
            listing(compiler, text),
            listing(compiler, &format!("{text}int added(int a){{return out(a+1);}}")),
        );
        let changes = compare(&old, &new);
        let mut extract = Extract::plan(&old, &new, &changes, Entry::Any);
        extract.resolve();
        assert!(!extract.is_empty(), "{compiler}");
        let text = extract.text("klp_", str::to_owned);
        assert!(text.contains("\t.globl\tadded\n") && text.contains("\nadded:"), "{text}");
    }
}

#[test]
fn what_inline_assembler_says_in_comments_is_no_reference() {
    let text = "extern int hot; int f(int a){char c; asm volatile(\"incl %%gs:hot(%%rip)\\n/* output condition code c */ setc %0\"\n\
        : \"=q\"(c)); return out(c);/*1*/}\n";
    for compiler in compilers() {
        let (old, new) = (listing(compiler, text), listing(compiler, &text.replace("out(c)", "out(c+1)")));
        let changes = compare(&old, &new);
        let mut extract = Extract::plan(&old, &new, &changes, Entry::Any);
        extract.resolve();
        assert_eq!(extract.references.keys().collect::<Vec<_>>(), ["hot", "out"], "{compiler}");
    }
}

#[test]
fn arguments_of_assembler_macros_are_no_references() {
    let text = "int f(int a){asm volatile(\"1: nop\\n.pushsection \\\"__ex_table\\\",\\\"a\\\"\\n.long 1b - .\\n\
        .macro m type:req reg:req\\n.set .Lf, 0\\n.irp rs,rax,eax,ecx\\n.ifc \\\\reg, %%\\\\rs\\n.set .Lf, .Lf+1\\n.long \\\\type\\n.endif\\n.endr\\n.endm\\n\
        m reg=%0, type=3\\n.purgem m\\n.popsection\" : \"+r\"(a)); return out(a);/*1*/}\n";
    for compiler in compilers() {
        let (old, new) = (listing(compiler, text), listing(compiler, &text.replace("out(a)", "out(a+1)")));
        let changes = compare(&old, &new);
        let mut extract = Extract::plan(&old, &new, &changes, Entry::Any);
        extract.resolve();
        assert_eq!(extract.references.keys().collect::<Vec<_>>(), ["out"], "{compiler}");
    }
}

/// What is cut out of the changed text, with its references.
fn cut(compiler: &str, text: &str, from: &str, to: &str) -> (String, Vec<String>) {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    let (old, new) = (listing(compiler, text), listing(compiler, &text.replace(from, to)));
    let changes = compare(&old, &new);
    assert!(changes.refused.is_empty(), "{compiler}: {changes:?}");
    let mut extract = Extract::plan(&old, &new, &changes, Entry::Any);
    extract.resolve();
    assert!(extract.refused.is_empty(), "{compiler}: {:?}", extract.refused);
    let references = extract.references.keys().cloned().collect();
    (extract.text("klp_", str::to_owned), references)
}

#[test]
fn a_table_of_places_within_a_function_goes_with_it() {
    let text = "int f(const unsigned char *p){static const void *const t[]={&&a,&&b,&&c};goto *t[*p++];\
        a:out(1);goto *t[*p++];b:out(2);goto *t[*p++];c:return 3;}\n";
    for compiler in compilers() {
        // The kernel's table leads into the kernel's function.
        let (cut, references) = cut(compiler, text, "out(2)", "out(5)");
        assert_eq!(references, ["out"], "{compiler}");
        assert_eq!(cut.matches("\t.quad\t.L").count(), 3, "{compiler}: {cut}");
        let swapped = changed(compiler, text, "{&&a,&&b,&&c}", "{&&b,&&a,&&c}");
        assert_eq!(functions(&swapped), ["f"], "{compiler}");
    }
}

#[test]
fn variables_that_are_called_as_those_of_macros_stay_the_kernels() {
    for name in ["descriptor", "__flags", "_entry", "__warned"] {
        let text = format!("int f(int a){{static int {name}; return {name}+=a;}}\n");
        for compiler in compilers() {
            let (cut, references) = cut(compiler, &text, "+=a", "+=a+1");
            let static_name = references.iter().find(|reference| reference.contains(name));
            assert!(static_name.is_some() && !cut.contains(".zero"), "{compiler}: {cut}");
        }
    }
}

#[test]
fn what_the_kernel_may_do_without_stays_weak() {
    let text = "extern int may(void) __attribute__((weak)); int f(void){return may?may():1;}\n";
    for compiler in compilers() {
        let (cut, _) = cut(compiler, text, ":1", ":2");
        assert!(cut.contains("\t.weak\tmay\n"), "{compiler}: {cut}");
    }
}

#[test]
fn types_are_told_of_what_follows_them() {
    let text = "static const int t[]={1,2,3,4,5}; int g(int a){return out(t[a]);} static noinline int f(int a){return out(a);}\n\
        int h(int a){keep(t);keep(f);return 1;}\n";
    for compiler in compilers() {
        let (cut, references) = cut(compiler, text, "out(a);", "out(a+1);");
        assert_eq!(references, ["out"], "{compiler}");
        assert!(!cut.contains("@object") && cut.contains("klp_f"), "{compiler}: {cut}");
    }
    let text = "#define P __attribute__((section(\".data..percpu\")))\nP int one; /*1*/\nint f(int a){return one+=a;/*2*/}\n";
    for compiler in compilers() {
        let new = text
            .replace("/*1*/", "static P int two;")
            .replace("return", "two++; return")
            .replace("/*2*/", "");
        let changes = compare(&listing(compiler, text), &listing(compiler, &new));
        assert!(changes.refused.is_empty(), "{compiler}: {changes:?}");
        assert_eq!(functions(&changes), ["f"], "{compiler}");
    }
}

#[test]
fn assembler_outside_of_functions_is_not_lost() {
    let text = "asm(\".pushsection .table,\\\"a\\\"\\n.long 1\\n.long 3\\n.popsection\");/*1*/\nint f(int a){return out(a);}\n";
    let again = "asm(\".pushsection .table,\\\"a\\\"\\n.long 1\\n.popsection\");";
    for compiler in compilers() {
        for (from, to) in
            [(".long 1", ".long 2"), ("/*1*/", again), (".long 1\\n.long 3", ".long 3\\n.long 1")]
        {
            let (old, new) = (listing(compiler, text), listing(compiler, &text.replace(from, to)));
            let changes = compare(&old, &new);
            let extract = Extract::plan(&old, &new, &changes, Entry::Any);
            assert!(!extract.refused.is_empty(), "{compiler}: {from}");
        }
    }
}

#[test]
fn what_is_noted_of_code_in_other_sections_goes_with_it() {
    let text = "int f(int a){asm volatile(\"771: nop\\n.pushsection .altinstructions,\\\"a\\\"\\n.long 771b - .\\n.long 774f - .\\n.popsection\\n\\\n\
        .pushsection .altinstr_replacement,\\\"ax\\\"\\n774: lfence\\n.popsection\\n\\\n\
        .pushsection __ex_table,\\\"a\\\"\\n.long 771b - .\\n.long 4\\n.popsection\"); return out(a);}\n\
        int g(int a){asm volatile(\"1: nop\\n.pushsection __ex_table,\\\"a\\\"\\n.long 1b - .\\n.long 7\\n.popsection\"); return out(a+5);}\n";
    for compiler in compilers() {
        for (from, to) in [("lfence", "mfence"), (".long 4", ".long 5")] {
            assert_eq!(functions(&changed(compiler, text, from, to)), ["f"], "{compiler}: {from}");
        }
        let (cut, references) = cut(compiler, text, "out(a);", "out(a+1);");
        assert_eq!(references, ["out"], "{compiler}");
        for word in ["__ex_table", ".altinstructions", ".altinstr_replacement"] {
            assert!(cut.contains(word), "{compiler}: {word}: {cut}");
        }
        assert_eq!(cut.matches("lfence").count(), 1, "{compiler}: {cut}");
        assert!(!cut.contains(".long\t7\n") && !cut.contains(".long 7\n"), "{compiler}: {cut}");
    }
}

#[test]
fn a_new_static_key_comes_with_its_sites() {
    let text = "struct key {int a; void *p;};\n\
        #define BRANCH(key) asm goto(\"1: nop\\n.pushsection __jump_table,\\\"aw\\\"\\n.balign 8\\n.long 1b - .\\n.long %l[l] - .\\n\\\n\
        .quad %c0 + %c1 - .\\n.popsection\\n\" :: \"i\"(key), \"i\"(2) :: l)\n\
        static struct key old;\nint f(int a){/*1*/BRANCH(&old); return out(a); l: return out(a+1);}\n";
    for compiler in compilers() {
        let (old, new) = (
            listing(compiler, text),
            listing(
                compiler,
                &text.replace("/*1*/BRANCH(&old)", "static struct key new = {1}; BRANCH(&new)"),
            ),
        );
        let changes = compare(&old, &new);
        let extract = Extract::plan(&old, &new, &changes, Entry::Any);
        assert_eq!(extract.refused, Vec::<String>::new(), "{compiler}");
        let text = extract.text("klp_", |name| name.to_owned());
        let quads: Vec<&str> = text.split(".quad").skip(1).collect();
        let key = quads.first().unwrap_or_else(|| panic!("{compiler}: {text}")).lines().next().unwrap();
        assert!(key.contains("klp_") && key.contains("new"), "{compiler}: {text}");
    }
}

#[test]
fn new_exports_are_refused() {
    let text = "int f(int a){return out(a);}\n/*1*/\n";
    let export = "asm(\".section \\\".export_symbol\\\",\\\"a\\\" ; __export_symbol_f: ; .asciz \\\"GPL\\\" ; .balign 8 ; .quad f ; .previous\");";
    for compiler in compilers() {
        let (old, new) = (listing(compiler, text), listing(compiler, &text.replace("/*1*/", export)));
        let changes = compare(&old, &new);
        let extract = Extract::plan(&old, &new, &changes, Entry::Any);
        let refused: Vec<&String> = changes.refused.iter().chain(&extract.refused).collect();
        assert!(refused.iter().any(|why| why.contains("export")), "{compiler}: {refused:?}");
    }
}

/// What is refused of a change.
fn refused(compiler: &str, text: &str, from: &str, to: &str) -> Vec<String> {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    let (old, new) = (listing(compiler, text), listing(compiler, &text.replace(from, to)));
    let changes = compare(&old, &new);
    let extract = Extract::plan(&old, &new, &changes, Entry::Any);
    changes.refused.iter().chain(&extract.refused).cloned().collect()
}

#[test]
fn statements_behind_a_directive_are_not_lost() {
    for table in [
        "asm(\".section .tbl,\\\"a\\\"; .long 4; .text\");",
        "asm(\".section .tbl,\\\"a\\\"; 1: .long 4; .previous\");",
        "asm(\".data; .globl x; x: .long 4; .text\");",
        "asm(\".pushsection .data; x: .long 4; .popsection\");",
        "asm(\".section .tbl,\\\"a\\\"\\n\\tx: y: .long 4\\n.text\");",
    ] {
        let text = format!("{table}\nint f(int a){{return out(a);}}\n");
        for compiler in compilers() {
            assert_eq!(refused(compiler, &text, "out(a)", "out(a+1)"), Vec::<String>::new());
            assert!(!refused(compiler, &text, ".long 4", ".long 5").is_empty(), "{compiler}: {table}");
        }
    }
}

#[test]
fn names_that_inline_assembler_sets_go_with_the_function() {
    let text = "int f(int a){asm volatile(\".set step, 1; .set step, step+2; addl $step, %0\" : \"+r\"(a)); return out(a);}\n\
        int g(int a){return out(a);/*1*/}\n";
    for compiler in compilers() {
        let (old, new) = (listing(compiler, text), listing(compiler, &text.replace("step+2", "step+3")));
        assert_eq!(functions(&compare(&old, &new)), ["f"], "{compiler}");
        let (cut, references) = cut(compiler, text, "out(a);}", "out(a+1);}");
        assert_eq!(references, ["out"], "{compiler}: {cut}");
        if compiler.starts_with("gcc") {
            assert!(cut.contains(".set klp_step, klp_step+2"), "{cut}");
        }
    }
}

#[test]
fn initcalls_and_counted_names_have_no_effect() {
    let call = "asm(\".section \\\".initcall6.init\\\",\\\"a\\\"\\n__initcall__kmod_a__12_3_f6:\\n.long f - .\\n.previous\");";
    let set = "asm(\".pushsection .BTF_ids,\\\"a\\\";.local __BTF_ID__func__f__NUMBER;.type __BTF_ID__func__f__NUMBER, STT_OBJECT;\
        __BTF_ID__func__f__NUMBER:;.zero 4;.popsection\");";
    let text = format!("{}\nint f(int a){{return out(a);}}\n/*1*/\n", set.replace("NUMBER", "7"));
    for compiler in compilers() {
        let new = text.replace("__7", "__8").replace("/*1*/", call).replace("out(a)", "out(a+1)");
        let (old, new) = (listing(compiler, &text), listing(compiler, &new));
        let changes = compare(&old, &new);
        let extract = Extract::plan(&old, &new, &changes, Entry::Any);
        assert!(
            changes.refused.is_empty() && extract.refused.is_empty(),
            "{compiler}: {:?}",
            extract.refused
        );
        assert_eq!(extract.without_effect, ["a new initcall: the kernel has begun long ago"], "{compiler}");
    }
}

#[test]
fn a_function_that_becomes_init_is_refused_and_a_variable_that_moves_is_told() {
    let text = "int f(int a){return out(a);}\n#define ONCE __attribute__((section(\".data..once\")))\n/*2*/ int v=4;\n\
        int g(int a){return out(a+v++);}\n";
    for compiler in compilers() {
        let why = refused(compiler, text, "int f(int a){return out(a", "init int f(int a){return out(a+1");
        assert!(why.len() == 1 && why[0].starts_with("f becomes __init"), "{compiler}: {why:?}");
        let changes = changed(compiler, text, "/*2*/", "ONCE");
        assert!(changes.refused.is_empty(), "{compiler}: {changes:?}");
        assert_eq!(changes.notes, ["v goes to the section .data..once: in the kernel it stays where it is"]);
        let text = text.replace(".data..once", ".data..percpu");
        assert!(!refused(compiler, &text, "/*2*/", "ONCE").is_empty(), "{compiler}");
    }
}
