// SPDX-License-Identifier: GPL-2.0-only
//! Objects in which one number is wrong, so that parts of them do not fit together: convert and verify say which, and the
//! file stays as it is.

use klpbuild::elf::image::Image;
use klpbuild::kernel::origin::Origin;
use klpbuild::kernel::sources::Sources;
use klpbuild::livepatch::convert::{Choices, ConvertOutcome, convert};

use crate::objtree::{Code, ObjTree, X86_64};

/// Where fields are in a section header of a 64-bit ELF file (elf(5)), and their sizes.
const TYPE: (usize, usize) = (4, 4);
const FLAGS: (usize, usize) = (8, 8);
const SIZE: (usize, usize) = (32, 8);
const INFO: (usize, usize) = (44, 4);
const ALIGNMENT: (usize, usize) = (48, 8);
const ENTRY_SIZE: (usize, usize) = (56, 8);

/// A livepatch that is about to be damaged.
struct Livepatch {
    tree: ObjTree,
    bytes: Vec<u8>,
    /// The names of its sections.
    names: Vec<String>,
}

impl Livepatch {
    fn new() -> Livepatch {
        let tree = ObjTree::with_livepatch(X86_64);
        let text = tree.tool("readelf", &["-SW", "in.ko"]);
        let names = text.lines().filter_map(|line| line.trim_start().strip_prefix('[')?.split_once("] "));
        let names = names.filter(|(number, _)| number.trim().parse::<usize>().is_ok());
        let names = names.map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).collect();
        let bytes = tree.bytes("in.ko");
        Livepatch { tree, bytes, names }
    }

    fn number(&self, at: usize, size: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.bytes[at..at + size]);
        u64::from_le_bytes(bytes)
    }

    fn index(&self, section: &str) -> u64 {
        self.names.iter().position(|name| name == section).unwrap() as u64
    }

    /// Where a field of a section's header is in the file.
    fn field(&self, section: &str, field: (usize, usize)) -> usize {
        self.number(0x28, 8) as usize + 64 * self.index(section) as usize + field.0
    }

    /// Where a section's bytes are in the file.
    fn content(&self, section: &str) -> usize {
        self.number(self.field(section, (24, 8)), 8) as usize
    }

    fn set(&mut self, section: &str, field: (usize, usize), value: u64) {
        let at = self.field(section, field);
        self.write(at, field.1, value);
    }

    fn write(&mut self, at: usize, size: usize, value: u64) {
        self.bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// Converts it in place: it is refused for this reason, and nothing is written.
    #[track_caller]
    fn refused(&self, reason: &str) {
        self.tree.write("in.ko", &self.bytes);
        let before = self.tree.names();
        for arguments in [&["in.ko"][..], &["in.ko", "-o", "out.ko"]] {
            let ran = self.tree.convert(arguments);
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(ran.stderr.contains(reason) && ran.stderr.contains("in.ko"), "{reason}: {ran:?}");
            assert!(self.tree.bytes("in.ko") == self.bytes, "{reason}: it was written");
            assert!(!self.tree.path("out.ko").exists(), "{reason}: something was written");
        }
        assert_eq!(self.tree.names(), before);
    }

    /// Asserts that convert refuses the file, and that verify cannot read it.
    #[track_caller]
    fn unreadable(&self, reason: &str) {
        self.refused(reason);
        let ran = self.tree.klpbuild(&["verify", "in.ko"]);
        assert!(ran.code == Some(2) && ran.stderr.contains(reason), "{ran:?}");
    }
}

#[test]
fn whole_it_can_be_converted() {
    Livepatch::new().tree.convert(&["in.ko"]).ok();
}

#[test]
fn tables_of_names() {
    for kind in [1, 7, 17] {
        let mut livepatch = Livepatch::new();
        livepatch.set(".strtab", TYPE, kind);
        livepatch.unreadable("string section type");
        let mut livepatch = Livepatch::new();
        livepatch.set(".shstrtab", TYPE, kind);
        livepatch.unreadable("is to hold names, but is no string table");
    }
    // e_shstrndx
    let mut livepatch = Livepatch::new();
    livepatch.write(0x3e, 2, livepatch.index(".symtab"));
    livepatch.unreadable("is to hold names, but is no string table");
    livepatch.write(0x3e, 2, livepatch.index(".rodata.str"));
    livepatch.unreadable("section name offset");
}

#[test]
fn symbol_tables() {
    let mut livepatch = Livepatch::new();
    livepatch.set(".symtab", ENTRY_SIZE, 16);
    livepatch.unreadable("symbol table are not said to have 24 bytes");
    let mut livepatch = Livepatch::new();
    livepatch.set(".rela.text", TYPE, 2);
    livepatch.unreadable("in.ko");
    let mut livepatch = Livepatch::new();
    livepatch.set(".rodata.str", TYPE, 18);
    livepatch.unreadable("section .rodata.str has extended section numbers");
    // A section number among the reserved ones, where the last symbol has its own (elf(5): st_shndx).
    let mut livepatch = Livepatch::new();
    let end = livepatch.content(".symtab") + livepatch.number(livepatch.field(".symtab", SIZE), 8) as usize;
    livepatch.write(end - 24 + 6, 2, 0xff05);
    livepatch.unreadable("has the section number 0xff05");
}

#[test]
fn relocations() {
    for section in [".rela.text", ".rela.rodata", ".rela.debug_info"] {
        let mut livepatch = Livepatch::new();
        let first = livepatch.content(section);
        livepatch.write(first, 8, 0x10_0000);
        livepatch.unreadable(&format!("{section} has a relocation at 0x100000 in {}", &section[5..]));
    }
    let mut livepatch = Livepatch::new();
    livepatch.set(".rela.text", ENTRY_SIZE, 0);
    livepatch.unreadable("the entries of .rela.text have 0 bytes, and not 24");
    for target in [".symtab", ".rela.data", ".strtab"] {
        let mut livepatch = Livepatch::new();
        livepatch.set(".rela.text", INFO, livepatch.index(target));
        livepatch.unreadable(&format!(".rela.text applies to {target}, which is no code and no data"));
    }
    let mut livepatch = Livepatch::new();
    livepatch.set(".rela.text", INFO, 0);
    livepatch.unreadable(".rela.text applies to no section");
    // What has no bytes cannot be relocated; its size alone does not tell.
    let mut livepatch = Livepatch::new();
    livepatch.set(".rodata", TYPE, 8);
    livepatch.refused("link it again");
}

#[test]
fn sections() {
    let mut livepatch = Livepatch::new();
    livepatch.set(".text", ALIGNMENT, 48);
    livepatch.unreadable("section .text has the alignment 48, which is no power of two");
    let mut livepatch = Livepatch::new();
    livepatch.set(".text", FLAGS, 6 | 0x800);
    livepatch.unreadable("section .text is marked as compressed");
    let mut livepatch = Livepatch::new();
    livepatch.set(".rodata.str", FLAGS, 0x32 | 0x40);
    livepatch.set(".rodata.str", INFO, 999);
    livepatch.unreadable("section .rodata.str belongs to section 999, which is not there");
    let mut livepatch = Livepatch::new();
    livepatch.set(".text", TYPE, 0);
    livepatch.unreadable(".rela.text applies to .text, which is no code and no data");
    let mut livepatch = Livepatch::new();
    livepatch.set(".rodata.str", TYPE, 17);
    livepatch.unreadable("section .rodata.str is a group with a section that is not there");
}

/// Symbols that are out of order stay so, and the table cannot say which are local.
#[test]
fn order_of_symbols() {
    let mut livepatch = Livepatch::new();
    let (first, local) =
        (livepatch.content(".symtab"), livepatch.number(livepatch.field(".symtab", INFO), 4));
    assert!(local > 3);
    // st_info: the binding is the upper half.
    let binding = first + 24 + 4;
    livepatch.write(binding, 1, livepatch.number(binding, 1) | 0x10);
    livepatch.refused("local and other symbols are mixed");
}

/// The mark that a livepatch gets (R6) stands apart, also behind a last entry without its zero byte.
#[test]
fn mark_behind_an_entry_without_an_end() {
    let rest = ".section .modinfo, \"a\"\n.ascii \"last=entry\"";
    let code = Code { patched: "call_to unique", rest, flags: &["NO_MARK"], ..Code::default() };
    let tree = ObjTree::with_code(X86_64, &code);
    let sources = Sources::open(&Origin::of_tree(&tree.path("")).unwrap(), None).unwrap();
    let choices = Choices { is_marked: true, ..Choices::default() };
    let Ok(ConvertOutcome::Converted { bytes, .. }) =
        convert(Image::read(&tree.path("in.ko")).unwrap(), &sources, choices)
    else {
        panic!("it was not converted");
    };
    let image = Image::parse(&bytes).unwrap();
    let entries: Vec<&[u8]> = image.modinfo().entries().collect();
    assert!(entries.contains(&b"last=entry".as_slice()) && entries.contains(&b"livepatch=Y".as_slice()));
}

/// A label may mark the end of a section, as GNU as writes it; nothing lies behind that.
#[test]
fn values_of_symbols() {
    let mut livepatch = Livepatch::new();
    let symbols = livepatch.tree.tool("readelf", &["-sW", "in.ko"]);
    let line = symbols.lines().find(|line| line.ends_with(" new_patched")).unwrap();
    let number: usize = line.split(':').next().unwrap().trim().parse().unwrap();
    let at = livepatch.content(".symtab") + 24 * number;
    let size = livepatch.number(livepatch.field(".text", SIZE), 8);
    livepatch.write(at + 8, 8, size + 1);
    livepatch
        .unreadable(&format!("symbol new_patched is at {:#x} in .text, which has {size:#x} bytes", size + 1));
    let tree = ObjTree::with_code(
        X86_64,
        &Code { patched: "call_to unique", rest: ".text\nlast:", ..Code::default() },
    );
    tree.convert(&["in.ko"]).ok();
    assert!(tree.tool("nm", &["in.ko"]).contains(" t last\n"));
}
