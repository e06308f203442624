// SPDX-License-Identifier: GPL-2.0-only
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

/// What a tree says of LIVEPATCH.
const KCONFIG: &str = "\
config LIVEPATCH
	bool \"Livepatches\"
	depends on MODULES && KALLSYMS_ALL
	depends on !TRIM_UNUSED_KSYMS
	help
	  depends on nothing else

config KALLSYMS_ALL
	bool \"All symbols\"
	depends on DEBUG_KERNEL

config DEBUG_KERNEL
	bool \"Debugging\"
";

fn with_kconfig(config: &str) -> Space {
    let space = Space::new("era-c");
    fs::create_dir_all(space.path("src/kernel/livepatch")).unwrap();
    fs::write(space.path("src/kernel/livepatch/Kconfig"), KCONFIG).unwrap();
    fs::create_dir(space.path("obj")).unwrap();
    fs::write(space.path("obj/.config"), config).unwrap();
    space
}

/// Before the first build, and where the build says that there will be no livepatches.
#[test]
fn what_keeps_livepatches_off_is_told() {
    let space = with_kconfig("CONFIG_HAVE_THAT=y\nCONFIG_MODULES=y\nCONFIG_TRIM_UNUSED_KSYMS=y\n");
    let file = space.path("obj/.config").display().to_string();
    let why = "LIVEPATCH depends on KALLSYMS_ALL, KALLSYMS_ALL depends on DEBUG_KERNEL, LIVEPATCH depends on \
               !TRIM_UNUSED_KSYMS";
    let remedy = format!(
        "scripts/config --file {file} -e DEBUG_KERNEL -e KALLSYMS_ALL -e LIVEPATCH -d TRIM_UNUSED_KSYMS, then: klpbuild \
         modules olddefconfig"
    );
    let doctor = space.klpbuild(&["doctor", "O=../obj"]).ends(1);
    let obj = space.path("obj").display().to_string();
    assert!(doctor.stdout.starts_with(&format!("not built yet, {obj}\n")), "{doctor:?}");
    assert!(
        doctor.stdout.contains(&format!("  MISSING  options        CONFIG_LIVEPATCH is not set: {why}\n")),
        "{doctor:?}"
    );
    assert!(doctor.stdout.contains(&format!("  {remedy}\n")), "{doctor:?}");
    assert!(doctor.stdout.contains("  note     kernel         not built yet\n"), "{doctor:?}");

    let built = space.klpbuild(&["modules", "O=../obj"]).ok();
    assert_eq!(
        built.stderr.lines().filter(|line| line.starts_with("klpbuild: ")).collect::<Vec<_>>(),
        [
            format!("klpbuild: CONFIG_LIVEPATCH is not set in {file}: modules only, no Symbols.list is made"),
            format!("klpbuild: {why}; for livepatches: {remedy}"),
        ]
    );
}

#[test]
fn what_is_set_and_will_not_stay_so_is_told() {
    let set = "CONFIG_HAVE_THAT=y\nCONFIG_MODULES=y\nCONFIG_LIVEPATCH=y\nCONFIG_KALLSYMS_ALL=y\n\
               CONFIG_DYNAMIC_FTRACE_WITH_ARGS=y\n";
    let space = with_kconfig(&format!("{set}CONFIG_TRIM_UNUSED_KSYMS=y\n"));
    let doctor = |arguments: &[&str]| space.klpbuild(&[&["doctor"], arguments].concat());
    let said = doctor(&["O=../obj"]).ends(1).stdout;
    assert!(
        said.contains(
            "CONFIG_LIVEPATCH is set, but will not stay so: LIVEPATCH depends on !TRIM_UNUSED_KSYMS\n"
        ),
        "{said}"
    );
    // It may have any name, and O= may come from the environment.
    fs::write(space.path("obj/my.config"), set).unwrap();
    let fine = doctor(&["O=../obj", "KCONFIG_CONFIG=my.config"]).stdout;
    assert!(fine.contains("  ok       options        CONFIG_LIVEPATCH, KALLSYMS_ALL and "), "{fine}");
    let mut command = space.command(Space::program());
    command.args(["doctor", "KCONFIG_CONFIG=my.config"]).env("KBUILD_OUTPUT", "../obj");
    assert_eq!(Ran::of(command.output().unwrap()).stdout, fine);
    doctor(&["O=../none"]).ends(1).says(&["none: no such directory: O= names an object tree"]);
    doctor(&["a", "b"]).ends(1).says(&["a b: one kernel at a time"]);
    let bare = doctor(&[]).ends(1).stderr;
    assert!(bare.contains("src has no release (include/config/kernel.release) and no .config: "), "{bare}");
}

/// O=, KDIR=, M= and KBUILD_OUTPUT mean to lookup what they mean to a build.
#[test]
fn lookup_finds_the_object_tree_as_a_build_does() {
    let space = crate::external::space("era-c");
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    let expected = space.klpbuild(&["lookup", "--objtree", "../obj", "hidden_counter"]).ok().stdout;
    assert!(expected.contains("  vmlinux  "), "{expected}");
    for word in ["O=../obj", "KDIR=../obj"] {
        assert_eq!(space.klpbuild(&["lookup", word, "hidden_counter"]).ok().stdout, expected, "{word}");
    }
    let mut command = space.command(Space::program());
    command.args(["lookup", "hidden_counter"]).env("KBUILD_OUTPUT", "../obj");
    assert_eq!(Ran::of(command.output().unwrap()).ok().stdout, expected);
    let module = space.klpbuild(&["lookup", "M=../ext", "plain_hidden"]).ok().stdout;
    assert!(module.contains("  plain   plain.c "), "{module}");
    space
        .klpbuild(&["lookup", "O=../obj"])
        .ends(1)
        .says(&["no name to look up: klpbuild lookup O=../obj NAME..."]);
    space.klpbuild(&["lookup", "O=../none", "a"]).ends(1).says(&["none: no such directory"]);
    // The map of that tree.
    space.klpbuild(&["symbols", "-q", "O=../obj", "-o", "../map"]).ok();
    let list = space.klpbuild(&["symbols", "--objtree", "../obj", "-o", "-"]).ok().stdout;
    assert_eq!(space.read("map"), list);
}

#[test]
fn in_build_needs_the_source() {
    let space = crate::external::space("era-c");
    fs::remove_file(space.path("obj/source")).unwrap();
    let refused = space.klpbuild(&["symbols", "--in-build", "--objtree", "../obj"]).ends(1);
    assert!(
        refused.stderr.contains("obj: the kernel's source is not known (no link `source`"),
        "{refused:?}"
    );
    assert!(!space.path("obj/Symbols.list").exists());
}

/// kbuild takes obj-y for a part of the kernel, and builds nothing of it with M=.
#[test]
fn an_external_makefile_without_modules_is_told() {
    for tree in ["era-b", "era-c", "era-d"] {
        let space = crate::external::space(tree);
        fs::write(space.path("ext/Makefile"), "obj-y := plain.o\n").unwrap();
        let ran = klpbuild_in(&space, "ext", "obj", &["modules"]);
        assert!(
            ran.stderr
                .contains("ext has no module to build: what is to be one has to be in obj-m (obj-y is for "),
            "{tree}: {ran:?}"
        );
    }
}
