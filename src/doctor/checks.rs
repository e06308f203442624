//! What is looked at: the kernel's options, the headers, the compiler, the symbols, and programs.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use regex::Regex;

use crate::doctor::remedy::{self, Need};
use crate::doctor::{Finding, Level, Patient};
use crate::elf::notes;
use crate::program::{self, Program};
use crate::symbols::objects::Vmlinux;
use crate::symbols::origin::Origin;
use crate::tree;
use crate::tree::config::Config;
use crate::trial::qemu;

/// All checks, in the order in which they are printed.
///
/// # Errors
/// Something that is there cannot be read.
pub fn all(patient: &Patient) -> Result<Vec<Finding>> {
    let mut findings = options(patient);
    findings.extend(signatures(patient));
    findings.push(headers(patient));
    findings.push(compiler(patient));
    findings.extend(symbols(patient));
    findings.extend(programs(patient));
    Ok(findings)
}

impl Patient {
    fn remedy(&self, need: Need) -> Vec<String> {
        remedy::for_need(need, &self.places, &self.release, "")
    }

    /// How options come to be set, in a kernel of one's own.
    fn set(&self, switch: &str, names: &[&str]) -> Vec<String> {
        match self.objtree.as_ref().filter(|_| self.is_own()) {
            Some(objtree) => {
                let file = objtree.join(".config");
                let switches: String = names.iter().map(|name| format!(" {switch} {name}")).collect();
                vec![format!(
                    "scripts/config --file {}{switches}, then: klpbuild modules olddefconfig",
                    file.display()
                )]
            }
            None => {
                vec!["use another kernel of the distribution, or build one with other options".to_owned()]
            }
        }
    }
}

fn options(patient: &Patient) -> Vec<Finding> {
    let Some(config) = &patient.config else {
        return vec![Finding::not(
            Level::Missing,
            "options",
            format!("the configuration of {} is not known", patient.release),
            patient.remedy(Need::Headers),
        )];
    };
    let mut findings = Vec::new();
    let ftrace = ["DYNAMIC_FTRACE_WITH_REGS", "DYNAMIC_FTRACE_WITH_ARGS"];
    let has_ftrace = ftrace.iter().any(|name| config.has(name));
    let needed = ["MODULES", "LIVEPATCH", "KALLSYMS_ALL"];
    let mut missing: Vec<&str> = needed.into_iter().filter(|name| !config.has(name)).collect();
    if !has_ftrace {
        missing.push(ftrace[0]);
    }
    if missing.is_empty() {
        let has = ftrace.into_iter().find(|name| config.has(name)).unwrap_or_default();
        findings.push(Finding::fine("options", format!("CONFIG_LIVEPATCH, KALLSYMS_ALL and {has} are set")));
    } else {
        let names = missing.join(", ");
        findings.push(Finding::not(
            Level::Missing,
            "options",
            format!("not set: CONFIG_{names}"),
            patient.set("-e", &missing),
        ));
    }
    if config.has("TRIM_UNUSED_KSYMS") {
        findings.push(Finding::not(
            Level::Missing,
            "options",
            "CONFIG_TRIM_UNUSED_KSYMS is set: exports that no module of the kernel uses are gone",
            patient.set("-d", &["TRIM_UNUSED_KSYMS"]),
        ));
    }
    findings
}

/// Whether modules that nobody signed can be loaded.
fn signatures(patient: &Patient) -> Vec<Finding> {
    let sign = || {
        vec![
            "sign each converted livepatch (scripts/sign-file) with a key it trusts (mokutil --import)"
                .to_owned(),
        ]
    };
    let lockdown = patient.places.lockdown().filter(|mode| patient.is_running && mode != "none");
    if let Some(mode) = lockdown {
        return vec![Finding::not(
            Level::Missing,
            "signatures",
            format!("the kernel is locked down ({mode}): modules without a signature are refused"),
            sign(),
        )];
    }
    match &patient.config {
        Some(config) if config.has("MODULE_SIG_FORCE") => vec![Finding::not(
            Level::Missing,
            "signatures",
            "CONFIG_MODULE_SIG_FORCE is set: modules without a signature are refused",
            sign(),
        )],
        Some(config) if config.has("LOCK_DOWN_IN_EFI_SECURE_BOOT") && !patient.is_running => {
            vec![Finding::fine(
                "signatures",
                "modules need none, unless Secure Boot is on (kernel_lockdown(7))",
            )]
        }
        Some(_) => vec![Finding::fine("signatures", "modules need none")],
        None => Vec::new(),
    }
}

/// What make needs to build modules (Documentation/kbuild/modules.rst).
fn headers(patient: &Patient) -> Finding {
    let Some(objtree) = &patient.objtree else {
        let place = patient.places.build(&patient.release);
        let what = format!("not installed: there is no {}", place.display());
        return Finding::not(Level::Missing, "headers", what, patient.remedy(Need::Headers));
    };
    let srctree = tree::source_if_known(objtree);
    let mut missing: Vec<&str> =
        ["Module.symvers", "include/generated/autoconf.h", "include/config/auto.conf"]
            .into_iter()
            .filter(|name| !objtree.join(name).is_file())
            .collect();
    if !objtree.join("scripts/mod/modpost").is_file() {
        missing.push("scripts/mod/modpost");
    }
    match (&srctree, missing.is_empty()) {
        (None, _) => Finding::not(
            Level::Missing,
            "headers",
            format!("{} leads to no kernel sources (no link source, no Makefile)", objtree.display()),
            patient.remedy(Need::Headers),
        ),
        (Some(_), true) => Finding::fine("headers", objtree.display().to_string()),
        (Some(_), false) => {
            let mut remedies = patient.remedy(Need::Headers);
            remedies.push("or, for a kernel of your own: klpbuild modules".to_owned());
            let what = format!("{} lacks {}", objtree.display(), missing.join(", "));
            Finding::not(Level::Missing, "headers", what, remedies)
        }
    }
}

/// The compiler has to be the kernel's: what it makes of structures and inline functions has to agree.
fn compiler(patient: &Patient) -> Finding {
    let Some(wanted) = patient.config.as_ref().and_then(|config| config.string("CC_VERSION_TEXT")) else {
        return Finding::not(
            Level::Note,
            "compiler",
            "which one built the kernel is not known (no CONFIG_CC_VERSION_TEXT)",
            Vec::new(),
        );
    };
    let wanted_version = version(&wanted);
    let major = wanted_version.split('.').next().unwrap_or_default().to_owned();
    let remedies = || remedy::for_need(Need::Compiler, &patient.places, &patient.release, &major);
    // The text begins with the name the compiler was called by.
    let name = wanted.split(' ').next().unwrap_or("gcc").to_owned();
    let candidates = [name.clone(), format!("gcc-{major}"), "gcc".to_owned()];
    let Some(found) = candidates.iter().find(|name| program::find(name).is_some()) else {
        return Finding::not(
            Level::Missing,
            "compiler",
            format!("there is no {name} in PATH; the kernel's: {wanted}"),
            remedies(),
        );
    };
    let mut command = Program::new(found, Path::new("/"), "is it installed?");
    let text = command
        .arg("--version")
        .capture("")
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let own = text.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
    let own_version = version(&own);
    if own_version == wanted_version {
        return Finding::fine("compiler", format!("{found} {own_version}, as the kernel's"));
    }
    let level =
        if own_version.split('.').next() == Some(major.as_str()) { Level::Note } else { Level::Missing };
    Finding::not(
        level,
        "compiler",
        format!("{found} is {own_version}, and the kernel was built with {wanted_version} ({wanted})"),
        remedies(),
    )
}

/// The version in what `--version` prints: the last number with dots in the first line, before a date.
fn version(text: &str) -> String {
    let Ok(number) = Regex::new(r"\b[0-9]+(\.[0-9]+)+\b") else { return String::new() };
    // In parentheses, distributions name their packages.
    let outside =
        Regex::new(r"\([^)]*\)").map_or_else(|_| text.into(), |package| package.replace_all(text, ""));
    number.find(&outside).map_or_else(String::new, |found| found.as_str().to_owned())
}

fn symbols(patient: &Patient) -> Vec<Finding> {
    let origin = match &patient.objtree {
        Some(objtree) => Origin::of_kernel(objtree, &patient.choice),
        None => Origin::of_installed(&patient.release, None, &patient.choice),
    };
    let origin = match origin {
        Ok(origin) => origin,
        Err(error) => {
            return vec![Finding::not(
                Level::Missing,
                "symbols",
                format!("{error:#}"),
                patient.remedy(Need::DebugSymbols),
            )];
        }
    };
    let mut findings = Vec::new();
    findings.push(match &origin.objects.vmlinux {
        Some(Vmlinux::Image { file, .. }) => {
            let id = notes::build_id(file).ok().flatten();
            let id = id.map(|id| format!(", build ID {}", crate::installed::identity::hex(&id)));
            Finding::fine("vmlinux", format!("{}{}", file.display(), id.unwrap_or_default()))
        }
        Some(Vmlinux::List(file)) => Finding::not(
            Level::Note,
            "vmlinux",
            format!("only {}: no types, sizes and source files of symbols", file.display()),
            patient.remedy(Need::DebugSymbols),
        ),
        None => {
            let stub = patient.places.system_maps(&patient.release).into_iter().find(|map| map.is_file());
            let stub =
                stub.map(|map| format!("; {} is no full System.map", map.display())).unwrap_or_default();
            Finding::not(
                Level::Missing,
                "vmlinux",
                format!("there is none with symbols{stub}"),
                patient.remedy(Need::DebugSymbols),
            )
        }
    });
    let count = origin.objects.names().count();
    let modules = crate::build::count(count, "module");
    match &origin.installed {
        None => findings.push(Finding::fine("modules", format!("{modules}, built in the object tree"))),
        Some(kernel) => match &kernel.modules {
            Some(directory) => {
                findings.push(Finding::fine("modules", format!("{modules} in {}", directory.display())));
                findings.push(debug_files(patient, &origin));
            }
            None => findings.push(Finding::not(
                Level::Note,
                "modules",
                "not installed: only functions of vmlinux can be patched, with symbols of vmlinux",
                patient.remedy(Need::Kernel),
            )),
        },
    }
    findings
}

fn debug_files(patient: &Patient, origin: &Origin) -> Finding {
    let with = origin.objects.names().filter(|name| origin.objects.debug_file(name).is_some()).count();
    match with {
        0 => Finding::not(
            Level::Note,
            "debug files",
            "none of the modules': source files of their symbols are not known",
            patient.remedy(Need::DebugSymbols),
        ),
        with => Finding::fine("debug files", format!("of {}", crate::build::count(with, "module"))),
    }
}

fn programs(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut need = |name: &'static str, subject: &'static str, level: Level, need: Need, why: &str| {
        findings.push(match program::find(name) {
            Some(path) => Finding::fine(subject, path.display().to_string()),
            None => {
                Finding::not(level, subject, format!("there is no {name} in PATH{why}"), patient.remedy(need))
            }
        });
    };
    need("make", "make", Level::Missing, Need::Make, "");
    need("ld", "binutils", Level::Missing, Need::Binutils, ": ld links modules");
    let has_btf = |config: &Config| config.has("DEBUG_INFO_BTF_MODULES");
    let vmlinux = patient.objtree.as_ref().map(|objtree| objtree.join("vmlinux"));
    // Without a vmlinux beside the headers, kbuild leaves BTF out (scripts/Makefile.modfinal).
    if patient.config.as_ref().is_some_and(has_btf) && vmlinux.is_some_and(|vmlinux| vmlinux.is_file()) {
        need("pahole", "pahole", Level::Missing, Need::Pahole, ": it makes BTF of modules");
    }
    if patient.config.as_ref().is_none_or(|config| config.has("X86_64")) {
        need(qemu::NAME, "QEMU", Level::Note, Need::Qemu, ": for klpbuild try");
        let is_static =
            program::find("busybox").is_some_and(|path| notes::is_static_x86_64(&path).unwrap_or(false));
        findings.push(match is_static {
            true => Finding::fine("busybox", "statically linked"),
            false => Finding::not(
                Level::Note,
                "busybox",
                "there is no statically linked one in PATH: for klpbuild try",
                patient.remedy(Need::Busybox),
            ),
        });
        let image = patient.places.images(&patient.release).into_iter().find(|image| image.is_file());
        let own = patient.objtree.as_ref().map(|objtree| objtree.join("arch/x86/boot/bzImage"));
        findings.push(match own.filter(|image| image.is_file()).or(image) {
            Some(image) if fs::File::open(&image).is_ok() => {
                Finding::fine("kernel image", image.display().to_string())
            }
            Some(image) => Finding::not(
                Level::Note,
                "kernel image",
                format!("{} cannot be read: for klpbuild try", image.display()),
                vec![format!("sudo chmod +r {}", image.display())],
            ),
            None if patient.is_own() => Finding::not(
                Level::Note,
                "kernel image",
                "not built: for klpbuild try",
                vec!["klpbuild modules bzImage".to_owned()],
            ),
            None => Finding::not(
                Level::Note,
                "kernel image",
                "not installed: for klpbuild try",
                patient.remedy(Need::Kernel),
            ),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_compilers() {
        for (text, expected) in [
            ("x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0"),
            ("gcc (GCC) 13.2.1 20230728 (Red Hat 13.2.1-1)", "13.2.1"),
            ("gcc (SUSE Linux) 7.5.0", "7.5.0"),
            ("Debian clang version 14.0.6", "14.0.6"),
            ("clang version 18.1.8 (Fedora 18.1.8-1.fc40)", "18.1.8"),
            ("none", ""),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
