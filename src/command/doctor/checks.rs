// SPDX-License-Identifier: GPL-2.0-only
//! The checks: the kernel's options, the headers, the compiler, the symbols, and programs.

use anyhow::Result;
use fs_err as fs;

use crate::command::doctor::compiler;
use crate::command::doctor::finding::{CheckLevel, CheckResult};
use crate::command::doctor::patient::Patient;
use crate::elf::notes;
use crate::host::program;
use crate::host::words;
use crate::kernel::installed::remedy;
use crate::kernel::installed::remedy::MissingPart;
use crate::kernel::origin::Origin;
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::tree;
use crate::kernel::tree::built::BuiltTree;
use crate::kernel::tree::config::Config;
use crate::kernel::tree::kconfig::Kconfig;

/// All checks, in the order in which they are printed.
///
/// # Errors
/// An existing file cannot be read.
pub fn all(patient: &Patient) -> Result<Vec<CheckResult>> {
    let mut findings = options(patient);
    if !patient.is_built {
        findings.push(CheckResult::not(
            CheckLevel::Note,
            "kernel",
            "not built yet",
            vec!["klpbuild modules".to_owned()],
        ));
        findings.push(compiler::check(patient));
        findings.extend(programs(patient));
        return Ok(findings);
    }
    findings.extend(signatures(patient));
    findings.push(headers(patient));
    findings.push(compiler::check(patient));
    findings.extend(symbols(patient));
    findings.extend(programs(patient));
    Ok(findings)
}

impl Patient {
    fn remedy(&self, need: MissingPart) -> Vec<String> {
        remedy::for_need(need, &self.places, &self.release, "")
    }

    /// The commands that set options, for a kernel that the user builds.
    fn set(&self, switch: &str, names: &[&str]) -> Vec<String> {
        match self.config_file.as_ref().filter(|_| self.is_own()) {
            Some(file) => {
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

fn options(patient: &Patient) -> Vec<CheckResult> {
    let Some(config) = &patient.config else {
        return vec![CheckResult::not(
            CheckLevel::Missing,
            "options",
            format!("the configuration of {} is not known", patient.release),
            patient.remedy(MissingPart::Headers),
        )];
    };
    if let Some(finding) = kept_off(patient, config) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    let missing = config.lacks_for_livepatches();
    if missing.is_empty() {
        let has = config.ftrace().unwrap_or_default();
        findings
            .push(CheckResult::fine("options", format!("CONFIG_LIVEPATCH, KALLSYMS_ALL and {has} are set")));
    } else {
        let names = missing.join(", ");
        findings.push(CheckResult::not(
            CheckLevel::Missing,
            "options",
            format!("not set: CONFIG_{names}"),
            patient.set("-e", &missing),
        ));
    }
    if config.has("TRIM_UNUSED_KSYMS") {
        findings.push(CheckResult::not(
            CheckLevel::Missing,
            "options",
            "CONFIG_TRIM_UNUSED_KSYMS is set: exports that no module of the kernel uses are gone",
            patient.set("-d", &["TRIM_UNUSED_KSYMS"]),
        ));
    }
    findings
}

/// What keeps CONFIG_LIVEPATCH off, by the kernel's own Kconfig files. The configuration of a kernel that is not
/// built yet may set it nevertheless, and kconfig would switch it off again.
fn kept_off(patient: &Patient, config: &Config) -> Option<CheckResult> {
    let file = patient.config_file.as_ref()?;
    let is_set = config.has("LIVEPATCH");
    let is_told = patient.is_own() && (!is_set || !patient.is_built);
    let srctree = patient.srctree.as_ref().filter(|_| is_told)?;
    let obstacles = Kconfig::read(srctree, config).against("LIVEPATCH", config)?;
    let why = obstacles.shown();
    if is_set && why.is_none() {
        return None;
    }
    let state =
        if is_set { "CONFIG_LIVEPATCH is set, but will not stay so" } else { "CONFIG_LIVEPATCH is not set" };
    let what = format!("{state}{}", why.map(|why| format!(": {why}")).unwrap_or_default());
    Some(CheckResult::not(CheckLevel::Missing, "options", what, vec![obstacles.remedy(file)]))
}

/// Whether unsigned modules can be loaded.
fn signatures(patient: &Patient) -> Vec<CheckResult> {
    let sign = || {
        vec![
            "sign each converted livepatch (scripts/sign-file) with a key it trusts (mokutil --import)"
                .to_owned(),
        ]
    };
    let lockdown = patient.places.lockdown().filter(|mode| patient.is_running && mode != "none");
    if let Some(mode) = lockdown {
        return vec![CheckResult::not(
            CheckLevel::Missing,
            "signatures",
            format!("the kernel is locked down ({mode}): modules without a signature are refused"),
            sign(),
        )];
    }
    match &patient.config {
        Some(config) if config.has("MODULE_SIG_FORCE") => vec![CheckResult::not(
            CheckLevel::Missing,
            "signatures",
            "CONFIG_MODULE_SIG_FORCE is set: modules without a signature are refused",
            sign(),
        )],
        Some(config) if config.has("LOCK_DOWN_IN_EFI_SECURE_BOOT") && !patient.is_running => {
            vec![CheckResult::fine(
                "signatures",
                "modules need none, unless Secure Boot is on (kernel_lockdown(7))",
            )]
        }
        Some(_) => vec![CheckResult::fine("signatures", "modules need none")],
        None => Vec::new(),
    }
}

/// Whether the files are there that make needs to build modules (Documentation/kbuild/modules.rst).
fn headers(patient: &Patient) -> CheckResult {
    let Some(objtree) = &patient.objtree else {
        let place = patient.places.build(&patient.release);
        let what = format!("not installed: there is no {}", place.display());
        let mut remedies = patient.remedy(MissingPart::Headers);
        let others = patient.places.releases();
        let with_headers = others.iter().filter(|other| patient.places.build(other).is_dir());
        remedies.extend(with_headers.map(|other| {
            format!("or take another kernel, whose headers are installed: klpbuild doctor --release {other}")
        }));
        return CheckResult::not(CheckLevel::Missing, "headers", what, remedies);
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
        (None, _) => CheckResult::not(
            CheckLevel::Missing,
            "headers",
            format!("{} leads to no kernel sources (no link source, no Makefile)", objtree.display()),
            patient.remedy(MissingPart::Headers),
        ),
        (Some(_), true) => CheckResult::fine("headers", objtree.display().to_string()),
        (Some(_), false) => {
            let mut remedies = patient.remedy(MissingPart::Headers);
            remedies.push("or, for a kernel of your own: klpbuild modules".to_owned());
            let what = format!("{} lacks {}", objtree.display(), missing.join(", "));
            CheckResult::not(CheckLevel::Missing, "headers", what, remedies)
        }
    }
}

fn symbols(patient: &Patient) -> Vec<CheckResult> {
    let origin = match &patient.objtree {
        Some(objtree) => Origin::of_kernel(BuiltTree::at(objtree), &patient.choice),
        None => Origin::of_installed(&patient.release, None, &patient.choice),
    };
    let origin = match origin {
        Ok(origin) => origin,
        Err(error) => {
            return vec![CheckResult::not(
                CheckLevel::Missing,
                "symbols",
                format!("{error:#}"),
                patient.remedy(MissingPart::DebugSymbols),
            )];
        }
    };
    let mut findings = Vec::new();
    findings.push(match &origin.objects.vmlinux {
        Some(Vmlinux::Image { file, .. }) => {
            let id = notes::build_id(file).ok().flatten();
            let id = id.map(|id| format!(", build ID {}", words::hex(&id)));
            CheckResult::fine("vmlinux", format!("{}{}", file.display(), id.unwrap_or_default()))
        }
        Some(Vmlinux::List(file)) => CheckResult::not(
            CheckLevel::Note,
            "vmlinux",
            format!("only {}: no types, sizes and source files of symbols", file.display()),
            patient.remedy(MissingPart::DebugSymbols),
        ),
        None => {
            let stub = patient.places.system_maps(&patient.release).into_iter().find(|map| map.is_file());
            let stub =
                stub.map(|map| format!("; {} is no full System.map", map.display())).unwrap_or_default();
            CheckResult::not(
                CheckLevel::Missing,
                "vmlinux",
                format!("there is none with symbols{stub}"),
                patient.remedy(MissingPart::DebugSymbols),
            )
        }
    });
    let count = origin.objects.names().count();
    let modules = words::count(count, "module");
    match &origin.installed {
        None => findings.push(CheckResult::fine("modules", format!("{modules}, built in the object tree"))),
        Some(kernel) => match &kernel.modules {
            Some(directory) => {
                findings.push(CheckResult::fine("modules", format!("{modules} in {}", directory.display())));
                findings.push(debug_files(patient, &origin));
            }
            None => findings.push(CheckResult::not(
                CheckLevel::Note,
                "modules",
                "not installed: only functions of vmlinux can be patched, with symbols of vmlinux",
                patient.remedy(MissingPart::Kernel),
            )),
        },
    }
    findings
}

fn debug_files(patient: &Patient, origin: &Origin) -> CheckResult {
    let with = origin.objects.names().filter(|name| origin.objects.debug_file(name).is_some()).count();
    match with {
        0 => CheckResult::not(
            CheckLevel::Note,
            "debug files",
            "none of the modules': source files of their symbols are not known",
            patient.remedy(MissingPart::DebugSymbols),
        ),
        with => CheckResult::fine("debug files", format!("of {}", words::count(with, "module"))),
    }
}

fn programs(patient: &Patient) -> Vec<CheckResult> {
    let mut findings = Vec::new();
    let mut need =
        |name: &'static str, subject: &'static str, level: CheckLevel, need: MissingPart, why: &str| {
            findings.push(match program::find(name) {
                Some(path) => CheckResult::fine(subject, path.display().to_string()),
                None => CheckResult::not(
                    level,
                    subject,
                    format!("there is no {name} in PATH{why}"),
                    patient.remedy(need),
                ),
            });
        };
    need("make", "make", CheckLevel::Missing, MissingPart::Make, "");
    need("ld", "binutils", CheckLevel::Missing, MissingPart::Binutils, ": ld links modules");
    let has_btf = |config: &Config| config.has("DEBUG_INFO_BTF_MODULES");
    let vmlinux = patient.objtree.as_ref().map(|objtree| objtree.join("vmlinux"));
    // Without a vmlinux beside the headers, kbuild leaves BTF out of modules (scripts/Makefile.modfinal).
    if patient.config.as_ref().is_some_and(has_btf) && vmlinux.is_some_and(|vmlinux| vmlinux.is_file()) {
        need("pahole", "pahole", CheckLevel::Missing, MissingPart::Pahole, ": it makes BTF of modules");
    }
    if patient.config.as_ref().is_none_or(|config| config.has("X86_64")) {
        need(program::QEMU, "QEMU", CheckLevel::Note, MissingPart::Qemu, ": for klpbuild try");
        let is_static =
            program::find("busybox").is_some_and(|path| notes::is_static_x86_64(&path).unwrap_or(false));
        findings.push(match is_static {
            true => CheckResult::fine("busybox", "statically linked"),
            false => CheckResult::not(
                CheckLevel::Note,
                "busybox",
                "there is no statically linked one in PATH: for klpbuild try",
                patient.remedy(MissingPart::Busybox),
            ),
        });
        let image = patient.places.images(&patient.release).into_iter().find(|image| image.is_file());
        let own = patient.objtree.as_ref().map(|objtree| objtree.join("arch/x86/boot/bzImage"));
        findings.push(match own.filter(|image| image.is_file()).or(image) {
            Some(image) if fs::File::open(&image).is_ok() => {
                CheckResult::fine("kernel image", image.display().to_string())
            }
            Some(image) => CheckResult::not(
                CheckLevel::Note,
                "kernel image",
                format!("{} cannot be read: for klpbuild try", image.display()),
                vec![format!("sudo chmod +r {}", image.display())],
            ),
            None if patient.is_own() => CheckResult::not(
                CheckLevel::Note,
                "kernel image",
                "not built: for klpbuild try",
                vec!["klpbuild modules bzImage".to_owned()],
            ),
            None => CheckResult::not(
                CheckLevel::Note,
                "kernel image",
                "not installed: for klpbuild try",
                patient.remedy(MissingPart::Kernel),
            ),
        });
    }
    findings
}
