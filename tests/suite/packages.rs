// SPDX-License-Identifier: GPL-2.0-only
//! What makes modules leave the object tree: installation, and package goals, whose recipes build once more.

use std::fs;

use crate::space::{ERAS, Space};

const KNOWN: &str = "samples/livepatch/lp-known.ko";
const SNIPPET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile.snippet");

/// The symbols of a module that have a livepatch's form, as readelf shows them.
fn symbols(space: &Space, module: &str) -> Vec<String> {
    let text = space.sh(&format!("readelf -sW {module}")).ok().stdout;
    text.lines().filter_map(|line| Some(line.split_once("OS [0xff20] ")?.1.to_owned())).collect()
}

const CONVERTED: [&str; 2] = [".klp.sym.vmlinux.saved_command_line,0", ".klp.sym.vmlinux.hidden_counter,0"];

fn is_converted(space: &Space, module: &str) -> bool {
    let symbols = symbols(space, module);
    symbols.len() == 2 && CONVERTED.iter().all(|name| symbols.iter().any(|symbol| symbol == name))
}

/// A package's own build links another vmlinux: the livepatches in it are converted for that one.
#[test]
fn a_package_has_converted_livepatches() {
    for tree in ERAS {
        let space = Space::configured(tree);
        let ran = space.klpbuild(&["modules", "dir-pkg", "O=../obj", "KNOWN=m"]).ok();
        let conversions = ran.stdout.matches(&format!("  KLP [M] {KNOWN}\n")).count();
        assert_eq!(conversions, 2, "{tree}: {}", ran.stdout);
        // One vmlinux for the build and one for the package, which is the one that livepatches are converted for.
        if tree == "era-c" {
            assert_eq!(ran.stdout.matches("  LD      vmlinux\n").count(), 2, "{tree}: {}", ran.stdout);
        }
        let last = ran.stdout.rfind("  LD      vmlinux\n");
        assert!(last < ran.stdout.rfind("  KLP [M] "), "{tree}: {}", ran.stdout);
        assert!(space.sh("nm ../obj/vmlinux").ok().stdout.contains(" build_version\n"), "{tree}");
        assert!(space.read("obj/Symbols.list").contains("\nbuild_version\n"), "{tree}");
        let package = "../obj/package/lib/modules/9.0-mini";
        assert!(is_converted(&space, &format!("{package}/{KNOWN}")), "{tree}");
        assert_eq!(space.files("obj/package", ".ko").len(), 7, "{tree}");
        // Nothing is left to do, and an undefined symbol is an error there as well.
        let again =
            space.klpbuild(&["modules", "dir-pkg", "O=../obj", "KNOWN=m", "KBUILD_BUILD_VERSION=2"]).ok();
        assert!(!again.stdout.contains("KLP [M]"), "{tree}: {}", again.stdout);
        let bad = space.klpbuild(&["modules", "dir-pkg", "O=../obj", "KNOWN=m", "BAD=m"]).ends(2);
        bad.says(&["\"nowhere_10\" [drivers/bad.ko] undefined!"]);
    }
}

#[test]
fn plain_make_makes_packages_with_the_snippet() {
    for tree in ERAS {
        let space = Space::new(tree);
        space.make(&["defconfig"]).ok();
        fs::write(space.path("src/GNUmakefile"), format!("include {SNIPPET}\n")).unwrap();
        let ran = space.sh(&format!("KLPBUILD={} make dir-pkg KNOWN=m", Space::program())).ok();
        assert!(ran.stdout.contains(&format!("  KLP [M] {KNOWN}\n")), "{tree}: {}", ran.stdout);
        assert!(is_converted(&space, &format!("package/lib/modules/9.0-mini/{KNOWN}")), "{tree}");
    }
}

#[test]
fn without_conversion_a_package_has_what_was_linked() {
    let space = Space::configured("era-c");
    space.klpbuild(&["modules", "dir-pkg", "O=../obj", "KNOWN=m", "--no-convert"]).ok();
    let module = format!("../obj/package/lib/modules/9.0-mini/{KNOWN}");
    assert_eq!(symbols(&space, &module), Vec::<String>::new());
    let undefined = space.sh(&format!("nm -u {module}")).ok().stdout;
    assert!(undefined.contains(" U hidden_counter"), "{undefined}");
}

#[test]
fn package_goals_that_klpbuild_cannot_follow_are_refused_first() {
    let space = Space::configured("era-c");
    for goal in ["rpm-pkg", "snap-pkg"] {
        let ran = space.klpbuild(&["modules", goal, "O=../obj"]).ends(1);
        ran.says(&[&format!("{goal} builds the kernel anew in a directory of its own"), "use binrpm-pkg"]);
    }
    assert!(!space.path("obj/vmlinux").exists());
    let odd = Space::configured("odd");
    odd.klpbuild(&["modules", "dir-pkg", "O=../obj"])
        .ends(1)
        .says(&["packages cannot be made with klpbuild"]);
    fs::create_dir(space.path("ext")).unwrap();
    fs::write(space.path("ext/Makefile"), "obj-m += plain.o\n").unwrap();
    let m = format!("M={}", space.path("ext").display());
    let ran = space.klpbuild(&["modules", "bindeb-pkg", "O=../obj", &m]).ends(1);
    ran.says(&["bindeb-pkg: kbuild makes no packages of external modules", "modules_install"]);
}

/// llvm-strip refuses the symbols of livepatches.
#[test]
fn gnu_strip_strips_livepatches() {
    let space = Space::configured("era-c");
    let install = ["modules", "modules_install", "O=../obj", "KNOWN=m", "INSTALL_MOD_PATH=../root", "LLVM=1"];
    let ran = space.klpbuild(&[&install[..], &["INSTALL_MOD_STRIP=1"]].concat()).ok();
    ran.says(&["llvm-strip cannot take livepatches: strip strips the modules (STRIP=strip)"]);
    assert!(is_converted(&space, &format!("../root/lib/modules/9.0-mini/{KNOWN}")));
    // Without livepatches, or without stripping, it is left as it is.
    let ran = space.klpbuild(&install).ok();
    assert!(!ran.stderr.contains("llvm-strip"), "{}", ran.stderr);
    let ran =
        space.klpbuild(&[&install[..], &["INSTALL_MOD_STRIP=1", "CROSS_COMPILE=no-such-", "-Z"]].concat());
    assert_eq!(ran.code, Some(2), "a usage error");
    let ran = space.klpbuild(
        &[&install[..5], &["INSTALL_MOD_STRIP=1", "STRIP=/no/such/llvm-strip", "CROSS_COMPILE="]].concat(),
    );
    ran.ok().says(&["(STRIP=strip)"]);
}
