// SPDX-License-Identifier: GPL-2.0-only
//! Files that may be compressed, as distributions ship modules (CONFIG_MODULE_COMPRESS) and kernels, and sections of
//! files: the only place that names liblzma, zstd and flate2.
//!
//! The first bytes of a file show how it is packed, as in the kernel (kernel/module/decompress.c); its name does not
//! count. For a section, its header shows it.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err::File;
use liblzma::read::XzDecoder;
use liblzma::stream::Stream;
use tempfile::SpooledTempFile;

/// The suffixes that packed files have after their own name.
pub const SUFFIXES: [&str; 3] = [".xz", ".zst", ".gz"];

/// The largest file that is read or unpacked, in bytes: no vmlinux with all its debugging information comes near it.
const LIMIT: u64 = 4 << 30;
/// The largest module that is unpacked, in bytes. A module that is not packed may be as large as any file: amdgpu
/// with its debugging information has 600 MB.
const LIMIT_OF_MODULE: u64 = 512 << 20;
/// The largest text that is read or unpacked, in bytes.
const LIMIT_OF_TEXT: u64 = 64 << 20;
/// The largest module that is unpacked in memory, in bytes, since as many are read at once as there are processors. A
/// larger one goes to a temporary file.
const LIMIT_IN_MEMORY: usize = 16 << 20;
/// The factor by which a section may grow when it is unpacked. In the debugging information of a vmlinux, no section
/// grows to 5 times its size; zlib can reach a factor of 1,032, and zstd more than 10,000.
const LARGEST_RATIO: u64 = 128;
/// The size in bytes to which any section may be unpacked, however small it is.
const LIMIT_OF_SMALL_SECTION: u64 = 1 << 20;
/// The most memory that liblzma may use, in bytes: `xz -9` needs 65 MiB.
const LIMIT_OF_XZ: u64 = 256 << 20;

/// The content of a file: on disk, or in memory if it had to be unpacked.
#[derive(Debug)]
pub enum Source {
    /// A file that is not packed.
    File(File),
    /// The contents of a packed file.
    Memory(Cursor<Vec<u8>>),
    /// The contents of a packed module: in memory unless it is large.
    Module(SpooledTempFile),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Source::File(file) => file.read(buffer),
            Source::Memory(bytes) => bytes.read(buffer),
            Source::Module(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        match self {
            Source::File(file) => file.seek(position),
            Source::Memory(bytes) => bytes.seek(position),
            Source::Module(bytes) => bytes.seek(position),
        }
    }
}

/// Opens the file at `path`, and unpacks it if it is packed.
///
/// # Errors
/// The file cannot be read, or unpacked: it is damaged, unpacks to more than 4 GiB, a module to more than 512 MiB, or
/// takes too much memory for it.
pub fn open(path: &Path) -> Result<Source> {
    open_up_to(path, if is_module(path) { LIMIT_OF_MODULE } else { LIMIT })
}

fn open_up_to(path: &Path, limit: u64) -> Result<Source> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    Read::by_ref(&mut file).take(6).read_to_end(&mut magic)?;
    file.rewind()?;
    let is_module = is_module(path);
    let unpacked = match magic.as_slice() {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Stream::new_stream_decoder(LIMIT_OF_XZ, liblzma::stream::CONCATENATED)
                .map_err(Into::into)
                .and_then(|stream| unpack(XzDecoder::new_stream(file, stream), limit, is_module))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(file).map_err(Into::into).and_then(|packed| unpack(packed, limit, is_module))
        }
        [0x1f, 0x8b, ..] => unpack(flate2::read::MultiGzDecoder::new(file), limit, is_module),
        _ => return Ok(Source::File(file)),
    };
    unpacked.with_context(|| format!("cannot unpack {}: it is damaged or cut short", path.display()))
}

/// The bytes of the file at `path`, unpacked.
///
/// # Errors
/// The errors of [`open`], or it holds more than it may unpack to.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let limit = if is_module(path) { LIMIT_OF_MODULE } else { LIMIT };
    match open_up_to(path, limit)? {
        Source::Memory(unpacked) => Ok(unpacked.into_inner()),
        Source::File(file) => read_plain(file, path, limit),
        other => read_all(other, path, limit),
    }
}

/// The text in the file at `path`, unpacked; bytes that are no UTF-8 are replaced.
///
/// # Errors
/// The errors of [`read`], or it has more than 64 MiB.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = read_all(open_up_to(path, LIMIT_OF_TEXT)?, path, LIMIT_OF_TEXT)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The bytes of the module at `path` as they are, packed or not.
///
/// # Errors
/// It cannot be read, or has more than 4 GiB; a device, which may have no end, more than 512 MiB.
pub fn read_packed(path: &Path) -> Result<Vec<u8>> {
    read_plain(File::open(path)?, path, LIMIT_OF_MODULE)
}

/// The bytes of a file as it is. `limit` applies to anything but a regular file, which may have no end.
fn read_plain(file: File, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let is_file = file.metadata()?.is_file();
    read_all(file, path, if is_file { limit.max(LIMIT) } else { limit })
}

fn read_all(source: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= limit, "{} has more than {} MiB", path.display(), limit >> 20);
    Ok(bytes)
}

/// How a section is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// With zlib.
    Zlib,
    /// With zstd.
    Zstd,
}

/// Unpacks a section whose header says that it had `size` bytes. No more memory is reserved than the packed bytes can
/// stand for.
///
/// # Errors
/// It is damaged, does not unpack to that size, or claims more than 4 GiB or an unlikely multiple of its packed size.
pub fn unpack_section(packed: &[u8], packing: Packing, size: u64) -> Result<Vec<u8>> {
    let limit = (packed.len() as u64).saturating_mul(LARGEST_RATIO).clamp(LIMIT_OF_SMALL_SECTION, LIMIT);
    ensure!(size <= limit, "{} bytes of it are said to unpack to {size}", packed.len());
    let mut unpacked = Vec::with_capacity(usize::try_from(size)?);
    match packing {
        Packing::Zlib => {
            // The linker may have joined several streams.
            let mut rest = packed;
            while !rest.is_empty() && (unpacked.len() as u64) < size {
                let left = size + 1 - unpacked.len() as u64;
                let stream = flate2::bufread::ZlibDecoder::new(&mut rest);
                let length = stream.take(left).read_to_end(&mut unpacked).context("it is damaged")?;
                ensure!(length > 0, "it is damaged: a part of it unpacks to nothing");
            }
        }
        Packing::Zstd => {
            let stream = zstd::Decoder::with_buffer(packed).context("it is damaged")?;
            stream.take(size + 1).read_to_end(&mut unpacked).context("it is damaged")?;
        }
    }
    let length = unpacked.len() as u64;
    ensure!(length <= size, "it unpacks to more than the {size} bytes that it says");
    ensure!(length == size, "it unpacks to {length} bytes, and not to the {size} that it says");
    Ok(unpacked)
}

fn is_module(path: &Path) -> bool {
    unpacked_name(&path.file_name().unwrap_or_default().to_string_lossy()).ends_with(".ko")
}

fn unpack(packed: impl Read, limit: u64, is_module: bool) -> Result<Source> {
    let mut packed = packed.take(limit + 1);
    let (length, unpacked) = if is_module {
        let mut file = tempfile::spooled_tempfile(LIMIT_IN_MEMORY);
        let length = std::io::copy(&mut packed, &mut file)?;
        file.rewind()?;
        (length, Source::Module(file))
    } else {
        let mut bytes = Vec::new();
        let length = packed.read_to_end(&mut bytes)? as u64;
        (length, Source::Memory(Cursor::new(bytes)))
    };
    ensure!(length <= limit, "it unpacks to more than {} MiB", limit >> 20);
    Ok(unpacked)
}

/// A file's name without the suffix that says how it is packed: `fat.ko` for `fat.ko.xz`.
pub fn unpacked_name(name: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::Command;

    /// The commands with which distributions pack.
    fn packed(tool: &str, suffix: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.ko");
        std::fs::write(&path, b"\x7fELF and so on".repeat(10_000)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{tool} m.ko")]).current_dir(dir.path());
        assert!(command.status().unwrap().success(), "{tool}");
        let path = dir.path().join(format!("m.ko{suffix}"));
        (dir, path)
    }

    const TOOLS: [(&str, &str); 3] =
        [("xz --check=crc32 --lzma2=dict=1MiB", ".xz"), ("gzip -n", ".gz"), ("zstd -q --rm -T0 -19", ".zst")];

    #[test]
    fn every_way_of_packing_is_undone() {
        for (tool, suffix) in TOOLS {
            let (_dir, path) = packed(tool, suffix);
            assert!(read(&path).unwrap() == b"\x7fELF and so on".repeat(10_000), "{tool}");
            assert_eq!(unpacked_name(&path.file_name().unwrap().to_string_lossy()), "m.ko");
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_refused() {
        for (tool, suffix) in TOOLS {
            let (_dir, path) = packed(tool, suffix);
            let bytes = std::fs::read(&path).unwrap();
            for length in [7, bytes.len() / 2, bytes.len() - 1] {
                std::fs::write(&path, &bytes[..length]).unwrap();
                let error = format!("{:#}", read(&path).unwrap_err());
                assert!(error.contains("m.ko") && error.contains("damaged or cut short"), "{tool}: {error}");
            }
        }
    }

    /// What a module unpacks to lies in a file once it is large, and ends at a limit.
    #[test]
    fn a_large_module_takes_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let pack = |name: &str, mebibytes: u64| {
            let script = format!("head -c {mebibytes}M /dev/zero | gzip -1n > {name}");
            assert!(Command::new("sh").args(["-c", &script]).current_dir(&dir).status().unwrap().success());
        };
        pack("small.ko.gz", 15);
        pack("large.ko.gz", 17);
        let is_in_memory = |name: &str| match open(&at(name)).unwrap() {
            Source::Module(file) => !file.is_rolled(),
            other => panic!("{other:?}"),
        };
        assert!(is_in_memory("small.ko.gz") && !is_in_memory("large.ko.gz"));
        assert_eq!(read(&at("large.ko.gz")).unwrap().len(), 17 << 20);
        pack("bomb.ko.gz", 513);
        let error = format!("{:#}", open(&at("bomb.ko.gz")).unwrap_err());
        assert!(error.contains("bomb.ko.gz") && error.contains("more than 512 MiB"), "{error}");
        // A device has no end; a file that is not packed may be larger.
        std::os::unix::fs::symlink("/dev/zero", at("endless.ko")).unwrap();
        std::fs::File::create(at("plain.ko")).unwrap().set_len(513 << 20).unwrap();
        assert_eq!(read(&at("plain.ko")).unwrap().len(), 513 << 20);
        pack("config.gz", 65);
        let error = format!("{:#}", read_text(&at("config.gz")).unwrap_err());
        assert!(error.contains("config.gz") && error.contains("more than 64 MiB"), "{error}");
        let error = format!("{:#}", read(&at("endless.ko")).unwrap_err());
        assert!(error.contains("endless.ko has more than 512 MiB"), "{error}");
    }

    #[test]
    fn an_xz_file_that_wants_too_much_memory_is_refused() {
        let (_dir, path) = packed("xz --lzma2=dict=512MiB", ".xz");
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("m.ko.xz"), "{error}");
        let (_dir, path) = packed("xz -9e", ".xz");
        assert_eq!(read(&path).unwrap().len(), 140_000);
    }

    /// Both ways, and several streams in one section as linkers leave them.
    #[test]
    fn sections_are_unpacked() {
        let text = b"debugging information ".repeat(5_000);
        let zlib = |bytes: &[u8]| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        let (first, second) = text.split_at(40_001);
        for (packing, whole, halves) in [
            (Packing::Zlib, zlib(&text), [zlib(first), zlib(second)].concat()),
            (Packing::Zstd, zstd(&text), [zstd(first), zstd(second)].concat()),
        ] {
            let size = text.len() as u64;
            for packed in [&whole, &halves] {
                assert!(unpack_section(packed, packing, size).unwrap() == text, "{packing:?}");
            }
            let fault =
                |packed: &[u8], size| format!("{:#}", unpack_section(packed, packing, size).unwrap_err());
            assert_eq!(
                fault(&whole, size - 1),
                format!("it unpacks to more than the {} bytes that it says", size - 1)
            );
            let more = format!("it unpacks to {size} bytes, and not to the {} that it says", size + 1);
            assert_eq!(fault(&whole, size + 1), more);
            assert!(fault(&whole[..whole.len() / 2], size).starts_with("it "));
            assert!(fault(&[0; 9], size).starts_with("it is damaged"));
            for size in [u64::MAX, 5 << 30, 2 << 20] {
                let said = format!("{} bytes of it are said to unpack to {size}", whole.len());
                assert_eq!(fault(&whole, size), said);
            }
        }
        assert_eq!(unpack_section(&[], Packing::Zlib, 0).unwrap(), b"");
    }

    #[test]
    fn what_is_not_packed_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain");
        for bytes in [&b""[..], b"\xfd7zX", b"\x7fELF"] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), bytes);
        }
    }
}
