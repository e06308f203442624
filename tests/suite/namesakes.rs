// SPDX-License-Identifier: GPL-2.0-only
//! Symbols of one name, which people have to tell apart: by the place in the source, and by what lies beside the function
//! that is replaced.

use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::sources::Sources;
use klpbuild::kernel::symbols::list::NameQuery;
use klpbuild::livepatch::candidates::{Candidates, SourcePlaces};
use serde_json::Value;

use crate::convert::said;
use crate::doubts::livepatch;
use crate::header::compile;
use crate::objtree::{ObjTree, X86_64};

/// A static function `helper`, and one that uses it.
fn source(user: &str, lines: usize) -> String {
    let keep = "__attribute__((noinline, used, noclone))";
    let space = "\n".repeat(lines);
    format!(
        "{space}{keep} static int helper(int value)\n{{\n\treturn value * {};\n}}\n\
         {keep} static int {user}(int value)\n{{\n\treturn helper(value) + 1;\n}}\n",
        lines + 2
    )
}

/// A tree whose vmlinux has two functions `helper`, in these files and lines.
fn tree(first: (&str, usize), second: (&str, usize), options: &[&str]) -> ObjTree {
    let tree = ObjTree::new(X86_64);
    let options = [&["-O2"], options].concat();
    ["one", "two"].iter().for_each(|name| std::fs::create_dir(tree.path(name)).unwrap());
    compile(&tree, first.0, &source("first_user", first.1 - 1), &options);
    compile(&tree, second.0, &source("second_user", second.1 - 1), &options);
    let objects = [first.0, second.0].map(|name| format!("{name}.o"));
    tree.link_vmlinux(&["vmlinux-a.o", &objects[0], &objects[1]]);
    tree.make_list();
    tree
}

/// A livepatch that replaces `second_user`, and calls `helper`.
fn replacing(tree: &ObjTree, annotation: &str) {
    let code = format!(
        "{annotation}\nextern int helper(int value);\n\
         int new_user(int value);\nint new_user(int value) {{ return helper(value) + 2; }}\n"
    );
    livepatch(tree, &code, &[("second_user", "new_user")], &[], &["-g"]);
}

const BOTH: [(&str, usize); 2] = [("one/proc", 12), ("two/proc", 7)];

/// Their source files have one name, too: debugging information has the paths.
#[test]
fn paths_and_lines_tell_them_apart() {
    let tree = tree(BOTH[0], BOTH[1], &["-g"]);
    replacing(&tree, "");
    let text = said(&tree, &tree.convert(&["in.ko"]).ends(1));
    let row = |place: &str| text.lines().find(|line| line.contains(&format!("  {place} "))).unwrap();
    let mark = "in the source file of second_user";
    assert!(row("two/proc.c:7").ends_with(mark) && !row("one/proc.c:12").contains(mark), "{text}");
    assert!(text.contains("klpbuild header -o klp_relocs.h"), "{text}");
    let pasted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("klpbuild:   ")).collect();
    let at = pasted.iter().position(|line| *line == "#include \"klp_relocs.h\"").unwrap();
    assert!(pasted[at + 1].ends_with("{ KLP_SYMPOS(helper, 2) }; /* two/proc.c:7 */"), "{text}");
    assert!(pasted[at + 2].ends_with("{ KLP_SYMPOS(helper, 1) }; /* one/proc.c:12 */"), "{text}");
    // What is to be pasted works: the declaration comes first, as it does in a livepatch.
    tree.klpbuild(&["header", "-o", "klp_relocs.h"]).ok();
    let declared = format!("{}\nextern int helper(int value);\n{}", pasted[at], pasted[at + 1]);
    replacing(&tree, &declared);
    tree.convert(&["in.ko"]).ok();
    assert!(tree.tool("readelf", &["-sW", "in.ko"]).contains(".klp.sym.vmlinux.helper,2"));
}

#[test]
fn lookup_and_new_tell_them_apart() {
    let tree = tree(BOTH[0], BOTH[1], &["-g"]);
    for asked in ["helper", "help[e]r"] {
        let text = tree.klpbuild(&["lookup", asked]).ok().stdout;
        assert!(text.contains("  one/proc.c:12  FUNC ") && text.contains("  two/proc.c:7   FUNC "), "{text}");
        let told = tree.klpbuild(&["lookup", "--format", "json", asked]).ok().stdout;
        let told: Value = serde_json::from_str(&told).unwrap();
        let place = |index: usize| {
            let one = &told["definitions"][index];
            (one["file"].as_str().unwrap().to_owned(), one["line"].as_u64().unwrap())
        };
        assert_eq!([place(0), place(1)], [("one/proc.c".to_owned(), 12), ("two/proc.c".to_owned(), 7)]);
    }
    let ran = tree.klpbuild(&["new", "lp-helper", "--objtree", ".", "--function", "helper"]).ends(1);
    assert!(ran.stderr.contains("  one/proc.c:12  FUNC "), "{}", ran.stderr);
    assert!(ran.stderr.contains("  two/proc.c:7   FUNC "), "{}", ran.stderr);
}

/// `klpbuild livepatch` knows no function beside it, but the file that the patch touches.
#[test]
fn the_one_in_the_patched_file_is_marked() {
    let table = |tree: &ObjTree, patched: &str| {
        let origin = Origin::of_tree(tree.path("").as_path()).unwrap();
        let sources = Sources::open(&origin, None).unwrap();
        let found = sources.find(&NameQuery::names([b"helper".to_vec()])).unwrap();
        let known = found.of(b"helper");
        let places = SourcePlaces::of(&sources, known);
        Candidates::new("helper", known, &sources, &places).beside_file(patched).table(None)
    };
    let marked = |table: &str| {
        let rows: Vec<&str> = table.lines().filter(|line| line.contains("in the patched file")).collect();
        rows.iter().map(|row| row.split_whitespace().nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let told = tree(BOTH[0], BOTH[1], &["-g"]);
    assert_eq!(marked(&table(&told, "two/proc.c")), ["two/proc.c:7"]);
    assert_eq!(marked(&table(&told, "one/proc.c")), ["one/proc.c:12"]);
    assert_eq!(marked(&table(&told, "three/proc.c")), Vec::<String>::new());
    // By their names alone, two files of one name are not told apart.
    let untold = tree(BOTH[0], BOTH[1], &[]);
    assert_eq!(marked(&table(&untold, "two/proc.c")), Vec::<String>::new());
    let untold = tree(BOTH[0], ("two/other", 7), &[]);
    assert_eq!(marked(&table(&untold, "two/other.c")), ["other.c"]);
}

/// Without debugging information there are only the names of files: where these are the same, none is marked.
#[test]
fn names_of_files_tell_as_much_as_they_can() {
    for (second, is_marked) in [("two/proc", false), ("two/other", true)] {
        let tree = tree(BOTH[0], (second, 7), &[]);
        replacing(&tree, "");
        let text = said(&tree, &tree.convert(&["in.ko"]).ends(1));
        assert_eq!(text.contains("in the source file of second_user"), is_marked, "{text}");
        let first = text.find(&format!("KLP_SYMPOS(helper, {})", if is_marked { 2 } else { 1 })).unwrap();
        let last = text.find(&format!("KLP_SYMPOS(helper, {})", if is_marked { 1 } else { 2 })).unwrap();
        assert!(first < last, "{text}");
    }
}
