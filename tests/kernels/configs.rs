// SPDX-License-Identifier: GPL-2.0-only
//! Kernels of other configurations than the smallest one: as distributions have them, and built by clang with
//! link-time optimization. Each goes all the way to livepatches at work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kernel::{Kernel, Ran, ran};
use crate::{packages, step};

const SAMPLES: &str = "samples/klpbuild";
/// The bytes that scripts/sign-file puts at the end of a module.
const SIGNATURE: &[u8] = b"~Module signature appended~\n";

/// A source tree with a fresh object tree: the smallest configuration, and on top of it that of `name`.
fn configured(source: &Path, name: &str, words: &[&str]) -> Kernel {
    let kernel = Kernel::lay_out_as(source, name);
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(name);
        fs::read_to_string(path).unwrap()
    };
    let (base, more) = (read("livepatch.config"), read(&format!("{name}.config")));
    let all = kernel.root.join("all.config");
    fs::write(&all, base + &more).unwrap();
    let all = format!("KCONFIG_ALLCONFIG={}", all.display());
    kernel.make("ours", &[words, &[&all, "allnoconfig"]].concat()).ok();
    let config = kernel.read("ours/.config");
    for option in more.lines().filter(|line| line.starts_with("CONFIG_")) {
        assert!(
            config.lines().any(|line| line == option),
            "{option} is not to be had: what does it depend on?"
        );
    }
    kernel
}

/// Tries a livepatch with words of try's own; the guest's kernel takes `append`.
fn attempt(kernel: &Kernel, livepatch: &str, words: &[&str]) -> Ran {
    let command = "cat /proc/cmdline; cat /proc/klpbuild-target 2>/dev/null; true";
    kernel.tool(&[&["try", livepatch, "--timeout", "600", "--run", command][..], words].concat())
}

/// What the command printed at a stage.
fn printed(ran: &Ran, stage: &str) -> String {
    let start = ran.stdout.find(&format!("\n{stage}: ")).unwrap_or_else(|| panic!("{stage}: {}", ran.stdout));
    let lines = ran.stdout[start + 1..].lines().skip(1).take_while(|line| line.starts_with(' '));
    lines.map(|line| line.to_owned() + "\n").collect()
}

pub(crate) fn signed(source: &Path) {
    println!("{}, as distributions configure it", source.display());
    let kernel = configured(source, "signed", &[]);

    step("modules_install signs and packs what is converted, and depmod has nothing to say");
    let installed = kernel.root.join("installed");
    let place = format!("INSTALL_MOD_PATH={}", installed.display());
    let built =
        kernel.klpbuild(&["bzImage", "modules_install", "KLPBUILD_FEW=m", "KLPBUILD_TABLES=m", &place]).ok();
    let said = format!("{}\n{}", built.stdout, built.stderr);
    assert!(said.contains("  DEPMOD  ") && !said.contains("depmod: "), "{said}");
    let release = kernel.read("ours/include/config/kernel.release");
    let modules = installed.join("lib/modules").join(release.trim());
    let dependencies = fs::read_to_string(modules.join("modules.dep")).unwrap();
    let names = ["lp-vmlinux", "lp-first", "lp-second", "lp-target"];
    for name in names {
        // Also not on klpbuild-other, whose exported function lp-target uses.
        let line = format!("kernel/{SAMPLES}/{name}.ko.xz:");
        assert!(dependencies.lines().any(|found| found == line), "{line}\n{dependencies}");
        form(&kernel, &modules.join(format!("kernel/{SAMPLES}/{name}.ko.xz")));
    }

    step("booted, with nothing but signed modules allowed");
    let module = |name: &str| modules.join(format!("kernel/{SAMPLES}/{name}.ko.xz")).display().to_string();
    let append = ["--append", "module.sig_enforce=1"];
    let vmlinux = attempt(&kernel, &module("lp-vmlinux"), &append).ok();
    let enabled = printed(&vmlinux, "command while enabled");
    assert!(enabled.contains(" same=1 table=1 cold=1 key=on twins=f,d\n"), "{enabled}");
    assert!(printed(&vmlinux, "command before").contains(" module.sig_enforce=1 "), "{}", vmlinux.stdout);
    let (other, target) = (module("klpbuild-other"), module("klpbuild-target"));
    let loads = [&append[..], &["--load", &other, "--load-after", &target]].concat();
    let late = attempt(&kernel, &module("lp-target"), &loads).ok();
    for stage in ["command while enabled", "command after the reload"] {
        assert!(printed(&late, stage).contains("target patched: 1831, "), "{}", late.stdout);
    }
    assert!(printed(&late, "command after").contains("target as built\n"), "{}", late.stdout);

    step("so are those in Debian's packages");
    packages::deb(&kernel);

    step("one that is not signed is refused by the kernel, and told so");
    let refused = attempt(&kernel, &format!("{SAMPLES}/lp-first.ko"), &append).ends(1);
    assert!(refused.stderr.contains("it has no signature, and this kernel takes signed modules only"));
    attempt(&kernel, &format!("{SAMPLES}/lp-first.ko"), &[]).ok();
}

/// What an installed livepatch looks like: converted, with its BTF, no version of what is converted, signed at the
/// very end, packed.
pub(crate) fn form(kernel: &Kernel, packed: &Path) {
    let output = Command::new("xz").arg("-dc").arg(packed).output().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(SIGNATURE), "{}", packed.display());
    let unpacked = kernel.root.join("unpacked.ko");
    fs::write(&unpacked, &output.stdout).unwrap();
    let readelf = Command::new("readelf").arg("-SWs").arg(&unpacked).env("LC_ALL", "C").output().unwrap();
    let text = ran(readelf).ok().stdout;
    for words in [".klp.rela.", " .BTF ", " __versions ", "OS [0xff20] .klp.sym.vmlinux."] {
        assert!(text.contains(words), "{}: no {words}: {text}", packed.display());
    }
    let versions = Command::new("modprobe").arg("--dump-modversions").arg(&unpacked).output().unwrap();
    let versions = ran(versions).ok().stdout;
    assert!(versions.contains("\tklp_enable_patch\n"), "{versions}");
    for name in
        ["saved_command_line", "klpbuild_twin", "nr_processes", "target_secret", "klpbuild_other_exported"]
    {
        assert!(!versions.contains(name), "{}: {versions}", packed.display());
    }
    kernel.tool(&["verify", packed.to_str().unwrap()]).ok();
}

pub(crate) fn thinlto(source: &Path) {
    const LLVM: &str = "LLVM=-19";
    println!("{}, by clang with ThinLTO and CFI", source.display());
    let kernel = configured(source, "thinlto", &[LLVM]);
    // Not all of the samples: pointers to functions that have no entry for indirect calls (lp-vmlinux) are an error
    // where there is CFI.
    let words = [LLVM, "bzImage", "KLPBUILD_LTO=y", "KLPBUILD_FEW=m"];

    step("the map is nm's, with the names that the linker has made");
    kernel.klpbuild(&words).ok();
    let map = kernel.read("ours/Symbols.list");
    assert!(map == kernel.recipe());
    let vmlinux: Vec<&str> = map.lines().skip(2).take_while(|line| !line.starts_with('*')).collect();
    let promoted = vmlinux.iter().filter(|name| name.contains(".llvm."));
    assert!(promoted.count() > 200);
    let mut secrets = vmlinux.iter().filter(|name| name.starts_with("promoted_secret.llvm."));
    let secret = *secrets.next().expect("promoted-two.c takes promoted_value() in");
    assert!(secrets.next().is_none());
    let looked = kernel.tool(&["lookup", secret]).ok().stdout;
    assert!(looked.contains(secret), "{looked}");

    step("livepatches with such names, and with positions, are converted and correct");
    let built = kernel.klpbuild(&[&words[..], &[&format!("PROMOTED={secret}")]].concat()).ok();
    let names = ["lp-first", "lp-second", "lp-target", "lp-promoted"];
    for name in names {
        assert!(!built.stderr.contains(&format!("{name}.ko: error")), "{}", built.stderr);
        kernel.tool(&["verify", &format!("{SAMPLES}/{name}.ko")]).ok();
    }
    let module: PathBuf = kernel.root.join("ours").join(SAMPLES).join("lp-promoted.ko");
    let readelf = Command::new("readelf").arg("-sW").arg(&module).env("LC_ALL", "C").output().unwrap();
    let symbols = ran(readelf).ok().stdout;
    for name in [&format!("{secret},0"), "promoted_sum,0", "klpbuild_twin,1", "klpbuild_twin,2"] {
        let symbol = format!(" OS [0xff20] .klp.sym.vmlinux.{name}\n");
        assert!(symbols.contains(&symbol), "{symbol}: {symbols}");
    }

    step("booted");
    let module = |name: &str| format!("{SAMPLES}/{name}.ko");
    let enabled = |livepatch: &str, more: &[&str]| {
        printed(&attempt(&kernel, &module(livepatch), more).ok(), "command while enabled")
    };
    assert!(enabled("lp-first", &[]).contains("| twin=f\n"));
    assert!(enabled("lp-second", &[]).contains("| twin=d\n"));
    // 700 and 300: promoted_secret() is replaced, also where it is called from promoted-two.c.
    assert!(enabled("lp-promoted", &[]).contains("| secret=700 sum=300 twins=f,d\n"));
    let (other, target) = (module("klpbuild-other"), module("klpbuild-target"));
    let late = enabled("lp-target", &["--load", &other, "--load-after", &target]);
    assert!(late.contains("target patched: 1831, "), "{late}");
}
