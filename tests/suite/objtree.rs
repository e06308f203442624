// SPDX-License-Identifier: GPL-2.0-only
//! An object tree that is assembled and linked for one architecture, with a livepatch in it (sources in
//! `golden`).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::space::{Ran, Space};

/// An architecture.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the file with its instructions.
    pub name: &'static str,
    /// What the names of its binutils begin with.
    pub prefix: &'static str,
    /// Where its vmlinux is linked to.
    base: &'static str,
}

/// x86-64, with which the messages are tested.
pub const X86_64: Target = Target { name: "x86-64", prefix: "", base: "0xffffffff81000000" };
/// All architectures; [`targets`] has those whose binutils are there.
const TARGETS: [Target; 5] = [
    X86_64,
    Target { name: "aarch64", prefix: "aarch64-linux-gnu-", base: "0xffff800080000000" },
    Target { name: "ppc64le", prefix: "powerpc64le-linux-gnu-", base: "0xc000000000000000" },
    Target { name: "s390x", prefix: "s390x-linux-gnu-", base: "0x100000" },
    Target { name: "ppc", prefix: "powerpc-linux-gnu-", base: "0xc0000000" },
];

impl Target {
    /// Whether its binutils are installed. Where they are not, the test goes on without this architecture, with a word;
    /// never in CI, where that would be a test less which nobody misses.
    fn is_here(self) -> bool {
        let is_here = Command::new(format!("{}as", self.prefix)).arg("--version").output().is_ok();
        if !is_here {
            say_skipped(&format!("{}: no {}as; `make deps` installs it", self.name, self.prefix));
        }
        is_here
    }
}

/// Says what a test goes on without; in CI, where nobody would miss it, it fails.
pub fn say_skipped(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    // Not with println!, which the test harness keeps to itself.
    let _ = writeln!(std::io::stderr(), "skipped for {what}");
}

/// The architectures that can be assembled for on this machine.
pub fn targets() -> impl Iterator<Item = Target> {
    TARGETS.into_iter().filter(|target| target.is_here())
}

/// The architecture `name`, if it can be assembled for on this machine.
pub fn target(name: &str) -> Option<Target> {
    let target = TARGETS.into_iter().find(|target| target.name == name).expect("it is one of TARGETS");
    target.is_here().then_some(target)
}

/// Module.symvers of the tree.
const SYMVERS: &str = "\
0x00000000\texported\tvmlinux\tEXPORT_SYMBOL\t
0x00000000\tklp_enable_patch\tvmlinux\tEXPORT_SYMBOL_GPL\t
0x00000000\ttarget_export\tdrivers/target/target-mod\tEXPORT_SYMBOL_GPL\t
0x00000000\tprovider_export\tlib/provider\tEXPORT_SYMBOL_GPL\t
";

/// What a small livepatch does, in the words of the macros in `golden`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Code<'a> {
    /// In the function that is new in vmlinux.
    pub patched: &'a str,
    /// In the function that is new in target_mod.
    pub target: &'a str,
    /// In a function that both call.
    pub shared: &'a str,
    /// What follows.
    pub rest: &'a str,
    /// What is left out (`golden/minimal.s`).
    pub flags: &'a [&'a str],
    /// Options for the assembler.
    pub options: &'a [&'a str],
}

/// The path of a source file.
fn source(name: &str) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/golden");
    sources.join(format!("{name}.s")).display().to_string()
}

/// An object tree in a temporary directory.
pub struct ObjTree {
    dir: tempfile::TempDir,
    /// What it is for.
    pub target: Target,
}

impl ObjTree {
    /// A tree with vmlinux, System.map, two modules, Module.symvers and Symbols.list.
    pub fn new(target: Target) -> ObjTree {
        let tree = ObjTree { dir: tempfile::tempdir().unwrap(), target };
        for directory in ["drivers/target", "lib"] {
            fs::create_dir_all(tree.path(directory)).unwrap();
        }
        for part in ["vmlinux-a", "vmlinux-b", "vmlinux-c", "target-a", "target-b", "provider"] {
            tree.assemble(part);
        }
        tree.link_vmlinux(&["vmlinux-a.o", "vmlinux-b.o", "vmlinux-c.o"]);
        tree.link(&["target-a.o", "target-b.o"], "drivers/target/target-mod.o");
        tree.link(&["provider.o"], "lib/provider.o");
        for module in ["drivers/target/target-mod", "lib/provider"] {
            fs::copy(tree.path(&format!("{module}.o")), tree.path(&format!("{module}.ko"))).unwrap();
        }
        tree.write("modules.order", "drivers/target/target-mod.o\nlib/provider.o\n");
        tree.write("Module.symvers", SYMVERS);
        tree.make_list();
        tree
    }

    /// An object tree with the livepatch as `in.ko`.
    pub fn with_livepatch(target: Target) -> ObjTree {
        let tree = ObjTree::new(target);
        tree.assemble("livepatch");
        fs::rename(tree.path("livepatch.o"), tree.path("in.ko")).unwrap();
        tree
    }

    /// An object tree with a livepatch of the code that stands in `code`, as `in.ko`.
    pub fn with_code(target: Target, code: &Code<'_>) -> ObjTree {
        let tree = ObjTree::new(target);
        tree.livepatch(code);
        tree
    }

    /// Makes `in.ko` of `code`.
    #[track_caller]
    pub fn livepatch(&self, code: &Code<'_>) {
        let mut text = code.flags.iter().map(|flag| format!(".set {flag}, 1\n")).collect::<String>();
        for (name, body) in
            [("in_patched", code.patched), ("in_target", code.target), ("in_shared", code.shared)]
        {
            text.push_str(&format!(".macro {name}\n{body}\n.endm\n"));
        }
        self.write("head.s", text);
        self.write("tail.s", format!("{}\n", code.rest));
        let (instructions, minimal) = (source(self.target.name), source("minimal"));
        let files = [&instructions, "head.s", &minimal, "tail.s", "-o", "in.ko"];
        self.tool("as", &[code.options, &files].concat());
    }

    /// Assembles a text to an object of this name in the root of the tree.
    #[track_caller]
    pub fn assemble_text(&self, text: &str, name: &str) {
        self.write(&format!("{name}.s"), format!("{text}\n"));
        let (own, object) = (format!("{name}.s"), format!("{name}.o"));
        self.tool("as", &[&source(self.target.name), &own, "-o", &object]);
    }

    /// Links vmlinux again, with a part that comes last, and makes Symbols.list anew.
    #[track_caller]
    pub fn add_to_vmlinux(&self, text: &str) {
        self.assemble_text(text, "vmlinux-d");
        self.link_vmlinux(&["vmlinux-a.o", "vmlinux-b.o", "vmlinux-c.o", "vmlinux-d.o"]);
        self.make_list();
    }

    /// A path in the tree.
    pub fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// Writes a file of the tree.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The bytes of a file of the tree.
    #[track_caller]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// When a file of the tree was written.
    pub fn stamp(&self, name: &str) -> SystemTime {
        fs::metadata(self.path(name)).unwrap().modified().unwrap()
    }

    /// The names of all files in the root of the tree.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a program in the tree and gives its output; it has to succeed.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let ran = self.ran(program, arguments);
        assert_eq!(ran.code, Some(0), "{program} {arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    /// Runs one of the target's binutils.
    #[track_caller]
    pub fn tool(&self, name: &str, arguments: &[&str]) -> String {
        self.run(&format!("{}{name}", self.target.prefix), arguments)
    }

    /// Assembles a file of `golden` to an object of its name in the root of the tree.
    #[track_caller]
    pub fn assemble(&self, name: &str) {
        self.tool("as", &[&source(self.target.name), &source(name), "-o", &format!("{name}.o")]);
    }

    /// Links objects to another one, as modules are.
    #[track_caller]
    pub fn link(&self, objects: &[&str], output: &str) {
        self.tool("ld", &[&["-r", "-o", output], objects].concat());
    }

    /// Links a vmlinux, and makes its System.map.
    #[track_caller]
    pub fn link_vmlinux(&self, objects: &[&str]) {
        let base = format!("-Ttext={}", self.target.base);
        self.tool("ld", &[&[base.as_str(), "-e", "0", "-o", "vmlinux"], objects].concat());
        self.write("System.map", self.tool("nm", &["-n", "vmlinux"]));
    }

    /// Makes Symbols.list.
    #[track_caller]
    pub fn make_list(&self) {
        self.klpbuild(&["symbols", "-q"]).ok();
    }

    /// Runs a program in the tree.
    pub fn ran(&self, program: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).env("LC_ALL", "C");
        // Never the cache of whoever runs the tests.
        command.env("XDG_CACHE_HOME", self.path("cache"));
        Ran::of(command.output().unwrap())
    }

    /// Runs klpbuild in the tree.
    pub fn klpbuild(&self, arguments: &[&str]) -> Ran {
        self.ran(Space::program(), arguments)
    }

    /// Runs `klpbuild convert --objtree TREE`, with more arguments.
    pub fn convert(&self, arguments: &[&str]) -> Ran {
        let tree = self.path("");
        self.klpbuild(&[&["convert", "--objtree", tree.to_str().unwrap()], arguments].concat())
    }
}
