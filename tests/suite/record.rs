// SPDX-License-Identifier: GPL-2.0-only
//! What a conversion writes down of the kernel it was made for, and what `klpbuild verify` makes of it.

use klpbuild::elf::image::Image;

use crate::objtree::{Code, ObjTree};
use crate::verify::{findings, livepatch, section};

/// The lines that say what a livepatch was converted for.
fn record(tree: &ObjTree, file: &str) -> Vec<String> {
    let image = Image::read(&tree.path(file)).unwrap();
    let lines = image.modinfo().entries().filter_map(|entry| entry.strip_prefix(b"klpbuild_for="));
    lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// Links the module that the livepatch patches, of parts in this order.
fn link_target(tree: &ObjTree, options: &[&str], parts: [&str; 2]) {
    let output = ["-r", "-o", "drivers/target/target-mod.ko"];
    tree.tool("ld", &[&output[..], options, &parts].concat());
}

const PARTS: [&str; 2] = ["target-a.o", "target-b.o"];
const SWAPPED: [&str; 2] = ["target-b.o", "target-a.o"];

/// S4: a module that was built again, with its symbols at other positions, is told by its symbols.
#[test]
fn a_livepatch_says_which_builds_it_is_for() {
    let tree = livepatch();
    let lines = record(&tree, "in.ko");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, object) in lines.iter().zip(["target_mod", "vmlinux"]) {
        assert!(line.starts_with(&format!("{object} symbols:")) && line.len() > 64, "{lines:?}");
    }
    // Signed, it says so as before.
    let signed = [tree.bytes("in.ko"), b"junk~Module signature appended~\n".to_vec()].concat();
    tree.write("signed.ko", signed);
    tree.klpbuild(&["convert", "in.ko"]).ok();
    assert_eq!(record(&tree, "in.ko"), lines);
    link_target(&tree, &[], PARTS);
    for file in ["in.ko", "signed.ko"] {
        let ran = tree.klpbuild(&["verify", file]).ok();
        assert!(
            ran.stdout.starts_with(&format!("klpbuild: {file}: correct (")),
            "built again as it was: {ran:?}"
        );
    }
    link_target(&tree, &[], SWAPPED);
    for file in ["in.ko", "signed.ko"] {
        let ran = tree.klpbuild(&["verify", file]).ends(1);
        let words = "error S4: .modinfo: it was converted for another build of target_mod: for symbols:";
        assert!(ran.stdout.contains(words) && !ran.stdout.contains("build of vmlinux"), "{ran:?}");
    }
    link_target(&tree, &[], PARTS);
    tree.add_to_vmlinux("function added\nendfunc added");
    let ran = tree.klpbuild(&["verify", "in.ko"]).ends(1);
    assert!(ran.stdout.contains("converted for another build of vmlinux: for symbols:"), "{ran:?}");
}

/// Build IDs tell it where there are any.
#[test]
fn build_ids_are_compared() {
    let tree = livepatch();
    link_target(&tree, &["--build-id=0xabcdef"], PARTS);
    tree.livepatch(&Code { target: "call_to target_static", ..Code::default() });
    tree.convert(&["in.ko"]).ok();
    assert_eq!(record(&tree, "in.ko")[0], "target_mod build-id:abcdef");
    tree.klpbuild(&["verify", "in.ko"]).ok();
    link_target(&tree, &["--build-id=0x123456"], PARTS);
    let ran = tree.klpbuild(&["verify", "in.ko"]).ends(1);
    let words =
        "another build of target_mod: for build-id:abcdef, and this is build-id:123456; convert it anew";
    assert!(ran.stdout.contains(words), "{ran:?}");
    // Nothing to compare: it is not known to be another one.
    link_target(&tree, &[], PARTS);
    let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
    let words = "note S4: .modinfo: it was converted for target_mod with build-id:abcdef: nothing tells";
    assert!(ran.stdout.contains(words) && ran.stdout.contains("in.ko: correct ("), "{ran:?}");
    // A module that is not there is not another one.
    std::fs::remove_file(tree.path("drivers/target/target-mod.ko")).unwrap();
    let ran = tree.klpbuild(&["verify", "in.ko"]);
    assert!(!ran.stdout.contains("target_mod build-id"), "{ran:?}");
}

/// A livepatch of other tools, or of an older klpbuild, says nothing.
#[test]
fn no_record_is_no_error() {
    let erase = |image: &mut Image| {
        let index = section(image, b".modinfo");
        let data = &mut image.sections.get_mut(index).unwrap().data;
        while let Some(at) = data.windows(13).position(|window| window == b"klpbuild_for=") {
            data[at] = b'x';
        }
    };
    assert_eq!(findings(erase), ["note S4"]);
}

/// What has no symbol to convert has positions all the same, in its klp_func.
#[test]
fn a_livepatch_without_symbols_has_a_record() {
    let tree = livepatch();
    tree.livepatch(&Code::default());
    let ran = tree.convert(&["in.ko"]).ok();
    assert_eq!(ran.stdout, "klpbuild: in.ko: 0 livepatch relocations\n");
    assert_eq!(record(&tree, "in.ko").len(), 2);
    let ran = tree.convert(&["in.ko"]).ok();
    assert_eq!(ran.stdout, "klpbuild: in.ko: nothing to convert\n");
    tree.klpbuild(&["verify", "in.ko"]).ok();
    link_target(&tree, &[], SWAPPED);
    tree.klpbuild(&["verify", "in.ko"]).ends(1);
}

/// S4: another configuration makes another struct module, which the kernel's module loader reads.
#[test]
fn the_size_of_struct_module_is_compared() {
    let tree = livepatch();
    for (size, code) in [(64, 0), (128, 1)] {
        tree.assemble_text(&format!(".section .gnu.linkonce.this_module, \"aw\"\n.skip {size}"), "this");
        link_target(&tree, &["this.o"], PARTS);
        tree.livepatch(&Code { patched: "call_to unique", ..Code::default() });
        tree.convert(&["in.ko"]).ok();
        let ran = tree.klpbuild(&["verify", "in.ko"]).ends(code);
        let words = "error S4: .gnu.linkonce.this_module: it was compiled for a kernel whose struct module has 64 \
                     bytes, and this one's has 128; ";
        assert_eq!(ran.stdout.contains(words), code == 1, "{ran:?}");
    }
}
