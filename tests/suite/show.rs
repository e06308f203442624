// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild show`: what a livepatch replaces and refers to, for people and for programs.

use klpbuild::elf::image::{Home, Image};
use serde_json::Value;

use crate::doubts;
use crate::objtree::ObjTree;
use crate::space::Ran;

/// The new functions, for vmlinux and for the module.
const CODE: &str = r#"
extern int counter;
extern int exported(void);
#include "klp_relocs.h"
extern int twin(void) KLP_RELOC_SYMBOL_POS(vmlinux, vmlinux, twin, 2);

static int helper(void);
__attribute__((noinline)) static int helper(void)
{
	return twin();
}

/* Takes
 * the place of plain(). */
static int new_plain(int value)
{
	return value - counter + exported() + helper();
}

static int new_first(int value)
{
	return value;
}

static int new_two(int value)
{
	return value + 1;
}
"#;

/// A tree whose vmlinux has debugging information, with a converted livepatch.
pub fn tree() -> ObjTree {
    let tree = doubts::tree(&["-g"]);
    tree.klpbuild(&["header", "-o", "klp_relocs.h"]).ok();
    doubts::livepatch(
        &tree,
        CODE,
        &[("plain", "new_plain")],
        &[("own_level", "new_first"), ("user_two", "new_two")],
        &["-g"],
    );
    tree.convert(&["in.ko"]).ok();
    tree
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// The address and the size of a symbol, as readelf has them.
fn symbol(tree: &ObjTree, file: &str, name: &str) -> (String, u64) {
    let table = tree.tool("readelf", &["-sW", file]);
    let words = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = words.filter(|words| words.len() == 8 && words[7] == name).collect::<Vec<_>>();
    let [found] = found.as_slice() else { panic!("{name}: {table}") };
    (format!("0x{}", found[1].trim_start_matches('0')), found[2].parse().unwrap())
}

/// The number of the line of `text` that has `part`.
fn line(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {text}")) + 1
}

#[test]
fn a_reviewer_sees_what_is_replaced_and_what_it_refers_to() {
    let tree = tree();
    let ran = tree.klpbuild(&["show", "in.ko"]).ok();
    let source = String::from_utf8(tree.bytes("livepatch.c")).unwrap();
    let kernel = String::from_utf8(tree.bytes("kernel.c")).unwrap();
    let (plain, size) = symbol(&tree, "vmlinux", "plain");
    let (new, new_size) = symbol(&tree, "in.ko", "new_plain");
    let new = if new == "0x" { "0x0" } else { &new };
    let change = format!("{} {}", size.abs_diff(new_size), if new_size > size { "more" } else { "less" });
    let (counter, _) = symbol(&tree, "vmlinux", "counter");
    let expected = [
        "in (in.ko)".to_owned(),
        "├─ vmlinux: 1 function replaced".to_owned(),
        "│  └─ plain".to_owned(),
        format!(
            "│     ├─ old: kernel.c:{}, {plain}, {size} bytes; the only one of this name in vmlinux",
            line(&kernel, "int plain(int value)")
        ),
        format!(
            "│     ├─ new: new_plain, livepatch.c:{}, .text+{new}, {new_size} bytes ({change})",
            line(&source, "int new_plain(int value)")
        ),
        "│     └─ refers to".to_owned(),
        "│        ├─ counter of vmlinux: livepatch relocation, written when the livepatch is loaded"
            .to_owned(),
        format!(
            "│        │    kernel.c:{}, {counter}, 4 bytes; the only one of this name in vmlinux",
            line(&kernel, "int counter = 1;")
        ),
        "│        └─ exported: exported by vmlinux".to_owned(),
        "├─ target_mod: 2 functions replaced".to_owned(),
        "│     └─ refers to nothing beyond the livepatch".to_owned(),
        "├─ other code and data refers to".to_owned(),
        "│  ├─ twin of vmlinux: livepatch relocation, written when the livepatch is loaded".to_owned(),
        "└─ verify: correct, 1 warning".to_owned(),
    ];
    let mut lines = ran.stdout.lines();
    for expected in &expected {
        assert!(lines.any(|line| line == expected), "{expected}\n{}", ran.stdout);
    }
    let used = format!("livepatch.c:{}", line(&source, "value - counter + exported"));
    let is_use = |line: &&str| line.contains("new_plain+0x") && line.ends_with(&used);
    assert_eq!(ran.stdout.lines().filter(is_use).count(), 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("helper+0x"), "{}", ran.stdout);
    // Of several, each is told, and which one it is.
    let twins: Vec<&str> = ran.stdout.lines().filter(|line| line.contains(" of 3: ")).collect();
    assert_eq!(twins.len(), 3, "{}", ran.stdout);
    assert!(twins[0].contains("not 1 of 3: kernel/a.c, 0x"), "{twins:?}");
    assert!(twins[1].contains("this one: 2 of 3: kernel/b.c, 0x"), "{twins:?}");
    assert!(
        ran.stdout.contains("; 2 of 3 of this name in vmlinux, by ascending address\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn programs_get_the_same() {
    let tree = tree();
    let told = json(&tree.klpbuild(&["show", "in.ko", "--format", "json"]).ok());
    assert_eq!(told["schema"], 1);
    let function = &told["objects"][0]["functions"][0];
    assert_eq!((&function["name"], &function["sympos"]), (&Value::from("plain"), &Value::from(0)));
    let (address, size) = symbol(&tree, "vmlinux", "plain");
    assert_eq!((&function["old"]["address"], &function["old"]["size"]), (&address.into(), &size.into()));
    let text = function["old"]["source"]["text"]["text"].as_str().unwrap();
    assert_eq!(text, "KEEP int plain(int value)\n{\n\treturn value + counter;\n}\n");
    let text = &function["new"]["source"]["text"];
    assert!(text["text"].as_str().unwrap().starts_with("/* Takes\n * the place of plain(). */\nstatic int"));
    let source = String::from_utf8(tree.bytes("livepatch.c")).unwrap();
    assert_eq!(text["first"], line(&source, "/* Takes"));
    assert_eq!(function["references"][0]["kind"], "livepatch");
    assert_eq!(function["references"][0]["uses"][0]["how"], "reads or writes it");
    assert_eq!(function["references"][1]["uses"][0]["how"], "calls it");
    assert_eq!((&told["verdict"], &told["findings"][0]["rule"]), (&"correct".into(), &"S10".into()));
}

/// Without a kernel, the file alone is told of, and what is missing is said. One that was named has to be there.
#[test]
fn without_a_kernel_the_file_is_told_of() {
    let tree = tree();
    let elsewhere = tempfile::tempdir().unwrap();
    let at = |name: &str| elsewhere.path().join(name).display().to_string();
    std::fs::copy(tree.path("in.ko"), at("in.ko")).unwrap();
    let run = |more: &[&str]| tree.klpbuild(&[&["-C", &at(""), "show", "in.ko"], more].concat());
    let ran = run(&["--sysroot", &at("")]).ends(2);
    for expected in [
        "│     ├─ old: position 0: said to be the only one of this name in vmlinux\n",
        "│     ├─ new: new_plain, livepatch.c:",
        "refers to\n│        ├─ counter of vmlinux: livepatch relocation, written when the livepatch is loaded\n",
        "│        └─ exported: who exports it is not known\n",
        "├─ not known\n│  ├─ where the old functions and the symbols are, why their positions,",
        "└─ verify: not checked\n",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}\n{}", ran.stdout);
    }
    let told = json(&run(&["--sysroot", &at(""), "--format", "json"]).ends(2));
    assert_eq!((&told["kernel"], &told["verdict"]), (&Value::Null, &"unchecked".into()));
    run(&["O=nowhere"]).ends(1).says(&["nowhere: no such directory"]);
}

/// An error of verify is one here: the status says so, and the tree which.
#[test]
fn what_is_not_correct_is_said() {
    let tree = tree();
    let mut image = Image::read(&tree.path("in.ko")).unwrap();
    let mut symbols = image.symbols.iter_mut().filter(|symbol| symbol.home == Home::Livepatch);
    let symbol = symbols.find(|symbol| symbol.shown().contains(".twin,2")).unwrap();
    symbol.become_livepatch(b".klp.sym.vmlinux.twin,4".to_vec());
    let name = b".klp.sym.vmlinux.a\x1b[2Jb\xe2\x80\xae<b>,0".to_vec();
    let symbol = image.symbols.iter_mut().find(|symbol| symbol.shown().contains(".counter,0")).unwrap();
    symbol.become_livepatch(name);
    tree.write("in.ko", image.to_bytes().unwrap());
    let ran = tree.klpbuild(&["show", "in.ko"]).ends(1);
    assert!(
        ran.stdout.contains("there is no position 4: vmlinux has 3 of this name, counted from 1 (S1)\n"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("└─ verify: NOT CORRECT, 2 errors"), "{ran:?}");
    assert!(ran.stdout.contains("├─ a\\u{1b}[2Jb\\u{202e}<b> of vmlinux: "), "{ran:?}");
    assert!(!ran.stdout.contains(['\x1b', '\u{202e}']), "{ran:?}");
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let tree = tree();
    tree.write("cut.ko", &tree.bytes("in.ko")[..300]);
    tree.klpbuild(&["show", "cut.ko"]).ends(1).says(&["cannot read ", "cut.ko: "]);
    tree.klpbuild(&["show", "in.ko", "cut.ko"]).ends(1).says(&["one livepatch at a time"]);
    tree.klpbuild(&["show", "O=."])
        .ends(1)
        .says(&["no livepatch is named: klpbuild show O=DIR LIVEPATCH.ko"]);
}

/// Sees that each element of a page is closed where it has to be, and that nothing comes from elsewhere.
#[track_caller]
pub fn is_whole(page: &str) {
    let mut open: Vec<String> = Vec::new();
    for part in page.split('<').skip(1) {
        let tag = part.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap().to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name), "{part}");
        } else if !tag.starts_with('!') && !tag.ends_with('/') && !["meta"].contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<String>::new());
    for outside in ["<script", "<link", "<img", "http:", "https:", "url(", "@import", "onload", "javascript:"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.chars().any(|letter| letter.is_control() && !['\n', '\t'].contains(&letter)));
}

/// The page has all that the tree has, and the source before and after.
#[test]
fn the_page_stands_alone() {
    let tree = tree();
    let ran = tree.klpbuild(&["show", "in.ko", "--html"]).ok();
    assert_eq!(ran.stdout, "klpbuild: in.ko: written to in.html\n");
    let page = String::from_utf8(tree.bytes("in.html")).unwrap();
    is_whole(&page);
    let source = String::from_utf8(tree.bytes("livepatch.c")).unwrap();
    let number = line(&source, "value - counter + exported");
    for expected in [
        "<title>Livepatch in</title>".to_owned(),
        "<h2 id=\"object-1\">target_mod: 2 functions replaced</h2>".to_owned(),
        "<span class=\"gone\"><b>26</b>\treturn value + counter;</span>".to_owned(),
        format!(
            "<span class=\"added\"><b>{number}</b>\treturn value - counter + exported() + helper();</span>"
        ),
        "<span class=\"badge warn\">warning S10</span> <code>klp_func target_mod:own_level,0</code>"
            .to_owned(),
        "<code>kernel/b.c, 0xffffffff8100000e, 1 byte</code> (FUNC) <span class=\"badge good\">meant</span>"
            .to_owned(),
    ] {
        assert!(page.contains(&expected), "{expected}\n{page}");
    }
    // What the file has in it is text.
    let mut image = Image::read(&tree.path("in.ko")).unwrap();
    let symbol = image.symbols.iter_mut().find(|symbol| symbol.shown().contains(".counter,0")).unwrap();
    symbol.become_livepatch(b".klp.sym.vmlinux.<script>&\x1b\"',0".to_vec());
    tree.write("in.ko", image.to_bytes().unwrap());
    let page = tree.klpbuild(&["show", "in.ko", "--html=-"]).ends(1).stdout;
    is_whole(&page);
    assert!(page.contains("<code>&lt;script&gt;&amp;\\u{1b}&quot;&#39;</code>"), "{page}");
    assert!(page.contains("<span class=\"badge bad\">not correct</span>"), "{page}");
    tree.klpbuild(&["show", "in.ko", "--html=no/such/page.html"]).ends(1).says(&["no/such/page.html"]);
}

/// What klpbuild try has said of it comes on the page, if it was this livepatch that was tried.
#[test]
fn a_trial_is_a_part_of_the_page() {
    let tree = tree();
    let report = |livepatch: &str| {
        let stage = |stage: &str, verdict: &str, log: &str| {
            serde_json::json!({ "stage": stage, "verdict": verdict, "why": "it says <why>", "begin": 1.5, "seconds": 0.5,
                "output": [], "log": [log], "other": 1 })
        };
        let stages =
            [stage("boot", "ok", "Linux version"), stage("load in.ko", "failed", "<4>Oops: \u{1b}[m")];
        let all = serde_json::json!({ "schema": 1, "verdict": "fails", "reason": "load in.ko: it says <why>",
            "seconds": 2.5, "livepatches": [livepatch], "stages": stages });
        tree.write("report.json", all.to_string());
    };
    report("somewhere/in.ko");
    let show = || tree.klpbuild(&["show", "in.ko", "--html=-", "--try-report", "report.json"]);
    let page = show().ok().stdout;
    is_whole(&page);
    for expected in [
        "Tried in a virtual machine <span class=\"badge bad\">fails</span></h2>\n<p>load in.ko: it says &lt;why&gt;</p>",
        "<li class=\"one\">boot <span class=\"badge good\">ok</span> it says &lt;why&gt; <span class=\"faint\">0.5 s</span>",
        "<div style=\"margin-left:60.00%;width:20.00%\"></div>",
        "<details open=\"\"><summary>What the kernel logged</summary><pre>&lt;4&gt;Oops: \\u{1b}[m\n</pre></details>",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    report("other.ko");
    show().ends(1).says(&["report.json is about other.ko, not about in.ko"]);
    tree.write("report.json", "[]");
    show().ends(1).says(&["report.json: no report of klpbuild try --format json"]);
    tree.klpbuild(&["show", "in.ko", "--try-report", "report.json"]).ends(2).says(&["--html"]);
}

/// Thousands of modules refer to what the kernel exports: none of them is opened for that.
#[test]
fn modules_that_only_refer_to_a_symbol_are_not_read() {
    let tree = tree();
    let right = tree.klpbuild(&["show", "in.ko"]).ok().stdout;
    tree.assemble_text(".text\n.globl far\nfar: call exported\n", "drivers/target/far");
    std::fs::copy(tree.path("drivers/target/far.o"), tree.path("drivers/target/far.ko")).unwrap();
    let order = String::from_utf8(tree.bytes("modules.order")).unwrap();
    let suffix = if order.contains(".ko") { "ko" } else { "o" };
    tree.write("modules.order", format!("{order}drivers/target/far.{suffix}\n"));
    tree.make_list();
    let list = String::from_utf8(tree.bytes("Symbols.list")).unwrap();
    assert!(list.split("*far\n").nth(1).is_some_and(|names| names.contains("exported\n")), "{list}");
    assert_eq!(tree.klpbuild(&["show", "in.ko"]).ok().stdout, right);
    for name in ["far.ko", "far.o"] {
        let path = tree.path("drivers/target").join(name);
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "no object").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    tree.klpbuild(&["lookup", "far"]).ends(1);
    assert_eq!(tree.klpbuild(&["show", "in.ko"]).ok().stdout, right);
}
