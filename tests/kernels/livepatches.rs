// SPDX-License-Identifier: GPL-2.0-only
//! Livepatches of ours on a real kernel: converted, verified, booted, and broken on purpose.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use klpbuild::elf::image::{Home, Image, SHF_ALLOC};

use crate::kernel::{ALWAYS, Kernel, ran};
use crate::step;

/// Builds all of them.
const BUILD: [&str; 2] = ["bzImage", "KLPBUILD_LIVEPATCHES=m"];
const SAMPLES: &str = "samples/klpbuild";
const LIVEPATCHES: [&str; 10] = [
    "lp-vmlinux",
    "lp-first",
    "lp-second",
    "lp-target",
    "lp-edges",
    "lp-homonyms",
    "lp-sections",
    "lp-renamed",
    "lp-data",
    "lp-keys",
];

pub(crate) fn check(kernel: &Kernel) {
    step("livepatches are converted");
    let built = kernel.klpbuild(&BUILD).ok();
    for name in LIVEPATCHES {
        let line = format!("\n  KLP [M] {SAMPLES}/{name}.ko\n");
        assert!(built.stdout.contains(&line), "{}", built.stdout);
    }
    assert!(
        built.stderr.contains("lp-target.ko: klpbuild_other has to be loaded before klpbuild_target"),
        "{}",
        built.stderr
    );
    assert!(kernel.read("ours/modules.livepatch").contains("samples/klpbuild/lp-second.ko\n"));
    relocations(kernel);

    step("a converted livepatch is not built again, unless what it was resolved with changes");
    let stamps = kernel.stamps();
    let again = kernel.klpbuild(&BUILD).ok();
    assert!(again.tags().iter().all(|tag| ALWAYS.contains(&tag.as_str())), "{:?}", again.tags());
    assert_eq!(kernel.stamps(), stamps);
    let other = kernel.root.join("src").join(SAMPLES).join("klpbuild-other.c");
    let text = fs::read_to_string(&other).unwrap();
    fs::write(&other, text + "/* changed */\n").unwrap();
    let changed = kernel.klpbuild(&BUILD).ok();
    for line in ["  LD [M]  samples/klpbuild/lp-target.ko\n", "  KLP [M] samples/klpbuild/lp-target.ko\n"] {
        assert!(changed.stdout.contains(line), "{line}: {}", changed.stdout);
    }

    step("an ambiguous symbol is explained");
    let ambiguous = kernel.klpbuild(&["KLPBUILD_LIVEPATCHES=m", "KLPBUILD_AMBIGUOUS=m"]).ends(1);
    for words in [
        "klpbuild-ambiguous.ko: Define KLP_SYMPOS for the symbol: klpbuild_twin: it is ambiguous, defined 2 times",
        "vmlinux  twin-two.c   FUNC    LOCAL ",
        "vmlinux  twin-one.c   OBJECT  LOCAL ",
        "static KLP_MODULE_RELOC(vmlinux) klpbuild_twin_reloc[] = { KLP_SYMPOS(klpbuild_twin, 2) };",
        "used in .init.text+0x",
    ] {
        assert!(ambiguous.stderr.contains(words), "{words}: {}", ambiguous.stderr);
    }
    kernel.klpbuild(&BUILD).ok();

    step("the kernel's own order of symbols is the one that counts");
    positions(kernel);

    step("what is converted is correct, and what is broken on purpose is not");
    for name in LIVEPATCHES {
        let verified = kernel.tool(&["verify", &format!("{SAMPLES}/{name}.ko")]).ok();
        assert!(verified.stdout.contains(&format!("{name}.ko: correct")), "{}", verified.stdout);
    }
    broken(kernel);

    step("livepatches at work in a virtual machine");
    values(kernel);

    step("what programs are told of a trial is read by the kernel's own parser of tests");
    parsed(kernel);

    step("each livepatch through its whole life");
    boot(kernel);
}

/// `try --format ktap`, read by tools/testing/kunit/kunit.py: a trial that works, with a stage that is left out, and one that
/// fails. Trees whose parser is not of KTAP (before 5.18) are left out.
fn parsed(kernel: &Kernel) {
    let parser = kernel.root.join("src/tools/testing/kunit/kunit_parser.py");
    if !fs::read_to_string(parser).is_ok_and(|text| text.contains("KTAP version")) {
        return;
    }
    let module = |name: &str| format!("{SAMPLES}/{name}.ko");
    let count = |text: &str, prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
    for (livepatch, more, code) in [
        ("lp-vmlinux", &["--run", "echo 'ok 1 not a test'"][..], 0),
        // Without the module that it uses, it cannot be applied.
        ("lp-target", &["--load-after", "samples/klpbuild/klpbuild-target.ko"], 1),
    ] {
        let file = module(livepatch);
        let words = [&["try", &file, "--format", "ktap"][..], more].concat();
        let told = kernel.tool(&words).ends(code).stdout;
        let told_in = kernel.root.join("trial.ktap");
        fs::write(&told_in, &told).unwrap();
        let mut kunit = Command::new("python3");
        kunit.arg("tools/testing/kunit/kunit.py").arg("parse").arg(told_in);
        let read = ran(kunit.current_dir(kernel.root.join("src")).output().unwrap()).ends(code).stdout;
        let (failed, passed) = (count(&told, "  not ok "), count(&told, "  ok "));
        assert!(passed > 1 && (failed > 0) == (code > 0), "{told}");
        let skipped =
            told.lines().filter(|line| line.starts_with("  ok ") && line.contains(" # SKIP")).count();
        let last = read.lines().last().unwrap_or_default();
        let words = format!("Testing complete. Ran {} tests: passed: {}", passed + failed, passed - skipped);
        assert!(last.contains(&words), "{words}: {read}\n{told}");
        assert!(!read.contains("[ERROR]") && !read.contains("errors:"), "{read}\n{told}");
        let title = format!("klpbuild try {livepatch}");
        assert!(read.contains(&title), "{title}: {read}");
    }
}

/// Livepatches that show in a parameter what they find in klpbuild_conv and vmlinux.
const SHOWN: [(&str, &str); 5] = [
    ("lp-homonyms", "ro, klpbuild_conv, klpbuild_conv, homonym a, homonym b"),
    ("lp-sections", "ro, klpbuild_conv, homonym b, klpbuild_conv, homonym b"),
    ("lp-renamed", "renamed a, renamed b"),
    ("lp-data", "1, 2, 3, 4, 15, 7, 8, pointer, 9"),
    ("lp-keys", "1, 0, 1"),
];

/// Automatic and annotated symbols, several sections, renamed symbols, all kinds of data, and static keys: with the
/// module there before the livepatches, after them, and once more.
fn values(kernel: &Kernel) {
    let module = |name: &str| format!("{SAMPLES}/{name}.ko");
    let livepatches: Vec<String> = SHOWN.iter().map(|(name, _)| module(name)).collect();
    let livepatches: Vec<&str> = livepatches.iter().map(String::as_str).collect();
    let clears = kernel.read("ours/Symbols.list").contains("\nclear_relocate_add\n");
    let command = "grep . /sys/module/lp_*/parameters/values 2>/dev/null; true";
    for order in ["--load", "--load-after"] {
        let more = [order, &module("klpbuild-conv"), "--run", command];
        let text = kernel.tool(&[&["try"], &livepatches[..], &more].concat()).ok().stdout;
        assert!(text.contains("lp-keys.ko load, apply, revert and unload"), "{text}");
        for (name, expected) in SHOWN {
            let line = format!("/sys/module/{}/parameters/values:{expected}\n", name.replace('-', "_"));
            assert!(lines_of(&text, "command while enabled").contains(&line), "{line}: {text}");
            assert_eq!(lines_of(&text, "command after the reload").contains(&line), clears, "{line}: {text}");
        }
    }
}

/// What readelf says of the converted livepatches.
fn relocations(kernel: &Kernel) {
    let readelf = |name: &str, arguments: &str| {
        let module = kernel.root.join("ours").join(SAMPLES).join(name);
        let mut command = Command::new("readelf");
        ran(command.arg(arguments).arg(module).env("LC_ALL", "C").output().unwrap()).ok().stdout
    };
    let target = readelf("lp-target.ko", "-rW");
    let part = |title: &str| {
        let text = target.split(title).nth(1).unwrap_or_else(|| panic!("{title}: {target}"));
        text.split("\n\n").next().unwrap().to_owned()
    };
    let own = part("'.klp.rela.klpbuild_target..text'");
    for symbol in [
        ".klp.sym.klpbuild_target.target_secret,0 - 4",
        ".klp.sym.klpbuild_other.other_secret,0 - 4",
        ".klp.sym.klpbuild_other.klpbuild_other_exported,0 - 4",
    ] {
        assert!(own.contains(symbol), "{own}");
    }
    let vmlinux = part("'.klp.rela.vmlinux..text'");
    assert_eq!(vmlinux.matches(".klp.sym.vmlinux.nr_processes,0 - 4").count(), 2, "{vmlinux}");
    assert_eq!(vmlinux.matches(".klp.sym.vmlinux.saved_command_line,0 - 4").count(), 1, "{vmlinux}");
    let sections = readelf("lp-vmlinux.ko", "-SW");
    for section in [".text", ".data", "__jump_table"] {
        let name = format!(".klp.rela.vmlinux.{section} ");
        let line = sections
            .lines()
            .find(|line| line.contains(&name))
            .unwrap_or_else(|| panic!("{name}: {sections}"));
        assert!(line.contains(" 18  Ao "), "{line}");
    }
    assert!(!sections.contains(".klp.module_relocs"), "{sections}");
    let symbols = readelf("lp-vmlinux.ko", "-sW");
    for symbol in [".klp.sym.vmlinux.klpbuild_twin,1", ".klp.sym.vmlinux.klpbuild_twin,2"] {
        let line = symbols
            .lines()
            .find(|line| line.ends_with(symbol))
            .unwrap_or_else(|| panic!("{symbol}: {symbols}"));
        assert!(line.contains("GLOBAL DEFAULT OS [0xff20]"), "{line}");
    }
    edges(&readelf("lp-edges.ko", "-rW"), &readelf("lp-edges.ko", "-sW"));
    let info = fs::read(kernel.root.join("ours").join(SAMPLES).join("lp-target.ko")).unwrap();
    assert!(info.windows(9).any(|window| window == b"depends=\0"), "the livepatch pins no module");
    let info = fs::read(kernel.root.join("ours").join(SAMPLES).join("lp-second.ko")).unwrap();
    assert!(info.windows(12).any(|window| window == b"livepatch=Y\0"), "a makefile's mark is written down");
}

/// Where a function ends in a jump to the return thunk, and the next one begins at once, the two have nothing to do
/// with each other.
fn edges(relocations: &str, symbols: &str) {
    let of = |name: &str| {
        let line = symbols.lines().find(|line| line.ends_with(&format!(" {name}")));
        let words: Vec<&str> =
            line.unwrap_or_else(|| panic!("{name}: {symbols}")).split_whitespace().collect();
        (u64::from_str_radix(words[1], 16).unwrap(), words[2].parse::<u64>().unwrap())
    };
    let meets = |n: usize| {
        let (start, size) = of(&format!("vmlinux_{n}"));
        start + size == of(&format!("target_{n}")).0
    };
    assert!((0..16).any(meets), "the kernel is built with padding: {symbols}");
    let own = relocations.split("'.klp.rela.klpbuild_target..text'").nth(1).unwrap();
    assert_eq!(own.matches(".klp.sym.klpbuild_target.target_secret,0 - 4").count(), 16, "{relocations}");
    // What headers refer to (show_free_areas() of include/linux/mm.h in 6.1) may lie in another one.
    assert_eq!(relocations.matches("target_secret").count(), 16, "{relocations}");
}

/// `lookup` against System.map, for every name that vmlinux has more than once.
fn positions(kernel: &Kernel) {
    let map = kernel.read("ours/System.map");
    let mut by_name: std::collections::BTreeMap<&str, Vec<u64>> = Default::default();
    for line in map.lines() {
        let mut words = line.split(' ');
        let address = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
        by_name.entry(words.nth(1).unwrap()).or_default().push(address);
    }
    by_name.retain(|_, addresses| addresses.len() > 1);
    assert!(by_name.len() > 20 && by_name.contains_key("klpbuild_twin"));
    let names: Vec<&str> = by_name.keys().copied().collect();
    let found = kernel.tool(&[&["lookup", "--format", "json"][..], &names].concat()).ok().stdout;
    let rows = definitions(&found);
    for (name, mut addresses) in by_name {
        addresses.sort_unstable();
        let rows = rows.iter().filter(|row| row["name"] == name && row["object"] == "vmlinux");
        let positions: Vec<(u64, u64)> =
            rows.filter_map(|row| Some((row["position"].as_u64()?, address(row)))).collect();
        let expected: Vec<(u64, u64)> = (1..).zip(addresses).collect();
        assert_eq!(positions, expected, "{name}");
    }
    // All of the memory that is freed counts as __init, also what lies beside it.
    let ends = ["__init_begin", "__init_end"].map(|name| address_of(&map, name));
    let freed: Vec<&str> = map
        .lines()
        .filter(|line| line.split(' ').nth(1) == Some("t") && line.contains("exit"))
        .filter(|line| (ends[0]..ends[1]).contains(&u64::from_str_radix(&line[..16], 16).unwrap()))
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert!(!freed.is_empty());
    let found = kernel.tool(&[&["lookup", "--format", "json"][..], &freed].concat()).ok().stdout;
    for row in definitions(&found).iter().filter(|row| row["object"] == "vmlinux") {
        assert_eq!(row["init"], (ends[0]..ends[1]).contains(&address(row)), "{row}");
    }
}

/// The definitions in lookup's document.
fn definitions(document: &str) -> Vec<serde_json::Value> {
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    document["definitions"].as_array().unwrap().clone()
}

/// The address of a definition.
fn address(row: &serde_json::Value) -> u64 {
    let text = row["address"].as_str().unwrap();
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

fn address_of(map: &str, name: &str) -> u64 {
    let line = map.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
    u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
}

/// Changes a converted livepatch, and sees that the right rule is named.
fn broken(kernel: &Kernel) {
    let target = |change: &dyn Fn(&mut Image)| breaks(kernel, "lp-target.ko", change);
    let vmlinux = |change: &dyn Fn(&mut Image)| breaks(kernel, "lp-vmlinux.ko", change);
    let section = |image: &mut Image, name: &str| image.section_named(name.as_bytes()).unwrap().0;
    const OWN: &str = ".klp.rela.klpbuild_target..text";
    target(&|image| rename_section(image, OWN, ".klp.rela.klpbuild_nowhere..text")).names("R11");
    target(&|image| rename_section(image, OWN, &format!(".klp.rela.{}..text", "x".repeat(56)))).names("R2");
    target(&|image| {
        let index = section(image, OWN);
        image.sections.get_mut(index).unwrap().set_flags(SHF_ALLOC);
    })
    .names("R1");
    target(&|image| rename_symbol(image, "target_secret", ".klp.sym.klpbuild_target.target_secret"))
        .names("R3");
    target(&|image| rename_symbol(image, "target_secret", ".klp.sym.klpbuild_target.target_secret,2"))
        .names("S1");
    target(&|image| rename_symbol(image, "other_secret", ".klp.sym.vmlinux.nr_processes,0")).names("R2");
    target(&|image| rename_symbol(image, "target_secret", ".klp.sym.klpbuild_target.target_init,0"))
        .names("R9");
    target(&|image| {
        let symbol = image.symbols.iter_mut().find(|symbol| symbol.home == Home::Livepatch).unwrap();
        symbol.home = Home::Undefined;
    })
    .names("R4");
    target(&|image| {
        let index = section(image, ".modinfo");
        let data = &mut image.sections.get_mut(index).unwrap().data;
        let at = data.windows(12).position(|window| window == b"livepatch=Y\0").unwrap();
        data[at..at + 11].copy_from_slice(b"livepatch=N");
    })
    .names("R6");
    target(&|image| {
        let (from, to) = (section(image, OWN), section(image, ".rela.text"));
        let relocation = image.sections.get(from).unwrap().relocations[0];
        image.sections.get_mut(to).unwrap().relocations.push(relocation);
    })
    .names("R7");
    target(&|image| {
        let (own, to) = (section(image, OWN), section(image, ".rela.text"));
        let mut relocation = image.sections.get(to).unwrap().relocations[0];
        relocation.offset = image.sections.get(own).unwrap().relocations[0].offset;
        image.sections.get_mut(to).unwrap().relocations.push(relocation);
    })
    .names("R7");
    target(&|image| {
        let (own, text) = (section(image, OWN), section(image, ".text"));
        let offset = usize::try_from(image.sections.get(own).unwrap().relocations[0].offset).unwrap();
        image.sections.get_mut(text).unwrap().data[offset] = 1;
    })
    .names("R8");
    target(&|image| {
        let from = section(image, OWN);
        let mut relocations = image.sections.get_mut(from).unwrap().relocations.split_off(1);
        // Where .init.text surely has bytes.
        relocations[0].offset = 0;
        let init = section(image, ".init.text");
        image.add_relocations(
            b".klp.rela.klpbuild_target..init.text".to_vec(),
            klpbuild::elf::image::SHF_RELA_LIVEPATCH | SHF_ALLOC,
            init,
            relocations[..1].to_vec(),
        );
    })
    .names("R9");
    vmlinux(&|image| rename_symbol(image, "klpbuild_twin,1", ".klp.sym.vmlinux.klpbuild_twin,0")).names("S1");
    vmlinux(&|image| rename_symbol(image, "klpbuild_twin,1", ".klp.sym.vmlinux.klpbuild_twin,3")).names("S1");
    vmlinux(&|image| replace(image, ".rodata.str1.1", b"cmdline_proc_show\0", b"cmdline_proc_shoe\0"))
        .names("S7");
    vmlinux(&|image| replace(image, ".rodata.str1.1", b"cmdline_proc_show\0", b"saved_command_lin\0"))
        .names("S7");
    vmlinux(&|image| replace(image, ".modinfo", b"vermagic=6.", b"vermagic=9.")).names("S4");
}

struct Verdict(String);

impl Verdict {
    #[track_caller]
    fn names(&self, rule: &str) {
        assert!(self.0.contains(&format!("error {rule}: ")), "{rule}: {}", self.0);
    }
}

fn breaks(kernel: &Kernel, name: &str, change: &dyn Fn(&mut Image)) -> Verdict {
    let path: PathBuf = kernel.root.join("ours").join(SAMPLES).join(name);
    let mut image = Image::read(&path).unwrap();
    change(&mut image);
    let broken = kernel.root.join("broken.ko");
    fs::write(&broken, image.to_bytes().unwrap()).unwrap();
    Verdict(kernel.tool(&["verify", broken.to_str().unwrap()]).ends(1).stdout)
}

fn rename_section(image: &mut Image, from: &str, to: &str) {
    let (index, _) = image.section_named(from.as_bytes()).unwrap();
    image.sections.get_mut(index).unwrap().rename(to.as_bytes().to_vec());
}

fn rename_symbol(image: &mut Image, part: &str, to: &str) {
    let symbol = image
        .symbols
        .iter_mut()
        .find(|symbol| symbol.home == Home::Livepatch && symbol.shown().contains(part))
        .unwrap();
    symbol.become_livepatch(to.as_bytes().to_vec());
}

fn replace(image: &mut Image, section: &str, from: &[u8], to: &[u8]) {
    let (index, _) = image.section_named(section.as_bytes()).unwrap();
    let data = &mut image.sections.get_mut(index).unwrap().data;
    let at = data.windows(from.len()).position(|window| window == from).unwrap();
    data[at..at + to.len()].copy_from_slice(to);
}

/// Each livepatch through its whole life, with what it is to print.
fn boot(kernel: &Kernel) {
    let module = |name: &str| format!("{SAMPLES}/{name}.ko");
    let attempt = |livepatch: &str, more: &[&str]| {
        let command = "cat /proc/cmdline; cat /proc/klpbuild-target 2>/dev/null; true";
        let livepatch = module(livepatch);
        let ran = kernel.tool(&[&["try", &livepatch, "--run", command][..], more].concat()).ok();
        assert!(ran.stdout.contains("loads, applies, reverts and unloads"), "{}", ran.stdout);
        ran.stdout
    };
    let patched = attempt("lp-vmlinux", &[]);
    assert!(patched.contains(" same=1 table=1 cold=1 key=on twins=f,d\n"), "{patched}");
    let enabled = patched.split("command while enabled").nth(1).unwrap();
    assert!(enabled.lines().nth(1).unwrap().contains("patched: "), "{patched}");
    let (before, after) = (lines_of(&patched, "command before"), lines_of(&patched, "command after"));
    assert!(before == after && !before.contains("patched: "), "{patched}");

    assert!(attempt("lp-first", &[]).contains("| twin=f\n"));
    assert!(attempt("lp-second", &[]).contains("| twin=d\n"));

    // The target comes after the livepatch, then goes and comes again; and, the second time, before it.
    let clears = kernel.read("ours/Symbols.list").contains("\nclear_relocate_add\n");
    let (other, target) = (module("klpbuild-other"), module("klpbuild-target"));
    let value = "target patched: 1831, ";
    let late = attempt("lp-target", &["--load", &other, "--load-after", &target]);
    assert!(lines_of(&late, "command while enabled").contains(value), "{late}");
    assert!(lines_of(&late, "command while enabled").contains("vmlinux patched: 1"), "{late}");
    assert!(lines_of(&late, "command after:").contains("target as built"), "{late}");
    let early = attempt("lp-target", &["--load", &other, "--load", &target]);
    assert!(lines_of(&early, "command while enabled").contains(value), "{early}");
    assert!(lines_of(&early, "command before").contains("target as built"), "{early}");
    for text in [&late, &early] {
        assert_eq!(lines_of(text, "command after the reload").contains(value), clears, "{text}");
    }

    for order in ["--load", "--load-after"] {
        let edges = attempt("lp-edges", &[order, &target]);
        let enabled = lines_of(&edges, "command while enabled");
        assert!(enabled.contains("vmlinux edges: 120") && enabled.contains("target edges: 11432"), "{edges}");
        assert_eq!(lines_of(&edges, "command after the reload").contains("edges: 11432"), clears, "{edges}");
    }

    // Without the module whose symbols it uses, the target cannot be patched: the kernel says so.
    let command = ["try", &module("lp-target"), "--load-after", &target];
    let refused = kernel.tool(&command).ends(1);
    let text = refused.stdout + &refused.stderr;
    assert!(text.contains("symbol 'other_secret' not found in symbol table"), "{text}");
    // Unconverted, it is not even loaded.
    kernel.klpbuild(&[&BUILD[..], &["--no-convert"]].concat()).ok();
    let refused = kernel.tool(&["try", &module("lp-first")]).ends(1);
    let text = refused.stdout + &refused.stderr;
    assert!(text.contains("lp_first: Unknown symbol klpbuild_twin"), "{text}");
    let left: BTreeSet<String> =
        kernel.files("ours", |name| name.ends_with(".tmp") && name.contains(SAMPLES)).into_keys().collect();
    assert_eq!(left, BTreeSet::new());
}

/// The lines of one stage.
fn lines_of(text: &str, stage: &str) -> String {
    let Some(rest) = text.split(&format!("\n{stage}")).nth(1) else { return String::new() };
    rest.lines().skip(1).take_while(|line| line.starts_with(' ')).map(|line| line.to_owned() + "\n").collect()
}
