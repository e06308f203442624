// SPDX-License-Identifier: GPL-2.0-only
//! Whether a file that klpbuild wrote before is unchanged: its length and a hash of its contents are kept apart from
//! it. If a list is cut off or edited, a name may look as if only one object had it.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;

use anyhow::Result;
use fs_err::File;
use fs_err::os::unix::fs::FileExt as _;
use rayon::prelude::*;

/// The number of bytes that are hashed at once, so that big files are read in parallel.
const PIECE: usize = 1 << 20;

/// The length of a file's contents, and a hash of them. The version of klpbuild that wrote a seal compares it, and
/// another version makes it anew: so the hash function may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    length: u64,
    hash: u64,
}

impl Seal {
    /// The seal of contents in parts, one after the other.
    pub fn of_parts(parts: &[impl AsRef<[u8]>]) -> Seal {
        let mut pieces = Vec::new();
        let (mut hasher, mut room, mut length) = (DefaultHasher::new(), PIECE, 0);
        for part in parts {
            let mut rest = part.as_ref();
            length += rest.len() as u64;
            while let Some((now, later)) = rest.split_at_checked(room) {
                hasher.write(now);
                pieces.push(std::mem::take(&mut hasher).finish());
                (rest, room) = (later, PIECE);
            }
            hasher.write(rest);
            room -= rest.len();
        }
        if room < PIECE {
            pieces.push(hasher.finish());
        }
        Seal::of_pieces(length, &pieces)
    }

    /// The seal of the file at `path`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_file(path: &Path) -> Result<Seal> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let piece = |start: u64| -> Result<u64> {
            let mut buffer = vec![0; (length - start).min(PIECE as u64) as usize];
            file.read_exact_at(&mut buffer, start)?;
            let mut hasher = DefaultHasher::new();
            hasher.write(&buffer);
            Ok(hasher.finish())
        };
        let starts: Vec<u64> = (0..length.div_ceil(PIECE as u64)).map(|n| n * PIECE as u64).collect();
        let pieces = starts.into_par_iter().map(piece).collect::<Result<Vec<u64>>>()?;
        Ok(Seal::of_pieces(length, &pieces))
    }

    fn of_pieces(length: u64, pieces: &[u64]) -> Seal {
        let mut hasher = DefaultHasher::new();
        pieces.iter().for_each(|piece| hasher.write_u64(*piece));
        Seal { length, hash: hasher.finish() }
    }
}

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:016x}", self.length, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_seal_of_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let mut seen = Vec::new();
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let seal = Seal::of_file(&path).unwrap();
            assert_eq!(Seal::of_parts(&[&bytes]), seal, "{length}");
            let (begin, end) = bytes.split_at(length / 3);
            assert_eq!(Seal::of_parts(&[begin, &[], end]), seal, "{length}");
            seen.push(seal.to_string());
            for place in [0, length / 2, length.saturating_sub(1)] {
                let mut other = bytes.clone();
                if let Some(byte) = other.get_mut(place) {
                    *byte ^= 1;
                    assert_ne!(Seal::of_parts(&[&other]), seal, "{length}, {place}");
                }
            }
        }
        seen.dedup();
        assert_eq!(seen.len(), 7);
    }
}
