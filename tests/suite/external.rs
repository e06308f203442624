// SPDX-License-Identifier: GPL-2.0-only
//! External modules (M=) in every era, started in every way.

use std::fs;
use std::process::Command;

use crate::space::{EXTERNAL_ERAS, Ran, Space};

const PLAIN: &str = r#"
#include <linux/module.h>
int klog(const char *text);
static int plain_hidden = 3;
int plain_next(void) { return plain_hidden++ + klog("plain"); }
EXPORT_SYMBOL(plain_next);
"#;
/// Refers to a variable of vmlinux and to one of the module beside it, neither exported, and to what vmlinux exports.
const LIVEPATCH: &str = r#"
#include <linux/module.h>
MODULE_INFO(livepatch, "Y");
int klog(const char *text);
extern int hidden_counter;
int lp_ext(void) { return hidden_counter + klog("lp"); }
"#;
const BAD: &str = "extern int nowhere_at_all;\nint bad_ext(void) { return nowhere_at_all; }\n";
const MAKEFILE: &str = "obj-m += plain.o lp-ext.o\nobj-$(BAD_EXT) += bad-ext.o\n";

/// A built kernel with external modules at `ext`.
pub(crate) fn space(tree: &str) -> Space {
    let space = Space::configured(tree);
    space.make(&["O=../obj", "vmlinux", "modules"]).ok();
    directory(
        &space,
        "ext",
        &[("Makefile", MAKEFILE), ("plain.c", PLAIN), ("lp-ext.c", LIVEPATCH), ("bad-ext.c", BAD)],
    );
    space
}

fn directory(space: &Space, name: &str, files: &[(&str, &str)]) {
    fs::create_dir(space.path(name)).unwrap();
    for (file, text) in files {
        fs::write(space.path(name).join(file), text).unwrap();
    }
}

/// klpbuild in a directory, with KDIR in its environment.
pub(crate) fn klpbuild_in(space: &Space, directory: &str, kdir: &str, arguments: &[&str]) -> Ran {
    let mut command = space.command(Space::program());
    command.current_dir(space.path(directory)).env_remove("KDIR").args(arguments);
    if !kdir.is_empty() {
        command.env("KDIR", space.path(kdir));
    }
    Ran::of(command.output().unwrap())
}

fn nm(space: &Space, object: &str) -> String {
    Ran::of(Command::new("nm").arg(space.path(object)).output().unwrap()).ok().stdout
}

fn names(space: &Space, object: &str) -> String {
    let script =
        format!("LC_ALL=C; export LC_ALL; nm -f posix {} | cut -d' ' -f1", space.path(object).display());
    space.sh(&script).ok().stdout
}

fn sources(space: &Space, directory: &str) -> Vec<String> {
    space.files(directory, "").into_keys().collect()
}

#[test]
fn livepatches_are_built_and_converted_and_the_kernel_is_left_alone() {
    for tree in EXTERNAL_ERAS {
        let space = space(tree);
        let kernel = || (space.files("obj", ""), space.stamps("obj"), space.files("src", ""));
        let before = kernel();
        let built = klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
        assert!(built.stdout.contains("  KLP     Symbols.list\n"), "{tree}: {}", built.stdout);
        assert!(built.stdout.contains("  KLP [M] lp-ext.ko\n"), "{tree}: {}", built.stdout);
        assert!(built.stdout.contains("klpbuild: 6 modules, 1 livepatch; "), "{tree}: {}", built.stdout);
        assert!(kernel() == before, "{tree}: the kernel's trees were written to");
        // The kernel's part is that of `klpbuild symbols`; then comes the module that is no livepatch.
        space.klpbuild(&["symbols", "--objtree", "../obj", "-o", "../kernel.list"]).ok();
        let map = format!("{}*plain\n{}", space.read("kernel.list"), names(&space, "ext/plain.o"));
        assert_eq!(space.read("ext/Symbols.list"), map, "{tree}");
        assert_eq!(space.read("ext/modules.livepatch"), "lp-ext.ko\n");
        let symbols = nm(&space, "ext/lp-ext.ko");
        assert!(symbols.contains(" .klp.sym.vmlinux.hidden_counter,0\n"), "{tree}: {symbols}");
        assert!(symbols.contains(" U klog\n") && !symbols.contains("U hidden"), "{tree}: {symbols}");
        assert!(!space.read("ext/Module.symvers").contains("hidden_counter"), "{tree}");

        // Nothing is built a second time, and a plain make of the kernel sees nothing to do.
        let stamps = space.stamps("ext");
        let again = klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
        assert!(
            !again.steps().iter().any(|step| step.starts_with("CC") || step.starts_with("LD")),
            "{tree}: {:?}",
            again.steps()
        );
        assert_eq!(space.stamps("ext"), stamps, "{tree}");

        // clean leaves what was there before.
        klpbuild_in(&space, "ext", "obj", &["clean"]).ok();
        assert_eq!(sources(&space, "ext"), ["Makefile", "bad-ext.c", "lp-ext.c", "plain.c"], "{tree}");
        assert!(!space.path("ext/.klpbuild").exists() && kernel() == before, "{tree}");
    }
}

#[test]
fn modpost_stays_strict() {
    for tree in EXTERNAL_ERAS {
        let space = space(tree);
        let ran = klpbuild_in(&space, "ext", "obj", &["modules", "BAD_EXT=m"]);
        let message = "modpost: \"nowhere_at_all\" [";
        assert!(
            ran.stderr.contains(message) && !ran.stderr.contains("\"hidden_counter\""),
            "{tree}: {}",
            ran.stderr
        );
        // Up to 5.2, make itself has modpost only warn with M=.
        let (code, level) = if tree == "era-a" { (0, "WARNING: ") } else { (2, "ERROR: ") };
        let ran = ran.ends(code).says(&[level]);
        assert!(ran.stderr.contains("bad-ext.ko] undefined!"), "{tree}: {}", ran.stderr);
        // The kernel refuses a patch of a module that does not say what it is.
        let unmarked = "void *klp_enable_patch(void);\nvoid *enable(void) { return klp_enable_patch(); }\n";
        fs::write(space.path("ext/bad-ext.c"), unmarked).unwrap();
        klpbuild_in(&space, "ext", "obj", &["modules", "BAD_EXT=m"]).says(&[
            "klpbuild: bad-ext.ko calls klp_enable_patch, and nothing says that it is a livepatch: add MODULE_INFO(",
        ]);
        fs::write(space.path("ext/bad-ext.c"), BAD).unwrap();
        // A livepatch that refers to nothing is refused in every era.
        fs::write(space.path("ext/lp-ext.c"), LIVEPATCH.replace("hidden_counter", "hiden_counter")).unwrap();
        klpbuild_in(&space, "ext", "obj", &["modules"]).ends(1).says(&[
            "lp-ext.ko: Unable to find missing symbol: hiden_counter",
            "the nearest names are hidden_counter (vmlinux)",
        ]);
    }
}

#[test]
fn it_starts_where_kernel_developers_expect() {
    for tree in EXTERNAL_ERAS {
        let space = space(tree);
        let at = |name: &str| space.path(name).display().to_string();
        let (m, o) = (format!("M={}", at("ext")), format!("O={}", at("obj")));
        let kdir = format!("KDIR={}", at("obj"));
        let built = |ran: Ran, how: &str| {
            let ran = ran.ok();
            assert!(ran.stdout.contains("1 livepatch; "), "{tree}, {how}: {}", ran.stdout);
            assert!(
                nm(&space, "ext/lp-ext.ko").contains(".klp.sym.vmlinux.hidden_counter,0"),
                "{tree}, {how}"
            );
            klpbuild_in(&space, "ext", "obj", &["clean"]).ok();
        };
        built(space.klpbuild(&["-C", "../obj", "modules", &m]), "-C objects M=");
        built(space.klpbuild(&["modules", &m, &o]), "in the sources, O= M=");
        built(klpbuild_in(&space, "ext", "", &["modules", &kdir]), "KDIR= on the command line");
        built(klpbuild_in(&space, "", "", &["-C", "ext", "modules", &kdir]), "-C module");
        built(klpbuild_in(&space, "", "obj", &["modules", "M=ext"]), "M= relative to where it starts");
        built(klpbuild_in(&space, "ext", "src", &["modules", "O=../obj"]), "KDIR= sources, O=");
        let mut command = space.command(Space::program());
        command.args(["modules", &o]).env("KBUILD_EXTMOD", at("ext"));
        built(Ran::of(command.output().unwrap()), "KBUILD_EXTMOD");
    }
}

#[test]
fn what_cannot_be_started_is_refused_with_advice() {
    let space = space("era-c");
    let sysroot = space.path("root").display().to_string();
    fs::create_dir_all(space.path("root/proc/sys/kernel")).unwrap();
    fs::write(space.path("root/proc/sys/kernel/osrelease"), "1.2.3-distro\n").unwrap();
    klpbuild_in(&space, "ext", "", &["modules", "--sysroot", &sysroot]).ends(1).says(&[
        "the headers of a kernel are needed: the kernel that is running, 1.2.3-distro, has none in ",
        "root/lib/modules/1.2.3-distro/build; install them (klpbuild doctor says how), or name a kernel tree (KDIR=DIR)",
    ]);
    klpbuild_in(&space, "ext", "none", &["modules"])
        .ends(1)
        .says(&["none: no such directory: KDIR names a kernel tree"]);
    klpbuild_in(&space, "ext", "obj", &["modules", "MO=../out"]).ends(1).says(&["takes no MO="]);
    directory(&space, "with blank", &[("Makefile", MAKEFILE)]);
    klpbuild_in(&space, "with blank", "obj", &["modules"]).ends(1).says(&[
        "with blank: make cannot work in a directory with such a name, because of the blank: rename it",
    ]);
    directory(&space, "bare", &[("Makefile", "VERSION := 6\ninclude ../src/Makefile\n")]);
    klpbuild_in(&space, "ext", "bare", &["modules"]).ends(1).says(&["bare has no .config: "]);
    fs::create_dir(space.path("9.0-mini")).unwrap();
    std::os::unix::fs::symlink("../obj", space.path("9.0-mini/build")).unwrap();
    klpbuild_in(&space, "ext", "9.0-mini", &["modules"])
        .ends(1)
        .says(&["9.0-mini is no kernel tree, but ", "9.0-mini/build is: KDIR names that"]);
    // What lies in a kernel tree is no external module, unless M= says so.
    let inside = klpbuild_in(&space, "src/drivers/one", "obj", &["modules"]).ends(1);
    inside.says(&["src/drivers/one is a part of the kernel tree ", "say so with M="]);
    fs::create_dir(space.path("empty")).unwrap();
    let kdir = format!("KDIR={}", space.path("obj").display());
    klpbuild_in(&space, "empty", "", &["modules", &kdir])
        .ends(1)
        .says(&["empty has no Kbuild and no Makefile with obj-m: there is no external module to build"]);
}

/// Positions are those of one kernel: what is built for another one is converted anew.
#[test]
fn another_kernel_makes_other_livepatches() {
    let space = space("era-c");
    space.sh("cp -a ../obj ../twin").ok();
    let converts = |kdir: &str| {
        klpbuild_in(&space, "ext", kdir, &["modules"]).ok().stdout.contains("  KLP [M] lp-ext.ko\n")
    };
    assert!(converts("obj") && !converts("obj"));
    assert!(converts("twin") && !converts("twin"));
    assert!(converts("obj"));
}

/// By kbuild's notes on what it has compiled. Those of the miniature trees have another form: these lie beside them.
#[test]
fn editors_are_told_how_files_are_compiled() {
    let space = space("era-c");
    let ext = space.path("ext").display().to_string();
    let note = |name: &str, source: &str| {
        let text = format!(
            "savedcmd_{ext}/{name}.o := gcc -mrecord-mcount -DMODULE -c -o {ext}/{name}.o {source}\n"
        );
        fs::write(space.path("ext").join(format!(".{name}.o.cmd")), text).unwrap();
    };
    note("noted", "../obj/../ext/lp-ext.c");
    note("noted.mod", &format!("{ext}/lp-ext.mod.c"));
    note("elsewhere", &space.path("src/lib/klog.c").display().to_string());
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    let commands: serde_json::Value = serde_json::from_str(&space.read("ext/compile_commands.json")).unwrap();
    let source = format!("{ext}/lp-ext.c");
    let expected = serde_json::json!([{
        "directory": space.path("obj").display().to_string(),
        "file": source,
        "arguments": ["gcc", "-Wno-unknown-warning-option", "-DMODULE", "-c", source],
    }]);
    assert_eq!(commands, expected);
    klpbuild_in(&space, "ext", "", &["klpclean"]).ok();
    assert!(!space.path("ext/compile_commands.json").exists());
    // What another program has written is left alone.
    fs::write(space.path("ext/compile_commands.json"), "[]\n").unwrap();
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    klpbuild_in(&space, "ext", "", &["klpclean"]).ok();
    assert_eq!(space.read("ext/compile_commands.json"), "[]\n");
}

/// Cleaning goes by the last build, and klpclean needs no kernel at all.
#[test]
fn cleaning_needs_no_kdir() {
    let space = space("era-c");
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    klpbuild_in(&space, "ext", "", &["clean"]).ok();
    assert_eq!(sources(&space, "ext"), ["Makefile", "bad-ext.c", "lp-ext.c", "plain.c"]);
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    fs::rename(space.path("obj"), space.path("gone")).unwrap();
    klpbuild_in(&space, "ext", "", &["klpclean"]).ok();
    let left = sources(&space, "ext");
    assert!(left.contains(&"lp-ext.ko".to_owned()) && !left.contains(&"Symbols.list".to_owned()), "{left:?}");
    assert!(!space.path("ext/.klpbuild").exists());
}

#[test]
fn objects_may_lie_elsewhere() {
    let space = space("era-d");
    let before = space.files("ext", "");
    klpbuild_in(&space, "ext", "obj", &["modules", "MO=../out"]).ok();
    assert_eq!(space.files("ext", ""), before);
    assert!(nm(&space, "out/lp-ext.ko").contains(".klp.sym.vmlinux.hidden_counter,0"));
    assert!(space.read("out/Symbols.list").contains("\n*plain\n"));
    klpbuild_in(&space, "ext", "obj", &["clean", "MO=../out"]).ok();
    assert_eq!(sources(&space, "out"), Vec::<String>::new());
}

const USER: &str = r#"
#include <linux/module.h>
MODULE_INFO(livepatch, "Y");
extern int plain_hidden;
int plain_next(void);
int lp_user(void) { return plain_hidden + plain_next(); }
"#;

/// KBUILD_EXTRA_SYMBOLS: what others export stays a normal symbol or becomes one of theirs, what they hide is theirs.
#[test]
fn modules_of_other_directories_are_known() {
    for tree in EXTERNAL_ERAS {
        let space = space(tree);
        klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
        let dump = space.path("ext/Module.symvers").display().to_string();
        for (name, makefile, word) in [
            ("typed", "obj-m += lp-user.o\n".to_owned(), format!("KBUILD_EXTRA_SYMBOLS={dump}")),
            ("written", format!("obj-m += lp-user.o\nKBUILD_EXTRA_SYMBOLS := {dump}\n"), "V=".to_owned()),
            (
                "by-m",
                "obj-m += lp-user.o\nKBUILD_EXTRA_SYMBOLS := $(M)/../ext/Module.symvers\n".to_owned(),
                "V=".to_owned(),
            ),
        ] {
            directory(&space, name, &[("Makefile", &makefile), ("lp-user.c", USER)]);
            let refused = klpbuild_in(&space, name, "obj", &["modules", &word]).ends(1);
            // There is no klp_patch in it that says which object the code is for.
            assert!(
                refused.stderr.contains("plain:plain_hidden,0, used in .text+0x"),
                "{tree}: {}",
                refused.stderr
            );
            assert!(
                space
                    .read(&format!("{name}/Symbols.list"))
                    .ends_with(&format!("*plain\n{}", names(&space, "ext/plain.o")))
            );
            // make would take it for done.
            assert!(!space.path(&format!("{name}/lp-user.ko")).exists(), "{tree}");
            klpbuild_in(&space, name, "obj", &["modules", &word, "--no-convert"]).ok();
            let symbols = nm(&space, &format!("{name}/lp-user.ko"));
            assert!(
                symbols.contains(" U plain_hidden\n") && symbols.contains(" U plain_next\n"),
                "{symbols}"
            );
            let unknown = klpbuild_in(&space, name, "obj", &["modules", "KBUILD_EXTRA_SYMBOLS="]).ends(1);
            assert!(
                unknown.stderr.contains("Unable to find missing symbol: plain_hidden"),
                "{tree}: {}",
                unknown.stderr
            );
        }
    }
}

/// A makefile may mark livepatches, also of directories below its own; `Kbuild` comes before `Makefile`.
#[test]
fn livepatches_are_known_by_flags() {
    for tree in EXTERNAL_ERAS {
        let space = space(tree);
        let unmarked = LIVEPATCH.replace("MODULE_INFO(livepatch, \"Y\");", "MODULE_INFO(license, \"GPL\");");
        fs::write(space.path("ext/lp-ext.c"), unmarked).unwrap();
        fs::write(space.path("ext/Kbuild"), "include $(src)/flags.mk\nobj-m += plain.o lp-ext.o\n").unwrap();
        fs::write(space.path("ext/Makefile"), "$(error Kbuild is there)\n").unwrap();
        fs::write(space.path("ext/flags.mk"), "LIVEPATCH_lp-ext.o := y\n").unwrap();
        klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
        assert_eq!(space.read("ext/modules.livepatch"), "lp-ext.ko\n", "{tree}");
        let info = fs::read(space.path("ext/lp-ext.ko")).unwrap();
        assert!(info.windows(12).any(|bytes| bytes == b"livepatch=Y\0"), "{tree}");
    }
}

/// Commands that are started beside the modules know the kernel and the modules from the last build.
#[test]
fn later_commands_know_what_was_built() {
    let space = space("era-c");
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    let found = klpbuild_in(&space, "ext", "", &["lookup", "plain_hidden", "hidden_counter"]).ok().stdout;
    assert!(
        found.contains("  plain   plain.c      OBJECT  LOCAL    4     .data+0x0  1 of 1  no\n"),
        "{found}"
    );
    assert!(found.contains("  vmlinux  -            OBJECT  GLOBAL   4 "), "{found}");
    klpbuild_in(
        &space,
        "ext",
        "",
        &["modules", "--no-convert", &format!("KDIR={}", space.path("obj").display())],
    )
    .ok();
    assert!(nm(&space, "ext/lp-ext.ko").contains(" U hidden_counter\n"));
    klpbuild_in(&space, "ext", "", &["convert", "lp-ext.ko"]).ok();
    assert!(nm(&space, "ext/lp-ext.ko").contains(".klp.sym.vmlinux.hidden_counter,0"));
}

/// A modpost that fails removes Module.symvers: then all symbols would count as not exported.
#[test]
fn nothing_is_built_while_exports_are_not_known() {
    for tree in EXTERNAL_ERAS {
        let space = space(tree);
        klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
        let verify = |arguments: &[&str]| {
            let ran = klpbuild_in(&space, "ext", "", &[&["verify", "lp-ext.ko"], arguments].concat());
            (ran.code, ran.stdout, ran.stderr)
        };
        let objtree = space.path("obj").display().to_string();
        // Started beside the module or not, it is seen with its neighbours.
        let outside = |arguments: &[&str]| {
            let file = space.path("ext/lp-ext.ko").display().to_string();
            let ran = klpbuild_in(&space, "src", "", &[&["verify", &file], arguments].concat());
            (ran.code, ran.stdout.replace(&file, "lp-ext.ko"), ran.stderr)
        };
        let good = verify(&[]);
        assert_eq!(good.0, Some(0), "{tree}: {good:?}");
        assert_eq!(
            (verify(&["--objtree", &objtree]), outside(&["--objtree", &objtree])),
            (good.clone(), good)
        );

        fs::remove_file(space.path("obj/Module.symvers")).unwrap();
        let before = space.files("ext", "");
        let is_built = |(name, _): &(&String, &Vec<u8>)| !name.starts_with(".klpbuild/");
        let words = format!(
            "klpbuild: error: there is no Module.symvers in {objtree}: what is exported is not known; build the modules \
             first\n"
        );
        let refused = klpbuild_in(&space, "ext", "obj", &["modules"]).ends(1);
        assert_eq!((refused.stdout, refused.stderr), (String::new(), words.clone()), "{tree}");
        let after = space.files("ext", "");
        assert!(
            before.iter().filter(is_built).eq(after.iter().filter(is_built)),
            "{tree}: something was built"
        );
        // Of the module's own exports alone nothing follows.
        assert!(after.contains_key("Module.symvers"), "{tree}");
        let unchecked = (Some(2), String::new(), words);
        assert_eq!(verify(&[]), unchecked, "{tree}");
        assert_eq!(verify(&["--objtree", &objtree]), unchecked, "{tree}");
    }
}

/// A livepatch that refers to a module beside it is judged alike, wherever the kernel is named.
#[test]
fn verify_knows_the_modules_beside_a_livepatch() {
    let space = space("era-c");
    let lp = "#include <linux/module.h>\nMODULE_INFO(livepatch, \"Y\");\n\
              extern int other __asm__(\"\\\".klp.sym.rela.vmlinux.plain.plain_hidden,0\\\"\");\n\
              int lp_ext(void) { return other; }\n";
    fs::write(space.path("ext/lp-ext.c"), lp).unwrap();
    // What stands in for modpost does not take the dot off, as modpost does.
    klpbuild_in(&space, "ext", "obj", &["modules", "--no-convert", "KBUILD_MODPOST_WARN=1"]).ok();
    klpbuild_in(&space, "ext", "", &["convert", "lp-ext.ko"]).ok();
    assert!(nm(&space, "ext/lp-ext.ko").contains(".klp.sym.plain.plain_hidden,0\n"));
    let objtree = space.path("obj").display().to_string();
    let said = |arguments: &[&str]| {
        let ran = klpbuild_in(&space, "ext", "", &[&["verify", "lp-ext.ko"], arguments].concat());
        (ran.code, ran.stdout, ran.stderr)
    };
    let beside = said(&[]);
    assert!(!beside.1.contains("there is no object plain"), "{beside:?}");
    assert_eq!(said(&["--objtree", &objtree]), beside);
    assert_eq!(said(&["--objtree", "../obj"]), beside);
    // Without a name, those that the build has listed are meant.
    let listed = klpbuild_in(&space, "ext", "", &["verify"]);
    assert_eq!((listed.code, &listed.stdout, &listed.stderr), (beside.0, &beside.1, &beside.2));
    fs::remove_file(space.path("ext/modules.livepatch")).unwrap();
    for verb in ["verify", "try"] {
        let none = klpbuild_in(&space, "ext", "", &[verb]);
        none.says(&[
            "no livepatch is named, and no build has listed one in ",
            &format!(": klpbuild {verb} O=DIR"),
        ]);
    }
}

/// What a build leaves in a livepatch's directory is none of git's business.
#[test]
fn git_does_not_see_what_a_build_leaves() {
    let space = space("era-c");
    let git = |script: &str| space.sh(&format!("cd ../ext && {script}")).ok().stdout;
    klpbuild_in(&space, "ext", "obj", &["new", "lp-new", "--function", "hidden_counter"]).ends(1);
    fs::write(space.path("ext/.gitignore"), klpbuild::command::new::text::IGNORED).unwrap();
    git("git init -q . && git add -A && touch ours.txt");
    klpbuild_in(&space, "ext", "obj", &["modules"]).ok();
    assert!(git("ls -A").lines().count() > 12);
    assert_eq!(git("git status --porcelain | grep -v '^A '"), "?? ours.txt\n");
}

/// modpost passes over a dump that is not there, and so would klpbuild.
#[test]
fn a_missing_dump_of_other_modules_is_named() {
    let space = space("era-c");
    let word = format!("KBUILD_EXTRA_SYMBOLS={}", space.path("none/Module.symvers").display());
    let built = klpbuild_in(&space, "ext", "obj", &["modules", &word]);
    built.says(&["klpbuild: KBUILD_EXTRA_SYMBOLS names ", "none/Module.symvers, which is not there: "]);
}
