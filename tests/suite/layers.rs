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

#[test]
fn each_interface_has_one_place() {
    let files = sources();
    assert!(files.len() > 20);
    for (words, place) in [
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
    ] {
        // A place that ends in a slash is a module with the files below it.
        let within = |name: &str| {
            let module = place.strip_suffix('/');
            module.is_some_and(|module| name.starts_with(place) || name.strip_suffix(".rs") == Some(module))
        };
        let mut users: Vec<&str> = files
            .iter()
            .filter(|(_, text)| {
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                code.into_iter().any(|line| words.iter().any(|word| line.contains(word)))
            })
            .map(|(name, _)| if within(name) { place } else { name.as_str() })
            .collect();
        users.dedup();
        let allowed: Vec<&str> = if place == "nowhere" { vec![] } else { vec![place] };
        assert_eq!(users, allowed, "{words:?}");
    }
}
