// SPDX-License-Identifier: GPL-2.0-only
//! A kernel source tree with samples of ours, built twice: with plain make, and with klpbuild.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Steps that kbuild prints even when there is nothing to do.
pub(crate) const ALWAYS: [&str; 7] = ["GEN", "DESCEND", "CALL", "INSTALL", "CHK", "MODPOST", "SYNC"];

pub(crate) struct Kernel {
    /// The directory with `src`, `plain`, `ours` and `ext`.
    pub(crate) root: PathBuf,
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Ran {
        let tail: Vec<&str> = self.stdout.lines().rev().take(30).collect();
        assert_eq!(self.code, Some(code), "{tail:#?}\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Ran {
        self.ends(0)
    }

    /// Tags of the steps that were printed.
    pub(crate) fn tags(&self) -> BTreeSet<String> {
        let steps =
            self.stdout.lines().filter(|line| line.starts_with("  ") && !line.contains("Building modules"));
        steps.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Kernel {
    /// Links the source tree at `source` to a fresh copy, with our samples.
    pub(crate) fn lay_out(source: &Path) -> Kernel {
        Kernel::lay_out_as(source, &source.file_name().unwrap().to_string_lossy())
    }

    /// Links the source tree at `source` to a fresh copy called `name`, with our samples.
    pub(crate) fn lay_out_as(source: &Path, name: &str) -> Kernel {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kernels/test").join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("ext")).unwrap();
        let linked =
            Command::new("cp").arg("-al").arg(source).arg(root.join("src")).stderr(Stdio::null()).status();
        if !linked.unwrap().success() {
            let _ = fs::remove_dir_all(root.join("src"));
            assert!(
                Command::new("cp").arg("-a").arg(source).arg(root.join("src")).status().unwrap().success()
            );
        }
        let samples = root.join("src/samples");
        fs::create_dir(samples.join("klpbuild")).unwrap();
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/samples");
        for file in fs::read_dir(ours).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), samples.join("klpbuild").join(file.file_name())).unwrap();
        }
        let header = samples.join("klpbuild/klp_relocs.h");
        ran(Command::new(env!("CARGO_BIN_EXE_klpbuild"))
            .args(["header", "-o"])
            .arg(header)
            .output()
            .unwrap())
        .ok();
        let makefile = fs::read_to_string(samples.join("Makefile")).unwrap();
        // A link to the original: not to be written through.
        fs::remove_file(samples.join("Makefile")).unwrap();
        fs::write(samples.join("Makefile"), makefile + "obj-y += klpbuild/\n").unwrap();
        fs::write(root.join("ext/Makefile"), "obj-m += outside.o\n").unwrap();
        fs::write(root.join("ext/outside.c"), "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n")
            .unwrap();
        Kernel { root }
    }

    fn command(&self, program: &str, objtree: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root.join("src"))
            .env_remove("MAKEFLAGS")
            .env_remove("MFLAGS")
            .env_remove("MAKELEVEL");
        // The same words in every build, so that nothing depends on when and where it was made.
        command
            .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
            .env("KBUILD_BUILD_USER", "klpbuild");
        command.env("KBUILD_BUILD_HOST", "test").env("KBUILD_BUILD_VERSION", "1").stdin(Stdio::null());
        let arguments = if program == "make" { ["--no-print-directory", "-j2"] } else { ["modules", "-j2"] };
        if program == "env" {
            // What runs the tests may have SIGINT ignored.
            command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_klpbuild")]);
        }
        command.args(arguments);
        if objtree != "src" {
            command.arg(format!("O={}", self.root.join(objtree).display()));
        }
        command
    }

    /// make in the source tree, without O=.
    pub(crate) fn make_in_tree(&self, arguments: &[&str]) -> Ran {
        self.make("src", arguments)
    }

    /// klpbuild in the source tree, without O=.
    pub(crate) fn klpbuild_in_tree(&self, arguments: &[&str]) -> Ran {
        ran(self.command(env!("CARGO_BIN_EXE_klpbuild"), "src").args(arguments).output().unwrap())
    }

    pub(crate) fn make(&self, objtree: &str, arguments: &[&str]) -> Ran {
        ran(self.command("make", objtree).args(arguments).output().unwrap())
    }

    pub(crate) fn klpbuild(&self, arguments: &[&str]) -> Ran {
        ran(self.command(env!("CARGO_BIN_EXE_klpbuild"), "ours").args(arguments).output().unwrap())
    }

    /// klpbuild's other commands, started in the object tree.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klpbuild"));
        ran(command
            .args(arguments)
            .current_dir(self.root.join("ours"))
            .stdin(Stdio::null())
            .output()
            .unwrap())
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn files(&self, objtree: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, PathBuf> {
        let root = self.root.join(objtree);
        let mut found = BTreeMap::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                if path.is_symlink() {
                } else if path.is_dir() {
                    directories.push(path);
                } else if wanted(&name) {
                    found.insert(name, path);
                }
            }
        }
        found
    }

    pub(crate) fn stamps(&self) -> BTreeMap<String, SystemTime> {
        let made = |name: &str| {
            [".o", ".ko", ".mod.c", ".a"].iter().any(|suffix| name.ends_with(suffix))
                || ["vmlinux", "Symbols.list", "modules.livepatch", "arch/x86/boot/bzImage"].contains(&name)
        };
        let files = self.files("ours", made);
        files
            .into_iter()
            .map(|(name, path)| (name, fs::metadata(path).unwrap().modified().unwrap()))
            .collect()
    }

    /// The map as real nm has it.
    pub(crate) fn recipe(&self) -> String {
        let list = if self.root.join("ours/.tmp_versions").exists() {
            "for f in .tmp_versions/*.mod; do head -n 1 $f; done"
        } else {
            "sed 's/[.]k*o$//' modules.order | sort -u"
        };
        let script = format!(
            "export LC_ALL=C; echo klp-convert-symbol-data.0.1
            echo '*vmlinux'; nm -f posix vmlinux | cut -d' ' -f1
            {list} | sed 's/[.]ko$//' | while read m; do
                grep -qx $m.ko modules.livepatch && continue
                echo \"*$(basename $m | tr -- -, __)\"; nm -f posix $m.o | cut -d' ' -f1
            done"
        );
        ran(Command::new("sh").args(["-c", &script]).current_dir(self.root.join("ours")).output().unwrap())
            .ok()
            .stdout
    }

    /// Starts klpbuild, interrupts it after some steps as Ctrl-C does, and sees that all of it ends.
    pub(crate) fn interrupt(&self) {
        let mut command = self.command("env", "ours");
        let child = command
            .arg("bzImage")
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.root.join("interrupted.err")).unwrap())
            .spawn()
            .unwrap();
        let log = self.root.join("ours/.klpbuild/make.log");
        let deadline = Instant::now() + Duration::from_secs(600);
        let steps =
            || fs::read_to_string(&log).unwrap_or_default().lines().filter(|l| l.starts_with("  CC")).count();
        while steps() < 150 {
            assert!(Instant::now() < deadline, "the build does not come off the ground");
            std::thread::sleep(Duration::from_millis(200));
        }
        let group = format!("-{}", child.id());
        assert!(Command::new("kill").args(["-s", "INT", "--", &group]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(2), "{output:?}");
        let stderr = self.read("interrupted.err");
        assert!(stderr.contains("klpbuild: stopped by SIGINT"), "{stderr}");
        let left = Command::new("pgrep").args(["-g", &group[1..]]).output().unwrap();
        assert!(left.stdout.is_empty(), "still running: {}", String::from_utf8_lossy(&left.stdout));
        assert!(!self.root.join("ours/Symbols.list").exists());
        assert!(self.files("ours", |name| name.contains(".klpbuild-") && name.ends_with(".tmp")).is_empty());
    }
}
