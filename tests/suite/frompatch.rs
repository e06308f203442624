// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild livepatch` in a small tree: what it says.

use std::fs;

use crate::space::{Ran, Space};
use crate::takeover;

/// A patch of `lib/taken.c`, by what is replaced in it.
fn patch(space: &Space, changes: &[(&str, &str)]) {
    let old = space.read("src/lib/taken.c");
    let new = changes.iter().fold(old.clone(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    for (side, text) in [("a", old), ("b", new)] {
        fs::create_dir_all(space.path(&format!("ext/{side}/lib"))).unwrap();
        fs::write(space.path(&format!("ext/{side}/lib/taken.c")), text).unwrap();
    }
    let mut diff = space.command("diff");
    diff.current_dir(space.path("ext")).args(["-u", "a/lib/taken.c", "b/lib/taken.c"]);
    fs::write(space.path("ext/fix.patch"), diff.output().unwrap().stdout).unwrap();
}

fn livepatch(space: &Space) -> Ran {
    let mut command = space.command(Space::program());
    command.current_dir(space.path("ext")).env_remove("KDIR");
    let kdir = format!("KDIR={}", space.path("obj").display());
    Ran::of(command.args(["livepatch", "fix.patch", &kdir]).output().unwrap())
}

#[test]
fn what_does_not_compile_is_shown_where_it_is() {
    let space = takeover::space();
    patch(
        &space,
        &[
            (
                "struct state { int a, b; };\n",
                "struct state { int a, b; };\nint one(void);\nint two(void);\n",
            ),
            (
                "\treturn taken(++seen) + named(value);\n",
                "\tvalue += 2;\n\treturn taken(++seen) + nmed(value)\n",
            ),
        ],
    );
    let said = livepatch(&space).ends(1).stderr;
    assert!(said.contains("lib/taken.c does not compile with the patch:"), "{said}");
    let patched = space.read("ext/b/lib/taken.c");
    let line = patched.lines().position(|line| line.contains("nmed")).unwrap() + 1;
    let shown = format!("{line} |         return taken(++seen) + nmed(value)");
    for words in [format!("lib/taken.c:{line}:"), shown, "error: expected ';' before '}' token".to_owned()] {
        assert!(said.contains(&words), "{words}: {said}");
    }
    // Behind the last change as well.
    patch(
        &space,
        &[
            ("#define LIMIT 7\n", "#define LIMIT 7\n#define MORE 8\n"),
            ("return klog(\"made\");", "return klog(\"made\";"),
        ],
    );
    let said = livepatch(&space).ends(1).stderr;
    let line =
        space.read("ext/b/lib/taken.c").lines().position(|line| line.starts_with("MADE(up)")).unwrap() + 1;
    assert!(said.contains(&format!("{line} | MADE(up) {{ return klog(\"made\";")), "{said}");
}

/// Nothing proves what the patched code alone takes from a header.
#[test]
fn a_header_that_is_newer_than_the_build_is_refused() {
    let space = takeover::space();
    let header = space.path("src/lib/own.h");
    let text = fs::read_to_string(&header).unwrap();
    fs::write(&header, format!("{text}struct added;\n")).unwrap();
    patch(&space, &[("LIMIT 7", "LIMIT 8")]);
    let said = livepatch(&space).ends(1).stderr;
    assert!(said.contains("lib/taken.c: lib/own.h is newer than lib/taken.o"), "{said}");
    // What it is linked into counts as well.
    let time = |file: &str| fs::metadata(space.path(file)).unwrap().modified().unwrap();
    let set = |file: &str, time| {
        fs::File::options().write(true).open(space.path(file)).unwrap().set_modified(time).unwrap();
    };
    let built = time("obj/lib/taken.o");
    set("obj/lib/taken.o", time("src/lib/own.h"));
    let said = livepatch(&space).ends(1).stderr;
    assert!(said.contains("lib/taken.c: lib/own.h is newer than vmlinux"), "{said}");
    set("obj/lib/taken.o", built);
    set("src/lib/own.h", built);
    // An option that only the patched code asks for.
    fs::create_dir_all(space.path("obj/include/config")).unwrap();
    fs::write(space.path("obj/include/config/FRESH"), "").unwrap();
    patch(&space, &[("#define LIMIT 7", "#ifdef CONFIG_FRESH\n#endif\n#define LIMIT 8")]);
    let said = livepatch(&space).ends(1).stderr;
    assert!(said.contains("lib/taken.c: include/config/FRESH is newer than "), "{said}");
    patch(&space, &[("LIMIT 7", "LIMIT 8")]);
    // The file itself may be newer.
    let file = space.path("src/lib/taken.c");
    fs::write(&file, fs::read(&file).unwrap()).unwrap();
    let said = livepatch(&space).stderr;
    assert!(!said.contains("is newer than"), "{said}");
}

/// In a build with O=, a file that the build generates lies in the object tree.
#[test]
fn a_generated_file_that_uses_a_patched_header_is_compiled() {
    let space = takeover::space();
    let command = space.read("obj/lib/.taken.o.cmd");
    let (command, _) = command.trim_end().rsplit_once(' ').unwrap();
    let command = command.replace("lib/taken.o", "lib/made.o");
    let header = space.path("src/lib/own.h").display().to_string();
    let lists = format!("source_lib/made.o := lib/made.c\n\ndeps_lib/made.o := \\\n  {header} \\\n");
    fs::write(space.path("obj/lib/.made.o.cmd"), format!("{command} -I../src/lib lib/made.c\n\n{lists}"))
        .unwrap();
    fs::write(space.path("obj/lib/made.c"), "#include <own.h>\nint made(void) { return OWN_STEP; }\n")
        .unwrap();
    let patch = "--- a/lib/own.h\n+++ b/lib/own.h\n@@ -1 +1 @@\n-#define OWN_STEP 2\n+#define OWN_STEP two\n";
    fs::write(space.path("ext/fix.patch"), patch).unwrap();
    let said = livepatch(&space).ends(1).stderr;
    assert!(said.contains("lib/made.c does not compile with the patch:"), "{said}");
    assert!(said.contains("two"), "{said}");
}

#[test]
fn another_packing_of_a_type_is_refused() {
    let space = takeover::space();
    let state = "struct state { int a, b; };\n";
    patch(&space, &[(state, &format!("#pragma pack(1)\n{state}#pragma pack()\n"))]);
    let said = livepatch(&space).ends(1).stderr;
    assert!(
        said.contains("lib/taken.c: the type state gets another layout by what #pragma says before it"),
        "{said}"
    );
}

/// Each object has its own copy of the functions, and a livepatch of one would leave the others as they are.
#[test]
fn a_file_that_is_compiled_into_several_objects_is_refused_if_that_changes_one() {
    let space = takeover::space();
    let module = space.read("obj/modules.order");
    let module = module.lines().next().unwrap();
    let module = module.rsplit_once('/').unwrap().1.rsplit_once('.').unwrap().0.replace('-', "_");
    let own = space.read("obj/lib/.taken.o.cmd");
    // It differs from the first one: what is off there is on here.
    let again = own
        .replace("lib/taken.o", "lib/again/taken.o")
        .replace("'\"taken\"'", &format!("'\"{module}\"' -DMODULE -DCONFIG_ELSEWHERE -Dnowhere=3"));
    assert!(again.contains("ELSEWHERE"), "{again}");
    let source = space.path("src/lib/taken.c").display().to_string();
    fs::create_dir(space.path("obj/lib/again")).unwrap();
    fs::write(
        space.path("obj/lib/again/.taken.o.cmd"),
        format!("{again}\nsource_lib/again/taken.o := {source}\n"),
    )
    .unwrap();
    let refusal = "lib/taken.c is compiled into ";
    for (from, to) in [("LIMIT 7", "LIMIT 8"), ("STEP 100", "STEP 101")] {
        patch(&space, &[(from, to)]);
        let said = livepatch(&space).ends(1).stderr;
        assert!(said.contains(&format!("{refusal}{module} and vmlinux, and the patches change")), "{said}");
    }
    patch(&space, &[("/* Counts. */", "/* It counts. */")]);
    let said = livepatch(&space).stderr;
    assert!(!said.contains(refusal) && said.contains("the patches change no code"), "{said}");
}
