//! Where a kernel's configuration lies, and what it has to have.

use std::fs;

use crate::external::klpbuild_in;
use crate::space::{Ran, Space};

const LIVEPATCH: &str = "#include <linux/module.h>\nMODULE_INFO(livepatch, \"Y\");\nextern int hidden_counter;\n\
                         int lp_ext(void) { return hidden_counter; }\n";

fn converted(space: &Space, module: &str) -> bool {
    let nm = std::process::Command::new("nm").arg(space.path(module)).output().unwrap();
    Ran::of(nm).ok().stdout.contains(" .klp.sym.vmlinux.hidden_counter,0\n")
}

/// KCONFIG_CONFIG is relative to the object tree, and may come from anywhere that make takes it from.
#[test]
fn it_may_have_any_name() {
    for (tree, file, is_typed) in
        [("era-a", "my.config", true), ("era-b", "../configs/mine", true), ("era-c", "my.config", false)]
    {
        let space = Space::new(tree);
        fs::create_dir(space.path("configs")).unwrap();
        let word = format!("KCONFIG_CONFIG={file}");
        let klpbuild = |arguments: &[&str]| {
            let mut command = space.command(Space::program());
            command.args(arguments);
            if is_typed {
                command.arg(&word)
            } else {
                command.env("KCONFIG_CONFIG", file)
            };
            Ran::of(command.output().unwrap())
        };
        klpbuild(&["modules", "O=../obj", "defconfig", "KNOWN=m"]).ok();
        assert!(!space.path("obj/.config").exists() && space.path("obj").join(file).is_file());
        let again = klpbuild(&["modules", "O=../obj", "KNOWN=m"]).ok();
        assert!(again.stdout.contains("klpbuild: 5 modules, 2 livepatches; "), "{tree}: {}", again.stdout);
        assert!(converted(&space, "obj/samples/livepatch/lp-known.ko"), "{tree} {file}");

        // Later commands, and external modules, go by what was built.
        let lookup = space.klpbuild(&["lookup", "--objtree", "../obj", "hidden_counter"]).ok();
        assert!(lookup.stdout.contains("  vmlinux  "), "{}", lookup.stdout);
        let verify = ["verify", "--objtree", "../obj", "../obj/samples/livepatch/lp-known.ko"];
        assert!(!space.klpbuild(&verify).stderr.contains("config"));
        fs::create_dir(space.path("ext")).unwrap();
        fs::write(space.path("ext/Makefile"), "obj-m := lp-ext.o\n").unwrap();
        fs::write(space.path("ext/lp-ext.c"), LIVEPATCH).unwrap();
        klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
        assert!(converted(&space, "ext/lp-ext.ko"), "{tree} {file}");
    }
}

/// What is said of the file names it.
#[test]
fn one_that_is_not_there_is_named() {
    let space = Space::configured("era-c");
    space
        .klpbuild(&["modules", "O=../obj", "KCONFIG_CONFIG=other"])
        .ends(1)
        .says(&["the kernel is not configured: there is no ", "/obj/other; make one first"]);
    fs::write(space.path("obj/other"), "CONFIG_LIVEPATCH=y\n").unwrap();
    space.klpbuild(&["modules", "O=../obj", "KCONFIG_CONFIG=other"]).ends(1).says(&[
        "CONFIG_MODULES is not set in ",
        "/obj/other: ",
        "scripts/config --file ",
    ]);
}
