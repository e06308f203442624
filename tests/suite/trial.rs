// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild try`: what is refused before the boot, and what is made of a guest's words. The guest is a script
//! that plays a recorded console; `@T` in a recording stands for the token of the run.

use std::fs;
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::objtree::{Code, ObjTree, X86_64};
use crate::space::{PATIENCE, Ran, Space, has_ended, wait_until};

/// What stands in for QEMU.
const QEMU: &str = r#"#!/bin/sh
PATH=/usr/bin:/bin
echo "$*" >>../qemu.log
echo $$ >../qemu.pid
case "$*" in *'-accel kvm'*) echo 'error: failed to set MSR'; exit 1 ;; esac
[ ! -e ../status ] || read -r status <../status
while [ "$1" != -initrd ]; do shift; done
token=$(grep -ao '@klpbuild-[0-9a-f]*' "$2" | head -n 1)
sed "s/@T/$token/g" ../console
[ ! -e ../keep ] || cp "$2" ../initramfs.cpio
[ ! -e ../hears ] || timeout 300 head -n 1 >../heard
[ ! -e ../then ] || exec sleep 600
[ "$status" != KILL ] || kill -KILL $$
exit ${status:-0}
"#;

const CONFIG: &str = "X86_64 LIVEPATCH MODULES MODULE_UNLOAD BLK_DEV_INITRD BINFMT_ELF PRINTK TTY \
                      SERIAL_8250_CONSOLE PROC_FS SYSFS";

/// How a guest begins that does nothing wrong.
pub const BOOT: &str = "early console\r\n[    0.1] Run /bin/busybox as init process\r\n@T hello 1.2.3\r\n";
pub const LOAD: &str = "@T begin load lp.ko\r\n@T kernel <5>livepatch: enabling patch 'lp'\r\n@T end ok\r\n\
                    @T begin transition lp\r\n@T end ok\r\n@T object lp vmlinux 1\r\n";
pub const DISABLE: &str = "@T begin disable lp\r\n@T end ok\r\n@T begin unload lp.ko\r\n@T end ok\r\n\
                       @T begin end\r\n@T end ok\r\n";

/// An object tree `obj` with what a trial needs, and programs in `bin`.
fn object_tree() -> Space {
    let space = Space::new("era-c");
    for directory in ["obj/include/config", "obj/arch/x86/boot", "bin", "tmp"] {
        fs::create_dir_all(space.path(directory)).unwrap();
    }
    set_config(&space, CONFIG);
    fs::write(space.path("obj/include/config/kernel.release"), "1.2.3\n").unwrap();
    fs::write(
        space.path("bin/qemu-system-x86_64"),
        QEMU.replace("../", &format!("{}/", space.path("").display())),
    )
    .unwrap();
    fs::set_permissions(space.path("bin/qemu-system-x86_64"), fs::Permissions::from_mode(0o755)).unwrap();
    module(&space, "lp", "1.2.3", "livepatch=Y");
    module(&space, "mod", "1.2.3", "author=me");
    space
        .sh("cd ..; echo 'int main(void) { return 0; }' >main.c
             gcc -static -nostdlib -Wl,-emain main.c -o bin/busybox
             gcc -Wl,--build-id=0xc0ffee main.c -o obj/vmlinux
             touch obj/arch/x86/boot/bzImage")
        .ok();
    space
}

fn set_config(space: &Space, options: &str) {
    let text: String = options.split_whitespace().map(|option| format!("CONFIG_{option}=y\n")).collect();
    fs::write(space.path("obj/.config"), text).unwrap();
}

fn module(space: &Space, name: &str, release: &str, more: &str) {
    let source = format!(
        "__attribute__((section(\".modinfo\"))) const char a[] = \"vermagic={release} SMP mod_unload \", \
         b[] = \"{more}\";"
    );
    fs::write(space.path(&format!("{name}.c")), source).unwrap();
    space.sh(&format!("cd ..; gcc -c {name}.c -o obj/{name}.ko")).ok();
}

fn command(space: &Space, arguments: &[&str]) -> Command {
    // What runs the tests may have these ignored.
    let mut command = space.command("/usr/bin/env");
    command.arg("--default-signal=INT,HUP,TERM").arg(Space::program());
    command.args(["try", "--accel", "tcg"]).args(arguments);
    command.current_dir(space.path("obj")).env("PATH", space.path("bin")).env("TMPDIR", space.path("tmp"));
    command
}

fn attempt(space: &Space, arguments: &[&str]) -> Ran {
    let ran = Ran::of(command(space, arguments).output().unwrap());
    assert_eq!(fs::read_dir(space.path("tmp")).unwrap().count(), 0, "temporary files are left");
    ran
}

/// What is made of a guest that says `console`.
pub fn played(console: impl AsRef<[u8]>, arguments: &[&str]) -> Ran {
    let space = object_tree();
    fs::write(space.path("console"), console).unwrap();
    attempt(&space, arguments)
}

#[test]
fn each_stage_is_shown_with_what_was_logged_in_it() {
    let console = format!(
        "{BOOT}@T begin command before\r\n@T output a\r\n@T end ok status 1\r\n{LOAD}\
         @T begin command enabled\r\n@T output b\r\n@T output \r\n\
         @T kernel <4>[    1.0] printk\r\n@T kernel <12>WARNING: user\r\n@T end ok\r\n@T begin reload mod.ko\r\n@T end skipped why not\r\n\
         @T begin disable lp\r\n@T end ok\r\n@T begin command after\r\n@T output a\r\n@T end ok status 1\r\n\
         @T begin unload lp.ko\r\n@T end ok\r\n@T begin end\r\n@T end ok\r\n@T done\r\n\
         [    2.0] reboot: Restarting system\r\n"
    );
    let ran = played(&console, &["lp.ko", "--run", "x"]).ok();
    let (stages, last) = ran.stdout.rsplit_once("; ").unwrap();
    let expected = "\
boot: ok, 1.2.3, TCG
command before: ok, status 1
  | a
load lp.ko: ok
    livepatch: enabling patch 'lp'
transition to lp: ok
command while enabled: ok
  | b
  |
    [    1.0] printk
    WARNING: user
reload mod.ko: skipped, why not
disable lp: ok
command after: ok, status 1
  | a
unload lp.ko: ok
klpbuild: the command prints something else while enabled, and after it the same as before
klpbuild: lp.ko loads, applies, reverts and unloads";
    assert_eq!(stages, expected);
    assert!(last.ends_with(" s\n") && ran.stderr.is_empty(), "{last:?} {}", ran.stderr);
    let ran = played(&console, &["lp.ko", "--run", "x", "-q", "--log", "/dev/full"]).ok();
    assert_eq!(ran.stdout + &ran.stderr, "");
}

#[test]
fn a_panic_is_shown_from_its_beginning() {
    let console = format!(
        "{BOOT}@T begin load mod.ko\r\n@T output half a line[   1.0] BUG: kernel NULL pointer dereference\r\n\
         [    1.0] BUG: unable to handle page fault\r\n[    1.0] RIP: 0010:crash\r\n\
         [    1.1] Kernel panic - not syncing: Fatal exception\r\n"
    );
    let ran = played(&console, &["lp.ko"]).ends(1).says(&[
        "load mod.ko: failed, the kernel panicked\n",
        "  the console's last lines:\n    [    1.0] BUG: unable to handle page fault\n    [    1.0] RIP: 0010:crash\n",
        "klpbuild: failed: load mod.ko: the kernel panicked\n",
    ]);
    assert!(!ran.stderr.contains("early console"), "{}", ran.stderr);
    // One that comes only when all is said counts as well.
    let console = format!("{BOOT}{LOAD}{DISABLE}@T done\r\n[    1.1] Kernel panic - not syncing: late\r\n");
    played(&console, &["lp.ko"]).ends(1).says(&["klpbuild: failed: shut down: the kernel panicked\n"]);
    let console = "[    0.1] VFS: nothing\r\n[    0.1] Kernel panic - not syncing: no init\r\n";
    played(console, &["lp.ko"])
        .ends(2)
        .says(&["VFS: nothing", "klpbuild: could not be tried: boot: the kernel panicked"]);
}

#[test]
fn a_hang_is_ended_and_located() {
    let space = object_tree();
    fs::write(space.path("console"), format!("{BOOT}{LOAD}@T begin transition lp\r\n@T output who\r\n"))
        .unwrap();
    fs::write(space.path("then"), "").unwrap();
    let begin = Instant::now();
    attempt(&space, &["lp.ko", "--timeout", "5", "--log", "log"]).ends(1).says(&[
        "transition to lp: failed, it hangs: not over after 5 s (--timeout SECONDS), ",
        "\n  | who\n",
        "klpbuild: failed: transition to lp: it hangs",
    ]);
    assert!(begin.elapsed() < PATIENCE);
    assert_is_gone(&space);
    assert!(space.read("obj/log").contains("[    0.1] Run /bin/busybox as init process\n"));
}

fn assert_is_gone(space: &Space) {
    let pid = space.read("qemu.pid");
    assert!(!fs::exists(format!("/proc/{}", pid.trim())).unwrap(), "QEMU is left behind");
}

#[test]
fn a_signal_ends_klpbuild_and_the_guest() {
    let space = object_tree();
    fs::write(space.path("console"), BOOT).unwrap();
    fs::write(space.path("then"), "").unwrap();
    let mut child = command(&space, &["lp.ko"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("QEMU runs", || {
        assert!(child.try_wait().unwrap().is_none(), "klpbuild ended");
        !fs::read_to_string(space.path("qemu.pid")).unwrap_or_default().is_empty()
    });
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(15));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "klpbuild: stopped by SIGTERM\n");
    assert_is_gone(&space);
    assert_eq!(fs::read_dir(space.path("tmp")).unwrap().count(), 0);
}

#[test]
fn what_the_kernel_refuses_or_warns_of_is_a_failure() {
    let console = format!(
        "{BOOT}@T begin load lp.ko\r\n@T output insmod: Invalid argument\r\n\
         @T kernel livepatch: symbol 'x' not found in symbol table\r\n@T end failed the kernel refused it\r\n@T done\r\n"
    );
    for arguments in [&["lp.ko"][..], &["lp.ko", "-q"]] {
        played(&console, arguments).ends(1).says(&[
            "load lp.ko: failed, the kernel refused it\n  | insmod: Invalid argument\n    livepatch: symbol 'x' not",
            "klpbuild: failed: load lp.ko: the kernel refused it\n",
        ]);
    }
    let warned = LOAD.replace("<5>livepatch: ", "<4>[    1.0] WARNING: CPU: 0 PID: 1 at livepatch: ");
    let ran = played(format!("{BOOT}{warned}{DISABLE}@T done\r\n"), &["lp.ko"]);
    let ran = ran.ends(1).says(&[
        "load lp.ko: failed, the kernel gave a warning\n    [    1.0] WARNING: CPU",
        "klpbuild: failed: ",
    ]);
    assert!(
        ran.stdout.contains("disable lp: ok\n") && !ran.stdout.contains("klpbuild: lp.ko"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_guest_that_makes_no_sense_is_a_failure() {
    let garbage = [&b"\xff\xfe\x1b[2J\0 @T what\r\n@T begin \xff\r\n@klpbuild-0123456789abcdef done\r\n"[..];
        20]
        .concat();
    let ran = played(garbage, &["lp.ko"])
        .ends(2)
        .says(&["boot: failed, QEMU ended by itself, with status 0\n", "@klpbuild-0123"]);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\0'), "{:?}", ran.stderr);
    played("", &["lp.ko"]).ends(2).says(&[
        "boot: failed, QEMU ended by itself, with status 0\nklpbuild: could not be tried: boot: QEMU ended",
    ]);
}

#[test]
fn each_stage_has_to_be_there_by_its_name() {
    let whole = format!("{BOOT}{LOAD}{DISABLE}@T done\r\n");
    played(&whole, &["lp.ko"]).ok();
    for (stage, shown) in [
        ("load lp.ko", "load lp.ko"),
        ("transition lp", "transition to lp"),
        ("disable lp", "disable lp"),
        ("unload lp.ko", "unload lp.ko"),
    ] {
        let line = format!("the guest left out a stage: {shown}\n");
        let without = whole.replacen(&format!("@T begin {stage}\r\n"), "@T begin load other.ko\r\n", 1);
        assert_ne!(without, whole);
        played(&without, &["lp.ko"]).ends(1).says(&["klpbuild: failed: ", &line]);
    }
    played(format!("{BOOT}{DISABLE}{LOAD}@T done\r\n"), &["lp.ko"])
        .ends(1)
        .says(&["left out a stage: disable lp"]);
    let missing = "left out a stage: command before";
    played(&whole, &["lp.ko", "--run", "true"]).ends(1).says(&[missing]);
    // As often as it disables something else.
    let twice = whole.replace("disable lp\r\n", "disable other\r\n@T end ok\r\n@T begin disable another\r\n");
    played(&twice, &["lp.ko"]).ends(1).says(&["left out a stage: disable lp"]);
}

#[test]
fn qemu_that_ends_by_itself_is_no_verdict_on_the_livepatch() {
    let status = |status: &str, console: &str| {
        let space = object_tree();
        fs::write(space.path("console"), console).unwrap();
        fs::write(space.path("status"), status).unwrap();
        attempt(&space, &["lp.ko"])
    };
    status("1\n", "qemu-system-x86_64: cannot set up guest memory\r\n").ends(2).says(&[
        "cannot set up guest memory",
        "klpbuild: could not be tried: boot: QEMU ended by itself, with status 1\n",
    ]);
    status("KILL\n", &format!("{BOOT}@T begin load lp.ko\r\n"))
        .ends(2)
        .says(&["klpbuild: could not be tried: load lp.ko: QEMU ended by itself, by SIGKILL\n"]);
    // A triple fault: the reset ends QEMU, as if all was well.
    status("0\n", &format!("{BOOT}@T begin load lp.ko\r\n"))
        .ends(1)
        .says(&["klpbuild: failed: load lp.ko: the machine was reset, and the kernel said nothing of it\n"]);
}

#[test]
fn what_was_never_there_is_not_applied() {
    let never = LOAD.replace("object lp vmlinux 1", "object lp nowhere 0");
    let ran = played(format!("{BOOT}{never}{DISABLE}@T done\r\n"), &["lp.ko"])
        .ends(2)
        .says(&["klpbuild: could not be tried: lp.ko patches nowhere, which was never there: nothing of it"]);
    assert!(!ran.stdout.contains("applies"), "{}", ran.stdout);
    let partly = LOAD.to_owned() + "@T object lp nowhere 0\r\n";
    let ran = played(format!("{BOOT}{partly}{DISABLE}@T done\r\n"), &["lp.ko"]).ok();
    let words = "loads, applies, reverts and unloads (lp.ko was not tried for nowhere: not there); ";
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    let silent = LOAD.replace("@T object lp vmlinux 1\r\n", "");
    played(format!("{BOOT}{silent}{DISABLE}@T done\r\n"), &["lp.ko"]).ends(2).says(&["nothing of it"]);
}

#[test]
fn a_livepatch_that_stays_is_told_so() {
    let space = object_tree();
    space.sh("cd ..; echo 'int init_module(void) { return 0; }' >>lp.c; gcc -c lp.c -o obj/lp.ko").ok();
    let stays = "it has no module_exit, so that the kernel never unloads it";
    let skipped =
        DISABLE.replacen("unload lp.ko\r\n@T end ok", &format!("unload lp.ko\r\n@T end skipped {stays}"), 1);
    fs::write(space.path("console"), format!("{BOOT}{LOAD}{skipped}@T done\r\n")).unwrap();
    fs::write(space.path("keep"), "").unwrap();
    let ran = attempt(&space, &["lp.ko"]).ok();
    assert!(ran.stdout.contains(&format!("\nunload lp.ko: skipped, {stays}\n")), "{}", ran.stdout);
    let closing = format!("lp.ko loads, applies and reverts (lp.ko stays loaded: {stays}); ");
    assert!(ran.stdout.contains(&closing), "{}", ran.stdout);
    // The guest knows it from its files.
    let initramfs = fs::read(space.path("initramfs.cpio")).unwrap();
    let name = b"klpbuild/livepatches/0000/no-unload";
    assert!(initramfs.windows(name.len()).any(|window| window == name));
}

#[test]
fn a_missing_signature_is_named() {
    let refused = |errno: &str| {
        format!(
            "{BOOT}@T begin load lp.ko\r\n@T output insmod: can't insert: {errno}\r\n\
             @T end failed the kernel refused it\r\n@T done\r\n"
        )
    };
    for errno in ["Required key not available", "Key was rejected by service"] {
        played(refused(errno), &["lp.ko"]).ends(1).says(&[
            "klpbuild: failed: load lp.ko: the kernel refused it: it has no signature, and this kernel takes \
             signed modules only",
            "sign it with scripts/sign-file",
        ]);
    }
    let space = object_tree();
    space.sh("printf '~Module signature appended~\\n' >>../obj/lp.ko").ok();
    let signed = |console: &str, why: &str| {
        fs::write(space.path("console"), console).unwrap();
        attempt(&space, &["lp.ko"]).ends(1).says(&[why]);
    };
    signed(&refused("Required key not available"), "it is signed with a key that this kernel does not have");
    signed(&refused("Key was rejected by service"), "it was changed after it was signed\n");
    // Nothing is said of signatures where the kernel refuses a module for something else.
    played(refused("Invalid argument"), &["lp.ko"]).ends(1).says(&["load lp.ko: the kernel refused it\n"]);
}

#[test]
fn the_guest_is_told_by_the_clock_of_the_host() {
    let space = object_tree();
    fs::write(
        space.path("console"),
        format!("{BOOT}@T begin load lp.ko\r\n@T end ok\r\n@T begin transition lp\r\n"),
    )
    .unwrap();
    fs::write(space.path("hears"), "").unwrap();
    fs::write(space.path("then"), "").unwrap();
    attempt(&space, &["lp.ko", "--timeout", "8"]).ends(1).says(&["transition to lp: failed, it hangs"]);
    let heard = space.read("heard");
    let seconds: u64 = heard.trim_end().strip_prefix("late 2 ").unwrap().parse().unwrap();
    assert!((4..=8).contains(&seconds), "{heard}");
}

#[test]
fn killed_klpbuild_takes_qemu_along() {
    let space = object_tree();
    fs::write(space.path("console"), BOOT).unwrap();
    fs::write(space.path("then"), "").unwrap();
    let mut child = command(&space, &["lp.ko"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("QEMU runs", || {
        assert!(child.try_wait().unwrap().is_none(), "klpbuild ended");
        !fs::read_to_string(space.path("qemu.pid")).unwrap_or_default().is_empty()
    });
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let pid = space.read("qemu.pid");
    wait_until("QEMU has ended", || has_ended(pid.trim()));
    assert_eq!(fs::read_dir(space.path("tmp")).unwrap().count(), 0, "temporary files are left");
}

#[test]
fn words_for_the_kernel_are_added_to_its_command_line() {
    let space = object_tree();
    let ran = attempt(&space, &["lp.ko", "--dry-run", "--append", "module.sig_enforce=1 -x"]).ok();
    let words = " no_timer_check rdinit=/bin/busybox module.sig_enforce=1 -x -- sh /klpbuild/init.sh'\n";
    assert!(ran.stdout.ends_with(words), "{}", ran.stdout);
    let refused = |words: &str, why: &str| {
        attempt(&space, &["lp.ko", "--dry-run", "--append", words]).ends(2).says(&["--append", why]);
    };
    refused("a -- b", "does not reach the kernel");
    refused("a\nb", "does not reach the kernel");
    refused(&"x".repeat(2000), "has 2000 characters, and the kernel has room for 19");
}

#[test]
fn another_kernel_than_the_one_built_is_a_failure() {
    let notes = "0400000003000000030000004 74e5500".replace(' ', "");
    let other = format!("@T notes {notes}c0ffef00\r\n{BOOT}{LOAD}{DISABLE}@T done\r\n");
    let ran =
        played(&other, &["lp.ko"]).ends(2).says(&["is not this vmlinux", "build ID c0ffee\n", "ID c0ffef\n"]);
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    played(format!("@T notes {notes}c0ffee00\r\n{BOOT}{LOAD}{DISABLE}@T done\r\n"), &["lp.ko"]).ok();
}

/// rxrpc, for one, has the kernel call modprobe for the modules of a cipher; the guest has none.
#[test]
fn a_module_that_the_guest_cannot_load_is_no_verdict_on_the_livepatch() {
    let console = |load: &str| {
        format!(
            "{BOOT}{load}@T begin load mod.ko\r\n@T output insmod: unknown symbol\r\n@T end failed the kernel refused it\r\n\
             @T done\r\n"
        )
    };
    let tried = |load: &str| played(console(load), &["lp.ko", "--load", "mod.ko"]);
    tried("").ends(2).says(&[
        "klpbuild: could not be tried: load mod.ko: the kernel refused it, and no livepatch was loaded yet\n",
    ]);
    tried(LOAD).ends(1).says(&["klpbuild: failed: load mod.ko: the kernel refused it\n"]);
}

#[test]
fn kvm_that_does_not_work_is_given_up() {
    let space = object_tree();
    fs::write(space.path("console"), format!("{BOOT}{LOAD}{DISABLE}@T done\r\n")).unwrap();
    let mut command = space.command(Space::program());
    command.args(["try", "lp.ko"]).current_dir(space.path("obj")).env("PATH", space.path("bin"));
    let ran = Ran::of(command.output().unwrap()).ok();
    assert!(ran.stdout.starts_with("boot: ok, 1.2.3, TCG"), "{}", ran.stdout);
    if space.read("qemu.log").contains("-accel kvm") {
        ran.says(&["KVM is there but does not run the guest (error: failed to set MSR): using TCG"]);
    }
}

#[test]
fn dry_run_prints_what_would_be_run() {
    let space = object_tree();
    let ran = attempt(&space, &["lp.ko", "--dry-run", "--memory", "128"]).ok();
    let image = space.path("obj/arch/x86/boot/bzImage");
    assert!(ran.stdout.starts_with("qemu-system-x86_64 -nodefaults "), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!(" -m 128 -kernel {} -initrd ", image.display())), "{}", ran.stdout);
    assert!(ran.stdout.ends_with(" -- sh /klpbuild/init.sh'\n") && !space.path("qemu.log").exists());
}

#[test]
fn what_cannot_work_is_refused_before_the_boot() {
    let space = object_tree();
    let refused = |arguments: &[&str], words: &[&str]| {
        attempt(&space, arguments).ends(2).says(words);
        assert!(!space.path("qemu.log").exists());
    };
    refused(&["mod.ko"], &["obj/mod.ko is not a livepatch", "name an ordinary module with --load"]);
    refused(&["lp.ko", "--load", "lp.ko"], &["obj/lp.ko is a livepatch: name it without --load"]);
    refused(&["lp.ko", "--load", "nowhere"], &["nowhere: this is neither a file nor a module of the kernel"]);
    refused(&["none.ko"], &["obj/none.ko: no such module: build it first (klpbuild modules)"]);
    refused(&[".config"], &["cannot read the symbols of", ".config: not an ELF file"]);
    refused(&["lp.ko", "--objtree", "../src"], &["src is no object tree", "--objtree DIR"]);
    refused(&["lp.ko", "--kernel", "none"], &["obj/none: no such kernel image (--kernel)"]);
    module(&space, "old", "1.2.2", "livepatch=Y");
    refused(&["old.ko"], &["obj/old.ko is for 1.2.2, and the kernel here is 1.2.3: build the module again"]);
    module(&space, "foreign", "1.2.3", "livepatch=Y\\0klpbuild_for=vmlinux build-id:abcdef");
    refused(
        &["foreign.ko"],
        &[
            "obj/foreign.ko: it was converted for another build of vmlinux: for build-id:abcdef, and this is build-id:c0ffee;",
        ],
    );
    module(&space, "sized", "1.2.3", "livepatch=Y\\0klpbuild_for=vmlinux build-id:c0ffee");
    space.sh("cd ..; for s in 64 128; do echo \".section .gnu.linkonce.this_module, \\\"aw\\\"; .skip $s\" | as -o $s.o; done
              ld -r obj/sized.ko 64.o -o all.o; mv all.o obj/sized.ko; ld -r obj/mod.ko 128.o -o obj/big.ko").ok();
    refused(
        &["sized.ko", "--load", "big.ko"],
        &["struct module has 64 bytes, and this one's has 128: build it"],
    );
    set_config(&space, "X86_64 MODULES PRINTK TTY PROC_FS SYSFS BINFMT_ELF");
    let names = "needs CONFIG_LIVEPATCH, CONFIG_BLK_DEV_INITRD, CONFIG_SERIAL_8250_CONSOLE; run: ";
    refused(
        &["lp.ko"],
        &[names, "scripts/config --file ", " -e LIVEPATCH -e BLK_DEV_INITRD -e SERIAL_8250_CONSOLE,"],
    );
    set_config(&space, "ARM64");
    refused(&["lp.ko"], &["CONFIG_X86_64 is not set: klpbuild try boots kernels for x86-64 only"]);
    set_config(&space, CONFIG);
    space.sh("touch -d '1 hour ago' ../obj/arch/x86/boot/bzImage").ok();
    refused(&["lp.ko"], &["bzImage is older than vmlinux: build it again (klpbuild modules bzImage)"]);
    fs::remove_file(space.path("obj/arch/x86/boot/bzImage")).unwrap();
    refused(
        &["lp.ko"],
        &["bzImage: build it (klpbuild modules bzImage), or name a kernel with --kernel IMAGE"],
    );
}

#[test]
fn missing_programs_are_named_with_their_packages() {
    let space = object_tree();
    space.sh("cd ..; gcc main.c -o bin/busybox").ok();
    attempt(&space, &["lp.ko"]).ends(2).says(&[
        "bin/busybox is not statically linked",
        ": apt ",
        " install busybox-static",
    ]);
    fs::remove_file(space.path("bin/busybox")).unwrap();
    attempt(&space, &["lp.ko"]).ends(2).says(&["there is no busybox in PATH: apt "]);
    fs::remove_file(space.path("bin/qemu-system-x86_64")).unwrap();
    attempt(&space, &["lp.ko"]).ends(2).says(&["there is no qemu-system-x86_64 in PATH", "apt "]);
}

/// What the livepatch keeps of a module that has to stay is wrong once that is loaded again.
#[test]
fn a_module_that_has_to_stay_and_is_reloaded() {
    let said = |code: Code<'_>| {
        let tree = ObjTree::with_code(X86_64, &code);
        tree.convert(&["in.ko", "-q"]).ok();
        let space = object_tree();
        tree.write("modinfo", "name=target_mod\0");
        let modinfo = ["--add-section", ".modinfo=modinfo", "--set-section-flags", ".modinfo=alloc,readonly"];
        tree.tool("objcopy", &[&modinfo[..], &["drivers/target/target-mod.ko", "target-mod.ko"]].concat());
        for (from, to) in [("in.ko", "lp.ko"), ("target-mod.ko", "target-mod.ko"), ("vmlinux", "vmlinux")] {
            fs::write(space.path("obj").join(to), tree.bytes(from)).unwrap();
        }
        fs::write(space.path("obj/arch/x86/boot/bzImage"), "").unwrap();
        fs::write(space.path("console"), "").unwrap();
        attempt(&space, &["lp.ko", "--load", "target-mod.ko"]).stderr
    };
    let stale = said(Code { patched: "call_to target_static", ..Code::default() });
    let expected = "klpbuild: lp.ko: target_mod has to be loaded before this livepatch, which uses its symbols, and has \
                    to stay: nothing keeps it from being unloaded; target_mod is loaded again here all the same, as it \
                    is patched, and from then on the livepatch refers to what was there before\n";
    assert!(stale.contains(expected), "{stale}");
    let fresh = said(Code { target: "call_to target_static", ..Code::default() });
    assert!(!fresh.contains("has to stay"), "{fresh}");
}

/// What a guest takes long for stands in one line of a terminal, which is gone at the end.
#[test]
fn a_terminal_shows_how_long_a_stage_takes_and_the_last_line() {
    let space = object_tree();
    let begin = "early console\r\n[    0.5] a last word of the guest's, which is longer than the terminal is wide\r\n";
    fs::write(space.path("console"), begin).unwrap();
    // The boot ends after more than a second.
    let qemu = space.read("bin/qemu-system-x86_64");
    let rest = format!(
        "sleep 2.5; printf '%b' '{}' | sed \"s/@T/$token/g\"\nexit ${{status:-0}}",
        format!("@T hello 1.2.3\r\n{LOAD}{DISABLE}@T done\r\n")
            .replace('\'', "'\\''")
            .replace("\r\n", "\\r\\n")
    );
    fs::write(space.path("bin/qemu-system-x86_64"), qemu.replace("exit ${status:-0}", &rest)).unwrap();
    let run = |columns: u16, terminal: &str, redirection: &str| {
        let words = format!(
            "stty cols {columns} rows 24; PATH={}; {} try --accel tcg lp.ko {redirection}",
            space.path("bin").display(),
            Space::program()
        );
        let mut command = space.command("script");
        command.args(["-qec", &words, "/dev/null"]).current_dir(space.path("obj")).stdin(Stdio::null());
        command.env("TMPDIR", space.path("tmp")).env("TERM", terminal);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    let text = run(60, "xterm", "");
    let drawn = "\r\u{1b}[2Kboot: 1 s  [    0.5] a last word of the guest's, which is l";
    assert!(text.contains(&format!("{drawn}\r\u{1b}[2K")), "{text:?}");
    assert!(text.contains("\r\u{1b}[2Kboot: 2 s  "), "{text:?}");
    let mut screen = vt100::Parser::new(NonZero::new(24).unwrap(), NonZero::new(60).unwrap(), 0);
    screen.process(text.as_bytes());
    let screen = screen.screen().contents();
    let begin = "boot: ok, 1.2.3, TCG, 2.";
    assert!(screen.starts_with(begin) && screen.contains("\nload lp.ko: ok\n"), "{screen}");
    assert!(!screen.contains("a last word"), "{screen}");
    // No line for terminals that cannot draw one anew, and none in a file.
    for text in [run(60, "dumb", ""), run(60, "xterm", "2>../errors"), space.read("errors")] {
        assert!(!text.contains("boot: 1 s") && !text.contains("\u{1b}[2K"), "{text:?}");
    }
}
