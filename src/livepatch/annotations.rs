// SPDX-License-Identifier: GPL-2.0-only
//! Annotations: the positions that a livepatch's source gives to symbols with KLP_MODULE_RELOC. They are sections
//! `.klp.module_relocs.<object>` of packed records, each a reference to the symbol and its position, in four bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use crate::elf::SymbolKind;
use crate::elf::image::{Home, Image, Relocation, Section, SectionIndex, Symbol, SymbolIndex};
use crate::host::words;
use crate::livepatch::names;
use crate::livepatch::names::ANNOTATIONS_PREFIX;

/// The object and position of a symbol, as the source gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// The run-time name of the object that defines it.
    pub object: String,
    /// Its position (S1).
    pub sympos: u64,
}

/// The annotations of a module.
#[derive(Debug, Default)]
pub struct Annotations {
    /// By the symbol's index.
    pub symbols: BTreeMap<SymbolIndex, Annotation>,
    /// The sections that hold them, with their relocation sections, by index. Conversion removes these sections.
    pub sections: BTreeSet<SectionIndex>,
}

impl Annotations {
    /// Reads the annotations of `image`.
    ///
    /// # Errors
    /// A record is malformed, or two of them contradict each other.
    pub fn read(image: &Image) -> Result<Annotations> {
        let mut found = Annotations::default();
        let mut records: BTreeMap<SectionIndex, Vec<Relocation>> = BTreeMap::new();
        for (index, entries, target) in image.relocated() {
            if image.sections.get(target).is_some_and(|section| section.name.starts_with(ANNOTATIONS_PREFIX))
            {
                found.sections.insert(index);
                records.entry(target).or_default().extend_from_slice(&entries.relocations);
            }
        }
        for (index, section) in image.enumerate() {
            let Some(object) = section.name.strip_prefix(ANNOTATIONS_PREFIX) else { continue };
            let object = String::from_utf8_lossy(object).into_owned();
            let shown = section.shown();
            if let Some(fault) = names::fault_of_object(&object) {
                bail!("section {shown}: {fault}");
            }
            found.sections.insert(index);
            found.section(image, section, &object, records.remove(&index).unwrap_or_default())?;
        }
        Ok(found)
    }

    /// Reads the records of one section. A record begins where a relocation names its symbol: between two arrays
    /// there may be zero bytes, by which the compiler or the linker aligned the second.
    fn section(
        &mut self,
        image: &Image,
        section: &Section,
        object: &str,
        mut records: Vec<Relocation>,
    ) -> Result<()> {
        let shown = section.shown();
        let record = image.address_size() + 4;
        records.sort_by_key(|relocation| relocation.offset);
        let is_padding = |from: usize, to: usize| section.data.get(from..to).is_some_and(is_zero);
        let mut end = 0;
        for relocation in &records {
            let start = self.add(image, section, object, record, relocation)?;
            ensure!(
                is_padding(end, start),
                "section {shown} has bytes at {end:#x} that belong to no symbol, or records that overlap: it is not \
                 made by KLP_MODULE_RELOC"
            );
            end = start + record;
        }
        ensure!(
            !object.is_empty()
                && is_padding(end, section.data.len())
                && records.is_empty() == section.data.is_empty(),
            "section {shown} has {}, of which only {} refer to a symbol: it is not made by KLP_MODULE_RELOC",
            words::count(section.data.len(), "byte"),
            records.len() * record
        );
        Ok(())
    }

    /// Adds the annotation of one record, and returns the offset at which the record begins.
    fn add(
        &mut self,
        image: &Image,
        section: &Section,
        object: &str,
        record: usize,
        relocation: &Relocation,
    ) -> Result<usize> {
        let shown = section.shown();
        let at = usize::try_from(relocation.offset).unwrap_or(usize::MAX);
        let bytes = at.checked_add(record).and_then(|end| section.data.get(at..end)?.get(record - 4..));
        let (Some(bytes), Some(symbol)) = (bytes, image.symbols.get(relocation.symbol)) else {
            bail!("section {shown} has a record that ends outside of it");
        };
        let name = named(image, symbol, relocation);
        ensure!(
            symbol.home == Home::Undefined,
            "{name} is annotated in section {shown}, but defined in this very module: declare it extern, and \
             do not define it"
        );
        ensure!(
            relocation.addend == 0,
            "section {shown} refers to {name}{:+#x} at {at:#x}: only whole symbols can be annotated",
            relocation.addend
        );
        let annotation = Annotation { object: object.to_owned(), sympos: image.number(bytes) };
        match self.symbols.get(&relocation.symbol) {
            Some(other) if *other != annotation => bail!("{}", conflict(&symbol.shown(), other, &annotation)),
            _ => drop(self.symbols.insert(relocation.symbol, annotation)),
        }
        Ok(at)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The symbol of a record, for messages: in a relocation, a static variable has no symbol of its own.
fn named(image: &Image, symbol: &Symbol, relocation: &Relocation) -> String {
    match (symbol.kind(), symbol.home) {
        (SymbolKind::Section, Home::Section(section)) => {
            let section = image.sections.get(section).map(Section::shown).unwrap_or_default();
            format!(
                "what is {:#x} bytes into {section}",
                symbol.value().wrapping_add_signed(relocation.addend)
            )
        }
        _ => symbol.shown(),
    }
}

/// The message about two different annotations of one symbol. Once linked to one module, files that declare a symbol
/// share it: if they mean different ones, they have to use different names.
fn conflict(name: &str, first: &Annotation, second: &Annotation) -> String {
    let line = |of: &Annotation| {
        let (object, sympos) = (&of.object, of.sympos);
        format!(
            "\n  extern <type> {name} KLP_RELOC_SYMBOL_POS(<patched object>, {object}, {name}, {sympos});"
        )
    };
    format!(
        "Conflicting KLP_SYMPOS definition: {name} is annotated both as {}'s at position {} and as {}'s at position \
         {}: leave one of them; or, if each is meant in its own file, declare it there with its position as a part of \
         its name, and without KLP_MODULE_RELOC:{}{}",
        first.object,
        first.sympos,
        second.object,
        second.sympos,
        line(first),
        line(second)
    )
}
