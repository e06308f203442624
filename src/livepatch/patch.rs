//! Which functions of which objects a livepatch replaces, read from its static `struct klp_patch`.
//!
//! The structures of include/linux/livepatch.h differ in size between kernels, but they all begin alike:
//! `klp_patch { mod, objs }`, `klp_object { name, funcs, four callbacks }`,
//! `klp_func { old_name, new_func, old_sympos }`. What is a pointer has a relocation, so that the shape shows
//! without debugging information. A patch that is put together at run time cannot be seen.

use std::collections::BTreeMap;

use crate::elf::image::{Home, Image, Relocation};
use crate::symbols::sources::VMLINUX;

/// A place in a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The section, by index.
    pub section: usize,
    /// Bytes from its start.
    pub offset: u64,
}

/// A function that is replaced (`struct klp_func`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The name of the old function, raw.
    pub old_name: Vec<u8>,
    /// Its position (S7).
    pub old_sympos: u64,
    /// The new function.
    pub new: Place,
}

/// An object that is patched (`struct klp_object`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its run-time name; `vmlinux` for a name that is NULL.
    pub name: String,
    /// The functions.
    pub functions: Vec<Function>,
    /// The callbacks' functions.
    pub callbacks: Vec<Place>,
    /// Whether the name is written out. For vmlinux it must not be: the kernel would wait for a module of that
    /// name.
    pub is_named: bool,
}

/// What a livepatch replaces.
#[derive(Debug, Default)]
pub struct Patch {
    /// The objects, in the order of the patch.
    pub objects: Vec<Object>,
    /// Where its structures lie: references from there are no calls.
    pub structures: Vec<Place>,
}

impl Patch {
    /// Finds the patches that are laid out in `image`; none if there is no static one.
    pub fn read(image: &Image) -> Option<Patch> {
        let pointers = Pointers::of(image);
        let mut patch = Patch::default();
        for (&place, relocation) in &pointers.0 {
            let is_module = image.symbols.get(relocation.symbol).is_some_and(|s| s.name == b"__this_module");
            let is_data = image.sections.get(place.section).is_some_and(|s| s.is_alloc() && !s.is_code());
            if !is_module || !is_data {
                continue;
            }
            let Some(array) = pointers.target(image, pointers.after(place, image, 1)) else { continue };
            let objects = objects(image, &pointers, array);
            if objects.iter().any(|object| !object.functions.is_empty() || !object.callbacks.is_empty()) {
                patch.objects.extend(objects);
                patch.structures.extend([place, array]);
            }
        }
        (!patch.objects.is_empty()).then_some(patch)
    }

    /// What is wrong with the patch itself: the rule, the place, and what to do.
    pub fn faults(&self, image: &Image) -> Vec<(&'static str, String, String)> {
        let mut faults = Vec::new();
        for object in &self.objects {
            let place = format!("klp_object {}", object.name);
            if object.is_named && object.name == VMLINUX {
                let what = "the kernel waits for a module of that name: leave .name NULL for vmlinux";
                faults.push(("R2", place, what.to_owned()));
            } else if let Some(fault) = super::names::fault_of_object(&object.name) {
                faults.push(("R2", place, fault));
            }
            for function in &object.functions {
                let section = image.sections.get(function.new.section);
                if section.is_some_and(|section| section.name.starts_with(b".init")) {
                    let name = String::from_utf8_lossy(&function.old_name);
                    let what =
                        "its new function is __init, and gone once the livepatch is loaded: take that away";
                    faults.push(("R9", format!("klp_func {}:{name}", object.name), what.to_owned()));
                }
            }
        }
        faults
    }

    /// Whether `object` is patched.
    pub fn has(&self, object: &str) -> bool {
        self.objects.iter().any(|other| other.name == object)
    }
}

/// The relocations of data, by place.
struct Pointers(BTreeMap<Place, Relocation>);

impl Pointers {
    fn of(image: &Image) -> Pointers {
        let mut all = BTreeMap::new();
        for (_, entries, target) in image.relocated() {
            if image.sections.get(target).is_some_and(|section| section.is_alloc() && !section.is_code()) {
                let place = |relocation: &Relocation| Place { section: target, offset: relocation.offset };
                all.extend(entries.relocations.iter().map(|relocation| (place(relocation), *relocation)));
            }
        }
        Pointers(all)
    }

    /// The place `words` addresses further.
    fn after(&self, place: Place, image: &Image, words: u64) -> Place {
        Place { offset: place.offset.saturating_add(words * image.address_size() as u64), ..place }
    }

    /// Where the pointer at `place` points to.
    fn target(&self, image: &Image, place: Place) -> Option<Place> {
        target(image, self.0.get(&place)?)
    }

    /// The places of pointers within an array.
    fn within(&self, array: Place, end: u64) -> impl Iterator<Item = Place> {
        let last = Place { offset: end, ..array };
        self.0.range(array..last.max(array)).map(|(place, _)| *place)
    }
}

/// Where a pointer with this relocation points to, if that is in this module.
pub fn target(image: &Image, relocation: &Relocation) -> Option<Place> {
    let symbol = image.symbols.get(relocation.symbol)?;
    let Home::Section(section) = symbol.home else { return None };
    Some(Place { section, offset: symbol.value().checked_add_signed(relocation.addend)? })
}

/// The end of the array at `place`: that of the symbol it lies in.
fn end_of(image: &Image, place: Place) -> Option<u64> {
    let ends = image.symbols.iter().filter(|symbol| symbol.home == Home::Section(place.section));
    ends.map(|symbol| (symbol.value(), symbol.value().saturating_add(symbol.size())))
        .find(|(start, end)| (*start..*end).contains(&place.offset))
        .map(|(_, end)| end)
}

fn is_code(image: &Image, place: Option<Place>) -> bool {
    place.and_then(|place| image.sections.get(place.section)).is_some_and(|section| section.is_code())
}

/// Reads an array of `struct klp_object`. An object begins with its name, or, if that is NULL, one address
/// before its first pointer.
fn objects(image: &Image, pointers: &Pointers, array: Place) -> Vec<Object> {
    let mut found = Vec::new();
    let Some(end) = end_of(image, array) else { return found };
    let mut next = array.offset;
    for place in pointers.within(array, end) {
        if place.offset < next {
            continue;
        }
        // Another structure begins here: no object has a pointer to the module.
        let symbol = pointers.0.get(&place).and_then(|relocation| image.symbols.get(relocation.symbol));
        if symbol.is_some_and(|symbol| symbol.name == b"__this_module") {
            break;
        }
        let second = pointers.after(place, image, 1);
        // After a name come the functions; after the functions comes code, or nothing.
        let is_name = pointers.0.contains_key(&second) && !is_code(image, pointers.target(image, second));
        let (name, functions) = match is_name {
            true => (pointers.target(image, place), second),
            false => (None, place),
        };
        let is_named = name.is_some();
        let name = match name {
            Some(name) => match image.string_at(name.section, name.offset) {
                Some(name) => String::from_utf8_lossy(name).into_owned(),
                None => continue,
            },
            None => VMLINUX.to_owned(),
        };
        let callbacks =
            (1..=4).filter_map(|word| pointers.target(image, pointers.after(functions, image, word)));
        found.push(Object {
            name,
            is_named,
            functions: pointers
                .target(image, functions)
                .map(|array| self::functions(image, pointers, array))
                .unwrap_or_default(),
            callbacks: callbacks.filter(|place| is_code(image, Some(*place))).collect(),
        });
        next = pointers.after(functions, image, 5).offset;
    }
    found
}

/// Reads an array of `struct klp_func`.
fn functions(image: &Image, pointers: &Pointers, array: Place) -> Vec<Function> {
    let mut found = Vec::new();
    let Some(end) = end_of(image, array) else { return found };
    let mut next = array.offset;
    for place in pointers.within(array, end) {
        let new = pointers.target(image, pointers.after(place, image, 1));
        let (Some(new), true) = (new.filter(|new| is_code(image, Some(*new))), place.offset >= next) else {
            continue;
        };
        let Some(name) =
            pointers.target(image, place).and_then(|name| image.string_at(name.section, name.offset))
        else {
            continue;
        };
        let position = pointers.after(place, image, 2);
        let bytes = usize::try_from(position.offset).ok().and_then(|from| {
            image.sections.get(place.section)?.data.get(from..from.checked_add(image.address_size())?)
        });
        found.push(Function {
            old_name: name.to_vec(),
            old_sympos: bytes.map_or(0, |bytes| image.number(bytes)),
            new,
        });
        next = pointers.after(place, image, 3).offset;
    }
    found
}
