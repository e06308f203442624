// SPDX-License-Identifier: GPL-2.0-only
//! Livepatches of five architectures, converted, as readelf of that architecture shows them.
//!
//! The snapshots in `golden` are what people check against the rules: sections (R1), the names and the home of
//! symbols (R3, R4), relocations (R2, R5, R7), `.modinfo` (R10). What can be compared without a reader's eye is
//! asserted: that no reference is lost, doubled or led elsewhere, and that no other byte changes.

use std::collections::BTreeMap;

use regex::Regex;

use crate::objtree::{ObjTree, X86_64, target, targets};

/// The relocations of an object, by the section that they apply to: offset, type, symbol and addend; sorted.
type Relocations = BTreeMap<String, Vec<(String, String, String)>>;

/// Bytes in the livepatch for x86-64 that a relocation covers.
const DIRTY: &str = "88776655 44332211";

/// What readelf shows of an object, without offsets in the file.
fn dump(tree: &ObjTree, name: &str) -> String {
    let mut text = String::new();
    for options in [&["-SW"][..], &["-sW"], &["-rW"], &["-p", ".modinfo"]] {
        text.push_str(&tree.tool("readelf", &[options, &[name]].concat()));
    }
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let text = Regex::new("offset 0x[0-9a-f]+").unwrap().replace_all(&text, "offset -").into_owned();
    // What is in the hash depends on the linker.
    let text = Regex::new(" symbols:[0-9a-f]{64}").unwrap().replace_all(&text, " symbols:-").into_owned();
    // After the address.
    let offset = Regex::new(r"(?m)^(  \[[ 0-9]+\] .*? [0-9a-f]{8,16}) [0-9a-f]{6} ").unwrap();
    offset.replace_all(&text, "$1 ------ ").into_owned()
}

/// The name that a symbol had for the one who wrote the source: without what klpbuild reads and writes.
fn plain(name: &str) -> &str {
    let Some(rest) = name.strip_prefix(".klp.sym.") else { return name };
    let objects = if rest.starts_with("rela.") { 3 } else { 1 };
    rest.splitn(objects + 1, '.').last().unwrap().rsplit_once(',').unwrap().0
}

/// Reads `readelf -rW`.
fn relocations(tree: &ObjTree, name: &str) -> Relocations {
    let mut found = Relocations::new();
    let mut section = String::new();
    for line in tree.tool("readelf", &["-rW", name]).lines() {
        if let Some(rest) = line.strip_prefix("Relocation section '") {
            section = rest.split('\'').next().unwrap().to_owned();
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [offset, _, kind, _, symbol, addend @ ..] = words.as_slice()
            && kind.starts_with("R_")
        {
            let addend = addend.join(" ");
            let entry = ((*offset).to_owned(), (*kind).to_owned(), format!("{symbol} {addend}"));
            found.entry(section.clone()).or_default().push(entry);
        }
    }
    found
}

/// The relocations that all sections have taken together, by plain names. Annotations are left out, and what
/// refers to them.
fn merged(all: Relocations) -> Relocations {
    let mut merged = Relocations::new();
    for (section, entries) in all {
        let target = match section.strip_prefix(".klp.rela.") {
            Some(rest) => rest.split_once('.').unwrap().1.to_owned(),
            None => section.strip_prefix(".rela").unwrap().to_owned(),
        };
        if target.starts_with(".klp.module_relocs.") {
            continue;
        }
        for (offset, kind, value) in entries {
            if value.starts_with(".klp.module_relocs.") || value.starts_with("vmlinux_relocs") {
                assert_eq!(target, ".debug_info");
                continue;
            }
            let (name, addend) = value.split_once(' ').unwrap();
            merged.entry(target.clone()).or_default().push((
                offset,
                kind,
                format!("{} {addend}", plain(name)),
            ));
        }
    }
    merged.values_mut().for_each(|entries| entries.sort());
    merged
}

/// The bytes of the sections that a conversion has no business with, without their rendering as text.
fn contents(tree: &ObjTree, name: &str) -> String {
    let sections =
        [".text", ".init.text", ".data", ".rodata", ".rodata.str", ".altinstructions", ".debug_info"];
    let dumps = sections.map(|section| tree.tool("readelf", &["-x", section, name])).concat();
    let lines = dumps.lines().filter(|line| line.starts_with("  0x"));
    lines.map(|line| format!("{}\n", &line[..48])).collect()
}

/// Converts `in.ko` to `out.ko`, and asserts that nothing is lost.
#[track_caller]
fn convert(tree: &ObjTree, arguments: &[&str]) -> String {
    let before = (tree.bytes("in.ko"), tree.stamp("in.ko"));
    let ran = tree.convert(&[&["in.ko", "-o", "out.ko"], arguments].concat()).ok();
    assert_eq!((tree.bytes("in.ko"), tree.stamp("in.ko")), before);
    let (old, new) = (relocations(tree, "in.ko"), relocations(tree, "out.ko"));
    assert!(new.values().flatten().count() > 20 && new.keys().all(|name| !name.contains("module_relocs")));
    assert_eq!(merged(new), merged(old));
    // R8: on x86 what is relocated becomes zero.
    let mut expected = contents(tree, "in.ko");
    if tree.target.name == "x86-64" {
        assert!(expected.contains(DIRTY));
        expected = expected.replace(DIRTY, "00000000 00000000");
    }
    assert_eq!(contents(tree, "out.ko"), expected);
    let verified = tree.klpbuild(&["verify", "out.ko"]).ok();
    assert_eq!(verified.stderr, "");
    ran.stdout + &ran.stderr
}

/// Converts the livepatch of an architecture and compares with its snapshot.
fn golden(name: &str) {
    let Some(target) = target(name) else { return };
    let tree = ObjTree::with_livepatch(target);
    let text = convert(&tree, &[]) + &dump(&tree, "out.ko");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn x86_64() {
    golden("x86-64");
}

#[test]
fn aarch64() {
    golden("aarch64");
}

#[test]
fn ppc64le() {
    golden("ppc64le");
}

#[test]
fn s390x() {
    golden("s390x");
}

#[test]
fn ppc() {
    golden("ppc");
}

/// R14: neither bytes nor time change. Written elsewhere, it is a copy.
#[test]
fn a_second_conversion_changes_nothing() {
    for target in targets() {
        let tree = ObjTree::with_livepatch(target);
        convert(&tree, &[]);
        let before = (tree.bytes("out.ko"), tree.stamp("out.ko"));
        let ran = tree.convert(&["out.ko"]).ok();
        assert_eq!(ran.stdout, "klpbuild: out.ko: nothing to convert\n");
        assert_eq!((tree.bytes("out.ko"), tree.stamp("out.ko")), before);
        tree.convert(&["out.ko", "-o", "copy.ko"]).ok();
        assert_eq!(tree.bytes("copy.ko"), before.0);
    }
}

/// LLVM's assembler has one table for the names of sections and symbols.
#[test]
fn one_table_of_strings() {
    let tree = ObjTree::with_livepatch(X86_64);
    convert(&tree, &[]);
    let expected = tree.tool("readelf", &["-srW", "out.ko"]);
    let mut bytes = tree.bytes("in.ko");
    let number = |bytes: &[u8], at: usize, width: usize| {
        bytes[at..at + width].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (headers, count) = (number(&bytes, 0x28, 8), number(&bytes, 0x3c, 2));
    let header = |index: usize| headers + index * 64;
    // .symtab, .strtab and .shstrtab come last.
    let table = |bytes: &[u8], index: usize| {
        let start = number(bytes, header(index) + 0x18, 8);
        bytes[start..start + number(bytes, header(index) + 0x20, 8)].to_vec()
    };
    let (strings, names) = (table(&bytes, count - 2), table(&bytes, count - 1));
    for index in 1..count {
        let name = number(&bytes, header(index), 4) + strings.len();
        bytes[header(index)..][..4].copy_from_slice(&(name as u32).to_le_bytes());
    }
    let end = bytes.len() as u64;
    bytes[header(count - 2) + 0x18..][..8].copy_from_slice(&end.to_le_bytes());
    bytes[header(count - 2) + 0x20..][..8].copy_from_slice(&(strings.len() + names.len()).to_le_bytes());
    bytes[0x3e..0x40].copy_from_slice(&(count as u16 - 2).to_le_bytes());
    bytes.extend([strings, names].concat());
    tree.write("in.ko", bytes);
    convert(&tree, &[]);
    let offset = Regex::new("offset 0x[0-9a-f]+").unwrap();
    let shown = tree.tool("readelf", &["-srW", "out.ko"]);
    assert_eq!(offset.replace_all(&shown, ""), offset.replace_all(&expected, ""));
}

/// What a makefile does: in place, and with nothing but the tree's own directory to go by.
#[test]
fn in_place_is_the_same() {
    let tree = ObjTree::with_livepatch(X86_64);
    convert(&tree, &[]);
    let ran = tree.klpbuild(&["convert", "in.ko"]).ok();
    assert_eq!(ran.stdout, "klpbuild: in.ko: 23 livepatch relocations\n");
    assert_eq!(tree.bytes("in.ko"), tree.bytes("out.ko"));
}

/// Without System.map the rules of kallsyms tell what counts; without Symbols.list all objects are read.
#[test]
fn fewer_witnesses_say_the_same() {
    for target in targets() {
        let tree = ObjTree::with_livepatch(target);
        convert(&tree, &[]);
        let expected = tree.bytes("out.ko");
        for name in ["System.map", "Symbols.list"] {
            std::fs::remove_file(tree.path(name)).unwrap();
            convert(&tree, &[]);
            assert_eq!(tree.bytes("out.ko"), expected, "{}: without {name}", target.name);
        }
    }
}

/// R10: what modules export can stay, and then `depends=` does, too.
#[test]
fn module_exports_can_be_kept() {
    for target in targets() {
        let tree = ObjTree::with_livepatch(target);
        let said = convert(&tree, &["--keep-module-exports"]);
        assert!(!said.contains("has to be loaded"), "{said}");
        let symbols = tree.tool("readelf", &["-sW", "out.ko"]);
        for line in
            ["UND target_export\n", "UND provider_export\n", "] .klp.sym.target_mod.target_static,0\n"]
        {
            assert!(symbols.contains(line), "{symbols}");
        }
        assert!(!symbols.contains(".klp.sym.target_mod.target_export"), "{symbols}");
        let modinfo = tree.tool("readelf", &["-p", ".modinfo", "out.ko"]);
        assert!(modinfo.contains("  depends=provider,target-mod\n"), "{modinfo}");
        let plain = relocations(&tree, "out.ko").remove(".rela.text").unwrap();
        let exports = plain.iter().filter(|(_, _, value)| value.contains("_export ")).count();
        assert_eq!(exports, 2, "{plain:?}");
    }
}

/// R10: nothing has to be kept loaded that the kernel keeps with the patched module.
#[test]
fn a_module_comes_with_what_it_depends_on() {
    let tree = ObjTree::with_livepatch(X86_64);
    let needed = "provider has to be loaded before";
    let said = convert(&tree, &[]);
    assert!(said.contains(needed), "{said}");
    tree.assemble_text(".section .modinfo, \"a\"\n.string \"depends=other,provider\"", "depends");
    std::fs::rename(tree.path("drivers/target/target-mod.ko"), tree.path("before.o")).unwrap();
    tree.link(&["before.o", "depends.o"], "drivers/target/target-mod.ko");
    let said = convert(&tree, &[]);
    assert!(!said.contains(needed), "{said}");
}

/// As modules are: two objects linked to one, with two statics of one name and two sections of annotations.
#[test]
fn linked_objects() {
    for target in targets() {
        let tree = ObjTree::with_livepatch(target);
        tree.assemble("more");
        std::fs::rename(tree.path("in.ko"), tree.path("livepatch.o")).unwrap();
        tree.link(&["livepatch.o", "more.o"], "in.ko");
        convert(&tree, &[]);
        let symbols = tree.tool("readelf", &["-sW", "out.ko"]);
        let symbols: Vec<&str> = symbols.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        let count = |name: &str| symbols.iter().filter(|symbol| **symbol == name).count();
        assert_eq!((count("helper"), count(".klp.sym.vmlinux.twin,2"), count("vmlinux_relocs")), (2, 1, 0));
        let written = relocations(&tree, "out.ko");
        let twins = written[".klp.rela.vmlinux..text"].iter();
        assert_eq!(twins.filter(|(_, _, value)| value.contains(".twin,2 ")).count(), 2);
    }
}
