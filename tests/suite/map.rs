// SPDX-License-Identifier: GPL-2.0-only
//! Symbols.list against real nm, for objects of all classes and byte orders; and broken objects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use klpbuild::elf::ObjectSymbols;

use crate::objtree::targets;
use crate::space::Space;

/// Symbols of every kind that nm treats in its own way: local and global, weak, undefined, common, absolute,
/// several of one name, section and file symbols, mapping symbols, and names with odd characters.
const SOURCE: &str = r#"
    .file "odd.c"
    .text
    .globl beta
    .type beta, %function
beta: .long 0
alpha: .long 0
    .size beta, . - beta
    .weak maybe
    .long maybe - .
    .globl elsewhere
    .reloc ., none_of_ours_is_needed, 0
    .comm shared_space, 8, 8
    .set absolute_one, 0x1234
    .local "with space"
"with space": .long 0
"dot.isra.0": .long 0
"dot.llvm.123": .long 0
".Lkept": .long 0
"$x.1": .long 0
"$d": .long 0
"$other": .long 0
_Upper: .long 0
    .data
Zulu: .long 0
    .section .modinfo, "a"
    .asciz "license=GPL"
"#;

fn run(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(directory).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (`make deps` installs it)"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An object tree with a vmlinux and a module, assembled for a target.
fn objtree(prefix: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = SOURCE.replace("    .reloc ., none_of_ours_is_needed, 0\n", "");
    let twice = format!("{source}\n.text 1\nnow_elsewhere: .long elsewhere - .\n");
    fs::write(dir.path().join("odd.s"), twice).unwrap();
    fs::create_dir_all(dir.path().join("drivers/a")).unwrap();
    run(&format!("{prefix}as"), &["odd.s", "-o", "drivers/a/mod-with,odd.o"], dir.path());
    fs::copy(dir.path().join("drivers/a/mod-with,odd.o"), dir.path().join("vmlinux")).unwrap();
    fs::write(dir.path().join("modules.order"), "drivers/a/mod-with,odd.o\n").unwrap();
    dir
}

fn symbols(objtree: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(Space::program());
    let output = command.arg("symbols").arg("--objtree").arg(objtree).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn names_and_their_order_are_nms_for_every_target() {
    for prefix in targets().map(|target| target.prefix) {
        let dir = objtree(prefix);
        let (code, _, stderr) = symbols(dir.path(), &[]);
        assert_eq!(code, Some(0), "{prefix}: {stderr}");
        let nm = run(&format!("{prefix}nm"), &["-f", "posix", "vmlinux"], dir.path());
        let nm = String::from_utf8(nm).unwrap();
        let names: Vec<&str> = nm.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert!(
            names.len() > 12 && names.contains(&"with") && names.contains(&"$other"),
            "{prefix}: {names:?}"
        );
        assert_eq!(names.contains(&"$d"), !prefix.starts_with("aarch64"), "{prefix}: {names:?}");
        let names = names.join("\n");
        let expected = format!("klp-convert-symbol-data.0.1\n*vmlinux\n{names}\n*mod_with_odd\n{names}\n");
        assert_eq!(fs::read_to_string(dir.path().join("Symbols.list")).unwrap(), expected, "{prefix}");
    }
}

#[test]
fn an_unchanged_map_is_left_alone() {
    let dir = objtree("");
    let map = dir.path().join("Symbols.list");
    let (code, stdout, _) = symbols(dir.path(), &[]);
    assert_eq!(
        (code, stdout),
        (Some(0), format!("klpbuild: 1 module, 0 livepatches; 30 names in {}\n", map.display()))
    );
    let stamp = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let before = stamp(&map);
    assert_eq!(symbols(dir.path(), &["-q"]), (Some(0), String::new(), String::new()));
    assert_eq!(stamp(&map), before);
    fs::write(dir.path().join("modules.order"), "").unwrap();
    symbols(dir.path(), &[]);
    assert!(!fs::read_to_string(&map).unwrap().contains("*mod_with_odd"));
}

#[test]
fn the_map_can_go_elsewhere() {
    let dir = objtree("");
    let elsewhere = dir.path().join("elsewhere.list");
    let (code, stdout, _) = symbols(dir.path(), &["-o", elsewhere.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(stdout.ends_with("elsewhere.list\n"), "{stdout}");
    let (code, stdout, _) = symbols(dir.path(), &["-o", "-"]);
    assert_eq!((code, stdout), (Some(0), fs::read_to_string(&elsewhere).unwrap()));
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["drivers", "elsewhere.list", "modules.order", "odd.s", "vmlinux"]);
}

#[test]
fn what_is_not_built_is_named() {
    let dir = objtree("");
    fs::remove_file(dir.path().join("drivers/a/mod-with,odd.o")).unwrap();
    let (code, _, stderr) = symbols(dir.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("drivers/a/mod-with,odd.o") && stderr.contains("build it first (klpbuild modules)"),
        "{stderr}"
    );
    fs::remove_file(dir.path().join("modules.order")).unwrap();
    let (_, _, stderr) = symbols(dir.path(), &[]);
    assert!(stderr.contains("build the modules first (klpbuild modules)"), "{stderr}");
    fs::remove_file(dir.path().join("vmlinux")).unwrap();
    let (_, _, stderr) = symbols(dir.path(), &[]);
    assert!(stderr.contains("vmlinux is not built"), "{stderr}");
    assert!(!dir.path().join("Symbols.list").exists());
}

#[test]
fn broken_objects_are_named_with_what_is_wrong() {
    for (content, word) in [
        (&b""[..], "the file is empty"),
        (b"BC\xc0\xde\x35\x14", "LLVM bitcode"),
        (b"!<arch>\n", "an archive"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF\x02\x01\x01", "cut short"),
    ] {
        let dir = objtree("");
        let map = dir.path().join("Symbols.list");
        fs::write(&map, "old\n").unwrap();
        fs::write(dir.path().join("drivers/a/mod-with,odd.o"), content).unwrap();
        let (code, _, stderr) = symbols(dir.path(), &[]);
        assert_eq!(code, Some(1), "{word}");
        assert!(stderr.contains("drivers/a/mod-with,odd.o: ") && stderr.contains(word), "{stderr}");
        assert_eq!(fs::read_to_string(&map).unwrap(), "old\n");
    }
}

/// A symbol's name would be taken for the line that begins an object's part.
#[test]
fn symbols_that_look_like_an_object_are_refused() {
    let dir = objtree("");
    let source = "drivers/a/star.s";
    fs::write(dir.path().join(source), ".text\n\"*vmlinux\": .long 0\n").unwrap();
    run("as", &[source, "-o", "drivers/a/mod-with,odd.o"], dir.path());
    let (code, _, stderr) = symbols(dir.path(), &[]);
    assert_eq!(code, Some(1));
    let words = "mod-with,odd.o: symbol \"*vmlinux\" would be taken for the name of an object in Symbols.list: rename it";
    assert!(stderr.contains(words), "{stderr}");
    assert!(!dir.path().join("Symbols.list").exists());
}

/// Whatever is cut off or changed, reading ends, and with an error or with symbols.
#[test]
fn no_damage_makes_reading_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.o");
    for prefix in targets().map(|target| target.prefix) {
        let whole = fs::read(objtree(prefix).path().join("vmlinux")).unwrap();
        assert!(whole.len() > 600, "{prefix}");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let error = ObjectSymbols::read(&path).map(drop).unwrap_err();
            assert!(format!("{error:#}").contains("damaged.o"), "{error:#}");
        }
        // A linear congruential generator: the same damage in every run.
        let mut state = 0x2545_f491_u32;
        let mut next = move |limit: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % limit
        };
        for _ in 0..2000 {
            let mut damaged = whole.clone();
            for _ in 0..=next(3) {
                let at = next(damaged.len());
                damaged[at] = u8::try_from(next(256)).unwrap();
            }
            fs::write(&path, &damaged).unwrap();
            if let Ok(object) = ObjectSymbols::read(&path) {
                assert!(object.symbols().all(|(name, _)| !name.contains(&0)));
                object.modinfo().entries().for_each(drop);
            }
        }
    }
}
