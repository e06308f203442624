// SPDX-License-Identifier: GPL-2.0-only
//! Packages that the kernel's own makefiles make, unpacked: the livepatches in them are finished.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::external::run;
use crate::kernel::{Kernel, ran};
use crate::step;

/// A livepatch that every configuration here builds.
const LIVEPATCH: &str = "samples/klpbuild/lp-first.ko";
const FEW: &str = "KLPBUILD_FEW=m";
const SNIPPET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile.snippet");

/// Makes tar packages, with klpbuild and through Makefile.snippet.
pub(crate) fn check(kernel: &Kernel) {
    step("a package has converted livepatches");
    kernel.klpbuild(&["tar-pkg", FEW]).ok();
    tar(kernel);

    step("so has one of plain make, through the snippet");
    let source = kernel.root.join("src");
    let start = source.join("GNUmakefile");
    fs::write(&start, format!("include {SNIPPET}\n")).unwrap();
    let objtree = format!("O={}", kernel.root.join("ours").display());
    let ran = run(&source, "make", &[&objtree, "tar-pkg", FEW], &[]).ok();
    assert!(ran.stdout.contains(&format!("  KLP [M] {LIVEPATCH}\n")), "{}", ran.stdout);
    fs::remove_file(start).unwrap();
    tar(kernel);
}

/// Unpacks the tar file in the object tree, looks at the livepatch in it, and removes what make has made for it.
fn tar(kernel: &Kernel) {
    let objtree = kernel.root.join("ours");
    let packages = kernel.files("ours", |name| name.ends_with(".tar") && !name.contains('/'));
    let [package] = packages.values().collect::<Vec<_>>()[..] else { panic!("{packages:?}") };
    let directory = kernel.root.join("unpacked");
    fs::create_dir(&directory).unwrap();
    ran(Command::new("tar").arg("-xf").arg(package).arg("-C").arg(&directory).output().unwrap()).ok();
    let installed = modules(kernel, &directory).join(LIVEPATCH);
    assert!(fs::read(&installed).unwrap() == fs::read(objtree.join(LIVEPATCH)).unwrap(), "{package:?}");
    is_finished(kernel, &installed);
    fs::remove_dir_all(directory).unwrap();
    fs::remove_file(package).unwrap();
    fs::remove_dir_all(objtree.join("tar-install")).unwrap();
    // Of a make that is not told which build of vmlinux it is (KBUILD_BUILD_VERSION).
    let _ = fs::remove_file(objtree.join(".version"));
}

/// Makes Debian's packages, which are signed and packed as the configuration says, and looks at the livepatch in the one
/// with the modules.
pub(crate) fn deb(kernel: &Kernel) {
    kernel.klpbuild(&["bindeb-pkg", FEW]).ok();
    let made = fs::read_dir(&kernel.root).unwrap().map(|entry| entry.unwrap().path());
    let made: Vec<_> =
        made.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect();
    let is_image = |path: &&std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("linux-image-") && !name.contains("-dbg")
    };
    let [package] = made.iter().filter(is_image).collect::<Vec<_>>()[..] else { panic!("{made:?}") };
    let directory = kernel.root.join("unpacked");
    ran(Command::new("dpkg-deb").arg("-x").arg(package).arg(&directory).output().unwrap()).ok();
    let packed = modules(kernel, &directory).join(format!("{LIVEPATCH}.xz"));
    crate::configs::form(kernel, &packed);
    fs::remove_dir_all(directory).unwrap();
    made.iter().for_each(|path| fs::remove_file(path).unwrap());
}

/// Where a package has the modules.
fn modules(kernel: &Kernel, unpacked: &Path) -> std::path::PathBuf {
    let release = kernel.read("ours/include/config/kernel.release");
    unpacked.join("lib/modules").join(release.trim()).join("kernel")
}

fn is_finished(kernel: &Kernel, livepatch: &Path) {
    let path = livepatch.to_str().unwrap();
    let ran = kernel.tool(&["verify", path]).ok();
    assert!(ran.stdout.contains(": correct (") && !ran.stdout.contains("(0 livepatch"), "{}", ran.stdout);
}
