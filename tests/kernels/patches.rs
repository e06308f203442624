// SPDX-License-Identifier: GPL-2.0-only
//! A kernel tree that carries the series of `kbuild-patches`, against `klpbuild modules` on the tree as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::external::run;
use crate::kernel::{ALWAYS, Kernel, Ran};
use crate::step;

const KLPBUILD: &str = env!("CARGO_BIN_EXE_klpbuild");
const VARIABLE: &str = concat!("KLPBUILD=", env!("CARGO_BIN_EXE_klpbuild"));
const LIVEPATCHES: &str = "KLPBUILD_LIVEPATCHES=m";

fn contents(files: BTreeMap<String, PathBuf>) -> BTreeMap<String, Vec<u8>> {
    files.into_iter().map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

/// What a build comes to: the map, the list of livepatches, and all modules.
fn results(kernel: &Kernel, objtree: &str) -> BTreeMap<String, Vec<u8>> {
    let wanted = |name: &str| name.ends_with(".ko") || name == "Symbols.list" || name == "modules.livepatch";
    contents(kernel.files(objtree, wanted))
}

fn marks(kernel: &Kernel, objtree: &str) -> Vec<String> {
    kernel
        .files(objtree, |name| name.ends_with(".livepatch") && name != "modules.livepatch")
        .into_keys()
        .collect()
}

/// What steps say that were not there to be done.
fn idle(ran: &Ran) -> bool {
    ran.tags().iter().all(|tag| ALWAYS.contains(&tag.as_str()))
}

#[track_caller]
fn same(expected: &BTreeMap<String, Vec<u8>>, found: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{name} differs");
    }
}

fn remove_modules(kernel: &Kernel) {
    for (_, module) in kernel.files("ours", |name| name.ends_with(".ko")) {
        fs::remove_file(module).unwrap();
    }
}

pub(crate) fn check(kernel: &Kernel) {
    let src = kernel.root.join("src");
    let patches = |what: &str| run(&src, KLPBUILD, &["patches", what], &[]);
    let make = |arguments: &[&str]| kernel.make("ours", &[&[VARIABLE][..], arguments].concat());

    step("the series for this kernel applies, and is taken back without a trace");
    // Those of other choices are not to be compared: they would stay as they are.
    remove_modules(kernel);
    kernel.klpbuild(&[LIVEPATCHES]).ok();
    let expected = results(kernel, "ours");
    run(&kernel.root.join("ours"), KLPBUILD, &["klpclean"], &[]).ok();
    let before = contents(kernel.files("src", |_| true));
    patches("apply").ok();
    assert!(patches("check").ok().stdout.contains(" is applied\n"));
    assert!(patches("apply").ends(1).stderr.contains("already"));
    patches("revert").ok();
    assert!(contents(kernel.files("src", |_| true)) == before);
    for patch in ["0001", "0002", "0003", "0004", "0005"] {
        let script = "for p in $1/kbuild-patches/from-6.1/$2-*; do git apply -v $p 2>&1 || exit 1; done";
        let root = env!("CARGO_MANIFEST_DIR");
        let ceiling = src.parent().unwrap();
        let ran =
            run(&src, "sh", &["-c", script, "sh", root, patch], &[("GIT_CEILING_DIRECTORIES", ceiling)]).ok();
        assert!(!ran.stdout.contains("fuzz"), "{}", ran.stdout);
    }

    let config = kernel.read("ours/.config");
    make(&["olddefconfig"]).ok();
    assert!(kernel.read("ours/.config").contains("\nCONFIG_KLP_CONVERT=y\n"));

    step("plain make comes to the same map and the same modules");
    // Linked anew, so that what is compared was made by this make.
    remove_modules(kernel);
    let built = make(&["modules", LIVEPATCHES]).ok();
    assert!(built.stdout.contains("\n  KLP     Symbols.list\n"), "{}", built.stdout);
    assert!(built.stdout.contains("\n  KLP [M] samples/klpbuild/lp-target.ko\n"), "{}", built.stdout);
    same(&expected, &results(kernel, "ours"));
    for again in [make(&["modules", LIVEPATCHES]).ok(), make(&["vmlinux", "modules", LIVEPATCHES]).ok()] {
        assert!(idle(&again), "{:?}", again.tags());
    }
    same(&expected, &results(kernel, "ours"));

    step("klpbuild leaves the work to the makefiles");
    let stamps = kernel.stamps();
    let ours = kernel.klpbuild(&[LIVEPATCHES]).ok();
    assert!(idle(&ours) && kernel.stamps() == stamps, "{:?}", ours.tags());
    assert!(ours.stdout.contains(" livepatches; "), "{}", ours.stdout);
    let log = kernel.read("ours/.klpbuild/make.log");
    assert!(!log.lines().next().unwrap().contains("MAKEFILES="), "{log}");

    step("modpost is strict with ordinary modules, and the map with livepatches");
    let bad = make(&["modules", "KLPBUILD_BAD=m", "KLPBUILD_KNOWN=m"]).ends(2);
    assert!(
        bad.stderr.contains("\"klpbuild_nowhere\" [samples/klpbuild/klpbuild-bad.ko] undefined!"),
        "{}",
        bad.stderr
    );
    assert!(!bad.stderr.contains("\"saved_command_line\""), "{}", bad.stderr);
    let unknown = make(&["modules", "KLPBUILD_UNKNOWN=m"]).ends(2);
    assert!(
        unknown.stderr.contains("Unable to find missing symbol: saved_comand_line"),
        "{}",
        unknown.stderr
    );
    assert!(!kernel.root.join("ours/samples/klpbuild/klpbuild-unknown.ko").exists());

    step("flags make marks, and take them away");
    make(&["modules", LIVEPATCHES]).ok();
    let mark = "samples/klpbuild/lp-second.livepatch".to_owned();
    assert!(marks(kernel, "ours").contains(&mark), "{:?}", marks(kernel, "ours"));
    assert!(marks(kernel, "ours").contains(&"samples/livepatch/livepatch-sample.livepatch".to_owned()));
    let makefile = src.join("samples/klpbuild/Makefile");
    let text = fs::read_to_string(&makefile).unwrap();
    fs::write(&makefile, text.replace("LIVEPATCH_lp-second.o := y", "")).unwrap();
    // It is marked by nothing else: now it is an ordinary module with undefined symbols.
    make(&["modules", LIVEPATCHES]).ends(2);
    assert!(!marks(kernel, "ours").contains(&mark));
    fs::write(&makefile, &text).unwrap();
    make(&["modules", LIVEPATCHES]).ok();
    assert!(marks(kernel, "ours").contains(&mark));
    same(&expected, &results(kernel, "ours"));

    step("clean leaves nothing, and the tree is as it was");
    make(&["klpclean"]).ok();
    assert!(!kernel.root.join("ours/Symbols.list").exists() && kernel.root.join("ours/vmlinux").exists());
    make(&["modules", LIVEPATCHES]).ok();
    make(&["clean"]).ok();
    let left = kernel.files("ours", |name| {
        name.contains(".klp") || name.contains("Symbols.list") || name.ends_with("livepatch")
    });
    assert_eq!(left.keys().collect::<Vec<_>>(), Vec::<&String>::new());
    patches("revert").ok();
    assert!(contents(kernel.files("src", |_| true)) == before);
    // What kconfig keeps of an option that the source no longer has, and no `make clean` takes away.
    fs::write(kernel.root.join("ours/.config"), config).unwrap();
    kernel.make("ours", &["syncconfig"]).ok();
    for kept in [".config.old", "include/config/KLP_CONVERT"] {
        fs::remove_file(kernel.root.join("ours").join(kept)).unwrap();
    }
}

/// The series in a source tree that is its own object tree, without O=.
pub(crate) fn check_in_tree(source: &Path) {
    let kernel = Kernel::lay_out_as(source, "in-tree");
    let src = kernel.root.join("src");
    let config = concat!("KCONFIG_ALLCONFIG=", env!("CARGO_MANIFEST_DIR"), "/tests/kernels/livepatch.config");
    let make = |arguments: &[&str]| kernel.make_in_tree(&[&[VARIABLE][..], arguments].concat());
    step("in the tree: klpbuild, then plain make with the series");
    make(&[config, "allnoconfig"]).ok();
    kernel.klpbuild_in_tree(&[LIVEPATCHES]).ok();
    let expected = results(&kernel, "src");
    run(&src, KLPBUILD, &["klpclean"], &[]).ok();
    run(&src, KLPBUILD, &["patches", "apply"], &[]).ok();
    make(&["olddefconfig"]).ok();
    for (_, module) in kernel.files("src", |name| name.ends_with(".ko")) {
        fs::remove_file(module).unwrap();
    }
    let built = make(&["modules", LIVEPATCHES]).ok();
    assert!(!built.stdout.contains("  CC      init/main.o\n"), "{}", built.stdout);
    same(&expected, &results(&kernel, "src"));
    make(&["clean"]).ok();
    run(&src, KLPBUILD, &["patches", "revert"], &[]).ok();
    let left = kernel.files("src", |name| {
        name.contains("Symbols.list") || name.contains(".klp") || name.ends_with(".livepatch")
    });
    assert_eq!(left.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}
