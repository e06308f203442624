// SPDX-License-Identifier: GPL-2.0-only
//! What identifies a linked file, and what it needs to run.

use std::path::Path;

use anyhow::{Context as _, Result};
use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader as _, SectionHeader as _};

use crate::elf::by_class;
use crate::elf::{Data, definitions, memory, not_elf, open, truncated};

/// The build ID of a linked file (`NT_GNU_BUILD_ID`), which identifies a build; none if it was linked without one.
///
/// # Errors
/// The file cannot be read, or is no ELF file.
pub fn build_id(path: &Path) -> Result<Option<Vec<u8>>> {
    let data = open(path)?;
    let inner = || by_class!(&data, build_id_of(&data), Err(not_elf(&data)));
    inner().with_context(|| format!("cannot read the notes of {}", path.display()))
}

/// The build ID in the notes that a little-endian kernel shows of itself (/sys/kernel/notes).
pub fn build_id_in_notes(notes: &[u8]) -> Option<Vec<u8>> {
    let notes = NoteIterator::new(Endianness::Little, 4, notes).ok()?;
    build_id_among::<elf::FileHeader64<Endianness>>(notes, Endianness::Little)
}

/// Whether a linked file has code and a symbol table: a vmlinux that was stripped, or that only carries BTF, does
/// not.
///
/// # Errors
/// The file cannot be read, or is no ELF file.
pub fn has_code_and_symbols(path: &Path) -> Result<bool> {
    let data = open(path)?;
    let inner = || by_class!(&data, has_code_and_symbols_in(&data), Err(not_elf(&data)));
    inner().with_context(|| format!("cannot read the sections of {}", path.display()))
}

fn has_code_and_symbols_in<E>(data: &Data) -> Result<bool>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data).map_err(|e| truncated(e, data))?;
    let is_code = |section: &E::SectionHeader| section.sh_flags(endian).0 & elf::SHF_EXECINSTR.0 != 0;
    Ok(sections.iter().any(is_code) && sections.iter().any(|s| s.sh_type(endian) == elf::SHT_SYMTAB))
}

/// The banner of the kernel linked in the file at `path` (`linux_banner`, init/version.c: release, who built it and
/// when, as in `/proc/version`); none if the file has no bytes for it.
///
/// # Errors
/// The file cannot be read, or is no ELF file.
pub fn banner(path: &Path) -> Result<Option<String>> {
    const LONGEST: u64 = 1024;
    let found = definitions::find(path, |name| name == b"linux_banner")?;
    let Some(address) = found.definitions.first().map(|definition| definition.value) else { return Ok(None) };
    let Some(bytes) = memory::read(path, address, LONGEST)? else { return Ok(None) };
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(text).trim_end().to_owned())
        .filter(|text| text.starts_with("Linux version ")))
}

/// Whether the file at `path` is a program that x86-64 runs without an interpreter: statically linked.
///
/// # Errors
/// The file cannot be read.
pub fn is_static_x86_64(path: &Path) -> Result<bool> {
    let data = open(path)?;
    let inner = || -> object::read::Result<bool> {
        let header = elf::FileHeader64::<Endianness>::parse(&data)?;
        let endian = header.endian()?;
        let segments = header.program_headers(endian, &data)?;
        Ok(header.e_machine(endian) == elf::EM_X86_64
            && segments.iter().all(|segment| segment.p_type(endian) != elf::PT_INTERP))
    };
    Ok(inner().unwrap_or(false))
}

fn build_id_of<E>(data: &Data) -> Result<Option<Vec<u8>>>
where
    E: FileHeader<Endian = Endianness>,
{
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data).map_err(|e| truncated(e, data))?;
    for section in sections.iter() {
        let notes = section.notes(endian, data).map_err(|e| truncated(e, data))?;
        if let Some(id) = notes.and_then(|notes| build_id_among(notes, endian)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn build_id_among<E>(mut notes: NoteIterator<'_, E>, endian: Endianness) -> Option<Vec<u8>>
where
    E: FileHeader<Endian = Endianness>,
{
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            return Some(note.desc().to_vec());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn linked(options: &[&str]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut gcc = Command::new("sh");
        gcc.args(["-c", "echo 'int main(void) { return 0; }' | gcc -x c - -o \"$@\"", "sh"]).arg(file.path());
        assert!(gcc.args(options).status().unwrap().success(), "gcc {options:?}");
        file
    }

    #[test]
    fn build_ids_are_those_the_linker_was_told() {
        let file = linked(&["-Wl,--build-id=0xc0ffee00"]);
        assert_eq!(build_id(file.path()).unwrap().unwrap(), [0xc0, 0xff, 0xee, 0]);
        assert_eq!(build_id(linked(&["-Wl,--build-id=none"]).path()).unwrap(), None);
        assert!(build_id(Path::new("/etc/passwd")).unwrap_err().to_string().contains("/etc/passwd"));
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let other = b"\x06\0\0\0\x01\0\0\0\0\x01\0\0Linux\0\0\0\0\0\0\0";
        let ours = b"\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\xaa\xbb\xcc\0";
        let both = [&other[..], ours].concat();
        assert_eq!(build_id_in_notes(&both).unwrap(), [0xaa, 0xbb, 0xcc]);
        assert_eq!(build_id_in_notes(other), None);
        assert_eq!(build_id_in_notes(&both[..both.len() - 6]), None);
        assert_eq!(build_id_in_notes(b""), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn static_programs_have_no_interpreter() {
        assert!(!is_static_x86_64(linked(&[]).path()).unwrap());
        assert!(is_static_x86_64(linked(&["-static", "-nostdlib", "-Wl,-emain"]).path()).unwrap());
        assert!(!is_static_x86_64(Path::new("/etc/passwd")).unwrap());
    }
}
