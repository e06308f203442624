// SPDX-License-Identifier: GPL-2.0-only
//! The bytes of compressed sections: compilers, linkers and distributions compress debugging information
//! (CONFIG_DEBUG_INFO_COMPRESSED_ZLIB and _ZSTD in lib/Kconfig.debug; `objcopy --compress-debug-sections`).
//!
//! They are unpacked only for reading. When an object is written again, they stay compressed.

use anyhow::{Context as _, Result, bail};
use object::Endianness;
use object::elf;

use crate::elf::number;
use crate::host::compressed;
use crate::host::compressed::Packing;

/// Unpacks the bytes of a section marked as compressed (`SHF_COMPRESSED`). They begin with an `Elf32_Chdr` or
/// `Elf64_Chdr`: type, in 64 bits a reserved word, size, and alignment.
///
/// # Errors
/// The header does not fit, klpbuild does not know the type of compression, or the bytes are damaged.
pub fn of_section(bytes: &[u8], is_64: bool, endian: Endianness) -> Result<Vec<u8>> {
    let (size, start) = if is_64 { (8..16, 24) } else { (4..8, 12) };
    let field = |range| Some(number(endian, bytes.get(range)?));
    let header = field(0..4).zip(field(size)).zip(bytes.get(start..));
    let ((kind, size), packed) = header.context("its header is cut short")?;
    let packing = match u32::try_from(kind).map(elf::CompressionType) {
        Ok(elf::ELFCOMPRESS_ZLIB) => Packing::Zlib,
        Ok(elf::ELFCOMPRESS_ZSTD) => Packing::Zstd,
        _ => bail!("it is compressed in a way that is not known (type {kind}; zlib is 1, zstd 2)"),
    };
    compressed::unpack_section(packed, packing, size)
}

/// Unpacks the bytes of a section whose name begins with `.zdebug`: the form before `SHF_COMPRESSED`
/// (`--compress-debug-sections=zlib-gnu`). They begin with four letters and the size, the most significant byte
/// first.
///
/// # Errors
/// The errors of [`of_section`].
pub fn of_old_section(bytes: &[u8]) -> Result<Vec<u8>> {
    let rest = bytes.strip_prefix(b"ZLIB").context("its header is not there")?;
    let (size, packed) = rest.split_at_checked(8).context("its header is cut short")?;
    compressed::unpack_section(packed, Packing::Zlib, number(Endianness::Big, size))
}
