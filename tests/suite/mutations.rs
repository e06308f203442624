// SPDX-License-Identifier: GPL-2.0-only
//! Livepatches, objects and lists that are cut short or changed at random: nothing panics or hangs, and what is
//! converted all the same is in order.
//!
//! What is asked of each case stands in [`survives`] and in the tests of other readers. The same damage is
//! done in every run; the message of a failure tells which one it was.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use klpbuild::elf::definitions;
use klpbuild::elf::image::Image;
use klpbuild::kernel::kallsyms::{Filter, Spelling, SystemMap};
use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::sources::Sources;
use klpbuild::kernel::symbols::exports::Exports;
use klpbuild::kernel::symbols::list;
use klpbuild::kernel::symbols::list::NameQuery;
use klpbuild::livepatch::account;
use klpbuild::livepatch::account::{AtHand, Roots};
use klpbuild::livepatch::convert::{Choices, ConvertOutcome, convert};
use klpbuild::livepatch::verify::verify;

use crate::objtree::{Code, ObjTree, Target, X86_64, target, targets};

/// How long one case may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    /// Changes some bytes of `data` that are in one of `ranges`: single ones, and whole numbers.
    fn damage(&mut self, data: &mut [u8], ranges: &[Range<usize>]) {
        for _ in 0..=self.next(3) {
            let range = &ranges[self.next(ranges.len())];
            let at = range.start + self.next(range.len());
            let width = [1, 1, 1, 4, 8][self.next(5)].min(data.len() - at);
            let value = match self.next(4) {
                0 => vec![0; width],
                1 => vec![0xff; width],
                2 => [0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f][8 - width..].to_vec(),
                _ => (0..width).map(|_| self.next(256) as u8).collect(),
            };
            data[at..at + width].copy_from_slice(&value);
        }
    }
}

/// How a conversion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It is no object.
    NotRead,
    /// It cannot be converted.
    Refused,
    /// There was nothing to do.
    Unchanged,
    /// It was converted.
    Converted,
}

/// Converts what may be a livepatch.
fn survives(bytes: &[u8], sources: &Sources) -> End {
    let Ok(image) = Image::parse(bytes) else { return End::NotRead };
    // With what verify says of it.
    let kernel = AtHand { sources, unchecked: None, is_other_release: false };
    let _ = account::of(&image, Path::new("in.ko"), Some(&kernel), &Roots::default());
    let _ = account::of(&image, Path::new("in.ko"), None, &Roots::default());
    let outcome = match convert(image, sources, Choices::default()) {
        Ok(outcome) => outcome,
        // Whoever shows the message reads all of it.
        Err(error) => return if format!("{error:#}").is_empty() { End::Converted } else { End::Refused },
    };
    let ConvertOutcome::Converted { bytes, .. } = outcome else { return End::Unchanged };
    let image = Image::parse(&bytes).unwrap();
    let _ = verify(&image, sources);
    let again = convert(image, sources, Choices::default());
    assert!(matches!(again, Ok(ConvertOutcome::Unchanged)), "{again:?}");
    End::Converted
}

/// Has `survives` look at each case, on a thread of its own, and gives how many ended in which way.
fn all_survive<T: Send + 'static>(
    cases: Vec<(String, T)>,
    mut survives: impl FnMut(&T) -> End + Send + 'static,
) -> BTreeMap<End, usize> {
    let (sender, receiver) = mpsc::channel();
    let names: Vec<String> = cases.iter().map(|(name, _)| name.clone()).collect();
    let worker = std::thread::spawn(move || {
        for (_, case) in &cases {
            sender.send(survives(case)).unwrap();
        }
    });
    let mut ends = BTreeMap::new();
    for name in names {
        match receiver.recv_timeout(PATIENCE) {
            Ok(end) => *ends.entry(end).or_default() += 1,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name}: takes longer than {PATIENCE:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: {:?}", worker.join()),
        }
    }
    ends
}

/// Where the sections of an object are in its file.
fn sections(tree: &ObjTree, name: &str) -> Vec<(String, Range<usize>)> {
    let text = tree.tool("readelf", &["-SW", name]);
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix('[')?.split_once("] "));
    let words = lines.map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    words
        .filter(|words| words.len() > 5 && words[1] != "NOBITS" && words[0].starts_with('.'))
        .map(|words| (words[0].to_owned(), number(words[3])..number(words[3]) + number(words[4])))
        .filter(|(_, range)| !range.is_empty())
        .collect()
}

/// Damages an object in several ways, `count` times each.
fn damaged(tree: &ObjTree, name: &str, count: usize) -> Vec<(String, Vec<u8>)> {
    let whole = tree.bytes(name);
    let sections = sections(tree, name);
    let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<Range<usize>> {
        sections.iter().filter(|(name, _)| wanted(name)).map(|(_, range)| range.clone()).collect()
    };
    let last = sections.iter().map(|(_, range)| range.end).max().unwrap();
    let one = |range: Range<usize>| std::iter::once(range).collect::<Vec<_>>();
    let classes = [
        ("anywhere", one(0..whole.len())),
        ("file header", one(0..64.min(whole.len()))),
        ("section headers", one(last..whole.len())),
        ("symbols", of(&|name| name == ".symtab")),
        ("strings", of(&|name| name == ".strtab" || name == ".shstrtab" || name == ".modinfo")),
        ("relocations", of(&|name| name.starts_with(".rela"))),
        ("annotations", of(&|name| name.contains(".klp."))),
        ("debugging information", of(&|name| name.contains(".debug_"))),
        ("data", of(&|name| [".data", ".text", ".rodata", ".toc"].contains(&name))),
    ];
    let mut cases = Vec::new();
    for (number, (class, ranges)) in classes.into_iter().enumerate() {
        if ranges.is_empty() {
            continue;
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15 + number as u64);
        for case in 0..count {
            let mut bytes = whole.clone();
            random.damage(&mut bytes, &ranges);
            cases.push((format!("{}: {name}, {class}, case {case}", tree.target.name), bytes));
        }
    }
    cases
}

/// Each length of a file.
fn cut(tree: &ObjTree, name: &str) -> Vec<(String, Vec<u8>)> {
    let whole = tree.bytes(name);
    let case = |length| (format!("{}: {name}, {length} bytes", tree.target.name), whole[..length].to_vec());
    (0..whole.len()).map(case).collect()
}

/// Cuts and damages livepatches of an architecture: one as it was linked, one that was converted, one that
/// cannot be and has debugging information.
fn mutate(target: Target) {
    let tree = ObjTree::with_livepatch(target);
    fs::rename(tree.path("in.ko"), tree.path("first.ko")).unwrap();
    tree.assemble("more");
    tree.link(&["first.ko", "more.o"], "linked.ko");
    tree.convert(&["linked.ko", "-o", "converted.ko"]).ok();
    let rest = ".section .klp.module_relocs.vmlinux, \"a\"\npointer twin\n.4byte 9";
    let code = "call_to unkown\ncall_to twin\ncall_to setting_twin";
    tree.livepatch(&Code {
        patched: code,
        target: "call_to unique",
        rest,
        options: &["-g"],
        ..Code::default()
    });
    let open = || Sources::open(&Origin::of_tree(&tree.path("")).unwrap(), None).unwrap();
    for name in ["linked.ko", "converted.ko", "in.ko"] {
        let sources = open();
        let ends = all_survive(cut(&tree, name), move |bytes| survives(bytes, &sources));
        // The section headers come last.
        assert!(ends.keys().eq([&End::NotRead]), "{ends:?}");
        let sources = open();
        let ends = all_survive(damaged(&tree, name, 70), move |bytes| survives(bytes, &sources));
        // The damage has to be such that each end comes about.
        let least =
            |end, count| assert!(ends.get(&end).is_some_and(|ends| *ends > count), "{name}: {ends:?}");
        least(End::NotRead, 50);
        match name {
            "linked.ko" => least(End::Converted, 100),
            "converted.ko" => least(End::Unchanged, 100),
            _ => least(End::Refused, 100),
        }
    }
}

#[test]
fn x86_64() {
    mutate(X86_64);
}

#[test]
fn aarch64() {
    if let Some(target) = target("aarch64") {
        mutate(target);
    }
}

#[test]
fn ppc64le() {
    if let Some(target) = target("ppc64le") {
        mutate(target);
    }
}

#[test]
fn s390x() {
    if let Some(target) = target("s390x") {
        mutate(target);
    }
}

#[test]
fn ppc() {
    if let Some(target) = target("ppc") {
        mutate(target);
    }
}

fn wanted() -> NameQuery {
    let names = ["twin", "unique", "target_static", "klp_apply_section_relocs"];
    NameQuery::names(names.iter().map(|name| name.as_bytes().to_vec()))
}

fn end_of<T>(result: Result<T, anyhow::Error>) -> End {
    match result {
        Ok(_) => End::Converted,
        Err(error) => {
            assert!(!format!("{error:#}").is_empty());
            End::Refused
        }
    }
}

#[test]
fn definitions_of_damaged_objects() {
    for target in targets() {
        let tree = ObjTree::new(target);
        let path = tree.path("damaged");
        let mut cases = damaged(&tree, "vmlinux", 60);
        cases.extend(cut(&tree, "vmlinux").into_iter().step_by(7));
        let ends = all_survive(cases, move |bytes| {
            fs::write(&path, bytes).unwrap();
            let names = wanted();
            end_of(definitions::find(&path, |name| names.has(name)))
        });
        assert!(ends[&End::Converted] > 50 && ends[&End::Refused] > 50, "{ends:?}");
    }
}

/// Text is damaged in larger pieces, too: lines that are lost, doubled, or very long.
fn damaged_text(name: &str, whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut cases: Vec<(String, Vec<u8>)> = (0..whole.len())
        .map(|length| (format!("{name}, {length} bytes"), whole[..length].to_vec()))
        .collect();
    for case in 0..1000 {
        let mut bytes = whole.to_vec();
        random.damage(&mut bytes, std::slice::from_ref(&(0..whole.len())));
        let at = random.next(bytes.len());
        let special = [&b"\n"[..], b"\n*", b"*\n", b"\t\t", b"\0", b" ", b"0x", b"\xff\xfe", &[b'x'; 70_000]];
        let piece = special[random.next(special.len())];
        bytes.splice(at..at, piece.iter().copied());
        cases.push((format!("{name}, case {case}"), bytes));
    }
    cases
}

#[test]
fn damaged_lists() {
    let tree = ObjTree::new(X86_64);
    let read = |name: &str, least: (usize, usize), read: fn(&Path) -> Result<(), anyhow::Error>| {
        let path = tree.path("damaged");
        let ends = all_survive(damaged_text(name, &tree.bytes(name)), move |bytes| {
            fs::write(&path, bytes).unwrap();
            end_of(read(&path))
        });
        let of = |end| ends.get(&end).copied().unwrap_or(0);
        assert!(of(End::Converted) > least.0 && of(End::Refused) >= least.1, "{name}: {ends:?}");
    };
    read("Symbols.list", (300, 50), |path| list::search(path, &wanted(), Spelling::Exact).map(drop));
    read("Module.symvers", (20, 300), |path| Exports::read(path).map(drop));
    // What is no line of it is left out.
    read("System.map", (1000, 0), |path| SystemMap::read(path, |_| true, &Filter::common()).map(drop));
}
