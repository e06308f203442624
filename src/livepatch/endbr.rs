// SPDX-License-Identifier: GPL-2.0-only
//! Functions that the kernel itself only calls directly. Some never had the instruction at which a call through a pointer has
//! to arrive, as the compiler saw all their calls; from others it is removed at boot (`.ibt_endbr_seal`, `apply_seal_endbr`
//! in arch/x86/kernel/alternative.c). On hardware that checks for it, such a call faults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::elf::SymbolKind;
use crate::elf::definitions::Definition;
use crate::elf::image::{Image, SectionIndex};
use crate::elf::memory;
use crate::kernel::sources::Sources;
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Vmlinux;

const SECTION: &str = ".ibt_endbr_seal";

/// `endbr64`
const ENDBR: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// Why a function must not be called through a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The boot removes the instruction.
    Sealed,
    /// It never had it.
    Without,
}

/// The functions of some objects that must not be called through a pointer.
#[derive(Debug, Default)]
pub struct Sealed {
    /// By object: section (empty in vmlinux) and address, or offset into that section.
    places: BTreeMap<String, BTreeSet<(String, u64)>>,
    /// By object: its code, where functions begin with the instruction (CONFIG_X86_KERNEL_IBT).
    code: BTreeMap<String, Code>,
}

#[derive(Debug)]
enum Code {
    Vmlinux(PathBuf),
    Module(Image),
}

impl Sealed {
    /// Reads the sealed functions of the named objects. An object that is missing, or that has no such section, has
    /// none.
    pub fn read<'a>(sources: &Sources, objects: impl IntoIterator<Item = &'a str>) -> Sealed {
        let mut sealed = Sealed::default();
        for object in objects.into_iter().collect::<BTreeSet<&str>>() {
            let (places, code) = match object {
                VMLINUX => {
                    let Some(file) = sources.objects.vmlinux.as_ref().and_then(Vmlinux::image) else {
                        continue;
                    };
                    (in_vmlinux(file), Code::Vmlinux(file.to_path_buf()))
                }
                _ => {
                    let file = sources.objects.file(object);
                    let Some(image) = file.and_then(|file| Image::read(&file).ok()) else { continue };
                    (in_module(&image), Code::Module(image))
                }
            };
            sealed.places.insert(object.to_owned(), places);
            if sources.has_ibt {
                sealed.code.insert(object.to_owned(), code);
            }
        }
        sealed
    }

    /// Why a function must not be called through a pointer; none if it may be.
    pub fn why(&self, object: &str, function: &Definition) -> Option<Why> {
        let section = match object {
            VMLINUX => String::new(),
            _ => function.section.clone().unwrap_or_default(),
        };
        if self.places.get(object).is_some_and(|places| places.contains(&(section, function.value))) {
            return Some(Why::Sealed);
        }
        let bytes = match self.code.get(object).filter(|_| function.kind == Some(SymbolKind::Function))? {
            Code::Vmlinux(file) => memory::read(file, function.value, ENDBR.len() as u64).ok()??,
            Code::Module(image) => {
                let name = function.section.as_deref()?;
                let section = image.sections.iter().find(|section| section.shown() == name)?;
                section.data.get(usize::try_from(function.value).ok()?..)?.to_vec()
            }
        };
        (bytes.len() >= ENDBR.len() && !bytes.starts_with(&ENDBR)).then_some(Why::Without)
    }
}

/// Each entry is the distance to its function, in four bytes.
fn in_vmlinux(file: &Path) -> BTreeSet<(String, u64)> {
    let Some((address, bytes)) = memory::section_at(file, SECTION).ok().flatten() else {
        return BTreeSet::new();
    };
    // Only x86-64 has such functions.
    let place = |(index, entry): (usize, &[u8])| {
        let distance = i32::from_le_bytes(entry.try_into().ok()?);
        let from = address.checked_add(index as u64 * 4)?;
        Some((String::new(), from.checked_add_signed(distance.into())?))
    };
    bytes.chunks_exact(4).enumerate().filter_map(place).collect()
}

fn in_module(image: &Image) -> BTreeSet<(String, u64)> {
    let is_list =
        |target: SectionIndex| image.sections.get(target).is_some_and(|s| s.name == SECTION.as_bytes());
    let entries = image.relocated().filter(|(_, _, target)| is_list(*target));
    entries
        .flat_map(|(_, section, _)| &section.relocations)
        .filter_map(|relocation| image.target(relocation))
        .filter_map(|place| Some((image.sections.get(place.section)?.shown(), place.offset)))
        .collect()
}
