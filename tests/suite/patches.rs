// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild patches`, and trees that carry a series: plain make on miniature trees with the series' own
//! scripts/Makefile.klp.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::space::{ERAS, Ran, Space};

const SERIES: [(&str, &str); 6] = [
    ("from-6.19", "era-c"),
    ("from-6.1", "era-c"),
    ("from-5.19", "era-b"),
    ("from-5.8", "era-b"),
    ("from-5.3", "era-b"),
    ("up-to-5.2", "era-a"),
];

/// The files that a series changes: by name, what is there and what is to be there, as much as the patches have.
fn files_of(series: &str) -> BTreeMap<String, (String, String)> {
    let text = Space::new("odd").klpbuild(&["patches", "show", series, "-C", "/"]).ok().stdout;
    let mut files: BTreeMap<String, (String, String)> = BTreeMap::new();
    for part in text.split("\ndiff --git ").skip(1) {
        let part = part.split("\nFrom 0000").next().unwrap();
        let name = part.lines().find_map(|line| line.strip_prefix("+++ b/")).unwrap();
        for hunk in part.split("\n@@ ").skip(1) {
            let lines = || hunk.lines().skip(1);
            // What an earlier patch of the series has added.
            if lines().any(|line| line == " ifdef CONFIG_KLP_CONVERT") {
                continue;
            }
            let side = |marks: &str| -> String {
                let side = lines().filter(|line| line.starts_with(|first| marks.contains(first)));
                side.map(|line| format!("{}\n", &line[1..])).collect()
            };
            let (old, new) = files.entry(name.to_owned()).or_default();
            old.push_str(&format!("# and so on\n{}", side(" -")));
            new.push_str(&format!("# and so on\n{}", side(" +")));
        }
    }
    files
}

/// The makefile that a series adds.
fn klp_makefile(series: &str) -> String {
    let files = files_of(series);
    files["scripts/Makefile.klp"].1.lines().skip(1).map(|line| format!("{line}\n")).collect()
}

/// A kernel of that era, of which there are the lines that the series' patches name.
pub fn source(series: &str) -> Space {
    let space = Space::new("odd");
    let src = space.path("src");
    for (name, (old, _)) in files_of(series).into_iter().filter(|(name, _)| name != "scripts/Makefile.klp") {
        let path = src.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // What tells the era.
        let more = if name == "Makefile" && series.starts_with("from-6.") {
            "vmlinux: vmlinux.o modpost\n"
        } else {
            ""
        };
        fs::write(&path, format!("{old}{more}")).unwrap();
    }
    let path = src.join("scripts/Makefile.modpost");
    let modpost = if series == "up-to-5.2" { "x := $(MODVERDIR)\n" } else { "" };
    fs::write(&path, modpost.to_owned() + &fs::read_to_string(&path).unwrap_or_default()).unwrap();
    space
}

pub fn patches(space: &Space, arguments: &[&str]) -> Ran {
    space.klpbuild(&[&["patches"][..], arguments].concat())
}

#[test]
fn the_series_that_fits_is_applied_and_taken_back() {
    for (series, _) in SERIES {
        let space = source(series);
        let script = space.path("src/scripts/mod/modpost.c");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o640)).unwrap();
        let before = space.files("src", "");
        let check = patches(&space, &["check"]).ok().stdout;
        assert!(
            check.starts_with(&format!("klpbuild: {series} ("))
                && check.contains(") fits; it changes .gitignore, "),
            "{check}"
        );
        let list = patches(&space, &["list"]).ok().stdout;
        let fitting: Vec<&str> = list.lines().filter(|line| line.ends_with("fits this tree")).collect();
        assert!(fitting.len() == 1 && fitting[0].starts_with(series), "{list}");
        assert!(space.files("src", "") == before);
        patches(&space, &["revert"]).ends(1).says(&["no series is applied to "]);

        patches(&space, &["apply"]).ok();
        let after = space.files("src", "");
        assert_eq!(String::from_utf8_lossy(&after["scripts/Makefile.klp"]), klp_makefile(series));
        for (name, words) in [
            ("Makefile", "\nKBUILD_BUILTIN := "),
            ("Makefile", "\nklpclean:\n"),
            (".gitignore", "\n/Symbols.list\n"),
            ("Documentation/dontdiff", "\nSymbols.list\n"),
            ("samples/livepatch/Makefile", "\nLIVEPATCH_livepatch-sample.o := y\n"),
            ("scripts/mod/modpost.c", "\nstatic void mark_livepatches(void)\n"),
            ("kernel/livepatch/Kconfig", "\nconfig KLP_CONVERT\n"),
            ("scripts/mod/modpost.h", "is_livepatch;\n"),
        ] {
            let text = String::from_utf8_lossy(&after[name]);
            assert!(text.contains(words), "{series}: {name}: {words}: {text}");
        }
        assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(patches(&space, &["list"]).ok().stdout.contains("applied to this tree"));
        patches(&space, &["apply"]).ends(1).says(&[&format!("{series} is applied to "), " already"]);
        assert!(space.files("src", "") == after);

        patches(&space, &["revert"]).ok();
        assert!(space.files("src", "") == before, "{series}");
        patches(&space, &["apply", "--dry-run"]).ok();
        assert!(space.files("src", "") == before, "{series}");
    }
}

/// A klpbuild that is killed while it changes the tree leaves each file as it was or as it is to be, whichever of them.
#[test]
fn what_a_killed_klpbuild_has_begun_is_gone_on_with_or_taken_back() {
    for (series, _) in SERIES {
        let space = source(series);
        let before = space.files("src", "");
        patches(&space, &["apply"]).ok();
        let after = space.files("src", "");
        let changed: Vec<&String> =
            after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
        assert!(changed.len() > 5, "{changed:?}");
        let put = |files: &BTreeMap<String, Vec<u8>>, name: &str| match files.get(name) {
            Some(text) => fs::write(space.path("src").join(name), text).unwrap(),
            None => drop(fs::remove_file(space.path("src").join(name))),
        };
        for count in 1..changed.len() {
            for (command, wanted) in [("apply", &after), ("revert", &before)] {
                for (index, name) in changed.iter().enumerate() {
                    put(if index < count { &after } else { &before }, name);
                }
                let check = patches(&space, &["check"]).ends(1);
                let words = format!("half applied to {}: {} have it, and ", space.path("src").display(), {
                    changed[..count].iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
                });
                let check = check.says(&[&words, "`klpbuild patches apply` goes on with it"]);
                assert!(check.stderr.contains(changed[count]), "{}", check.stderr);
                patches(&space, &[command]).ok();
                assert!(space.files("src", "") == *wanted, "{series}: {command} after {count} files");
            }
        }
    }
}

/// Newer kernels have no Documentation/dontdiff: then that patch is not needed.
#[test]
fn a_file_that_newer_kernels_lack_is_no_obstacle() {
    let space = source("from-6.1");
    fs::remove_file(space.path("src/Documentation/dontdiff")).unwrap();
    let before = space.files("src", "");
    patches(&space, &["apply"]).ok();
    assert!(!space.path("src/Documentation/dontdiff").exists());
    patches(&space, &["revert"]).ok();
    assert!(space.files("src", "") == before);
}

#[test]
fn a_tree_that_does_not_fit_is_left_alone() {
    let space = source("from-6.1");
    let refused = |words: &[&str]| {
        let before = space.files("src", "");
        patches(&space, &["apply"]).ends(1).says(words);
        patches(&space, &["check"]).ends(1).says(&["no series fits "]);
        assert!(space.files("src", "") == before);
    };
    // The last patch of the series finds nothing: none of them is applied.
    let header = space.path("src/.gitignore");
    let text = fs::read_to_string(&header).unwrap();
    fs::write(&header, text.replace("/Module.markers", "/something")).unwrap();
    refused(&["from-6.1: 0004-kbuild-add-klpclean.patch: .gitignore: "]);
    fs::write(&header, &text).unwrap();
    fs::write(space.path("src/scripts/Makefile.klp"), "# somebody else's\n").unwrap();
    refused(&["scripts/Makefile.klp is there already"]);
    fs::remove_file(space.path("src/scripts/Makefile.klp")).unwrap();
    fs::remove_file(space.path("src/samples/livepatch/Makefile")).unwrap();
    refused(&["there is no samples/livepatch/Makefile"]);
    space
        .klpbuild(&["patches", "show", "from-7.0"])
        .ends(1)
        .says(&["from-7.0: there is no such series; there are from-6.19, "]);
    space.klpbuild(&["patches", "apply", "-C", "/"]).ends(1).says(&["/ is no kernel's source tree"]);
}

#[test]
fn what_git_has_not_seen_committed_is_not_overwritten() {
    let space = source("from-6.1");
    let git = |script: &str| space.sh(&format!("export GIT_CONFIG_GLOBAL=/dev/null; {script}"));
    git("git init -q . && git add -A -f && git -c user.name=t -c user.email=t@t commit -qm base").ok();
    let path = space.path("src/scripts/Makefile.build");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}# mine\n")).unwrap();
    patches(&space, &["apply"]).ends(1).says(&["changes that are not committed", "(scripts/Makefile.build)"]);
    assert!(!space.path("src/scripts/Makefile.klp").exists());
    fs::write(&path, text).unwrap();
    // What the series does not touch may be as it likes.
    fs::write(space.path("src/other"), "mine").unwrap();
    patches(&space, &["apply"]).ok();
    git("git diff --quiet").ends(1);
    patches(&space, &["revert"]).ok();
    git("git diff --quiet").ok();
    // git takes it as mail.
    git("rm other; klp=$KLP; git -c user.name=t -c user.email=t@t am -q \"$PWD\"/../series.mbox").ends(128);
    fs::write(space.path("series.mbox"), patches(&space, &["show"]).ok().stdout).unwrap();
    git("git am --abort; git -c user.name=t -c user.email=t@t am -q ../series.mbox").ok();
    assert!(patches(&space, &["list"]).ok().stdout.contains("applied to this tree"));
    assert_eq!(
        git("git log --format=%s | head -n 1").ok().stdout,
        "Documentation: dontdiff: leave out what klpbuild makes\n"
    );
}

/// A miniature tree with the series' Makefile.klp and its switch, which is on, and plain make in it.
fn patched(tree: &str) -> Space {
    let space = Space::configured(tree);
    patch(&space, tree);
    space
}

fn patch(space: &Space, tree: &str) {
    let (series, _) = SERIES.iter().find(|(_, era)| *era == tree).unwrap();
    fs::write(space.path("src/scripts/Makefile.klp"), klp_makefile(series)).unwrap();
    fs::create_dir_all(space.path("src/kernel/livepatch")).unwrap();
    fs::write(space.path("src/kernel/livepatch/Kconfig"), "config KLP_CONVERT\n\tbool\n").unwrap();
    switch(space, "CONFIG_KLP_CONVERT=y");
}

/// Has the configuration end with that line.
fn switch(space: &Space, line: &str) {
    let config = space.read("obj/.config").replace("CONFIG_KLP_CONVERT=y\n", "");
    fs::write(space.path("obj/.config"), format!("{config}{line}\n")).unwrap();
}

fn make(space: &Space, arguments: &[&str]) -> Ran {
    let program = format!("KLPBUILD={}", Space::program());
    space.make(&[&["O=../obj", &program][..], arguments].concat())
}

fn results(space: &Space) -> BTreeMap<String, Vec<u8>> {
    let mut found = space.files("obj", ".ko");
    found.extend(space.files("obj", "Symbols.list"));
    found.extend(space.files("obj", "modules.livepatch"));
    found
}

#[test]
fn plain_make_in_a_patched_tree_does_what_klpbuild_does() {
    for tree in ERAS {
        let space = patched(tree);
        let klp = space.path("src/scripts/Makefile.klp");
        let words = vec!["modules", "KNOWN=m", "FLAGGED=y"];
        // First without the series.
        fs::rename(&klp, space.path("klp")).unwrap();
        space.klpbuild(&[&words[..], &["O=../obj"]].concat()).ok();
        let expected = results(&space);
        assert!(expected["Symbols.list"].starts_with(b"klp-convert-symbol-data.0.1\n*vmlinux\n"));
        space.klpbuild(&["clean", "O=../obj"]).ok();
        fs::rename(space.path("klp"), &klp).unwrap();

        let built = make(&space, &words).ok();
        assert!(built.stdout.contains("  KLP     Symbols.list\n"), "{tree}: {}", built.stdout);
        assert!(
            built.stdout.contains("  KLP [M] samples/livepatch/lp-known.ko\n"),
            "{tree}: {}",
            built.stdout
        );
        assert!(results(&space) == expected, "{tree}");
        let stamps = space.stamps("obj");
        let again = make(&space, &words).ok();
        assert!(!again.stdout.contains("KLP") && space.stamps("obj") == stamps, "{tree}: {}", again.stdout);

        // klpbuild leaves it to the makefiles.
        let ours = space.klpbuild(&[&words[..], &["O=../obj", "-v"]].concat()).ok();
        assert!(
            !ours.stdout.contains("MAKEFILES=") && space.stamps("obj") == stamps,
            "{tree}: {}",
            ours.stdout
        );
        assert!(ours.stdout.contains("klpbuild: 3 modules, 4 livepatches; "), "{tree}: {}", ours.stdout);

        // An unknown symbol ends the build at the map, an ordinary module's at modpost.
        make(&space, &["modules", "UNKNOWN=m"]).ends(2).says(&["Unable to find missing symbol"]);
        assert!(!space.path("obj/samples/livepatch/lp-unknown.ko").exists(), "{tree}");
        make(&space, &["modules", "BAD=m"]).ends(2).says(&["bad.ko] undefined!"]);

        // Without its flag, a livepatch is an ordinary module again.
        make(&space, &words).ok();
        let marks = || {
            let name = |name: &String| *name != "modules.livepatch";
            space.files("obj", ".livepatch").into_keys().filter(name).collect::<Vec<String>>()
        };
        let place = if tree == "era-a" { ".tmp_versions" } else { "samples/livepatch" };
        assert_eq!(marks(), [format!("{place}/lp-flagged.livepatch")], "{tree}");
        let is_livepatch = || {
            let bytes = fs::read(space.path("obj/samples/livepatch/lp-flagged.ko")).unwrap();
            bytes.windows(12).any(|window| window == b"livepatch=Y\0")
        };
        assert!(is_livepatch(), "{tree}");
        let unflagged: Vec<&str> = words.iter().copied().filter(|word| *word != "FLAGGED=y").collect();
        make(&space, &unflagged).ok();
        assert_eq!(marks(), Vec::<String>::new(), "{tree}");
        let list = space.read("obj/modules.livepatch");
        assert!(!list.contains("lp-flagged") && !is_livepatch(), "{tree}: {list}");
        // And one with it.
        make(&space, &words).ok();
        assert!(space.read("obj/modules.livepatch").contains("lp-flagged") && is_livepatch(), "{tree}");
        assert!(results(&space) == expected, "{tree}");

        make(&space, &["clean"]).ok();
        let left = space.files("obj", "");
        let ours = |name: &&String| {
            name.contains("klp") || name.contains("Symbols.list") || name.ends_with("livepatch")
        };
        assert_eq!(left.keys().find(ours), None, "{tree}");

        // klpbuild does as well, on a tree that carries no series.
        fs::rename(&klp, space.path("klp")).unwrap();
        for (words, is_one) in [(&words, true), (&unflagged, false), (&words, true)] {
            space.klpbuild(&[&words[..], &["O=../obj"]].concat()).ok();
            assert_eq!(is_livepatch(), is_one, "{tree}");
        }
    }
}

/// As many modules as before, and all of their objects older than the map: it is made anew all the same.
#[test]
fn the_map_is_made_anew_for_another_module() {
    for tree in ERAS {
        let space = patched(tree);
        let unknown =
            || make(&space, &["modules", "UNKNOWN=m"]).ends(2).says(&["Unable to find missing symbol"]);
        unknown();
        make(&space, &["modules", "KNOWN=m"]).ok();
        unknown();
    }
}

/// A tree that carries a series can do without klpbuild, and does not ask for it.
#[test]
fn with_the_switch_off_plain_make_does_without_klpbuild() {
    for tree in ERAS {
        let space = patched(tree);
        let without =
            |words: &[&str]| space.make(&[&["O=../obj", "KLPBUILD=/nowhere/klpbuild"], words].concat());
        switch(&space, "# CONFIG_KLP_CONVERT is not set");
        let plain = without(&["vmlinux", "modules"]).ok();
        assert!(!plain.stdout.contains("KLP"), "{tree}: {}", plain.stdout);
        assert!(!space.path("obj/Symbols.list").exists(), "{tree}");
        assert!(!space.path("obj/.klpbuild").exists(), "{tree}");
        // Then a livepatch's references are errors as any module's are: it is not there unconverted.
        without(&["vmlinux", "modules", "KNOWN=m"]).ends(2).says(&["lp-known.ko] undefined!"]);
        assert!(!space.path("obj/samples/livepatch/lp-known.ko").exists(), "{tree}");

        // klpbuild sees that the makefiles leave it to it.
        let ours = space.klpbuild(&["modules", "KNOWN=m", "O=../obj", "-v"]).ok();
        assert!(ours.stdout.contains("MAKEFILES="), "{tree}: {}", ours.stdout);
        assert!(ours.stdout.contains("  KLP [M] samples/livepatch/lp-known.ko\n"), "{tree}: {}", ours.stdout);
    }
}

/// The build ends before anything is compiled.
#[test]
fn a_build_that_has_no_klpbuild_says_so_at_once() {
    for tree in ERAS {
        let space = patched(tree);
        let missing = space.make(&["O=../obj", "modules", "KLPBUILD=klpbuild-is-not-here"]).ends(2).says(&[
            "*** CONFIG_KLP_CONVERT is set, and there is no klpbuild-is-not-here:\n",
            "(make KLPBUILD=/path/to/klpbuild)",
            "(scripts/config --disable KLP_CONVERT)",
        ]);
        assert!(!missing.stdout.contains("  CC "), "{tree}: {}", missing.stdout);
        // Nothing else needs it.
        space.make(&["O=../obj", "vmlinux", "KLPBUILD=klpbuild-is-not-here"]).ok();
    }
}

/// External modules are none of the series' business: klpbuild does them as in any tree.
#[test]
fn external_modules_of_a_patched_tree_are_klpbuilds() {
    for tree in ERAS {
        let space = crate::external::space(tree);
        patch(&space, tree);
        let built = crate::external::klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
        assert!(built.stdout.contains("  KLP [M] lp-ext.ko\n"), "{tree}: {}", built.stdout);
    }
}

/// The patches in the program are those in the folder.
#[test]
fn the_folder_has_what_the_program_has() {
    let space = Space::new("odd");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kbuild-patches");
    for (series, _) in SERIES {
        let script = format!("cat {}/{series}/*.patch", folder.display());
        let expected = Ran::of(Command::new("sh").args(["-c", &script]).output().unwrap()).ok().stdout;
        assert_eq!(patches(&space, &["show", series, "-C", "/"]).ok().stdout, expected);
    }
    let series =
        fs::read_dir(&folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(series, SERIES.len());
}
