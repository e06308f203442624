// SPDX-License-Identifier: GPL-2.0-only
//! Each unit of a kernel against that kernel: all functions are equal, and each symbol that it refers to is found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use klpbuild::elf::image::Image;
use klpbuild::frompatch::run_pre::{FunctionFate, KernelImage, Mismatch, compare};
use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::recorded;
use klpbuild::kernel::sources::Sources;
use klpbuild::kernel::symbols::VMLINUX;
use klpbuild::livepatch::names;

/// What becomes no part of vmlinux as it is compiled, or of no module.
const OTHERS: [&str; 4] = ["arch/x86/boot", "arch/x86/realmode", "arch/x86/purgatory", "/vdso"];

/// The C units of an object tree by the object that they are linked into.
fn units(objtree: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut units: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in recorded::files(objtree) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let stem = name.strip_prefix('.').and_then(|name| name.strip_suffix(".o.cmd")).unwrap();
        let command = fs::read_to_string(&file).unwrap();
        let is_unit = command.contains("-D__KERNEL__")
            && command.lines().any(|line| line.starts_with("source_") && line.ends_with(".c"));
        let object = file.with_file_name(format!("{stem}.o"));
        if !is_unit || !object.is_file() || stem.ends_with(".mod") {
            continue;
        }
        let module = command.split("KBUILD_MODNAME='\"").nth(1).and_then(|rest| rest.split('"').next());
        let owner = if command.contains(" -DMODULE ") { module.unwrap() } else { VMLINUX };
        units.entry(owner.to_owned()).or_default().push(object);
    }
    units
}

/// All units of a kernel with its object tree.
pub(crate) fn check_tree(objtree: &Path) {
    let sources = Sources::open(&Origin::of_tree(objtree).unwrap(), None).unwrap();
    let (mut functions, mut located) = (0, 0);
    for (owner, units) in units(objtree) {
        // Livepatches are no part of the kernel.
        if owner != VMLINUX && sources.objects.file(&owner).is_none() {
            continue;
        }
        let kernel = KernelImage::open(&sources, &owner).unwrap();
        for unit in units {
            let shown = unit.strip_prefix(objtree).unwrap().display().to_string();
            if OTHERS.iter().any(|other| shown.contains(other)) {
                continue;
            }
            let image = Image::read(&unit).unwrap();
            let matched = compare(&image, &kernel)
                .unwrap_or_else(|mismatches| panic!("{shown}: {}", told(&mismatches)));
            for function in &matched.functions {
                let name = String::from_utf8_lossy(&function.name);
                assert!(!matches!(function.fate, FunctionFate::Ambiguous(_)), "{shown}: {name} is ambiguous");
            }
            for (_, place) in matched.all() {
                assert!(names::fault_of_object(&place.object).is_none());
                // Where one of many is meant, that very one has the position.
                let found = kernel.named(&place.name).find(|other| other.spot == place.spot).unwrap();
                assert_eq!(found.known.position, place.known.position, "{shown}");
            }
            functions += matched.functions.len();
            located += matched.all().count();
        }
    }
    assert!(functions > 10_000 && located > 20_000, "{functions} functions, {located} symbols");
    crate::step(&format!("{functions} functions, {located} symbols"));
    a_difference_is_seen(objtree, &sources);
}

/// One bit of one instruction.
fn a_difference_is_seen(objtree: &Path, sources: &Sources) {
    let kernel = KernelImage::open(sources, VMLINUX).unwrap();
    let mut image = Image::read(&objtree.join("fs/proc/cmdline.o")).unwrap();
    let (_, function) =
        image.symbols.enumerate().find(|(_, symbol)| symbol.name == b"cmdline_proc_show").unwrap();
    let klpbuild::elf::image::Home::Section(section) = function.home else { panic!("{function:?}") };
    let relocated: Vec<u64> = image
        .relocated()
        .filter(|(.., target)| *target == section)
        .flat_map(|(_, entries, _)| entries.relocations.iter().map(|relocation| relocation.offset))
        .collect();
    // Where a relocation is written, a difference says nothing: as in a jump to the return thunk, at the very end.
    let is_plain = |at: &u64| !relocated.iter().any(|start| (*start..start + 4).contains(at));
    let last = (function.value()..function.value() + function.size()).rev().find(is_plain).unwrap();
    image.sections.get_mut(section).unwrap().data[last as usize] ^= 1;
    let mismatches = compare(&image, &kernel).unwrap_err();
    assert!(told(&mismatches).starts_with("cmdline_proc_show+0x"), "{}", told(&mismatches));
}

fn told(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(Mismatch::to_string).collect::<Vec<_>>().join("\n")
}
