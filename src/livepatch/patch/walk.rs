// SPDX-License-Identifier: GPL-2.0-only
//! Reads the arrays of a patch as the kernel does (`klp_for_each_object_static` and `klp_for_each_func_static` in
//! include/linux/livepatch.h, unchanged since 4.0): objects up to one with neither name nor functions, functions up
//! to one without old name, new function and position.

use std::cell::LazyCell;
use std::collections::HashSet;

use crate::elf::SymbolKind;
use crate::elf::image::Offset;
use crate::elf::image::{Home, Image};
use crate::kernel::structures::Sizes;
use crate::kernel::symbols::VMLINUX;
use crate::livepatch::patch::faults::{Faults, Here};
use crate::livepatch::patch::layout::{Array, Layout, stride};
use crate::livepatch::patch::parts::{Patch, PatchedFunction, PatchedObject, REGISTERING};

/// The number of words at the beginning of `struct klp_func` that tell whether it is the last: old_name, new_func,
/// old_sympos.
const FUNCTION_WORDS: u64 = 3;
/// The number of words at the beginning of `struct klp_object` that tell whether it is the last: name, funcs.
const OBJECT_WORDS: u64 = 2;
/// How many words `struct klp_func` has had, on 64-bit machines and on others: in 4.9, from 4.16, from 4.12 and from 5.1
/// on; then with kobjects that are released late (CONFIG_DEBUG_KOBJECT_RELEASE).
const FUNCTION_SIZES: [&[u64]; 2] = [&[15, 17, 18, 19, 26, 28, 29, 30], &[16, 18, 19, 20]];
/// How many words `struct klp_object` has had: in 4.9, from 4.15 and from 5.1 on; then with late kobjects.
const OBJECT_SIZES: [&[u64]; 2] = [&[12, 17, 21, 23, 28, 32], &[13, 18, 22]];

/// The sizes of a structure in bytes.
fn sizes(layout: &Layout<'_>, words: [&[u64]; 2]) -> Vec<u64> {
    let [wide, narrow] = words;
    let words = if layout.word() == 8 { wide } else { narrow };
    words.iter().map(|words| words * layout.word()).collect()
}

/// The array of a patch or an object, with the offsets at which entries were seen in it.
#[derive(Clone)]
struct Seen {
    array: Array,
    starts: Vec<u64>,
}

impl Seen {
    /// Whether the distance of each entry from the first one is a multiple of `stride` bytes.
    fn fits(&self, stride: u64) -> bool {
        let from_first = |start: &u64| start.checked_sub(self.array.at.offset);
        self.starts
            .iter()
            .all(|start| from_first(start).is_some_and(|distance| distance.is_multiple_of(stride)))
    }
}

/// A patch whose arrays were found.
struct Candidate {
    /// The offset at which the patch begins.
    place: Offset,
    objects: Seen,
    /// The functions of each object that was seen; none for an object without a list.
    functions: Vec<Option<Seen>>,
}

/// Reads all patches of a module.
pub(super) fn read(image: &Image, kernel: Sizes) -> Option<Patch> {
    let layout = Layout::of(image);
    let mut found: Vec<Candidate> = layout
        .all()
        .filter(|place| layout.is_this_module(*place))
        .filter_map(|p| candidate(&layout, p))
        .collect();
    let registers = is_registered(image);
    found.retain(|candidate| registers || candidate.replaces_something(&layout));
    let mut faults = Faults::default();
    if found.is_empty() && registers && !code_names_module(image) {
        found.extend(without_module(&layout));
        found.iter().for_each(|candidate| faults.no_module(&layout, candidate.place));
    }
    if found.len() > 1 {
        faults.several(found.len());
    }
    let objects: Vec<Seen> = found.iter().map(|candidate| candidate.objects.clone()).collect();
    let functions: Vec<Seen> =
        found.iter().flat_map(|candidate| candidate.functions.iter().flatten()).cloned().collect();
    let own = LazyCell::new(|| Sizes::of_image(image));
    let (by_objects, is_other) =
        stride_of(&objects, kernel.object, || own.object, &sizes(&layout, OBJECT_SIZES));
    let (by_functions, is_other_function) =
        stride_of(&functions, kernel.function, || own.function, &sizes(&layout, FUNCTION_SIZES));
    let strides = Strides { objects: by_objects, functions: by_functions };
    let other = [
        ("klp_object", kernel.object, by_objects, is_other),
        ("klp_func", kernel.function, by_functions, is_other_function),
    ];
    let other_sizes = other.into_iter().filter(|(.., is_other)| *is_other);
    let other_sizes = other_sizes.filter_map(|(name, kernel, own, _)| Some((name, kernel?, own))).collect();
    let mut patch = Patch { other_sizes, ..Patch::default() };
    for candidate in &found {
        walk(&layout, candidate, &strides, &mut patch, &mut faults);
    }
    patch.faults = faults.end();
    (!patch.objects.is_empty() || !patch.faults.is_empty()).then_some(patch)
}

/// The distance in bytes between the entries that were `seen`, if it is certain: the kernel's own size, or else the
/// size that the livepatch was compiled with, or the distance that the entries show; and whether the kernel's own
/// size does not fit.
fn stride_of(
    seen: &[Seen],
    kernel: Option<u64>,
    own: impl FnOnce() -> Option<u64>,
    known: &[u64],
) -> (Option<u64>, bool) {
    let fits = |stride: &u64| *stride > 0 && seen.iter().all(|seen| seen.fits(*stride));
    if let Some(stride) = kernel.filter(fits) {
        return (Some(stride), false);
    }
    let arrays: Vec<_> = seen.iter().map(|seen| (seen.array, seen.starts.as_slice())).collect();
    let stride = own().filter(fits).or_else(|| stride(&arrays, known));
    (stride, kernel.is_some())
}

/// The distances in bytes between entries, if they are certain.
struct Strides {
    objects: Option<u64>,
    functions: Option<u64>,
}

impl Candidate {
    /// Whether it is very unlikely to be anything else than a patch.
    fn replaces_something(&self, layout: &Layout<'_>) -> bool {
        let has_functions = self.functions.iter().flatten().any(|seen| !seen.starts.is_empty());
        let at = |offset: u64| Offset { offset, ..self.objects.array.at };
        let callbacks =
            |start: &u64| (2..6).any(|word| layout.code(layout.after(at(*start), word)).is_some());
        has_functions || self.objects.starts.iter().any(callbacks)
    }
}

/// Whether the module gives a patch to the kernel's livepatch core.
fn is_registered(image: &Image) -> bool {
    image
        .symbols
        .iter()
        .any(|symbol| symbol.home == Home::Undefined && REGISTERING.contains(&symbol.name.as_slice()))
}

/// Whether code may write THIS_MODULE into a structure that leaves it out.
fn code_names_module(image: &Image) -> bool {
    let code =
        image.relocated().filter(|(_, _, target)| image.sections.get(*target).is_some_and(|s| s.is_code()));
    let mut symbols =
        code.flat_map(|(_, entries, _)| &entries.relocations).map(|relocation| relocation.symbol);
    symbols.any(|symbol| image.symbols.get(symbol).is_some_and(|symbol| symbol.name == b"__this_module"))
}

/// Variables that would be patches if they named their module.
fn without_module(layout: &Layout<'_>) -> Vec<Candidate> {
    let variables = layout.image.symbols.iter().filter(|symbol| symbol.kind() == SymbolKind::Object);
    let places = variables.filter_map(|symbol| match symbol.home {
        Home::Section(section) => Some(Offset { section, offset: symbol.value() }),
        _ => None,
    });
    places
        .filter(|place| !layout.is_set(*place, 1))
        .filter_map(|place| candidate(layout, place))
        .filter(|candidate| candidate.replaces_something(layout))
        .collect()
}

/// The patch that begins at `place`; none if there is none.
fn candidate(layout: &Layout<'_>, place: Offset) -> Option<Candidate> {
    // A module parameter has a pointer to the module before its operations.
    if layout.section(place)?.name.starts_with(b"__param") {
        return None;
    }
    let array = layout.array(layout.target(layout.after(place, 1))?)?;
    let size = array.end.saturating_sub(array.at.offset);
    if array.is_sized && sizes(layout, OBJECT_SIZES).first().is_some_and(|least| size < *least) {
        return None;
    }
    let starts = objects_of(layout, array).filter(|starts| !starts.is_empty())?;
    let mut functions = Vec::new();
    for start in &starts {
        let list = layout.after(Offset { offset: *start, ..array.at }, 1);
        functions.push(match layout.target(list).map(|at| layout.array(at)) {
            Some(array) => {
                let array = array?;
                Some(Seen { array, starts: functions_of(layout, array)? })
            }
            None => None,
        });
    }
    let has_list = functions.iter().any(Option::is_some);
    has_list.then_some(Candidate { place, objects: Seen { array, starts }, functions })
}

/// The offsets of the objects in an array that hold pointers; none if it is no array of `struct klp_object`. An
/// object begins with its name, or, if that is NULL, one address before its first pointer.
fn objects_of(layout: &Layout<'_>, array: Array) -> Option<Vec<u64>> {
    let mut starts = Vec::new();
    let mut next = array.at.offset;
    for place in layout.within(array).filter(|place| place.offset >= array.at.offset) {
        if place.offset < next {
            continue;
        }
        // Another structure begins here: no object has a pointer to the module.
        if layout.is_this_module(place) {
            break;
        }
        // Neither a name nor a list of functions is code.
        if layout.code(place).is_some() {
            return None;
        }
        let second = layout.after(place, 1);
        let is_name = match layout.is_pointer(second) {
            true => layout.code(second).is_none(),
            false => layout.number(second) == 0 && !is_list(layout, layout.target(place)?),
        };
        let start = if is_name { place.offset } else { place.offset.checked_sub(layout.word())? };
        if start < next {
            return None;
        }
        starts.push(start);
        next = start.saturating_add(6 * layout.word());
    }
    Some(starts)
}

/// Whether a list of functions begins at an offset, and not a name.
fn is_list(layout: &Layout<'_>, place: Offset) -> bool {
    let has_pointers = layout.array(place).is_some_and(|array| layout.within(array).next().is_some());
    has_pointers || layout.image.string_at(place.section, place.offset).is_none_or(<[u8]>::is_empty)
}

/// The offsets of the functions in an array that hold pointers; none if it is no array of `struct klp_func`.
fn functions_of(layout: &Layout<'_>, array: Array) -> Option<Vec<u64>> {
    let mut starts = Vec::new();
    let mut next = array.at.offset;
    for place in layout.within(array) {
        if place.offset < next {
            continue;
        }
        if layout.is_this_module(place) {
            break;
        }
        let is_name = layout.code(place).is_none();
        if is_name && layout.target(place).is_some() && layout.string(place).is_none() {
            return None;
        }
        let start = if is_name { place.offset } else { place.offset.checked_sub(layout.word())? };
        if start < next {
            return None;
        }
        starts.push(start);
        next = start.saturating_add(FUNCTION_WORDS * layout.word());
    }
    Some(starts)
}

/// The entries of an array as the kernel sees them.
struct Entries {
    /// The offsets of its entries.
    entries: Vec<Offset>,
    /// Entries behind the empty one, which it does not see.
    behind: Vec<Offset>,
    /// Whether no empty entry follows: the kernel takes the memory behind the array for an entry.
    is_open: bool,
    /// Whether the distance between entries is unknown: then `entries` are those that hold something.
    is_guessed: bool,
}

/// Goes through an array up to an entry whose first `words` words are empty.
fn entries(layout: &Layout<'_>, seen: &Seen, stride: Option<u64>, words: u64, known: [&[u64]; 2]) -> Entries {
    let least = sizes(layout, known).first().copied().unwrap_or(0);
    let array = seen.array;
    let at = |offset: u64| Offset { offset, ..array.at };
    let all = || seen.starts.iter().map(|start| at(*start));
    let Some(stride) = stride.filter(|stride| *stride > 0 && seen.fits(*stride)) else {
        let is_over = !layout.is_set(array.at, words);
        let (entries, behind) = if is_over { (vec![], all().collect()) } else { (all().collect(), vec![]) };
        // If the array is too small for that many of any kernel's structures and an empty one, it has no kernel's
        // structures.
        let least = least.saturating_mul(seen.starts.len() as u64 + 1);
        let is_guessed = !array.is_sized || array.end.saturating_sub(array.at.offset) >= least;
        return Entries { entries, behind, is_open: false, is_guessed };
    };
    let mut found = Entries { entries: Vec::new(), behind: Vec::new(), is_open: false, is_guessed: false };
    let mut offset = array.at.offset;
    while offset.checked_add(stride).is_some_and(|end| end <= array.end) {
        if !layout.is_set(at(offset), words) {
            found.behind = all().filter(|place| place.offset > offset).collect();
            return found;
        }
        found.entries.push(at(offset));
        offset += stride;
    }
    found.is_open = array.is_sized;
    found
}

/// Reads a patch.
fn walk(
    layout: &Layout<'_>,
    candidate: &Candidate,
    strides: &Strides,
    patch: &mut Patch,
    faults: &mut Faults,
) {
    patch.patches.push(candidate.place);
    patch.structures.extend([candidate.place, candidate.objects.array.at]);
    faults.structure(layout, candidate.place, &Here::patch(layout, candidate.place));
    faults.states(layout, candidate.place);
    let found = entries(layout, &candidate.objects, strides.objects, OBJECT_WORDS, OBJECT_SIZES);
    let here = Here::patch(layout, candidate.place);
    faults.structure(layout, candidate.objects.array.at, &here);
    faults.end_of(&found.behind, found.is_open, &here, |place| Here::object(&name_of(layout, place)));
    if found.is_guessed {
        faults.no_distance(&here);
    }
    let mut names: HashSet<(String, bool)> = HashSet::new();
    for place in found.entries {
        let name = name_of(layout, place);
        let here = Here::object(&name);
        let is_named = layout.is_pointer(place);
        if !names.insert((name.clone(), is_named)) {
            faults.object_twice(&here);
        }
        faults.string(layout, place, &here);
        faults.callbacks(layout, place, &here);
        let functions = match layout.target(layout.after(place, 1)).and_then(|at| layout.array(at)) {
            Some(array) => {
                patch.structures.push(array.at);
                faults.structure(layout, array.at, &here);
                let starts = functions_of(layout, array).unwrap_or_default();
                functions(
                    layout,
                    &name,
                    &Seen { array, starts },
                    strides.functions,
                    faults,
                    &mut patch.foreign,
                )
            }
            None => {
                faults.no_list(layout, place, &here);
                Vec::new()
            }
        };
        let callbacks = (2..6).filter_map(|word| layout.code(layout.after(place, word)));
        patch.objects.push(PatchedObject { name, functions, callbacks: callbacks.collect(), is_named });
    }
}

/// The name of the object at `place`.
fn name_of(layout: &Layout<'_>, place: Offset) -> String {
    match layout.string(place) {
        Some(name) => String::from_utf8_lossy(name).into_owned(),
        None => VMLINUX.to_owned(),
    }
}

/// Reads the functions of an object.
fn functions(
    layout: &Layout<'_>,
    object: &str,
    seen: &Seen,
    stride: Option<u64>,
    faults: &mut Faults,
    foreign: &mut Vec<Offset>,
) -> Vec<PatchedFunction> {
    let found = entries(layout, seen, stride, FUNCTION_WORDS, FUNCTION_SIZES);
    let name = |place: Offset| layout.string(place);
    faults.end_of(&found.behind, found.is_open, &Here::object(object), |place| {
        Here::function(object, name(place), 0)
    });
    if found.is_guessed {
        faults.no_distance(&Here::object(object));
    }
    let mut functions: Vec<PatchedFunction> = Vec::new();
    let mut seen_functions: HashSet<(&[u8], u64)> = HashSet::new();
    for (place, number) in found.entries.into_iter().zip(1..) {
        let here = Here::function(object, name(place), number);
        let new = faults.function(layout, place, &here);
        let pointer = layout.after(place, 1);
        if layout.is_pointer(pointer) && layout.target(pointer).is_none() {
            foreign.push(pointer);
        }
        let (Some(new), Some(old_name)) = (new, name(place)) else { continue };
        let old_sympos = layout.number(layout.after(place, 2));
        if !seen_functions.insert((old_name, old_sympos.max(1))) {
            faults.function_twice(&here);
        }
        functions.push(PatchedFunction { old_name: old_name.to_vec(), old_sympos, new });
    }
    functions
}
