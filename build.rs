// SPDX-License-Identifier: GPL-2.0-only
//! Tells the program the commit that it is built from: `klpbuild --version` prints it.
//!
//! That of the environment variable KLPBUILD_COMMIT, which packages set; or of git, in a clone; or of what cargo has
//! packed. Without any of them, the version stands alone.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

fn main() {
    let version = env!("CARGO_PKG_VERSION");
    let mut lines =
        vec!["rerun-if-env-changed=KLPBUILD_COMMIT".to_owned(), "rerun-if-changed=build.rs".to_owned()];
    let given = std::env::var("KLPBUILD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| of_git(&mut lines)).or_else(packed);
    let shown = commit.map(|commit| format!(" ({})", commit.get(..12).unwrap_or(&commit)));
    lines.push(format!("rustc-env=KLPBUILD_VERSION={version}{}", shown.unwrap_or_default()));
    let text: String = lines.iter().map(|line| format!("cargo::{line}\n")).collect();
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// HEAD of the clone that this directory is the top of, and what to look at for changes of it.
fn of_git(lines: &mut Vec<String>) -> Option<String> {
    let here = std::fs::canonicalize(".").ok()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    // A clone further up is another project's.
    if std::fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()? != here {
        return None;
    }
    for name in ["HEAD", "logs/HEAD"] {
        let file = git(&["rev-parse", "--git-path", name]).filter(|file| Path::new(file).exists());
        lines.extend(file.map(|file| format!("rerun-if-changed={file}")));
    }
    git(&["rev-parse", "HEAD"])
}

/// The commit that cargo notes in a package.
fn packed() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}
