// SPDX-License-Identifier: GPL-2.0-only
//! modpost where it runs after vmlinux is linked, by the forms that scripts/Makefile.modpost has had
//! (`tests/trees/modpost`): it is told of exactly what livepatches may refer to.

use std::fs;
use std::path::Path;

use crate::space::Space;

/// By the first kernel that has the form.
const FORMS: [&str; 3] = ["5.8", "5.12", "5.14"];

fn space(form: &str) -> Space {
    let space = Space::new("era-b");
    let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees/modpost").join(form);
    fs::copy(makefile, space.path("src/scripts/Makefile.modpost")).unwrap();
    space.make(&["O=../obj", "defconfig"]).ok();
    space
}

/// The names in a symbol dump.
fn dumped(space: &Space, name: &str) -> Vec<String> {
    let text = space.read(&format!("obj/{name}"));
    text.lines().map(|line| line.split('\t').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn exceptions_are_made_without_a_second_run_and_are_no_exports() {
    for form in FORMS {
        let space = space(form);
        space.klpbuild(&["modules", "O=../obj"]).ok();
        let plain = dumped(&space, "Module.symvers");
        assert!(plain.contains(&"klog".to_owned()), "{form}: {plain:?}");
        let count = |steps: Vec<String>| steps.iter().filter(|step| step.starts_with("MODPOST")).count();
        let words = ["modules", "O=../obj", "KNOWN=m"];
        let built = space.klpbuild(&words).ok();
        assert!(!built.stderr.contains("undefined"), "{form}: {}", built.stderr);
        assert_eq!(count(built.steps()), 1, "{form}: {}", built.stdout);
        assert_eq!(dumped(&space, "Module.symvers"), plain, "{form}");
        assert!(dumped(&space, ".klpbuild/allowed.symvers").contains(&"hidden_counter".to_owned()));
        // And no run at all where there is nothing to do.
        let stamps = space.stamps("obj");
        let again = space.klpbuild(&words).ok();
        assert_eq!(count(again.steps()), 0, "{form}: {}", again.stdout);
        assert!(space.stamps("obj") == stamps, "{form}");
    }
}

#[test]
fn ordinary_modules_profit_from_no_exception() {
    for form in FORMS {
        let space = space(form);
        for words in [&["KNOWN=m", "BAD=m"][..], &["KNOWN=m", "SHARED=m"]] {
            let ran = space.klpbuild(&[&["modules", "O=../obj"], words].concat()).ends(2);
            ran.says(&["ERROR: modpost: \"", ".ko] undefined!"]);
        }
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        assert!(!dumped(&space, "Module.symvers").contains(&"hidden_counter".to_owned()), "{form}");
    }
}

/// A kbuild makefile that no longer marks a livepatch changes no object, and modpost looks again all the same.
#[test]
fn fewer_exceptions_make_modpost_look_again() {
    for form in FORMS {
        let space = space(form);
        let source = space.path("src/samples/livepatch/lp-flagged.c");
        let text = fs::read_to_string(&source).unwrap();
        let more = "extern int flagged_only;\nint *use_of_it(void);\nint *use_of_it(void) { return &flagged_only; }\n";
        fs::write(&source, text + more).unwrap();
        let source = space.path("src/init/main.c");
        fs::write(&source, fs::read_to_string(&source).unwrap() + "int flagged_only = 1;\n").unwrap();
        space.klpbuild(&["modules", "O=../obj", "KNOWN=m", "FLAGGED=y"]).ok();
        let ran = space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ends(2);
        ran.says(&["ERROR: modpost: \"flagged_only\" [samples/livepatch/lp-flagged.ko] undefined!"]);
    }
}

/// With CONFIG_MODVERSIONS, modpost writes each name into a field of 56 bytes and stops at a longer one.
#[test]
fn names_that_modversions_has_no_room_for_are_refused() {
    let space = Space::configured("era-c");
    let config = space.read("obj/.config");
    for (length, option, is_room) in [
        (56, "# CONFIG_MODVERSIONS is not set", true),
        (55, "CONFIG_MODVERSIONS=y", true),
        (56, "CONFIG_MODVERSIONS=y", false),
        (56, "CONFIG_MODVERSIONS=y\nCONFIG_EXTENDED_MODVERSIONS=y", true),
    ] {
        let name = "n".repeat(length);
        fs::write(space.path("obj/.config"), format!("{config}\n{option}\n")).unwrap();
        let definition = format!("\nint {name} = 1;\n");
        let source = space.path("src/init/main.c");
        let text = fs::read_to_string(&source).unwrap();
        fs::write(&source, format!("{text}{definition}")).unwrap();
        let source = space.path("src/samples/livepatch/lp-known.c");
        let known = fs::read_to_string(&source).unwrap();
        let usage = format!(
            "\nextern int {name};\nint *use_of_it(void);\nint *use_of_it(void) {{ return &{name}; }}\n"
        );
        fs::write(&source, format!("{known}{usage}")).unwrap();
        let build = || space.klpbuild(&["modules", "O=../obj", "KNOWN=m"]);
        if !is_room {
            build().ends(1).says(&[
                &format!("{name} is too long for modpost of a kernel with CONFIG_MODVERSIONS, which takes 55 characters"),
                "add __attribute__((weak)) to its declaration, and modpost asks for no version of it",
            ]);
            let usage = usage.replacen("int", "__attribute__((weak)) int", 1);
            fs::write(&source, format!("{known}{usage}")).unwrap();
        }
        let ran = build().ok();
        assert!(!ran.stderr.contains("too long"), "{option}: {}", ran.stderr);
        let livepatch = fs::read(space.path("obj/samples/livepatch/lp-known.ko")).unwrap();
        let symbol = format!(".klp.sym.vmlinux.{name},0\0");
        assert!(livepatch.windows(symbol.len()).any(|bytes| bytes == symbol.as_bytes()), "{option}");
        fs::write(&source, known).unwrap();
        fs::write(space.path("src/init/main.c"), text).unwrap();
    }
}
