// SPDX-License-Identifier: GPL-2.0-only
//! Maps that are kept, in the cache and in trees, are believed only as they were written, and only while what they were
//! made of is the same: no altered, cut off or outdated one changes a result.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::external::{self, klpbuild_in};
use crate::installed::Distribution;
use crate::space::Space;

/// What can happen to a file, and its name.
type Damage = (&'static str, fn(Vec<u8>) -> Vec<u8>);

fn half(bytes: Vec<u8>) -> Vec<u8> {
    let line = bytes[..bytes.len() / 2].iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    bytes[..line + 1].to_vec()
}

/// Renames each symbol of this name, with its length as it was.
fn renamed(bytes: Vec<u8>) -> Vec<u8> {
    String::from_utf8(bytes).unwrap().replace("\nhidden_counter\n", "\nhidden_lounger\n").into_bytes()
}

const DAMAGES: [Damage; 5] = [
    ("cut off at a line", half),
    ("cut off", |bytes| bytes[..bytes.len() * 2 / 3].to_vec()),
    ("altered", renamed),
    ("emptied", |_| Vec::new()),
    ("longer", |bytes| [bytes, b"*plain\nhidden_counter\n".to_vec()].concat()),
];

/// Writes other content, and sets the time back.
fn damage(path: &PathBuf, how: fn(Vec<u8>) -> Vec<u8>) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    let content = how(fs::read(path).unwrap());
    fs::write(path, content).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
}

#[test]
fn a_damaged_cached_map_is_made_anew() {
    let distribution = Distribution::install();
    let lookup = || distribution.klpbuild(&["lookup", "--format", "json", "hidden_counter", "right"]);
    let right = lookup().ok();
    assert!(right.stderr.contains("reading the symbols of 9.0-mini"), "{right:?}");
    assert!(!lookup().ok().stderr.contains("reading"));
    let list = distribution.cached()[0].join("Symbols.list");
    let written = fs::read(&list).unwrap();
    for name in ["Symbols.list", "modules.livepatch", "made-of"] {
        for (what, how) in DAMAGES {
            let path = list.with_file_name(name);
            let before = fs::read(&path).unwrap();
            damage(&path, how);
            if fs::read(&path).unwrap() == before {
                continue;
            }
            let ran = lookup().ok();
            assert!(ran.stderr.contains("reading the symbols of 9.0-mini"), "{name} {what}: {ran:?}");
            assert_eq!(ran.stdout, right.stdout, "{name} {what}");
            assert!(fs::read(&list).unwrap() == written && !lookup().ok().stderr.contains("reading"));
        }
        fs::remove_file(list.with_file_name(name)).unwrap();
        assert!(lookup().ok().stderr.contains("reading"), "{name} is gone");
    }
}

/// Beside external modules, only their own names are written, and which list has the kernel's. Nothing that happens to that
/// one changes what any command says.
#[test]
fn the_kernels_part_of_a_map_is_kept_once() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    distribution.klpbuild(&["modules"]).ok();
    let own = space.read("ext/Symbols.list");
    let cached = distribution.cached()[0].join("Symbols.list");
    assert!(own.ends_with(&format!(
        " {}\n*plain\n{}",
        cached.display(),
        own.split("*plain\n").nth(1).unwrap()
    )));
    assert!(own.contains("\nplain_hidden\n") && !own.contains("hidden_counter"), "{own}");
    let commands: [&[&str]; 4] = [
        &["lookup", "--format", "json", "hidden_counter", "plain_hidden", "klog"],
        &["lookup", "hidden_countr"],
        &["verify", "lp-ext.ko"],
        &["convert", "lp-ext.o", "-o", "../converted.ko"],
    ];
    let said = || {
        commands.map(|command| {
            let ran = distribution.klpbuild(command);
            (ran.code, ran.stdout, ran.stderr)
        })
    };
    let right = said();
    assert_eq!(right.each_ref().map(|said| said.0), [Some(0), Some(1), Some(0), Some(0)], "{right:?}");
    assert!(right[1].2.contains("nearest names are hidden_counter (vmlinux)"), "{}", right[1].2);
    let written = fs::read(&cached).unwrap();
    let converted = fs::read(space.path("converted.ko")).unwrap();
    let is_right = |what: &str| {
        let now = said();
        for (now, right) in now.iter().zip(&right) {
            assert_eq!((now.0, &now.1), (right.0, &right.1), "{what}: {}", now.2);
        }
        assert!(fs::read(space.path("converted.ko")).unwrap() == converted, "{what}");
        assert!(now[0].2.contains("reading the symbols of 9.0-mini"), "{what}: {}", now[0].2);
        // Made again, it is the one that is named.
        assert!(!now[0].2.contains("are read anew") && !now[2].2.contains("reading"), "{what}: {}", now[2].2);
        assert!(fs::read(&cached).unwrap() == written);
    };
    for (what, how) in DAMAGES {
        damage(&cached, how);
        is_right(what);
    }
    fs::remove_dir_all(space.path("cache")).unwrap();
    is_right("gone");
    // Where it is named by hand, nothing is made anew.
    damage(&cached, renamed);
    let list = space.path("ext/Symbols.list").display().to_string();
    let ran = distribution.klpbuild(&["lookup", "--symbols", &list, "hidden_counter"]);
    let words = "which has changed since: build there again (klpbuild modules)";
    assert!(ran.code == Some(1) && ran.stderr.contains(words), "{ran:?}");
    // Another kernel's, by now: what is built here is seen apart from it.
    space
        .sh("cd ../root/lib/modules/9.0-mini/kernel/one && gzip -d user.ko.gz && mv user.ko ../../other.ko")
        .ok();
    let ran = distribution.klpbuild(commands[0]).ok();
    assert!(
        ran.stderr.contains("Symbols.list names ") && ran.stderr.contains("which has changed since"),
        "{ran:?}"
    );
    let definitions = |text: &str| text.matches("\"object\": \"plain\"").count();
    assert!(definitions(&ran.stdout) > 0 && definitions(&ran.stdout) == definitions(&right[0].1), "{ran:?}");
}

/// A package that is built again may have files of the same sizes and times.
#[test]
fn another_file_of_the_same_size_and_time_is_seen() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    distribution.klpbuild(&["modules"]).ok();
    let file = space.path("root/lib/modules/9.0-mini/kernel/one/user.ko.gz");
    let before = fs::metadata(&file).unwrap();
    space.sh("cd ..; nm -n root/usr/lib/debug/boot/vmlinux-9.0-mini > /dev/null; sleep 0.05").ok();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), before.len());
    let again = distribution.klpbuild(&["modules"]).ok().says(&["reading the symbols"]);
    // What was resolved with it is resolved anew.
    assert!(again.stdout.contains("  KLP [M] lp-ext.ko\n"), "{}", again.stdout);
}

/// A tree's map, and one beside external modules.
#[test]
fn an_altered_map_of_a_tree_is_not_believed() {
    let space = external::space("era-c");
    space.klpbuild(&["modules", "O=../obj"]).ok();
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    for (directory, names) in
        [("obj", ["hidden_counter", "right"]), ("ext", ["hidden_counter", "plain_hidden"])]
    {
        let lookup =
            || klpbuild_in(&space, directory, "", &["lookup", "--format", "json", names[0], names[1]]);
        let right = lookup().ok();
        assert_eq!(right.stderr, "", "{directory}");
        let list = space.path(directory).join("Symbols.list");
        let written = fs::read(&list).unwrap();
        for (what, how) in DAMAGES {
            damage(&list, how);
            let ran = lookup().ok();
            assert_eq!(ran.stdout, right.stdout, "{directory} {what}");
            let is_said = ran
                .stderr
                .contains("Symbols.list is not what klpbuild wrote there: the symbols are read anew");
            assert!(is_said, "{directory} {what}: {ran:?}");
            fs::write(&list, &written).unwrap();
        }
    }
    // An external build does not take it either.
    damage(&space.path("obj/Symbols.list"), renamed);
    fs::remove_dir_all(space.path("ext/.klpbuild")).unwrap();
    let built = klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    assert!(built.stderr.contains("is not what klpbuild wrote there"), "{built:?}");
    assert!(space.read("ext/Symbols.list").contains("\nhidden_counter\n"));
}

/// A plain make may build what makes a name ambiguous.
#[test]
fn an_outdated_map_of_a_tree_is_not_believed() {
    for tree in ["era-a", "era-b", "era-c"] {
        let space = Space::configured(tree);
        space.klpbuild(&["modules", "O=../obj"]).ok();
        let count = |text: &str| text.lines().filter(|line| line.starts_with("  ")).count() - 1;
        let name = space.read("obj/Symbols.list");
        let name =
            name.split("*pair\n").nth(1).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        assert!(!name.is_empty(), "{tree}");
        let find = |name: &str| space.klpbuild(&["lookup", "--objtree", "../obj", name]);
        let before = find(&name).ok();
        assert_eq!(before.stderr, "", "{tree}");
        let other = space.path("src/drivers/one/user.c");
        let text = fs::read_to_string(&other).unwrap();
        fs::write(
            &other,
            format!("{text}\n__attribute__((used)) static int {name}_too(void) {{ return 1; }}\n"),
        )
        .unwrap();
        later(&other);
        space.make(&["O=../obj", "modules"]).ok();
        let missing = format!("{name}_too");
        let after = find(&missing).ok();
        assert!(after.stderr.contains("Symbols.list is older than "), "{tree}: {after:?}");
        assert_eq!(count(&after.stdout), 1, "{tree}: {after:?}");
        // Once it is made again, there is nothing to say.
        space.klpbuild(&["symbols", "--objtree", "../obj"]).ok();
        assert_eq!(find(&missing).ok().stderr, "", "{tree}");
    }
}

/// make goes by times.
fn later(path: &PathBuf) {
    let time = SystemTime::now() + Duration::from_secs(2);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}
