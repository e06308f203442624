// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild new`: what it writes, and what it refuses. That it builds is seen with real kernels.

use std::fs;

use crate::external;
use crate::space::{Ran, Space};

fn new(space: &Space, arguments: &[&str]) -> Ran {
    external::klpbuild_in(space, "ext", "obj", &[&["new"][..], arguments].concat())
}

/// A kernel with debugging information, as `make KCFLAGS=-g` builds it.
fn space() -> Space {
    let space = Space::configured("era-c");
    fs::write(
        space.path("src/lib/typed.c"),
        "struct seq; struct by_value { int a, b, c; }; enum mode { ONE, TWO };\n\
         typedef int (*actor_t)(struct seq *seq, const char *name, enum mode mode);\n\
         __attribute__((noinline)) unsigned long typed(struct seq *seq, actor_t actor, void *const *cookie)\n\
         { return actor(seq, (const char *)cookie, TWO); }\n\
         __attribute__((noinline)) void untyped(struct by_value whole) { asm volatile(\"\" : : \"r\"(whole.a)); }\n\
         static __attribute__((used, section(\".init.text\"))) void starts(void) { }\nint typed_data = 1;\n",
    )
    .unwrap();
    let makefile = fs::read_to_string(space.path("src/lib/Makefile")).unwrap();
    fs::write(space.path("src/lib/Makefile"), makefile + "obj-y += typed.o\n").unwrap();
    space.klpbuild(&["modules", "O=../obj", "KCFLAGS=-g"]).ok();
    fs::create_dir(space.path("ext")).unwrap();
    space
}

#[test]
fn a_function_of_vmlinux_is_declared_as_it_is() {
    let space = space();
    let ran = new(&space, &["lp-typed", "--function", "typed"]).ok();
    assert_eq!(
        ran.stdout,
        "klpbuild: lp-typed: lp-typed.c, Makefile, Makefile.snippet, klp_relocs.h, .gitignore\n\
         klpbuild: next: make -C lp-typed; klpbuild -C lp-typed try lp-typed.ko\n"
    );
    // These trees have no places for ftrace: the new function cannot go on to the old one.
    insta::assert_snapshot!(space.read("ext/lp-typed/lp-typed.c"));
    let obj = space.path("obj").display().to_string();
    let makefile = space.read("ext/lp-typed/Makefile");
    assert!(makefile.starts_with("# SPDX-License-Identifier: GPL-2.0\nobj-m += lp-typed.o\n"), "{makefile}");
    assert!(makefile.contains(&format!("\nKDIR ?= {obj}\ninclude $(dir ")), "{makefile}");
    assert_eq!(space.read("ext/lp-typed/Makefile.snippet"), space.klpbuild(&["snippet"]).ok().stdout);
}

/// Where the kernel was built, editors need no build of the livepatch.
#[test]
fn editors_are_told_before_the_first_build() {
    let space = space();
    assert!(!space.path("ext/lp-none").exists());
    fs::create_dir_all(space.path("obj/kernel/livepatch")).unwrap();
    let text = "savedcmd_kernel/livepatch/core.o := gcc -D__KERNEL__ -mfentry -DKBUILD_MODNAME='\"core\"' -c -o \
                kernel/livepatch/core.o core.c\n";
    fs::write(space.path("obj/kernel/livepatch/.core.o.cmd"), text).unwrap();
    new(&space, &["lp-typed", "--function", "typed"]).ok();
    let commands: serde_json::Value =
        serde_json::from_str(&space.read("ext/lp-typed/compile_commands.json")).unwrap();
    assert_eq!(commands[0]["directory"], space.path("obj").display().to_string());
    let words: Vec<&str> =
        commands[0]["arguments"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    for word in ["-D__KERNEL__", "-DMODULE", "-DKBUILD_MODNAME=\"lp_typed\""] {
        assert!(words.contains(&word), "{word}: {words:?}");
    }
    assert!(!words.contains(&"-mfentry") && !words.contains(&"-DKBUILD_MODNAME=\"core\""), "{words:?}");
    assert!(space.read("ext/lp-typed/.gitignore").contains("\ncompile_commands.json\n"));
    external::klpbuild_in(&space, "ext/lp-typed", "obj", &["clean"]).ok();
    assert!(!space.path("ext/lp-typed/compile_commands.json").exists());
}

#[test]
fn dkms_builds_it_for_this_kernel_alone() {
    let space = space();
    fs::write(space.path("obj/include/config/kernel.release"), "9.0-mini\n").unwrap();
    let ran = new(&space, &["lp-dkms", "--function", "typed", "--dkms"]).ok();
    assert!(ran.stdout.contains("Makefile.snippet, klp_relocs.h, dkms.conf, .gitignore\n"), "{}", ran.stdout);
    assert!(!space.path("ext/lp-plain/dkms.conf").exists());
    // As dkms reads it.
    let script = ". ../ext/lp-dkms/dkms.conf; kernel_source_dir=/k; echo \"$PACKAGE_NAME|${BUILT_MODULE_NAME[0]}|${STRIP[0]}|\
                  ${MAKE[0]}\"; [[ 9.0-mini =~ $BUILD_EXCLUSIVE_KERNEL ]] && ! [[ 9.0-mini2 =~ $BUILD_EXCLUSIVE_KERNEL ]]";
    let mut bash = space.command("bash");
    let read =
        Ran::of(bash.env("kernel_source_dir", "/k").args(["-c", script]).output().unwrap()).ok().stdout;
    assert_eq!(read, "lp-dkms|lp-dkms|no|make KDIR=/k\n");
}

#[test]
fn what_cannot_be_declared_is_marked() {
    let space = space();
    new(&space, &["lp-untyped", "--function", "untyped"]).ok().says(&[
        "lp-untyped/lp-untyped.c: fill in the signature of untyped: it hands over a structure as a whole",
    ]);
    let text = space.read("ext/lp-untyped/lp-untyped.c");
    assert!(text.contains("/* FILL IN: what untyped() takes and returns"), "{text}");
    assert!(text.contains("\nstatic long new_untyped(void)\n{\n\treturn 0;\n}\n"), "{text}");
}

#[test]
fn a_function_of_a_module_has_its_object() {
    let space = space();
    new(&space, &["lp-left", "--function", "left", "--object", "pair"]).ok();
    let text = space.read("ext/lp-left/lp-left.c");
    assert!(text.contains("\t{\n\t\t.name = \"pair\",\n\t\t.funcs = funcs,\n"), "{text}");
    assert!(text.contains("\nstatic int new_left(void)\n"), "{text}");
    let other = new(&space, &["lp-x", "--function", "left", "--object", "pairs"]).ends(1);
    assert!(
        other.stderr.contains("left: there is no object pairs; the nearest are pair (R2)"),
        "{}",
        other.stderr
    );
}

#[test]
fn what_cannot_be_replaced_is_refused() {
    let space = space();
    for (arguments, words) in [
        (&["lp", "--function", "hidden_countr"][..], "the nearest names are hidden_counter (vmlinux)"),
        (
            &["lp", "--function", "typed*"],
            "typed*: this is no function's name (klpbuild lookup takes patterns)",
        ),
        (
            &["lp", "--function", "typed", "--sympos", "7"],
            "typed: there is no position 7: vmlinux has 1 of this name, counted from 1 (S1)",
        ),
        (&["lp", "--function", "typed.isra.0"], "patch the functions that call it"),
        (&["lp", "--function", "typed_data"], "typed_data: it is no function (OBJECT) (S7)"),
        (
            &["lp", "--function", "starts"],
            "starts: it is __init: its memory is freed when vmlinux has come up",
        ),
        (&["user", "--function", "typed"], "the kernel has a module user: give the livepatch another name"),
        (&["0lp", "--function", "typed"], "0lp: a livepatch is named with letters"),
        (&["lp", "--function", "left", "--object", "user"], "left: user does not define it (S1)"),
    ] {
        let ran = new(&space, arguments).ends(1);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        assert!(!space.path("ext/lp").exists());
    }
    fs::create_dir(space.path("ext/full")).unwrap();
    fs::write(space.path("ext/full/file"), "").unwrap();
    assert!(new(&space, &["full", "--function", "typed"]).ends(1).stderr.contains("full is there already"));
    new(&space, &["dry", "--function", "typed", "--dry-run"]).ok();
    assert!(!space.path("ext/dry").exists());
}
