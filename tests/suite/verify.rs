// SPDX-License-Identifier: GPL-2.0-only
//! What `klpbuild verify` finds in livepatches that are broken on purpose, and what it cannot check.

use klpbuild::elf::image::{
    Home, Image, SHF_ALLOC, SHF_RELA_LIVEPATCH, Section, SectionIndex, SymbolIndex, TableIndex as _,
};
use klpbuild::livepatch::rules::Rule;

use crate::objtree::{Code, ObjTree, X86_64};

const OWN: &[u8] = b".klp.rela.target_mod..text";
const VMLINUX: &[u8] = b".klp.rela.vmlinux..text";

/// A converted livepatch for vmlinux and a module.
pub fn livepatch() -> ObjTree {
    let code = Code {
        patched: "call_to unique",
        target: "call_to target_static\ncall_to unique",
        ..Code::default()
    };
    let tree = ObjTree::with_code(X86_64, &code);
    tree.convert(&["in.ko"]).ok();
    tree
}

/// The findings in a livepatch after `change`: level and rule of each.
#[track_caller]
pub fn findings(change: impl Fn(&mut Image)) -> Vec<String> {
    let tree = livepatch();
    let mut image = Image::read(&tree.path("in.ko")).unwrap();
    change(&mut image);
    tree.write("in.ko", image.to_bytes().unwrap());
    let ran = tree.klpbuild(&["verify", "in.ko", "--format", "json"]);
    let reports: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    let found = reports["livepatches"][0]["findings"].as_array().unwrap();
    assert!(found.iter().all(|finding| !finding["advice"].as_str().unwrap().is_empty()));
    // The rule stands in front.
    let says_it_again = |text: &serde_json::Value| text.as_str().unwrap().contains(" (R");
    assert!(!found.iter().any(|f| says_it_again(&f["message"]) || says_it_again(&f["advice"])), "{found:?}");
    let shown =
        |finding: &serde_json::Value| format!("{} {}", finding["level"], finding["rule"]).replace('"', "");
    let found: Vec<String> = found.iter().map(shown).collect();
    let code = if found.iter().any(|finding| finding.starts_with("error")) { 1 } else { 0 };
    assert_eq!(ran.code, Some(code), "{ran:?}");
    found
}

pub fn section(image: &Image, name: &[u8]) -> SectionIndex {
    image.section_named(name).unwrap().0
}

fn rename(image: &mut Image, part: &str, name: &str) {
    let mut symbols = image.symbols.iter_mut().filter(|symbol| symbol.home == Home::Livepatch);
    let symbol = symbols.find(|symbol| symbol.shown().contains(part)).unwrap();
    symbol.become_livepatch(name.as_bytes().to_vec());
}

/// R9
#[test]
fn per_cpu_variables_that_the_loader_does_not_copy() {
    let named = |name: &'static [u8]| {
        findings(move |image| {
            let data = section(image, b".data");
            image.sections.get_mut(data).unwrap().rename(name.to_vec());
        })
    };
    assert_eq!(named(b".data..percpu..read_mostly"), ["error R9"]);
    assert_eq!(named(b".data..percpu"), Vec::<String>::new());
}

#[test]
fn what_is_correct_has_no_findings() {
    assert_eq!(findings(|_| {}), Vec::<String>::new());
    let tree = livepatch();
    let ran = tree.klpbuild(&["verify", "in.ko"]).ok();
    assert!(
        ran.stdout.starts_with("klpbuild: in.ko: correct (3 livepatch relocations; 2 functions"),
        "{ran:?}"
    );
}

#[test]
fn each_rule_is_named() {
    let flags = |image: &mut Image| {
        let index = section(image, OWN);
        image.sections.get_mut(index).unwrap().set_flags(SHF_ALLOC);
    };
    assert_eq!(findings(flags), ["error R1"]);
    let object = |image: &mut Image| {
        let index = section(image, OWN);
        image.sections.get_mut(index).unwrap().rename(b".klp.rela.elsewhere..text".to_vec());
    };
    assert!(findings(object).contains(&"error R11".to_owned()));
    let long = |image: &mut Image| {
        let index = section(image, OWN);
        image
            .sections
            .get_mut(index)
            .unwrap()
            .rename(format!(".klp.rela.{}..text", "m".repeat(56)).into_bytes());
    };
    assert!(findings(long).contains(&"error R2".to_owned()));
    let position = |image: &mut Image| rename(image, "target_static", ".klp.sym.target_mod.target_static,2");
    assert_eq!(findings(position), ["error S1"]);
    let name = |image: &mut Image| rename(image, "target_static", ".klp.sym.target_mod.target_static");
    assert!(findings(name).contains(&"error R3".to_owned()));
    let owner = |image: &mut Image| rename(image, "target_static", ".klp.sym.vmlinux.unique,0");
    assert!(findings(owner).contains(&"error R2".to_owned()));
    let mark = |image: &mut Image| {
        let index = section(image, b".modinfo");
        let data = &mut image.sections.get_mut(index).unwrap().data;
        let at = data.windows(11).position(|window| window == b"livepatch=Y").unwrap();
        data[at + 10] = b'N';
    };
    assert_eq!(findings(mark), ["error R6"]);
}

#[test]
fn an_ordinary_module_is_told_to_be_no_livepatch() {
    let tree = livepatch();
    let said = |file: &str| tree.klpbuild(&["verify", file]).ends(1).stdout;
    let ordinary = said("drivers/target/target-mod.ko");
    assert!(
        ordinary.contains("error R6: .modinfo: it has no livepatch=Y: for the kernel it is no livepatch; "),
        "{ordinary}"
    );
    let text = String::from_utf8_lossy(&tree.bytes("in.ko")).into_owned();
    assert!(text.contains("livepatch=Y"));
    let bytes = tree.bytes("in.ko");
    let place = bytes.windows(11).position(|part| part == b"livepatch=Y").unwrap();
    let unmarked = [&bytes[..place], b"livepatch=N".as_slice(), &bytes[place + 11..]].concat();
    tree.write("in.ko", unmarked);
    let unmarked = said("in.ko");
    assert!(unmarked.contains("so that the kernel ignores its livepatch relocations; "), "{unmarked}");
}

/// R2: code for the one is written when the other is loaded.
#[test]
fn relocations_in_the_wrong_section() {
    let swapped = |image: &mut Image| {
        let (own, vmlinux) = (section(image, OWN), section(image, VMLINUX));
        let relocation = image.sections.get_mut(own).unwrap().relocations.pop().unwrap();
        image.sections.get_mut(vmlinux).unwrap().relocations.push(relocation);
    };
    assert_eq!(findings(swapped), ["warning R10"]);
    let wrong = |image: &mut Image| {
        let (own, vmlinux) = (section(image, OWN), section(image, VMLINUX));
        let relocation = image.sections.get_mut(vmlinux).unwrap().relocations.remove(0);
        image.sections.get_mut(own).unwrap().relocations.push(relocation);
    };
    assert!(findings(wrong).contains(&"error R2".to_owned()));
}

/// R7: one place, two relocations.
#[test]
fn relocations_that_are_there_twice() {
    let twice = |image: &mut Image, symbol: Option<SymbolIndex>| {
        let own = section(image, OWN);
        let mut relocation = image.sections.get(own).unwrap().relocations[0];
        if let Some(symbol) = symbol {
            relocation.symbol = symbol;
        }
        let target = image.sections.get(own).unwrap().target();
        let is_plain =
            |other: &Section| other.is_rela() && !other.is_livepatch_rela() && other.target() == target;
        let plain = image.enumerate().find(|(_, other)| is_plain(other)).map(|(index, _)| index);
        match plain {
            Some(index) => image.sections.get_mut(index).unwrap().relocations.push(relocation),
            None => image.add_relocations(b".rela.text".to_vec(), 0, target, vec![relocation]),
        }
    };
    assert!(findings(|image| twice(image, None)).iter().all(|finding| finding == "error R7"));
    assert_eq!(findings(|image| twice(image, Some(SymbolIndex::new(1)))), ["error R7"]);
}

/// R9: per-CPU data is copied before livepatch relocations are applied.
#[test]
fn targets_that_are_never_written() {
    let tree = livepatch();
    let rest = ".section .data..percpu, \"aw\"\n.quad 0";
    tree.livepatch(&Code { patched: "call_to unique", rest, ..Code::default() });
    tree.convert(&["in.ko"]).ok();
    let mut image = Image::read(&tree.path("in.ko")).unwrap();
    let (vmlinux, target) = (section(&image, VMLINUX), section(&image, b".data..percpu"));
    let relocation =
        klpbuild::elf::image::Relocation { offset: 0, ..image.sections.get(vmlinux).unwrap().relocations[0] };
    let name = b".klp.rela.vmlinux..data..percpu".to_vec();
    image.add_relocations(name, SHF_ALLOC | SHF_RELA_LIVEPATCH, target, vec![relocation]);
    tree.write("in.ko", image.to_bytes().unwrap());
    let ran = tree.klpbuild(&["verify", "in.ko"]).ends(1);
    assert!(ran.stdout.contains("error R9: .klp.rela.vmlinux..data..percpu: "), "{ran:?}");
}

/// Exit status 2: nothing was found, and nothing can be said.
#[test]
fn what_cannot_be_checked_is_not_correct() {
    let tree = livepatch();
    std::fs::rename(tree.path("Module.symvers"), tree.path("away")).unwrap();
    let ran = tree.klpbuild(&["verify", "in.ko"]).ends(2);
    assert!(ran.stderr.contains("there is no Module.symvers in ") && ran.stdout.is_empty(), "{ran:?}");
    std::fs::rename(tree.path("away"), tree.path("Module.symvers")).unwrap();
    std::fs::rename(tree.path("vmlinux"), tree.path("away")).unwrap();
    let ran = tree.klpbuild(&["verify", "in.ko", "--symbols", "Symbols.list"]).ends(2);
    assert!(ran.stderr.contains("positions cannot be checked against a list alone"), "{ran:?}");
    std::fs::rename(tree.path("away"), tree.path("vmlinux")).unwrap();
    tree.write("cut.ko", &tree.bytes("in.ko")[..100]);
    let ran = tree.klpbuild(&["verify", "in.ko", "cut.ko"]).ends(2);
    assert!(ran.stdout.contains("in.ko: correct") && ran.stderr.contains("cannot read "), "{ran:?}");
}

/// O= and KDIR= name the kernel as for the commands that run make, from any directory.
#[test]
fn the_kernel_can_be_named_as_for_make() {
    let tree = livepatch();
    std::fs::create_dir(tree.path("sub")).unwrap();
    let in_sub = |arguments: &[&str]| tree.klpbuild(&[&["-C", "sub"], arguments].concat());
    in_sub(&["verify", "../in.ko"]).ends(2).says(&["neither a Symbols.list nor a vmlinux"]);
    for words in [["O=..", "../in.ko"], ["../in.ko", "KDIR=.."]] {
        let ran = in_sub(&[&["verify"][..], &words].concat()).ok();
        assert!(ran.stdout.starts_with("klpbuild: ../in.ko: correct"), "{}", ran.stdout);
        let ran = in_sub(&[&["convert"][..], &words].concat()).ok();
        assert_eq!(ran.stdout, "klpbuild: ../in.ko: nothing to convert\n");
    }
    tree.write("modules.livepatch", "in.ko\n");
    assert_eq!(in_sub(&["convert", "--livepatches", "--dry-run", "O=.."]).ok().stdout, "in.ko\n");
    in_sub(&["convert", "--livepatches", "O=..", "../in.ko"]).ends(1).says(&["name no file"]);
    // What the last build has listed needs no name.
    let listed = in_sub(&["verify", "O=.."]).ok().stdout;
    assert!(listed.starts_with("klpbuild: ../in.ko: correct"), "{listed}");
    std::fs::remove_file(tree.path("modules.livepatch")).unwrap();
    for command in ["verify", "convert", "try"] {
        let code = if command == "try" { 2 } else { 1 };
        in_sub(&[command, "O=.."]).ends(code).says(&["named", &format!(" klpbuild {command} O=DIR ")]);
    }
    in_sub(&["try", "O=..", "../in.ko"]).ends(2).says(&["target-mod.ko has no .modinfo"]);
    in_sub(&["new", "lp", "O=..", "--function", "nowhere"]).ends(1).says(&["missing symbol: nowhere"]);
}

/// Several files are looked up together, and told one by one.
#[test]
fn several_files_get_a_report_each() {
    let tree = livepatch();
    tree.write("second.ko", tree.bytes("in.ko"));
    tree.livepatch(&Code { patched: "call_to unique", ..Code::default() });
    let ran = tree.klpbuild(&["verify", "in.ko", "nowhere.ko", "second.ko"]).ends(2).says(&["nowhere.ko"]);
    let reports: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("klpbuild: ")).collect();
    assert_eq!(reports.len(), 2, "{}", ran.stdout);
    assert!(reports[0].starts_with("klpbuild: in.ko: 1 error"), "{reports:?}");
    assert!(reports[1].starts_with("klpbuild: second.ko: correct"), "{reports:?}");
    assert!(ran.stdout.contains("in.ko: error R7: "), "{}", ran.stdout);
}

/// What the rules are that findings cite: told without any kernel.
#[test]
fn rules_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_klpbuild"))
            .args(["verify", "--explain"])
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, list, _) = run(&[]);
    assert_eq!((code, list.lines().count()), (Some(0), Rule::ALL.len()));
    assert!(
        list.starts_with("R1   relocation sections\n") && list.contains("\nS11  sealed functions\n"),
        "{list}"
    );
    let (code, text, _) = run(&["r7"]);
    assert_eq!(code, Some(0));
    assert!(
        text.starts_with("R7: one place for a relocation\n\nA relocation that became one of a livepatch"),
        "{text}"
    );
    assert!(text.ends_with("\n\nKernel: kernel/module/main.c, apply_relocations\n"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    let (code, _, error) = run(&["R16"]);
    assert_eq!(code, Some(1));
    let expected =
        "klpbuild: error: there is no rule R16: they are R1 to R15 and S1 to S11 (klpbuild verify --explain)";
    assert_eq!(error.trim_end(), expected);
}

/// The document has each rule by its title, and no other.
#[test]
fn the_document_has_the_rules() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/livepatch-format.md");
    let document = std::fs::read_to_string(path).unwrap();
    let told: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("- **")).collect();
    let told: Vec<&str> = told.iter().filter_map(|line| Some(line.split_once(".** ")?.0)).collect();
    let mut rules: Vec<String> = Rule::ALL.iter().map(|rule| format!("{rule} {}", rule.title())).collect();
    let mut sorted: Vec<String> = told.into_iter().map(str::to_owned).collect();
    rules.sort();
    sorted.sort();
    assert_eq!(sorted, rules);
}
