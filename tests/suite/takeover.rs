// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild new` where the kernel's source is at hand: the kernel's own text, and what it needs.

use std::fs;

use crate::external;
use crate::space::{Ran, Space};

/// A file of the kernel with all that a function may use.
const FILE: &str = r#"// SPDX-License-Identifier: GPL-2.0-or-later
/* What the file is for. */
#include <linux/module.h>
#include "own.h"

int klog(const char *text);
struct state { int a, b; };
#define LIMIT 7
#define STATE(name) struct state name = { 1, 2 }
static STATE(shared);
static const int table[] = { 3, 5, 7, 11 };
#ifdef CONFIG_ELSEWHERE
#define STEP 100
#else
#define STEP OWN_STEP
#endif

/* Counts. */
static inline int tiny(int value) { return value + STEP; }
static __attribute__((noinline)) int named(int value) { return value * klog("named"); }
static int folded(int value)
{
	static int calls = 4;

	return value + ++calls;
}

int taken(int value)
{
	static int seen;

#ifdef CONFIG_ELSEWHERE
	seen = nowhere;
#endif
	if (value > LIMIT)
		return named(value) + ++seen;
	shared.a += table[value & 3];
	return tiny(folded(value));
}
EXPORT_SYMBOL(taken);

int other(int value)
{
	static int seen = 9;

	return taken(++seen) + named(value);
}

#define MADE(name) int made_##name(void)
MADE(up) { return klog("made"); }
"#;

/// A kernel with such a file, with debugging information, and with what kbuild notes of its compilation.
pub(crate) fn space() -> Space {
    let space = Space::configured("era-c");
    let config = fs::read_to_string(space.path("obj/.config")).unwrap();
    fs::write(space.path("obj/.config"), config + "CONFIG_X86_64=y\n").unwrap();
    fs::write(space.path("src/lib/taken.c"), FILE).unwrap();
    fs::write(space.path("src/lib/own.h"), "#define OWN_STEP 2\n").unwrap();
    let makefile = fs::read_to_string(space.path("src/lib/Makefile")).unwrap();
    fs::write(space.path("src/lib/Makefile"), makefile + "obj-y += taken.o\n").unwrap();
    space.klpbuild(&["modules", "O=../obj", "KCFLAGS=-g"]).ok();
    let command = fs::read_to_string(space.path("obj/lib/.taken.o.cmd")).unwrap();
    let command = command.trim_start_matches("# ").trim_end();
    let (front, source) = command.rsplit_once(' ').unwrap();
    let modname = "-DKBUILD_MODNAME='\"taken\"' -DOWN=1";
    let command = front.replace(" -c -o ", &format!(" {modname} -c -o "));
    fs::write(space.path("obj/lib/.taken.o.cmd"), format!("savedcmd_lib/taken.o := {command} {source}\n"))
        .unwrap();
    fs::write(space.path("obj/include/config/kernel.release"), "9.0-mini\n").unwrap();
    fs::create_dir(space.path("ext")).unwrap();
    space
}

fn new(space: &Space, arguments: &[&str]) -> Ran {
    external::klpbuild_in(space, "ext", "obj", &[&["new"][..], arguments].concat())
}

#[test]
fn a_livepatch_begins_with_the_kernels_own_text() {
    let space = space();
    let ran = new(&space, &["lp", "--function", "taken", "--function", "other"]).ok();
    assert_eq!(
        ran.stdout,
        "klpbuild: lp: tables.c, lib-taken.c, Makefile, Makefile.snippet, klp_relocs.h, .gitignore\n\
         klpbuild: lp/lib-taken.c: other and taken as lib/taken.c has it\n\
         klpbuild: next: make -C lp; klpbuild -C lp try lp.ko\n"
    );
    // `seen` is a static of both.
    assert!(
        ran.stderr.contains("lp/lib-taken.c: seen is not taken over: the kernel's code"),
        "{}",
        ran.stderr
    );
    let refused = space.read("ext/lp/lib-taken.c");
    assert!(refused.contains("\n#error \"seen is not taken over: "), "{refused}");

    let ran = new(&space, &["lp-one", "--function", "taken"]).ok();
    assert_eq!(ran.stderr, "");
    insta::assert_snapshot!(space.read("ext/lp-one/lib-taken.c"));
    let tables = space.read("ext/lp-one/tables.c");
    assert!(tables.contains("extern struct klp_any klp_new_taken __asm__(\"new_taken\");\n"), "{tables}");
    assert!(
        tables.contains("\t{\n\t\t.old_name = \"taken\",\n\t\t.new_func = &klp_new_taken,\n\t}, { }\n"),
        "{tables}"
    );
    let source = space.path("src").display().to_string();
    let makefile = space.read("ext/lp-one/Makefile");
    for line in [
        "obj-m += lp-one.o\nlp-one-y := tables.o\nlp-one-y += lib-taken.o\nCFLAGS_lib-taken.o += -I$(KSRC)/lib -DOWN=1\n",
        &format!("\nKSRC ?= {source}\n"),
    ] {
        assert!(makefile.contains(line), "{makefile}");
    }
    // It compiles, and has no state of its own.
    let mut gcc = space.command("gcc");
    gcc.args([
        "-O1",
        "-ffreestanding",
        "-fno-pic",
        "-Werror",
        "-Wall",
        "-Iinclude",
        "-Ilib",
        "-I../ext/lp-one",
    ]);
    Ran::of(gcc.args(["-c", "-o", "../taken.o", "../ext/lp-one/lib-taken.c"]).output().unwrap()).ok();
    let symbols = Ran::of(space.command("nm").arg("../taken.o").output().unwrap()).ok().stdout;
    let named =
        |kind: &str, name: &str| symbols.lines().any(|line| line.ends_with(&format!(" {kind} {name}")));
    assert!(named("T", "new_taken") && named("U", "shared") && named("U", "named"), "{symbols}");
    assert!(!symbols.contains(" d ") && !symbols.contains(" b "), "{symbols}");
}

#[test]
fn where_there_is_no_text_a_skeleton_is_written() {
    let space = space();
    let skeleton = |arguments: &[&str], why: &str| {
        let ran = new(&space, arguments).ok();
        let line = format!("klpbuild: the kernel's own text is not taken over: {why}");
        assert!(ran.stderr.contains(&line), "{line}: {}", ran.stderr);
        let name = arguments[0];
        assert!(space.path(&format!("ext/{name}/{name}.c")).is_file(), "{}", ran.stdout);
        assert!(space.path(&format!("ext/{name}/klp_relocs.h")).is_file());
    };
    skeleton(
        &["lp-made", "--function", "made_up"],
        "made_up is not written as a function in lib/taken.c: a macro",
    );
    let two = ["lp-two", "--function", "made_up", "--function", "sum_up", "--object", "vmlinux"];
    new(&space, &two).ends(1);
    let text = fs::read_to_string(space.path("src/lib/taken.c")).unwrap();
    fs::write(space.path("src/lib/taken.c"), text.replace("value > LIMIT", "value >= LIMIT")).unwrap();
    skeleton(
        &["lp-else", "--function", "taken"],
        "lib/taken.c, without any change, does not compile to what vmlinux of the kernel is (1 difference)",
    );
    let named = new(&space, &["lp-named", "--function", "taken", "--source", "../src"]).ends(1);
    let plain = new(&space, &["lp-plain", "--function", "taken", "--skeleton"]).ok();
    assert!(plain.stdout.contains("lp-plain.c,") && !plain.stderr.contains("text"), "{}", plain.stderr);
    assert!(named.stderr.contains("src is the source of 6., and the kernel is 9.0-mini"), "{}", named.stderr);
    assert!(!space.path("ext/lp-named").exists());
    fs::remove_file(space.path("src/lib/taken.c")).unwrap();
    skeleton(&["lp-gone", "--function", "taken"], "");
    for file in ["obj/.config", "obj/include/config/auto.conf"] {
        let config = space.read(file).replace("CONFIG_X86_64=y\n", "");
        fs::write(space.path(file), config).unwrap();
    }
    skeleton(&["lp-arm", "--function", "taken"], "that is done for x86-64 only, not yet for other machines");
}

#[test]
fn several_functions_are_named_once_each() {
    let space = space();
    for (arguments, words) in [
        (&["lp", "--function", "taken", "--function", "taken"][..], "taken is named twice"),
        (
            &["lp", "--function", "taken", "--function", "other", "--sympos", "1"],
            "--sympos is the position of one function, and 2 are named",
        ),
    ] {
        let ran = new(&space, arguments).ends(1);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        assert!(!space.path("ext/lp").exists());
    }
}
