// SPDX-License-Identifier: GPL-2.0-only
//! Debian's own 6.12 kernel, as its packages install it: linux-headers, the image with its modules, and the -dbg
//! package. `make test-kernels` installs them and runs this.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use klpbuild::kernel::installed::Choice;
use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::symbols::objects::Vmlinux;
use klpbuild::kernel::tree::built::BuiltTree;

use crate::external::{names, plain_make, run, state};
use crate::fixes;
use crate::kernel::Ran;
use crate::step;

const KLPBUILD: &str = env!("CARGO_BIN_EXE_klpbuild");
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The newest 6.12 that is installed with headers and debug symbols.
fn release() -> String {
    let mut found: Vec<(Vec<u32>, String)> = fs::read_dir("/usr/lib/debug/boot")
        .expect("linux-image-6.12.*-amd64-dbg is not installed: make test-kernels does that")
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().ok()?.strip_prefix("vmlinux-").map(str::to_owned)
        })
        .filter(|release| {
            release.starts_with("6.12.") && Path::new("/lib/modules").join(release).join("build").exists()
        })
        .map(|release| {
            let numbers = release.split(|character: char| !character.is_ascii_digit());
            (numbers.filter_map(|number| number.parse().ok()).collect(), release)
        })
        .collect();
    found.sort();
    found.pop().expect("no 6.12 kernel is installed with headers and debug symbols").1
}

fn fresh(name: &str) -> PathBuf {
    let directory = Path::new(REPOSITORY).join("target/kernels/test").join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

pub(crate) fn check() {
    let release = release();
    println!("Debian's {release}");
    let root = fresh("distribution");
    let kdir = PathBuf::from(format!("/lib/modules/{release}/build"));
    let cache = root.join("cache");
    let environment: &[(&str, &Path)] = &[("KDIR", &kdir), ("XDG_CACHE_HOME", &cache)];
    let klpbuild = |directory: &Path, arguments: &[&str]| run(directory, KLPBUILD, arguments, environment);

    step("doctor finds all that is needed");
    let doctor = klpbuild(&root, &["doctor"]).ok();
    assert!(
        doctor.stdout.ends_with(&format!("klpbuild: livepatches can be built for {release}\n")),
        "{}",
        doctor.stdout
    );
    for subject in ["options", "headers", "compiler", "vmlinux", "modules", "debug files", "kernel image"] {
        assert!(doctor.stdout.contains(&format!("  ok       {subject} ")), "{subject}: {}", doctor.stdout);
    }

    step(
        "livepatches of vmlinux and of a module, each with hidden symbols of both; the headers are only read",
    );
    let directory = root.join("livepatches");
    fs::create_dir(&directory).unwrap();
    for file in fs::read_dir(Path::new(REPOSITORY).join("tests/kernels/distribution")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), directory.join(file.file_name())).unwrap();
    }
    let headers = fs::canonicalize(&kdir).unwrap();
    let before = state(&headers);
    let built = klpbuild(&directory, &["modules"]).ok();
    assert!(
        built.stderr.contains(&format!("reading the symbols of {release}, vmlinux and ")),
        "{}",
        built.stderr
    );
    assert!(
        built.stdout.contains("  KLP [M] lp-cmdline.ko\n") && built.stdout.contains("  KLP [M] lp-vlan.ko\n")
    );
    assert!(
        built.stderr.contains("lp-cmdline.ko: 8021q has to be loaded before this livepatch"),
        "{}",
        built.stderr
    );
    let again = klpbuild(&directory, &["modules"]).ok();
    assert!(
        !again.stderr.contains("reading") && !again.stdout.contains("  LD [M]"),
        "{}{}",
        again.stdout,
        again.stderr
    );
    for (livepatch, symbols) in [
        (
            "lp-cmdline.ko",
            [
                "'.klp.rela.vmlinux..text'",
                ".klp.sym.vmlinux.saved_command_line,0",
                ".klp.sym.8021q.vlan_name_type_str,0",
            ],
        ),
        (
            "lp-vlan.ko",
            [
                "'.klp.rela.8021q..text'",
                ".klp.sym.vmlinux.saved_command_line,0",
                ".klp.sym.8021q.vlan_name_type_str,0",
            ],
        ),
    ] {
        let relocations = run(&directory, "readelf", &["-rW", livepatch], &[]).ok().stdout;
        assert!(symbols.iter().all(|symbol| relocations.contains(symbol)), "{livepatch}: {relocations}");
        klpbuild(&directory, &["verify", livepatch]).ok();
    }

    step("the map is nm's, of packed modules as of vmlinux");
    let own = fs::read_to_string(directory.join("Symbols.list")).unwrap();
    assert!(own.len() < 1000 && own.starts_with("klpbuild-symbols-beyond 1\n"), "{own}");
    let list = fs::read_to_string(own.lines().nth(1).unwrap().splitn(3, ' ').nth(2).unwrap()).unwrap();
    for (object, file) in [
        ("vmlinux", format!("/usr/lib/debug/boot/vmlinux-{release}")),
        ("8021q", format!("/lib/modules/{release}/kernel/net/8021q/8021q.ko.xz")),
        ("snd_hda_intel", format!("/lib/modules/{release}/kernel/sound/pci/hda/snd-hda-intel.ko.xz")),
    ] {
        let script = "export LC_ALL=C; case $1 in *.xz) xz -dc $1 > object ;; *) ln -sf $1 object ;; esac
            nm -f posix object | cut -d' ' -f1; rm object";
        let expected = run(&root, "sh", &["-c", script, "sh", &file], &[]).ok().stdout;
        let part = list.split(&format!("\n*{object}\n")).nth(1).unwrap().split("\n*").next().unwrap();
        assert!(part.trim_end() == expected.trim_end(), "{object}");
    }

    step("positions are those of the kernel's own table of symbols, with and without System.map");
    let kernel = || Origin::of_installed(&release, Some(BuiltTree::at(&kdir)), &Choice::default()).unwrap();
    crate::kallsyms::check(kernel());
    let mut alone = kernel();
    let vmlinux = alone.objects.vmlinux.take();
    let file = vmlinux.unwrap().file().to_path_buf();
    alone.objects.vmlinux = Some(Vmlinux::Image { file, system_map: None });
    crate::kallsyms::check(alone);

    step("positions are those of System.map, with and without vmlinux");
    let map = format!("/usr/lib/debug/boot/System.map-{release}");
    klpbuild(&directory, &["modules", "--no-convert"]).ok();
    for livepatch in ["lp-cmdline.ko", "lp-vlan.ko"] {
        klpbuild(&directory, &["convert", livepatch, "-o", "../with-vmlinux.ko"]).ok();
        klpbuild(&directory, &["convert", livepatch, "-o", "../with-map.ko", "--system-map", &map]).ok();
        // What they were resolved against is told in .modinfo: by a build ID, or by a hash of the names.
        for file in ["with-vmlinux", "with-map"] {
            let words =
                ["--update-section", ".modinfo=/dev/null", &format!("{file}.ko"), &format!("{file}.bare")];
            run(&root, "objcopy", &words, &[]).ok();
        }
        let bare = |file: &str| fs::read(root.join(format!("{file}.bare"))).unwrap();
        assert!(bare("with-vmlinux") == bare("with-map"), "{livepatch}");
    }
    klpbuild(&directory, &["modules", "--system-map", &format!("/boot/System.map-{release}")]).ends(1);
    klpbuild(&directory, &["modules"]).ok();
    assert!(state(&headers) == before, "the headers were written to");

    step("they work on Debian's image with its modules");
    let command = "cat /proc/cmdline /proc/net/vlan/config";
    for (livepatch, line) in [
        ("lp-cmdline.ko", " names: VLAN_NAME_TYPE_PLUS_VID\n"),
        ("lp-vlan.ko", " names: VLAN_NAME_TYPE_RAW_PLUS_VID\n"),
    ] {
        let tried =
            klpbuild(&directory, &["try", livepatch, "--load", "8021q", "--run", command]).ok().stdout;
        assert!(
            tried.contains(&format!("boot: ok, {release}, ")) && tried.contains("load 8021q.ko: ok"),
            "{tried}"
        );
        assert!(
            tried.contains(line) && tried.contains("while enabled, and after it the same as before"),
            "{tried}"
        );
    }
    klpbuild(&directory, &["clean"]).ok();
    assert_eq!(names(&directory), ["Makefile", "common.h", "lp-cmdline.c", "lp-vlan.c"]);
    plain_make(&directory, environment, &[&format!("KDIR={}", kdir.display())], "lp-vlan.ko");

    step("skeletons build and load as they are");
    for (name, arguments) in [
        ("lp-new", &["--function", "vfs_read"][..]),
        ("lp-new-module", &["--function", "vlan_seq_show", "--object", "8021q"]),
    ] {
        klpbuild(&root, &[&["new", name, "--skeleton"][..], arguments].concat()).ok();
        let text = fs::read_to_string(root.join(name).join(format!("{name}.c"))).unwrap();
        let prototype = match name {
            "lp-new" => {
                "\nstatic ssize_t new_vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)\n{\n"
            }
            _ => "\nstatic int new_vlan_seq_show(struct seq_file *seq, void *v)\n{\n",
        };
        assert!(text.contains(prototype), "{text}");
        run(&root.join(name), "make", &[], environment).ok();
        clang_reads(&root.join(name));
        let module = format!("{name}.ko");
        // The module that is patched is loaded without a word.
        let tried = klpbuild(&root.join(name), &["try", &module, "--run", "cat /proc/version"]).ok();
        let loads = tried.stdout.contains("load 8021q.ko: ok");
        assert!(loads == (name == "lp-new-module"), "{}", tried.stdout);
        assert!(
            tried.stdout.contains("the command prints the same while enabled as before"),
            "{}",
            tried.stdout
        );
    }

    step("a livepatch begins with the kernel's own text, and does what the kernel does");
    own_text(&root, environment, &klpbuild);

    let place = root.join("fixes");
    fs::create_dir_all(&place).unwrap();
    fixes::check(&place, &klpbuild);

    step("DKMS builds, signs and packs a skeleton's livepatch");
    dkms(&root, &release, environment);

    step("the README's five minutes");
    readme(&root, &release, environment);
    klpbuild(&root, &["klpclean", "--cache"]).ok();
    assert!(!cache.join("klpbuild").exists());
}

/// Has clang read the livepatch in a directory, as an editor does: by compile_commands.json alone, though gcc built it.
fn clang_reads(directory: &Path) {
    let text = fs::read_to_string(directory.join("compile_commands.json")).unwrap();
    let commands: serde_json::Value = serde_json::from_str(&text).unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let command = &commands[0];
    let arguments: Vec<String> = command["arguments"].as_array().unwrap().iter().map(word).collect();
    let mut words = vec!["-fsyntax-only"];
    words.extend(arguments.iter().skip(1).map(String::as_str));
    let place = word(&command["directory"]);
    let ran = run(Path::new(&place), "clang-19", &words, &[]).ok();
    assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
    assert_eq!(commands.as_array().unwrap().len(), 1, "{text}");
}

/// Takes functions of vmlinux and of a module over, and has the livepatch do as they do.
fn own_text(root: &Path, environment: &[(&str, &Path)], klpbuild: &dyn Fn(&Path, &[&str]) -> Ran) {
    let functions =
        ["cmdline_proc_show", "meminfo_proc_show", "vlan_dev_open", "oom_kill_process", "__x64_sys_newuname"];
    let functions = functions.iter().flat_map(|function| ["--function", function]);
    let written = klpbuild(root, &["new", "lp-own"].into_iter().chain(functions).collect::<Vec<_>>()).ok();
    for line in [
        "klpbuild: lp-own/fs-proc-meminfo.c: meminfo_proc_show as fs/proc/meminfo.c has it\n",
        "klpbuild: lp-own/net-8021q-vlan_dev.c: vlan_dev_open as net/8021q/vlan_dev.c has it\n",
    ] {
        assert!(written.stdout.contains(line), "{}", written.stdout);
    }
    assert!(!written.stderr.contains("not taken over"), "{}", written.stderr);
    let place = root.join("lp-own");
    let meminfo = fs::read_to_string(place.join("fs-proc-meminfo.c")).unwrap();
    for text in [
        "\nstatic void show_val_kb(struct seq_file *m, const char *s, unsigned long num)\n{\n",
        "\nint new_meminfo_proc_show(struct seq_file *m, void *v)\n{\n",
        "\tKLP_SYMPOS(hugetlb_report_meminfo, 0),\n",
    ] {
        assert!(meminfo.contains(text), "{meminfo}");
    }
    // A static of the function is the kernel's.
    let oom = fs::read_to_string(place.join("mm-oom_kill.c")).unwrap();
    assert!(oom.contains(" KLP_RELOC_SYMBOL(vmlinux, vmlinux, oom_rs."), "{oom}");
    let sys = fs::read_to_string(place.join("kernel-sys.c")).unwrap();
    assert!(sys.contains("\nSYSCALL_DEFINE1(new_newuname, struct new_utsname __user *, name)\n{\n"), "{sys}");
    run(&place, "make", &[], environment).ok();
    let verified = klpbuild(&place, &["verify", "lp-own.ko"]).ok();
    assert!(verified.stdout.contains(": correct (") && verified.stdout.contains("5 functions"));
    let tried = klpbuild(
        &place,
        &["try", "lp-own.ko", "--run", "uname -a; cat /proc/cmdline; grep -c : /proc/meminfo"],
    )
    .ok();
    assert!(tried.stdout.contains("the command prints the same while enabled as before"), "{}", tried.stdout);
}

/// Has the dkms package build a livepatch, in trees of its own, for the kernel with this release.
fn dkms(root: &Path, release: &str, environment: &[(&str, &Path)]) {
    let name = "lp-dkms";
    run(
        root,
        KLPBUILD,
        &["new", name, "--skeleton", "--function", "cmdline_proc_show", "--dkms"],
        environment,
    )
    .ok();
    // The skeleton has no symbol to be converted but with one that is not exported.
    let source = root.join(name).join("lp-dkms.c");
    let text = fs::read_to_string(&source).unwrap();
    let body =
        "extern char *saved_command_line;\nchar *lp_dkms_line(void)\n{\n\treturn saved_command_line;\n}\n";
    fs::write(
        &source,
        text.replace("\nstatic struct klp_func ", &format!("\n{body}\nstatic struct klp_func ")),
    )
    .unwrap();
    let [sources, tree] = ["dkms-source", "dkms-tree"].map(|name| root.join(name));
    fs::create_dir_all(&tree).unwrap();
    fs::create_dir_all(&sources).unwrap();
    run(root, "cp", &["-r", name, sources.join("lp-dkms-1.0").to_str().unwrap()], &[]).ok();
    let places = ["--dkmstree", tree.to_str().unwrap(), "--sourcetree", sources.to_str().unwrap()];
    let program = PathBuf::from(KLPBUILD);
    let cache = root.join("cache");
    let environment: &[(&str, &Path)] = &[("KLPBUILD", &program), ("XDG_CACHE_HOME", &cache)];
    run(root, "dkms", &[&["add", "lp-dkms/1.0"][..], &places].concat(), environment).ok();
    run(root, "dkms", &[&["build", "lp-dkms/1.0", "-k", release][..], &places].concat(), environment).ok();
    let found =
        run(&tree, "find", &["-L", ".", "-name", "lp-dkms.ko*", "-path", "*/module/*"], &[]).ok().stdout;
    let module = tree.join(found.lines().next().expect("dkms has built nothing"));
    let module = module.to_str().unwrap();
    let verified = run(
        root,
        KLPBUILD,
        &["verify", module, "--objtree", &format!("/lib/modules/{release}/build")],
        environment,
    );
    assert!(verified.ok().stdout.contains(" correct (2 livepatch relocations; 1 function; "), "{module}");
}

/// Runs the commands of the README's section in its order, and puts its patch and its C into the files that it speaks of.
fn readme(root: &Path, release: &str, environment: &[(&str, &Path)]) {
    let text = fs::read_to_string(Path::new(REPOSITORY).join("README.md")).unwrap();
    let section = text.split("\n## Livepatch your distribution's kernel in five minutes\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let place = root.join("five-minutes");
    let bin = root.join("bin");
    fs::create_dir_all(&place).unwrap();
    fs::create_dir_all(&bin).unwrap();
    // What the machine at hand does not have: that kernel running, and maybe sudo.
    for (name, script) in [
        ("uname", format!("echo {release}")),
        ("sudo", "DEBIAN_FRONTEND=noninteractive exec \"$@\"".to_owned()),
        ("klpbuild", format!("exec {KLPBUILD} \"$@\"")),
    ] {
        fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let klpbuild = PathBuf::from("klpbuild");
    let environment = [environment, &[("PATH", Path::new(&path)), ("KLPBUILD", &klpbuild)]].concat();
    let source = place.join("lp-cmdline/lp-cmdline.c");
    let mut commands = 0;
    let mut code = String::new();
    let mut fix = String::new();
    let mut last = String::new();
    for line in section.lines() {
        match line.strip_prefix("    ") {
            Some(command) if command.starts_with("$ ") => {
                last = run(&place, "sh", &["-c", &command[2..]], &environment).ok().stdout;
                commands += 1;
            }
            Some(printed) if !fix.is_empty() || printed.starts_with("--- a/") => {
                fix.push_str(&format!("{printed}\n"));
            }
            Some(printed)
                if !code.is_empty()
                    || printed.starts_with('\t')
                    || printed.starts_with("static ")
                    || printed.starts_with("extern ") =>
            {
                code.push_str(&format!("{printed}\n"));
            }
            Some(printed) => assert!(last.contains(printed), "{printed}: {last}"),
            None if !fix.is_empty() => {
                fs::write(place.join("fix.patch"), &fix).unwrap();
                fix.clear();
            }
            None if line.is_empty() && code.is_empty() => {}
            None if line.is_empty() => code.push('\n'),
            None if !code.is_empty() => {
                let text = fs::read_to_string(&source).unwrap();
                let begin = text.find("/* FILL IN").unwrap();
                let end = begin + text[begin..].find("\n}\n").unwrap() + 3;
                fs::write(&source, format!("{}{code}{}", &text[..begin], &text[end..])).unwrap();
                code.clear();
            }
            None => {}
        }
    }
    assert!(commands >= 9, "{commands} commands");
    assert!(fs::read_to_string(&source).unwrap().contains("saved_command_line"));
}
