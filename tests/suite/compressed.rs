// SPDX-License-Identifier: GPL-2.0-only
//! Debugging information that is compressed, as CONFIG_DEBUG_INFO_COMPRESSED_ZLIB and _ZSTD leave it and as distributions
//! ship it: it tells what it tells otherwise, and conversion leaves it as it is.

use std::fs;

use crate::convert::said;
use crate::doubts::{livepatch, tree, warnings};
use crate::objtree::ObjTree;

/// A new function for `plain` with another signature, which declares two things wrongly.
const CODE: &str = "
extern char *counter;
extern int own_first(long value);
static long new_plain(int value) { return value + (long)counter; }
static int new_user(int value) { return own_first(1); }
";

/// The files with debugging information that are read.
const FILES: [&str; 3] = ["vmlinux", "drivers/target/target-mod.ko", "in.ko"];

/// A kernel and a livepatch, compiled with `options`.
fn kernel(options: &[&str]) -> ObjTree {
    let tree = tree(options);
    tree.write("Module.symvers", "0x00000000\tklp_enable_patch\tvmlinux\tEXPORT_SYMBOL_GPL\t\n");
    livepatch(&tree, CODE, &[("plain", "new_plain")], &[("user_one", "new_user")], options);
    tree
}

/// Compresses the debugging information of the files that are read.
fn compress(tree: &ObjTree, form: &str) {
    for file in FILES {
        tree.tool("objcopy", &[&format!("--compress-debug-sections={form}"), file]);
    }
    // Its date is that of vmlinux or later.
    tree.make_list();
}

/// The sections with debugging information of `in.ko`, each with its bytes as the file has them.
fn sections(tree: &ObjTree) -> Vec<String> {
    let table = tree.tool("readelf", &["-SW", "in.ko"]);
    let words = table.split_whitespace();
    let names = words.filter(|word| word.starts_with(".debug_") || word.starts_with(".zdebug_"));
    names.map(|name| tree.tool("readelf", &["-x", name, "in.ko"])).collect()
}

/// What is found: sources, lines, sizes of structures, types and inlined copies.
fn found(tree: &ObjTree) -> Vec<String> {
    let before = sections(tree);
    let mut found = warnings(tree);
    assert!(before.len() > 4 && sections(tree) == before, "conversion has changed debugging information");
    let shown = tree.klpbuild(&["show", "in.ko"]).ok().stdout;
    found.push(shown.replace(&tree.path("").display().to_string(), ""));
    for name in ["plain", "level", "own_level", "scaled"] {
        found.push(tree.klpbuild(&["lookup", name]).ok().stdout);
    }
    let ran = tree.klpbuild(&["lookup", "own_tiny"]).ends(1);
    found.push(said(tree, &ran));
    found
}

#[test]
fn what_is_compressed_tells_the_same() {
    let plain = kernel(&["-g"]);
    assert!(!plain.tool("readelf", &["-SW", "in.ko"]).contains("debug_info         PROGBITS         C"));
    let expected = found(&plain);
    let all = expected.join("\n");
    for part in [
        "kernel.c:",
        "livepatch.c:",
        "inlined into",
        "was inlined everywhere",
        "it is declared as `char *counter` (livepatch.c:",
        "the new function is `long new_plain(int value)`, the old one `int plain(int value)`",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    for (form, section, flags) in
        [("zlib", ".debug_info", " C "), ("zstd", ".debug_info", " C "), ("zlib-gnu", ".zdebug_info", " ")]
    {
        let tree = kernel(&["-g"]);
        compress(&tree, form);
        for file in FILES {
            let table = tree.tool("readelf", &["-SW", file]);
            let line = table.lines().find(|line| line.contains(section)).map(str::to_owned);
            assert!(line.as_ref().is_some_and(|line| line.contains(flags)), "{form} {file}: {table}");
        }
        assert_eq!(found(&tree), expected, "{form}");
    }
}

/// As kbuild tells the compiler and the linker.
#[test]
fn what_the_compiler_compresses_tells_the_same() {
    let tree = kernel(&["-g", "-gz=zlib"]);
    tree.link(&["--compress-debug-sections=zlib", "livepatch.o"], "in.ko");
    assert!(tree.tool("readelf", &["-SW", "livepatch.o"]).contains(" C "));
    assert!(tree.tool("readelf", &["-SW", "in.ko"]).contains(" C "));
    assert_eq!(found(&tree), found(&kernel(&["-g"])));
}

/// Where a section of a file begins: its header.
fn header(tree: &ObjTree, file: &str, name: &str) -> usize {
    let table = tree.tool("readelf", &["-SW", file]);
    let line = table.lines().find(|line| line.contains(&format!(" {name} "))).unwrap();
    let after = line.split_once("PROGBITS").unwrap().1;
    usize::from_str_radix(after.split_whitespace().nth(1).unwrap(), 16).unwrap()
}

/// Debugging information that is damaged, or asks for all memory, is not taken for none.
#[test]
fn what_cannot_be_unpacked_is_said() {
    for (at, bytes, why) in [
        (24, &[0xff; 4][..], "it is damaged"),
        (0, &[9, 0, 0, 0], "it is compressed in a way that is not known (type 9; zlib is 1, zstd 2)"),
        (8, &[0xff; 7], "are said to unpack to 72057594037927935"),
    ] {
        let tree = kernel(&["-g"]);
        // BTF takes its place.
        tree.run("pahole", &["-J", "in.ko"]);
        compress(&tree, "zlib");
        let damage = |file: &str| {
            let start = header(&tree, file, ".debug_info") + at;
            let mut content = tree.bytes(file);
            content[start..start + bytes.len()].copy_from_slice(bytes);
            fs::write(tree.path(file), content).unwrap();
        };
        damage("in.ko");
        let told = warnings(&tree);
        assert_eq!(told.len(), 2, "{told:?}");
        let differs = "the new function is `long new_plain(int value)`, the old one `int plain(int value)`";
        assert!(told[1].contains(differs), "{told:?}");
        assert!(told[0].starts_with("section .debug_info: it cannot be unpacked: "), "{told:?}");
        assert!(told[0].contains(why) && told[0].ends_with("(S9)"), "{told:?}");
        damage("vmlinux");
        let ran = tree.klpbuild(&["lookup", "plain"]).ok();
        let errors = said(&tree, &ran);
        let start = "klpbuild: warning: cannot read TREE/vmlinux: section .debug_info: ";
        let end = "; what its debugging information tells of types, lines and inlined functions is not known";
        let lines: Vec<&str> = errors.lines().filter(|line| !line.contains("is older than")).collect();
        let [line] = lines[..] else { panic!("{errors}") };
        assert!(line.starts_with(start) && line.contains(why) && line.ends_with(end), "{errors}");
        assert!(ran.stdout.contains("plain: 1 definition"), "{ran:?}");
    }
}
