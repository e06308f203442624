// SPDX-License-Identifier: GPL-2.0-only
//! Which relocation section each reference goes to: the section of the object whose code contains the reference (R2),
//! if this kernel can apply it in time.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::elf::Machine;
use crate::elf::image::Offset;
use crate::elf::image::{Image, Relocation, SectionIndex, SymbolIndex};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Objects;
use crate::kernel::tree::facts::LivepatchCore;
use crate::livepatch::convert::problem;
use crate::livepatch::convert::problem::Problems;
use crate::livepatch::convert::resolve::{Resolution, Resolved};
use crate::livepatch::names;
use crate::livepatch::order;
use crate::livepatch::patch;
use crate::livepatch::patch::Patch;
use crate::livepatch::reach::Reach;
use crate::livepatch::rules::Rule::{R2, R9, R10, R11, R15};
use crate::livepatch::sections::ObjectRelocations;
use crate::livepatch::special;
use crate::livepatch::special::Special;

/// The references of a livepatch, each assigned to a relocation section.
#[derive(Debug, Default)]
pub struct Assigned {
    /// By target section and object: the relocations, in the order they had.
    pub sections: BTreeMap<(SectionIndex, String), Vec<Relocation>>,
    /// Notes for those who load the livepatch.
    pub notes: BTreeSet<String>,
    /// Modules that have to be loaded before the livepatch.
    pub needed: BTreeSet<String>,
    /// Symbols, by index, that a module exports and that stay normal ones after all: otherwise some reference to them
    /// could not work.
    pub kept: BTreeSet<SymbolIndex>,
}

/// Assigns the references to resolved symbols. References in sections that are not loaded stay where they are (R9).
/// `module_files` are the kernel's modules, which say what they depend on.
///
/// # Errors
/// Some references cannot work: the message has a part for each.
pub fn assign(
    image: &Image,
    resolved: &Resolved,
    patch: Option<&Patch>,
    module_files: &Objects,
) -> Result<Assigned> {
    let mut placed = Assigned::default();
    if resolved.symbols.is_empty() {
        return Ok(placed);
    }
    let reach = patch.map(|patch| Reach::follow(image, patch));
    let chooser = Chooser { image, kernel: &resolved.kernel, patch, reach };
    let lines = LazyCell::new(|| image.lines());
    let mut problems = Problems::default();
    for (index, entries, target) in image.relocated() {
        let is_loaded = image.sections.get(target).is_some_and(|section| section.is_alloc());
        if !is_loaded || resolved.annotations.sections.contains(&index) {
            continue;
        }
        for relocation in &entries.relocations {
            let Some(decision) = resolved.symbols.get(&relocation.symbol) else { continue };
            match chooser.choose(target, relocation, decision) {
                // The module has to be loaded first in any case; because of a normal symbol, it also has to stay.
                Ok(object)
                    if decision.is_exported && decision.section_object.is_none() && object == VMLINUX =>
                {
                    placed.kept.insert(relocation.symbol);
                }
                Ok(object) => {
                    if object != VMLINUX && chooser.runs_by_itself(target, relocation) {
                        placed.notes.insert(note_on_own_code(&object));
                    }
                    placed.sections.entry((target, object)).or_default().push(*relocation);
                }
                // Only klpbuild would find the symbol by an annotated name.
                Err(_) if decision.is_exported && decision.section_object.is_none() => {
                    placed.kept.insert(relocation.symbol);
                }
                Err(reason) => {
                    let line = lines.as_ref().and_then(|lines| lines.at(target, relocation.offset));
                    let at = problem::location(image, target, relocation, line);
                    problems.add(format!("{}, used in {at}: {reason}", decision.symbol));
                }
            }
        }
    }
    problems.end()?;
    placed.finish(resolved, module_files);
    Ok(placed)
}

/// The note about code that is not called on behalf of an object, and uses its symbols.
pub fn note_on_own_code(object: &str) -> String {
    format!(
        "code that the livepatch runs by itself (a parameter's handler, its exit function, what it exports) uses symbols \
         of {object}: it must not run before {object} is loaded"
    )
}

impl Assigned {
    /// Removes the references to symbols that stay normal ones, and adds the notes about the others.
    fn finish(&mut self, resolved: &Resolved, module_files: &Objects) {
        let kept = &self.kept;
        self.sections.values_mut().for_each(|entries| entries.retain(|entry| !kept.contains(&entry.symbol)));
        self.sections.retain(|_, entries| !entries.is_empty());
        let owner = |entry: &Relocation| Some(resolved.symbols.get(&entry.symbol)?.symbol.object.clone());
        let uses = (self.sections.iter())
            .flat_map(|((_, object), entries)| {
                entries.iter().filter_map(|e| Some((owner(e)?, object.clone())))
            })
            .collect();
        for need in order::needs(&uses, Some(module_files)) {
            if need.is_first() {
                self.needed.extend(need.owners().iter().cloned());
            }
            self.notes.insert(need.to_string());
        }
        for decision in self.kept.iter().filter_map(|symbol| resolved.symbols.get(symbol)) {
            let (name, owner) = (String::from_utf8_lossy(&decision.symbol.name), &decision.symbol.object);
            self.notes.insert(format!(
                "it depends on {owner}, which exports {name}: some code that uses it has to be ready when the livepatch \
                 is loaded, or is for an object that cannot be told ({R10})"
            ));
        }
    }
}

struct Chooser<'a> {
    image: &'a Image,
    kernel: &'a LivepatchCore,
    patch: Option<&'a Patch>,
    reach: Option<Reach>,
}

impl Chooser<'_> {
    /// Whether a reference is in code that the livepatch runs by itself, at any time.
    fn runs_by_itself(&self, target: SectionIndex, relocation: &Relocation) -> bool {
        let place = Offset { section: target, offset: relocation.offset };
        self.reach.as_ref().is_some_and(|reach| reach.at(place).by_itself)
    }

    /// The object for one reference, or the reason why there is none.
    fn choose(
        &self,
        target: SectionIndex,
        relocation: &Relocation,
        decision: &Resolution,
    ) -> Result<String, String> {
        let image = self.image;
        let section = image.sections.get(target).map(|section| section.name.as_slice()).unwrap_or_default();
        if let Some(fault) = special::fault_of_type(image.machine(), relocation.kind) {
            return Err(fault.to_owned());
        }
        if image.machine() == Machine::PPC64 && relocation.kind == special::R_PPC64_REL24 {
            self.check_nop(target, relocation)?;
        }
        let is_vmlinux = decision.symbol.object == VMLINUX;
        let place = Offset { section: target, offset: relocation.offset };
        let object = match (&decision.section_object, special::special(section)) {
            (Some(object), _) => object.clone(),
            (None, _) if is_vmlinux && self.kernel.applies_early => VMLINUX.to_owned(),
            (None, Some(Special::Init | Special::PerCpu)) => VMLINUX.to_owned(),
            (None, Some(Special::AtLoad)) => decision.symbol.object.clone(),
            (None, None) => self.reached(place, decision)?,
        };
        let written = ObjectRelocations { object: &object, patch: self.patch, kernel: self.kernel };
        check(written, section, decision)?;
        if written.is_late_function(place) {
            return Err(format!("{} ({R15}): {}", patch::TOO_LATE, patch::TOO_LATE_ADVICE));
        }
        Ok(object)
    }

    /// The object on whose behalf the code at a section offset runs.
    fn reached(&self, place: Offset, decision: &Resolution) -> Result<String, String> {
        let advice = || {
            format!(
                "declare the symbol with the object in its assembler name, \
                 KLP_RELOC_SYMBOL_POS(<object>, {}, {}, {})",
                decision.symbol.object,
                String::from_utf8_lossy(&decision.symbol.name),
                decision.symbol.sympos
            )
        };
        let (Some(patch), Some(reach)) = (self.patch, &self.reach) else {
            return Err(format!(
                "which patched object this code is for cannot be told, since there is no static struct \
                 klp_patch to be seen ({R2}): {}",
                advice()
            ));
        };
        let reached = reach.at(place);
        let names: BTreeSet<&str> = (reached.objects.iter())
            .filter_map(|&number| patch.objects.get(number))
            .map(|object| object.name.as_str())
            .collect();
        let owner = Some(decision.symbol.object.as_str()).filter(|owner| patch.has(owner));
        let names: Vec<&str> = names.into_iter().collect();
        match names.as_slice() {
            // The init function and code for vmlinux run before anything else: their references have to be written by
            // then.
            _ if reached.by_init => Ok(VMLINUX.to_owned()),
            names if names.contains(&VMLINUX) => Ok(VMLINUX.to_owned()),
            // Code that runs by itself at any time can use symbols of loaded objects: the owner's once the owner is
            // loaded.
            [name] if reached.by_itself && owner != Some(name) => Ok(VMLINUX.to_owned()),
            [name] => Ok((*name).to_owned()),
            [] => match (owner, patch.objects.as_slice()) {
                (Some(owner), _) => Ok(owner.to_owned()),
                (None, _) if reached.by_itself => Ok(VMLINUX.to_owned()),
                (None, [object]) => Ok(object.name.clone()),
                (None, _) => Err(format!(
                    "no new function of the patch comes to this code, and the patch has no klp_object for {}, so that \
                     which object it is for cannot be told ({R2}): {}",
                    decision.symbol.object,
                    advice()
                )),
            },
            names => Err(format!(
                "new functions of several objects come to this code ({}), and either may be loaded first ({R2}): \
                 give each a copy of it, or, if one is always there before the others, {}",
                names.join(", "),
                advice()
            )),
        }
    }

    /// A call to another object needs room for the reload of the TOC after it.
    fn check_nop(&self, target: SectionIndex, relocation: &Relocation) -> Result<(), String> {
        let after = usize::try_from(relocation.offset).ok().and_then(|offset| offset.checked_add(4));
        let bytes =
            after.and_then(|from| self.image.sections.get(target)?.data.get(from..from.checked_add(4)?));
        match bytes.map(|bytes| self.image.number(bytes)) {
            Some(special::PPC64_NOP) => Ok(()),
            _ => Err(
                "no nop follows the call, into which the kernel would put the reload of r2: a call in tail \
                      position cannot go to another object (compile with -fno-optimize-sibling-calls)"
                    .to_owned(),
            ),
        }
    }
}

/// Rules for the section that a reference would go to.
fn check(written: ObjectRelocations<'_>, section: &[u8], decision: &Resolution) -> Result<(), String> {
    if let Some(fault) = names::fault_of_object(written.object) {
        return Err(fault);
    }
    let object = written.object;
    if !written.is_applied() {
        return Err(format!(
            "it would be written when {object} is loaded, but the patch has no klp_object for {object}, so \
             that it never is ({R11}): add one, if only with an empty list of functions"
        ));
    }
    if !written.may_name(&decision.symbol.object) {
        return Err(format!(
            "this kernel refuses a symbol of vmlinux in a relocation section for {object} (5.8 and later; {R2}): \
             name vmlinux as its section's object"
        ));
    }
    let shown = String::from_utf8_lossy(section);
    match written.too_late_for(section) {
        None => Ok(()),
        Some(Special::PerCpu) => Err(format!(
            "per-CPU data is copied before references in it could be written ({R9}): set it in the init \
             function instead"
        )),
        Some(Special::AtLoad) => Err(format!(
            "the kernel looks at {shown} while the livepatch is loaded, before this reference is written ({R9}): \
             {}",
            if section == b"__jump_table" {
                "test the static key with static_key_enabled() instead of static_branch_likely() and the like"
            } else {
                "write the code without alternatives, static calls and tracepoints of other objects"
            }
        )),
        Some(Special::Init) => Err(format!(
            "{shown} is gone, or has run, when references for {object} are written ({R9}): do not use the \
             symbol in __init code"
        )),
    }
}
