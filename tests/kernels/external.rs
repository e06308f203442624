// SPDX-License-Identifier: GPL-2.0-only
//! External livepatches: built by plain make through Makefile.snippet, verified, and booted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::kernel::{Kernel, Ran, ran};
use crate::step;

const SNIPPET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile.snippet");
const KLPBUILD: &str = env!("CARGO_BIN_EXE_klpbuild");

/// A program in a directory, free of what the tests themselves run under.
pub(crate) fn run(directory: &Path, program: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> Ran {
    let mut command = Command::new(program);
    command.current_dir(directory).args(arguments).stdin(Stdio::null());
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KDIR", "KBUILD_OUTPUT"] {
        command.env_remove(name);
    }
    command.env("KLPBUILD", KLPBUILD).env("KLPBUILD_SNIPPET", SNIPPET);
    ran(command.envs(environment.iter().copied()).output().unwrap())
}

/// The time stamps and sizes of all files below a directory.
pub(crate) fn state(directory: &Path) -> BTreeMap<PathBuf, (SystemTime, u64)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                directories.push(path.clone());
            }
            found.insert(path, (meta.modified().unwrap(), meta.len()));
        }
    }
    found
}

/// The names of files below a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let files = state(directory).into_keys();
    files.map(|path| path.strip_prefix(directory).unwrap().to_string_lossy().into_owned()).collect()
}

/// Goes through the ways of plain make with the modules in `directory`, whose Makefile includes Makefile.snippet. In
/// the end they are built.
pub(crate) fn plain_make(directory: &Path, kernel: &[(&str, &Path)], variables: &[&str], livepatch: &str) {
    let before = names(directory);
    let log = || fs::read_to_string(directory.join(".klpbuild/make.log")).unwrap();
    let built = |ran: Ran| {
        let ran = ran.ok();
        assert!(ran.stdout.contains(&format!("  KLP [M] {livepatch}\n")), "{}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("jobserver"), "{}", ran.stderr);
        run(directory, KLPBUILD, &["verify", livepatch], &[]).ok();
    };
    let cleaned = |arguments: &[&str]| {
        run(directory, "make", arguments, kernel).ok();
        assert_eq!(names(directory), before);
    };
    built(run(directory, "make", &[], kernel));
    cleaned(&["clean"]);
    built(run(directory, "make", variables, &[]));
    cleaned(&[&["clean"][..], variables].concat());
    built(run(directory, "make", &["-j2"], kernel));
    assert!(!log().lines().next().unwrap().contains(" -j"), "{}", log());
}

pub(crate) fn check(kernel: &Kernel) {
    step("an external livepatch, by plain make; the kernel's trees are only read");
    let directory = kernel.root.join("ext-livepatch");
    fs::create_dir_all(&directory).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/external");
    for file in fs::read_dir(sources).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), directory.join(file.file_name())).unwrap();
    }
    let (src, ours) = (kernel.root.join("src"), kernel.root.join("ours"));
    let before = (state(&src), state(&ours));
    let (kdir, objects) = (format!("KDIR={}", src.display()), "O=../ours");
    plain_make(&directory, &[("KDIR", &ours)], &[&kdir, objects], "lp-outside.ko");
    assert!((state(&src), state(&ours)) == before, "the kernel's trees were written to");
    let nm = "LC_ALL=C; export LC_ALL; cat ../ours/Symbols.list; echo '*outside'; nm -f posix outside.o | cut -d' ' -f1";
    let expected = run(&directory, "sh", &["-c", nm], &[]).ok().stdout;
    assert!(fs::read_to_string(directory.join("Symbols.list")).unwrap() == expected);

    step("it works in a virtual machine");
    let command = "cat /proc/cmdline";
    let tried =
        run(&directory, KLPBUILD, &["try", "lp-outside.ko", "--load", "outside.ko", "--run", command], &[]);
    let tried = tried.ok().stdout;
    assert!(tried.contains("  | outside 7: ro console=ttyS0"), "{tried}");
    assert!(
        tried.contains("the command prints something else while enabled, and after it the same as before"),
        "{tried}"
    );

    step("a skeleton builds and loads as it is");
    for (name, arguments) in [
        ("lp-new", &["--function", "cmdline_proc_show"][..]),
        ("lp-new-module", &["--function", "klpbuild_other_exported", "--object", "klpbuild_other"]),
    ] {
        let written = run(
            &kernel.root,
            KLPBUILD,
            &[&["new", name, "--skeleton"][..], arguments].concat(),
            &[("KDIR", &ours)],
        )
        .ok();
        assert!(written.stdout.contains(&format!("klpbuild: next: make -C {name}; ")), "{}", written.stdout);
        let place = kernel.root.join(name);
        let text = fs::read_to_string(place.join(format!("{name}.c"))).unwrap();
        assert!(text.contains("Until then it goes on to the old one"), "{text}");
        run(&place, "make", &[], &[]).ok();
        let module = format!("{name}.ko");
        let mut words = vec!["try", &module, "--run", command];
        if name == "lp-new-module" {
            words.extend(["--load", "klpbuild_other"]);
        }
        let tried = run(&place, KLPBUILD, &words, &[]).ok().stdout;
        assert!(tried.contains("the command prints the same while enabled as before"), "{tried}");
    }
}
