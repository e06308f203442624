//! klpbuild on real kernels, against plain make: `make test` and `make test-kernels` run this.
//!
//! Takes the source trees that KLPBUILD_TEST_TREES names. Each is linked to a copy under
//! `target/kernels/test`, with a directory of ours among its samples, and built twice: with plain make, and
//! with klpbuild, which is interrupted once on its way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Modules of ours: what each leaves undefined is in its name.
const SAMPLES: [(&str, &str); 4] = [
    (
        "Makefile",
        concat!(
            "obj-$(KLPBUILD_BAD) += klpbuild-bad.o\n",
            "obj-$(KLPBUILD_KNOWN) += klpbuild-known.o\n",
            "obj-$(KLPBUILD_UNKNOWN) += klpbuild-unknown.o\n",
            "obj-$(KLPBUILD_FLAGGED) += klpbuild-flagged.o\n",
            "LIVEPATCH_klpbuild-flagged.o := y\n",
        ),
    ),
    (
        "klpbuild-bad.c",
        concat!(
            "#include <linux/module.h>\n",
            "int klpbuild_nowhere(void);\n",
            "static int __init bad_init(void) { return klpbuild_nowhere(); }\n",
            "module_init(bad_init);\nMODULE_LICENSE(\"GPL\");\n",
        ),
    ),
    (
        "klpbuild-known.c",
        concat!(
            "#include <linux/module.h>\n",
            "extern char *saved_command_line;\n",
            "static int __init known_init(void) { return saved_command_line[0]; }\n",
            "module_init(known_init);\nMODULE_LICENSE(\"GPL\");\nMODULE_INFO(livepatch, \"Y\");\n",
        ),
    ),
    (
        "klpbuild-unknown.c",
        concat!(
            "#include <linux/module.h>\n",
            "extern char *saved_comand_line;\n",
            "static int __init unknown_init(void) { return saved_comand_line[0]; }\n",
            "module_init(unknown_init);\nMODULE_LICENSE(\"GPL\");\nMODULE_INFO(livepatch, \"Y\");\n",
        ),
    ),
];

struct Kernel {
    /// The directory with `src`, `plain`, `ours` and `ext`.
    root: PathBuf,
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn ends(self, code: i32) -> Ran {
        let tail: Vec<&str> = self.stdout.lines().rev().take(30).collect();
        assert_eq!(self.code, Some(code), "{tail:#?}\n{}", self.stderr);
        self
    }

    #[track_caller]
    fn ok(self) -> Ran {
        self.ends(0)
    }

    /// Tags of the steps that were printed.
    fn tags(&self) -> BTreeSet<String> {
        let steps =
            self.stdout.lines().filter(|line| line.starts_with("  ") && !line.contains("Building modules"));
        steps.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Steps that kbuild prints even when there is nothing to do.
const ALWAYS: [&str; 7] = ["GEN", "DESCEND", "CALL", "INSTALL", "CHK", "MODPOST", "SYNC"];

impl Kernel {
    /// Links the source tree at `source` to a fresh copy, with our samples.
    fn lay_out(source: &Path) -> Kernel {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/kernels/test")
            .join(source.file_name().unwrap());
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
        for (name, text) in SAMPLES {
            fs::write(samples.join("klpbuild").join(name), text).unwrap();
        }
        fs::write(
            samples.join("klpbuild/klpbuild-flagged.c"),
            SAMPLES[2].1.replace("MODULE_INFO(livepatch, \"Y\");\n", "").replace("known", "flagged"),
        )
        .unwrap();
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
        command.args(arguments).arg(format!("O={}", self.root.join(objtree).display()));
        command
    }

    fn make(&self, objtree: &str, arguments: &[&str]) -> Ran {
        ran(self.command("make", objtree).args(arguments).output().unwrap())
    }

    fn klpbuild(&self, arguments: &[&str]) -> Ran {
        ran(self.command(env!("CARGO_BIN_EXE_klpbuild"), "ours").args(arguments).output().unwrap())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn files(&self, objtree: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, PathBuf> {
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

    fn stamps(&self) -> BTreeMap<String, SystemTime> {
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
    fn recipe(&self) -> String {
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
    fn interrupt(&self) {
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
        assert!(!self.root.join("ours/.klpbuild/list.tmp").exists());
    }
}

fn step(what: &str) {
    println!("    {what}");
}

fn check(source: &Path) {
    println!("{}", source.display());
    let kernel = Kernel::lay_out(source);
    let config = concat!("KCONFIG_ALLCONFIG=", env!("CARGO_MANIFEST_DIR"), "/tests/kernels/livepatch.config");

    step("plain make");
    kernel.make("plain", &[config, "allnoconfig"]).ok();
    kernel.make("plain", &["vmlinux", "modules"]).ok();

    step("klpbuild, interrupted in the middle");
    kernel.make("ours", &[config, "allnoconfig"]).ok();
    kernel.interrupt();

    step("klpbuild, resumed");
    let resumed = kernel.klpbuild(&["bzImage"]).ok();
    assert!(!resumed.stdout.contains("  CC      init/main.o\n"), "what was built is built again");
    assert!(resumed.stdout.contains("\n  KLP     Symbols.list\n"), "{}", resumed.stdout);

    step("the same modules and the same vmlinux");
    let (plain, ours) =
        (kernel.files("plain", |n| n.ends_with(".ko")), kernel.files("ours", |n| n.ends_with(".ko")));
    assert!(plain.len() > 8);
    assert_eq!(plain.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (name, path) in &plain {
        assert!(fs::read(path).unwrap() == fs::read(&ours[name]).unwrap(), "{name} differs");
    }
    assert!(
        fs::read(kernel.root.join("plain/vmlinux")).unwrap()
            == fs::read(kernel.root.join("ours/vmlinux")).unwrap()
    );

    step("the map is nm's, without the livepatches");
    let map = kernel.read("ours/Symbols.list");
    assert!(map == kernel.recipe());
    assert!(map.contains("\nsaved_command_line\n") && map.contains("\n*crc_itu_t\n"));
    let livepatches = kernel.read("ours/modules.livepatch");
    assert!(livepatches.lines().any(|line| line == "samples/livepatch/livepatch-sample.ko"), "{livepatches}");
    assert!(!map.contains("*livepatch_sample\n") && map.contains("*livepatch_callbacks_mod\n"));

    step("nothing is built again, by klpbuild or by make");
    let stamps = kernel.stamps();
    let tags = kernel.klpbuild(&["bzImage"]).ok().tags();
    assert!(tags.iter().all(|tag| ALWAYS.contains(&tag.as_str())), "{tags:?}");
    let tags = kernel.make("ours", &["vmlinux", "modules", "bzImage"]).ok().tags();
    assert!(tags.iter().all(|tag| ALWAYS.contains(&tag.as_str())), "{tags:?}");
    assert_eq!(kernel.stamps(), stamps);

    step("modpost is strict with an ordinary module");
    let bad = kernel.klpbuild(&["KLPBUILD_BAD=m", "KLPBUILD_KNOWN=m"]).ends(2);
    assert!(
        bad.stderr.contains("\"klpbuild_nowhere\" [samples/klpbuild/klpbuild-bad.ko] undefined!"),
        "{}",
        bad.stderr
    );
    assert!(bad.stderr.contains("ERROR: "), "{}", bad.stderr);
    assert!(!bad.stderr.contains("ERROR: modpost: \"saved_command_line\""), "{}", bad.stderr);

    step("a livepatch may refer to what the map defines");
    kernel.klpbuild(&["KLPBUILD_KNOWN=m", "KLPBUILD_FLAGGED=m"]).ok();
    let module = kernel.root.join("ours/samples/klpbuild/klpbuild-known.ko");
    let nm = ran(Command::new("nm").arg("-u").arg(&module).output().unwrap()).ok().stdout;
    assert!(nm.contains("U saved_command_line\n"), "{nm}");
    let info = fs::read(&module).unwrap();
    assert!(info.windows(9).any(|window| window == b"depends=\0"), "the livepatch depends on no module");
    assert!(!kernel.read("ours/Module.symvers").contains("saved_command_line"));
    assert!(kernel.read("ours/modules.livepatch").contains("samples/klpbuild/klpbuild-flagged.ko\n"));
    assert!(kernel.read("ours/Symbols.list") == kernel.recipe());
    let stamps = kernel.stamps();
    kernel.klpbuild(&["KLPBUILD_KNOWN=m", "KLPBUILD_FLAGGED=m"]).ok();
    assert_eq!(kernel.stamps(), stamps);

    step("a livepatch that refers to nothing known is refused");
    let unknown = kernel.klpbuild(&["KLPBUILD_UNKNOWN=m"]).ends(1);
    for word in [
        "klpbuild-unknown.ko: undefined symbol saved_comand_line",
        "nearest names are saved_command_line (vmlinux)",
    ] {
        assert!(unknown.stderr.contains(word), "{}", unknown.stderr);
    }

    step("an external module");
    kernel.klpbuild(&[]).ok();
    let ext = kernel.root.join("ext");
    let m = format!("M={}", ext.display());
    kernel.make("ours", &[&m, "modules"]).ok();
    let expected = fs::read(ext.join("outside.ko")).unwrap();
    kernel.make("ours", &[&m, "clean"]).ok();
    assert!(!ext.join("outside.ko").exists());
    kernel.klpbuild(&[&m]).ok();
    assert!(fs::read(ext.join("outside.ko")).unwrap() == expected);

    step("clean leaves nothing of ours");
    let mut clean = Command::new(env!("CARGO_BIN_EXE_klpbuild"));
    clean.args(["clean", "-C"]).arg(kernel.root.join("ours")).env_remove("MAKEFLAGS");
    ran(clean.output().unwrap()).ok();
    kernel.make("plain", &["clean"]).ok();
    let left = |objtree| kernel.files(objtree, |_| true).into_keys().collect::<BTreeSet<_>>();
    let (plain, ours) = (left("plain"), left("ours"));
    assert_eq!(ours.difference(&plain).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
#[ignore = "builds whole kernels: run by `make test` and `make test-kernels`"]
fn real_kernels() {
    let trees = std::env::var("KLPBUILD_TEST_TREES").expect("KLPBUILD_TEST_TREES names kernel source trees");
    let trees: Vec<&str> = trees.split_whitespace().collect();
    assert!(!trees.is_empty());
    for tree in trees {
        check(Path::new(tree));
    }
}
