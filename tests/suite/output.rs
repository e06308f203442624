// SPDX-License-Identifier: GPL-2.0-only
//! Where output goes: to devices and pipes that somebody names, to full ones, and to readers that have gone away.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::process::{Command, Stdio};

use crate::objtree::{Code, ObjTree, X86_64};
use crate::space::{Ran, Space};

fn tree() -> ObjTree {
    let tree = ObjTree::with_code(X86_64, &Code { patched: "call_to unique", ..Code::default() });
    tree.convert(&["in.ko", "-o", "done.ko"]).ok();
    tree
}

/// Commands whose output is what was asked for, with their status.
const PRODUCTS: [(&[&str], i32); 11] = [
    (&["header"], 0),
    (&["header", "-o", "-"], 0),
    (&["snippet"], 0),
    (&["symbols", "-o", "-"], 0),
    (&["lookup", "unique"], 0),
    (&["lookup", "unique", "--format", "json"], 0),
    (&["verify", "done.ko"], 0),
    (&["verify", "done.ko", "--format", "json"], 0),
    (&["convert", "in.ko", "--dry-run"], 0),
    (&["patches", "show", "from-6.1"], 0),
    (&["--help"], 0),
];

#[test]
fn what_does_not_arrive_is_an_error() {
    let tree = tree();
    for (arguments, code) in PRODUCTS.into_iter().chain([(&["--version"][..], 0), (&["verify", "--help"], 0)])
    {
        let mut command = Command::new(Space::program());
        command.args(arguments).current_dir(tree.path(""));
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = Ran::of(command.stdout(full).output().unwrap()).ends(1);
        assert!(
            ran.stderr.ends_with(
                "klpbuild: error: cannot write to standard output: No space left on device (os error 28)\n"
            ),
            "{arguments:?}: {ran:?}"
        );
        // A reader that has gone away has read what it wanted.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::of(command.stdout(writer).stderr(Stdio::piped()).output().unwrap()).ends(code);
        assert!(!ran.stderr.contains("error"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_build_is_done_all_the_same() {
    let space = Space::configured("era-c");
    let into = |arguments: &[&str]| {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        Ran::of(space.command(Space::program()).args(arguments).stdout(full).output().unwrap())
    };
    into(&["modules", "O=../obj", "--dry-run"])
        .ends(1)
        .says(&["cannot write to standard output: No space left"]);
    assert!(!space.path("obj/Symbols.list").exists());
    // What a killed one left in its directory is gone afterwards.
    let left = space.path("obj/.klpbuild/.klpbuild-killed.tmp");
    fs::create_dir_all(space.path("obj/.klpbuild")).unwrap();
    fs::write(&left, "half").unwrap();
    into(&["modules", "O=../obj", "KNOWN=m"])
        .ends(1)
        .says(&["cannot write to standard output: No space left"]);
    assert!(space.path("obj/samples/livepatch/lp-known.ko").is_file() && !left.exists());
    assert_eq!(space.read("obj/Symbols.list"), space.recipe("obj"));
    // What fails keeps its own status.
    into(&["modules", "O=../obj", "BROKEN=1"]).ends(2);
    into(&["modules", "O=../obj", "-q"]).ok();
}

/// A device or a pipe is written to, and stays what it is; a link is followed.
#[test]
fn what_is_no_file_is_not_replaced() {
    let tree = tree();
    let at = |name: &str| tree.path(name).display().to_string();
    symlink("/dev/null", tree.path("null")).unwrap();
    symlink("/dev/full", tree.path("full")).unwrap();
    tree.run("mkfifo", &["pipe"]);
    fs::create_dir(tree.path("other")).unwrap();
    let products: [(&[&str], &str); 4] = [
        (&["header"], "klp_relocs.h"),
        (&["snippet"], "Makefile.snippet"),
        (&["symbols", "-q"], "map"),
        (&["convert", "in.ko", "-q", "--symbols", "Symbols.list"], "out.ko"),
    ];
    for (arguments, file) in products {
        let to = |name: &str| tree.klpbuild(&[arguments, &["-o", name]].concat());
        to(file).ok();
        let expected = tree.bytes(file);
        assert!(!expected.is_empty());
        let reader =
            Command::new("cat").arg("pipe").current_dir(tree.path("")).stdout(Stdio::piped()).spawn();
        to("pipe").ok();
        let read = reader.unwrap().wait_with_output().unwrap().stdout;
        assert!(read == expected, "{file} through a pipe");
        assert!(fs::metadata(tree.path("pipe")).unwrap().file_type().is_fifo());
        to("null").ok();
        to("full").ends(1).says(&["cannot write to ", "No space left on device"]);
        assert!(fs::symlink_metadata(tree.path("null")).unwrap().is_symlink());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        symlink(format!("../{file}.real"), tree.path("other/link")).unwrap();
        to("other/link").ok();
        assert!(tree.bytes(&format!("{file}.real")) == expected, "{file} through a link");
        assert!(fs::symlink_metadata(tree.path("other/link")).unwrap().is_symlink());
        fs::remove_file(tree.path("other/link")).unwrap();
        to("other").ends(1).says(&[&format!("{}: a directory: name the file to write", at("other"))]);
    }
    let left: Vec<String> = tree.names().into_iter().filter(|name| name.starts_with(".klpbuild-")).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// RLIMIT_FSIZE: the write fails, the process goes on and cleans up.
#[test]
fn a_limit_on_the_size_of_files_is_reported() {
    let tree = tree();
    let before = (tree.names(), tree.bytes("Symbols.list"), tree.bytes("in.ko"));
    for (arguments, file) in
        [("header -o big.h", "big.h"), ("convert in.ko", "in.ko"), ("symbols -o big", "big")]
    {
        let script = format!("ulimit -f 0; exec '{}' {arguments}", Space::program());
        let ran = tree.ran("sh", &["-c", &script]).ends(1);
        let words = format!("{file}: it is left as it was: File too large (os error 27)\n");
        assert!(ran.stderr.ends_with(&words), "{arguments}: {ran:?}");
        assert_eq!((tree.names(), tree.bytes("Symbols.list"), tree.bytes("in.ko")), before, "{arguments}");
    }
}
