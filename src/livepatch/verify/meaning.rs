// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel's objects show of the symbols and functions that a livepatch names: S1 to S8, and those parts of
//! the R rules that depend on them.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use crate::elf::Binding;
use crate::elf::image::{Home, Image};
use crate::elf::notes;
use crate::kernel::sources::{KernelDefinitions, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::list::NameQuery;
use crate::kernel::symbols::objects::Vmlinux;
use crate::kernel::tree::facts::LivepatchCore;
use crate::livepatch::definition;
use crate::livepatch::doubts;
use crate::livepatch::names::{AnnotatedName, KlpSymbol};
use crate::livepatch::patch::Patch;
use crate::livepatch::record;
use crate::livepatch::rules::Rule::{R7, R10, S4, S7};
use crate::livepatch::special;
use crate::livepatch::verify::findings::Findings;

/// Checks the names in each of some livepatches, adds to their findings (in the same order), and returns what the
/// kernel's livepatch core can do. The kernel's objects are read once for all of them.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn check(
    livepatches: &[(&Image, Option<&Patch>)],
    sources: &Sources,
    findings: &mut [Findings],
) -> Result<LivepatchCore> {
    let names: HashSet<(Vec<u8>, Option<String>)> =
        livepatches.iter().flat_map(|(image, patch)| doubts::names(image, *patch)).collect();
    let found = sources.find(&NameQuery::meant(names))?;
    for ((image, patch), findings) in livepatches.iter().zip(findings.iter_mut()) {
        is_for_this_kernel(image, sources, &found, findings);
        is_for_this_build(image, *patch, sources, findings)?;
        for symbol in symbols(image) {
            check_symbol(&symbol, sources, &found, findings);
        }
        undefined(image, sources, findings);
    }
    for (doubts, findings) in doubts::of(livepatches, sources, &found)?.into_iter().zip(findings) {
        for doubt in doubts {
            // All of the kernel's objects are at hand: what is missing in them does not exist.
            let is_error = doubt.is_error || doubt.rule == S7;
            let report = if is_error { Findings::error } else { Findings::warning };
            report(findings, doubt.rule, doubt.place, doubt.message, doubt.advice);
        }
    }
    Ok(found.kernel)
}

/// The livepatch symbols of a converted livepatch.
fn symbols(image: &Image) -> impl Iterator<Item = KlpSymbol> {
    let all = image.symbols.iter().filter(|symbol| symbol.home == Home::Livepatch);
    all.filter(|symbol| AnnotatedName::parse(&symbol.name).is_none())
        .filter_map(|symbol| KlpSymbol::parse(&symbol.name))
}

/// S4: checks that the vmlinux at hand is the one that the livepatch is for.
fn is_for_this_kernel(image: &Image, sources: &Sources, found: &KernelDefinitions, findings: &mut Findings) {
    if let Some(machine) = found.machine.filter(|machine| *machine != image.machine()) {
        findings.error(
            S4,
            "ELF header",
            format!("it is for machine {}, vmlinux for {}", image.machine().0, machine.0),
            "name the object tree of the livepatch's own kernel (--objtree)",
        );
    }
    let release = &sources.release;
    if let (Some(built_for), Some(release)) = (&image.modinfo().release(), release)
        && built_for != release
    {
        findings.error(
            S4,
            ".modinfo",
            format!("it was built for {built_for}, the object tree is of {release}"),
            "name the object tree of the livepatch's own kernel (--objtree), or build it for this one",
        );
    }
    if let (Some(vmlinux), Some(release)) =
        (sources.objects.vmlinux.as_ref().and_then(Vmlinux::image), release)
        && running_kernel_differs(vmlinux, release)
    {
        findings.warning(
            S4,
            "vmlinux",
            format!("{release} is running now, and its build ID is another one"),
            "install this kernel before you load the livepatch, or name the object tree of the running one",
        );
    }
}

/// S4: checks that the objects at hand are the builds that the livepatch's record names, and that the kernel has the
/// configuration for which it was compiled.
fn is_for_this_build(
    image: &Image,
    patch: Option<&Patch>,
    sources: &Sources,
    findings: &mut Findings,
) -> Result<()> {
    let record = record::read(image);
    if record.is_empty() {
        findings.note(
            S4,
            ".modinfo",
            "nothing in it says for which builds of vmlinux and modules it was converted",
            "make sure that it was converted for the builds at hand: positions hold for one build only (klpbuild modules records them)",
        );
    }
    for difference in record::differences(image, &sources.objects)? {
        if difference.found.is_some() {
            let advice = "convert it anew for this build (klpbuild modules), or name the object tree of the one that it \
                          was converted for (--objtree DIR)";
            findings.error(S4, ".modinfo", difference.to_string(), advice);
        } else {
            let advice =
                "make sure that it is, or verify with the files that it was converted with (--objtree DIR)";
            findings.note(S4, ".modinfo", difference.to_string(), advice);
        }
    }
    let Some(own) = record::module_size(image) else { return Ok(()) };
    let named = record.into_keys().chain(record::named(patch, std::iter::empty())).collect();
    let sizes = record::module_sizes(&named, &sources.objects)?;
    if let Some(size) = sizes.first().filter(|_| !sizes.contains(&own)) {
        findings.error(
            S4,
            ".gnu.linkonce.this_module",
            format!(
                "it was compiled for a kernel whose struct module has {own} bytes, and this one's has {size}"
            ),
            "build it for this kernel: the configuration is another one",
        );
    }
    Ok(())
}

/// Whether this machine runs a kernel of this release that is not this vmlinux.
fn running_kernel_differs(vmlinux: &Path, release: &str) -> bool {
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let notes = fs::read("/sys/kernel/notes").ok().and_then(|notes| notes::build_id_in_notes(&notes));
    let own = notes::build_id(vmlinux).ok().flatten();
    running.trim() == release && notes.is_some() && own.is_some() && notes != own
}

/// Checks S1, S3, S5, S8, and R9 and R10 for the definition of a symbol.
fn check_symbol(symbol: &KlpSymbol, sources: &Sources, found: &KernelDefinitions, findings: &mut Findings) {
    let place =
        format!(".klp.sym.{}.{},{}", symbol.object, String::from_utf8_lossy(&symbol.name), symbol.sympos);
    match definition::meant(found, &symbol.object, &symbol.name, symbol.sympos) {
        Err(fault) => {
            findings.error(
                fault.rule(),
                place,
                fault.to_string(),
                "convert it for this kernel (klpbuild lookup)",
            );
        }
        Ok(known) => {
            if let Err(fault) = definition::usable(known) {
                findings.error(fault.rule(), &*place, fault.to_string(), "refer to another symbol");
            }
            if symbol.object == VMLINUX && sources.is_exported(&symbol.name, known) == Some(true) {
                let is_only = known.total <= 1;
                if is_only {
                    let advice = "convert it with an up-to-date Module.symvers";
                    findings.warning(R10, place, "vmlinux exports it: a normal symbol would do", advice);
                }
            }
        }
    }
}

/// Reports symbols that are neither exported nor livepatch symbols: the kernel does not know them (R7).
fn undefined(image: &Image, sources: &Sources, findings: &mut Findings) {
    if sources.exports.is_none() {
        return;
    }
    for symbol in image.symbols.iter().skip(1).filter(|symbol| symbol.home == Home::Undefined) {
        let is_fine = symbol.name.is_empty()
            || symbol.binding() == Binding::Weak
            || special::is_left_alone(image.machine(), &symbol.name)
            || AnnotatedName::parse(&symbol.name).is_some();
        if !is_fine && sources.exporter(&symbol.name).is_none() {
            findings.error(
                R7,
                symbol.shown(),
                "nothing exports it, and it is not converted: the kernel refuses the module (Unknown symbol)",
                "convert it (klpbuild convert)",
            );
        }
    }
}
