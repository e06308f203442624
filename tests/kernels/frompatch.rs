// SPDX-License-Identifier: GPL-2.0-only
//! `klpbuild livepatch` on a real kernel: patches of its source, and what becomes of them.

use std::fs;
use std::process::Command;

use crate::kernel::Kernel;
use crate::step;

/// A patch that puts `after` into `file` where `before` is first.
fn patch(kernel: &Kernel, name: &str, file: &str, before: &str, after: &str) -> String {
    let text = kernel.read(&format!("src/{file}"));
    assert!(text.contains(before), "{file}: {before}");
    let root = kernel.root.join("patch");
    let _ = fs::remove_dir_all(&root);
    for (side, text) in [("a", text.clone()), ("b", text.replacen(before, after, 1))] {
        let path = root.join(side).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let sides = ["a", "b"].map(|side| format!("{side}/{file}"));
    let diff = Command::new("diff").arg("-u").args(sides).current_dir(&root).output().unwrap();
    let path = kernel.root.join(format!("{name}.patch"));
    fs::write(&path, diff.stdout).unwrap();
    path.display().to_string()
}

pub(crate) fn check(kernel: &Kernel) {
    kernel.klpbuild(&["bzImage"]).ok();
    let source = fs::read(kernel.root.join("src/fs/proc/cmdline.c")).unwrap();

    step("a patch of the source becomes a livepatch, which does what the patch says");
    const SHOW: &str = "\tseq_puts(m, saved_command_line);\n";
    let fix = patch(
        kernel,
        "lp-fix",
        "fs/proc/cmdline.c",
        SHOW,
        "\tstatic int shown;\n\n\tseq_printf(m, \"livepatched %d: %s\", ++shown, saved_command_line);\n",
    );
    let made = kernel.root.join("lp-fix.ko").display().to_string();
    let ran = kernel
        .tool(&["livepatch", &fix, "-o", &made, "--try", "--run", "cat /proc/cmdline /proc/cmdline"])
        .ok();
    for words in [
        "replaced   cmdline_proc_show of vmlinux: its own text",
        "refers to  saved_command_line of vmlinux",
        "livepatched 1: ",
        "livepatched 2: ",
        "klpbuild: the command prints something else while enabled, and after it the same as before",
        "loads, applies, reverts and unloads",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert!(kernel.tool(&["verify", &made]).ok().stdout.contains(": correct ("));

    step("one with --replace takes the place of another");
    let version = patch(
        kernel,
        "lp-all",
        "fs/proc/version.c",
        "\tseq_printf(m, linux_proc_banner,\n",
        "\tseq_puts(m, \"livepatched \");\n\tseq_printf(m, linux_proc_banner,\n",
    );
    let all = kernel.root.join("lp-all.ko").display().to_string();
    let ran = kernel.tool(&["livepatch", &version, "-o", &all, "--replace"]).ok();
    assert!(ran.stdout.contains("replaced   all other livepatches that are loaded when it is (--replace)\n"));
    let command = "grep -c livepatched /proc/cmdline; grep -c livepatched /proc/version";
    let ran = kernel.tool(&["try", &made, &all, "--run", command]).ok();
    for words in [
        "disable livepatch_lp_fix: skipped, a later one has replaced it",
        "\ncommand while enabled: ok",
        "\n  | 0\n  | 1\n",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }

    step("a patch, written for kpatch, that has callbacks and nothing else");
    const LIMIT: &str = "unsigned long sysctl_overcommit_kbytes __read_mostly;\n";
    let callbacks = "#include \"kpatch-macros.h\"\n\nstatic unsigned long before;\n\nstatic int set(patch_object *object)\n{\n\
                     \tbefore = sysctl_overcommit_kbytes;\n\tsysctl_overcommit_kbytes = 40960;\n\treturn 0;\n}\n\
                     KPATCH_PRE_PATCH_CALLBACK(set);\n\nstatic void reset(patch_object *object)\n{\n\
                     \tsysctl_overcommit_kbytes = before;\n}\nKPATCH_POST_UNPATCH_CALLBACK(reset);\n";
    let set = patch(kernel, "lp-set", "mm/util.c", LIMIT, &format!("{LIMIT}\n{callbacks}"));
    let file = kernel.root.join("lp-set.ko").display().to_string();
    let ran = kernel
        .tool(&["livepatch", &set, "-o", &file, "--try", "--run", "grep CommitLimit /proc/meminfo"])
        .ok();
    for words in [
        "callback   pre_patch of vmlinux: set (mm/util.c)",
        "callback   post_unpatch of vmlinux: reset (mm/util.c)",
        "| CommitLimit:       40960 kB\n",
        "klpbuild: the command prints something else while enabled, and after it the same as before",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }

    step("a patch that cannot be carried over is refused, with its reason");
    let comment = patch(kernel, "comment", "fs/proc/cmdline.c", SHOW, &format!("\t/* as it was */\n{SHOW}"));
    let refused = kernel.tool(&["livepatch", &comment, "-o", &made]).ends(1);
    assert!(refused.stderr.contains("change no code that runs in this kernel"), "{}", refused.stderr);
    let value = patch(
        kernel,
        "value",
        "kernel/panic.c",
        "int panic_timeout = CONFIG_PANIC_TIMEOUT;",
        "int panic_timeout = 77;",
    );
    let kept = format!("{made}.kept");
    let refused = kernel.tool(&["livepatch", &value, "-o", &made, "--keep", &kept]).ends(1);
    assert!(refused.stderr.contains("the initial value of panic_timeout is changed"), "{}", refused.stderr);
    assert!(!std::path::Path::new(&kept).exists(), "nothing is kept of what was not made");
    assert!(fs::read(kernel.root.join("src/fs/proc/cmdline.c")).unwrap() == source, "the source is written");
}
