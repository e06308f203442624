// SPDX-License-Identifier: GPL-2.0-only
//! Makes a file of an [`Image`].
//!
//! Sections keep their order, in the table and in the file. The string tables only grow, and existing strings keep
//! their offsets, so that everything unchanged is written as it was read.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use object::elf;
use object::write::elf as raw;

use crate::elf::image::{Home, Image, Section, SectionIndex, Table, TableIndex as _};

impl Image {
    /// The object as the bytes of an ELF file. A signature is not part of it.
    ///
    /// # Errors
    /// It has more sections than fit without extended numbering (R13), or a 32-bit file would be too large.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        ensure!(
            self.sections.count() < usize::from(elf::SHN_LORESERVE),
            "the result would have {} sections: less than {} can be written",
            self.sections.count(),
            elf::SHN_LORESERVE
        );
        let encoder = raw::Encoder::new(self.endian, self.is_64, self.header.e_machine);
        let mut names = Strings::new(self.sections.get(self.shstrtab));
        let section_names = self.sections.iter();
        let section_names =
            section_names.map(|s| names.offset(&s.name, s.is_new, s.header.sh_name)).collect();
        // LLVM's assembler has one table for the names of sections and of symbols.
        let mut strings = match self.strtab == self.shstrtab {
            true => std::mem::take(&mut names),
            false => Strings::new(self.sections.get(self.strtab)),
        };
        let mut symtab = Vec::new();
        encoder.null_symbol(&mut symtab);
        for (_, symbol) in self.symbols.enumerate() {
            let mut entry = symbol.entry.clone();
            entry.st_name = strings.offset(&symbol.name, symbol.is_renamed, entry.st_name);
            (entry.section, entry.st_shndx) = match symbol.home {
                Home::Section(section) => (Some(section.number() as u32), elf::SymbolSection(0)),
                Home::Undefined => (None, elf::SHN_UNDEF),
                Home::Livepatch => (None, elf::SymbolSection(super::image::SHN_LIVEPATCH)),
                Home::Reserved(index) => (None, elf::SymbolSection(index)),
            };
            encoder.symbol(&mut symtab, &entry);
        }
        let mut bodies =
            Table::new(self.sections.iter().map(|section| self.body(section, encoder)).collect());
        // If both tables are the same, the last one has all names.
        for (index, body) in
            [(self.symtab, symtab), (self.shstrtab, names.bytes), (self.strtab, strings.bytes)]
        {
            *bodies.get_mut(index).context("a string table is not there")? = Body::New(body);
        }
        self.lay_out(encoder, &Table::new(section_names), &bodies)
    }

    fn body<'a>(&self, section: &'a Section, encoder: raw::Encoder<object::Endianness>) -> Body<'a> {
        if !section.is_rela() {
            return Body::Old(&section.data);
        }
        let mut bytes = Vec::with_capacity(section.relocations.len() * encoder.rel_size(true) as usize);
        for relocation in &section.relocations {
            let entry = raw::Rel {
                r_offset: relocation.offset,
                r_sym: relocation.symbol.number() as u32,
                r_type: elf::RelocationType(relocation.kind),
                r_addend: relocation.addend,
            };
            encoder.relocation(&mut bytes, true, &entry);
        }
        Body::New(bytes)
    }

    /// Lays out the file: header, the sections' bytes in their old order, section headers.
    fn lay_out(
        &self,
        encoder: raw::Encoder<object::Endianness>,
        names: &Table<SectionIndex, u32>,
        bodies: &Table<SectionIndex, Body<'_>>,
    ) -> Result<Vec<u8>> {
        let mut order: Vec<SectionIndex> = self.sections.enumerate().map(|(index, _)| index).collect();
        order.sort_by_key(|&index| self.sections.get(index).map(|section| section.header.sh_offset));
        let mut headers: Table<SectionIndex, raw::SectionHeader> =
            Table::new(self.sections.iter().map(|section| section.header.clone()).collect());
        let mut offset = encoder.file_header_size();
        for &index in &order {
            let (Some(header), Some(body)) = (headers.get_mut(index), bodies.get(index)) else { continue };
            offset = offset.next_multiple_of(header.sh_addralign.clamp(1, 1 << 16));
            header.sh_offset = offset;
            header.sh_name = names.get(index).copied().unwrap_or(0);
            if header.sh_type != elf::SHT_NOBITS {
                header.sh_size = body.bytes().len() as u64;
                offset += header.sh_size;
            }
        }
        if let Some(header) = headers.get_mut(self.symtab) {
            header.sh_info = self.locals();
        }
        let layout = raw::FileHeaderLayout {
            e_phoff: 0,
            segment_num: 0,
            e_shoff: offset.next_multiple_of(encoder.address_size()),
            section_num: headers.count() as u32,
            shstrtab_index: self.shstrtab.number() as u32,
        };
        let end = layout.e_shoff + headers.count() as u64 * encoder.section_header_size();
        ensure!(self.is_64 || end <= u64::from(u32::MAX), "the result is too large for a 32-bit ELF file");
        let mut out = Vec::with_capacity(end as usize);
        encoder.file_header(&mut out, &self.header, &layout).context("cannot write the ELF header")?;
        for &index in &order {
            let (Some(header), Some(body)) = (headers.get(index), bodies.get(index)) else { continue };
            if header.sh_type != elf::SHT_NOBITS {
                out.resize(header.sh_offset as usize, 0);
                out.extend_from_slice(body.bytes());
            }
        }
        out.resize(layout.e_shoff as usize, 0);
        encoder.null_section_header(&mut out, &layout);
        for (_, header) in headers.enumerate() {
            encoder.section_header(&mut out, header);
        }
        Ok(out)
    }

    /// How many symbols come before the first one that is not local: the symbol table's `sh_info`.
    fn locals(&self) -> u32 {
        let global = self.symbols.iter().skip(1).position(|s| s.entry.st_info.st_bind() != elf::STB_LOCAL);
        global.map_or(self.symbols.count(), |position| position + 1) as u32
    }
}

/// A section's bytes: unchanged, or new.
enum Body<'a> {
    Old(&'a [u8]),
    New(Vec<u8>),
}

impl Body<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Old(bytes) => bytes,
            Body::New(bytes) => bytes,
        }
    }
}

/// A string table that grows.
#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
    added: HashMap<Vec<u8>, u32>,
}

impl Strings {
    fn new(section: Option<&Section>) -> Strings {
        let mut bytes = section.map(|section| section.data.clone()).unwrap_or_default();
        if bytes.last() != Some(&0) {
            bytes.push(0);
        }
        Strings { bytes, added: HashMap::new() }
    }

    /// The offset of a name: the old one, or the end of the table if the name is new.
    fn offset(&mut self, name: &[u8], is_new: bool, old: u32) -> u32 {
        if !is_new {
            return old;
        }
        if let Some(&offset) = self.added.get(name) {
            return offset;
        }
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.added.insert(name.to_vec(), offset);
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// An image that nothing was done to is the same to readelf, and reads the same again.
    #[test]
    fn an_image_comes_out_as_it_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("a.s");
        std::fs::write(
            &source,
            ".text\nf: call g\n.globl f\n.size f, .-f\n.type f, @function\n.section .init.text,\"ax\"\ncall f\n\
             .bss\n.skip 64\n.data\nx: .quad f\n.section .g,\"aG\",@progbits,sig,comdat\n.quad x\n",
        )
        .unwrap();
        let (object, copy) = (dir.path().join("a.o"), dir.path().join("b.o"));
        assert!(Command::new("as").arg("-o").arg(&object).arg(&source).status().unwrap().success());
        let image = Image::read(&object).unwrap();
        fs_err::write(&copy, image.to_bytes().unwrap()).unwrap();
        let dump = |path: &std::path::Path| {
            let arguments = ["-S", "-s", "-r", "-g", "-W", "-x.data", "-x.text"];
            let output = Command::new("readelf").args(arguments).arg(path).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            // File offsets are the one thing that may differ.
            regex::Regex::new(r"(?m)at offset 0x[0-9a-f]+|0{16} [0-9a-f]{6} ")
                .unwrap()
                .replace_all(&text, "")
                .into_owned()
        };
        assert!(dump(&object).contains("COMDAT"));
        assert_eq!(dump(&copy), dump(&object));
        assert_eq!(Image::read(&copy).unwrap().to_bytes().unwrap(), image.to_bytes().unwrap());
    }
}
