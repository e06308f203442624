// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild modules --timings`: where a build's time went, and that the build is what it is without.

use std::collections::BTreeMap;

use crate::show::is_whole;
use crate::space::{ERAS, Space};

/// What a build has made: objects, modules, the commands that kbuild keeps of each, and the map.
fn made(space: &Space) -> BTreeMap<String, Vec<u8>> {
    let kinds = [".o", ".ko", ".cmd", "Symbols.list", "modules.livepatch"];
    kinds.iter().flat_map(|kind| space.files("obj", kind)).collect()
}

/// The names of the files of klpbuild's own directory.
fn own(space: &Space) -> Vec<String> {
    space.files("obj/.klpbuild", "").into_keys().collect()
}

#[test]
fn a_page_tells_where_the_time_went() {
    for era in ERAS {
        let space = Space::configured(era);
        let build = |more: &[&str]| space.klpbuild(&[&["modules", "O=../obj", "-j2"], more].concat()).ok();
        build(&[]);
        assert!(!own(&space).iter().any(|name| name.contains("timings")), "{:?}", own(&space));
        let plain = made(&space);
        assert!(plain.len() > 10, "{:?}", plain.keys());
        space.klpbuild(&["clean", "O=../obj"]).ok();
        let ran = build(&["--timings"]);
        assert_eq!(made(&space), plain, "{era}: the build is another one");
        let path = space.path("obj").join(".klpbuild/klpbuild-timings.html");
        let said = format!("klpbuild: timings: {}", path.display());
        assert_eq!(ran.stdout.lines().last(), Some(said.as_str()), "{ran:?}");
        let page = space.read("obj/.klpbuild/klpbuild-timings.html");
        is_whole(&page);
        // Each step that make has printed is told of.
        let steps: Vec<String> =
            ran.steps().into_iter().filter(|step| !step.starts_with("KLP [M]")).collect();
        assert!(page.contains(&format!(" of {}). make does not tell", steps.len())), "{steps:?}\n{page}");
        for expected in [
            "<td>preparation</td>",
            "<td>make</td>",
            "<td>conversion of the livepatches</td>",
            "<td>CC [M]</td>",
        ] {
            assert!(page.contains(expected), "{era}: {expected}\n{page}");
        }
        // With nothing to do; at a place of one's own.
        build(&["--timings=../times.html"]);
        let page = space.read("times.html");
        is_whole(&page);
        assert!(page.contains("<td>make</td>") && !page.contains("<td>CC [M]</td>"), "{page}");
        space.klpbuild(&["klpclean", "O=../obj"]).ok();
        assert!(!space.path("obj/.klpbuild").exists(), "{era}");
    }
}

/// A build that fails has a page as well, which says so.
#[test]
fn a_failed_build_is_told_of() {
    let space = Space::configured("era-c");
    let fails = |arguments: &[&str], code: i32, words: &str| {
        let ran = space.klpbuild(&[&["modules", "O=../obj", "--timings=../times.html"], arguments].concat());
        let ran = ran.ends(code);
        assert!(ran.stdout.contains("klpbuild: timings: "), "{ran:?}");
        let page = space.read("times.html");
        is_whole(&page);
        let said =
            page.lines().find(|line| line.contains(">not finished<")).unwrap_or_else(|| panic!("{page}"));
        assert!(said.contains(words), "{words}: {said}");
        assert!(
            page.contains("<td>make</td>") && page.contains("The times are of what was done until then."),
            "{page}"
        );
        std::fs::remove_file(space.path("times.html")).unwrap();
    };
    fails(&["BROKEN=1"], 2, "</span> failed: drivers/one/user.o (Error 1)</p>");
    fails(&["UNKNOWN=m"], 1, "</span> failed: the map of symbols: ");
    // A livepatch that cannot be converted: what klpbuild itself says, without the table that follows.
    for source in ["src/init/main.c", "src/lib/text.c"] {
        let twin = "static int doubled __attribute__((used)) = 1;\n";
        std::fs::write(space.path(source), space.read(source) + twin).unwrap();
    }
    let source = "src/samples/livepatch/lp-known.c";
    let text = space.read(source).replace("hidden_counter", "doubled");
    std::fs::write(space.path(source), text).unwrap();
    let words = "</span> failed: cannot convert samples/livepatch/lp-known.ko: Define KLP_SYMPOS for the symbol: doubled: it \
                 is ambiguous, defined 2 times in 1 object</p>";
    fails(&["KNOWN=m"], 1, words);
    let ran = space.klpbuild(&["modules", "O=../obj", "--timings=../times.html"]).ok();
    assert!(!space.read("times.html").contains("not finished"), "{ran:?}");
    // Where no make was run, there is nothing to tell.
    std::fs::remove_file(space.path("times.html")).unwrap();
    std::fs::remove_file(space.path("obj/.config")).unwrap();
    let ran = space.klpbuild(&["modules", "O=../obj", "--timings=../times.html"]).ends(1);
    assert!(!space.path("times.html").exists() && !ran.stdout.contains("timings"), "{ran:?}");
}

/// A recipe that takes its time is seen from its beginning to its end.
#[test]
fn steps_have_times() {
    let space = Space::configured("era-c");
    let makefile = space.read("src/scripts/Makefile.build");
    assert!(makefile.contains("sleep 600"));
    std::fs::write(space.path("src/scripts/Makefile.build"), makefile.replace("sleep 600", "sleep 1"))
        .unwrap();
    let ran = space.klpbuild(&["modules", "O=../obj", "SLOW=1", "--timings=../times.html"]).ok();
    let page = space.read("times.html");
    is_whole(&page);
    let row = page.lines().find(|line| line.starts_with("<tr>") && line.contains("<td>SLOW "));
    let row = row.unwrap_or_else(|| panic!("{ran:?}\n{page}"));
    let time = row.split("<td class=\"time\">").nth(1).unwrap().split(" s<").next().unwrap();
    let seconds: f64 = time.parse().unwrap();
    assert!((0.9..60.0).contains(&seconds), "{row}");
    assert!(page.contains("<rect class=\"\" x=") && page.contains("<title>SLOW "), "{page}");
}
