// SPDX-License-Identifier: GPL-2.0-only
//! What the file itself shows: R1 to R15.

use std::collections::{BTreeMap, HashSet};

use crate::elf::Machine;
use crate::elf::image::Offset;
use crate::elf::image::{Home, Image, Relocation, SHF_ALLOC, SHF_RELA_LIVEPATCH, Section, SectionIndex};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Objects;
use crate::kernel::tree::facts::LivepatchCore;
use crate::livepatch::convert::assign::note_on_own_code;
use crate::livepatch::names;
use crate::livepatch::names::{ANNOTATIONS_PREFIX, AnnotatedName, KlpSymbol, SECTION_PREFIX, SYMBOL_PREFIX};
use crate::livepatch::order;
use crate::livepatch::patch;
use crate::livepatch::patch::Patch;
use crate::livepatch::reach::Reach;
use crate::livepatch::rules::Rule::{R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R14, R15};
use crate::livepatch::sections::ObjectRelocations;
use crate::livepatch::special;
use crate::livepatch::special::Special;
use crate::livepatch::verify::findings::Findings;
use crate::livepatch::versions;

const CONVERT: &str = "link it again, and convert it (klpbuild modules)";

/// How many relocations the kernel resolves for a livepatch.
pub fn relocations(image: &Image) -> usize {
    image
        .relocated()
        .filter(|(_, entries, _)| entries.is_livepatch_rela())
        .map(|(_, e, _)| e.relocations.len())
        .sum()
}

/// Checks the sections, symbols and relocations. `module_files` are the kernel's modules, if they are known: they say what
/// they depend on.
pub fn check(
    image: &Image,
    patch: Option<&Patch>,
    kernel: &LivepatchCore,
    module_files: Option<&Objects>,
    findings: &mut Findings,
) {
    if !image.modinfo().is_livepatch() {
        findings.error(
            R6,
            ".modinfo",
            if relocations(image) > 0 {
                "it has no livepatch=Y, so that the kernel ignores its livepatch relocations"
            } else {
                "it has no livepatch=Y: for the kernel it is no livepatch"
            },
            "add MODULE_INFO(livepatch, \"Y\"); to the source",
        );
    }
    if let Some(fault) = image.fault_of_locals() {
        findings.error(R5, ".symtab", fault, "do not change the file with other tools after conversion");
    }
    let faults = patch.iter().flat_map(|patch| patch.faults(image, kernel.name_limit));
    for fault in faults.filter(|fault| fault.warns_to.is_none()) {
        findings.error(fault.rule, fault.place, fault.message, "change the source");
    }
    leftovers(image, findings);
    per_cpu(image, findings);
    if let Some(patch) = patch {
        objects(image, patch, kernel, module_files, findings);
    }
    symbols(image, kernel, findings);
    left_versions(image, findings);
    let livepatch = image.relocated().filter(|(_, section, _)| section.is_livepatch_rela());
    let written: HashSet<(SectionIndex, u64)> = livepatch
        .flat_map(|(_, section, target)| section.relocations.iter().map(move |entry| (target, entry.offset)))
        .collect();
    for (index, section) in image.enumerate() {
        let is_named = section.name.starts_with(SECTION_PREFIX);
        if is_named || section.is_livepatch_rela() {
            let checked = Checked { image, index, section, patch, kernel };
            checked.section(is_named, findings);
        } else if section.is_rela() {
            plain(image, section, &written, findings);
        }
    }
}

/// Checks that each relocation is written when the object is loaded whose new functions use it (R2).
fn objects(
    image: &Image,
    patch: &Patch,
    kernel: &LivepatchCore,
    module_files: Option<&Objects>,
    findings: &mut Findings,
) {
    let reach = Reach::follow(image, patch);
    let mut sections: BTreeMap<(String, String), String> = BTreeMap::new();
    for (_, section, target) in image.relocated().filter(|(_, section, _)| section.is_livepatch_rela()) {
        let Some((object, _)) = names::parse_section_name(&section.name) else { continue };
        for relocation in &section.relocations {
            let name =
                image.symbols.get(relocation.symbol).map(|symbol| symbol.name.as_slice()).unwrap_or_default();
            let Some(symbol) = KlpSymbol::parse(name) else { continue };
            let used = Offset { section: target, offset: relocation.offset };
            if (ObjectRelocations { object, patch: Some(patch), kernel }).is_late_function(used) {
                findings.error(R15, at(image, section, relocation), patch::TOO_LATE, patch::TOO_LATE_ADVICE);
            }
            let reached = reach.at(used);
            let name_of = |number: &usize| patch.objects.get(*number).map(|object| object.name.as_str());
            let mut users: Vec<&str> = reached.objects.iter().filter_map(name_of).collect();
            users.extend(reached.by_init.then_some("the livepatch's own init function"));
            let is_owners = symbol.object == object;
            // It may run at any time, and finds the owner's symbols once the owner is loaded.
            users.extend((reached.by_itself && !is_owners).then_some("the livepatch itself"));
            let place = || at(image, section, relocation);
            if object != VMLINUX && !users.is_empty() && !users.contains(&object) {
                let message = format!(
                    "it is written when {object} is loaded, but what uses it is the new code for {}",
                    users.join(", ")
                );
                findings.error(R2, place(), message, "name that object, or convert it again");
            } else if object != VMLINUX && users.iter().any(|user| *user != object) {
                let message =
                    format!("it is written when {object} is loaded, and also used for {}", users.join(", "));
                findings.warning(
                    R2,
                    place(),
                    message,
                    format!("make sure that {object} is always loaded before the others"),
                );
            } else if object != VMLINUX && reached.by_itself {
                let advice = "see to that, or check in it that the object is there";
                findings.warning(R2, format!("klp_object {object}"), note_on_own_code(object), advice);
            }
            sections.entry((symbol.object, object.to_owned())).or_insert_with(|| section.shown());
        }
    }
    let uses = sections.keys().cloned().collect();
    for need in order::needs(&uses, module_files) {
        let owners = need.owners();
        // A section that shows the need; one of them if the need follows from several.
        let shows = |(owner, _): &&(String, String)| owners.contains(owner);
        let section = sections.iter().find(|(uses, _)| shows(uses)).map(|(_, section)| section.clone());
        let advice = format!("keep {} loaded as long as the livepatch is", owners.join(" and "));
        findings.warning(R10, section.unwrap_or_default(), need.to_string(), advice);
    }
}

/// Reports per-CPU variables that the loader does not copy (R9).
fn per_cpu(image: &Image, findings: &mut Findings) {
    for (_, section) in image.enumerate().filter(|(_, section)| special::is_not_copied(section)) {
        findings.error(R9, section.shown(), special::NOT_COPIED, special::NOT_COPIED_ADVICE);
    }
}

/// Reports annotations, which conversion would have removed (R14).
fn leftovers(image: &Image, findings: &mut Findings) {
    for (_, section) in image.enumerate().filter(|(_, section)| section.name.starts_with(ANNOTATIONS_PREFIX))
    {
        findings.error(R14, section.shown(), "an annotation is left: it is not converted", CONVERT);
    }
    for symbol in image.symbols.iter().filter(|symbol| AnnotatedName::parse(&symbol.name).is_some()) {
        findings.error(R14, symbol.shown(), "an annotated name is left: it is not converted", CONVERT);
    }
}

/// R10: reports versions of symbols that became livepatch symbols: depmod takes a symbol with a version for one that
/// the livepatch needs, and has its owner loaded first.
fn left_versions(image: &Image, findings: &mut Findings) {
    let left = versions::names(image);
    if left.is_empty() {
        return;
    }
    let undefined = versions::undefined(image);
    let livepatch: HashSet<Vec<u8>> = (image.symbols.iter())
        .filter(|symbol| symbol.home == Home::Livepatch)
        .filter_map(|symbol| KlpSymbol::parse(&symbol.name))
        .map(|symbol| special::cut(&symbol.name).to_vec())
        .collect();
    for name in left.iter().filter(|name| !undefined.contains(*name)) {
        if livepatch.contains(name) || AnnotatedName::parse(name).is_some() {
            let shown = String::from_utf8_lossy(name);
            let message = format!(
                "{shown} has a version and is resolved as a livepatch symbol: depmod sees a dependency"
            );
            findings.warning(R10, "__versions", message, CONVERT);
        }
    }
}

fn symbols(image: &Image, kernel: &LivepatchCore, findings: &mut Findings) {
    for symbol in image.symbols.iter() {
        let is_named = symbol.name.starts_with(SYMBOL_PREFIX);
        if AnnotatedName::parse(&symbol.name).is_some() || !(is_named || symbol.home == Home::Livepatch) {
            continue;
        }
        let shown = symbol.shown();
        if symbol.home != Home::Livepatch {
            findings.error(R4, &*shown, "its section index is not SHN_LIVEPATCH (0xff20)", CONVERT);
        }
        match KlpSymbol::parse(&symbol.name) {
            None => findings.error(
                R3,
                &*shown,
                "it is no livepatch symbol's name (.klp.sym.<object>.<name>,<sympos>)",
                CONVERT,
            ),
            Some(parsed) => {
                if let Some((_, fault)) = names::rule_of_object(&parsed.object) {
                    findings.error(R3, &*shown, fault, "name the object as lsmod shows it");
                }
                if let Some(message) = names::too_long(&parsed.name, kernel.name_limit) {
                    findings.error(R3, &*shown, message, "refer to another symbol");
                }
            }
        }
    }
}

/// Checks that an ordinary relocation section refers to no livepatch symbol, and to no bytes that a livepatch
/// relocation writes (R7).
fn plain(image: &Image, section: &Section, written: &HashSet<(SectionIndex, u64)>, findings: &mut Findings) {
    let is_loaded = image.sections.get(section.target()).is_some_and(Section::is_alloc);
    for relocation in section.relocations.iter().filter(|_| is_loaded) {
        if written.contains(&(section.target(), relocation.offset)) {
            let message = format!("{} and a livepatch relocation write the same place", section.shown());
            findings.error(R7, at(image, section, relocation), message, CONVERT);
        }
        let symbol = image.symbols.get(relocation.symbol);
        if let Some(symbol) = symbol.filter(|symbol| symbol.home == Home::Livepatch) {
            findings.error(
                R7,
                at(image, section, relocation),
                format!("{} is also in the plain section {}", symbol.shown(), section.shown()),
                CONVERT,
            );
        }
    }
}

fn at(image: &Image, section: &Section, relocation: &Relocation) -> String {
    crate::livepatch::convert::problem::location(image, section.target(), relocation, None)
}

struct Checked<'a> {
    image: &'a Image,
    index: SectionIndex,
    section: &'a Section,
    patch: Option<&'a Patch>,
    kernel: &'a LivepatchCore,
}

impl Checked<'_> {
    fn written<'b>(&'b self, object: &'b str) -> ObjectRelocations<'b> {
        ObjectRelocations { object, patch: self.patch, kernel: self.kernel }
    }

    fn section(&self, is_named: bool, findings: &mut Findings) {
        let (image, section) = (self.image, self.section);
        let shown = section.shown();
        let mut r1 = |message: String| findings.error(R1, &*shown, message, CONVERT);
        if !is_named {
            r1("it is marked as livepatch relocations, but has no name of such".to_owned());
        }
        if !section.is_rela() {
            return r1("it is no SHT_RELA section".to_owned());
        }
        if section.flags() != SHF_ALLOC | SHF_RELA_LIVEPATCH {
            r1(format!(
                "its flags are {:#x}, not SHF_ALLOC and SHF_RELA_LIVEPATCH ({:#x})",
                section.flags(),
                SHF_ALLOC | SHF_RELA_LIVEPATCH
            ));
        }
        let entsize = if image.address_size() == 8 { 24 } else { 12 };
        if section.entsize() != entsize {
            r1(format!("its entries have {} bytes, not {entsize}", section.entsize()));
        }
        let target = image.sections.get(section.target()).filter(|target| target.is_alloc());
        let Some(target) = target.filter(|_| section.target() != self.index) else {
            return r1("the section it applies to is not loaded (sh_info)".to_owned());
        };
        let parsed = names::parse_section_name(&section.name);
        let Some((object, named)) = parsed else {
            return r1("it is no livepatch section's name (.klp.rela.<object>.<section>)".to_owned());
        };
        if named != target.name {
            r1(format!("it applies to {}, not to the section in its name", target.shown()));
        }
        if let Some((_, fault)) = names::rule_of_object(object) {
            findings.error(R2, &*shown, fault, "name the object as lsmod shows it");
        }
        self.object(object, target, findings);
        for relocation in &section.relocations {
            self.relocation(object, target, relocation, findings);
        }
    }

    /// Checks that the section is applied at all, and in time.
    fn object(&self, object: &str, target: &Section, findings: &mut Findings) {
        let shown = self.section.shown();
        let written = self.written(object);
        if !written.is_applied() {
            findings.error(
                R11,
                &*shown,
                format!("the patch has no klp_object for {object}, so that it is never applied"),
                "add one to the patch, if only with an empty list of functions",
            );
        }
        if let Some(special) = written.too_late_for(&target.name) {
            let target = target.shown();
            let (message, advice) = match special {
                Special::PerCpu => (
                    format!("{target} is copied before it is applied"),
                    "set per-CPU data in the init function",
                ),
                Special::Init => (
                    format!("{target} is gone, or has run, when it is applied"),
                    "do not use the symbols in __init code",
                ),
                Special::AtLoad => (
                    format!("the kernel has looked at {target} when it is applied"),
                    "write the code without static keys, static calls and alternatives of that object",
                ),
            };
            findings.error(R9, &*shown, message, advice);
        }
        if object != VMLINUX && !self.kernel.clears && self.image.machine() == Machine::X86_64 {
            findings.warning(
                R2,
                &*shown,
                format!("once {object} is unloaded, this kernel cannot load it again (before 6.3)"),
                "unload the livepatch first",
            );
        }
    }

    fn relocation(&self, object: &str, target: &Section, relocation: &Relocation, findings: &mut Findings) {
        let (image, section) = (self.image, self.section);
        let place = || at(image, section, relocation);
        let symbol = image.symbols.get(relocation.symbol);
        let Some(symbol) = symbol.filter(|symbol| symbol.home == Home::Livepatch) else {
            let name = symbol.map(|symbol| symbol.shown()).unwrap_or_default();
            let message = format!("{name} is no livepatch symbol: the kernel refuses the module");
            return findings.error(R4, place(), message, CONVERT);
        };
        if let Some(parsed) = KlpSymbol::parse(&symbol.name)
            && !self.written(object).may_name(&parsed.object)
        {
            let message =
                format!("{parsed} belongs to vmlinux: this kernel refuses it in a section for {object}");
            findings.error(R2, place(), message, CONVERT);
        }
        if let Some(fault) = special::fault_of_type(image.machine(), relocation.kind) {
            findings.error(R1, place(), "it has a type that livepatch relocations cannot have", fault);
        }
        let size = special::size_of_type(image.machine(), relocation.kind);
        let start = usize::try_from(relocation.offset).unwrap_or(usize::MAX);
        let bytes = start.checked_add(size).and_then(|end| target.data.get(start..end));
        match bytes {
            None => findings.error(R1, place(), "it lies outside of its section", CONVERT),
            Some(bytes) if image.machine() == Machine::X86_64 && bytes.iter().any(|&byte| byte != 0) => {
                findings.error(
                    R8,
                    place(),
                    "the bytes to be written are not zero: the kernel refuses that",
                    CONVERT,
                );
            }
            Some(_) => {}
        }
    }
}
