// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's side of the comparison: the bytes of vmlinux or of a finished module, with every symbol in them and
//! its position.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use crate::elf::image::{Home, Image, Relocation, SectionIndex, TableIndex as _};
use crate::elf::memory::Memory;
use crate::elf::{Machine, SymbolKind};
use crate::kernel::sources::{KernelDefinition, Sources};
use crate::kernel::symbols::VMLINUX;
use crate::kernel::symbols::objects::Vmlinux;

/// A byte in an object of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spot {
    /// The section of a module, by index; 0 in vmlinux.
    pub section: SectionIndex,
    /// An address in vmlinux, an offset into the section in a module.
    pub address: u64,
}

impl Spot {
    /// The spot `bytes` further on.
    pub fn plus(self, bytes: i64) -> Spot {
        Spot { address: self.address.wrapping_add_signed(bytes), ..self }
    }
}

/// Where a reference in the kernel's code leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelocationTarget {
    /// To a spot in the same object.
    Here(Spot),
    /// Out of a module: to a symbol with this name, plus this many bytes.
    Out(Vec<u8>, i64),
}

/// A symbol of an object of the kernel.
#[derive(Debug)]
pub struct KernelSymbol {
    /// Where it lies.
    pub spot: Spot,
    /// What is known of it, its position included.
    pub known: KernelDefinition,
    /// Its raw name.
    pub name: Vec<u8>,
}

/// vmlinux, or a finished module of the kernel.
#[derive(Debug)]
pub struct KernelImage {
    /// Its run-time name.
    pub object: String,
    /// The file that was read.
    pub file: PathBuf,
    content: Content,
    symbols: Vec<KernelSymbol>,
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    by_spot: BTreeMap<Spot, Vec<usize>>,
}

#[derive(Debug)]
enum Content {
    Linked(Memory),
    Module { image: Image, relocations: HashMap<SectionIndex, BTreeMap<u64, Relocation>> },
}

impl KernelImage {
    /// Reads `object`: `vmlinux`, or a module by its run-time name. Debugging information in it is not read.
    ///
    /// # Errors
    /// There is no such object with its code, it cannot be read, or it is for a machine whose code cannot be compared
    /// yet.
    pub fn open(sources: &Sources, object: &str) -> Result<KernelImage> {
        let known = sources.every(object)?;
        let (file, content) = if object == VMLINUX {
            let Some(file) = sources.objects.vmlinux.as_ref().and_then(Vmlinux::image) else {
                bail!(
                    "there is only a list of vmlinux's symbols {}: to compare code, vmlinux itself is needed (the \
                     kernel's debug package)",
                    sources.looked_in
                );
            };
            (file.to_path_buf(), Content::Linked(Memory::of(file)?))
        } else {
            let file =
                sources.objects.file(object).with_context(|| format!("there is no module {object}"))?;
            let image = Image::read(&file)?;
            ensure!(
                image.machine() == Machine::X86_64,
                "{}: code is compared on x86-64 only, not yet on ELF machine {}",
                file.display(),
                image.machine().0
            );
            let relocations = relocations(&image);
            (file, Content::Module { image, relocations })
        };
        let symbols = match &content {
            Content::Linked(_) => in_vmlinux(known),
            Content::Module { image, .. } => in_module(image, known),
        };
        let mut by_name: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        let mut by_spot: BTreeMap<Spot, Vec<usize>> = BTreeMap::new();
        for (index, symbol) in symbols.iter().enumerate() {
            by_name.entry(symbol.name.clone()).or_default().push(index);
            by_spot.entry(symbol.spot).or_default().push(index);
        }
        Ok(KernelImage { object: object.to_owned(), file, content, symbols, by_name, by_spot })
    }

    /// The symbols with this name.
    pub fn named(&self, name: &[u8]) -> impl Iterator<Item = &KernelSymbol> {
        self.pick(self.by_name.get(name))
    }

    /// The symbols at exactly this spot.
    pub fn at(&self, spot: Spot) -> impl Iterator<Item = &KernelSymbol> {
        self.pick(self.by_spot.get(&spot))
    }

    fn pick(&self, indices: Option<&Vec<usize>>) -> impl Iterator<Item = &KernelSymbol> {
        indices.into_iter().flatten().filter_map(|&index| self.symbols.get(index))
    }

    /// The stretches around the symbol at `spot` that no symbol covers, each from and to a spot: on both sides as far as
    /// the symbols are `near` ones, and behind the last of them.
    pub fn gaps(&self, spot: Spot, near: impl Fn(&KernelSymbol) -> bool) -> Vec<[Spot; 2]> {
        let is_near = |indices: &Vec<usize>| self.pick(Some(indices)).any(&near);
        let end = |start: Spot, indices: &Vec<usize>| {
            let sizes = self.pick(Some(indices)).filter_map(|symbol| symbol.known.definition.as_ref()?.size);
            start.plus(sizes.max().unwrap_or(0) as i64)
        };
        let mut gaps = Vec::new();
        let mut covered = spot;
        for (next, indices) in self.by_spot.range(spot..).take_while(|(next, _)| next.section == spot.section)
        {
            gaps.push([covered, *next]);
            if *next != spot && !is_near(indices) {
                break;
            }
            covered = covered.max(end(*next, indices));
        }
        let mut covered = spot;
        for (before, indices) in
            self.by_spot.range(..spot).rev().take_while(|(at, _)| at.section == spot.section)
        {
            gaps.push([end(*before, indices), covered]);
            if !is_near(indices) {
                break;
            }
            covered = *before;
        }
        gaps.retain(|[from, to]| from < to);
        gaps
    }

    /// The symbols next to the one at `spot`, before it and behind it.
    pub fn beside(&self, spot: Spot) -> [Option<&KernelSymbol>; 2] {
        let before = self.by_spot.range(..spot).next_back();
        let behind = self.by_spot.range((Bound::Excluded(spot), Bound::Unbounded)).next();
        [before, behind].map(|found| self.pick(found.map(|(_, indices)| indices)).next())
    }

    /// The bytes from `spot` to the end of its section; none if the section has no bytes in the file.
    pub fn bytes(&self, spot: Spot) -> Option<&[u8]> {
        match &self.content {
            Content::Linked(memory) => memory.at(spot.address),
            Content::Module { image, .. } => {
                image.sections.get(spot.section)?.data.get(usize::try_from(spot.address).ok()?..)
            }
        }
    }

    /// A module's relocation for the field at `spot`.
    pub fn relocation(&self, spot: Spot) -> Option<&Relocation> {
        match &self.content {
            Content::Linked(_) => None,
            Content::Module { relocations, .. } => relocations.get(&spot.section)?.get(&spot.address),
        }
    }

    /// Whether the linker has filled in the references.
    pub fn is_linked(&self) -> bool {
        matches!(self.content, Content::Linked(_))
    }

    /// Where a relocation of a module leads to, plus `further` bytes.
    pub fn relocation_target(&self, relocation: &Relocation, further: i64) -> Option<RelocationTarget> {
        let Content::Module { image, .. } = &self.content else { return None };
        let symbol = image.symbols.get(relocation.symbol)?;
        let behind = relocation.addend.wrapping_add(further);
        Some(match symbol.home {
            Home::Section(section) => {
                RelocationTarget::Here(Spot { section, address: symbol.value() }.plus(behind))
            }
            _ => RelocationTarget::Out(symbol.name.clone(), behind),
        })
    }

    /// Symbol and distance of `spot`, as in `vfs_read+0x10`.
    pub fn shown(&self, spot: Spot) -> Option<String> {
        let first = Spot { address: 0, ..spot };
        let (start, indices) = self.by_spot.range(first..=spot).next_back()?;
        let symbol = self.symbols.get(*indices.first()?)?;
        let (name, offset) = (String::from_utf8_lossy(&symbol.name), spot.address - start.address);
        let is_far = offset > symbol.known.definition.as_ref().and_then(|d| d.size).unwrap_or(0).max(1 << 12);
        if is_far {
            return None;
        }
        Some(if offset == 0 { name.into_owned() } else { format!("{name}+{offset:#x}") })
    }
}

/// The relocations of each section, by their offset in it.
pub(super) fn relocations(image: &Image) -> HashMap<SectionIndex, BTreeMap<u64, Relocation>> {
    let mut all: HashMap<SectionIndex, BTreeMap<u64, Relocation>> = HashMap::new();
    for (_, entries, target) in image.relocated() {
        let entries = entries.relocations.iter().filter(|relocation| relocation.kind != 0);
        all.entry(target).or_default().extend(entries.map(|relocation| (relocation.offset, *relocation)));
    }
    all
}

fn in_vmlinux(known: Vec<(Vec<u8>, KernelDefinition)>) -> Vec<KernelSymbol> {
    let symbol = |(_, known): (Vec<u8>, KernelDefinition)| {
        let definition = known.definition.as_ref()?;
        let spot = Spot { section: SectionIndex::new(0), address: definition.value };
        Some(KernelSymbol { spot, name: definition.name.clone(), known })
    };
    known.into_iter().filter_map(symbol).collect()
}

/// The symbols of a module, each with its section's index. Definitions have only the section's name, which may not be
/// unique; the module's symbol table has the index.
fn in_module(image: &Image, known: Vec<(Vec<u8>, KernelDefinition)>) -> Vec<KernelSymbol> {
    let mut by_key: HashMap<(Vec<u8>, u64, Option<String>), Vec<KernelDefinition>> = HashMap::new();
    for (name, known) in known.into_iter().rev() {
        let Some(definition) = &known.definition else { continue };
        by_key.entry((name, definition.value, definition.section.clone())).or_default().push(known);
    }
    let mut symbols = Vec::new();
    for symbol in image.symbols.iter() {
        let Home::Section(section) = symbol.home else { continue };
        if matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File) {
            continue;
        }
        let section_name = image.sections.get(section).map(|section| section.shown());
        let Some(known) =
            by_key.get_mut(&(symbol.name.clone(), symbol.value(), section_name)).and_then(Vec::pop)
        else {
            continue;
        };
        let spot = Spot { section, address: symbol.value() };
        symbols.push(KernelSymbol { spot, known, name: symbol.name.clone() });
    }
    symbols
}
