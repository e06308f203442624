//! Files that may be compressed, as distributions ship modules (CONFIG_MODULE_COMPRESS) and kernels: the only
//! place that names liblzma, zstd and flate2.
//!
//! How a file is packed is told by its first bytes, as the kernel does (kernel/module/decompress.c), and not by
//! its name.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err::File;

/// The suffixes that a packed file has behind its own name.
pub const SUFFIXES: [&str; 3] = [".xz", ".zst", ".gz"];

/// What a file may unpack to, in bytes: no vmlinux with all its debugging information comes near it.
const LIMIT: u64 = 4 << 30;
/// Likewise for a module, of which many are read at once.
const LIMIT_OF_MODULE: u64 = 512 << 20;

/// The content of a file: on disk, or in memory if it had to be unpacked.
#[derive(Debug)]
pub enum Source {
    /// A file that is not packed.
    File(File),
    /// What a packed file has in it.
    Memory(Cursor<Vec<u8>>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Source::File(file) => file.read(buffer),
            Source::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        match self {
            Source::File(file) => file.seek(position),
            Source::Memory(bytes) => bytes.seek(position),
        }
    }
}

/// Opens the file at `path`, and unpacks it if it is packed.
///
/// # Errors
/// The file cannot be read, or unpacked: it is damaged, or unpacks to more than 4 GiB, a module to more than 512 MiB.
pub fn open(path: &Path) -> Result<Source> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    Read::by_ref(&mut file).take(6).read_to_end(&mut magic)?;
    file.rewind()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let limit = if unpacked_name(&name).ends_with(".ko") { LIMIT_OF_MODULE } else { LIMIT };
    let unpacked = match magic.as_slice() {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => unpack(liblzma::read::XzDecoder::new_multi_decoder(file), limit),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(file).map_err(Into::into).and_then(|packed| unpack(packed, limit))
        }
        [0x1f, 0x8b, ..] => unpack(flate2::read::MultiGzDecoder::new(file), limit),
        _ => return Ok(Source::File(file)),
    };
    let unpacked =
        unpacked.with_context(|| format!("cannot unpack {}: it is damaged or cut short", path.display()))?;
    Ok(Source::Memory(Cursor::new(unpacked)))
}

/// The bytes of the file at `path`, unpacked.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match open(path)? {
        Source::Memory(unpacked) => bytes = unpacked.into_inner(),
        Source::File(mut file) => drop(file.read_to_end(&mut bytes)?),
    }
    Ok(bytes)
}

fn unpack(packed: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    packed.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= limit, "it unpacks to more than {} MiB", limit >> 20);
    Ok(bytes)
}

/// A file's name without the suffix that says how it is packed: `fat.ko` for `fat.ko.xz`.
pub fn unpacked_name(name: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// As the distributions' own tools pack.
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
