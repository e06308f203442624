// SPDX-License-Identifier: GPL-2.0-only
//! A kbuild tree in miniature in a temporary directory, and what was run there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

/// The trees that stand for an era of kbuild.
pub const ERAS: [&str; 3] = ["era-a", "era-b", "era-c"];
/// Those, and the one that builds external modules elsewhere.
pub const EXTERNAL_ERAS: [&str; 4] = ["era-a", "era-b", "era-c", "era-d"];
/// All trees: also the one that is built in phases.
pub const TREES: [&str; 4] = ["era-a", "era-b", "era-c", "odd"];
/// Those, and the other forms of Makefile.modpost that there were from 5.3 to 6.0.
pub const MODPOSTS: [&str; 6] = ["era-a", "era-b", "era-b-5.3", "era-b-5.8", "era-c", "odd"];

/// How long a test waits for what has to come: much longer than it takes on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until something has come about; fails with `what` is missing if it never does.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for {} s, but not so: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process has ended, though nobody may have asked for its status yet.
pub fn has_ended(pid: &str) -> bool {
    !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A source tree at `src`; object trees beside it.
pub struct Space {
    dir: tempfile::TempDir,
    /// Which tree it is.
    pub tree: String,
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// What a program did that has ended.
    pub fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts the exit status.
    #[track_caller]
    pub fn ends(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that it went well.
    #[track_caller]
    pub fn ok(self) -> Ran {
        self.ends(0)
    }

    /// Asserts that standard error has all of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Ran {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in:\n{}", self.stderr);
        }
        self
    }

    /// The steps that were printed, as `CC lib/text.o`.
    pub fn steps(&self) -> Vec<String> {
        let steps = self.stdout.lines().filter(|line| line.starts_with("  "));
        steps.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

impl Space {
    /// Lays out one of [`TREES`].
    pub fn new(tree: &str) -> Space {
        let dir = tempfile::tempdir().unwrap();
        let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
        // These are like another, but for what lies in their own folders.
        let layers: &[&str] = match tree {
            "era-d" => &["shared", "era-c", tree],
            "era-b-5.3" | "era-b-5.8" => &["shared", "era-b", tree],
            _ => &["shared", tree],
        };
        for layer in layers {
            let status = Command::new("cp")
                .arg("-r")
                .arg(trees.join(layer).join("."))
                .arg(dir.path().join("src"))
                .status();
            assert!(status.unwrap().success());
        }
        Space { dir, tree: tree.to_owned() }
    }

    /// A copy of the tree, configured for an object tree `obj`.
    pub fn configured(tree: &str) -> Space {
        let space = Space::new(tree);
        space.make(&["O=../obj", "defconfig"]).ok();
        space
    }

    /// A path below the temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// The text of a file below the temporary directory.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command in the source tree, free of what the tests themselves run under.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("src"));
        for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", "CI", "MAKE"] {
            command.env_remove(name);
        }
        command
    }

    /// The klpbuild program.
    pub fn program() -> &'static str {
        env!("CARGO_BIN_EXE_klpbuild")
    }

    /// Runs klpbuild in the source tree.
    pub fn klpbuild(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(Space::program()).args(arguments).output().unwrap())
    }

    /// Runs make in the source tree.
    pub fn make(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command("make").arg("--no-print-directory").args(arguments).output().unwrap())
    }

    /// Runs a shell in the source tree.
    pub fn sh(&self, script: &str) -> Ran {
        Ran::of(self.command("sh").args(["-c", script]).output().unwrap())
    }

    /// All files below a directory with their content, by path relative to it.
    pub fn files(&self, directory: &str, suffix: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path(directory);
        walk(&root)
            .into_iter()
            .filter(|path| path.to_string_lossy().ends_with(suffix))
            .map(|path| {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                (name, fs::read(&path).unwrap())
            })
            .collect()
    }

    /// The time stamps of all files below a directory that a build makes.
    pub fn stamps(&self, directory: &str) -> BTreeMap<PathBuf, SystemTime> {
        let made = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            [".o", ".ko", ".mod.c"].iter().any(|suffix| name.ends_with(suffix))
                || ["vmlinux", "Symbols.list", "modules.livepatch"].contains(&name.as_str())
        };
        let paths = walk(&self.path(directory)).into_iter().filter(made);
        paths.map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
    }

    /// What the map of an object tree has to be: made with real nm, as a makefile recipe would.
    pub fn recipe(&self, directory: &str) -> String {
        let list = match self.tree.as_str() {
            "era-a" => "for f in .tmp_versions/*.mod; do head -n 1 $f; done",
            _ => "sed 's/[.]k*o$//' modules.order | sort -u",
        };
        let script = format!(
            "export LC_ALL=C; cd ../{directory}
            echo klp-convert-symbol-data.0.1
            echo '*vmlinux'; nm -f posix vmlinux | cut -d' ' -f1
            {list} | sed 's/[.]ko$//' | while read m; do
                grep -qx $m.ko modules.livepatch && continue
                echo \"*$(basename $m | tr -- -, __)\"; nm -f posix $m.o | cut -d' ' -f1
            done"
        );
        self.sh(&script).ok().stdout
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match fs::symlink_metadata(&path).unwrap() {
            meta if meta.is_dir() => found.extend(walk(&path)),
            meta if meta.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}
