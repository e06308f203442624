// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel refuses in a `struct klp_patch`, or what makes it crash (R15): `klp_enable_patch`,
//! `klp_init_patch`, `klp_init_object` and `klp_init_func` in kernel/livepatch/core.c. If they check something, they
//! refuse the whole patch with -EINVAL or -EEXIST; if they do not, they read and write whatever memory there is.

use crate::elf::image::Offset;
use crate::elf::image::Section;
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::names;
use crate::livepatch::patch::layout::Layout;
use crate::livepatch::patch::parts::{PatchFault, PatchedObject, variable_at};
use crate::livepatch::rules::Rule;
use crate::livepatch::rules::Rule::{R2, R3, R9, R15};

/// The structure that a fault is about, in words.
pub(super) struct Here(String);

impl Here {
    /// A patch, named by its variable.
    pub(super) fn patch(layout: &Layout<'_>, place: Offset) -> Here {
        let name = variable_at(layout.image, place).map(|name| format!(" {name}"));
        Here(format!("klp_patch{}", name.unwrap_or_default()))
    }

    pub(super) fn object(name: &str) -> Here {
        Here(format!("klp_object {name}"))
    }

    /// A function, named by its name, or by its number in the list.
    pub(super) fn function(object: &str, name: Option<&[u8]>, number: usize) -> Here {
        match name {
            Some(name) => Here(format!("klp_func {object}:{}", String::from_utf8_lossy(name))),
            None => Here(format!("klp_func {number} of {object}")),
        }
    }
}

impl Here {
    /// The name of the structures in its list, and the word for several of them.
    fn listed(&self) -> (&'static str, &'static str) {
        if self.0.starts_with("klp_patch") { ("klp_object", "objects") } else { ("klp_func", "functions") }
    }
}

/// Collects faults.
#[derive(Default)]
pub(super) struct Faults(Vec<PatchFault>);

impl Faults {
    fn add(&mut self, rule: Rule, here: &Here, message: &str) {
        self.0.push(PatchFault { rule, place: here.0.clone(), message: message.to_owned(), warns_to: None });
    }

    /// All of them, each once.
    pub(super) fn end(self) -> Vec<PatchFault> {
        let mut once: Vec<PatchFault> = Vec::new();
        self.0.into_iter().for_each(|fault| {
            if !once.contains(&fault) {
                once.push(fault);
            }
        });
        once
    }

    /// Checks the memory of a structure: the kernel keeps pointers to it, and writes to it.
    pub(super) fn structure(&mut self, layout: &Layout<'_>, place: Offset, here: &Here) {
        const SHF_WRITE: u64 = 1;
        let Some(section) = layout.section(place) else { return };
        let shown = section.shown();
        if is_freed(section) {
            self.add(R9, here, &format!(
                "its structures are in {shown}, which is freed when the livepatch has come up, while the kernel goes \
                 on using them: take __initdata away"
            ));
        } else if section.flags() & SHF_WRITE == 0 || section.name == b".data..ro_after_init" {
            self.add(R15, here, &format!(
                "its structures are in {shown}, which is read-only, and the kernel writes to them: take const away"
            ));
        }
    }

    /// Checks the string that the structure at `place` begins with: the kernel keeps a pointer to it.
    pub(super) fn string(&mut self, layout: &Layout<'_>, place: Offset, here: &Here) {
        let Some(section) = layout.target(place).and_then(|target| layout.section(target)) else { return };
        if is_freed(section) {
            self.add(R9, here, &format!(
                "its name is in {}, which is freed when the livepatch has come up, while the kernel goes on using it: \
                 take __initconst away",
                section.shown()
            ));
        }
    }

    /// Checks an object's callbacks. They run whenever the object is loaded and unloaded; only the first one of
    /// vmlinux runs within the init function.
    pub(super) fn callbacks(&mut self, layout: &Layout<'_>, object: Offset, here: &Here) {
        let first = if layout.is_pointer(object) { 2 } else { 3 };
        let mut callbacks = (first..6).filter_map(|word| layout.code(layout.after(object, word)));
        if callbacks.any(|code| layout.section(code).is_some_and(is_freed)) {
            self.add(R9, here, "a callback of it is __init, and gone when it is called: take that away");
        }
    }

    /// Checks the array of `struct klp_state` (5.5 and later), which ends with an id of 0 (`klp_for_each_state` in
    /// kernel/livepatch/state.c).
    pub(super) fn states(&mut self, layout: &Layout<'_>, patch: Offset) {
        let Some(at) = layout.target(layout.after(patch, 2)) else { return };
        let Some(array) = layout.array(at) else { return };
        let here = Here::patch(layout, patch);
        if layout.section(at).is_some_and(is_freed) {
            self.add(R9, &here, "its states are freed when the livepatch has come up: take __initdata away");
        }
        let size = 3 * layout.word();
        let mut offset = at.offset;
        while offset.checked_add(size).is_some_and(|end| end <= array.end) {
            if !layout.is_set(Offset { offset, ..at }, 1) {
                return;
            }
            offset += size;
        }
        if array.is_sized {
            let what = "no empty klp_state follows its last one, and the kernel reads on behind them: write { } at the \
                        end";
            self.add(R15, &here, what);
        }
    }

    /// Reports entries behind the end that the kernel sees, and an array without an end.
    pub(super) fn end_of(
        &mut self,
        behind: &[Offset],
        is_open: bool,
        here: &Here,
        name: impl Fn(Offset) -> Here,
    ) {
        for place in behind {
            let what = "it stands behind an empty entry, at which the kernel stops, so that nothing is patched: take \
                        the empty entry out";
            self.add(R15, &name(*place), what);
        }
        if is_open {
            let (entry, last) = here.listed();
            self.add(R15, here, &format!(
                "no empty {entry} ends its list of {last}, and the kernel reads on behind it: write {{ }} at the end"
            ));
        }
    }

    pub(super) fn object_twice(&mut self, here: &Here) {
        let what = "it is there twice, for which the kernel refuses the whole patch: list all functions in one klp_object";
        self.add(R15, here, what);
    }

    pub(super) fn function_twice(&mut self, here: &Here) {
        let what = "it is there twice (positions 0 and 1 are one), for which the kernel refuses the whole patch: leave one \
                    of them";
        self.add(R15, here, what);
    }

    /// Reports an object without a list, unless the file cannot tell which list it gets.
    pub(super) fn no_list(&mut self, layout: &Layout<'_>, object: Offset, here: &Here) {
        if !layout.is_pointer(layout.after(object, 1)) {
            let what = "it has no list of functions, for which the kernel refuses the whole patch: give it one, if only \
                        with an empty klp_func";
            self.add(R15, here, what);
        }
    }

    /// The new function of the klp_func at `place`, if it has one in this module.
    pub(super) fn function(&mut self, layout: &Layout<'_>, place: Offset, here: &Here) -> Option<Offset> {
        self.string(layout, place, here);
        let refused = "for which the kernel refuses the whole patch";
        if !layout.is_set(place, 1) {
            self.add(R15, here, &format!("it has no old_name, {refused}: name the function"));
        }
        let second = layout.after(place, 1);
        if !layout.is_set(second, 1) {
            self.add(R15, here, &format!("it has no new_func, {refused}: give it one, or take it out"));
        } else if layout.target(second).is_some() && layout.code(second).is_none() {
            self.add(R15, here, "its new_func is no code: name a function");
        }
        layout.code(second)
    }

    /// Reports a patch that does not name its module.
    pub(super) fn no_module(&mut self, layout: &Layout<'_>, patch: Offset) {
        let what = "its .mod is not set, for which the kernel refuses it: write .mod = THIS_MODULE";
        self.add(R15, &Here::patch(layout, patch), what);
    }

    /// Reports several patches: the directory of a patch in sysfs has the module's name.
    pub(super) fn several(&mut self, count: usize) {
        self.0.push(PatchFault {
            rule: R15,
            place: format!("{count} klp_patch"),
            message: "one module can enable only one of them at a time: the kernel refuses a second one"
                .to_owned(),
            warns_to: Some("change the source"),
        });
    }

    /// Reports a list whose entries have an unknown distance.
    pub(super) fn no_distance(&mut self, here: &Here) {
        let (entry, last) = here.listed();
        self.0.push(PatchFault {
            rule: R15,
            place: here.0.clone(),
            message: format!(
                "nothing tells how many bytes a {entry} has, so that the end of its list of {last} was not checked"
            ),
            warns_to: Some("have it end with { }; with debugging information (-g), or BTF of the kernel, that is checked"),
        });
    }
}

/// Whether the module loader frees a section after initialisation (`module_init_section` in kernel/module/main.c).
fn is_freed(section: &Section) -> bool {
    section.name.starts_with(b".init")
}

/// What is wrong with the names and functions of objects.
pub(super) fn of_objects(
    image: &crate::elf::image::Image,
    objects: &[PatchedObject],
    name_limit: usize,
    found: &mut Vec<PatchFault>,
) {
    let mut add = |rule: Rule, here: Here, message: String| {
        found.push(PatchFault { rule, place: here.0, message, warns_to: None });
    };
    for object in objects {
        let here = || Here::object(&object.name);
        if object.is_named && object.name == VMLINUX {
            let what = "the kernel waits for a module of that name: leave .name NULL for vmlinux";
            add(R2, here(), what.to_owned());
        } else if let Some((rule, fault)) = names::rule_of_object(&object.name) {
            add(rule, here(), fault);
        }
        for function in &object.functions {
            let here = || Here::function(&object.name, Some(&function.old_name), 0);
            if let Some(what) = names::too_long(&function.old_name, name_limit) {
                add(R3, here(), what);
            }
            if image.sections.get(function.new.section).is_some_and(is_freed) {
                let what =
                    "its new function is __init, and gone once the livepatch is loaded: take that away";
                add(R9, here(), what.to_owned());
            }
        }
    }
}
