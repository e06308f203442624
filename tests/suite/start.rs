// SPDX-License-Identifier: GPL-2.0-only
//! Where klpbuild can be started, how it finds trees, variables and jobs, and what it refuses.

use std::fs;
use std::os::unix::fs::symlink;

use crate::space::{ERAS, Ran, Space};

#[test]
fn builds_in_the_source_tree() {
    for tree in ERAS {
        let space = Space::new(tree);
        space.klpbuild(&["modules", "defconfig"]).ok();
        assert_eq!(space.read("src/Symbols.list"), space.recipe("src"), "{tree}");
        assert_eq!(space.files("src", ".ko").len(), 6, "{tree}");
        let map = space.read("src/Symbols.list");
        assert!(
            map.starts_with("klp-convert-symbol-data.0.1\n*vmlinux\n") && map.contains("\n*sum_up\n"),
            "{tree}"
        );
        assert_eq!(space.make(&["vmlinux"]).ok().steps(), Vec::<String>::new(), "{tree}");
    }
}

/// O= relative and absolute, KBUILD_OUTPUT, -C, and being started in the object tree itself all lead to the
/// same trees; nothing is written into the source tree.
#[test]
fn object_trees_are_found_however_they_are_named() {
    for tree in ERAS {
        let space = Space::configured(tree);
        let before = space.files("src", "");
        let (src, obj) = (space.path("src"), space.path("obj"));
        space.klpbuild(&["modules", "O=../obj"]).ok();
        let stamps = space.stamps("obj");
        let same = |what: &str, mut command: std::process::Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{tree}, {what}: {output:?}");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(!text.contains("  CC") && !text.contains("  LD"), "{tree}, {what}: {text}");
            assert_eq!(space.stamps("obj"), stamps, "{tree}, {what}");
        };
        let klpbuild = || space.command(Space::program());
        let mut command = klpbuild();
        command.arg("modules").arg(format!("O={}", obj.display()));
        same("absolute O=", command);
        let mut command = klpbuild();
        command.arg("modules").env("KBUILD_OUTPUT", "../obj");
        same("KBUILD_OUTPUT", command);
        let mut command = klpbuild();
        command.args(["modules", "KBUILD_OUTPUT=../obj"]);
        same("KBUILD_OUTPUT as a variable", command);
        let mut command = klpbuild();
        command.current_dir("/").arg("-C").arg(&src).args(["modules", "O=../obj"]);
        same("-C to the source", command);
        let mut command = klpbuild();
        command.current_dir(&obj).arg("modules");
        same("in the object tree", command);
        let mut command = klpbuild();
        command.current_dir("/").arg("modules").arg("-C").arg(&obj);
        same("-C to the object tree", command);
        assert!(space.files("src", "") == before, "{tree}: the source tree was written to");
    }
}

#[test]
fn what_cannot_be_built_is_refused_with_advice() {
    let space = Space::new("era-c");
    let at = |name: &str| space.path(name).display().to_string();
    space.klpbuild(&["modules", "O=../obj"]).ends(1).says(&["there is no ", "/obj/.config", "olddefconfig"]);
    fs::create_dir_all(space.path("obj")).unwrap();
    fs::write(space.path("obj/.config"), "# CONFIG_MODULES is not set\nCONFIG_LIVEPATCH=y\n").unwrap();
    space
        .klpbuild(&["modules", "O=../obj"])
        .ends(1)
        .says(&["CONFIG_MODULES is not set in ", "--enable MODULES"]);
    fs::create_dir(space.path("empty")).unwrap();
    space.klpbuild(&["-C", "../empty", "modules"]).ends(1).says(&[
        &at("empty"),
        "is not a kernel tree",
        "-C DIR",
    ]);
    space.klpbuild(&["-C", "../none", "modules"]).ends(1).says(&["../none"]);
    space
        .klpbuild(&["modules", "O=../with blank", "defconfig"])
        .ends(1)
        .says(&["with blank: make cannot work"]);
    assert!(!space.path("with blank").exists());
    space.klpbuild(&["modules", "M=../none"]).ends(1).says(&["../none: no such directory"]);
    fs::write(space.path("src/.config"), "").unwrap();
    space.klpbuild(&["modules", "O=../other", "ARCH=arm64"]).ends(1).says(&[
        &format!("{}/.config is in the way", at("src")),
        &format!("run: make -C {} ARCH=arm64 mrproper", at("src")),
    ]);
    assert!(!space.path("other").exists());
    space.klpbuild(&["hook"]).ends(1).says(&["for the makefile fragment"]);
}

/// `-v` and `--dry-run` print commands that a shell takes.
#[test]
fn commands_are_printed_for_pasting() {
    let space = Space::configured("era-c");
    let ran = space
        .klpbuild(&["modules", "O=../obj", "-j3", "-k", "KCFLAGS=-DA='b c'", "--dry-run", "defconfig"])
        .ok();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let (src, obj) = (space.path("src"), space.path("obj"));
    let words = format!(
        "make --no-print-directory -C {} O={} -Otarget -k -j3 KCFLAGS=\"-DA='b c'\"",
        src.display(),
        obj.display()
    );
    assert_eq!(lines[0], format!("{words} defconfig"));
    assert!(
        lines[1].starts_with(&format!("MAKEFILES={}/.klpbuild/hook.mk KLPBUILD=", obj.display())),
        "{}",
        lines[1]
    );
    assert!(lines[1].ends_with(&format!("{words} KBUILD_BUILTIN=y modules")), "{}", lines[1]);
    assert_eq!(lines.len(), 2);
    assert!(!space.path("obj/.klpbuild").exists() && space.files("obj", ".o").is_empty());

    let ran = space.klpbuild(&["modules", "O=../obj", "-v"]).ok();
    let command = ran.stdout.lines().find(|line| line.starts_with("MAKEFILES=")).unwrap();
    let stamps = space.stamps("obj");
    let pasted = space.sh(command).ok();
    assert!(!pasted.stdout.contains("  CC"), "{}", pasted.stdout);
    assert_eq!(space.stamps("obj"), stamps);
    assert!(space.read("obj/.klpbuild/make.log").starts_with(&format!("$ {command}\n")));
}

#[test]
fn an_external_module_gets_no_built_in_objects() {
    let space = Space::configured("era-c");
    fs::create_dir(space.path("ext")).unwrap();
    let ext = space.path("ext").display().to_string();
    let ran = space.klpbuild(&["modules", "O=../obj", &format!("M={ext}"), "--dry-run"]).ok();
    assert!(ran.stdout.ends_with(&format!(" M={ext} modules\n")), "{}", ran.stdout);
    assert!(!ran.stdout.contains("KBUILD_BUILTIN"), "{}", ran.stdout);
    assert!(!space.path("ext/.klpbuild").exists());
}

/// A make whose recipe runs klpbuild.
fn under_make(space: &Space, plus: &str, arguments: &str, flags: &[&str]) -> (Option<i32>, String) {
    let makefile = format!("all:\n\t{plus}@{} modules {arguments} -v 2>&1\n", Space::program());
    fs::write(space.path("outer.mk"), makefile).unwrap();
    let mut command = space.command("make");
    let output = command.args(["-f", "../outer.mk", "--no-print-directory"]).args(flags).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn an_outer_makes_jobserver_is_used() {
    for tree in ERAS {
        let space = Space::configured(tree);
        let (code, text) = under_make(&space, "+", "O=../obj", &["-j2"]);
        assert_eq!(code, Some(0), "{text}");
        let command = text.lines().find(|line| line.starts_with("MAKEFILES=")).unwrap();
        assert!(!command.contains(" -j"), "{command}");
        assert!(!text.contains("jobserver") && !text.contains("-j"), "{text}");
        assert_eq!(space.files("obj", ".ko").len(), 6);
    }
}

#[test]
fn without_a_usable_jobserver_there_is_a_job_for_each_cpu() {
    let cpus = std::thread::available_parallelism().unwrap();
    let space = Space::configured("era-c");
    let (code, text) = under_make(&space, "", "O=../obj", &["-j2"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("begin the recipe that runs klpbuild with +"), "{text}");
    assert!(text.contains(&format!(" -j{cpus} ")) && !text.contains("jobserver unavailable"), "{text}");
    // Without -j outside there is no jobserver.
    let (code, text) = under_make(&space, "+", "O=../obj", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!(" -j{cpus} ")) && !text.contains("begin the recipe"), "{text}");
    // An own -j is obeyed.
    let (code, text) = under_make(&space, "+", "O=../obj -j1", &["-j2"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(" -j1 ") && !text.contains("warning: -j"), "{text}");
}

#[test]
fn an_outer_makes_variables_and_dry_run_count() {
    let space = Space::configured("era-c");
    let (code, text) = under_make(&space, "+", "", &["O=../obj", "FLAGGED=y"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(space.read("obj/modules.livepatch").lines().count(), 3);
    let (code, text) = under_make(&space, "+", "KNOWN=m", &["-n", "O=../obj"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("KBUILD_BUILTIN=y modules") && !text.contains("  CC"), "{text}");
    assert!(!space.path("obj/samples/livepatch/lp-known.o").exists());
}

/// Inside of a kbuild's own recipe, what that kbuild exports must not confuse the one klpbuild runs.
#[test]
fn a_kbuild_around_it_does_no_harm() {
    let space = Space::configured("era-c");
    let script = format!(
        "sub_make_done=1 srctree=/none objtree=. KBUILD_EXTMOD=/none KBUILD_OUTPUT=/none KBUILD_MODULES= VPATH=/none \
         Q=@ {} modules O=../obj",
        Space::program()
    );
    space.sh(&script).ok();
    assert_eq!(space.files("obj", ".ko").len(), 6);
}

#[test]
fn an_object_tree_whose_source_is_gone_is_told_from_others() {
    let space = Space::configured("era-c");
    assert!(!space.path("obj/source").exists(), "only a build makes the link");
    fs::write(space.path("obj/Makefile"), "include /gone/Makefile\n").unwrap();
    space.klpbuild(&["-C", "../obj", "modules"]).ends(1).says(&["no kernel source there any more", "/gone"]);
    fs::remove_file(space.path("obj/Makefile")).unwrap();
    symlink("../src", space.path("obj/source")).unwrap();
    space.klpbuild(&["-C", "../obj", "modules"]).ok();
}

/// What a klpbuild says to its make and to itself is in the environment of all that is run below: another klpbuild there,
/// for another tree, does not go by it.
#[test]
fn another_klpbuilds_variables_count_for_nothing() {
    let space = Space::configured("era-c");
    let mut command = space.command(Space::program());
    for name in ["KLPBUILD_ERA", "KLPBUILD_FINAL", "KLPBUILD_COMPILED", "KLPBUILD_PACKAGE"] {
        command.env(name, "y");
    }
    command.env("KLPBUILD_STATE", space.path("obj/.klpbuild")).env("KLPBUILD", "/no/such/klpbuild");
    command.env("MAKEFILES", "/elsewhere/.klpbuild/hook.mk");
    let ran = Ran::of(command.args(["modules", "O=../obj", "KNOWN=m"]).output().unwrap()).ok();
    assert!(ran.stdout.contains("  KLP [M] samples/livepatch/lp-known.ko\n"), "{}", ran.stdout);
    assert!(space.path("obj/vmlinux").exists());
    let log = space.read("obj/.klpbuild/make.log");
    assert!(!log.contains("/elsewhere/"), "{log}");
}

/// From GNU make 4.4 on, a jobserver is a named pipe, of which older ones know nothing.
#[test]
fn a_jobserver_that_the_make_in_path_does_not_know_is_left_alone() {
    let space = Space::configured("era-c");
    let version = space.sh("make --version | sed -n 's/^GNU Make 4[.]\\([0-9]*\\).*/\\1/p'").ok().stdout;
    let is_old = version.trim().parse::<u32>().unwrap() < 4;
    space.sh("mkfifo ../fifo").ok();
    let flags = format!(" -j4 --jobserver-auth=fifo:{}", space.path("fifo").display());
    let mut command = space.command(Space::program());
    // A make that knows it would wait for a job that nobody gives.
    let arguments: &[&str] =
        if is_old { &["modules", "O=../obj"] } else { &["modules", "O=../obj", "--dry-run"] };
    let ran = Ran::of(command.env("MAKEFLAGS", flags).args(arguments).output().unwrap()).ok();
    let said = "which the make in PATH does not know; run that make with --jobserver-style=pipe";
    assert_eq!(ran.stderr.contains(said), is_old, "{}", ran.stderr);
    assert!(!ran.stderr.contains("internal error"), "{}", ran.stderr);
    if is_old {
        let log = space.read("obj/.klpbuild/make.log");
        assert!(log.lines().next().unwrap().contains(" -j"), "{log}");
    }
}

#[test]
fn paths_that_make_cannot_take_are_named_before_it_runs() {
    let space = Space::configured("era-b");
    for name in ["a(b", "a;b", "a&b", "a,b", "a\\b", "a*b", "a`b", "a\nb"] {
        let output = format!("O=../{name}");
        space
            .klpbuild(&["modules", &output])
            .ends(1)
            .says(&["make cannot work in a directory with such a name"]);
        assert!(!space.path(name).exists());
        fs::create_dir(space.path(name)).unwrap();
        let m = format!("M={}", space.path(name).display());
        let ran = space.klpbuild(&["modules", "O=../obj", &m]).ends(1);
        ran.says(&["make cannot work in a directory with such a name, because of "]);
    }
    // And what it can take is as quiet as any other.
    space.klpbuild(&["modules", "O=../obj"]).ok();
    let name = "ren\u{e9}-\u{6a21}";
    fs::create_dir(space.path(name)).unwrap();
    fs::write(space.path(name).join("Makefile"), "obj-m += plain.o\n").unwrap();
    fs::write(space.path(name).join("plain.c"), "int plain_one(void) { return 1; }\n").unwrap();
    let m = format!("M={}", space.path(name).display());
    let ran = space.klpbuild(&["-q", "modules", "O=../obj", &m]).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert!(space.path(name).join("plain.ko").exists());
}
