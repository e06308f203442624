// SPDX-License-Identifier: GPL-2.0-only
//! Kernels that someone else built: headers, symbols and packed modules as distributions install them, below a
//! directory that stands in for the root of the file system.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::external;
use crate::space::{Ran, Space};

const RELEASE: &str = "9.0-mini";
const MODULES: &str = "root/lib/modules/9.0-mini/kernel";
const DEBUG: &str = "root/usr/lib/debug/boot/vmlinux-9.0-mini";

/// A kernel of the last era, taken apart: `headers` has what modules are built with, `root` what is installed.
pub(crate) struct Distribution {
    pub(crate) space: Space,
}

impl Distribution {
    pub(crate) fn install() -> Distribution {
        let space = external::space("era-c");
        // A module that is defined by two source files, and one whose symbols nobody exports.
        space
            .sh(&format!(
                "set -e; cd ..
                mkdir -p {MODULES}/one {MODULES}/lib root/usr/lib/debug/boot root/boot root/etc root/proc/sys/kernel
                ld --build-id=0xc0ffee01 -e start -z noexecstack -o {DEBUG} obj/vmlinux.o
                for ko in obj/drivers/one/*.ko; do cp $ko {MODULES}/one; done
                cp obj/drivers/shares.ko {MODULES} 2>/dev/null || :
                for ko in obj/lib/*.ko; do cp $ko {MODULES}/lib; done
                cp obj/samples/livepatch/lp-plain.ko {MODULES}
                xz --check=crc32 {MODULES}/one/pair.ko; gzip -n {MODULES}/one/user.ko; zstd -q --rm {MODULES}/lib/*.ko
                nm -n {DEBUG} | grep -v ' [aUw] ' > root/boot/System.map-{RELEASE}
                echo ID=debian > root/etc/os-release
                mkdir headers; cp -r obj/.config obj/include obj/scripts obj/source obj/Module.symvers headers
                echo {RELEASE} > headers/include/config/kernel.release
                ln -s ../src headers/source 2>/dev/null || :"
            ))
            .ok();
        fs::write(
            space.path("headers/Makefile"),
            format!("include {}/Makefile\n", space.path("src").display()),
        )
        .unwrap();
        Distribution { space }
    }

    /// klpbuild in the module's directory, with a cache of its own.
    pub(crate) fn klpbuild(&self, arguments: &[&str]) -> Ran {
        let mut command = self.space.command(Space::program());
        command.current_dir(self.space.path("ext")).env("KDIR", self.space.path("headers"));
        let path = format!("{}:{}", self.space.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("XDG_CACHE_HOME", self.space.path("cache")).env("PATH", path).args(arguments);
        Ran::of(command.arg("--sysroot").arg(self.space.path("root")).output().unwrap())
    }

    pub(crate) fn cached(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.space.path("cache/klpbuild")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The map beside the external modules, with the kernel's part, which is in the cache, in its place.
    pub(crate) fn map(&self) -> String {
        let own = self.space.read("ext/Symbols.list");
        let mut lines = own.splitn(3, '\n');
        assert_eq!(lines.next(), Some("klpbuild-symbols-beyond 1"), "{own}");
        let kept = lines.next().unwrap().splitn(3, ' ').nth(2).unwrap();
        fs::read_to_string(kept).unwrap() + lines.next().unwrap()
    }

    pub(crate) fn converted(&self) -> bool {
        let nm = Command::new("nm").arg(self.space.path("ext/lp-ext.ko")).output().unwrap();
        String::from_utf8_lossy(&nm.stdout).contains(" .klp.sym.vmlinux.hidden_counter,0\n")
    }
}

#[test]
fn livepatches_are_built_with_debug_symbols_and_packed_modules() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    let headers = space.files("headers", "");
    let built = distribution.klpbuild(&["modules"]).ok().says(&[
        "klpbuild: reading the symbols of 9.0-mini, vmlinux and 4 modules (once: kept in ",
        "/cache/klpbuild/c0ffee01-",
    ]);
    assert!(built.stdout.contains("  KLP [M] lp-ext.ko\n"), "{}", built.stdout);
    assert!(distribution.converted() && space.files("headers", "") == headers);
    // The map is nm's: vmlinux, the modules by name without the livepatch, then the external one.
    let nm = "LC_ALL=C; export LC_ALL; cd ..; names() { nm -f posix \"$1\" | cut -d' ' -f1; }";
    let expected = space.sh(&format!(
        "{nm}; echo klp-convert-symbol-data.0.1; echo '*vmlinux'; names {DEBUG}
        for ko in $(find obj -name '*.ko' | grep -v samples | sort -t / -k 4); do
            echo $ko
        done | sed 's|.*/||' | sort | while read ko; do
            echo \"*$(basename $ko .ko | tr -- -, __)\"; names $(find obj -name $ko)
        done; echo '*plain'; names ext/plain.o"
    ));
    assert_eq!(distribution.map(), expected.ok().stdout);

    // The second build reads what is kept, unless a module has changed.
    let again = distribution.klpbuild(&["modules"]).ok();
    assert!(!again.stderr.contains("reading"), "{}", again.stderr);
    assert_eq!(distribution.cached().len(), 1, "{:?}", distribution.cached());
    space.sh(&format!("cd ..; xz -d {MODULES}/one/pair.ko.xz")).ok();
    distribution.klpbuild(&["modules"]).ok().says(&["reading the symbols"]);
    let emptied = distribution.klpbuild(&["lookup", "hidden_counter"]).ok();
    assert!(emptied.stdout.contains("  vmlinux  "), "{}", emptied.stdout);
    let mut clean = space.command(Space::program());
    let clean = Ran::of(
        clean.args(["klpclean", "--cache"]).env("XDG_CACHE_HOME", space.path("cache")).output().unwrap(),
    );
    assert!(clean.ok().stdout.ends_with("/cache/klpbuild is removed\n") && distribution.cached().is_empty());
}

#[test]
fn definitions_are_looked_up_in_packed_modules() {
    let distribution = Distribution::install();
    let found = distribution.klpbuild(&["lookup", "left", "right", "hidden_counter"]).ok().stdout;
    for line in [
        "  pair    -            FUNC  GLOBAL   ",
        "static KLP_MODULE_RELOC(pair) right_reloc[] = { KLP_SYMPOS(right, 0) };",
        "  vmlinux  -            OBJECT  GLOBAL   4 ",
    ] {
        assert!(found.contains(line), "{line}: {found}");
    }
    // Without the directory of an external module, KDIR says which kernel.
    let space = &distribution.space;
    let damaged = space.path(MODULES).join("one/pair.ko.xz");
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    distribution.klpbuild(&["modules"]).ends(1).says(&["one/pair.ko.xz: it is damaged or cut short"]);
}

/// What is of another kernel is refused, and used with --force alone.
#[test]
fn another_kernels_files_are_refused() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    let refused = |words: &[&str]| {
        distribution.klpbuild(&["modules"]).ends(1).says(words).says(&["use --force if you know better"]);
        distribution
            .klpbuild(&["modules", "--force"])
            .ok()
            .says(&["klpbuild: warning: ", "used all the same (--force)"]);
        space.sh("rm -rf ../cache").ok();
    };
    // By release.
    fs::write(space.path("headers/include/config/kernel.release"), "9.1-mini\n").unwrap();
    space
        .sh(&format!(
            "cd ../root; mv usr/lib/debug/boot/vmlinux-{RELEASE} usr/lib/debug/boot/vmlinux-9.1-mini"
        ))
        .ok();
    refused(&["vmlinux-9.1-mini is 9.0-mini's, and not 9.1-mini's"]);
    fs::write(space.path("headers/include/config/kernel.release"), "9.0-mini\n").unwrap();
    space
        .sh(&format!(
            "cd ../root; mv usr/lib/debug/boot/vmlinux-9.1-mini usr/lib/debug/boot/vmlinux-{RELEASE}"
        ))
        .ok();
    // By version, which the headers know.
    fs::create_dir_all(space.path("headers/include/generated")).unwrap();
    fs::write(space.path("headers/include/generated/utsversion.h"), "#define UTS_VERSION \"#2 SMP\"\n")
        .unwrap();
    refused(&[
        "another build of 9.0-mini: the headers are of \"#2 SMP\", and it says \"Linux version 9.0-mini ",
    ]);
    fs::write(space.path("headers/include/generated/utsversion.h"), "#define UTS_VERSION \"#1 SMP\"\n")
        .unwrap();
    // By build ID, while it runs.
    fs::write(space.path("root/proc/sys/kernel/osrelease"), "9.0-mini\n").unwrap();
    fs::create_dir_all(space.path("root/sys/kernel")).unwrap();
    fs::write(space.path("root/sys/kernel/notes"), b"\x04\0\0\0\x04\0\0\0\x03\0\0\0GNU\0\xc0\xff\xee\x02")
        .unwrap();
    refused(&["its build ID is c0ffee01, that of the kernel which is running c0ffee02"]);
    fs::write(space.path("root/sys/kernel/notes"), b"\x04\0\0\0\x04\0\0\0\x03\0\0\0GNU\0\xc0\xff\xee\x01")
        .unwrap();
    distribution.klpbuild(&["modules"]).ok();
    // Modules say for which kernel they are.
    fs::write(
        space.path("ext/other.s"),
        ".section .modinfo,\"a\"\n.string \"vermagic=9.9-other SMP\"\n.data\nx: .long 1\n",
    )
    .unwrap();
    space.sh(&format!("cd ../ext && as other.s -o ../{MODULES}/other.ko && rm other.s")).ok();
    let other = ["other.ko is for 9.9-other, and not for 9.0-mini"];
    distribution.klpbuild(&["modules"]).ends(1).says(&other);
    distribution.klpbuild(&["modules", "--force"]).ok();
    // The map that was made in spite of it is kept, and not used without --force.
    distribution.klpbuild(&["modules"]).ends(1).says(&other);
    fs::remove_file(space.path(MODULES).join("other.ko")).unwrap();
    distribution.klpbuild(&["modules"]).ok();
    // A list of symbols says nothing of itself, but it has to have what vmlinux exports.
    let text = space.read(&format!("root/boot/System.map-{RELEASE}"));
    let lines = text.lines().filter(|line| !line.ends_with(" klog"));
    fs::write(space.path("foreign.map"), lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let foreign = space.path("foreign.map").display().to_string();
    let ran = distribution.klpbuild(&["modules", "--system-map", &foreign]).ends(1);
    ran.says(&["foreign.map is another kernel's than 9.0-mini: it lacks 1 symbol that vmlinux exports, klog among them"]);
    distribution.klpbuild(&["modules", "--system-map", &foreign, "--force"]).ok().says(&["(--force)"]);
}

/// Of two modules with one name, the one that modprobe takes counts (depmod.d(5)).
#[test]
fn updates_take_the_place_of_what_came_with_the_kernel() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    let place = |name: &str| space.path("root/lib/modules/9.0-mini").join(name);
    for (directory, symbol) in [("updates", "newer"), ("extra", "older"), ("weak-updates", "foreign")] {
        fs::create_dir_all(place(directory)).unwrap();
        fs::write(place("user.s"), format!(".data\n.globl {symbol}\n{symbol}: .long 1\n")).unwrap();
        let files =
            [place("user.s"), place(directory).join("user.ko")].map(|path| path.display().to_string());
        space.sh(&format!("as {} -o {}", files[0], files[1])).ok();
    }
    let found = |symbol: &str| {
        let ran = distribution.klpbuild(&["lookup", symbol]);
        ran.code == Some(0) && ran.stdout.contains("  user ")
    };
    assert!(found("newer") && !found("older") && !found("foreign") && !found("user"));
    fs::write(place("modules.dep"), "extra/user.ko:\nkernel/one/pair.ko.xz:\n").unwrap();
    assert!(found("older") && !found("newer"));
}

/// System.map tells positions and nothing else; its stub tells nothing; /proc/kallsyms is for the running kernel.
#[test]
fn without_a_vmlinux_lists_have_to_do() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    let map = space.path("root/boot/System.map-9.0-mini");
    let text = fs::read_to_string(&map).unwrap();
    fs::remove_file(space.path(DEBUG)).unwrap();
    let built = distribution.klpbuild(&["modules"]).ok().says(&[
        "vmlinux's symbols are read from ",
        "boot/System.map-9.0-mini: their types, sizes and source files are not known",
    ]);
    assert!(built.stdout.contains("  KLP [M] lp-ext.ko\n") && distribution.converted());
    let found = distribution.klpbuild(&["lookup", "hidden_counter"]).ok().stdout;
    assert!(found.contains("  vmlinux  -            -     GLOBAL   -     00000000004"), "{found}");
    let cached = distribution.cached();
    assert!(cached[0].to_string_lossy().contains(&format!("/{RELEASE}-")), "{cached:?}");

    fs::write(&map, "ffffffffffffffff B The real System.map is elsewhere\n").unwrap();
    distribution
        .klpbuild(&["modules"])
        .ends(1)
        .says(&["nothing tells the symbols of 9.0-mini's vmlinux", "doctor"]);
    let stub = map.display().to_string();
    distribution
        .klpbuild(&["modules", "--system-map", &stub])
        .ends(1)
        .says(&["it has no symbols: some distributions"]);
    let other = space.path("real.map");
    fs::write(&other, &text).unwrap();
    distribution.klpbuild(&["modules", "--system-map", &other.display().to_string()]).ok();

    // As root while it runs: addresses are those of this boot, and modules' symbols stand behind.
    let kallsyms = space.path("root/proc/kallsyms");
    fs::write(&kallsyms, format!("{text}ffffffffc0000000 t hidden_counter\t[some_module]\n")).unwrap();
    distribution.klpbuild(&["modules"]).ends(1);
    fs::write(space.path("root/proc/sys/kernel/osrelease"), "9.0-mini\n").unwrap();
    distribution.klpbuild(&["modules"]).ok().says(&["read from ", "/proc/kallsyms"]);
    assert!(distribution.converted());
    let hidden: String = text.lines().map(|line| format!("{:016x}{}\n", 0, &line[16..])).collect();
    fs::write(&kallsyms, hidden).unwrap();
    distribution.klpbuild(&["modules"]).ends(1).says(&["nothing tells the symbols"]);
}

/// Ordinary modules need no symbols of the kernel.
#[test]
fn modules_without_livepatches_are_built_without_symbols() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    fs::remove_dir_all(space.path("root/usr")).unwrap();
    fs::remove_dir_all(space.path("root/boot")).unwrap();
    fs::write(space.path("ext/Makefile"), "obj-m += plain.o\n").unwrap();
    let built = distribution.klpbuild(&["modules"]).ok();
    assert!(built.stdout.contains("klpbuild: 1 module, no livepatch; "), "{}", built.stdout);
    assert!(!space.path("ext/Symbols.list").exists());
}

/// Where the cache cannot be written, the map is kept beside the module.
#[test]
fn a_cache_that_cannot_be_written_stops_nothing() {
    let distribution = Distribution::install();
    fs::write(distribution.space.path("cache"), "a file").unwrap();
    distribution.klpbuild(&["modules"]).ok().says(&["cannot keep the map of symbols in "]);
    assert!(distribution.converted());
    let again = distribution.klpbuild(&["modules"]).ok();
    assert!(!again.stderr.contains("reading"), "{}", again.stderr);
}

#[test]
fn doctor_says_what_is_there_and_what_is_missing() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    let run = |what: &str| {
        let ran = distribution.klpbuild(&["doctor"]);
        let text = format!("exit {}\n{}{}", ran.code.unwrap(), ran.stdout, ran.stderr);
        let text = text.replace(&space.path("").display().to_string(), "TREE/");
        // What this machine has is not the kernel's.
        let own = |line: &&str| {
            !["make ", "binutils ", "QEMU ", "busybox ", "pahole "].iter().any(|word| line.contains(word))
        };
        let lines: Vec<&str> = text.lines().filter(own).collect();
        format!("{what}: {}\n", lines.join("\n"))
    };
    let version = Command::new("gcc").arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).lines().next().unwrap().to_owned();
    let config = |more: &str| {
        let text = format!(
            "CONFIG_MODULES=y\nCONFIG_LIVEPATCH=y\nCONFIG_KALLSYMS_ALL=y\nCONFIG_DYNAMIC_FTRACE_WITH_ARGS=y\n{more}"
        );
        fs::write(space.path("headers/.config"), text).unwrap();
    };
    for name in ["generated/autoconf.h", "config/auto.conf"] {
        fs::create_dir_all(space.path("headers/include").join(name).parent().unwrap()).unwrap();
        fs::write(space.path("headers/include").join(name), "").unwrap();
    }
    config(&format!("CONFIG_CC_VERSION_TEXT=\"{version}\"\n"));
    let fine = run("all is there");
    assert!(fine.contains(", as the kernel's\n") && fine.starts_with("all is there: exit 0\n"), "{fine}");
    assert!(
        fine.contains(
            "  ok       vmlinux        TREE/root/usr/lib/debug/boot/vmlinux-9.0-mini, build ID c0ffee01\n"
        ),
        "{fine}"
    );
    // A compiler has to be named where kbuild would take another one.
    let gcc = |text: &str| {
        let fake = space.path("bin/gcc-3");
        fs::create_dir_all(space.path("bin")).unwrap();
        fs::write(&fake, "#!/bin/sh\necho 'gcc-3 (Distro 3.4.6-1) 3.4.6'\n").unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        config(&format!("CONFIG_CC_VERSION_TEXT=\"{text}\"\n"));
        run("named")
    };
    let asked = gcc("gcc-3 (Distro 3.4.6-1) 3.4.6");
    assert!(asked.contains("  note     compiler       gcc-3 3.4.6, as the kernel's\n"), "{asked}");
    assert!(asked.contains("  give klpbuild, or make, CC=gcc-3\n"), "{asked}");
    fs::write(space.path("headers/.kernelvariables"), "CC = $(CROSS_COMPILE)gcc-3\n").unwrap();
    let taken = gcc("gcc-3 (Distro 3.4.6-1) 3.4.6");
    assert!(taken.contains("  ok       compiler       gcc-3 3.4.6, as the kernel's\n"), "{taken}");
    fs::remove_file(space.path("headers/.kernelvariables")).unwrap();
    fs::remove_dir_all(space.path("bin")).unwrap();
    config("CONFIG_CC_VERSION_TEXT=\"clang version 3.4.6\"\n");
    assert!(run("clang").contains("apt install clang-3 lld-3 llvm-3\n"));

    config(
        "CONFIG_TRIM_UNUSED_KSYMS=y\nCONFIG_MODULE_SIG_FORCE=y\nCONFIG_CC_VERSION_TEXT=\"gcc (GCC) 3.4.6\"\n",
    );
    fs::remove_file(space.path(DEBUG)).unwrap();
    fs::write(space.path("root/boot/System.map-9.0-mini"), "one line\n").unwrap();
    fs::remove_file(space.path("headers/Module.symvers")).unwrap();
    fs::remove_dir_all(space.path("root/lib")).unwrap();
    // No headers: other kernels have some.
    fs::create_dir_all(space.path("root/lib/modules/8.9-other/build")).unwrap();
    fs::create_dir_all(space.path("root/proc/sys/kernel")).unwrap();
    fs::write(space.path("root/proc/sys/kernel/osrelease"), "9.0-mini\n").unwrap();
    let mut command = space.command(Space::program());
    command.current_dir(space.path("ext")).env_remove("KDIR").args(["doctor", "--sysroot"]);
    let bare = Ran::of(command.arg(space.path("root")).output().unwrap()).ends(1).stdout;
    assert!(bare.contains("are installed: klpbuild doctor --release 8.9-other\n"), "{bare}");
    distribution
        .klpbuild(&["doctor", "KDIR=nowhere"])
        .ends(1)
        .says(&["nowhere: no such directory: KDIR names"]);
    distribution
        .klpbuild(&["doctor", "../root/lib/modules"])
        .ends(1)
        .says(&["has no release (include/config/kernel.release)"]);
    let bad = run("much is missing").replace(&version, "GCC");
    let own = regex::Regex::new(r"gcc is [0-9.]+,").unwrap().replace(&bad, "gcc is VERSION,").into_owned();
    insta::assert_snapshot!(own);
}

/// A second kernel that is installed, without symbols or headers.
fn add_another(distribution: &Distribution) {
    distribution
        .space
        .sh("mkdir -p ../root/lib/modules/9.1-other/kernel && touch ../root/boot/vmlinuz-9.1-other")
        .ok();
}

#[test]
fn installed_kernels_are_listed_and_taken_by_their_release() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    add_another(&distribution);
    let listed = distribution.klpbuild(&["kernels"]).ok().stdout;
    assert_eq!(
        listed,
        "  release    headers  symbols  modules  source  livepatches\n  \
           9.0-mini   no       vmlinux  4        no      not known\n  \
           9.1-other  no       no       0        no      not known\n\
         klpbuild: none of them has all that livepatches need: klpbuild doctor --release 9.1-other says what is missing\n"
    );
    // Without headers, symbols can be looked up.
    let pair = distribution.klpbuild(&["lookup", "right", "--release", "9.0-mini"]).ok().stdout;
    assert!(pair.contains("KLP_MODULE_RELOC(pair) right_reloc"), "{pair}");
    distribution.klpbuild(&["modules", "--release", "9.0-mini"]).ends(1).says(&[
        "the headers of 9.0-mini are not installed (there is no ",
        "klpbuild doctor --release 9.0-mini says",
    ]);
    space.sh("ln -s ../../../../headers ../root/lib/modules/9.0-mini/build").ok();
    for (name, text) in [
        ("headers/.config", "CONFIG_MODULES=y\nCONFIG_LIVEPATCH=y\nCONFIG_KALLSYMS_ALL=y\n"),
        ("root/proc/sys/kernel/osrelease", "9.0-mini\n"),
    ] {
        fs::write(space.path(name), text).unwrap();
    }
    let listed = distribution.klpbuild(&["kernels"]).ok().stdout;
    let own = "  9.0-mini (running)  yes      vmlinux  4        no      no, CONFIG_DYNAMIC_FTRACE_WITH_REGS is not set\n";
    assert!(listed.contains(own), "{listed}");
    let json = distribution.klpbuild(&["kernels", "--format", "json"]).ok().stdout;
    assert!(json.contains("\"release\": \"9.0-mini\",\n      \"running\": true,\n"), "{json}");
    assert!(
        json.contains("\"options_missing\": [\n        \"DYNAMIC_FTRACE_WITH_REGS\"\n      ]\n"),
        "{json}"
    );

    // Each of these takes the same kernel; the headers tell what is exported.
    let pair = pair.replace("1 of 1  -\n", "1 of 1  no\n");
    let elsewhere = |arguments: &[&str], kdir: &str| {
        let mut command = space.command(Space::program());
        command.current_dir(space.path("ext")).env("KDIR", kdir).env("XDG_CACHE_HOME", space.path("cache"));
        Ran::of(command.args(arguments).arg("--sysroot").arg(space.path("root")).output().unwrap())
    };
    for (arguments, kdir) in [
        (&["lookup", "right", "--release", "9.0-mini"][..], ""),
        (&["lookup", "right", "KDIR=9.0-mini"], ""),
        (&["lookup", "right"], "9.0-mini"),
    ] {
        assert_eq!(elsewhere(arguments, kdir).ok().stdout, pair, "{arguments:?} {kdir}");
    }
    elsewhere(&["modules", "KDIR=9.0-mini"], "").ok();
    assert!(distribution.converted());
    let verified = elsewhere(&["verify", "lp-ext.ko", "--release=9.0-mini"], "").ok().stdout;
    assert!(verified.contains("klpbuild: lp-ext.ko: correct"), "{verified}");
    elsewhere(&["modules", "--release", "9.0-mini", "O=x"], "").ends(1).says(&["both name the kernel"]);
    elsewhere(&["lookup", "right", "--release", "9.2"], "").ends(1).says(&[
        "no kernel 9.2 is installed (",
        "installed are 9.0-mini, 9.1-other: choose one, as in klpbuild lookup right --sysroot ",
        " --release 9.0-mini\n",
    ]);
}

#[test]
fn a_build_takes_the_kernel_of_the_last_one_or_of_a_newer_makefile() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    let elsewhere = |arguments: &[&str]| {
        let mut command = space.command(Space::program());
        command.current_dir(space.path("ext")).env_remove("KDIR").env("XDG_CACHE_HOME", space.path("cache"));
        Ran::of(command.args(arguments).arg("--sysroot").arg(space.path("root")).output().unwrap())
    };
    let headers = space.path("headers").display().to_string();
    space.sh("rm -rf ../root/proc").ok();
    elsewhere(&["modules"]).ends(1).says(&["; 9.0-mini is installed: klpbuild modules --sysroot "]);
    elsewhere(&["modules", &format!("KDIR={headers}")]).ok();
    elsewhere(&["modules"]).ok().says(&[&format!("klpbuild: for {headers}, as the last build here (")]);
    // What the Makefile has said all the while does not count more than what was typed.
    let makefile = space.path("ext/Makefile");
    let before = fs::metadata(space.path("ext/.klpbuild/context.json")).unwrap().modified().unwrap();
    let text = fs::read_to_string(&makefile).unwrap_or_default();
    let other = space.path("other-headers").display().to_string();
    space.sh("cp -a ../headers ../other-headers").ok();
    fs::write(&makefile, format!("KDIR ?= {other} # elsewhere\n{text}")).unwrap();
    let old = before - std::time::Duration::from_secs(60);
    fs::File::options().write(true).open(&makefile).unwrap().set_modified(old).unwrap();
    elsewhere(&["modules"]).ok().says(&[&format!("klpbuild: for {headers}, as the last build here (")]);
    let new = before + std::time::Duration::from_secs(60);
    fs::File::options().write(true).open(&makefile).unwrap().set_modified(new).unwrap();
    elsewhere(&["modules"]).ok().says(&[&format!(
        "klpbuild: for {other}, as the Makefile has it now (KDIR); the last build here was for {headers}\n"
    )]);
    let quiet = elsewhere(&["modules", "-q"]).ok();
    assert!(!quiet.stderr.contains("klpbuild: for "), "{}", quiet.stderr);
}

#[test]
fn doctor_names_no_package_that_the_index_lacks() {
    let distribution = Distribution::install();
    let space = &distribution.space;
    fs::create_dir_all(space.path("bin")).unwrap();
    fs::create_dir_all(space.path("root/var/lib/apt/lists")).unwrap();
    fs::remove_dir_all(space.path("root/usr")).unwrap();
    fs::remove_file(space.path("root/boot/System.map-9.0-mini")).unwrap();
    let fake = space.path("bin/apt-cache");
    let has = "case $1:$2 in -oRootDir=*/root:pkgnames) echo linux-headers-amd64; echo linux-image-amd64;; *) exit 100;; esac\n";
    fs::write(&fake, format!("#!/bin/sh\n{has}")).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let fetch = distribution.klpbuild(&["doctor"]).ends(1).stdout;
    assert!(fetch.contains("  apt update && apt install linux-image-9.0-mini-dbg\n"), "{fetch}");
    fs::write(space.path("root/var/lib/apt/lists/x_Packages"), "").unwrap();
    let none = distribution.klpbuild(&["doctor"]).ends(1).stdout;
    assert!(
        none.contains(
            "  no package linux-image-9.0-mini-dbg is to be had (apt-cache): 9.0-mini is not, or no longer, a kernel of \
             this distribution; take one that is (klpbuild kernels), or install its newest: apt install \
             linux-headers-amd64 linux-image-amd64\n"
        ),
        "{none}"
    );
}
