// SPDX-License-Identifier: GPL-2.0-only
//! What `klpbuild modules` builds.

use std::fs;

use crate::space::{ERAS, MODPOSTS, Space, TREES};

#[test]
fn modules_and_vmlinux_are_those_of_plain_make() {
    for tree in TREES {
        let space = Space::configured(tree);
        space.make(&["O=../plain", "defconfig"]).ok();
        space.make(&["O=../plain", "-j2", "vmlinux", "modules"]).ok();
        let ran = space.klpbuild(&["modules", "O=../obj"]).ok();
        let (plain, ours) = (space.files("plain", ".ko"), space.files("obj", ".ko"));
        assert_eq!(plain.len(), 6, "{tree}");
        assert!(plain == ours, "{tree}: {:?}", ours.keys());
        assert!(space.files("plain", "vmlinux") == space.files("obj", "vmlinux"), "{tree}");
        assert!(
            ran.stdout.contains("klpbuild: 5 modules, 1 livepatch; 20 names in Symbols.list; "),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn the_map_is_what_nm_says_and_leaves_livepatches_out() {
    for tree in TREES {
        let space = Space::configured(tree);
        space.klpbuild(&["modules", "O=../obj"]).ok();
        let map = space.read("obj/Symbols.list");
        assert_eq!(map, space.recipe("obj"), "{tree}");
        let objects: Vec<&str> = map.lines().filter(|line| line.starts_with('*')).collect();
        let expected = match tree {
            // By the names of the .mod files, which come in byte order: `pair`, `sum-up`, `user`.
            "era-a" => ["*vmlinux", "*lp_flagged", "*lp_too", "*pair", "*sum_up", "*user"],
            _ => ["*vmlinux", "*pair", "*user", "*sum_up", "*lp_flagged", "*lp_too"],
        };
        assert_eq!(objects, expected, "{tree}");
        assert_eq!(space.read("obj/modules.livepatch"), "samples/livepatch/lp-plain.ko\n");
    }
}

#[test]
fn the_map_is_made_between_compilation_and_modpost() {
    for tree in ERAS {
        let space = Space::configured(tree);
        let steps = space.klpbuild(&["modules", "O=../obj"]).ok().steps();
        let at = |wanted: &str| {
            steps
                .iter()
                .position(|step| step.starts_with(wanted))
                .unwrap_or_else(|| panic!("{wanted} in {steps:?}"))
        };
        let map = at("KLP Symbols.list");
        assert_eq!(
            steps.iter().rposition(|step| step == "LD vmlinux").unwrap() + 1,
            map,
            "{tree}: {steps:?}"
        );
        assert!(
            steps.iter().rposition(|step| step.starts_with("CC") && !step.contains(".mod.o")) < Some(map)
        );
        let modpost = if tree == "era-c" { "MODPOST Module.symvers" } else { "MODPOST 6 modules" };
        assert_eq!(at(modpost), map + 1, "{tree}: {steps:?}");
    }
}

#[test]
fn a_second_run_and_a_plain_make_build_nothing() {
    for tree in TREES {
        let space = Space::configured(tree);
        space.klpbuild(&["modules", "O=../obj"]).ok();
        let stamps = space.stamps("obj");
        assert!(stamps.len() > 20, "{stamps:?}");
        let built = |steps: Vec<String>| -> Vec<String> {
            steps
                .into_iter()
                .filter(|step| !step.starts_with("MODPOST") && !step.starts_with("Building"))
                .collect()
        };
        assert_eq!(
            built(space.klpbuild(&["modules", "O=../obj"]).ok().steps()),
            Vec::<String>::new(),
            "{tree}"
        );
        assert_eq!(
            built(space.make(&["O=../obj", "vmlinux", "modules"]).ok().steps()),
            Vec::<String>::new(),
            "{tree}"
        );
        assert_eq!(space.stamps("obj"), stamps, "{tree}");
        // In trees whose modpost is under change detection, not even that runs.
        if tree == "era-c" {
            assert_eq!(space.klpbuild(&["modules", "O=../obj"]).ok().steps(), Vec::<String>::new());
        }
    }
}

#[test]
fn there_is_one_descent() {
    for tree in ERAS {
        let space = Space::configured(tree);
        let log = space.path("descents");
        space.klpbuild(&["modules", "O=../obj", &format!("DESCENTS={}", log.display())]).ok();
        let mut visited: Vec<String> = space.read("descents").lines().map(str::to_owned).collect();
        visited.sort();
        assert_eq!(
            visited,
            ["drivers", "drivers/one", "init", "lib", "samples", "samples/livepatch"],
            "{tree}"
        );
    }
}

#[test]
fn a_change_is_built_and_mapped() {
    let space = Space::configured("era-c");
    space.klpbuild(&["modules", "O=../obj"]).ok();
    let source = space.path("src/lib/sum-up.c");
    fs::write(&source, fs::read_to_string(&source).unwrap() + "int added_later;\n").unwrap();
    let steps = space.klpbuild(&["modules", "O=../obj"]).ok().steps();
    assert_eq!(
        steps,
        ["CC [M] lib/sum-up.o", "KLP Symbols.list", "MODPOST Module.symvers", "LD [M] lib/sum-up.ko"]
    );
    assert!(space.read("obj/Symbols.list").contains("\nadded_later\n"));
}

/// Twelve undefined symbols in an ordinary module: modpost prints ten of them, and the build fails.
#[test]
fn modpost_is_strict_with_ordinary_modules() {
    for tree in MODPOSTS {
        let space = Space::configured(tree);
        let ran = space.klpbuild(&["modules", "O=../obj", "BAD=m"]).ends(2);
        let ran =
            ran.says(&["ERROR: modpost: \"nowhere_10\" [drivers/bad.ko] undefined!", "klpbuild: failed: "]);
        assert!(ran.stderr.contains("suppressed 2 unresolved"), "{}", ran.stderr);
        assert!(!space.path("obj/drivers/bad.ko").exists());
        // Also when a livepatch makes modpost be told of exceptions.
        let code = if tree == "odd" { 1 } else { 2 };
        let ran = space.klpbuild(&["modules", "O=../obj", "BAD=m", "KNOWN=m"]).ends(code);
        ran.says(&["ERROR: modpost: \"nowhere_10\" [drivers/bad.ko] undefined!"]);
        // And nothing of it sticks.
        space.klpbuild(&["modules", "O=../obj"]).ok();
    }
}

#[test]
fn a_livepatch_may_refer_to_what_the_map_defines() {
    for tree in MODPOSTS {
        let space = Space::configured(tree);
        let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m", "--no-convert"]).ok();
        assert!(!ran.stderr.contains("ERROR"), "{}", ran.stderr);
        let undefined = space.sh("nm -u ../obj/samples/livepatch/lp-known.ko").ok().stdout;
        assert_eq!(
            undefined.split_whitespace().collect::<Vec<_>>(),
            ["U", "hidden_counter", "U", "saved_command_line"]
        );
        let symvers = space.read("obj/Module.symvers");
        assert!(symvers.contains("\tklog\t") && !symvers.contains("hidden_counter"), "{tree}: {symvers}");
    }
}

/// Where the conversion is refused, or does not come, make must not find a module that it takes for done.
#[test]
fn nothing_unconverted_is_left_after_a_failure() {
    let ko = "obj/samples/livepatch/lp-known.ko";
    for tree in ERAS {
        let space = Space::configured(tree);
        for source in ["src/init/main.c", "src/lib/text.c"] {
            let twin = "static int doubled __attribute__((used)) = 1;\n";
            fs::write(space.path(source), space.read(source) + twin).unwrap();
        }
        let source = "src/samples/livepatch/lp-known.c";
        let known = space.read(source);
        fs::write(space.path(source), known.replace("hidden_counter", "doubled")).unwrap();
        let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ends(1);
        ran.says(&[
            "cannot convert samples/livepatch/lp-known.ko: Define KLP_SYMPOS for the symbol: doubled",
        ]);
        assert!(!space.path(ko).exists(), "{tree}");
        assert!(space.path("obj/samples/livepatch/lp-plain.ko").exists(), "{tree}");
        fs::write(space.path(source), known).unwrap();
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        assert!(space.path(ko).exists(), "{tree}");
        // make links the livepatch, and then fails.
        fs::remove_file(space.path(ko)).unwrap();
        fs::remove_file(space.path("obj/drivers/one/user.ko")).unwrap();
        space.sh("mkdir ../obj/drivers/one/user.ko; touch -d 2001-01-01 ../obj/drivers/one/user.ko").ok();
        let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m", "-k"]).ends(2);
        assert!(
            ran.steps().contains(&"LD [M] samples/livepatch/lp-known.ko".to_owned()),
            "{:?}",
            ran.steps()
        );
        assert!(!space.path(ko).exists(), "{tree}");
    }
}

/// A scripts/Makefile.modpost whose goal for modpost alone does nothing: that must not count as a strict run.
#[test]
fn a_strict_run_that_runs_no_modpost_ends_the_build() {
    let space = Space::configured("era-b-5.3");
    let path = space.path("src/scripts/Makefile.modpost");
    let text = fs::read_to_string(&path).unwrap().replace("modules-modpost", "modpost-alone");
    fs::write(&path, text).unwrap();
    let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ends(2);
    let ran = ran.says(&["modpost did not run over the ordinary modules"]);
    assert!(ran.stderr.contains("klpbuild: failed: klpbuild-strict (Error 1)"), "{}", ran.stderr);
    assert!(!space.path("obj/samples/livepatch/lp-known.ko").exists());
    // Where no strict run is needed, none is made.
    space.klpbuild(&["modules", "O=../obj"]).ok();
}

/// What the strict run writes is its own: the kernel's symbol dump has the exports of all modules all the time.
#[test]
fn a_strict_run_leaves_the_kernels_symbol_dump_alone() {
    for tree in ["era-a", "era-b", "era-b-5.3", "era-b-5.8"] {
        let space = Space::configured(tree);
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        let symvers = space.read("obj/Module.symvers");
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m", "BAD=m"]).ends(2);
        assert_eq!(space.read("obj/Module.symvers"), symvers, "{tree}");
        assert!(space.path("obj/.klpbuild/strict.order").exists(), "{tree}");
    }
}

/// Conversion after the final link, in each era: once, again only when it has to be, undone by --no-convert.
#[test]
fn livepatches_are_converted_when_they_are_linked() {
    for tree in TREES {
        let space = Space::configured(tree);
        let ko = "../obj/samples/livepatch/lp-known.ko";
        let symbols = |space: &Space| {
            let text = space.sh(&format!("readelf -sW {ko}")).ok().stdout;
            let names = text
                .lines()
                .filter_map(|line| line.split_once("OS [0xff20] "))
                .map(|(_, name)| name.to_owned());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let converted = ["vmlinux.hidden_counter,0", "vmlinux.saved_command_line,0"];
        let converted = converted.map(|name| format!(".klp.sym.{name}")).into();
        let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        assert!(ran.stdout.contains("\n  KLP [M] samples/livepatch/lp-known.ko\n"), "{tree}: {}", ran.stdout);
        assert_eq!(symbols(&space), converted, "{tree}");
        let stamps = space.stamps("obj");
        let again = space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        assert!(!again.stdout.contains("KLP [M]"), "{tree}: {}", again.stdout);
        assert_eq!(space.stamps("obj"), stamps, "{tree}");
        // What it was resolved with is newer: it is linked and converted anew.
        space.sh("sleep 0.1; touch ../obj/vmlinux ../obj/vmlinux.o; touch -r ../obj/vmlinux ../obj/drivers/*.o").ok();
        let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        assert!(ran.stdout.contains("\n  KLP [M] samples/livepatch/lp-known.ko\n"), "{tree}: {}", ran.stdout);
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m", "--no-convert"]).ok();
        assert_eq!(symbols(&space), [].into(), "{tree}");
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        assert_eq!(symbols(&space), converted, "{tree}");
    }
}

/// What one livepatch may refer to, an ordinary module still may not.
#[test]
fn an_exception_for_a_livepatch_is_none_for_an_ordinary_module() {
    for tree in MODPOSTS {
        let space = Space::configured(tree);
        let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m", "SHARED=m"]);
        assert!(matches!(ran.code, Some(1 | 2)), "{tree}: {ran:?}");
        ran.says(&["ERROR: modpost: \"saved_command_line\" [drivers/shares.ko] undefined!"]);
        assert!(!space.path("obj/drivers/shares.ko").exists(), "{tree}");
    }
}

/// modpost asks for `name` where an object refers to `name.7`, what a compiler calls a static variable of a function. A
/// livepatch gets the symbol that has the full name, and an ordinary module that lacks `name` gets nothing.
#[test]
fn statics_of_functions_may_be_referred_to() {
    let append = |space: &Space, file: &str, text: &str| {
        let old = fs::read_to_string(space.path(file)).unwrap_or_default();
        fs::write(space.path(file), old + text).unwrap();
    };
    for tree in TREES {
        let space = Space::configured(tree);
        let counters = "static int used_7 __asm__(\"its_counter.7\") __attribute__((used));\n\
                        static int used_12 __asm__(\"its_counter.12\") __attribute__((used));\n";
        append(&space, "src/init/main.c", counters);
        let livepatch = "#include <linux/module.h>\nMODULE_INFO(livepatch, \"Y\");\n\
                         extern int one __asm__(\"its_counter.7\"), two __asm__(\"its_counter.12\");\n\
                         int lp_local(void) { return one + two; }\n";
        append(&space, "src/samples/livepatch/lp-local.c", livepatch);
        append(&space, "src/samples/livepatch/Makefile", "obj-m += lp-local.o\n");
        append(
            &space,
            "src/drivers/takes.c",
            "extern int its_counter;\nint takes(void) { return its_counter; }\n",
        );
        append(&space, "src/drivers/Makefile", "obj-$(TAKES) += takes.o\n");
        let converts = |arguments: &[&str]| {
            let _ = fs::remove_file(space.path("obj/samples/livepatch/lp-local.ko"));
            space.klpbuild(&[&["modules", "O=../obj"], arguments].concat()).ok();
            let symbols = space.sh("readelf -sW ../obj/samples/livepatch/lp-local.ko").ok().stdout;
            let names = symbols.lines().filter_map(|line| line.split_once("OS [0xff20] "));
            let mut names: Vec<&str> = names.map(|(_, name)| name).collect();
            names.sort_unstable();
            let expected = [".klp.sym.vmlinux.its_counter.12,0", ".klp.sym.vmlinux.its_counter.7,0"];
            assert_eq!(names, expected, "{tree}");
        };
        converts(&[]);
        let ran = space.klpbuild(&["modules", "O=../obj", "TAKES=m"]);
        assert!(matches!(ran.code, Some(1 | 2)), "{tree}: {ran:?}");
        ran.says(&["ERROR: modpost: \"its_counter\" [drivers/takes.ko] undefined!"]);
        assert!(!space.path("obj/drivers/takes.ko").exists(), "{tree}");
        // What modpost takes for the symbol that it asks for is exported, and is another one.
        append(&space, "src/init/main.c", "int its_counter;\nEXPORT_SYMBOL(its_counter);\n");
        converts(&["TAKES=m"]);
    }
}

#[test]
fn a_livepatch_that_refers_to_nothing_known_is_refused() {
    for tree in TREES {
        let space = Space::configured(tree);
        space.klpbuild(&["modules", "O=../obj", "UNKNOWN=m"]).ends(1).says(&[
            "klpbuild: error: samples/livepatch/lp-unknown.ko: Unable to find missing symbol: saved_comand_line: ",
            "the nearest names are saved_command_line (vmlinux)",
        ]);
        assert!(!space.path("obj/samples/livepatch/lp-unknown.ko").exists());
        // The map is there all the same: it may be what helps to find the right name.
        assert_eq!(space.read("obj/Symbols.list"), space.recipe("obj"), "{tree}");
    }
}

#[test]
fn livepatches_are_known_by_flags_and_markers() {
    for tree in TREES {
        let space = Space::configured(tree);
        let ours = |ran: &str| ran.lines().map(str::to_owned).collect::<Vec<_>>();
        space.klpbuild(&["modules", "O=../obj", "FLAGGED=y"]).ok();
        let (flagged, plain, too) = (
            "samples/livepatch/lp-flagged.ko",
            "samples/livepatch/lp-plain.ko",
            "samples/livepatch/lp_too.ko",
        );
        assert_eq!(ours(&space.read("obj/modules.livepatch")), [flagged, plain, too], "{tree}");
        assert_eq!(space.read("obj/Symbols.list"), space.recipe("obj"), "{tree}");
        space.klpbuild(&["modules", "O=../obj"]).ok();
        assert_eq!(ours(&space.read("obj/modules.livepatch")), [plain], "{tree}");
        fs::write(space.path("obj/drivers/one/user.livepatch"), "").unwrap();
        space.klpbuild(&["modules", "O=../obj"]).ok();
        assert_eq!(ours(&space.read("obj/modules.livepatch")).len(), 2, "{tree}");
        assert!(!space.read("obj/Symbols.list").contains("*user\n"), "{tree}");
    }
}

#[test]
fn other_goals_are_built_in_the_same_run() {
    let space = Space::configured("era-c");
    let ran = space.klpbuild(&["modules", "vmlinux", "all", "O=../obj"]).ok();
    assert_eq!(ran.steps().iter().filter(|step| *step == "LD vmlinux").count(), 1);
    assert_eq!(space.make(&["O=../obj", "all"]).ok().steps(), Vec::<String>::new());
    // Reached through vmlinux, whose flags the linker must get all the same.
    let flags = space.sh("cat ../obj/.vmlinux.cmd").ok().stdout;
    assert!(flags.contains("--build-id=none -e start -z noexecstack"), "{flags}");
}

#[test]
fn without_livepatching_it_is_a_plain_build() {
    let space = Space::configured("era-c");
    fs::write(space.path("obj/.config"), "CONFIG_MODULES=y\n# CONFIG_LIVEPATCH is not set\n").unwrap();
    let ran = space.klpbuild(&["modules", "O=../obj"]).ok();
    let line = ran.stderr.lines().find(|line| line.contains("CONFIG_LIVEPATCH is not set")).unwrap();
    assert!(line.contains("no Symbols.list is made"), "{line}");
    assert!(!space.path("obj/Symbols.list").exists());
    assert!(!space.path("obj/vmlinux").exists(), "built-in objects must not be forced");
    assert_eq!(space.files("obj", ".ko").len(), 6);
}

#[test]
fn an_old_map_does_not_outlive_livepatching() {
    let space = Space::configured("era-c");
    space.klpbuild(&["modules", "O=../obj"]).ok();
    fs::write(space.path("obj/.config"), "CONFIG_MODULES=y\n").unwrap();
    space.klpbuild(&["modules", "O=../obj"]).ok().says(&["no Symbols.list is made; the old one is removed"]);
    assert!(!space.path("obj/Symbols.list").exists() && !space.path("obj/modules.livepatch").exists());
}

/// What is lost or damaged of klpbuild's own files is made again.
#[test]
fn a_damaged_state_mends_itself() {
    let space = Space::configured("era-c");
    space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
    let names: Vec<_> =
        fs::read_dir(space.path("obj/.klpbuild")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(names.len() > 8, "{names:?}");
    for path in names {
        fs::remove_file(&path).unwrap();
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        fs::write(&path, "").unwrap();
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
    }
}

#[test]
fn runs_without_steps_leave_the_last_runs_size_alone() {
    let space = Space::configured("era-c");
    space.klpbuild(&["modules", "O=../obj"]).ok();
    let last = space.read("obj/.klpbuild/last-run");
    space.klpbuild(&["modules", "O=../obj", "V=1"]).ok();
    space.klpbuild(&["modules", "O=../obj", "--", "-n"]).ok();
    space.klpbuild(&["modules", "O=../obj", "--", "--version"]).ok();
    assert_eq!(space.read("obj/.klpbuild/last-run"), last);
}

/// A build of what has changed does not end what is known of one of everything.
#[test]
fn the_sizes_of_a_whole_build_and_of_a_part_are_both_noted() {
    let space = Space::configured("era-c");
    let steps = || -> Vec<u64> {
        let noted = space.read("obj/.klpbuild/last-run");
        noted.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
    };
    space.klpbuild(&["modules", "O=../obj"]).ok();
    let [whole] = steps()[..] else { panic!("{:?}", steps()) };
    let source = space.path("src/drivers/one/user.c");
    fs::write(&source, fs::read_to_string(&source).unwrap() + "\n").unwrap();
    space.klpbuild(&["modules", "O=../obj"]).ok();
    let [same, part] = steps()[..] else { panic!("{:?}", steps()) };
    assert!(same == whole && part * 2 < whole, "{whole} {same} {part}");
    space.klpbuild(&["modules", "O=../obj", "KCFLAGS=-g0"]).ok();
    let [again, same] = steps()[..] else { panic!("{:?}", steps()) };
    assert!(again * 2 >= whole && same == part, "{whole} {part} {again} {same}");
}

#[test]
fn makes_own_status_and_options_are_passed_on() {
    let space = Space::configured("era-c");
    let ran = space.klpbuild(&["modules", "O=../obj", "BROKEN=1", "-k"]).ends(2);
    ran.says(&["error: ", "undeclared", "klpbuild: failed: drivers/one/user.o (Error 1)"]);
    // -k: what can still be built is.
    assert!(space.path("obj/samples/livepatch/lp_too.o").exists());
    let ran = space.klpbuild(&["modules", "O=../obj", "--", "--debug=b", "--no-such-option"]).ends(2);
    ran.says(&["unrecognized option '--no-such-option'"]);
    space.klpbuild(&["modules", "--bogus"]).ends(2).says(&["--bogus"]);
    space.klpbuild(&[]).ends(2).says(&["Usage: klpbuild"]);
}
