// SPDX-License-Identifier: GPL-2.0-only
//! Patches of the kernel's source, in `fixes`: each tells above its first `---` what it is, and what comes of it.
//!
//! - `Says: TEXT`: the report has this in it
//! - `Refused: TEXT`: no livepatch is made, and that is said
//! - `Runs: COMMAND` and `Shows: TEXT`: only while the livepatch is enabled, the command prints this

use std::fs;
use std::path::Path;

use crate::kernel::Ran;
use crate::step;

const FIXES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels/fixes");

/// A patch.
struct Fix {
    name: String,
    path: String,
    says: Vec<String>,
    refused: Vec<String>,
    runs: Option<String>,
    shows: Vec<String>,
}

fn read() -> Vec<Fix> {
    let mut found: Vec<Fix> = fs::read_dir(FIXES)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let (told, _) = text.split_once("\n---\n").unwrap();
            let all = |field: &str| -> Vec<String> {
                told.lines().filter_map(|line| line.strip_prefix(field)).map(str::to_owned).collect()
            };
            let fix = Fix {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                path: path.display().to_string(),
                says: all("Says: "),
                refused: all("Refused: "),
                runs: all("Runs: ").pop(),
                shows: all("Shows: "),
            };
            assert!(fix.says.is_empty() != fix.refused.is_empty(), "{}", fix.name);
            assert!(fix.runs.is_some() != fix.shows.is_empty(), "{}", fix.name);
            fix
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(found.len() >= 20, "{}", found.len());
    found
}

/// Makes livepatches in `root` of all patches, and boots those that there are, together.
pub(crate) fn check(root: &Path, klpbuild: &dyn Fn(&Path, &[&str]) -> Ran) {
    let fixes = read();
    let mut livepatches = Vec::new();
    let mut commands = Vec::new();
    let mut shown = Vec::new();
    for fix in &fixes {
        step(&format!("the patch {}", fix.name));
        let file = format!("lp-{}.ko", fix.name);
        let ran = klpbuild(root, &["livepatch", &fix.path, "-o", &file]);
        if fix.says.is_empty() {
            let ran = ran.ends(1);
            for words in &fix.refused {
                assert!(ran.stderr.contains(words), "{}: {words}: {}", fix.name, ran.stderr);
            }
            assert!(!root.join(&file).exists(), "{}", fix.name);
            continue;
        }
        let ran = ran.ok();
        for words in &fix.says {
            assert!(ran.stdout.contains(words), "{}: {words}: {}", fix.name, ran.stdout);
        }
        let verified = klpbuild(root, &["verify", &file]).ok();
        assert!(verified.stdout.contains(": correct"), "{}: {}", fix.name, verified.stdout);
        let all = format!("{}{}", verified.stdout, verified.stderr);
        assert!(
            !all.contains("S9"),
            "nothing is said of the declarations in its tables: {}: {all}",
            fix.name
        );
        livepatches.push(file);
        for text in &fix.shows {
            let runs = fix.runs.as_deref().unwrap();
            let answer = format!("{} '{text}'", fix.name);
            commands.push(format!(
                "if ({runs}) 2>&1 | grep -qF '{text}'; then echo \"{answer}: yes\"; else echo \"{answer}: no\"; fi"
            ));
            shown.push(answer);
        }
    }

    step("they do what they say, and stop to do it");
    let mut words = vec!["try"];
    words.extend(livepatches.iter().map(String::as_str));
    let command = commands.join("; ");
    words.extend(["--run", &command, "--timeout", "600"]);
    let tried = klpbuild(root, &words).ok();
    for answer in &shown {
        assert!(tried.stdout.contains(&format!("{answer}: no\n")), "{answer}: {}", tried.stdout);
        assert!(tried.stdout.contains(&format!("{answer}: yes\n")), "{answer}: {}", tried.stdout);
    }
    // A reload lets some of them begin anew.
    for told in ["the command prints something else while enabled", "and after it the same as before"] {
        assert!(tried.stdout.contains(told), "{told}: {}", tried.stdout);
    }
}
