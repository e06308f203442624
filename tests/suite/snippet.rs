// SPDX-License-Identifier: GPL-2.0-only
//! Makefile.snippet: plain make in the directory of an external module, and in a kernel tree.

use std::fs;
use std::process::Command;

use crate::external;
use crate::space::{ERAS, EXTERNAL_ERAS, Ran, Space};

const SNIPPET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile.snippet");

/// make in a directory, with klpbuild as KLPBUILD.
fn make(space: &Space, directory: &str, arguments: &[&str]) -> Ran {
    let mut command = space.command("make");
    command.current_dir(space.path(directory)).env("KLPBUILD", Space::program()).env_remove("KDIR");
    Ran::of(command.args(arguments).output().unwrap())
}

/// External modules whose Makefile has three lines.
fn space(tree: &str) -> Space {
    let space = external::space(tree);
    let kdir = space.path("obj").display().to_string();
    let makefile = format!("obj-m += plain.o lp-ext.o\nKDIR ?= {kdir}\ninclude {SNIPPET}\n");
    fs::write(space.path("ext/Makefile"), makefile).unwrap();
    space
}

fn is_converted(space: &Space) -> bool {
    let nm = Command::new("nm").arg(space.path("ext/lp-ext.ko")).output().unwrap();
    String::from_utf8_lossy(&nm.stdout).contains(" .klp.sym.vmlinux.hidden_counter,0\n")
}

#[test]
fn plain_make_builds_external_modules() {
    for tree in EXTERNAL_ERAS {
        let space = space(tree);
        let before: Vec<String> = space.files("ext", "").into_keys().collect();
        let log = || space.read("ext/.klpbuild/make.log");
        let cleaned = |arguments: &[&str]| {
            make(&space, "ext", arguments).ok();
            assert_eq!(space.files("ext", "").into_keys().collect::<Vec<_>>(), before, "{tree}");
        };
        let ran = make(&space, "ext", &[]).ok();
        assert!(
            ran.stdout.contains("  KLP [M] lp-ext.ko\n") && is_converted(&space),
            "{tree}: {}",
            ran.stdout
        );
        assert!(log().lines().next().unwrap().contains(" -j"), "{tree}");
        cleaned(&["clean"]);

        // The jobserver goes along: klpbuild passes no -j of its own, and nobody complains.
        let ran = make(&space, "ext", &["-j2", "KCFLAGS=-DFROM_THE_USER", "V=1"]).ok();
        assert!(is_converted(&space) && !ran.stderr.contains("jobserver"), "{tree}: {}", ran.stderr);
        assert!(!log().lines().next().unwrap().contains(" -j"), "{tree}: {}", log());
        assert!(space.read("ext/.plain.o.cmd").contains(" -DFROM_THE_USER -DMODULE"), "{tree}");
        cleaned(&["-j2", "clean"]);

        // Another kernel's tree, on the command line; relative to the module, as it is typed there.
        let src = format!("KDIR={}", space.path("src").display());
        make(&space, "ext", &["O=../obj", &src, "modules"]).ok();
        assert!(is_converted(&space), "{tree}");
        make(&space, "ext", &["klpclean"]).ok();
        assert!(!space.path("ext/Symbols.list").exists() && space.path("ext/lp-ext.ko").exists(), "{tree}");
        cleaned(&["clean"]);

        // As DKMS calls make.
        let kdir = format!("KDIR={}", space.path("obj").display());
        make(&space, "ext", &["-j2", "KERNELRELEASE=9.0-mini", &kdir]).ok();
        assert!(is_converted(&space), "{tree}");
        cleaned(&["KERNELRELEASE=9.0-mini", "clean", &kdir]);

        let flags = make(&space, "ext", &["KLPBUILD_FLAGS=--no-convert"]).ok();
        assert!(!is_converted(&space), "{tree}: {}", flags.stdout);
    }
}

#[test]
fn an_error_ends_make() {
    let space = space("era-c");
    fs::write(space.path("ext/plain.c"), "#error broken\n").unwrap();
    let ran = make(&space, "ext", &[]).ends(2);
    assert!(
        ran.stderr.contains("#error broken") && ran.stderr.contains("[") && ran.stderr.contains("Error 2"),
        "{}",
        ran.stderr
    );
    let mut command = space.command("make");
    let missing =
        Ran::of(command.current_dir(space.path("ext")).env("KLPBUILD", "no-such-klpbuild").output().unwrap());
    assert!(missing.ends(2).stderr.contains("no-such-klpbuild"));
}

/// A GNUmakefile beside the kernel's Makefile.
#[test]
fn plain_make_builds_a_kernel_tree() {
    for tree in ERAS {
        let space = Space::new(tree);
        fs::write(space.path("src/GNUmakefile"), format!("include {SNIPPET}\n")).unwrap();
        make(&space, "src", &["defconfig"]).ok();
        assert!(space.path("src/.config").exists(), "{tree}");
        let ran = make(&space, "src", &["-j2", "modules", "vmlinux"]).ok();
        assert!(
            ran.stdout.contains("  KLP     Symbols.list\n") && !ran.stderr.contains("jobserver"),
            "{tree}: {}",
            ran.stderr
        );
        assert!(ran.stdout.contains("klpbuild: 5 modules, 1 livepatch; "), "{tree}: {}", ran.stdout);
        assert!(space.path("src/Symbols.list").exists() && space.path("src/vmlinux").exists(), "{tree}");
        make(&space, "src", &["klpclean"]).ok();
        assert!(!space.path("src/Symbols.list").exists() && space.path("src/vmlinux").exists(), "{tree}");
        let all = make(&space, "src", &[]).ok();
        assert!(all.stdout.contains("  KLP     Symbols.list\n"), "{tree}: {}", all.stdout);
        make(&space, "src", &["clean"]).ok();
        assert!(!space.path("src/Symbols.list").exists() && !space.path("src/vmlinux").exists(), "{tree}");
        assert!(space.path("src/.config").exists(), "{tree}");
        make(&space, "src", &["mrproper"]).ok();
        assert!(!space.path("src/.config").exists() && !space.path("src/.klpbuild").exists(), "{tree}");
        // Objects elsewhere.
        make(&space, "src", &["O=../obj", "defconfig"]).ok();
        make(&space, "src", &["O=../obj", "modules"]).ok();
        assert!(space.path("obj/Symbols.list").exists(), "{tree}");
        // External modules, from there.
        fs::create_dir(space.path("ext")).unwrap();
        fs::write(space.path("ext/Makefile"), "obj-m += plain.o\n").unwrap();
        fs::write(space.path("ext/plain.c"), "int plain_one(void) { return 1; }\n").unwrap();
        let m = format!("M={}", space.path("ext").display());
        let ran = make(&space, "src", &["O=../obj", &m]).ok();
        assert!(ran.stdout.contains("klpbuild: 1 module, no livepatch; "), "{tree}: {}", ran.stdout);
        assert!(space.path("ext/plain.ko").exists(), "{tree}");
    }
}

#[test]
fn it_is_printed_and_installed() {
    let space = Space::new("era-c");
    let text = fs::read_to_string(SNIPPET).unwrap();
    assert_eq!(space.klpbuild(&["snippet"]).ok().stdout, text);
    space.klpbuild(&["snippet", "-o", "../snippet.mk"]).ok();
    assert_eq!(space.read("snippet.mk"), text);
    // Installed for real, with the program of this test.
    let root = space.path("root");
    let mut install = Command::new("make");
    install.current_dir(env!("CARGO_MANIFEST_DIR")).args(["install", "CARGO=true", "PREFIX=/usr"]);
    install.arg(format!("PROGRAM={}", Space::program())).arg(format!("DESTDIR={}", root.display()));
    Ran::of(install.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").output().unwrap()).ok();
    // It tells where it lies.
    let there = text.replace("/usr/local/share/", "/usr/share/");
    assert!(there != text);
    assert_eq!(space.read("root/usr/share/klpbuild/Makefile.snippet"), there);
    let installed = Ran::of(Command::new(root.join("usr/bin/klpbuild")).arg("snippet").output().unwrap());
    assert_eq!(installed.ok().stdout, text);
    let page = space.read("root/usr/share/man/man1/klpbuild-try.1");
    assert!(page.contains(".SH OPTIONS") && page.contains("klpbuild try lp.ko"), "{page}");
    assert!(space.read("root/usr/share/man/man7/klpbuild.7").contains(".SS \"5. Try it\""));
    let bash = space.read("root/usr/share/bash-completion/completions/klpbuild");
    assert!(bash.contains("KLPBUILD_COMPLETE=\"bash\""), "{bash}");
    for shell in ["zsh/site-functions/_klpbuild", "fish/vendor_completions.d/klpbuild.fish"] {
        assert!(space.read(&format!("root/usr/share/{shell}")).contains("KLPBUILD_COMPLETE"));
    }
}

#[test]
fn help_is_there_for_external_modules() {
    let space = Space::new("era-c");
    fs::create_dir(space.path("ext")).unwrap();
    fs::write(space.path("ext/Makefile"), format!("obj-m += lp.o\ninclude {SNIPPET}\n")).unwrap();
    let help = space.sh("make -s -C ../ext help KDIR=6.1").ok().stdout;
    assert!(help.starts_with("  modules          - build the modules"), "{help}");
    assert!(help.contains("\n  KDIR=6.1\n"), "{help}");
}

/// What bash gets for words that are typed so far; the last one is completed.
fn completed(space: &Space, words: &[&str]) -> Vec<String> {
    let mut command = space.command(Space::program());
    command
        .env("KLPBUILD_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    let asked = command.args(["--", "klpbuild"]).args(words).output().unwrap();
    Ran::of(asked).ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn shells_are_told_what_is_there() {
    let space = Space::new("era-c");
    fs::write(
        space.path("src/Symbols.list"),
        "klp-convert-symbol-data.0.1\n*vmlinux\nvfs_read\nvfs_rename\nvfs_x.0\n*ext4\nvfs_read\n",
    )
    .unwrap();
    fs::write(space.path("src/modules.livepatch"), "samples/lp-a.ko\nsamples/lp-b.ko\n").unwrap();
    assert_eq!(completed(&space, &["new", "lp", "--function", "vfs_"]), ["vfs_read", "vfs_rename"]);
    assert_eq!(completed(&space, &["lookup", "vfs_re"]), ["vfs_read", "vfs_rename"]);
    assert_eq!(completed(&space, &["verify", "samples/lp-"]), ["samples/lp-a.ko", "samples/lp-b.ko"]);
    assert_eq!(completed(&space, &["distc"]), ["distclean"]);
    assert!(completed(&space, &["try", "--tim"]).contains(&"--timeout".to_owned()));
}
