// SPDX-License-Identifier: GPL-2.0-only
//! klpbuild on real kernels, against plain make: `make test` and `make test-kernels` run this.
//! `distribution_kernel`, which only the latter runs, is about the one that Debian builds.
//!
//! Takes the source trees that KLPBUILD_TEST_TREES names. Each is linked to a copy under
//! `target/kernels/test`, with `tests/kernels/samples` among its samples, and built twice: with plain make, and
//! with klpbuild, which is interrupted once on its way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod configs;
mod distribution;
mod external;
mod fixes;
mod frompatch;
mod kallsyms;
mod kernel;
mod livepatches;
mod packages;
mod patches;
mod run_pre;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kernel::{ALWAYS, Kernel, ran};

pub(crate) fn step(what: &str) {
    println!("    {what}");
}

fn check(source: &Path) {
    println!("{}", source.display());
    let kernel = Kernel::lay_out(source);
    let config = concat!("KCONFIG_ALLCONFIG=", env!("CARGO_MANIFEST_DIR"), "/tests/kernels/livepatch.config");

    step("plain make");
    kernel.make("plain", &[config, "allnoconfig"]).ok();
    kernel.make("plain", &["vmlinux", "modules"]).ok();

    step("klpbuild, interrupted in the middle");
    kernel.make("ours", &[config, "allnoconfig"]).ok();
    kernel.interrupt();

    step("klpbuild, resumed");
    let resumed = kernel.klpbuild(&["bzImage"]).ok();
    assert!(!resumed.stdout.contains("  CC      init/main.o\n"), "what was built is built again");
    assert!(resumed.stdout.contains("\n  KLP     Symbols.list\n"), "{}", resumed.stdout);

    step("the same modules and the same vmlinux");
    let (plain, ours) =
        (kernel.files("plain", |n| n.ends_with(".ko")), kernel.files("ours", |n| n.ends_with(".ko")));
    assert!(plain.len() > 8);
    assert_eq!(plain.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    let livepatches = kernel.read("ours/modules.livepatch");
    for (name, path) in &plain {
        let mut expected = path.clone();
        // A livepatch is converted, and tells which kernel it is for.
        if livepatches.lines().any(|livepatch| livepatch == name) {
            expected = kernel.root.join("converted.ko");
            let paths = [path, &expected].map(|path| path.display().to_string());
            kernel.tool(&["convert", "-q", &paths[0], "-o", &paths[1]]).ok();
        }
        assert!(fs::read(expected).unwrap() == fs::read(&ours[name]).unwrap(), "{name} differs");
    }
    assert!(
        fs::read(kernel.root.join("plain/vmlinux")).unwrap()
            == fs::read(kernel.root.join("ours/vmlinux")).unwrap()
    );

    step("the map is nm's, without the livepatches");
    let map = kernel.read("ours/Symbols.list");
    assert!(map == kernel.recipe());
    assert!(map.contains("\nsaved_command_line\n") && map.contains("\n*crc_itu_t\n"));
    let livepatches = kernel.read("ours/modules.livepatch");
    assert!(livepatches.lines().any(|line| line == "samples/livepatch/livepatch-sample.ko"), "{livepatches}");
    assert!(!map.contains("*livepatch_sample\n") && map.contains("*livepatch_callbacks_mod\n"));

    step("positions are those of the kernel's own table of symbols");
    kallsyms::check_tree(&kernel.root.join("ours"));

    step("each unit is in the kernel as it was compiled, function by function");
    run_pre::check_tree(&kernel.root.join("ours"));

    step("nothing is built again, by klpbuild or by make");
    let stamps = kernel.stamps();
    let tags = kernel.klpbuild(&["bzImage"]).ok().tags();
    assert!(tags.iter().all(|tag| ALWAYS.contains(&tag.as_str())), "{tags:?}");
    let tags = kernel.make("ours", &["vmlinux", "modules", "bzImage"]).ok().tags();
    assert!(tags.iter().all(|tag| ALWAYS.contains(&tag.as_str())), "{tags:?}");
    assert_eq!(kernel.stamps(), stamps);

    step("modpost is strict with an ordinary module");
    let bad = kernel.klpbuild(&["KLPBUILD_BAD=m", "KLPBUILD_KNOWN=m"]).ends(2);
    assert!(
        bad.stderr.contains("\"klpbuild_nowhere\" [samples/klpbuild/klpbuild-bad.ko] undefined!"),
        "{}",
        bad.stderr
    );
    assert!(bad.stderr.contains("ERROR: "), "{}", bad.stderr);
    assert!(!bad.stderr.contains("ERROR: modpost: \"saved_command_line\""), "{}", bad.stderr);

    step("a livepatch may refer to what the map defines");
    kernel.klpbuild(&["KLPBUILD_KNOWN=m", "--no-convert"]).ok();
    let module = kernel.root.join("ours/samples/klpbuild/klpbuild-known.ko");
    let nm = ran(Command::new("nm").arg("-u").arg(&module).output().unwrap()).ok().stdout;
    assert!(nm.contains("U saved_command_line\n"), "{nm}");
    let info = fs::read(&module).unwrap();
    assert!(info.windows(9).any(|window| window == b"depends=\0"), "the livepatch depends on no module");
    assert!(!kernel.read("ours/Module.symvers").contains("saved_command_line"));
    assert!(kernel.read("ours/Symbols.list") == kernel.recipe());

    livepatches::check(&kernel);
    external::check(&kernel);

    step("a livepatch that refers to nothing known is refused");
    let unknown = kernel.klpbuild(&["KLPBUILD_UNKNOWN=m"]).ends(1);
    for word in [
        "klpbuild-unknown.ko: Unable to find missing symbol: saved_comand_line",
        "nearest names are saved_command_line (vmlinux)",
    ] {
        assert!(unknown.stderr.contains(word), "{}", unknown.stderr);
    }

    step("an external module");
    kernel.klpbuild(&[]).ok();
    let ext = kernel.root.join("ext");
    let m = format!("M={}", ext.display());
    kernel.make("ours", &[&m, "modules"]).ok();
    let expected = fs::read(ext.join("outside.ko")).unwrap();
    kernel.make("ours", &[&m, "clean"]).ok();
    assert!(!ext.join("outside.ko").exists());
    kernel.klpbuild(&[&m]).ok();
    assert!(fs::read(ext.join("outside.ko")).unwrap() == expected);

    patches::check(&kernel);
    frompatch::check(&kernel);
    if std::env::var_os("KLPBUILD_TEST_PACKAGES").is_some() {
        packages::check(&kernel);
    }

    step("clean leaves nothing of ours");
    kernel.klpbuild(&[]).ok();
    let mut clean = Command::new(env!("CARGO_BIN_EXE_klpbuild"));
    clean.args(["clean", "-C"]).arg(kernel.root.join("ours")).env_remove("MAKEFLAGS");
    ran(clean.output().unwrap()).ok();
    kernel.make("plain", &["clean"]).ok();
    let left = |objtree| kernel.files(objtree, |_| true).into_keys().collect::<BTreeSet<_>>();
    let (plain, ours) = (left("plain"), left("ours"));
    assert_eq!(ours.difference(&plain).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
#[ignore = "builds a whole kernel: run by `make test-kernels`"]
fn patched_source_tree() {
    patches::check_in_tree(&first_tree());
}

#[test]
#[ignore = "needs Debian's kernel with its debug symbols: run by `make test-kernels`"]
fn distribution_kernel() {
    distribution::check();
}

#[test]
#[ignore = "builds a whole kernel: run by `make test-configs`"]
fn signed_configuration() {
    configs::signed(&first_tree());
}

#[test]
#[ignore = "builds a whole kernel with clang: run by `make test-configs`"]
fn thinlto_configuration() {
    configs::thinlto(&first_tree());
}

fn first_tree() -> PathBuf {
    let trees = std::env::var("KLPBUILD_TEST_TREES").expect("KLPBUILD_TEST_TREES names kernel source trees");
    PathBuf::from(trees.split_whitespace().next().expect("there is one"))
}

#[test]
#[ignore = "builds whole kernels: run by `make test` and `make test-kernels`"]
fn real_kernels() {
    let trees = std::env::var("KLPBUILD_TEST_TREES").expect("KLPBUILD_TEST_TREES names kernel source trees");
    let trees: Vec<&str> = trees.split_whitespace().collect();
    assert!(!trees.is_empty());
    for tree in trees {
        check(Path::new(tree));
    }
}
