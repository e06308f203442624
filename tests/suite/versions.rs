// SPDX-License-Identifier: GPL-2.0-only
//! What CONFIG_MODVERSIONS leaves in livepatches, and what depmod makes of it.

use std::fs;

use klpbuild::elf::image::Image;

use crate::objtree::{self, Code, ObjTree, X86_64, target};
use crate::verify::{livepatch, section};

/// The versions of what a livepatch refers to, as modpost writes them: in each form.
fn versions(long: &str, names: &[&str]) -> String {
    let room = if long == ".8byte" { 56 } else { 60 };
    let mut text = ".section __versions, \"a\"\n.type ____versions, %object\n____versions:\n".to_owned();
    for (number, name) in names.iter().enumerate() {
        let rest = room - name.len();
        text.push_str(&format!("{long} {number}\n.ascii \"{name}\"\n.skip {rest}\n"));
    }
    text.push_str(".size ____versions, . - ____versions\n.section __version_ext_crcs, \"a\"\n");
    names.iter().enumerate().for_each(|(number, _)| text.push_str(&format!(".4byte {number}\n")));
    text.push_str(".section __version_ext_names, \"a\"\n");
    names.iter().for_each(|name| text.push_str(&format!(".asciz \"{name}\"\n")));
    text + ".byte 0\n"
}

/// R10: with CONFIG_MODVERSIONS, depmod makes a dependency of each name that has a version.
#[test]
fn converted_symbols_leave_no_versions() {
    for (target, long) in [(target("x86-64"), ".8byte"), (target("ppc"), ".4byte")] {
        let Some(target) = target else { continue };
        let before = ["module_layout", "exported", "unique", "target_static", "local", "its_own"];
        let rest = versions(long, &before);
        let code = Code {
            patched: "call_to exported\ncall_to unique\ncall_to local.7",
            target: "call_to target_static",
            rest: &rest,
            ..Code::default()
        };
        let tree = ObjTree::with_code(target, &code);
        tree.add_to_vmlinux("function local.7\nendfunc local.7");
        tree.convert(&["in.ko"]).ok();
        let image = Image::read(&tree.path("in.ko")).unwrap();
        let bytes = |name: &[u8]| image.sections.get(section(&image, name)).unwrap().data.clone();
        let kept = ["module_layout", "exported", "its_own"];
        tree.assemble_text(&versions(long, &kept), "expected");
        let expected = Image::read(&tree.path("expected.o")).unwrap();
        assert_eq!(bytes(b"__version_ext_names"), b"module_layout\0exported\0its_own\0\0", "{}", target.name);
        let entries = |data: &[u8], size: usize| data.chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let numbers: Vec<u64> =
            entries(&bytes(b"__version_ext_crcs"), 4).iter().map(|crc| image.number(crc)).collect();
        assert_eq!(numbers, [0, 1, 5], "{}", target.name);
        let (found, wanted) =
            (entries(&bytes(b"__versions"), 64), expected.section_named(b"__versions").unwrap());
        let wanted = entries(&wanted.1.data, 64);
        let size = image.address_size();
        assert!(
            found.iter().zip(&wanted).all(|(one, other)| one[size..] == other[size..]),
            "{}",
            target.name
        );
        assert_eq!(found.len(), 3);
        let symbol = image.symbols.iter().find(|symbol| symbol.name == b"____versions").unwrap();
        assert_eq!(symbol.size(), 3 * 64);
        let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
        assert!(!ran.stdout.contains("version"), "{ran:?}");
    }
}

/// modpost cut the name, and found what a module exports by it: the livepatch depends on that module for nothing.
#[test]
fn what_modpost_mistook_a_symbol_for_is_no_dependency() {
    let depends = |code: &str| {
        let rest = ".section .modinfo, \"a\"\n.asciz \"depends=provider,target-mod\"";
        let tree = ObjTree::with_code(X86_64, &Code { patched: code, rest, ..Code::default() });
        tree.add_to_vmlinux("function target_export.7\nendfunc target_export.7");
        tree.convert(&["in.ko", "--keep-module-exports"]).ok();
        let image = Image::read(&tree.path("in.ko")).unwrap();
        String::from_utf8_lossy(image.modinfo().value("depends").unwrap()).into_owned()
    };
    assert_eq!(depends("call_to target_export.7"), "provider");
    assert_eq!(depends("call_to target_export.7\ncall_to target_export"), "provider,target-mod");
}

#[test]
fn versions_that_are_left_are_found() {
    let tree = livepatch();
    let rest = versions(".8byte", &["module_layout", "exported"]);
    tree.livepatch(&Code { patched: "call_to exported\ncall_to unique", rest: &rest, ..Code::default() });
    tree.convert(&["in.ko"]).ok();
    tree.klpbuild(&["verify", "in.ko"]).ok();
    let mut image = Image::read(&tree.path("in.ko")).unwrap();
    let index = section(&image, b"__versions");
    let mut entry = [0; 64];
    entry[8..14].copy_from_slice(b"unique");
    image.sections.get_mut(index).unwrap().data.extend_from_slice(&entry);
    tree.write("in.ko", image.to_bytes().unwrap());
    let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
    let words =
        "warning R10: __versions: unique has a version and is resolved as a livepatch symbol: depmod sees";
    assert!(ran.stdout.contains(words), "{ran:?}");
}

/// What modprobe would load for a module, by file name, after depmod; none if kmod is not installed. depmod's warnings
/// come with it.
fn dependencies(tree: &ObjTree, module: &str) -> Option<(Vec<String>, String)> {
    let [depmod, modprobe] = ["depmod", "modprobe"].map(|name| format!("/sbin/{name}"));
    if !std::path::Path::new(&depmod).is_file() {
        objtree::say_skipped(&format!("modules' dependencies: there is no {depmod} (tests/packages test)"));
        return None;
    }
    let root = tree.path("root");
    let modules = root.join("lib/modules/9.0");
    fs::create_dir_all(&modules).unwrap();
    for (from, to) in [("lib/provider.ko", "provider.ko"), ("in.ko", "in.ko")] {
        fs::copy(tree.path(from), modules.join(to)).unwrap();
    }
    let root = root.to_str().unwrap();
    tree.write("root/map", "ffffffff81000000 T klp_enable_patch\nffffffff81000000 T __ksymtab_exported\n");
    let ran = tree.ran(&depmod, &["-b", root, "-e", "-F", "root/map", "9.0"]).ok();
    let listed = tree.run(&modprobe, &["-d", root, "-S", "9.0", "--show-depends", module]);
    let files = listed.lines().map(|line| line.rsplit('/').next().unwrap().trim().to_owned());
    Some((files.collect(), ran.stderr))
}

/// The livepatch does not pull in the module whose exports it reaches by itself, and depmod finds nothing that it lacks.
#[test]
fn depmod_makes_no_dependency_of_what_is_converted() {
    let tree = livepatch();
    // As depmod finds exports.
    tree.assemble_text(".section __ksymtab_strings, \"a\"\n.asciz \"provider_export\"", "strings");
    tree.link(&["provider.o", "strings.o"], "lib/provider.ko");
    let rest = versions(".8byte", &["module_layout", "exported", "provider_export", "unique"]);
    let code = Code {
        patched: "call_to exported\ncall_to unique",
        target: "call_to provider_export",
        rest: &rest,
        ..Code::default()
    };
    tree.livepatch(&code);
    let Some((before, warnings)) = dependencies(&tree, "in") else { return };
    assert_eq!(before, ["provider.ko", "in.ko"]);
    assert!(warnings.contains("needs unknown symbol unique"), "{warnings}");
    tree.convert(&["in.ko"]).ok();
    let (after, warnings) = dependencies(&tree, "in").unwrap();
    assert_eq!(after, ["in.ko"]);
    assert!(!warnings.contains("unique") && !warnings.contains("provider_export"), "{warnings}");
}
