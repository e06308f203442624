// SPDX-License-Identifier: GPL-2.0-only
//! What stands at the door: licences of our own files and of what they use, and links that lead somewhere.

use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The project's files, without what is built.
fn files() -> Vec<String> {
    fn collect(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let is_made = ["target", ".git", "corpus", "artifacts"].contains(&name.as_str())
                    || path == root().join("fuzz/tree");
                if !is_made {
                    collect(&path, found);
                }
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    collect(root(), &mut found);
    found
}

#[test]
fn every_source_file_names_its_licence() {
    let is_source = |name: &str, text: &str| {
        const ENDS: [&str; 11] =
            [".rs", ".mk", ".sh", ".c", ".h", ".s", ".S", ".config", ".toml", "Makefile", "Kconfig"];
        ENDS.iter().any(|end| name.ends_with(end)) || text.starts_with("#!")
    };
    let texts =
        files().into_iter().filter_map(|name| Some((fs::read_to_string(root().join(&name)).ok()?, name)));
    let sources: Vec<(String, String)> = texts.filter(|(text, name)| is_source(name, text)).collect();
    assert!(sources.len() > 200, "{}", sources.len());
    let has_line =
        |text: &str| text.lines().take(2).any(|line| line.contains("SPDX-License-Identifier: GPL-2.0-only"));
    let without: Vec<&str> =
        sources.iter().filter(|(text, _)| !has_line(text)).map(|(_, name)| name.as_str()).collect();
    assert!(without.is_empty(), "{without:?}");
}

/// Each crate that becomes a part of the program can be had under a licence that goes with GPL-2.0-only. Apache-2.0 alone
/// does not; crates that only tests use are not distributed.
#[test]
fn what_is_used_may_be_used() {
    const GOOD: [&str; 9] = [
        "MIT",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "Zlib",
        "0BSD",
        "Unlicense",
        "LGPL-2.1-or-later",
        "Unicode-3.0",
        "GPL-2.0-only",
    ];
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges=normal,build", "--prefix=none", "--format={l}|{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates = String::from_utf8(output.stdout).unwrap();
    assert!(crates.lines().count() > 50);
    // Of alternatives (OR, or / in old manifests) one may be chosen; of licences joined by AND, all count.
    let is_good = |licence: &str| {
        let plain = licence.replace(['(', ')'], " ").replace('/', " OR ");
        plain.split(" AND ").all(|part| part.split(" OR ").any(|one| GOOD.contains(&one.trim())))
    };
    let bad: Vec<&str> =
        crates.lines().filter(|line| !is_good(line.split('|').next().unwrap_or_default())).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(is_good("Apache-2.0/MIT") && !is_good("MIT AND Apache-2.0") && !is_good("Apache-2.0"));
}

/// What packages say of the program comes from Cargo.toml and the crates' own sources.
#[test]
fn packages_tell_the_version_and_the_licences() {
    let printed = |script: &str, arguments: &[&str]| {
        let output = Command::new(root().join("packaging").join(script)).args(arguments).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(printed("about", &["version"]).trim_end(), env!("CARGO_PKG_VERSION"));
    assert!(printed("about", &["date"]).trim_end().parse::<u64>().unwrap() > 1_700_000_000);
    let notices = printed("notices", &[]);
    for name in ["anyhow", "btf-rs", "clap", "iced-x86", "object", "regex", "zstd-sys"] {
        assert!(notices.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
    // The terms of MIT, of BSD, and of the LGPL.
    for words in
        ["Permission is hereby granted", "Redistributions in binary form must", "GNU LESSER GENERAL PUBLIC"]
    {
        assert!(notices.contains(words), "{words}");
    }
}

/// The oldest Rust that Cargo.toml names is new enough for all that the program is made of, and the same as everywhere else.
/// Whether it is new enough for our own code, clippy tells (`incompatible_msrv`).
#[test]
fn one_oldest_rust_is_named_everywhere() {
    let arguments = [
        "metadata",
        "--locked",
        "--offline",
        "--format-version=1",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let parts =
        |version: &str| version.split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>();
    let needs: Vec<(&str, &str)> = (metadata["packages"].as_array().unwrap().iter())
        .filter_map(|package| Some((package["name"].as_str()?, package["rust_version"].as_str()?)))
        .collect();
    let (_, ours) = *needs.iter().find(|(name, _)| *name == env!("CARGO_PKG_NAME")).unwrap();
    assert!(needs.len() > 30, "{needs:?}");
    let newer: Vec<_> = needs.iter().filter(|(_, theirs)| parts(theirs) > parts(ours)).collect();
    assert!(newer.is_empty(), "newer than {ours}: {newer:?}");
    let named = |file: &str, before: &str| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let (_, after) = text.split_once(before).unwrap_or_else(|| panic!("{file}: no {before}"));
        after.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap().to_owned()
    };
    assert_eq!(named("README.md", "with Rust "), ours);
    assert_eq!(named("tests/packages", "! printf '"), ours);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    let mut seen = 0;
    for name in files().iter().filter(|name| name.ends_with(".md")) {
        let text = fs::read_to_string(root().join(name)).unwrap();
        for found in link.captures_iter(&text) {
            let target = root().join(name).parent().unwrap().join(&found[1]);
            assert!(target.exists(), "{name}: {}", &found[1]);
            seen += 1;
        }
    }
    assert!(seen > 3);
}

/// A doc comment is read alone, in an editor's pop-up: it says what it means without the one above it.
#[test]
fn each_doc_comment_stands_on_its_own() {
    let leans = |comment: &str| {
        let text = comment.trim_start_matches(['/', '!']).trim_start();
        ["Likewise", "The same", "As above", "Ditto"].iter().any(|word| text.starts_with(word))
    };
    let mut leaning = Vec::new();
    for name in files().into_iter().filter(|name| name.ends_with(".rs")) {
        let mut above = "";
        let text = fs::read_to_string(root().join(&name)).unwrap();
        for line in text.lines().map(str::trim_start) {
            if line.starts_with("///") && !above.starts_with("///") && leans(line) {
                leaning.push(format!("{name}: {line}"));
            }
            above = line;
        }
    }
    assert!(leaning.is_empty(), "{leaning:#?}");
}
