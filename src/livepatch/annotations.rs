//! What the source of a livepatch says of symbols with KLP_MODULE_RELOC: sections `.klp.module_relocs.<object>`
//! of packed records, each a reference to the symbol and its position, in four bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use crate::elf::Kind;
use crate::elf::image::{Home, Image, Relocation, Section};
use crate::livepatch::names::{self, ANNOTATIONS_PREFIX};

/// Where a symbol is, as the source says.
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
    pub symbols: BTreeMap<usize, Annotation>,
    /// The sections that hold them, with their relocation sections, by index. They do not survive
    /// conversion.
    pub sections: BTreeSet<usize>,
}

impl Annotations {
    /// Reads the annotations of `image`.
    ///
    /// # Errors
    /// A record is malformed, or two of them contradict each other.
    pub fn read(image: &Image) -> Result<Annotations> {
        let mut found = Annotations::default();
        for (index, section) in image.enumerate() {
            let Some(object) = section.name.strip_prefix(ANNOTATIONS_PREFIX) else { continue };
            let object = String::from_utf8_lossy(object).into_owned();
            let shown = section.shown();
            if let Some(fault) = names::fault_of_object(&object) {
                bail!("section {shown}: {fault}");
            }
            let record = image.address_size() + 4;
            ensure!(
                !object.is_empty() && section.data.len() % record == 0,
                "section {shown} has {} bytes, no multiple of {record}: it is not made by KLP_MODULE_RELOC",
                section.data.len()
            );
            found.sections.insert(index);
            let mut records = 0;
            for (relocations, entries, target) in image.relocated() {
                if target != index {
                    continue;
                }
                found.sections.insert(relocations);
                for relocation in &entries.relocations {
                    found.add(image, section, &object, record, relocation)?;
                    records += 1;
                }
            }
            ensure!(
                records == section.data.len() / record,
                "section {shown} has {}, of which {records} refer to a symbol: it is not made by \
                 KLP_MODULE_RELOC",
                crate::build::count(section.data.len() / record, "record")
            );
        }
        Ok(found)
    }

    fn add(
        &mut self,
        image: &Image,
        section: &Section,
        object: &str,
        record: usize,
        relocation: &Relocation,
    ) -> Result<()> {
        let shown = section.shown();
        let at = usize::try_from(relocation.offset).unwrap_or(usize::MAX);
        let position = at.checked_add(image.address_size());
        let bytes = position.and_then(|from| section.data.get(from..from.checked_add(4)?));
        let (Some(bytes), Some(symbol)) = (bytes, image.symbols.get(relocation.symbol)) else {
            bail!("section {shown} has a record that ends outside of it");
        };
        let name = match (symbol.kind(), symbol.home) {
            // What is static has no symbol of its own in a relocation.
            (Kind::Section, Home::Section(section)) => {
                let section = image.sections.get(section).map(Section::shown).unwrap_or_default();
                format!(
                    "what is {:#x} bytes into {section}",
                    symbol.value().wrapping_add_signed(relocation.addend)
                )
            }
            _ => symbol.shown(),
        };
        ensure!(
            symbol.home == Home::Undefined,
            "{name} is annotated in section {shown}, but defined in this very module: declare it extern, and \
             do not define it"
        );
        ensure!(
            at % record == 0 && relocation.addend == 0,
            "section {shown} refers to {name}{:+#x} at {at:#x}: only whole symbols can be annotated",
            relocation.addend
        );
        let annotation = Annotation { object: object.to_owned(), sympos: image.number(bytes) };
        match self.symbols.get(&relocation.symbol) {
            Some(other) if *other != annotation => bail!(
                "Conflicting KLP_SYMPOS definition: {name} is annotated both as {}'s at position {} and as \
                 {}'s at position {}; leave one of them",
                other.object,
                other.sympos,
                annotation.object,
                annotation.sympos
            ),
            _ => drop(self.symbols.insert(relocation.symbol, annotation)),
        }
        Ok(())
    }
}
