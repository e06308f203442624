// SPDX-License-Identifier: GPL-2.0-only
//! Each third-party interface has one place in the sources.

use std::fs;
use std::path::Path;

/// The files below `src`, with their texts.
pub(crate) fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files
}

fn collect(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Words that only one place may have: that place, or "nowhere".
type Interface<'a> = (&'a [&'a str], &'a str);

/// Where each of the interfaces is named that is not named in its own place alone.
fn misplaced(files: &[(String, String)], interfaces: &[Interface<'_>]) -> Vec<String> {
    let of_one = |&(words, place): &Interface<'_>| {
        // A place that ends in a slash is a module with the files below it.
        let within = |name: &str| {
            let module = place.strip_suffix('/');
            module.is_some_and(|module| name.starts_with(place) || name.strip_suffix(".rs") == Some(module))
        };
        let has_one = |text: &str| {
            let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            code.any(|line| words.iter().any(|word| line.contains(word)))
        };
        let users = files.iter().filter(|(_, text)| has_one(text));
        let mut users: Vec<&str> =
            users.map(|(name, _)| if within(name) { place } else { name.as_str() }).collect();
        users.dedup();
        let allowed = if place == "nowhere" { vec![] } else { vec![place] };
        (users != allowed).then(|| format!("{}: {}", words.join(" "), users.join(" ")))
    };
    interfaces.iter().filter_map(of_one).collect()
}

#[test]
fn each_interface_has_one_place() {
    let files = sources();
    assert!(files.len() > 20);
    let interfaces = [
        (&["indicatif::"][..], "build/progress/bar.rs"),
        (&["duct::"], "host/program.rs"),
        (&["clap::"], "cli/"),
        (&["anstyle::"], "host/paint.rs"),
        (&["clap_complete::"], "command/completions.rs"),
        (&["clap_mangen::"], "command/man.rs"),
        (&["gimli::"], "debuginfo/dwarf/"),
        (&["cpio::"], "command/trial/initramfs.rs"),
        (&["btf_rs::"], "debuginfo/btf.rs"),
        (&["diffy::"], "host/patch.rs"),
        (&["liblzma::", "zstd::", "flate2::"], "host/compressed.rs"),
        (&["object::elf", "object::read", "object::write", "use object"], "elf/"),
        (&["io::stdout", "io::stderr", "IsTerminal", "stdout().lock", "stderr().lock"], "host/terminal.rs"),
        (&["println!", "print!(", "dbg!("], "nowhere"),
        (&["strsim::"], "kernel/suggestions.rs"),
        (&["iced_x86::"], "livepatch/code/"),
        (&["serde_json::"], "host/terminal.rs"),
        (&["sha2::"], "host/digest.rs"),
    ];
    let none: [&str; 0] = [];
    assert_eq!(misplaced(&files, &interfaces), none);
}

/// What the test above would say of files that are not as they should be.
#[test]
fn what_is_named_elsewhere_is_seen() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [
        file("elf.rs", "use one::A;\n"),
        file("elf/read.rs", "one::read();\n"),
        file("host/bar.rs", "// one::read()\nuse two::B;\n"),
        file("command/new.rs", "    dbg!(1);\n"),
    ];
    let seen = |words: &[&str], place: &str| misplaced(&files, &[(words, place)]);
    let none: [&str; 0] = [];
    assert_eq!(seen(&["one::"], "elf/"), none);
    assert_eq!(seen(&["two::"], "host/bar.rs"), none);
    assert_eq!(seen(&["print!", "three::"], "nowhere"), none);
    assert_eq!(seen(&["one::"], "elf/read.rs"), ["one::: elf.rs elf/read.rs"]);
    assert_eq!(seen(&["two::", "one::read"], "host/bar.rs"), ["two:: one::read: elf/read.rs host/bar.rs"]);
    assert_eq!(seen(&["print!", "dbg!("], "nowhere"), ["print! dbg!(: command/new.rs"]);
    // A place that is named no more is to be taken out of the list.
    assert_eq!(seen(&["three::"], "host/bar.rs"), ["three::: "]);
}
