// SPDX-License-Identifier: GPL-2.0-only
//! The versions that modpost writes for the symbols that a module refers to (CONFIG_MODVERSIONS): `__versions`, and
//! from 6.14 on also `__version_ext_crcs` with `__version_ext_names` (`add_versions` and `add_extended_versions` in
//! scripts/mod/modpost.c). depmod takes each name in them for a symbol that the module needs.

use std::collections::BTreeSet;

use crate::elf::image::{Home, Image};
use crate::livepatch::special;

/// The section with entries of a CRC and a name.
const VERSIONS: &[u8] = b"__versions";
/// The section with CRCs alone, in four bytes each.
const EXTENDED_CRCS: &[u8] = b"__version_ext_crcs";
/// The section with their names, in the same order, each with a zero byte at its end.
const EXTENDED_NAMES: &[u8] = b"__version_ext_names";
/// The size in bytes of an entry (`struct modversion_info` in include/linux/module.h): an unsigned long and the name,
/// together 64.
const ENTRY: usize = 64;
/// The size in bytes of a CRC in [`EXTENDED_CRCS`].
const CRC: usize = 4;

/// The names that `image` has versions for, raw, without repetition.
pub fn names(image: &Image) -> BTreeSet<Vec<u8>> {
    let data = |name| image.section_named(name).map_or(&[][..], |(_, section)| section.data.as_slice());
    let basic = data(VERSIONS).chunks_exact(ENTRY).map(|entry| name_in(entry, image.address_size()));
    let extended = data(EXTENDED_NAMES).split(|&byte| byte == 0);
    basic.chain(extended).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The names, as modpost writes them, of the symbols that `image` refers to and does not define.
pub fn undefined(image: &Image) -> BTreeSet<Vec<u8>> {
    let undefined = image.symbols.iter().skip(1).filter(|symbol| symbol.home == Home::Undefined);
    undefined.map(|symbol| special::cut(&symbol.name).to_vec()).collect()
}

/// Removes the versions of `names` from `image`. The sections stay, even if they become empty: the kernel wants both
/// of the extended ones, or none.
pub fn remove(image: &mut Image, names: &BTreeSet<Vec<u8>>) {
    let address_size = image.address_size();
    let is_kept = |name: &[u8]| !names.contains(name);
    if let Some(index) = image.section_named(VERSIONS).map(|(index, _)| index) {
        let kept = image.sections.get(index).map_or_else(Vec::new, |section| {
            let entries = section.data.chunks_exact(ENTRY);
            entries.filter(|entry| is_kept(name_in(entry, address_size))).collect::<Vec<_>>().concat()
        });
        image.shorten(index, kept);
    }
    let [crcs, texts] = [EXTENDED_CRCS, EXTENDED_NAMES].map(|name| image.section_named(name));
    let (Some((crcs, crc_section)), Some((texts, text_section))) = (crcs, texts) else { return };
    let mut rest = text_section.data.as_slice();
    let (mut kept_crcs, mut kept_texts) = (Vec::new(), Vec::new());
    for crc in crc_section.data.chunks_exact(CRC) {
        let end = memchr::memchr(0, rest).map_or(rest.len(), |end| end + 1);
        let (name, after) = rest.split_at(end);
        rest = after;
        if is_kept(name.strip_suffix(b"\0").unwrap_or(name)) {
            kept_crcs.extend_from_slice(crc);
            kept_texts.extend_from_slice(name);
        }
    }
    // The compiler put another zero byte after the names, as after any string in C.
    kept_texts.extend_from_slice(rest);
    image.shorten(crcs, kept_crcs);
    image.shorten(texts, kept_texts);
}

/// The name in an entry of [`VERSIONS`]: it follows the CRC, and ends with a zero byte.
fn name_in(entry: &[u8], address_size: usize) -> &[u8] {
    let name = entry.get(address_size..).unwrap_or_default();
    name.split(|&byte| byte == 0).next().unwrap_or_default()
}
