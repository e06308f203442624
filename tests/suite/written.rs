// SPDX-License-Identifier: GPL-2.0-only
//! Where `klpbuild convert` writes its output, and what is left where it cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::convert::{patched, refused_with, said};
use crate::space::Space;

#[test]
fn output_that_cannot_be_written() {
    let tree = patched("call_to unique");
    insta::assert_snapshot!(refused_with(&tree, &["-o", "lib"]), @"klpbuild: error: TREE/lib: a directory: name the file to write");
    insta::assert_snapshot!(refused_with(&tree, &["-o", "nowhere/out.ko"]), @r#"klpbuild: error: cannot write TREE/nowhere/out.ko: it is left as it was: No such file or directory (os error 2) at path "TREE/nowhere/.klpbuild-RANDOM.tmp""#);
}

/// As somebody who may not write everywhere.
#[test]
fn read_only_directory() {
    let tree = patched("call_to unique");
    let program = tree.path("klpbuild").display().to_string();
    fs::copy(Space::program(), &program).unwrap();
    fs::create_dir(tree.path("fixed")).unwrap();
    for (name, mode) in [("", 0o755), ("fixed", 0o555)] {
        fs::set_permissions(tree.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = vec![program.as_str(), "convert", "in.ko", "-o", "fixed/out.ko"];
    if tree.run("id", &["-u"]) == "0\n" {
        command.splice(0..0, ["setpriv", "--reuid=65534", "--clear-groups"]);
    }
    let ran = tree.ran(command[0], &command[1..]).ends(1);
    insta::assert_snapshot!(said(&tree, &ran), @r#"klpbuild: error: cannot write TREE/fixed/out.ko: it is left as it was: Permission denied (os error 13) at path "TREE/fixed/.klpbuild-RANDOM.tmp""#);
    assert_eq!(fs::read_dir(tree.path("fixed")).unwrap().count(), 0);
}

/// A limit on the size of files stands in for a full disk.
#[test]
fn full_disk() {
    let tree = patched("call_to unique");
    let before = (tree.names(), tree.bytes("in.ko"));
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" convert in.ko";
    let ran = tree.ran("sh", &["-c", script, Space::program()]).ends(1);
    assert!((tree.names(), tree.bytes("in.ko")) == before);
    insta::assert_snapshot!(said(&tree, &ran), @"klpbuild: error: cannot write TREE/in.ko: it is left as it was: File too large (os error 27)");
}

#[test]
fn output_and_permissions() {
    let tree = patched("call_to unique");
    let mode = |name: &str| fs::metadata(tree.path(name)).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(tree.path("in.ko"), fs::Permissions::from_mode(0o640)).unwrap();
    let before = (tree.bytes("in.ko"), tree.stamp("in.ko"));
    let ran = tree.convert(&["in.ko", "-o", "out.ko"]).ok();
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("klpbuild: out.ko: 1 livepatch relocation\n", "")
    );
    assert_eq!((tree.bytes("in.ko"), tree.stamp("in.ko")), before);
    assert_eq!((mode("in.ko"), mode("out.ko")), (0o640, 0o640));
    tree.convert(&["in.ko"]).ok();
    assert_eq!((mode("in.ko"), tree.bytes("in.ko")), (0o640, tree.bytes("out.ko")));
}

/// A link to a module stays one.
#[test]
fn links_are_followed() {
    let tree = patched("call_to unique");
    fs::rename(tree.path("in.ko"), tree.path("lib/real.ko")).unwrap();
    std::os::unix::fs::symlink("lib/real.ko", tree.path("in.ko")).unwrap();
    tree.convert(&["in.ko"]).ok();
    assert!(tree.path("in.ko").is_symlink());
    assert!(tree.tool("readelf", &["-SW", "lib/real.ko"]).contains(".klp.rela.vmlinux..text"));
}

#[test]
fn dry_run_and_quiet() {
    let tree = patched("call_to unique");
    let before = (tree.bytes("in.ko"), tree.names());
    tree.convert(&["in.ko", "-o", "out.ko", "--dry-run"]).ok();
    assert!((tree.bytes("in.ko"), tree.names()) == before);
    let ran = tree.convert(&["in.ko", "-q"]).ok();
    assert_eq!((ran.stdout, ran.stderr), (String::new(), String::new()));
    assert!(tree.bytes("in.ko") != before.0);
}
