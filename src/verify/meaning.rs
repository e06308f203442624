//! What the kernel's objects say of the symbols and functions that a livepatch names: S1 to S8, and what of
//! the R rules depends on them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use crate::elf::image::{Home, Image};
use crate::elf::notes;
use crate::elf::trace::Sites;
use crate::elf::{Binding, Kind};
use crate::livepatch::doubts;
use crate::livepatch::names::{Annotated, KlpSymbol};
use crate::livepatch::patch::Patch;
use crate::livepatch::record;
use crate::livepatch::special;
use crate::lookup::near;
use crate::symbols::list::Wanted;
use crate::symbols::objects::Vmlinux;
use crate::symbols::sources::{Found, Known, Sources, Unusable, VMLINUX};
use crate::tree::kernel::Kernel;
use crate::verify::Findings;

/// Checks the names, and tells what the kernel's livepatch core can do.
///
/// # Errors
/// An object of the kernel cannot be read.
pub fn check(
    image: &Image,
    sources: &Sources,
    patch: Option<&Patch>,
    findings: &mut Findings,
) -> Result<Kernel> {
    let symbols: Vec<KlpSymbol> = image
        .symbols
        .iter()
        .filter(|symbol| symbol.home == Home::Livepatch && Annotated::parse(&symbol.name).is_none())
        .filter_map(|symbol| KlpSymbol::parse(&symbol.name))
        .collect();
    let functions = patch.iter().flat_map(|patch| &patch.objects).flat_map(|object| &object.functions);
    let names: HashSet<Vec<u8>> = symbols
        .iter()
        .map(|symbol| symbol.name.clone())
        .chain(functions.map(|f| f.old_name.clone()))
        .collect();
    let found = sources.find(&Wanted::names(names))?;
    is_for_this_kernel(image, sources, &found, findings);
    is_for_this_build(image, patch, sources, findings)?;
    for symbol in &symbols {
        check_symbol(symbol, sources, &found, findings);
    }
    undefined(image, sources, findings);
    if let Some(patch) = patch {
        check_functions(patch, sources, &found, findings)?;
    }
    // What a klp_func names that is not there was told just now.
    let doubts = doubts::of(&[(image, patch)], sources, &found)?;
    for doubt in doubts.into_iter().flatten().filter(|doubt| doubt.rule != "S7") {
        let report = if doubt.is_error { Findings::error } else { Findings::warning };
        report(findings, doubt.rule, doubt.place, doubt.message, doubt.advice);
    }
    Ok(found.kernel)
}

/// S4: the vmlinux at hand is the one that the livepatch is for.
fn is_for_this_kernel(image: &Image, sources: &Sources, found: &Found, findings: &mut Findings) {
    if let Some(machine) = found.machine.filter(|machine| *machine != image.machine()) {
        findings.error(
            "S4",
            "ELF header",
            format!("it is for machine {}, vmlinux for {}", image.machine().0, machine.0),
            "name the object tree of the livepatch's own kernel (--objtree)",
        );
    }
    let vermagic = image.modinfo_value("vermagic").map(String::from_utf8_lossy);
    let built_for = vermagic.as_deref().and_then(|text| text.split(' ').next());
    let release = &sources.release;
    if let (Some(built_for), Some(release)) = (built_for, release)
        && built_for != release
    {
        findings.error(
            "S4",
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
            "S4",
            "vmlinux",
            format!("{release} is running now, and its build ID is another one"),
            "install this kernel before you load the livepatch, or name the object tree of the running one",
        );
    }
}

/// S4: the objects at hand are the builds that it was converted for, as it says itself, and the kernel is configured
/// as it was compiled for.
fn is_for_this_build(
    image: &Image,
    patch: Option<&Patch>,
    sources: &Sources,
    findings: &mut Findings,
) -> Result<()> {
    let record = record::read(image);
    if record.is_empty() {
        findings.note(
            "S4",
            ".modinfo",
            "nothing in it says for which builds of vmlinux and modules it was converted",
            "be sure that they are these: positions hold for one build alone (klpbuild modules writes it down)",
        );
    }
    for difference in record::differences(image, &sources.objects)? {
        if difference.found.is_some() {
            let advice = "convert it anew for this build (klpbuild modules), or name the object tree of the one that it \
                          was converted for (--objtree DIR)";
            findings.error("S4", ".modinfo", difference.to_string(), advice);
        } else {
            let advice =
                "be sure that it is, or verify with the files that it was converted with (--objtree DIR)";
            findings.note("S4", ".modinfo", difference.to_string(), advice);
        }
    }
    let Some(own) = record::module_size(image) else { return Ok(()) };
    let named = record.into_keys().chain(record::named(patch, std::iter::empty())).collect();
    let sizes = record::module_sizes(&named, &sources.objects)?;
    if let Some(size) = sizes.first().filter(|_| !sizes.contains(&own)) {
        findings.error(
            "S4",
            ".gnu.linkonce.this_module",
            format!(
                "it was compiled for a kernel whose struct module has {own} bytes, and this one's has {size}"
            ),
            "build it for this kernel: the configuration is another one",
        );
    }
    Ok(())
}

/// Whether a kernel of this release is running that is not this vmlinux.
fn running_kernel_differs(vmlinux: &Path, release: &str) -> bool {
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let notes = fs::read("/sys/kernel/notes").ok().and_then(|notes| notes::build_id_in_notes(&notes));
    let own = notes::build_id(vmlinux).ok().flatten();
    running.trim() == release && notes.is_some() && own.is_some() && notes != own
}

/// S1, S3, S5, S8, and R9 and R10 for what the symbol turns out to be.
fn check_symbol(symbol: &KlpSymbol, sources: &Sources, found: &Found, findings: &mut Findings) {
    let place =
        format!(".klp.sym.{}.{},{}", symbol.object, String::from_utf8_lossy(&symbol.name), symbol.sympos);
    match meant(found, &symbol.object, &symbol.name, symbol.sympos) {
        Err((rule, message)) => {
            findings.error(rule, place, message, "convert it for this kernel (klpbuild lookup)");
        }
        Ok(known) => {
            if let Some((rule, message)) = unusable(&known) {
                findings.error(rule, &*place, message, "refer to another symbol");
            }
            if symbol.object == VMLINUX && sources.is_exported(&symbol.name, &known) == Some(true) {
                let is_only = known.total <= 1;
                if is_only {
                    let advice = "convert it with an up-to-date Module.symvers";
                    findings.warning("R10", place, "vmlinux exports it: a normal symbol would do", advice);
                }
            }
        }
    }
}

/// The definition with a position, or the rule that is broken and how.
fn meant(found: &Found, object: &str, name: &[u8], sympos: u64) -> Result<Known, (&'static str, String)> {
    if !found.objects.contains(object) {
        return Err(("R2", format!("there is no object {object}")));
    }
    let own: Vec<&Known> = found.of(name).iter().filter(|known| known.object == object).collect();
    let Some(first) = own.first() else { return Err(("S1", format!("{object} does not define it"))) };
    match sympos {
        0 if first.total > 1 => Err((
            "S1",
            format!("position 0 means the only one, but {object} has {} of this name", first.total),
        )),
        0 => Ok(own
            .iter()
            .find(|known| known.position.is_some())
            .map_or_else(|| (*first).clone(), |k| (*k).clone())),
        _ if sympos > first.total => {
            Err(("S1", format!("position {sympos} is beyond the {} of this name in {object}", first.total)))
        }
        _ => Ok(own
            .iter()
            .find(|known| known.position == Some(sympos))
            .map_or_else(|| (*first).clone(), |k| (*k).clone())),
    }
}

/// Why a definition cannot be used.
fn unusable(known: &Known) -> Option<(&'static str, &'static str)> {
    Some(match known.unusable()? {
        Unusable::Init => ("R9", "it is __init: its memory is freed when its object has come up"),
        Unusable::Split => {
            ("S5", "its name is both in an init section and elsewhere: which one is found changes")
        }
        Unusable::Dropped => ("S3", "kallsyms leaves it out"),
        Unusable::AtZero => ("S8", "it is at address 0, which the kernel takes for not found"),
    })
}

/// What is neither exported nor a livepatch symbol is unknown to the kernel (R7).
fn undefined(image: &Image, sources: &Sources, findings: &mut Findings) {
    if sources.exports.is_none() {
        return;
    }
    for symbol in image.symbols.iter().skip(1).filter(|symbol| symbol.home == Home::Undefined) {
        let is_fine = symbol.name.is_empty()
            || symbol.binding() == Binding::Weak
            || special::is_left_alone(image.machine(), &symbol.name)
            || Annotated::parse(&symbol.name).is_some();
        if !is_fine && sources.exporter(&symbol.name).is_none() {
            findings.error(
                "R7",
                symbol.shown(),
                "nothing exports it, and it is not converted: the kernel refuses the module (Unknown symbol)",
                "convert it (klpbuild convert)",
            );
        }
    }
}

/// S7: each old function is there, at its position, and can be traced.
fn check_functions(patch: &Patch, sources: &Sources, found: &Found, findings: &mut Findings) -> Result<()> {
    let mut sites: BTreeMap<&str, Option<Sites>> = BTreeMap::new();
    for object in &patch.objects {
        for function in &object.functions {
            let name = String::from_utf8_lossy(&function.old_name).into_owned();
            let place = format!("klp_func {}:{name},{}", object.name, function.old_sympos);
            let known = match meant(found, &object.name, &function.old_name, function.old_sympos) {
                Ok(known) => known,
                Err((_, message)) => {
                    let is_nowhere = found.of(&function.old_name).is_empty();
                    let patched = [object.name.clone()];
                    let hint = if is_nowhere { near::hint(&name, sources, &patched) } else { String::new() };
                    let is_absent = found.at(&object.name, &function.old_name, 0).is_none();
                    let message = if is_absent { near::absent(&object.name, &name, found) } else { message };
                    let advice = format!("ask klpbuild lookup for the name and position{hint}");
                    findings.error("S7", place, message, advice);
                    continue;
                }
            };
            if let Some((_, message)) = unusable(&known) {
                findings.error("S7", &*place, message, "patch another function");
                continue;
            }
            let Some(definition) = &known.definition else { continue };
            if let Some(kind) = definition.kind.filter(|kind| *kind != Kind::Function) {
                let message = format!("it is no function ({})", kind.shown());
                findings.error("S7", &*place, message, "ask klpbuild lookup for the position");
                continue;
            }
            let is_vmlinux = object.name == VMLINUX;
            if !sites.contains_key(object.name.as_str()) {
                sites.insert(&object.name, Sites::of_object(&sources.objects, &object.name)?);
            }
            if let Some(Some(sites)) = sites.get(object.name.as_str())
                && !sites.has(definition, is_vmlinux)
            {
                findings.error(
                    "S7",
                    place,
                    "ftrace cannot step in there: it does not begin with a call of __fentry__ (notrace, or made \
                     without -pg)",
                    "patch the functions that call it",
                );
            }
        }
    }
    Ok(())
}
